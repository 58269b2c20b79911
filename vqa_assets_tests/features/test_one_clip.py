"""A feature row of one file: the same as the table's row of the same clip."""

from pathlib import Path

import pytest

from vqa_assets.clips.folders import ClipFolders
from vqa_assets.clips.probing import PyAvProber
from vqa_assets.clips.work import ThreadClipPool
from vqa_assets.errors import BrokenClipError, TransientClipError
from vqa_assets.features.corpus_table import FeatureSettings, make_clip_features
from vqa_assets.features.extractor import ClipExtractor
from vqa_assets.features.measuring import one_clip_row
from vqa_assets.provenance import RunContext
from vqa_assets.tables.parquet import open_parquet
from vqa_assets.tables.paths import DataRoot
from vqa_assets.tables.specs import CLIP_FEATURES
from vqa_assets.tables.validation import validate_rows
from vqa_assets_tests.shared.clips import tiny_clip
from vqa_assets_tests.shared.fakes import SmallCorpus

EXTRACTOR = ClipExtractor()


def test_the_row_of_a_file_is_the_tables_row_of_the_same_clip(root_path: Path) -> None:
    prober = PyAvProber()
    corpus = SmallCorpus(DataRoot(root_path), prober=prober)
    clip = corpus.stage("a.mp4", b"")
    tiny_clip(clip, seed=3)
    corpus.annotate([("a.mp4", "", 3.5, 0.5, 7)])
    corpus.ingest()
    prober.close()
    settings = FeatureSettings(corpus.root.corpus_jsonl(corpus.corpus), ClipFolders(corpus.folder / "clips"), workers=1)
    made = make_clip_features(
        corpus.corpus, settings, EXTRACTOR, ThreadClipPool(), RunContext(corpus.root, {}, Path(__file__))
    )
    (expected,) = open_parquet(made.path).read().to_pylist()
    row = one_clip_row(clip, EXTRACTOR)
    assert {**row, "corpus": "konvid-150k"} == expected
    assert row["corpus"] is None


def test_the_row_keeps_the_column_specs_of_the_table(tmp_path: Path) -> None:
    clip = tmp_path / "b.mp4"
    tiny_clip(clip, seed=4)
    row = one_clip_row(clip, EXTRACTOR)
    assert validate_rows([{**row, "corpus": "mine"}], CLIP_FEATURES, "row") == 1
    assert (row["width"], row["height"], row["pix_fmt"], row["encoder_upstream"]) == (64, 48, "yuv420p", "h264")


def test_a_reference_makes_it_a_ladder_clip(tmp_path: Path) -> None:
    tiny_clip(tmp_path / "c.mp4", seed=5)
    assert one_clip_row(tmp_path / "c.mp4", EXTRACTOR, reference=tmp_path / "c.mp4")["feature_reference"] == "ladder"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"version https://git-lfs.github.com/spec/v1\n", "a Git-LFS pointer"),
        (b"", "zero bytes"),
        (b"hello\n" * 50, "a text file"),
    ],
)
def test_a_file_that_is_no_clip_is_named_with_what_it_is(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "no.mp4").write_bytes(content)
    with pytest.raises(BrokenClipError, match=rf"no\.mp4: {reason}"):
        one_clip_row(tmp_path / "no.mp4", EXTRACTOR)


def test_an_absent_file_is_no_broken_clip(tmp_path: Path) -> None:
    with pytest.raises(TransientClipError, match=r"gone\.mp4: cannot be read: No such file"):
        one_clip_row(tmp_path / "gone.mp4", EXTRACTOR)
