"""The family ``clip``: what a clip is as a file; and the audit of a feature table by it.

Transfer functions, malformed HDR, bit depths, damaged frames: counts and names. What clips look like is not judged
here.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from vqa_assets.feature_names import CLIP_COLUMNS, MEASURED, TRANSFERS
from vqa_assets.features.decoding import DecodedClip, Frame
from vqa_assets.features.family import Family, FrameRequest, Measured

NAMED = 50
"""How many malformed clips the replay manifest names."""

AUDITED = ("key", "clip_transfer", "clip_primaries", "clip_bitdepth", "clip_interlaced", "clip_damaged")
"""The columns that the audit reads."""

_PQ, _HLG, _UNSPECIFIED = 16, 18, (0, 2, 3)
"""Code points of ITU-T H.273; 0 and 3 are reserved, and as good as nothing said."""

_PRIMARIES = {1: "bt709", 4: "bt470m", 5: "bt470bg", 6: "smpte170m", 7: "smpte240m", 8: "film", 9: "bt2020"}
_PRIMARIES |= {10: "smpte428", 11: "smpte431", 12: "smpte432", 22: "ebu3213"}


@dataclass(frozen=True)
class ClipFacts(Family):
    """Columns: ``n_feature_frames`` (frames measured), ``clip_transfer``, ``clip_primaries``, ``clip_bitdepth``,
    ``clip_damaged`` (frames), ``clip_interlaced``."""

    algorithm: int = 5
    name = "clip"
    columns = tuple(MEASURED[name] for name in CLIP_COLUMNS)
    frames = FrameRequest()
    of_file = CLIP_COLUMNS

    @contextmanager
    def open(self, clip: DecodedClip) -> "Iterator[_Description]":
        """Nothing to begin: what the decoder saw is asked for at the end."""
        yield _Description(clip)


@dataclass(frozen=True)
class FirstFrame:
    """The plan to look at the first frame."""

    def positions(self, count: int, rate: float) -> list[int]:  # noqa: ARG002  the plan's shape
        """The first, of any frames."""
        return [0][:count]


@dataclass(frozen=True)
class SoughtFacts(ClipFacts):
    """The same columns of a clip that is not decoded whole: ``n_feature_frames`` are those of which its packets tell,
    ``clip_damaged`` counts among those decoded."""

    name = "clip-sought"
    frames = FrameRequest(plan=FirstFrame())

    @contextmanager
    def open(self, clip: DecodedClip) -> "Iterator[_Description]":
        """Nothing to begin."""
        yield _Description(clip, clip.timeline.count)


@dataclass
class _Description:
    clip: DecodedClip
    frames: int | None = None

    def add(self, frame: Frame) -> None:
        """Whatever is handed over, only what the decoder says of it counts."""

    def columns(self) -> Measured:
        """What the decoder saw."""
        source = self.clip.source
        return {
            "n_feature_frames": source.count if self.frames is None else self.frames,
            "clip_transfer": transfer_name(source.tags["transfer"]),
            "clip_primaries": primaries_name(source.tags["primaries"]),
            "clip_bitdepth": self.clip.picture.bit_depth,
            "clip_damaged": source.damaged,
            "clip_interlaced": source.tags["interlaced"],
        }


def transfer_name(code: int) -> str:
    """``pq``, ``hlg``, ``sdr`` or ``unknown`` of a transfer characteristic's code point."""
    return {_PQ: "pq", _HLG: "hlg"}.get(code, "unknown" if code in _UNSPECIFIED else "sdr")


def primaries_name(code: int) -> str:
    """FFmpeg's name of colour primaries; ``unknown`` where none are declared."""
    return _PRIMARIES.get(code, "unknown")


def is_malformed_hdr(transfer: str, primaries: str) -> bool:
    """Whether PQ or HLG is declared without BT.2020 (ITU-R BT.2100 has no other primaries)."""
    return transfer in ("pq", "hlg") and primaries != "bt2020"


@dataclass
class ClipAudit:
    """Clips by transfer function, primaries, bit depth; interlaced ones; keys of malformed HDR and of damaged ones.

    Every transfer function is counted, those of no clip as 0.
    """

    transfers: Counter[str] = field(default_factory=lambda: Counter(dict.fromkeys(TRANSFERS, 0)))
    primaries: Counter[str] = field(default_factory=Counter)
    bit_depths: Counter[str] = field(default_factory=Counter)
    interlaced: int = 0
    malformed: list[str] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)

    def add(self, row: Mapping[str, Any]) -> None:
        """Count one row of a feature table; one without ``clip_transfer`` says nothing of its clip as a file."""
        if "clip_transfer" not in row:
            return
        transfer, primaries = str(row["clip_transfer"]), str(row["clip_primaries"])
        self.transfers[transfer] += 1
        self.primaries[primaries] += 1
        self.bit_depths[str(row.get("clip_bitdepth", "unknown"))] += 1
        self.interlaced += bool(row.get("clip_interlaced"))
        if is_malformed_hdr(transfer, primaries):
            self.malformed.append(row["key"])
        if row.get("clip_damaged"):
            self.damaged.append(row["key"])

    def as_dict(self) -> dict[str, Any]:
        """The audit as the replay manifest has it."""
        return {
            "transfers": {name: self.transfers[name] for name in TRANSFERS},
            "primaries": dict(sorted(self.primaries.items())),
            "bit_depths": dict(sorted(self.bit_depths.items())),
            "interlaced": self.interlaced,
            "malformed_hdr": len(self.malformed),
            "malformed_hdr_clips": self.malformed[:NAMED],
            "damaged": len(self.damaged),
            "damaged_clips": self.damaged[:NAMED],
        }


def clip_audit(rows: Iterable[Mapping[str, Any]]) -> ClipAudit:
    """The audit of a feature table's rows."""
    audit = ClipAudit()
    for row in rows:
        audit.add(row)
    return audit
