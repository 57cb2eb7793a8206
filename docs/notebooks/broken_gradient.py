import marimo

__generated_with = "0.25.2"
app = marimo.App()

with app.setup:
    import marimo as mo
    import numpy as np

    from tinygrad_norm import Tensor, ops
    from tinygrad_norm.certificate.mutations import mutants_of, mutated
    from tinygrad_norm.certificate.norm_mutants import MUTANTS
    from tinygrad_norm.figures import COLOURS, GREY, INK, dress_axes, legend, new_figure
    from tinygrad_norm.ops.normalization import BatchNorm
    from tinygrad_norm.tables import format_table
    from tinygrad_norm.testing import GradientError, compare_with_composition, gradcheck

    CHOICES = [
        "nothing",
        "dx without the mean term",
        "dx without the variance term",
        "mean term not divided by the count",
        "variance term not divided by the count",
        "variance term of the wrong sign",
        "dx without the weight",
        "dx without 1/std",
        "dweight without 1/std",
        "eps outside of the root",
    ]


@app.cell
def _():
    mo.md(r"""
    # Break the gradient, and see who notices

    A check that never failed may be unable to. So this project breaks its gradients on purpose: in the closed
    form of a norm, one term is written wrongly, as tired people write it, and the checks have to say no. Such a
    broken version is called a **mutant**, and a mutant that a check notices is **killed**.

    Choose what is wrong in the gradient of batch norm. Bars show the gradient of eight values of a channel, as it
    is right, and as the mutant has it.
    """)
    return


@app.cell
def _():
    broken = mo.ui.dropdown(CHOICES, value="dx without the mean term", label="what is wrong")
    eps = mo.ui.slider(steps=[1e-5, 1e-3, 0.1, 1], value=1e-5, label="eps", show_value=True)
    mo.vstack([broken, eps])
    return broken, eps


@app.cell
def _(eps):
    rng = np.random.default_rng(5)
    arrays = rng.normal(2, 1.5, size=(8, 2)), rng.uniform(0.5, 2, size=2), rng.normal(size=2)
    changes = mutants_of(BatchNorm, inputs=3) | {"nothing": lambda call: call.grads}

    def leaves():
        return [Tensor(array, requires_grad=True) for array in arrays]

    def norm(x, weight, bias):
        return ops.batch_norm(x, None, None, weight, bias, training=True, eps=eps.value)

    def gradient_of_x(name, cotangent):
        x, weight, bias = leaves()
        with mutated(BatchNorm, changes[name]):
            norm(x, weight, bias).backward(cotangent)
        return x.grad.numpy()

    def verdict(name, check):
        with mutated(BatchNorm, changes[name]):
            try:
                check()
            except GradientError as error:
                return str(error)
        return ""

    return gradient_of_x, leaves, norm, verdict


@app.cell
def _(broken, gradient_of_x):
    cotangent = np.random.default_rng(6).normal(size=(8, 2)) + 0.5
    figure = new_figure(7, 2.8)
    figure.set_label("Bars for eight values: the right gradient, and that of the mutant")
    axes = figure.subplots()
    for shift, name, label, colour in (
        (-0.2, "nothing", "right", GREY),
        (0.2, broken.value, "as it is now", COLOURS[1]),
    ):
        axes.bar(np.arange(8) + shift, gradient_of_x(name, cotangent)[:, 0], 0.4, label=label, color=colour)
    axes.axhline(0, color=INK, linewidth=0.8)
    dress_axes(axes, "value", "gradient of x")
    legend(axes, ncols=2)
    figure
    return


@app.cell
def _(broken, leaves, norm, verdict):
    right, wrong = MUTANTS.get(broken.value, ("nothing", "nothing"))
    message = verdict(broken.value, lambda: gradcheck(norm, leaves()))
    mo.plain_text(
        f"the text of the definition: {right.strip()}\n"
        f"as it is now:               {wrong.strip() or 'nothing'}\n\n"
        f"gradcheck: {message or 'finds nothing wrong'}"
    )
    return (message,)


@app.cell
def _():
    mo.md(r"""
    ## Four checks

    They are not equally good. Each is given each mutant:

    - *the sum*: is the gradient of `norm(x).sum()` what finite differences say? Many tests are written so.
    - *dx sums to 0*: does the gradient of a channel have the sum 0, under a random cotangent?
    - *gradcheck*: is the gradient what finite differences say, under a random cotangent?
    - *composition*: is it what the tape finds, when the norm runs as primitive ops that know nothing of the
      closed form?
    """)
    return


@app.cell
def _(gradient_of_x, leaves, norm, verdict):
    def of_the_sum(name):
        x = leaves()[0].numpy()
        expected = np.zeros_like(x)
        for place in np.ndindex(x.shape):
            sums = []
            for step in (1e-6, -1e-6):
                moved = x.copy()
                moved[place] += step
                sums.append(norm(Tensor(moved), *leaves()[1:]).numpy().sum())
            expected[place] = (sums[0] - sums[1]) / 2e-6
        return not np.allclose(gradient_of_x(name, np.ones((8, 2))), expected, rtol=1e-5, atol=1e-7)

    def of_the_mean(name):
        found = gradient_of_x(name, np.random.default_rng(6).normal(size=(8, 2)))
        return not np.allclose(found.sum(axis=0), 0, atol=1e-9)

    killed = {
        name: (
            of_the_sum(name),
            of_the_mean(name),
            bool(verdict(name, lambda: gradcheck(norm, leaves()))),
            bool(verdict(name, lambda: compare_with_composition(norm, leaves(), order=1))),
        )
        for name in CHOICES
    }
    head = ("", "the sum", "dx sums to 0", "gradcheck", "composition")
    rows = [(name, *("killed" if each else "-" for each in found)) for name, found in killed.items()]
    mo.plain_text(format_table([head, *rows], "<<<<<"))
    return (killed,)


@app.cell
def _():
    mo.md(r"""
    ## What to look for

    The sum of a normalized channel is the same whatever comes in, so its gradient is 0; and whatever is forgotten
    of a term that is 0 there anyway is not missed. A test of the sum lets seven of the nine pass, and so does the
    sum of dx.

    Under a random cotangent no term is 0, and gradcheck kills all but one: *eps outside of the root*, where eps
    is $10^{-5}$. It changes the gradient by less than differences can tell. Raise eps to 0.001, and gradcheck
    kills it too; the composition, which has no step to choose, kills it as it is. So several checks stand side by
    side in the project's certificate, and each of its mutants has to be killed by one: `tinygrad-norm certify
    BatchNorm2D`.
    """)
    return


if __name__ == "__main__":
    app.run()
