"""A bar chart of several models' figures."""

from collections.abc import Mapping
from io import BytesIO

from matplotlib.figure import Figure

from latentry_trainer.report.style import COLOURS, GREY, save, tidy

_WIDTH = 0.8  # of a group of bars


def draw_comparison(evaluations: Mapping[str, Mapping[str, Mapping[str, float]]], figure: str) -> bytes:
    """Returns a PNG: a group of bars a model, in it a bar a split.

    Args:
        evaluations: {model: {split: {figure: value}}}, the same splits for all.
        figure: Which figure is drawn.
    """
    splits = list(next(iter(evaluations.values())))
    width = _WIDTH / len(splits)
    chart = Figure(figsize=(6, 3.2), layout="constrained")
    axes = chart.subplots()
    for i, (split, colour) in enumerate(zip(splits, COLOURS, strict=False)):
        places = [group + (i - (len(splits) - 1) / 2) * width for group in range(len(evaluations))]
        values = [splits_of_model[split][figure] for splits_of_model in evaluations.values()]
        bars = axes.bar(places, values, width=0.94 * width, color=colour, label=split)
        axes.bar_label(bars, fmt="%.3f", color=GREY, fontsize=8)
    axes.set_xticks(range(len(evaluations)), list(evaluations))
    # Beside the title: bars may be high everywhere.
    axes.legend(frameon=False, labelcolor=GREY, fontsize=8, loc="lower right", bbox_to_anchor=(1, 1), ncols=len(splits))
    axes.set_axisbelow(True)
    tidy(axes, figure)
    content = BytesIO()
    save(chart, content)
    return content.getvalue()
