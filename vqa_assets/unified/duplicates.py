"""Which of the rows of equal bytes stands: across corpora the smallest SD on 0–100, within a corpus the first row.

Judged over the index's entries; the first duplicates are shown with both sides. Clips that merely look alike are in
``related``.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

DUPLICATES_SHOWN = 50
_Positions = NDArray[np.int64]


@dataclass(frozen=True)
class Standing:
    """Positions of the rows that stand, by digest; the counts of the others; (kept, lost) examples in reading order."""

    positions: _Positions
    same_corpus: int
    cross_corpus: int
    examples: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Side:
    """One of two rows of the same bytes; scores and SD on the unified scale, SD None where unknown."""

    corpus: str
    src: str
    mos: float
    sd: float | None

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> "Side":
        """What a unified row says."""
        spread = row["mos_std_dev_unified"]
        return cls(row["corpus_source"], row["src"], row["mos"], spread if spread > 0 else None)


@dataclass(frozen=True)
class Duplicate:
    """Two rows of the same bytes: the one that stands and the one that does not."""

    src_sha256: str
    kept: Side
    lost: Side

    @classmethod
    def of(cls, kept: Mapping[str, Any], lost: Mapping[str, Any]) -> "Duplicate":
        """Two unified rows beside each other."""
        return cls(kept["src_sha256"], Side.of(kept), Side.of(lost))

    @property
    def why(self) -> str:
        """Why one row stands and the other does not."""
        kept, lost = self.kept, self.lost
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

    def as_row(self) -> dict[str, Any]:
        """The same in one level: ``kept_corpus``, ``lost_corpus``, …"""
        sides = {"kept": asdict(self.kept), "lost": asdict(self.lost)}
        flat = {f"{name}_{key}": value for name, side in sides.items() for key, value in side.items()}
        return {**flat, "why": self.why, "src_sha256": self.src_sha256}


def standing(entries: NDArray[np.void]) -> Standing:
    """Judge entries (``index.ENTRY``) that are in the order of reading, which breaks ties."""
    order = _by_digest(entries["digest"])
    group = _groups(entries["digest"], order)
    sizes = np.bincount(group) if len(group) else np.zeros(0, np.int64)
    # most clips stand in one corpus only: all that follows looks at the few others
    alone = sizes[group] == 1
    several, of_group = order[~alone], group[~alone]
    first = _firsts_of_corpora(entries["corpus"][several], of_group)
    winners = _winners(entries["spread"][several], of_group, first)
    stands = alone.copy()
    stands[np.flatnonzero(~alone)[winners]] = True
    firsts, clips = int(np.count_nonzero(first)), len(np.unique(of_group))
    return Standing(
        positions=order[stands],
        same_corpus=len(several) - firsts,
        cross_corpus=firsts - clips,
        examples=_examples(entries, several, of_group),
    )


def _by_digest(digest: NDArray[np.uint64]) -> _Positions:
    """A stable order. The first eight bytes nearly always decide; the others are looked at where they do not."""
    leading = digest[:, 0].astype(np.uint64)
    order = np.argsort(leading, kind="stable")
    ordered = leading[order]
    equal = np.flatnonzero(ordered[1:] == ordered[:-1])
    if len(equal) and (digest[order[equal]] != digest[order[equal + 1]]).any():
        order = np.lexsort([digest[:, column].astype(np.uint64) for column in (3, 2, 1, 0)])
    return order


def _groups(digest: NDArray[np.uint64], order: _Positions) -> _Positions:
    """The number of each row's group of equal digests, in the order given."""
    leading = digest[:, 0][order]
    new = np.zeros(len(order), bool)
    new[1:] = leading[1:] != leading[:-1]
    alike = np.flatnonzero(~new[1:])
    new[alike + 1] = (digest[order[alike]] != digest[order[alike + 1]]).any(axis=1)
    return np.cumsum(new)


def _firsts_of_corpora(corpus: NDArray[np.uint16], group: _Positions) -> NDArray[np.bool_]:
    """Whether each row is its corpus's first in its group."""
    order = np.lexsort((corpus, group))  # stable: of a corpus's rows the first read comes first
    opens = np.ones(len(order), bool)
    opens[1:] = (group[order][1:] != group[order][:-1]) | (corpus[order][1:] != corpus[order][:-1])
    first = np.zeros(len(order), bool)
    first[order] = opens
    return first


def _winners(spread: NDArray[np.float64], group: _Positions, first: NDArray[np.bool_]) -> _Positions:
    """Of each group the first row of a corpus with the smallest spread; the earlier of equals."""
    judged = np.flatnonzero(first)
    order = judged[np.lexsort((spread[judged], group[judged]))]
    leads = np.ones(len(order), bool)
    leads[1:] = group[order][1:] != group[order][:-1]
    return order[leads]


def _examples(entries: NDArray[np.void], several: _Positions, group: _Positions) -> tuple[tuple[int, int], ...]:
    """The first duplicates in the order of reading: which row stands in the end, and which one lost."""
    opens = np.ones(len(group), bool)
    opens[1:] = group[1:] != group[:-1]
    met = np.sort(several[~opens])[:DUPLICATES_SHOWN]
    losses: list[tuple[int, int, int]] = []  # (row at which it showed, row that stands in the end, row that lost)
    for number in np.unique(group[np.isin(several, met)]).tolist():
        start, end = np.searchsorted(group, [number, number + 1])
        positions = several[start:end].tolist()
        best, corpora, lost = positions[0], {int(entries["corpus"][positions[0]])}, []
        for position in positions[1:]:
            corpus = int(entries["corpus"][position])
            better = corpus not in corpora and entries["spread"][position] < entries["spread"][best]
            corpora.add(corpus)
            lost.append((position, best if better else position))
            best = position if better else best
        losses += [(at, best, loser) for at, loser in lost]
    return tuple((kept, lost) for _, kept, lost in sorted(losses)[:DUPLICATES_SHOWN])
