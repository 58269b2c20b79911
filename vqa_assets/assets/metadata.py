"""How results are shown in the web UI: rows as tables that fit its page, numbers shortened, small pictures in Markdown.

The event log stores all of it, so pictures are kept to a few kilobytes. What every published file shows is in
``published``.
"""

import base64
import io
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import dagster as dg

from vqa_assets.corpora.scales import UNIFIED, MosScale
from vqa_assets.heads.judging.pictures import names_as_written
from vqa_assets.printing import markdown_table, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from vqa_assets.features.embeddings import EmbeddingPlane

Matrix = Mapping[str, Mapping[str, float | None]]
"""{trained on: {tested on: value}}, None where it is not defined."""

_MOST_COLUMNS, _SHORT_MARKDOWN = 6, 1000
_CHARACTER_PX, _HEADER_CHARACTER_PX, _MARGINS_PX = 8.43, 7.22, 17
_JSON_FRAME = 5
"""The indentation, quotes and comma around an element of a list, in characters."""
_BREAKS = re.compile(r"\s+|(?<=[^\W_]-)(?=[^\W_])")
LONGEST_NAME = 14
"""The characters of an entry's name: the longest one gives its column the width, and leaves values the rest."""


@dataclass(frozen=True)
class Room:
    """What one of Dagster's pages leaves for a value in a window of 1024 pixels, beside names of ``LONGEST_NAME``.

    One word that is wider widens the column of all values, so that the others are cut, too: only the column scrolls.
    """

    px: float

    @property
    def characters(self) -> int:
        """The longest word that is seen whole."""
        return int(self.px / _CHARACTER_PX)


OVERVIEW_TAB = Room(148)
"""The page that an asset's link opens, with a column of times and the panel of the definition beside the values."""
EVENT_PAGE = Room(282)
"""The page of one materialization of a table: a partition's, or what the tab of events has beside its list.

There the name of the column schema, which is Dagster's, is longer than any of ours.
"""
PANELS_DRAWN = 12
"""How many corpora one picture shows: more would be neither small nor readable."""
_COLOURS = 32
_CORPORA_NAMED = 10


def records(rows: Sequence[Mapping[str, Any]]) -> dg.TableMetadataValue | None:
    """Rows as a table, ``–`` where a row has no value, numbers ``shortened``; None where there is no row.

    A single row of more than six columns is shown as their names and values.
    """
    if not rows:
        return None
    names = list(dict.fromkeys(name for row in rows for name in row))
    cells = [{name: "–" if row.get(name) is None else shortened(row[name]) for name in names} for row in rows]
    if len(cells) == 1 and len(names) > _MOST_COLUMNS:
        cells = [{"name": name, "value": value} for name, value in cells[0].items()]
    return _table(cells)


def fitted(value: Any, room: Room) -> Any:
    """A metadata value as it is where it fits the room, else behind a click.

    A long number is ``shortened``, a URL becomes a link without its address.
    """
    if isinstance(value, float) and len(f"{value}") > room.characters:
        return shortened(value)
    if isinstance(value, dg.TableMetadataValue):
        cells = [dict(record.data) for record in value.records]
        return behind_a_click(markdown_table(cells)) if _narrowest_px(cells) > room.px else value
    if isinstance(value, dg.UrlMetadataValue) and longest_word(value.value or "") > room.characters:
        return dg.MetadataValue.md(f"[open](<{value.value}>)")
    if isinstance(value, str) and longest_word(value) > room.characters:
        return behind_a_click(f"`{value}`")
    if isinstance(value, list) and any(longest_word(f"{one}") + _JSON_FRAME > room.characters for one in value):
        return behind_a_click("\n".join(f"- `{one}`" for one in value))
    return value


def behind_a_click(markdown: str) -> dg.MetadataValue[Any]:
    """Markdown that no page shows at once: with blanks at its end, for short ones are (Dagster 1.13)."""
    return dg.MetadataValue.md(markdown.ljust(_SHORT_MARKDOWN))


def sentences(name: str, lines: Iterable[str]) -> dg.TableMetadataValue | None:
    """Lines as a table of one column, whose cells wrap; None of no line."""
    cells = [{name: plain(line)} for line in lines]
    return _table(cells) if cells else None


def _table(cells: Sequence[Mapping[str, Any]]) -> dg.TableMetadataValue:
    return dg.MetadataValue.table([dg.TableRecord(cell) for cell in cells])


def narrow(text: str, most: int) -> str:
    """A text without words of more than ``most`` characters: of a long path its end."""
    return " ".join(word if longest_word(word) <= most else f"…{word[1 - most :]}" for word in text.split())


def longest_word(text: str) -> int:
    """How many characters of a text a browser keeps on one line: it breaks at blanks, and behind hyphens in a word."""
    return max(map(len, _BREAKS.split(text)))


def _narrowest_px(cells: Sequence[Mapping[str, Any]]) -> float:
    """The width in pixels below which the web UI cannot draw a table: each column's longest word, and its margins."""
    columns = [[f"{row[name]}" for row in cells] for name in cells[0]]
    words = (max(map(longest_word, column)) * _CHARACTER_PX for column in columns)
    headers = (longest_word(name) * _HEADER_CHARACTER_PX for name in cells[0])
    return sum(max(sizes) + _MARGINS_PX for sizes in zip(words, headers, strict=True))


def shortened(value: Any) -> Any:
    """A float with four significant figures, and all of those before its point; a text as a person may see it."""
    if isinstance(value, str):
        return plain(value)
    if not isinstance(value, float) or not math.isfinite(value) or value == 0:
        return value
    return round(value, max(0, 3 - math.floor(math.log10(abs(value)))))


def counted(counts: Mapping[str, int], name: str = "reason") -> dg.TableMetadataValue | None:
    """Counts by name as a table; None of no counts."""
    return records([{name: key, "rows": value} for key, value in counts.items()])


def picture(content: bytes, title: str, kind: str = "png") -> dg.MetadataValue[Any]:
    """A small PNG (or JPEG: ``kind``) inside Markdown, behind the UI's [Show Markdown]."""
    return dg.MetadataValue.md(f"![{title}](data:image/{kind};base64,{base64.b64encode(content).decode()})")


@dataclass(frozen=True)
class HistogramPair:
    """One corpus's scores as counts in equal bins, on its native scale and on the unified one."""

    title: str
    scale: MosScale
    native: Sequence[int]
    unified: Sequence[int]


def histogram_png(counts: Sequence[int], scale: MosScale, title: str) -> bytes:
    """Counts in equal bins over the scale's range as a bar chart."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.2, 2.4), dpi=80, layout="constrained")
    axes = figure.subplots()
    _bars(axes, counts, scale)
    axes.set_xlabel(f"MOS ({scale.title})")
    axes.set_ylabel("clips")
    axes.set_title(title, fontsize=9)
    content = io.BytesIO()
    with names_as_written(figure):
        FigureCanvasAgg(figure).print_png(content)  # type: ignore[no-untyped-call]
    return content.getvalue()


def histogram_pairs_png(pairs: Sequence[HistogramPair]) -> bytes:
    """One row per corpus, native beside unified, as one PNG of few colours; of more than 12 the first ones."""
    from matplotlib.figure import Figure

    drawn = pairs[:PANELS_DRAWN]
    height = 1.05 * len(drawn) + 0.3
    # Margins in inches, not a layout that Matplotlib works out: drawing every text twice for it takes a second.
    figure = Figure(figsize=(5.6, height), dpi=80)
    figure.subplots_adjust(
        left=0.09, right=0.97, bottom=0.35 / height, top=1 - 0.2 / height, wspace=0.2, hspace=0.75 if drawn[1:] else 0
    )
    for pair, (left, right) in zip(drawn, figure.subplots(len(drawn), 2, squeeze=False), strict=True):
        for axes, counts, scale in ((left, pair.native, pair.scale), (right, pair.unified, UNIFIED)):
            _bars(axes, counts, scale)
            axes.set_xticks([scale.low + (scale.high - scale.low) * part / 4 for part in range(5)])
            axes.set_yticks(sorted({0, max(counts)}))
            axes.tick_params(labelsize=6)
        left.set_title(f"{pair.title} ({pair.scale.title})", fontsize=7)
        right.set_title(f"unified ({UNIFIED.name})", fontsize=7)
    if len(pairs) > len(drawn):
        figure.supxlabel(f"… and {len(pairs) - len(drawn)} more", fontsize=7, y=0.02 / height, va="bottom")
    return _few_colours(figure)


def heat_map_png(matrices: Mapping[str, Matrix]) -> bytes:
    """Per metric a square of {trained on: {tested on: value}}, each cell with its number, as one PNG of few colours."""
    import numpy as np
    from matplotlib.figure import Figure

    corpora = list(next(iter(matrices.values())))
    side = 1.6 + 0.55 * len(corpora)
    figure = Figure(figsize=(side * len(matrices), side), dpi=72, layout="tight")
    panels = figure.subplots(1, len(matrices), squeeze=False)[0]
    for axes, (metric, matrix) in zip(panels, matrices.items(), strict=True):
        cells = [[matrix[one][other] for other in corpora] for one in corpora]
        values = np.array([[np.nan if cell is None else cell for cell in row] for row in cells])
        axes.imshow(np.ma.masked_invalid(values), vmin=0, vmax=1, cmap="viridis")
        axes.set_title(metric.upper(), fontsize=9)
        axes.set_xticks(range(len(corpora)), corpora, rotation=45, ha="right", fontsize=7)
        axes.set_yticks(range(len(corpora)), corpora, fontsize=7)
        axes.set_xlabel("tested on", fontsize=8)
        axes.set_ylabel("trained on", fontsize=8)
        for (row, column), value in np.ndenumerate(values):
            # Dark cells have white numbers: the colour map is dark up to 0.6; a cell without a value is blank.
            defined = bool(np.isfinite(value))
            text, ink = f"{value:.2f}" if defined else "–", "white" if defined and value < 0.6 else "black"
            axes.text(column, row, text, ha="center", va="center", fontsize=7, color=ink)
    return _few_colours(figure)


def embeddings_png(planes: "Sequence[EmbeddingPlane]", mos: Sequence[float], corpora: Sequence[str] = ()) -> bytes:
    """A row for each backbone: its clips in the plane of an ``EmbeddingPlane``, coloured by MOS and, beside, by corpus.

    ``mos`` and ``corpora`` are a table's columns; clips whose score is NaN are grey. Of more than 12 backbones the
    first ones are drawn, of more than ten corpora the largest ten are named.
    """
    import numpy as np
    from matplotlib.figure import Figure

    drawn, across = planes[:PANELS_DRAWN], 2 if corpora else 1
    figure = Figure(figsize=(4.4 * across, 3.2 * len(drawn)), dpi=72, layout="tight")
    scores, names = np.asarray(mos, dtype=np.float64), np.asarray(corpora, dtype=object)
    for plane, panels in zip(drawn, figure.subplots(len(drawn), across, squeeze=False), strict=True):
        x, y = plane.points.T
        of_clips = scores[plane.rows]
        known = np.isfinite(of_clips)
        panels[0].scatter(x[~known], y[~known], s=9, color="0.8")
        dots = panels[0].scatter(x[known], y[known], c=of_clips[known], s=9, cmap="viridis")
        figure.colorbar(dots, ax=panels[0], label="MOS")
        if corpora:
            found, counts = np.unique(names[plane.rows].astype(str), return_counts=True)
            largest = found[np.argsort(-counts, kind="stable")][:_CORPORA_NAMED]
            for name in largest:
                chosen = names[plane.rows] == name
                panels[1].scatter(x[chosen], y[chosen], s=9, label=name)
            others = ~np.isin(names[plane.rows].astype(str), largest)
            panels[1].scatter(x[others], y[others], s=9, color="0.8", label="others" if others.any() else None)
            panels[1].legend(fontsize=6)
        for axes in panels:
            axes.set_title(plane.column, fontsize=8)
            axes.set_xlabel(f"first component, {plane.shares[0]:.0%} of the variance", fontsize=7)
            axes.set_ylabel(f"second, {plane.shares[1]:.0%}", fontsize=7)
            axes.tick_params(labelsize=6)
    return _few_colours(figure)


def _bars(axes: "Axes", counts: Sequence[int], scale: MosScale) -> None:
    width = (scale.high - scale.low) / len(counts)
    edges = [scale.low + width * i for i in range(len(counts) + 1)]
    axes.stairs(
        counts, edges, fill=True, color="#4f7cac"
    )  # one shape: a rectangle for each bin takes ten times as long
    axes.set_xlim(scale.low, scale.high)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _few_colours(figure: "Figure") -> bytes:
    """The figure as a PNG with a palette: a third of the size of one with all colours."""
    import numpy as np
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    canvas = FigureCanvasAgg(figure)
    with names_as_written(figure):
        canvas.draw()  # type: ignore[no-untyped-call]
    pixels = np.asarray(canvas.buffer_rgba())  # type: ignore[no-untyped-call]
    content = io.BytesIO()
    Image.fromarray(pixels).convert("RGB").quantize(_COLOURS).save(content, "PNG", optimize=True)
    return content.getvalue()
