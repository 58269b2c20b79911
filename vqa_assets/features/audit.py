"""What a feature table says of its clips as files: transfer functions, malformed HDR, bit depths, damaged frames.

Counts and names; what the clips look like is not judged here.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vqa_assets.feature_names import TRANSFERS
from vqa_assets.features.colour import is_malformed_hdr

NAMED = 50
"""How many malformed clips the replay manifest names."""

AUDITED = ("key", "clip_transfer", "clip_primaries", "clip_bitdepth", "clip_interlaced", "clip_damaged")
"""The columns that the audit reads."""


@dataclass(frozen=True)
class ClipAudit:
    """Clips by transfer function, primaries, bit depth; interlaced ones; keys of malformed HDR and of damaged ones."""

    transfers: Mapping[str, int]
    primaries: Mapping[str, int]
    bit_depths: Mapping[str, int]
    interlaced: int
    malformed: tuple[str, ...]
    damaged: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """The audit as the replay manifest has it."""
        return {
            "transfers": dict(self.transfers),
            "primaries": dict(self.primaries),
            "bit_depths": dict(self.bit_depths),
            "interlaced": self.interlaced,
            "malformed_hdr": len(self.malformed),
            "malformed_hdr_clips": list(self.malformed[:NAMED]),
            "damaged": len(self.damaged),
            "damaged_clips": list(self.damaged[:NAMED]),
        }


def clip_audit(rows: Sequence[Mapping[str, Any]]) -> ClipAudit:
    """The audit of a feature table's rows; every transfer function is counted, those of no clip as 0."""
    known = [row for row in rows if "clip_transfer" in row]
    transfers = Counter(str(row["clip_transfer"]) for row in known)
    return ClipAudit(
        transfers={name: transfers[name] for name in TRANSFERS},
        primaries=dict(sorted(Counter(str(row["clip_primaries"]) for row in known).items())),
        bit_depths=dict(sorted(Counter(str(row.get("clip_bitdepth", "unknown")) for row in known).items())),
        interlaced=sum(bool(row.get("clip_interlaced")) for row in known),
        malformed=tuple(r["key"] for r in known if is_malformed_hdr(r["clip_transfer"], r["clip_primaries"])),
        damaged=tuple(r["key"] for r in known if r.get("clip_damaged")),
    )
