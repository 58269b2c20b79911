"""What a person wants to see of a table's embeddings: how its clips lie to each other, by each backbone.

How it is shown is the asset's.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vqa_assets.features.near_duplicates import alike_report
from vqa_assets.tables.content_errors import reading
from vqa_assets.tables.parquet import open_parquet

if TYPE_CHECKING:
    from pyarrow import Array
    from pyarrow.parquet import ParquetFile

MOST_CLIPS = 1_000
"""Clips of a table that are shown, evenly taken from all of it: what is read and computed is bounded by these."""

_FEWEST_CLIPS = 3
"""Two clips always lie on a line, which says nothing."""

_NOTHING = 1e-12
"""A share of the variance that is only rounding."""


@dataclass(frozen=True, eq=False)
class EmbeddingPlane:
    """The first two principal components of a column of vectors, one point a clip: ``points`` (N, 2).

    ``rows`` (N,) are the clips' places in the table, ``shares`` the two components' parts of all variance.
    """

    column: str
    points: NDArray[np.float64]
    rows: NDArray[np.int64]
    shares: tuple[float, float]


def embedding_planes(path: Path) -> list[EmbeddingPlane]:
    """A plane for each backbone of a Parquet table, of its first vector that is a mean over time.

    None of a backbone whose clips do not differ, or of fewer than three clips; a row without its vector is left out.
    """
    with reading(path):
        file = open_parquet(path)
        planes = [_plane(file, column) for column in _columns(file)]
    return [plane for plane in planes if plane is not None]


def clips_alike(path: Path) -> dict[str, dict[str, Any]]:
    """Per backbone of a Parquet table, the clips that its first vector, a mean over time, calls alike."""
    with reading(path):
        file = open_parquet(path)
        return {column.partition(".")[0]: _alike(file, column) for column in _columns(file)}


def _alike(file: "ParquetFile", column: str) -> dict[str, Any]:
    names = [name for name in ("key", "nr_duration_s", "duration_s") if name in file.schema_arrow.names]
    rows = file.read(columns=names).to_pylist()
    seconds = [row.get("nr_duration_s") or row.get("duration_s") or 1.0 for row in rows]

    def vectors() -> Iterator[NDArray[np.float32] | None]:
        for batch in file.iter_batches(columns=[column], batch_size=MOST_CLIPS):
            values = batch.column(0)
            numbers = values.flatten().to_numpy(zero_copy_only=False)
            # What is null has no numbers among these.
            left = iter(numbers.reshape(-1, values.type.list_size))
            yield from (next(left) if is_there else None for is_there in values.is_valid().to_pylist())

    return alike_report(vectors(), [str(row["key"]) for row in rows], seconds)


def _columns(file: "ParquetFile") -> Sequence[str]:
    """One column of vectors for each backbone: names begin with its id."""
    import pyarrow as pa

    vectors = [field.name for field in file.schema_arrow if pa.types.is_fixed_size_list(field.type)]
    chosen: dict[str, str] = {}
    for name in sorted(vectors, key=lambda name: not name.endswith("_mean")):  # in their order, means first
        chosen.setdefault(name.partition(".")[0], name)
    return list(chosen.values())


def _plane(file: "ParquetFile", column: str) -> EmbeddingPlane | None:
    step = max(-(-file.metadata.num_rows // MOST_CLIPS), 1)
    vectors: list[NDArray[np.float64]] = []
    rows: list[int] = []
    first = 0
    for batch in file.iter_batches(columns=[column], batch_size=MOST_CLIPS):
        places = [place for place in range(-first % step, batch.num_rows, step) if batch.column(0)[place].is_valid]
        vectors += [_vector(batch.column(0), place) for place in places]
        rows += [first + place for place in places]
        first += batch.num_rows
    if len(rows) < _FEWEST_CLIPS:
        return None
    centred = np.stack(vectors)
    centred -= centred.mean(axis=0)
    variance = float(np.square(centred).sum())
    if not variance:
        return None
    # Over clips and not over numbers: a backbone has thousands of these.
    values, directions = np.linalg.eigh(centred @ centred.T)
    strongest = np.maximum(values[[-1, -2]], 0.0)
    points = directions[:, [-1, -2]] * np.sqrt(strongest)
    points[:, strongest < _NOTHING * variance] = 0.0
    # A component's sign is arbitrary: the clip that lies farthest out is on the right, and above.
    far = points[np.abs(points).argmax(axis=0), [0, 1]]
    points *= np.where(far < 0, -1.0, 1.0)
    one, other = (float(share) for share in strongest / variance)
    return EmbeddingPlane(column, points, np.array(rows), (one, other))


def _vector(column: "Array", place: int) -> NDArray[Any]:
    return np.asarray(column[place].values.to_numpy(zero_copy_only=False), dtype=np.float64)
