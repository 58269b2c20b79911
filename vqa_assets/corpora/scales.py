"""Opinion-score scales: ranges, which end is the better one, the affine maps of a score AND of its spread, and which
scale a whole file is on.

A file decides its scale, never a row: a score of 3.2 on 0–100 must not become 3.2 on 1–5. Three scales have names that
hold everywhere; a corpus may declare others, whose names are its own.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Literal, get_args

from vqa_assets.errors import ScaleError

Polarity = Literal["mos", "dmos"]
"""What a high score means: of ``mos`` good quality, of ``dmos`` (a difference to the reference) a bad one."""
POLARITIES: tuple[Polarity, ...] = get_args(Polarity)
SLACK = 0.05
"""How far outside its range a score may lie and still be read (rounding in published files), in the scale's unit."""

_SLACK_OF_RANGE = 0.0125
"""No slack is more than this share of its range, which is 0.05 of 1–5: of a scale from 0 to 1, 0.05 is no rounding."""
_SHARE_INSIDE = 0.99
_SHARE_ON_NARROWER = 0.10
_ROWS_TO_DOUBT_WIDE = 20
_WIDE, _USED_OF_WIDE = 100.0, 0.30
_QUANTILES = (0.0, 0.1, 0.5, 0.9, 1.0)
_VALUES_SHOWN = 3
_EXPECTED = "scores that stand on one declared scale and use it"
_CHECK_COLUMN = "check that the file and its MOS column belong to this corpus"


@dataclass(frozen=True)
class MosScale:
    """A closed interval of scores. ``1-5-acr`` is ITU-T P.910's absolute category rating."""

    name: str
    low: float
    high: float
    polarity: Polarity = "mos"

    @property
    def title(self) -> str:
        """The name, and where less is better, that it is."""
        return self.name if self.polarity == "mos" else f"{self.name}, less is better"

    @property
    def span(self) -> float:
        """The length of the range."""
        return self.high - self.low

    @property
    def slack(self) -> float:
        """How far outside the range a score may lie: ``SLACK``, on narrow scales less."""
        return min(SLACK, _SLACK_OF_RANGE * self.span)

    @property
    def is_wide(self) -> bool:
        """Whether the range is that of 0–100 or more, into which scores of nearly every other scale fit."""
        return self.span >= _WIDE

    def directed(self, polarity: Polarity) -> "MosScale":
        """The same range with this polarity."""
        return self if self.polarity == polarity else replace(self, polarity=polarity)

    def holds(self, score: float) -> bool:
        """True for a finite score inside the range, or outside by at most the ``slack``."""
        return math.isfinite(score) and self.low - self.slack <= score <= self.high + self.slack

    def map_to(self, other: "MosScale") -> tuple[float, float]:
        """(slope, intercept) with ``other = slope · self + intercept``; the worst score becomes the worst one."""
        slope = other.span / self.span
        if self.polarity == other.polarity:
            return slope, other.low - slope * self.low
        return -slope, other.low + slope * self.high

    def convert(self, score: float, other: "MosScale") -> float:
        """A score of this scale on another. Never clipped."""
        slope, intercept = self.map_to(other)
        return slope * score + intercept

    def convert_spread(self, spread: float, other: "MosScale") -> float:
        """A spread (SD, SE, width of an interval) of this scale on another: it scales by the size of the slope."""
        return spread * abs(self.map_to(other)[0])


ACR_1_5 = MosScale("1-5-acr", 1.0, 5.0)
CONTINUOUS_0_100 = MosScale("0-100-continuous", 0.0, 100.0)
VMAF_0_100 = MosScale("vmaf", 0.0, 100.0)

SCALES: Mapping[str, MosScale] = MappingProxyType({s.name: s for s in (ACR_1_5, CONTINUOUS_0_100, VMAF_0_100)})
OPINION_SCALES: Mapping[str, MosScale] = MappingProxyType({s.name: s for s in (ACR_1_5, CONTINUOUS_0_100)})
"""Scales that opinions are on: a computed score (VMAF) is no label."""
TRAINING = ACR_1_5
"""The scale heads are trained on."""
RAW_MOS = "mos_raw_0_100"
"""Where a corpus maps its scores at ingest, the row's field that holds the score as published on 0–100."""
UNIFIED = CONTINUOUS_0_100
"""The scale of the unified corpus: ``(mos − 1) · 25`` for 1–5, identity for 0–100 and VMAF."""


def detect_scale(scores: Iterable[float], candidates: Sequence[MosScale], what: str) -> MosScale:
    """The scale of a whole file's scores: the only candidate, or the narrowest one that holds at least 99 % of them.

    A wider scale holds the scores of a narrower one too. It wins only where at most 10 % of them could stand on a
    narrower one; in between nothing is chosen, since sentinels (99, -1) or a mixture look like that. A scale of 0–100
    or wider needs scores that use it: of 20 scores or more one above 30 % of the range (above 30), or they are on
    0–10, 1–9 or a scale like these. All of it holds for scales of a corpus's own, whichever end is the better one.

    ``what`` names the corpus in the ScaleError that shows the scores where no candidate wins.
    """
    finite = [s for s in scores if math.isfinite(s)]
    if not finite:
        raise ScaleError(what, found="no finite score", expected="opinion scores", next_step="check the MOS column")
    # a declaration may name them in any order: a wide one that came first would swallow the others
    candidates = sorted(candidates, key=lambda scale: scale.span)
    evidence = ScaleEvidence.of(finite, candidates)
    for number, scale in enumerate(candidates):
        if len(candidates) > 1 and evidence.share_on(scale) < _SHARE_INSIDE:
            continue
        swallowed = [one for one in candidates[:number] if evidence.share_on(one) > _SHARE_ON_NARROWER]
        if swallowed:
            raise _undecided(what, evidence, evidence.outside_of(finite, swallowed[0]))
        least = scale.low + _USED_OF_WIDE * scale.span
        if len(finite) >= _ROWS_TO_DOUBT_WIDE and scale.is_wide and max(finite) <= least:
            raise ScaleError(
                what,
                found=f"{evidence.in_words()}; none is above {least:g}, so they may be on another scale",
                expected=_EXPECTED,
                next_step=f"set mos_scale for this run or in ingest.toml if they are on {scale.low:g}–{scale.high:g} "
                f"all the same; else {_CHECK_COLUMN}, or declare their own scale in a corpus of your own",
            )
        return scale
    raise _undecided(what, evidence, evidence.outside_of(finite, candidates[0]))


@dataclass(frozen=True)
class ScaleEvidence:
    """What scores tell of the scale they are on: how many, their quantiles, and the share of them on each candidate."""

    scores: int
    quantiles: Mapping[str, float]
    shares: Mapping[str, float]

    @classmethod
    def of(cls, scores: Sequence[float], candidates: Sequence[MosScale]) -> "ScaleEvidence":
        """The evidence of finite scores, at least one."""
        ordered, last = sorted(scores), len(scores) - 1
        return cls(
            scores=len(scores),
            quantiles={f"{share:.0%}": ordered[round(share * last)] for share in _QUANTILES},
            shares={c.name: sum(map(c.holds, scores)) / len(scores) for c in candidates},
        )

    def share_on(self, scale: MosScale) -> float:
        """The share of the scores that ``scale`` holds."""
        return self.shares[scale.name]

    def outside_of(self, scores: Sequence[float], scale: MosScale) -> str:
        """How many scores are outside, and which: ``15 of 1 200 are outside 1–5: 99 × 15``."""
        outside = Counter(score for score in scores if not scale.holds(score))
        examples = ", ".join(f"{score:g} × {count}" for score, count in outside.most_common(_VALUES_SHOWN))
        more = ", …" if len(outside) > _VALUES_SHOWN else ""
        count = f"{outside.total()} of {len(scores):,}".replace(",", " ")
        return f"{count} are outside {scale.low:g}–{scale.high:g}: {examples}{more}"

    def in_words(self) -> str:
        """Quantiles and shares, as a message shows them."""
        quantiles = ", ".join(f"{name} {value:g}" for name, value in self.quantiles.items())
        shares = ", ".join(f"{share:.1%} on {name}" for name, share in self.shares.items())
        return f"{self.scores} scores (quantiles {quantiles}; {shares})"


def _undecided(what: str, evidence: ScaleEvidence, reason: str) -> ScaleError:
    return ScaleError(
        what,
        found=f"{evidence.in_words()}; {reason}",
        expected=_EXPECTED,
        next_step="set mos_scale for this run or in ingest.toml if the file is right (values outside are bad rows "
        f"then), else remove the values outside, or {_CHECK_COLUMN}",
    )
