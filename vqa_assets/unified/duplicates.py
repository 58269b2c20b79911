"""Which of the rows of equal bytes stands: across corpora the smallest SD on 0–100, within a corpus the first row."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vqa_assets.unified.losses import DUPLICATES_SHOWN

_Positions = NDArray[np.int64]


@dataclass(frozen=True)
class Standing:
    """Positions of the rows that stand, by digest; the counts of the others; (kept, lost) examples in reading order."""

    positions: _Positions
    same_corpus: int
    cross_corpus: int
    examples: tuple[tuple[int, int], ...]


def standing(entries: NDArray[np.void]) -> Standing:
    """Judge entries that are in the order of reading, which breaks ties."""
    order = _by_digest(entries["digest"])
    group = _groups(entries["digest"], order)
    sizes = np.bincount(group) if len(group) else np.zeros(0, np.int64)
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
    found = leading[order]
    equal = np.flatnonzero(found[1:] == found[:-1])
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
    order = np.lexsort((corpus, group))
    first = np.ones(len(order), bool)
    first[1:] = (group[order][1:] != group[order][:-1]) | (corpus[order][1:] != corpus[order][:-1])
    found = np.zeros(len(order), bool)
    found[order] = first
    return found


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
    shown = np.unique(group[np.isin(several, met)])
    found: list[tuple[int, int, int]] = []
    for number in shown.tolist():
        start, end = np.searchsorted(group, [number, number + 1])
        found += _losses(entries, several[start:end].tolist())
    return tuple((kept, lost) for _, kept, lost in sorted(found)[:DUPLICATES_SHOWN])


def _losses(entries: NDArray[np.void], positions: list[int]) -> list[tuple[int, int, int]]:
    """(row at which it showed, row that stands in the end, row that lost) of one group in the order of reading."""
    best, seen, lost = positions[0], {int(entries["corpus"][positions[0]])}, []
    for position in positions[1:]:
        corpus = int(entries["corpus"][position])
        better = corpus not in seen and entries["spread"][position] < entries["spread"][best]
        seen.add(corpus)
        lost.append((position, best if better else position))
        best = position if better else best
    return [(met, best, loser) for met, loser in lost]
