"""Small PNG pictures for metadata, a few kilobytes each: the event log stores them."""

import io
from collections.abc import Sequence

from vqa_assets.mos import MosScale


def histogram_png(counts: Sequence[int], scale: MosScale, title: str) -> bytes:
    """Counts in equal bins over the scale's range as a bar chart."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.2, 2.4), dpi=80, layout="constrained")
    axes = figure.subplots()
    width = (scale.high - scale.low) / len(counts)
    axes.bar([scale.low + width * (i + 0.5) for i in range(len(counts))], counts, width=0.92 * width, color="#4f7cac")
    axes.set_xlim(scale.low, scale.high)
    axes.set_xlabel(f"MOS ({scale.name})")
    axes.set_ylabel("clips")
    axes.set_title(title, fontsize=9)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    content = io.BytesIO()
    FigureCanvasAgg(figure).print_png(content)  # type: ignore[no-untyped-call]
    return content.getvalue()
