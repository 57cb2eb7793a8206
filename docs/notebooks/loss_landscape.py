import marimo

__generated_with = "0.25.2"
app = marimo.App()

with app.setup:
    import marimo as mo
    import numpy as np

    from tinygrad_norm import manual_seed, nn, ops
    from tinygrad_norm.data import digits
    from tinygrad_norm.figures import COLOURS, GREY, dress_axes, legend, new_figure

    LENGTHS = np.logspace(-3, 1, 17)  # of steps along the gradient
    RATE = 0.1  # of the training before


@app.cell
def _():
    mo.md(r"""
    # The loss along the gradient

    The gradient $g$ tells which way is down, for a step that is infinitely short. How long may a real one be? Go
    from the weights $w$ to $w - \eta g$, for short and long $\eta$, and look twice: at the loss there, and at how
    far the gradient there has turned away from the one that you followed.

    Santurkar et al. (*How does batch normalization help optimization?*, 2018) drew such pictures of VGG, with
    batch norm and without, and found both figures calmer with it. Here are two perceptrons of three hidden
    layers, of the same weights, on 256 digits. You choose how large these weights are at first, and for how many
    steps the nets learn before you look.
    """)
    return


@app.cell
def _():
    scale = mo.ui.slider(steps=[1, 2, 4, 6, 8], value=6, label="hidden weights ×", show_value=True)
    steps = mo.ui.slider(steps=[0, 3, 10, 30], value=0, label="steps of training", show_value=True)
    mo.vstack([scale, steps])
    return scale, steps


@app.cell
def _():
    images, labels = digits("train")[:256]

    def build(batch_norm, scale):
        manual_seed(0)
        layers, features = [nn.Flatten()], 64
        for _ in range(3):
            hidden = nn.Linear(features, 32)
            hidden.weight.numpy()[...] *= scale
            layers += [hidden, nn.BatchNorm1D(32)] if batch_norm else [hidden]
            layers.append(nn.ReLU())
            features = 32
        return nn.Sequential(*layers, nn.Linear(features, 10))

    def loss_and_gradient(net):
        net.zero_grad()
        loss = ops.cross_entropy(net(images), labels)
        loss.backward()
        return loss.item(), [each.grad.numpy().copy() for each in net.parameters()]

    def move(net, gradient, length):
        for parameter, slope in zip(net.parameters(), gradient, strict=True):
            parameter.numpy()[...] -= length * slope

    def norm_of(gradient):
        return np.sqrt(sum(np.square(each, dtype=float).sum() for each in gradient))

    def look_along_the_gradient(net):
        loss, gradient = loss_and_gradient(net)
        losses, turns, at = [], [], 0
        for length in LENGTHS:
            move(net, gradient, length - at)
            at = length
            there, other = loss_and_gradient(net)
            losses.append(there)
            turns.append(norm_of([a - b for a, b in zip(other, gradient, strict=True)]) / norm_of(gradient))
        return loss, norm_of(gradient), losses, turns

    def landscape(batch_norm, scale, steps):
        net = build(batch_norm, scale)
        for _ in range(steps):
            move(net, loss_and_gradient(net)[1], RATE)
        return look_along_the_gradient(net)

    return (landscape,)


@app.cell
def _(landscape, scale, steps):
    found = {
        "No norm": landscape(False, scale.value, steps.value),
        "Batch norm": landscape(True, scale.value, steps.value),
    }
    return (found,)


@app.cell
def _(found):
    figure = new_figure(7, 3.4)
    figure.set_label(
        "Two panels over the length of a step, with batch norm and without: loss, and change of the gradient"
    )
    panels = figure.subplots(1, 2)
    for (name, (loss, _, losses, turns)), colour in zip(found.items(), (GREY, COLOURS[0]), strict=True):
        panels[0].loglog(LENGTHS, losses, ".-", color=colour, label=name)
        panels[0].axhline(loss, color=colour, linewidth=0.8, linestyle=":")
        panels[1].loglog(LENGTHS, turns, ".-", color=colour, label=name)
    for panel in panels:
        panel.minorticks_off()
        panel.xaxis.set_major_formatter("{x:g}")
        panel.yaxis.set_major_formatter("{x:g}")
    panels[0].set_ylim(0.05, 1000)
    panels[1].set_ylim(1e-3, 1000)
    dress_axes(panels[0], "length of the step, η", "loss there (dots: here)")
    dress_axes(panels[1], "length of the step, η", "change of the gradient")
    legend(panels[1], loc="upper left")
    figure
    return


@app.cell
def _(found):
    def longest_that_lowers(loss, losses):
        return LENGTHS[np.asarray(losses) < loss].max(initial=0.0)

    def where_half_has_changed(turns):
        return LENGTHS[np.asarray(turns) >= 0.5].min(initial=np.inf)

    def told(name, loss, size, losses, turns):
        return (
            f"{name}: loss **{loss:.3g}**, norm of the gradient **{size:.3g}**. The longest of these steps that lowers "
            f"the loss is **{longest_that_lowers(loss, losses):.3g}**; the gradient has changed by half of its norm at "
            f"**{where_half_has_changed(turns):.3g}**."
        )

    mo.md("\n\n".join(told(each, *figures) for each, figures in found.items()))
    return longest_that_lowers, where_half_has_changed


@app.cell
def _():
    mo.md(r"""
    ## What to look for

    With weights × 6 or 8, the net without a norm stands on a cliff: its gradient is large, and a step of 0.01
    along it leads to a place where it is another. Batch norm hardly notices, as it divides out the scale of the
    weights before it: its loss is the same for all scales, and the larger these weights are, the *smaller* are
    their gradients and the longer the steps that they stand for. This is the calm that the paper describes.

    With weights × 1, which is how the layers of this project begin, it is the other way around: without a norm
    nothing turns for a long way, as next to nothing happens there. A landscape may be smooth because it is flat.

    Then go on by 30 steps, all of the same rate. With weights × 1 batch norm is far ahead. With × 6 it is behind:
    where gradients are small, the same rate takes small steps. So a smooth landscape is not speed. It is leave to
    take a larger rate.
    """)
    return


if __name__ == "__main__":
    app.run()
