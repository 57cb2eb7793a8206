"""Writes a page for each notebook, with what its cells show: stored, and made anew where Python can be had.

Each notebook runs once for each stored position of its sliders, in plain NumPy, as in a browser. What it shows is kept
until the notebook, the package or the way it is run has changed. Beside the pages stands the package itself, for
browsers that run them.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import subprocess
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tinygrad_norm

if TYPE_CHECKING:
    from sphinx.application import Sphinx

HERE, PACKAGE = Path(__file__).parent, Path(tinygrad_norm.__file__).parent
CODE = HERE.parent / "_code"
sys.path.insert(0, str(CODE))

from notebook import Cell, cells_of  # noqa: E402 (it stands where cells find it)

STAMP = (2000, 1, 1, 0, 0, 0)
"""The time of all files in the archive, so that it is the same whenever it is made."""


def package_script() -> str:
    """A script that holds the package, as a zip archive, and what runs notebooks: it loads from a file as well."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as files:
        for path in sorted(PACKAGE.rglob("*")):
            if path.is_file() and path.suffix != ".pyc":
                name = f"tinygrad_norm/{path.relative_to(PACKAGE).as_posix()}"
                files.writestr(zipfile.ZipInfo(name, STAMP), path.read_bytes(), zipfile.ZIP_DEFLATED)
        files.writestr(zipfile.ZipInfo("notebook.py", STAMP), (CODE / "notebook.py").read_bytes(), zipfile.ZIP_DEFLATED)
    return f'globalThis.tinygradNorm = "{base64.b64encode(archive.getvalue()).decode()}";\n'


def run(path: Path) -> dict[str, Any]:
    """Run a notebook as a browser does; return its outputs and its frames.

    Raises:
        RuntimeError: a cell failed.
    """
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": str(PACKAGE.parent)}
    command = [sys.executable, "-W", "error", str(CODE / "notebook.py"), str(path)]
    done = subprocess.run(command, env=environment, capture_output=True, encoding="utf-8")
    if done.returncode:
        raise RuntimeError(f"{path.name} fails: {done.stderr}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _raw(text: str) -> str:
    return f"`````{{raw}} html\n{text}\n`````\n"


def _code(cell: Cell) -> str:
    summary = "What is imported" if cell.is_setup else "The code"
    shown = f"`````{{code-block}} python\n{cell.lines}\n`````\n"
    opened = _raw(f'<details class="touch-code"><summary>{summary}</summary>')
    return "\n".join((opened, shown, _raw("</details>")))


BAR = """<div class="touch-bar"><button type="button" id="touch-run" hidden>Run it here</button>
<p id="touch-status" role="status">The pictures and numbers below are stored: they were made when the site was built.
<noscript>Without JavaScript the sliders stay where they are.</noscript></p></div>"""


def page(path: Path, found: dict[str, Any]) -> str:
    """The page of a notebook that ran, in Markdown."""
    source = path.read_text(encoding="utf-8")
    cells = [*enumerate(cells_of(source))]
    setup, title, *others = cells  # imports say little: they stand below the title
    parts = [f"{title[1].text}\n", _raw(BAR)]
    for index, cell in (setup, *others):
        if cell.text is not None:
            parts.append(f"{cell.text}\n")
            continue
        if output := found["outputs"][str(index)]:
            parts.append(_raw(f'<div class="touch" data-cell="{index}">{output}</div>'))
        parts.append(_code(cell))
    own = f"## Run it yourself\n\n```bash\nmarimo edit docs/notebooks/{path.name}\n```\n"
    data = json.dumps({"file": path.name, "source": source, "frames": found["frames"]}).replace("</", "<\\/")
    scripts = f'<script type="application/json" id="touch-data">{data}</script>'
    return "\n".join([*parts, own, _raw(f'{scripts}<script src="../_static/notebook.js"></script>')])


def _kept(path: Path, folder: Path, digest: str) -> dict[str, Any]:
    """What a notebook shows, from the folder if it is there."""
    own = hashlib.sha256(f"{digest} {path.read_text(encoding='utf-8')}".encode()).hexdigest()[:16]
    kept = folder / f"{path.stem}-{own}.json"
    if not kept.exists():
        kept.write_text(json.dumps(run(path)), encoding="utf-8")
    found: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8"))
    return found


def write(folder: Path, cache: Path, digest: str) -> None:
    """Write the pages that are not yet as they should be, and remove those of notebooks that are gone."""
    cache.mkdir(parents=True, exist_ok=True)
    notebooks = sorted(folder.glob("*.py"))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        shown = list(pool.map(lambda path: _kept(path, cache, digest), notebooks))
    for path, found in zip(notebooks, shown, strict=True):
        target, text = path.with_suffix(".md"), page(path, found)
        if not target.exists() or target.read_text(encoding="utf-8") != text:
            target.write_text(text, encoding="utf-8")
    for path in folder.glob("*.md"):
        if path.stem != "index" and not path.with_suffix(".py").exists():
            path.unlink()


def _write(app: Sphinx) -> None:
    built = Path(app.srcdir) / "_build" / "notebooks"
    write(Path(app.srcdir) / "notebooks", built / "shown", app.config.cells_depend_on)
    static = built / "static"
    static.mkdir(exist_ok=True)
    (static / "tinygrad_norm.js").write_text(package_script(), encoding="utf-8")
    app.config.html_static_path.append(str(static))


def setup(app: Sphinx) -> dict[str, Any]:
    """Write before Sphinx looks which pages there are."""
    app.connect("builder-inited", _write)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
