"""A small picture of a corpus's worst and best clips by MOS, each with its score and a few features.

Which features there are is in ``view``; how the picture is shown is the asset's.
"""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vqa_assets.errors import ClipError
from vqa_assets.features.decoding import ClipFile, opened
from vqa_assets.features.table import ClipToMeasure

if TYPE_CHECKING:
    from PIL.Image import Image

CLIPS = 4
"""How many of the worst, and of the best, clips there are."""

MOST_BYTES = 40_000
"""The event log keeps the picture with every materialization."""

CAPTION = ("adm2", "si", "ti", "blur")
"""Features whose values stand under a picture."""

_TILE, _CAPTION = (168, 112), 30
_QUALITIES = (72, 55, 40, 25, 10)


def contact_sheet(rows: Sequence[Mapping[str, Any]], mos: Mapping[str, float], clips: Sequence[ClipToMeasure]) -> bytes:
    """A JPEG of at most ``MOST_BYTES``: a row of the worst clips and one of the best, a frame from the middle of each.

    Frames are shown by their codes, HDR without tone mapping. A clip that does not decode leaves its tile empty. No
    bytes where fewer than two clips have both features and a score.
    """
    from PIL import Image

    files = {clip.key: ClipFile(clip.path, clip.raw) for clip in clips}
    scored = sorted((row for row in rows if row["key"] in mos), key=lambda row: mos[row["key"]])
    count = min(CLIPS, len(scored) // 2)
    if not count:
        return b""
    width, height = _TILE[0], _TILE[1] + _CAPTION
    sheet = Image.new("RGB", (count * width, 2 * height), "white")
    for line, chosen in enumerate((scored[:count], scored[-count:][::-1])):
        for place, row in enumerate(chosen):
            tile = _tile(row, mos[row["key"]], files[row["key"]])
            sheet.paste(tile, (place * width, line * height))
    return _jpeg(sheet)


def _tile(row: Mapping[str, Any], score: float, clip: ClipFile) -> "Image":
    """One clip's picture over two lines of text."""
    from PIL import Image, ImageDraw

    tile = Image.new("RGB", (_TILE[0], _TILE[1] + _CAPTION), "white")
    picture = _middle(clip)
    if picture is not None:
        tile.paste(picture, ((_TILE[0] - picture.width) // 2, (_TILE[1] - picture.height) // 2))
    told = " ".join(f"{name} {row[name]:.2g}" for name in CAPTION if isinstance(row.get(name), float))
    draw = ImageDraw.Draw(tile)
    draw.text((3, _TILE[1] + 2), f"MOS {score:.2f}  {Path(str(row['key'])).name}"[:34], fill="black", font_size=9)
    draw.text((3, _TILE[1] + 15), told, fill="black", font_size=8)
    return tile


def _middle(clip: ClipFile) -> "Image | None":
    """A frame from the middle, within ``_TILE``; None where there is none."""
    from PIL import Image

    try:
        with opened(clip) as source:
            source.seek_middle()
            shown = next(iter(source.frames(1)))
            scale = min((_TILE[0] - 6) / shown.picture.width, (_TILE[1] - 4) / shown.picture.height)
            size = [max(round(side * scale), 1) for side in (shown.picture.width, shown.picture.height)]
            return Image.fromarray(shown.scaled(size[0], size[1], "rgb24"))
    except ClipError:
        return None


def _jpeg(sheet: "Image") -> bytes:
    content = io.BytesIO()
    for quality in _QUALITIES:
        content = io.BytesIO()
        sheet.save(content, "JPEG", quality=quality, optimize=True)
        if content.tell() <= MOST_BYTES:
            break
    return content.getvalue()
