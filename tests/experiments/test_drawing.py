"""What pictures have in common, and each experiment's own.

What it says, that nothing is cut off, and that a result read back from JSON is enough.
"""

from __future__ import annotations

import itertools
import json

import pytest

from tinygrad_norm.experiments import (
    no_batchnorm,
    one_pass_variance,
    running_stats,
    small_batches,
    steps_to_loss,
    swap_norm,
)
from tinygrad_norm.experiments.drawing import dress, in_percent, panels, ranges
from tinygrad_norm.experiments.report import Measurements
from tinygrad_norm.experiments.spread import Spread


def test_panels_come_row_by_row_under_a_title():
    figure, rows = panels(2, 3, "above all", width=2.0, sharey=True)
    assert [len(row) for row in rows] == [3, 3]
    assert [axes for row in rows for axes in row] == figure.axes
    assert tuple(figure.get_size_inches()) == pytest.approx((6.4, 6.3))
    assert figure.get_suptitle() == "above all"
    rows[0][0].set_ylim(0, 7)
    assert rows[1][2].get_ylim() == (0, 7)
    assert [len(row) for row in panels(1, 1, "")[1]] == [1]


def test_a_panel_has_a_title_and_labels_and_its_shares_in_percent():
    _, [[axes]] = panels(1, 1, "")
    dress(axes, "one", "step", "error")
    in_percent(axes, 1)
    assert (axes.get_title(), axes.get_xlabel(), axes.get_ylabel()) == ("one", "step", "error")
    assert axes.title.get_fontsize() == 10
    assert axes.yaxis.get_major_formatter()(0.125) == "12.5%"


def test_a_line_goes_through_the_means_and_its_band_from_the_lowest_to_the_highest_seed():
    _, [[axes]] = panels(1, 1, "")
    ranges(axes, [1, 2], [Spread((0.0, 3.0)), Spread((5.0, 6.0, 10.0))], "#0072B2", "norm", linestyle="dashed")
    (line,), (band,) = axes.lines, axes.collections
    assert (list(line.get_xdata()), list(line.get_ydata())) == ([1, 2], [1.5, 7])
    assert (line.get_label(), line.get_color(), line.get_linestyle()) == ("norm", "#0072B2", "--")
    (path,) = band.get_paths()
    assert {tuple(corner) for corner in path.vertices} >= {(1, 0), (1, 3), (2, 5), (2, 10)}
    assert (path.vertices[:, 1].min(), path.vertices[:, 1].max()) == (0, 10)


# Of each experiment

LOSSES = [2.3, 2.0, 1.0, 0.5]


def errors(module):
    settings = {**vars(module.QUICK), "seeds": [0, 1]}
    cases = itertools.product(module.VARIANTS, settings["batch_sizes"], (0, 1), ("epochs", "steps"))
    return {
        "settings": settings,
        "rows": [
            {
                "variant": variant,
                "batch_size": size,
                "seed": seed,
                "equal": equal,
                "steps": 10,
                "test_error": (0.1 + seed / 10 + len(variant) / 100) * (2 if equal == "steps" else 1),
            }
            for variant, size, seed, equal in cases
        ],
    }


def runs_of_vgg():
    rows = [
        {
            "norm": norm,
            "lr": lr,
            "seed": 0,
            "outcome": "learned",
            "diverged": None,
            "losses": LOSSES,
            "accuracies": LOSSES,
        }
        for norm, lr in itertools.product(("none", "batch"), (0.01, 0.1))
    ]
    rows[0] |= {"diverged": 3, "losses": [2.3, 1e30], "accuracies": [0.1, 0.1]}
    rows[1] |= {"diverged": 1, "losses": [], "accuracies": []}
    return {"settings": {**vars(no_batchnorm.QUICK), "lrs": [0.01, 0.1]}, "rows": rows}


def runs_of_mlp():
    rows = [
        {
            "activation": "relu",
            "factor": factor,
            "batch_norm": norm,
            "seed": 0,
            "steps": 4 if norm else None,
            "losses": LOSSES,
        }
        for factor, norm in itertools.product((1, 30), (False, True))
    ]
    settings = {**vars(steps_to_loss.QUICK), "activations": ["relu"], "factors": [1, 30], "seeds": [0]}
    return {"settings": settings, "best_lr": {"relu": 0.1}, "rows": rows}


def variances():
    cases = itertools.product((1.0, 1e4), one_pass_variance.METHODS, (0, 1))
    rows = [
        {
            "mean": mean,
            "method": method,
            "seed": seed,
            "median_error": 1e-7 * mean,
            "largest_error": 1.0,
            "negative": 0.1,
        }
        for mean, method, seed in cases
    ]
    return {"settings": {**vars(one_pass_variance.QUICK), "means": [1.0, 1e4]}, "rows": rows}


def statistics():
    channel = dict.fromkeys(running_stats.MEASURES, 0.5)
    layer = {"layer": "bn", "mean_error": 0.1, "var_ratio": 1.0, "first_channel": channel}
    moments = [{"step": step, "gap": 0.2, "layers": [layer, layer]} for step in (1, 10)]
    rows = [{"momentum": momentum, "seed": 0, "measured": moments} for momentum in (0.1, 0.01, None)]
    return {"settings": {**vars(running_stats.QUICK), "measured_at": [1, 10]}, "rows": rows}


@pytest.mark.parametrize(
    ("module", "result", "count", "words"),
    [
        (
            no_batchnorm,
            runs_of_vgg(),
            4,
            {"lr 0.01", "lr 0.1", "training accuracy", "without batch norm", "with batch norm"},
        ),
        (steps_to_loss, runs_of_mlp(), 2, {"relu: steps, each seed a point", "without batch norm", "30×"}),
        (running_stats, statistics(), 6, {"momentum None", "whole data (left)", "first norm", "last norm"}),
        (swap_norm, errors(swap_norm), 2, {"batch size", "test error", *swap_norm.VARIANTS}),
        (small_batches, errors(small_batches), 2, {"32", "2", *small_batches.VARIANTS}),
        (one_pass_variance, variances(), 2, {"100 % wrong", *one_pass_variance.METHODS.values()}),
    ],
    ids=lambda value: getattr(value, "__name__", "").rpartition(".")[2] or None,
)
def test_pictures(module, result, count, words):
    from matplotlib.text import Text

    figure = module.draw(Measurements(json.loads(json.dumps(result))))
    assert len(figure.axes) == count
    assert figure.get_suptitle()
    figure.draw_without_rendering()
    shown = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text()]
    assert words <= {text.get_text() for text in shown}
    assert all(axes.lines for axes in figure.axes)
    width, height = figure.bbox.size
    for text in (figure._suptitle, *(axes.title for axes in figure.axes)):
        box = text.get_window_extent()
        assert box.x0 >= 0, text.get_text()
        assert box.x1 <= width, text.get_text()
        assert box.y1 <= height, text.get_text()


@pytest.mark.parametrize("module", [swap_norm, small_batches])
def test_errors_at_equal_steps_are_drawn_on_one_scale_with_those_at_equal_epochs(module):
    at_epochs, at_steps = module.draw(Measurements(errors(module))).axes
    assert at_epochs.get_ylim() == at_steps.get_ylim()
    assert at_steps.get_ylim()[0] == 0
    assert at_steps.get_ylim()[1] >= at_steps.dataLim.y1 > at_epochs.dataLim.y1
