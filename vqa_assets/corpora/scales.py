"""Opinion-score scales: ranges, the affine maps of a score AND of its spread, and which scale a whole file is on.

A file decides its scale, never a row: a score of 3.2 on 0–100 must not become 3.2 on 1–5.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from types import MappingProxyType
from typing import Literal, get_args

from vqa_assets.errors import ScaleError

SLACK = 0.05
"""How far outside its range a score may lie and still be read (rounding in published files), in the scale's unit."""

_SHARE_INSIDE = 0.99
_ROWS_TO_DOUBT_0_100 = 50
_LOOKS_LIKE_1_5 = 5.0 + SLACK


@dataclass(frozen=True)
class MosScale:
    """A closed interval of scores. ``1-5-acr`` is ITU-T P.910's absolute category rating."""

    name: str
    low: float
    high: float

    def holds(self, score: float) -> bool:
        """True for a finite score inside the range, or outside by at most ``SLACK``."""
        return math.isfinite(score) and self.low - SLACK <= score <= self.high + SLACK

    def map_to(self, other: "MosScale") -> tuple[float, float]:
        """(slope, intercept) with ``other = slope · self + intercept``."""
        slope = (other.high - other.low) / (self.high - self.low)
        return slope, other.low - slope * self.low

    def convert(self, score: float, other: "MosScale") -> float:
        """A score of this scale on another. Never clipped."""
        slope, intercept = self.map_to(other)
        return slope * score + intercept

    def convert_spread(self, spread: float, other: "MosScale") -> float:
        """A spread (SD, SE, width of an interval) of this scale on another: it scales by the slope alone."""
        return spread * self.map_to(other)[0]


ACR_1_5 = MosScale("1-5-acr", 1.0, 5.0)
CONTINUOUS_0_100 = MosScale("0-100-continuous", 0.0, 100.0)
VMAF_0_100 = MosScale("vmaf", 0.0, 100.0)

SCALES: Mapping[str, MosScale] = MappingProxyType({s.name: s for s in (ACR_1_5, CONTINUOUS_0_100, VMAF_0_100)})
OpinionScaleName = Literal["1-5-acr", "0-100-continuous"]
OPINION_SCALES: tuple[OpinionScaleName, ...] = get_args(OpinionScaleName)
"""Scales that opinions are on: a computed score (VMAF) is no label."""
TRAINING = ACR_1_5
"""The scale heads are trained on."""
RAW_MOS = "mos_raw_0_100"
"""Where a corpus maps its scores at ingest, the row's field that holds the score as published on 0–100."""
UNIFIED = CONTINUOUS_0_100
"""The scale of the unified corpus: ``(mos − 1) · 25`` for 1–5, identity for 0–100 and VMAF."""


def detect_scale(scores: Iterable[float], candidates: Sequence[MosScale], what: str) -> MosScale:
    """The first candidate that holds at least 99 % of a whole file's finite scores.

    A 0–100 candidate is refused where 50 rows or more never exceed 5.05: such a file is on another scale than declared.
    ``what`` names the corpus in the ScaleError raised when no candidate wins.
    """
    finite = [s for s in scores if math.isfinite(s)]
    if not finite:
        raise ScaleError(what, found="no finite score", expected="opinion scores", next_step="check the MOS column")
    doubted = len(finite) >= _ROWS_TO_DOUBT_0_100 and max(finite) <= _LOOKS_LIKE_1_5
    outside = {c.name: sum(not c.holds(s) for s in finite) for c in candidates}
    for scale in candidates:
        if outside[scale.name] <= (1 - _SHARE_INSIDE) * len(finite) and not (doubted and scale.high > _LOOKS_LIKE_1_5):
            return scale
    tried = ", ".join(f"{c.name} [{c.low:g}, {c.high:g}] ({outside[c.name]} outside)" for c in candidates)
    raise ScaleError(
        what,
        found=f"{len(finite)} scores from {min(finite):g} to {max(finite):g}, median {median(finite):g}",
        expected=f"a declared scale that holds 99 % of them (tried: {tried})",
        next_step="set mos_scale in the run config or ingest.toml if the file is right, "
        "else check that the file and its MOS column belong to this corpus",
    )
