"""Clips that measure so nearly the same that one is a copy of the other: a re-encode, or a trimmed upload.

Where no content id says what clips show, such pairs stand on both sides of splits and flatter every figure. Exact
copies are joined where the rows are read (``rows``); near ones are told here and joined by nobody: a distance of
features is no proof. Nothing is trained.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vqa_assets.corpora.contents import is_clip
from vqa_assets.heads.members.feature_map import FeatureMap
from vqa_assets.heads.members.large_tables import let_go
from vqa_assets.heads.members.weights import F32, I64
from vqa_assets.heads.rows.reading import TrainingTable

F64 = NDArray[np.float64]

_NEIGHBOURS = 10
"""Copies of a clip are fewer than these, so that the last of them tells how far apart other clips lie."""
_SHARES = (0.1, 0.2, 0.4)
"""Shares of that distance under which the nearest clip counts as near; good re-encodes lie at .1 to .4."""
_TIMES, _STANDARD_ERRORS, _LEAST = 2, 4, 3
"""Pairs are told from so many times, standard errors and rows above those that chance brings."""
_MOST_ASKED, _FEWEST_ASKED, _PRODUCTS = 1_000, 100, 2e10
"""Of so many clips neighbours are looked for among all rows, of fewer where that costs more than so many products."""
_ROWS_AT_ONCE = 8_192


@dataclass(frozen=True)
class NearCopies:
    """Of ``asked`` clips without a content id, ``rows`` lie nearer to another clip than chance brings (``by_chance``).

    ``examples`` are the two that lie nearest.
    """

    rows: int
    asked: int
    by_chance: float
    examples: tuple[str, str]

    @property
    def warning(self) -> str:
        """What a person must know, in a sentence."""
        first, second = self.examples
        return (
            f"{self.rows} of {self.asked} clips without a content_id measure nearly the same as another one, such as "
            f"{first} and {second}: where one is a copy of the other, figures flatter until content_id joins them"
        )


def near_copies(table: TrainingTable, seed: int) -> NearCopies | None:
    """The near copies among a table's clips of which no content id is known; None where there are none to speak of.

    The nearest clip of a clip lies at a share c of the distance of its tenth with a probability of some 1 − (1 − c^m)⁹,
    m being the dimension that the clips fill (by how distances grow from the fifth neighbour to the tenth: Levina and
    Bickel 2004). Copies are what comes above that.
    """
    nameless = np.flatnonzero(np.fromiter(map(is_clip, table.groups), dtype=bool, count=len(table.groups)))
    if not len(nameless) or len(table.groups) <= 2 * _NEIGHBOURS:
        return None
    rng = np.random.default_rng(seed)
    affordable = max(_FEWEST_ASKED, int(_PRODUCTS / table.features.size))
    asked = np.sort(rng.permutation(nameless)[: min(_MOST_ASKED, affordable)])
    some = np.sort(rng.permutation(len(table.groups))[:_ROWS_AT_ONCE])
    mapping = FeatureMap.fitted(table.features, some, seed=seed)
    distance, row = _neighbours(table, mapping, asked)
    last, middle = distance[:, -1], distance[:, _NEIGHBOURS // 2 - 1]
    # Of rows that are of few clips some have fewer neighbours, and none at all that tells how far others lie.
    measured = (middle > 0) & np.isfinite(last)
    growth = float(np.median(np.log(last[measured] / middle[measured]))) if measured.any() else 0.0
    if growth <= 0:
        return None
    dimension = np.log(2) / growth
    for share in _SHARES:
        near = np.flatnonzero(measured & (distance[:, 0] < share * last))
        by_chance = len(asked) * float(1 - (1 - share**dimension) ** (_NEIGHBOURS - 1))
        if len(near) > _TIMES * by_chance + _STANDARD_ERRORS * by_chance**0.5 + _LEAST:
            nearest = near[np.argmin(distance[near, 0] / last[near])]
            examples = table.keys[asked[nearest]], table.keys[row[nearest]]
            return NearCopies(len(near), len(asked), by_chance, examples)
    return None


def _neighbours(table: TrainingTable, mapping: FeatureMap, asked: I64) -> tuple[F64, I64]:
    """Distances (A, 10) of the asked rows to the nearest clips of other groups, and the row (A,) of the nearest."""
    ours = mapping.map(table.features[asked])
    # Numbers of the asked ones' groups alone: to sort the names of a million rows takes longer than all the rest.
    numbers = {table.groups[row]: number for number, row in enumerate(asked)}
    group = np.fromiter((numbers.get(name, -1) for name in table.groups), dtype=np.int64, count=len(table.groups))
    best = np.full((len(asked), _NEIGHBOURS), np.inf)
    nearest = np.zeros(len(asked), dtype=np.int64)
    for rows in _pieces(len(group)):
        squared = _squared_distances(ours, mapping.map(table.features[rows]))
        squared[group[asked][:, None] == group[rows][None, :]] = np.inf
        least = squared.argmin(axis=1)
        closer = squared[np.arange(len(asked)), least] < best[:, 0]
        nearest[closer] = rows[least[closer]]
        best = np.sort(np.concatenate([best, squared], axis=1), axis=1)[:, :_NEIGHBOURS]
        let_go(table.features)
    return np.sqrt(best), nearest


def _pieces(count: int) -> Iterator[I64]:
    """Row numbers, some at a time."""
    return (np.arange(first, min(first + _ROWS_AT_ONCE, count)) for first in range(0, count, _ROWS_AT_ONCE))


def _squared_distances(ours: F32, theirs: F32) -> F64:
    a, b = ours.astype(np.float64), theirs.astype(np.float64)
    squared: F64 = np.maximum((a**2).sum(1)[:, None] + (b**2).sum(1)[None, :] - 2 * a @ b.T, 0)
    return squared
