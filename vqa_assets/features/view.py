"""What a person wants to see of a feature table: ranges, correlation with MOS, silent columns, pictures of clips.

How any of it is shown is the asset's.
"""

import io
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vqa_assets.clips.caps import ClipCaps
from vqa_assets.clips.folders import StoredClip
from vqa_assets.clips.scratch import clips_at_hand
from vqa_assets.errors import ClipError
from vqa_assets.feature_names import (
    KONVID_V1,
    NO_REFERENCE,
    NO_REFERENCE_CLIP,
    NR_V1,
    SHOT_FEATURES,
    TIME_VARYING,
)
from vqa_assets.features.decoding import ClipFile, opened
from vqa_assets.features.measuring import ClipToMeasure, refuse_too_large
from vqa_assets.metrics import finite_or_none, srocc
from vqa_assets.tables.content_errors import reading
from vqa_assets.tables.parquet import open_parquet

if TYPE_CHECKING:
    from PIL.Image import Image
    from pyarrow.parquet import ParquetFile

CLIPS = 4
"""How many of the worst, and of the best, clips there are."""

MOST_BYTES = 40_000
"""The event log keeps the picture with every materialization."""

CAPTION = ("adm2", "si", "ti", "blur")
"""Features whose values stand under a picture."""

_TILE, _CAPTION = (168, 112), 30
_QUALITIES = (72, 55, 40, 25, 10)

LISTED = (*TIME_VARYING, *SHOT_FEATURES, *NO_REFERENCE, *NO_REFERENCE_CLIP)
"""Features listed one by one: time-varying ones by their means."""


@dataclass(frozen=True)
class TableView:
    """``ranges`` has one row per feature, best correlation first; ``missing`` and ``constant`` are measured columns
    that no head will train on, ``patchy`` those without a value in some row (column → rows)."""

    ranges: list[dict[str, Any]]
    missing: list[str]
    constant: list[str]
    patchy: Mapping[str, int]


def table_view(path: Path, mos: Mapping[str, float]) -> TableView:
    """The view of a feature table, a Parquet file read column by column.

    ``mos`` {key: native score, of which more is better}; keys that it lacks are left out of the correlation.
    """
    with reading(path):
        return _view(open_parquet(path), mos)


def _view(file: "ParquetFile", mos: Mapping[str, float]) -> TableView:
    names, rows = set(file.schema_arrow.names), file.metadata.num_rows
    keys = file.read(columns=["key"]).column("key").to_pylist()
    scores = np.array([mos.get(key, math.nan) for key in keys], dtype=np.float64)
    ranges = [_range(name, numbers(file, name), scores) for name in LISTED if name in names]
    ranges.sort(key=lambda row: -abs(row["srocc_with_mos"] or 0.0))
    missing, constant, patchy = [], [], {}
    # Of both feature sets the columns that must vary.
    measured = [name for schema in (KONVID_V1, NR_V1) for name in schema.columns if name in schema.measured]
    for name in (name for name in measured if name in names):
        values = numbers(file, name)
        values = values[np.isfinite(values)]
        if not len(values):
            missing.append(name)
            continue
        if np.ptp(values) == 0:
            constant.append(name)
        if len(values) < rows:
            patchy[name] = rows - len(values)
    return TableView(ranges, missing, constant, patchy)


def numbers(file: "ParquetFile", column: str) -> NDArray[np.float64]:
    """A column's values; NaN where a row has none."""
    values: NDArray[np.float64] = file.read(columns=[column]).column(column).cast("float64").to_numpy()
    return values


def _range(name: str, values: NDArray[np.float64], scores: NDArray[np.float64]) -> dict[str, Any]:
    finite = values[np.isfinite(values)]
    both = np.isfinite(values) & np.isfinite(scores)
    low, middle, high = (_short(f(finite)) if len(finite) else None for f in (np.min, np.median, np.max))
    correlation = finite_or_none(srocc(scores[both], values[both]))
    return {
        "feature": name,
        "clips": len(finite),
        "min": low,
        "median": middle,
        "max": high,
        "srocc_with_mos": None if correlation is None else round(correlation, 3),
    }


def _short(value: float) -> float:
    return float(f"{value:.4g}")


def worst_and_best(keys: Sequence[str], mos: Mapping[str, float]) -> Collection[str]:
    """The keys of at most ``CLIPS`` clips of the lowest scores, and as many of the highest; the others do not count."""
    scored = sorted((key for key in keys if key in mos), key=mos.__getitem__)
    return {*scored[:CLIPS], *scored[-CLIPS:]}


def contact_sheet(
    rows: Sequence[Mapping[str, Any]], mos: Mapping[str, float], clips: Sequence[ClipToMeasure], caps: ClipCaps
) -> bytes:
    """A JPEG of at most ``MOST_BYTES``: a row of the worst clips and one of the best, a frame from the middle of each.

    Frames are shown by their codes, HDR without tone mapping. A clip that does not decode, or is over one of ``caps``,
    leaves its tile empty. No bytes where fewer than two clips have both features and a score.
    """
    from PIL import Image

    shown = {clip.key: clip for clip in clips}
    scored = sorted((row for row in rows if row["key"] in mos), key=lambda row: mos[row["key"]])
    count = min(CLIPS, len(scored) // 2)
    if not count:
        return b""
    width, height = _TILE[0], _TILE[1] + _CAPTION
    sheet = Image.new("RGB", (count * width, 2 * height), "white")
    for line, chosen in enumerate((scored[:count], scored[-count:][::-1])):
        for place, row in enumerate(chosen):
            tile = _tile(row, mos[row["key"]], shown[row["key"]], caps)
            sheet.paste(tile, (place * width, line * height))
    content = io.BytesIO()
    for quality in _QUALITIES:
        content = io.BytesIO()
        sheet.save(content, "JPEG", quality=quality, optimize=True)
        if content.tell() <= MOST_BYTES:
            break
    return content.getvalue()


def _tile(row: Mapping[str, Any], score: float, clip: ClipToMeasure, caps: ClipCaps) -> "Image":
    """One clip's picture over two lines of text."""
    from PIL import Image, ImageDraw

    tile = Image.new("RGB", (_TILE[0], _TILE[1] + _CAPTION), "white")
    picture = _picture_of(clip, caps)
    if picture is not None:
        tile.paste(picture, ((_TILE[0] - picture.width) // 2, (_TILE[1] - picture.height) // 2))
    features = " ".join(f"{name} {row[name]:.2g}" for name in CAPTION if isinstance(row.get(name), float))
    draw = ImageDraw.Draw(tile)
    draw.text((3, _TILE[1] + 2), f"MOS {score:.2f}  {Path(str(row['key'])).name}"[:34], fill="black", font_size=9)
    draw.text((3, _TILE[1] + 15), features, fill="black", font_size=8)
    return tile


def _picture_of(clip: ClipToMeasure, caps: ClipCaps) -> "Image | None":
    """A frame of a clip's middle; None where it cannot be had."""
    stored = [clip.path] if isinstance(clip.path, StoredClip) else []
    try:
        with clips_at_hand(stored) as at_hand:
            path = at_hand[clip.path].path if isinstance(clip.path, StoredClip) else clip.path
            return _middle(ClipFile(path, clip.raw), caps)
    except (ClipError, OSError):  # of a store, at this moment
        return None


def _middle(clip: ClipFile, caps: ClipCaps) -> "Image | None":
    """A frame from the middle, within ``_TILE``; None where there is none."""
    from PIL import Image

    try:
        refuse_too_large(clip.path, clip.raw, caps)
        with opened(clip) as source:
            source.seek_middle()
            frame = next(iter(source.frames(1)))
            scale = min((_TILE[0] - 6) / frame.picture.width, (_TILE[1] - 4) / frame.picture.height)
            size = [max(round(side * scale), 1) for side in (frame.picture.width, frame.picture.height)]
            return Image.fromarray(frame.scaled(size[0], size[1], "rgb24"))
    except ClipError:
        return None
