"""What pictures share: names as they are written, a cloud of dots, a PNG whose bytes say nothing of who drew it."""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

_DOTS, _OPAQUE_UP_TO = 1_000, 300


def draw_dots(axes: "Axes", x: "NDArray", y: "NDArray") -> None:  # type: ignore[type-arg]
    """One dot a row, (N,) against (N,); of more than 1 000 rows an even 1 000."""
    drawn = slice(None, None, -(-len(x) // _DOTS) or 1)
    # The more dots, the fainter each, so that a cloud shows where it is dense.
    dense = max(0.1, min(0.6, _OPAQUE_UP_TO / max(1, len(x[drawn]))))
    axes.plot(x[drawn], y[drawn], ".", markersize=4, alpha=dense, color="tab:blue", mew=0)


@contextmanager
def names_as_written(figure: "Figure") -> Iterator[None]:
    """Around the drawing of a finished figure: a ``$`` in a column's, corpus's or clip's name begins no formula.

    Letters that the font lacks are drawn as boxes, without a warning for each.
    """
    from matplotlib.text import Text

    for text in figure.findobj(Text):
        text.set_parse_math(False)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")
        yield


def png_of(figure: "Figure", title: str | None = None) -> bytes:
    """The figure as a PNG, which says its ``title`` where it has one; equal figures give equal bytes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    png = io.BytesIO()
    FigureCanvasAgg(figure)  # no pyplot: no display, and no state that runs in one process would share
    with names_as_written(figure):
        # no version of matplotlib in the bytes
        figure.savefig(png, format="png", metadata={"Software": None, "Title": title})
    return png.getvalue()
