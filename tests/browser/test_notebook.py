"""The page of a notebook in a real browser: stored frames, a stand-in for Pyodide in place of the network, and none."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Route

DOCS = Path(__file__).parent.parent.parent / "docs"
SOURCE = """
import marimo
app = marimo.App()
with app.setup:
    import marimo as mo

@app.cell
def _():
    number = mo.ui.slider(0, 20, 1, value=4, label="number")
    other = mo.ui.slider(steps=[1, 2, 3], value=2, label="other")
    mo.vstack([number, other])
    return number, other

@app.cell
def _(number, other):
    mo.md(f"{number.value} times {other.value} is **{number.value * other.value}**")
    return

@app.cell
def _():
    text = mo.ui.code_editor("ab", language="python", label="text")
    text
    return (text,)

@app.cell
def _(text):
    mo.plain_text(f"{text.value.upper()} {1 / len(text.value)}")
    return
"""

PYODIDE = """
globalThis.asked = [];
const told = (key, value) => { asked.push([key, value]); };
globalThis.loadPyodide = async ({ indexURL }) => {
  told("home", indexURL);
  return {
    loadPackage: async (names) => told("packages", names),
    unpackArchive: (bytes, kind) => told(kind, [...bytes.slice(0, 2)]),
    runPython: (code) => told("python", code),
    globals: { get: () => (source, file) => ({
      all: () => {
        told("source", source);
        const shown = (i) => document.querySelector(`[data-cell="${i}"]`).innerHTML;
        return JSON.stringify({ 1: shown(1), 2: "<p>all of it</p>", 3: shown(3) });
      },
      answer: (name, place) => {
        if (place === "") throw new Error("Traceback\\nZeroDivisionError: division by zero");
        told(name, place);
        return JSON.stringify({ 2: `<p>${name} is at ${place}</p>` });
      },
    }) },
  };
};
"""


def load(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = sys.modules.setdefault(path.stem, importlib.util.module_from_spec(spec))
    spec.loader.exec_module(module)
    return module


code = load(DOCS / "_code" / "notebook.py")
pages = load(DOCS / "_extensions" / "notebook_pages.py")


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page as the site has it, but for the theme."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "_static").mkdir()
    (folder / "_static" / "notebook.js").write_text((DOCS / "_static" / "notebook.js").read_text())
    (folder / "_static" / "tinygrad_norm.js").write_text('globalThis.tinygradNorm = "UEs=";')
    notebook = code.Notebook(SOURCE, "some.py")
    cells = "".join(f'<div data-cell="{index}">{text}</div>' for index, text in notebook.outputs.items() if text)
    data = json.dumps({"file": "some.py", "source": SOURCE, "frames": notebook.frames()}).replace("</", "<\\/")
    script = f'<script type="application/json" id="touch-data">{data}</script>'
    (folder / "pages").mkdir()
    file = folder / "pages" / "some.html"
    head = f'<!doctype html><meta charset="utf-8">{pages.BAR}<input name="search">'
    file.write_text(f'{head}{cells}{script}<script src="../_static/notebook.js"></script>', encoding="utf-8")
    return file


@pytest.fixture
def page(chromium: Browser, file: Path) -> Iterator[Page]:
    page = chromium.new_page()
    page.requests, page.files = [], {}  # what was asked for, and what the network has

    def serve(route: Route) -> None:
        name = route.request.url.rpartition("/")[2]
        if name in page.files:
            route.fulfill(
                body=page.files[name], content_type="text/javascript", headers={"Access-Control-Allow-Origin": "*"}
            )
        else:
            route.abort()

    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("request", lambda request: page.requests.append(request.url))
    page.route(re.compile("^https:"), serve)
    page.goto(file.as_uri())
    yield page
    page.context.close()
    assert problems == []


def move(page: Page, name: str, place: int) -> None:
    page.evaluate(
        """([name, place]) => { const input = document.querySelector(`[data-cell] [name=${name}]`); input.value = place;
        for (const kind of ["input", "change"]) input.dispatchEvent(new Event(kind, { bubbles: true })); }""",
        [name, place],
    )


def answer(page: Page) -> str:
    return str(page.inner_text("[data-cell='2']"))


def go_live(page: Page, files: dict[str, str]) -> None:
    page.files = files
    page.click("#touch-run")
    page.wait_for_function("!document.querySelector('#touch-status').textContent.includes('…')")


def test_nothing_is_fetched_unless_it_is_asked_for(page):
    assert answer(page) == "4 times 2 is 8"
    move(page, "number", 2)
    assert all(url.startswith("file:") for url in page.requests)


def test_a_slider_moves_through_what_is_stored_and_the_other_goes_back(page):
    move(page, "number", 2)
    assert answer(page) == "7 times 2 is 14"
    assert page.inner_text("[name=number] + output") == "7"
    move(page, "other", 2)
    assert answer(page) == "4 times 3 is 12"
    assert page.inner_text("[name=number] + output") == "4"
    assert page.is_disabled("textarea")
    move(page, "other", 1)
    assert answer(page) == "4 times 2 is 8"


def test_without_a_network_the_page_says_so_and_shows_what_is_stored(page):
    go_live(page, {})
    status = page.inner_text("#touch-status")
    assert status.startswith("There is no network to fetch Python from (https://cdn.jsdelivr.net/pyodide/")
    assert status.endswith("What you see is stored: it was made when the site was built.")
    assert page.is_enabled("#touch-run")
    move(page, "number", 2)
    assert answer(page) == "7 times 2 is 14"


def test_where_pyodide_loads_all_cells_run_there(page):
    go_live(page, {"pyodide.js": PYODIDE})
    asked = dict(page.evaluate("asked"))
    assert asked["home"].startswith("https://cdn.jsdelivr.net/pyodide/v")
    assert asked["packages"] == ["numpy", "matplotlib"]
    assert asked["zip"] == [ord("P"), ord("K")]
    assert asked["source"] == SOURCE
    assert answer(page) == "all of it"
    assert page.is_hidden("#touch-run")
    assert page.inner_text("[name=number] + output") == "4"
    move(page, "number", 19)  # not one of those that are stored
    page.wait_for_function("document.querySelector('[data-cell=\"2\"]').textContent === 'number is at 19'")
    page.fill("textarea", "")
    page.dispatch_event("textarea", "change")
    page.wait_for_function("document.querySelector('#touch-status').textContent.includes('ZeroDivisionError')")
    assert page.inner_text("#touch-status") == "Python could not do it: ZeroDivisionError: division by zero"


def test_a_python_that_fails_is_told_from_a_network_that_is_missing(page):
    go_live(page, {"pyodide.js": PYODIDE.replace('told("python", code)', '{ throw new Error("No module"); }')})
    assert page.inner_text("#touch-status").startswith("Python failed (No module). What you see is stored")


def test_the_script_is_of_a_size_to_be_read():
    assert (DOCS / "_static" / "notebook.js").read_text().count("\n") < 150


def test_the_answers_are_those_of_python():
    """The stand-in answers in the form in which the notebook does."""
    notebook = code.Notebook(SOURCE, "some.py")
    assert json.loads(notebook.answer("number", 19))["2"] == "<p>19 times 2 is <strong>38</strong></p>"
    assert json.loads(notebook.answer("text", "abcd")) == {"4": "<pre>ABCD 0.25</pre>"}
    assert set(json.loads(notebook.all())) == {"0", "1", "2", "3", "4"}
