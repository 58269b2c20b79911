"""A picture of out-of-fold predictions against opinion scores. Matplotlib without pyplot: no state, no display."""

import io

from vqa_assets.heads.evaluation import Predictions
from vqa_assets.mos import TRAINING

_OPAQUE_UP_TO = 300
_DOTS = 2_000


def scatter_png(predictions: Predictions, title: str) -> bytes:
    """A small PNG: predicted over MOS, one dot a row (an even 2 000 of more), with the line where both are equal."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4, 4), dpi=80, layout="tight")
    axes = figure.add_subplot()
    ends = (TRAINING.low, TRAINING.high)
    shown = slice(None, None, -(-len(predictions.mos) // _DOTS) or 1)
    mos, predicted = predictions.mos[shown], predictions.predicted[shown]
    dense = max(0.1, min(0.6, _OPAQUE_UP_TO / max(1, len(mos))))
    axes.plot(ends, ends, color="0.5", linewidth=1)
    axes.plot(mos, predicted, ".", markersize=4, alpha=dense, color="tab:blue", mew=0)
    axes.set(xlim=ends, ylim=ends, xlabel="MOS (1–5)", ylabel="predicted (1–5), out of fold", title=title)
    png = io.BytesIO()
    FigureCanvasAgg(figure)
    figure.savefig(png, format="png", metadata={"Software": None})
    return png.getvalue()
