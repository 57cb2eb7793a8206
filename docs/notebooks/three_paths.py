import marimo

__generated_with = "0.25.2"
app = marimo.App()

with app.setup:
    import marimo as mo
    import numpy as np

    from tinygrad_norm import Tensor, ops
    from tinygrad_norm.figures import COLOURS, GREY, INK, dress_axes, legend, new_figure

    BLUE, ORANGE, GREEN = COLOURS[:3]


@app.cell
def _():
    mo.md(r"""
    # The three paths of a gradient

    The statistics of a batch are made of the batch. So a value acts on the output three times: by itself, through
    the mean, and through the variance; and its gradient is a sum of three terms. With $g$ for what comes back to
    the output, $\hat x$ for the normalized values and $r$ for one over the standard deviation:

    $$
    \bar x_i = r g_i - r \, \frac1m \sum_j g_j - r \, \hat x_i \, \frac1m \sum_j g_j \hat x_j .
    $$

    What comes back is random here, but you can add to it: the same number for every value, or a multiple of $\hat
    x$.
    """)
    return


@app.cell
def _():
    noise = mo.ui.slider(steps=[0, 0.25, 0.5, 1, 2], value=1, label="random part", show_value=True)
    shift = mo.ui.slider(-3, 3, 1, value=1, label="add to all", show_value=True)
    stretch = mo.ui.slider(-3, 3, 1, value=1, label="add times x̂", show_value=True)
    mo.vstack([noise, shift, stretch])
    return noise, shift, stretch


@app.cell
def _(noise, shift, stretch):
    rng = np.random.default_rng(4)
    x = 3 + 2 * rng.normal(size=(8, 1))
    r = 1 / np.sqrt(x.var() + 1e-5)
    x_hat = (x - x.mean()) * r
    g = noise.value * rng.normal(size=(8, 1)) + shift.value + stretch.value * x_hat
    itself = r * g
    through_mean = -r * g.mean() * np.ones_like(g)
    through_variance = -r * x_hat * (g * x_hat).mean()
    total = itself + through_mean + through_variance
    return g, itself, through_mean, through_variance, total, x, x_hat


@app.cell
def _(itself, through_mean, through_variance, total):
    terms = {
        "itself": (itself, GREY),
        "through the mean": (through_mean, BLUE),
        "through the variance": (through_variance, ORANGE),
        "the gradient of x": (total, GREEN),
    }
    figure = new_figure(7, 3.2)
    figure.set_label("Bars for eight values: the three terms of the gradient, and their sum")
    axes = figure.subplots()
    for place, (name, (term, colour)) in enumerate(terms.items()):
        axes.bar(np.arange(8) + 0.2 * place - 0.3, term[:, 0], 0.2, label=name, color=colour)
    axes.axhline(0, color=INK, linewidth=0.8)
    axes.set_ylim(-3, 3)
    dress_axes(axes, "value", "")
    legend(axes, ncols=2, loc="upper left")
    figure
    return


@app.cell
def _(g, total, x, x_hat):
    leaf = Tensor(x, requires_grad=True)
    ops.batch_norm(leaf, None, None, training=True).backward(g)
    difference = abs(leaf.grad.numpy() - total).max()
    mo.md(f"""
    The sum of the green bars is **{total.sum():.1e}**, and that of green bars times x̂ **{(total * x_hat).sum():.1e}**.
    The norm's own backward pass differs from the three terms by **{difference:.1e}**.
    """)
    return (difference,)


@app.cell
def _():
    mo.md(r"""
    ## What to look for

    Move *add to all*: the grey bars move, the blue ones move against them, and the green ones stay where they
    are. A loss that wants all outputs to be larger asks for what no input can give, as the mean is taken out
    again.

    Move *add times x̂*: now the orange bars take it back. A loss that wants the outputs wider asks in vain too;
    that is what $\gamma$ is for. Green keeps only a trace of it, as large as $\varepsilon$ beside the variance.

    Put the random part to 0, and all of it is taken back: next to nothing is left of the gradient, however much
    came in.
    """)
    return


if __name__ == "__main__":
    app.run()
