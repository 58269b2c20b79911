"""One clip's feature row from nothing but its file: what ``clip_features`` writes for a clip of a corpus.

A corpus's rows come from its JSONL (``corpus_table``); what is measured is the extractor's.
"""

import threading
from pathlib import Path
from typing import Any

from vqa_assets.clips.containers import clearer_reason, refuse_what_is_no_clip
from vqa_assets.clips.geometry import Geometry, geometry_of, raw_geometry
from vqa_assets.clips.hashing import hash_file
from vqa_assets.clips.pyav import answer_of
from vqa_assets.corpora.raw_video import RawVideo
from vqa_assets.errors import BrokenClipError, TransientClipError
from vqa_assets.features.protocols import FeatureExtractor
from vqa_assets.features.table import feature_row


def one_clip_row(
    clip: Path,
    extractor: FeatureExtractor,
    *,
    reference: Path | None = None,
    raw: RawVideo | None = None,
    stop: threading.Event | None = None,
) -> dict[str, Any]:
    """The columns of the feature table for one file: measured ones, geometry, size and hash; ``key`` is its name.

    With ``reference`` the clip is a ladder clip compared with it. ``raw`` is what it is where it has no
    container. ``corpus`` is None. Raises ``BrokenClipError`` for a file that is no whole clip, ``ClipError`` for one
    that cannot be measured, ``TransientClipError`` where it cannot be read, ``FeatureError`` where no clip could be.
    """
    try:
        geometry = _geometry(clip, raw)
        content = hash_file(clip, stop or threading.Event())
    except OSError as error:
        raise TransientClipError(f"{clip.name}: cannot be read", found=error.strerror or str(error)) from error
    measured = extractor.extract(clip, reference=reference, raw=raw, stop=stop)
    identity = {"src": clip.name, "src_sha256": content.sha256, "src_size_bytes": content.size_bytes}
    return feature_row({**identity, **geometry.as_dict()}, measured)


def _geometry(clip: Path, raw: RawVideo | None) -> Geometry:
    """What ingest finds in the same file; BrokenClipError names the file."""
    try:
        if raw is not None:
            return raw_geometry(raw, clip.stat().st_size, "")
        refuse_what_is_no_clip(clip)
        return _asked(clip)
    except BrokenClipError as error:
        raise BrokenClipError(f"{clip.name}: {error}", next_step="fetch or stage the clip again") from None


def _asked(clip: Path) -> Geometry:
    try:
        return geometry_of(answer_of(clip))
    except BrokenClipError as error:
        raise BrokenClipError(clearer_reason(str(error), clip)) from None
