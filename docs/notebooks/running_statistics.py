import marimo

__generated_with = "0.25.2"
app = marimo.App()

with app.setup:
    import marimo as mo
    import numpy as np

    from tinygrad_norm import Tensor, nn
    from tinygrad_norm.figures import COLOURS, GREY, dress_axes, legend, new_figure

    STEPS, JUMP = 240, 120


@app.cell
def _():
    mo.md(r"""
    # Running statistics chase the true ones

    In inference a batch norm uses a mean and a variance that it gathered in training: after each batch, the kept
    number goes a part of the way to that of the batch, and this part is the **momentum**, $m$:

    $$
    \text{running} \leftarrow (1 - m) \, \text{running} + m \, \text{batch} .
    $$

    Here a channel has the mean 2 and the standard deviation 1, until, half way, the layers before it have learned
    something, and it has the mean −1 and the standard deviation 2. The layer begins with mean 0 and variance 1,
    as all do.
    """)
    return


@app.cell
def _():
    momentum = mo.ui.slider(steps=[0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1], value=0.1, label="momentum", show_value=True)
    batch_size = mo.ui.slider(steps=[2, 4, 8, 16, 64, 256], value=16, label="batch size", show_value=True)
    mo.vstack([momentum, batch_size])
    return batch_size, momentum


@app.cell
def _(batch_size, momentum):
    rng = np.random.default_rng(0)
    true_mean = np.where(np.arange(STEPS) < JUMP, 2.0, -1.0)
    true_deviation = np.where(np.arange(STEPS) < JUMP, 1.0, 2.0)
    norm = nn.BatchNorm1D(1, momentum=momentum.value, dtype="float64")
    running = []
    for mean, deviation in zip(true_mean, true_deviation, strict=True):
        norm(Tensor(rng.normal(mean, deviation, size=(batch_size.value, 1))))
        running.append((norm.running_mean.numpy().item(), norm.running_var.numpy().item()))
    running_mean, running_variance = np.transpose(running)
    return running_mean, running_variance, true_deviation, true_mean


@app.cell
def _(running_mean, running_variance, true_deviation, true_mean):
    figure = new_figure(7, 4.2)
    figure.set_label("Running mean and running variance over the steps, each beside the true one, which jumps half way")
    panels = figure.subplots(2, 1, sharex=True)
    series = {
        "mean": (true_mean, running_mean, (-3, 4)),
        "variance": (true_deviation**2, running_variance, (0, 9)),
    }
    for panel, (name, (true, kept, limits)), colour in zip(panels, series.items(), COLOURS, strict=False):
        panel.plot(true, color=GREY, linestyle="--", label="true")
        panel.plot(kept, color=colour, label="running")
        panel.set_ylim(limits)
        dress_axes(panel, "step" * (name == "variance"), name)
        legend(panel, loc="upper left", ncols=2)
    figure
    return


@app.cell
def _(batch_size, momentum, running_mean):
    late = np.flatnonzero(running_mean[JUMP:] < 2 - 0.9 * 3)
    steps_behind = int(late[0]) + 1 if len(late) else None
    by_formula = np.log(0.1) / np.log1p(-momentum.value) if momentum.value < 1 else 1
    told = f"**{steps_behind}** steps" if steps_behind else "**more steps than there are**"
    noise = 2 / np.sqrt(batch_size.value) * np.sqrt(momentum.value / (2 - momentum.value))
    mo.md(f"""
    Nine tenths of the jump of the mean took {told}; without noise it would be **{np.ceil(by_formula):.0f}**.
    A running mean that has arrived still trembles: by σ/√batch · √(m/(2−m)) = **{noise:.2f}** here, where σ is 2.
    Over the last 60 steps it was off by **{np.sqrt(np.mean((running_mean[-60:] + 1) ** 2)):.2f}**, root mean square.
    """)
    return noise, steps_behind


@app.cell
def _():
    mo.md(r"""
    ## What to look for

    A small momentum is calm and late, a large one is fast and trembles. With 1, the layer keeps nothing but its
    last batch. With 0.01 it has not arrived at the end of this picture, and the net would be judged by statistics
    of layers that are no more: this is one cause of a loss in evaluation that is far above that in training.

    The batch size decides how loud the noise is, and nothing about the delay. The variance is louder than the
    mean, above all with two values; but it is not too small on average, as the unbiased variance is kept.
    """)
    return


if __name__ == "__main__":
    app.run()
