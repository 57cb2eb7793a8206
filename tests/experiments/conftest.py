"""Pictures are drawn, and looked at, where matplotlib is installed."""

from importlib.util import find_spec

collect_ignore = ["test_drawing.py", "test_registry.py"] if find_spec("matplotlib") is None else []
