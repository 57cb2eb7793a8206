"""DOT as a picture: by the Graphviz libraries that pygraphviz carries, or else by the program `dot`.

They run in a process of their own, which can be ended when it takes too long. Nothing in the working folder is run or
imported: it may be somebody else's.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.util import find_spec

RENDERED = ("svg", "png", "pdf")
SECONDS = 60.0
"""How long a rendering may take."""
PYGRAPHVIZ = """
import sys
import pygraphviz
for source in sys.stdin.buffer.read().decode().split("\\n#\\n"):
    sys.stdout.buffer.write(pygraphviz.AGraph(string=source).draw(format=sys.argv[1], prog="dot"))
"""


class NoRendererError(ImportError):
    """Neither pygraphviz nor the program `dot` is there."""


def render(dot: str, kind: str) -> bytes:
    """The picture of a DOT text.

    Args:
        dot: the text; those of several pictures are parted by lines of "#" alone, and come one by one.
        kind: svg, png or pdf.

    Raises:
        NoRendererError: nothing can draw it; the message names both ways to mend that.
        TimeoutError: it took longer.
        OSError: Graphviz refused it, or none of its forms here works.
    """
    problems = []
    for command in check_renderer(kind):
        try:
            done = subprocess.run(command, input=dot.encode(), capture_output=True, timeout=SECONDS, check=False)
        except subprocess.TimeoutExpired:
            raise TimeoutError(
                f"the drawing took longer than {SECONDS:g} s; draw less of it with a smaller depth=, or as .html, "
                "which lays out each module by itself"
            ) from None
        except OSError as error:
            problems.append(str(error))
            continue
        if done.returncode == 0 and done.stdout:
            return done.stdout
        message = done.stderr.decode(errors="replace").strip() or f"exit status {done.returncode}"
        problems.append(message.splitlines()[-1])
    raise OSError(f"Graphviz could not draw it: {'; '.join(dict.fromkeys(problems))}")


def check_renderer(kind: str) -> list[list[str]]:
    """The commands that can draw, the first to be taken.

    Raises:
        NoRendererError: there is none; the message names both ways to mend that.
    """
    commands = _commands(kind)
    if not commands:
        raise NoRendererError(
            "nothing can draw it: install Graphviz's libraries with: pip install 'tinygrad-norm[viz]', or the program "
            "dot, for example with: apt install graphviz"
        )
    return commands


def _commands(kind: str) -> list[list[str]]:
    commands = []
    if find_spec("pygraphviz") is not None:
        commands.append([sys.executable, "-P", "-c", PYGRAPHVIZ, kind])  # -P: without the working folder on its path
    program = shutil.which("dot", path=search_path())
    if program is not None and os.path.isabs(program):  # Windows looks in the working folder first
        commands.append([program, f"-T{kind}"])
    return commands


def search_path() -> str:
    """PATH without relative folders, as "." is, for programs are not to come from the working folder."""
    folders = os.environ.get("PATH", os.defpath).split(os.pathsep)
    return os.pathsep.join(filter(os.path.isabs, folders)) or os.devnull  # an empty PATH means the working folder
