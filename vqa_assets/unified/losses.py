"""What an aggregation loses, as examples a person can check: dropped rows with their place, duplicates with both sides.

Bounded however much is lost; the counters are the aggregation's own. Which row wins is decided there, too.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

DUPLICATES_SHOWN = 50
DROPPED_SHOWN = 10
"""How many examples are kept: of all duplicates, and of each reason to drop a row."""
_Row = Mapping[str, Any]


@dataclass(frozen=True)
class Dropped:
    """One dropped row: the counter it is in, its file and line, its corpus, what is wrong with it."""

    reason: str
    path: Path
    line: int
    corpus: str
    found: str


@dataclass(frozen=True)
class Side:
    """One of two rows of the same bytes; scores and SD on the unified scale, SD None where unknown."""

    corpus: str
    src: str
    mos: float
    sd: float | None


@dataclass(frozen=True)
class Duplicate:
    """Two rows of the same bytes: the one that stands, the one that does not, and why."""

    src_sha256: str
    kept: Side
    lost: Side
    why: str

    def as_row(self) -> dict[str, Any]:
        """The same in one level: ``kept_corpus``, ``lost_corpus``, …"""
        sides = {"kept": asdict(self.kept), "lost": asdict(self.lost)}
        flat = {f"{name}_{key}": value for name, side in sides.items() for key, value in side.items()}
        return {**flat, "why": self.why, "src_sha256": self.src_sha256}


@dataclass(frozen=True)
class RawScore:
    """One row whose raw score disagrees with its ``mos``: file and line, both scores on 0–100. The raw one stands."""

    path: Path
    line: int
    corpus: str
    raw: float
    mos: float


@dataclass
class Losses:
    """The first losses and doubts of an aggregation, in the order of reading."""

    dropped: dict[str, list[Dropped]] = field(default_factory=dict)
    raw_scores: int = 0
    raw_score_examples: list[RawScore] = field(default_factory=list)

    def drop(self, dropped: Dropped) -> None:
        """Remember a dropped row while there is room for its reason."""
        examples = self.dropped.setdefault(dropped.reason, [])
        if len(examples) < DROPPED_SHOWN:
            examples.append(dropped)

    def dropped_rows(self) -> list[dict[str, Any]]:
        """The examples of dropped rows as a table, by reason."""
        return [asdict(one) for reason in sorted(self.dropped) for one in self.dropped[reason]]


def duplicate(kept: _Row, lost: _Row) -> Duplicate:
    """Two unified rows of the same bytes beside each other."""
    winner, loser = _side(kept), _side(lost)
    return Duplicate(kept["src_sha256"], winner, loser, _why(winner, loser))


def _side(row: _Row) -> Side:
    spread = row["mos_std_dev_unified"]
    return Side(row["corpus_source"], row["src"], row["mos"], spread if spread > 0 else None)


def _why(kept: Side, lost: Side) -> str:
    """Why one row stands and the other does not, as the contract's rule has it."""
    if kept.corpus == lost.corpus:
        return "within a corpus the first row stands"
    if kept.sd is None and lost.sd is None:
        return "no SD is known: the earlier in the order of inputs stands"
    if lost.sd is None:
        return "its SD is known, the other's is not"
    if kept.sd is None or kept.sd > lost.sd:
        return f"the other is no first row of {lost.corpus}"
    if kept.sd == lost.sd:
        return "equal SDs: the earlier in the order of inputs stands"
    return f"smaller SD on the unified scale ({kept.sd:.4g} < {lost.sd:.4g})"
