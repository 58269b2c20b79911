"""The plane in which a table's embeddings are shown: of vectors whose principal components are known."""

import subprocess
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from vqa_assets.assets.metadata import embeddings_png
from vqa_assets.backbones.efficientnet_lite0 import FACTS, export_onnx
from vqa_assets.backbones.making import add_backbone
from vqa_assets.demo.demo_corpus import SEED, encode_clip, plan_clips
from vqa_assets.demo.scenes import moving_pictures
from vqa_assets.features.backbone import backbone_family
from vqa_assets.features.embeddings import MOST_CLIPS, clips_alike, embedding_planes
from vqa_assets.features.extractor import ClipExtractor
from vqa_assets.features.ffmpeg import ffmpeg_binary
from vqa_assets.features.near_duplicates import FEWEST_COMPARED, alike_report


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


def test_clips_whose_vectors_are_alike_are_grouped_if_they_last_as_long_and_not_by_what_all_have_in_common(tmp_path):
    random = np.random.default_rng(0)
    vectors = list(random.standard_normal((24, 600)).astype(np.float32) + 4)
    vectors[7] = vectors[3] + 0.3 * random.standard_normal(600).astype(np.float32)
    vectors[9], vectors[11], vectors[13] = vectors[3], None, vectors[12] * np.float32(1)
    seconds = np.full(24, 8.0)
    seconds[9] = 4
    path = table(tmp_path / "f.parquet", tiny__resize__last_mean=vectors)
    frame = pl.read_parquet(path)
    named = frame.with_columns(key=pl.Series([f"{n}.mp4" for n in range(24)]), duration_s=pl.Series(seconds))
    named.write_parquet(path)
    told = clips_alike(path)
    assert told == {
        "tiny": {"compared": 23, "groups": 2, "clips": 4, "examples": [["3.mp4", "7.mp4"], ["12.mp4", "13.mp4"]]}
    }
    named.head(FEWEST_COMPARED - 1).write_parquet(path)
    assert (clips_alike(path)["tiny"]["groups"], clips_alike(path)["tiny"]["compared"]) == (0, 0)


@pytest.mark.takes_long("thirty clips that are encoded, and shown to a network")
def test_the_similarity_from_which_clips_are_alike_parts_copies_from_others(tmp_path):
    backbone = add_backbone(export_onnx(tmp_path / "efficientnet-lite0.onnx"), tmp_path / "backbones", FACTS)
    extracting = ClipExtractor(feature_sets=(), further=(backbone_family(backbone, "cpu"),))
    ways = {"crop": "crop=iw*9/10:ih*9/10", "mirror": "hflip", "grade": "eq=brightness=0.08:contrast=1.1"}
    made = {}
    for number, plan in enumerate(plan_clips(8, SEED)):
        path = tmp_path / f"{number}.mp4"
        encode_clip(path, islice(moving_pictures(plan.take), 24), replace(plan.encoding, codec="libx264", crf=23))
        for way in ("own", *ways):
            clip = path if way == "own" else path.with_name(f"{number}.{way}.mp4")
            if way != "own":
                options = ["-y", "-loglevel", "error", "-i", path, "-vf", ways[way], "-crf", "28", clip]
                subprocess.run([ffmpeg_binary(), *options], check=True)
            made[number, way] = extracting.extract(clip)[f"{backbone.id}.resize.last_mean"]
    report = alike_report(made.values(), [f"{number} {way}" for number, way in made], [1.0] * len(made))
    groups = [{key.split()[0] for key in group} for group in report["examples"]]
    assert all(len(contents) == 1 for contents in groups)  # nothing else is called a copy
    assert report["clips"] >= 0.8 * len(made)
