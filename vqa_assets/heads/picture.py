"""A head's picture for its card: out-of-fold predictions over scores, and residuals by corpus. Needs no display."""

import io
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from vqa_assets.heads.evaluation import Predictions

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CORPORA_DRAWN = 12
"""The most corpora whose residuals are drawn: those with most rows."""

_OPAQUE_UP_TO = 300
_DOTS = 1_000


def card_png(predictions: Predictions, manifest: Mapping[str, Any]) -> bytes:
    """A small PNG of two panels: predicted over MOS, one dot a row, and the spread of predicted − MOS per corpus.

    Of more than 1 000 rows an even 1 000 are dots. A head for another target than MOS is drawn on its own range.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 3.6), dpi=80, layout="tight")
    left, right = figure.subplots(1, 2)
    name, ends = target_of(manifest)
    _scatter(left, predictions, name, ends)
    _residuals(right, predictions, name)
    figure.suptitle(manifest["title"], fontsize=10)
    png = io.BytesIO()
    FigureCanvasAgg(figure)
    figure.savefig(png, format="png", metadata={"Software": None})
    return png.getvalue()


def target_of(manifest: Mapping[str, Any]) -> tuple[str, tuple[float, float]]:
    """What a head gives (``mos``, ``vmaf``), and between which ends."""
    key = next(key for key in manifest if key.endswith("_range"))
    low, high = manifest[key]
    return key.removesuffix("_range"), (low, high)


def _scatter(axes: "Axes", predictions: Predictions, name: str, ends: tuple[float, float]) -> None:
    shown = slice(None, None, -(-len(predictions.mos) // _DOTS) or 1)
    mos, predicted = predictions.mos[shown], predictions.predicted[shown]
    dense = max(0.1, min(0.6, _OPAQUE_UP_TO / max(1, len(mos))))
    axes.plot(ends, ends, color="0.5", linewidth=1)
    axes.plot(mos, predicted, ".", markersize=4, alpha=dense, color="tab:blue", mew=0)
    told = f"{name.upper()} ({ends[0]:g}–{ends[1]:g})"
    axes.set(xlim=ends, ylim=ends, xlabel=told, ylabel="predicted, not trained on")


def _residuals(axes: "Axes", predictions: Predictions, name: str) -> None:
    corpora = np.asarray(predictions.corpora)
    names, counts = np.unique(corpora, return_counts=True)
    drawn = [str(n) for n in names[np.argsort(-counts, kind="stable")][:CORPORA_DRAWN]][::-1]
    apart = predictions.predicted - predictions.mos
    axes.axvline(0, color="0.5", linewidth=1)
    if drawn:
        each = [apart[corpora == n] for n in drawn]
        axes.boxplot(each, orientation="horizontal", tick_labels=drawn, whis=(5, 95), showfliers=False)
    axes.tick_params(labelsize=8)
    axes.set_xlabel(f"predicted − {name.upper()}: median, quarters, 5–95 %")
