import marimo

__generated_with = "0.25.2"
app = marimo.App()

with app.setup:
    import linecache

    import marimo as mo
    import numpy as np

    from tinygrad_norm import Tensor, derive
    from tinygrad_norm.figures import COLOURS, GREY, dress_axes, legend, new_figure
    from tinygrad_norm.testing import GradientError, gradcheck

    IDEAS = {
        "divide by the mean magnitude": """
def my_norm(x, weight, *, axes, eps=1e-5):
    xp = x.__array_namespace__()
    size = xp.mean(xp.abs(x), axis=axes, keepdims=True)
    return weight * x / (size + eps)
""",
        "divide by the root mean square": """
def my_norm(x, weight, *, axes, eps=1e-5):
    xp = x.__array_namespace__()
    square = xp.mean(xp.square(x), axis=axes, keepdims=True)
    return weight * x / xp.sqrt(square + eps)
""",
        "subtract the mean, divide by the range": """
def my_norm(x, weight, *, axes, eps=1e-5):
    xp = x.__array_namespace__()
    mean = xp.mean(x, axis=axes, keepdims=True)
    top = xp.max(x, axis=axes, keepdims=True)
    bottom = xp.min(x, axis=axes, keepdims=True)
    return weight * (x - mean) / (top - bottom + eps)
""",
        "divide by the fourth root of the mean fourth power": """
def my_norm(x, weight, *, axes, eps=1e-5):
    xp = x.__array_namespace__()
    fourth = xp.mean(xp.square(xp.square(x)), axis=axes, keepdims=True)
    return weight * x / xp.sqrt(xp.sqrt(fourth + eps))
""",
        "a mistake: the size taken for a constant": """
def my_norm(x, weight, *, axes, eps=1e-5):
    xp = x.__array_namespace__()
    size = xp.stop_gradient(xp.mean(xp.abs(x), axis=axes, keepdims=True))
    return weight * x / (size + eps)
""",
    }


@app.cell
def _():
    mo.md(r"""
    # Invent a norm

    A norm of your own is a function of a few lines, in the names of the Array API. It says what it computes. Its
    gradient, how that is derived, and the kernel that runs it are found from the function itself: it is run once,
    with symbols in place of numbers.

    Choose an idea, or write your own where Python runs. The second argument is a weight for each feature, and
    `axes` are those whose values share statistics.
    """)
    return


@app.cell
def _():
    idea = mo.ui.dropdown([*IDEAS], value="divide by the mean magnitude", label="idea")
    idea
    return (idea,)


@app.cell
def _(idea):
    text = mo.ui.code_editor(IDEAS[idea.value].strip(), language="python", label="definition")
    text
    return (text,)


@app.cell
def _(text):
    def norm_of(source):
        linecache.cache["your norm"] = (len(source), None, source.splitlines(keepends=True), "your norm")
        names = {"__name__": "your_norm"}
        exec(compile(source, "your norm", "exec"), names)
        functions = [each for each in names.values() if hasattr(each, "__code__")]
        if len(functions) != 1:
            raise ValueError(f"write one function, got {len(functions)}")
        return derive(functions[0])

    try:
        norm, fault = norm_of(text.value), ""
    except Exception as error:  # whatever somebody writes, the notebook says what is wrong with it
        norm, fault = None, f"{type(error).__name__}: {error}"
    mo.plain_text(fault or str(norm.formula))
    return fault, norm


@app.cell
def _():
    mo.md(r"""
    ## Its derivation

    Every path by which $x$ and the weight act on $y$, term by term.
    """)
    return


@app.cell
def _(norm):
    mo.plain_text(str(norm.derivation) if norm else "There is none.")
    return


@app.cell
def _():
    mo.md(r"""
    ## Is it right?

    `gradcheck` compares the derived gradient, and the gradient of that, with finite differences, which know
    nothing of the derivation.
    """)
    return


@app.cell
def _(norm):
    def judge(norm):
        rng = np.random.default_rng(0)
        inputs = [
            Tensor(rng.normal(0.5, 1, size=(3, 6)), requires_grad=True),
            Tensor(rng.uniform(0.5, 2, size=6), requires_grad=True),
        ]
        try:
            gradcheck(lambda x, weight: norm(x, weight, axes=-1), inputs, order=2)
        except (GradientError, TypeError, ValueError) as error:
            return f"refused: {error}"
        return "gradient and second gradient agree with finite differences"

    verdict = judge(norm) if norm else "there is no norm to judge"
    mo.md(f"**{verdict}**")
    return (verdict,)


@app.cell
def _(norm):
    x = np.random.default_rng(1).normal(2, 1.5, size=(1, 60))
    y = norm(x, np.ones(60), axes=-1).numpy() if norm else np.zeros_like(x)
    figure = new_figure(7, 2.6)
    figure.set_label("What comes out of the norm over what goes in, for sixty values, beside the values themselves")
    axes = figure.subplots()
    axes.plot(np.sort(x[0]), np.sort(x[0]), color=GREY, linestyle=":", label="x itself")
    axes.plot(x[0], y[0], "o", color=COLOURS[0], markersize=3, label="y")
    dress_axes(axes, "x", "")
    legend(axes, loc="upper left")
    figure
    return x, y


@app.cell
def _():
    mo.md(r"""
    ## Its kernel

    This is the module that Numba compiles, for float32 and float64, where Numba is installed. Without it the same
    norm runs in NumPy.
    """)
    return


@app.cell
def _(norm):
    mo.plain_text(norm.source if norm and norm.source else "It has none.")
    return


@app.cell
def _():
    mo.md(r"""
    ## What to try

    Leave out `keepdims=True`, or write `if x > 0`, and read what is said. Multiply the statistics of two means.
    Then put your function into a file, and `tinygrad-norm certify my_norm.py:my_norm` judges it much harder than
    this page does; `examples/custom_norm.py` trains with one.
    """)
    return


if __name__ == "__main__":
    app.run()
