"""The plane in which a table's embeddings are shown: of vectors whose principal components are known."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from vqa_assets.assets.metadata import embeddings_png
from vqa_assets.features.embeddings import MOST_CLIPS, embedding_planes


def table(path: Path, **columns: "np.ndarray | list[object]") -> Path:
    """A table of these columns of vectors, (N, numbers) or a list with None in it."""
    length = {name: len(next(one for one in rows if one is not None)) for name, rows in columns.items()}
    frame = pl.DataFrame(
        {
            name.replace("__", "."): pl.Series(
                [None if one is None else list(one) for one in rows], dtype=pl.Array(pl.Float32, length[name])
            )
            for name, rows in columns.items()
        }
    )
    frame.write_parquet(path)
    return path


def on_a_plane(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """``count`` places (N, 2), three times as wide as high, and vectors (N, 40) that lie so, far from the origin."""
    random = np.random.default_rng(seed)
    places = random.standard_normal((count, 2)) * [3, 1]
    axes = np.linalg.qr(random.standard_normal((40, 2)))[0]
    return places, places @ axes.T + 50


def test_clips_lie_to_each_other_as_their_vectors_do(tmp_path):
    places, vectors = on_a_plane(60)
    (plane,) = embedding_planes(table(tmp_path / "f.parquet", tiny__resize__last_mean=vectors))
    assert plane.column == "tiny.resize.last_mean"
    assert plane.rows.tolist() == list(range(60))
    apart, shown = (np.linalg.norm(x[:, None] - x[None], axis=2) for x in (places, plane.points))
    np.testing.assert_allclose(shown, apart, atol=1e-3)
    assert sum(plane.shares) == pytest.approx(1, abs=1e-6)
    assert plane.shares[0] > 0.7
    # The clip farthest out is on the right, and above, so that the same clips always give the same picture.
    assert all(plane.points[np.abs(plane.points[:, axis]).argmax(), axis] > 0 for axis in (0, 1))


def test_each_backbone_has_a_plane_of_its_first_mean_and_rows_without_a_vector_are_left_out(tmp_path):
    _, vectors = on_a_plane(6)
    holes = [None, *vectors[1:]]
    planes = embedding_planes(
        table(
            tmp_path / "f.parquet",
            one__resize__last_sd=vectors,
            one__resize__last_mean=holes,
            other__resize__last_p90=vectors,
            other__fragments__last_p90=vectors,
        )
    )
    assert [plane.column for plane in planes] == ["one.resize.last_mean", "other.resize.last_p90"]
    assert [len(plane.rows) for plane in planes] == [5, 6]
    assert planes[0].rows.tolist() == [1, 2, 3, 4, 5]


def test_clips_that_do_not_differ_or_are_two_have_no_plane_and_on_a_line_there_is_no_second_component(tmp_path):
    two = table(tmp_path / "two.parquet", tiny__a__b_mean=np.eye(2))
    same = table(tmp_path / "same.parquet", tiny__a__b_mean=np.ones((5, 3)))
    line = table(tmp_path / "line.parquet", tiny__a__b_mean=np.arange(5)[:, None] * np.ones((5, 3)))
    assert embedding_planes(two) == embedding_planes(same) == []
    (plane,) = embedding_planes(line)
    np.testing.assert_array_equal(plane.points[:, 1], 0)
    assert embeddings_png([plane], [1.0, 2.0, 3.0, 4.0, np.nan]).startswith(b"\x89PNG")
    assert embeddings_png([plane], [np.nan] * 5).startswith(b"\x89PNG")


def test_of_a_large_table_an_even_part_is_shown_in_a_picture_that_stays_small(tmp_path):
    count = 2 * MOST_CLIPS + 1
    (plane,) = embedding_planes(table(tmp_path / "f.parquet", tiny__a__b_mean=on_a_plane(count)[1]))
    assert plane.rows.tolist() == list(range(0, count, 3))
    corpora = [f"corpus-{place % 12}" for place in range(count)]
    picture = embeddings_png([plane], np.linspace(1, 5, count).tolist(), corpora)
    assert picture == embeddings_png([plane], np.linspace(1, 5, count).tolist(), corpora)
    assert len(picture) < 60_000
