"""Clips that measure so nearly the same that one is a copy of the other: a re-encode, or a trimmed upload.

Where no content id says what clips show, such pairs stand on both sides of splits and flatter every figure. Exact
copies are joined where the rows are read (``reading``); near ones are told here and joined by nobody: a distance of
features is no proof. Nothing is trained.

Clips are compared twice: by all columns, of which a re-encode moves those that measure distortion, and by those that
say what a picture shows (its light, contrast and colours), which an encode at CRF 20 hardly moves. Where a head reads
none of the latter, as of ``konvid-v1``, only copies of high quality are found.
"""

from collections.abc import Iterator, Sequence
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
"""Shares of that distance under which the nearest clip counts as near, by all columns: at .1 to .4 lie encodes of
CRF 12 and better."""
_SHARES_OF_LOOKS = (0.05, 0.1, 0.2)
"""The same by looks: of the demo's clips nine of ten encodes at CRF 20 lie under .2, and no clip of another content."""
LOOKS = tuple(
    f"{feature}{pooled}"
    for feature in ("luma", "contrast", "saturation", "saturation_spread", "colourfulness", "entropy")
    for pooled in ("", "_mean", "_p10", "_p90")
)
"""Columns that say what is shown more than how well. Spreads over time are not among them: of a still picture they are
the encoder's noise."""
_FEWEST_LOOKS = 6
_MOST_EQUAL = 4
"""More clips than so many with one value of a look do not show the same: they are grey, say, and lie near each other in
all columns of colour, whatever they show."""
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
    views = [_View(None, _SHARES, FeatureMap.fitted(table.features, some, seed=seed), np.ones(len(asked), dtype=bool))]
    if len(looks := _looks_of(table)) >= _FEWEST_LOOKS:
        views.append(_View.of_looks(table, looks, some, asked))
    found = [
        copies
        for view, neighbours in zip(views, _neighbours(table, views, asked), strict=True)
        if (copies := _beyond_chance(table, view, asked, *neighbours)) is not None
    ]
    return max(found, key=lambda copies: copies.rows - copies.by_chance, default=None)


@dataclass(frozen=True)
class _View:
    """Columns by which clips are compared, None for all, with their map, and the shares that are tried.

    ``telling`` (A,) says of which of the clips that are asked it can tell anything.
    """

    columns: I64 | None
    shares: Sequence[float]
    mapping: FeatureMap
    telling: NDArray[np.bool_]

    @classmethod
    def of_looks(cls, table: TrainingTable, columns: I64, some: I64, asked: I64) -> "_View":
        """The view by some columns of looks; ``some`` rows make its map."""
        values = table.features[np.ix_(some, columns)]
        _, once = np.unique(np.array([table.groups[row] for row in some]), return_index=True)
        telling = np.ones(len(asked), dtype=bool)
        for number, own in zip(columns, values.T, strict=True):
            each, counts = np.unique(own[once], return_counts=True)
            telling &= ~np.isin(table.features[asked, number], each[counts > _MOST_EQUAL])
        return cls(columns, _SHARES_OF_LOOKS, FeatureMap.fitted(values), telling)

    def of(self, table: TrainingTable, rows: I64) -> F32:
        """Rows of the table as they are compared."""
        return self.mapping.map(
            table.features[rows] if self.columns is None else table.features[np.ix_(rows, self.columns)]
        )


def _looks_of(table: TrainingTable) -> I64:
    """The numbers of the columns of looks that a table has, and that were known in every row."""
    own = [i for i, name in enumerate(table.schema.scalars) if name in LOOKS and name not in table.filled]
    return np.array(own, dtype=np.int64)


def _beyond_chance(table: TrainingTable, view: _View, asked: I64, distance: F64, row: I64) -> NearCopies | None:
    """The copies by one view, of which ``_neighbours`` gave distances and rows; None where chance brings as many."""
    last, middle = distance[:, -1], distance[:, _NEIGHBOURS // 2 - 1]
    # Of rows that are of few clips some have fewer neighbours, and none at all that tells how far others lie.
    measured = view.telling & (middle > 0) & np.isfinite(last)
    growth = float(np.median(np.log(last[measured] / middle[measured]))) if measured.any() else 0.0
    if growth <= 0:
        return None
    dimension = np.log(2) / growth
    for share in view.shares:
        near = np.flatnonzero(measured & (distance[:, 0] < share * last))
        by_chance = len(asked) * float(1 - (1 - share**dimension) ** (_NEIGHBOURS - 1))
        if len(near) > _TIMES * by_chance + _STANDARD_ERRORS * by_chance**0.5 + _LEAST:
            nearest = near[np.argmin(distance[near, 0] / last[near])]
            examples = table.keys[asked[nearest]], table.keys[row[nearest]]
            return NearCopies(len(near), len(asked), by_chance, examples)
    return None


def _neighbours(table: TrainingTable, views: Sequence[_View], asked: I64) -> list[tuple[F64, I64]]:
    """Per view the distances (A, 10) of the asked rows to the nearest clips of other groups, and the nearest row (A,).

    The table is read once for all views.
    """
    # Numbers of the asked ones' groups alone: to sort the names of a million rows takes longer than all the rest.
    numbers = {table.groups[row]: number for number, row in enumerate(asked)}
    group = np.fromiter((numbers.get(name, -1) for name in table.groups), dtype=np.int64, count=len(table.groups))
    ours = [view.of(table, asked) for view in views]
    best = [np.full((len(asked), _NEIGHBOURS), np.inf) for _ in views]
    nearest = [np.zeros(len(asked), dtype=np.int64) for _ in views]
    for rows in _pieces(len(group)):
        own_group = group[asked][:, None] == group[rows][None, :]
        for number, view in enumerate(views):
            squared = _squared_distances(ours[number], view.of(table, rows))
            squared[own_group] = np.inf
            least = squared.argmin(axis=1)
            closer = squared[np.arange(len(asked)), least] < best[number][:, 0]
            nearest[number][closer] = rows[least[closer]]
            best[number] = np.sort(np.concatenate([best[number], squared], axis=1), axis=1)[:, :_NEIGHBOURS]
        let_go(table.features)
    return [(np.sqrt(squared), rows) for squared, rows in zip(best, nearest, strict=True)]


def _pieces(count: int) -> Iterator[I64]:
    """Row numbers, some at a time."""
    return (np.arange(first, min(first + _ROWS_AT_ONCE, count)) for first in range(0, count, _ROWS_AT_ONCE))


def _squared_distances(ours: F32, theirs: F32) -> F64:
    a, b = ours.astype(np.float64), theirs.astype(np.float64)
    squared: F64 = np.maximum((a**2).sum(1)[:, None] + (b**2).sum(1)[None, :] - 2 * a @ b.T, 0)
    return squared
