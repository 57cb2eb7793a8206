"""Run `examples/graphs.ipynb` and keep its output in it: `python docs/graphs/run_notebook.py`, with the extra `docs`.

What is kept is what a reader sees: text and pictures, without the time of the run or what compiling said.
"""

from __future__ import annotations

from pathlib import Path

import nbformat
from nbclient import NotebookClient

PATH = Path(__file__).parents[2] / "examples" / "graphs.ipynb"


def run() -> None:
    """Run all cells in order, and write the notebook."""
    notebook = nbformat.read(PATH, as_version=4)
    NotebookClient(notebook, timeout=300, kernel_name="python3").execute()
    for cell in notebook.cells:
        cell.metadata.clear()
        if cell.cell_type == "code":
            cell.outputs = [each for each in cell.outputs if each.get("name") != "stderr"]
            for output in cell.outputs:
                output.get("data", {}).pop("text/vnd.mermaid", None)
    notebook.metadata = {"kernelspec": notebook.metadata["kernelspec"], "language_info": {"name": "python"}}
    nbformat.write(notebook, PATH)


if __name__ == "__main__":
    run()
