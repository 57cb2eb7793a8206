import marimo

__generated_with = "0.25.2"
app = marimo.App()

with app.setup:
    import marimo as mo
    import numpy as np

    from tinygrad_norm import Tensor, nn
    from tinygrad_norm.figures import COLOURS, GREY, dress_axes, legend, new_figure


@app.cell
def _():
    mo.md(r"""
    # A batch through a norm

    A batch norm sees one channel as a heap of numbers. It takes their mean out and divides by their standard
    deviation. So it should not matter where the heap lay, nor how wide it was. Move the sliders and see whether
    that is so, and where it stops being so.
    """)
    return


@app.cell
def _():
    mean = mo.ui.slider(-20, 20, 1, value=5, label="mean", show_value=True)
    scale = mo.ui.slider(steps=[0.001, 0.01, 0.1, 1, 3, 10, 100], value=3, label="scale", show_value=True)
    eps = mo.ui.slider(steps=[0, 1e-5, 1e-3, 0.1, 1, 10], value=1e-5, label="eps")
    batch_size = mo.ui.slider(steps=[2, 4, 8, 32, 128, 512], value=32, label="batch size")
    mo.vstack([mean, scale, eps, batch_size])
    return batch_size, eps, mean, scale


@app.cell
def _(batch_size, eps, mean, scale):
    draws = np.random.default_rng(0).normal(size=(batch_size.value, 1))
    before = mean.value + scale.value * draws
    norm = nn.BatchNorm1D(1, eps=eps.value, dtype="float64")
    after = norm(Tensor(before)).numpy()
    return after, before


@app.cell
def _(after, before):
    figure = new_figure(7, 3)
    figure.set_label("The values of a batch before and after the norm, each a dot, above their histogram")
    panels = figure.subplots(1, 2)
    for panel, values, title, colour in zip(panels, (before, after), ("before", "after"), COLOURS, strict=False):
        panel.hist(values[:, 0], bins=20, color=colour, alpha=0.6)
        panel.plot(values[:, 0], np.full(len(values), -0.6), "|", color=colour, markersize=8)
        panel.axvline(values.mean(), color=GREY, linewidth=1, label="mean")
        dress_axes(panel, title, "values")
    panels[1].set_xlim(-3.5, 3.5)
    legend(panels[1], loc="upper right")
    figure
    return


@app.cell
def _(after, before, eps):
    spread = before.std() / np.sqrt(before.var() + eps.value)
    mo.md(f"""
    Before: mean **{before.mean():.4g}**, standard deviation **{before.std():.4g}**.
    After: mean **{after.mean():.1e}**, standard deviation **{after.std():.6f}**;
    by the formula, σ / √(σ² + eps) = **{spread:.6f}**.
    """)
    return (spread,)


@app.cell
def _():
    mo.md(r"""
    ## What to look for

    Mean and scale do nothing to the right picture, but for the numbers at its edge: it is the *shape* of the heap
    that goes through. That holds until the scale comes near $\sqrt{\varepsilon}$, which is 0.003 where
    $\varepsilon$ is $10^{-5}$. A channel as narrow as that is left narrow, and this is meant: what has no spread
    is noise of rounding, and should not be blown up.

    A batch of two comes out as −1 and 1, whatever came in: all that is left is which of the two is larger. With
    few values, the layer sees the batch and not the channel. Compare the mean before with the one that you chose.
    """)
    return


if __name__ == "__main__":
    app.run()
