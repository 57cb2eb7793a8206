from __future__ import annotations

import json

import pytest

from tinygrad_norm.experiments.report import Measurements


@pytest.fixture
def draw():
    """Draws a result, as it comes back from JSON, and returns the texts of the picture, of which none is cut off."""
    pytest.importorskip("matplotlib")
    from matplotlib.text import Text

    def drawn(module, result):
        figure = module.draw(Measurements(json.loads(json.dumps(result))))
        figure.draw_without_rendering()
        width, height = figure.bbox.size
        for text in (figure._suptitle, *(axes.title for axes in figure.axes)):
            box = text.get_window_extent()
            assert box.x0 >= 0, text.get_text()
            assert box.x1 <= width, text.get_text()
            assert box.y1 <= height, text.get_text()
        return {text.get_text() for text in figure.findobj(Text) if text.get_visible()}

    return drawn
