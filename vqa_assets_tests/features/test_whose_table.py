"""Whose a feature table is: ours is made again, an operator's is left, a later version's is an error."""

import hashlib
import logging
from pathlib import Path

import polars as pl
import pytest

from vqa_assets.corpora import CORPORA
from vqa_assets.errors import NewerFormatError
from vqa_assets.features.corpus_table import why_foreign
from vqa_assets.tables import formats, makers
from vqa_assets.tables.makers import made_by
from vqa_assets.tables.paths import manifest_path
from vqa_assets_tests.features.test_corpora import Measurable
from vqa_assets_tests.shared.clips import tiny_clip


@pytest.fixture
def corpus(root_path: Path) -> Measurable:
    """Two clips that are measured already."""
    corpus = Measurable(root_path, CORPORA["konvid-150k"])
    for number in (1, 2):
        clip = tiny_clip(corpus.add(f"{number}.mp4"), number)
        corpus.rows[-1]["src_sha256"] = hashlib.sha256(clip).hexdigest()
    corpus.measure()
    return corpus


def test_a_kill_between_the_table_and_its_manifest_freezes_nothing(corpus: Measurable) -> None:
    table = corpus.root.features(corpus.corpus)
    manifest = manifest_path(table)
    before = manifest.read_bytes()
    clip = tiny_clip(corpus.add("3.mp4"), 3)
    corpus.rows[-1]["src_sha256"] = hashlib.sha256(clip).hexdigest()
    corpus.measure()
    three = table.read_bytes()
    # as a kill after the table's replacement left it: the new table beside the earlier manifest, or none
    for left in (before, None):
        table.write_bytes(three)
        manifest.unlink(missing_ok=True)
        for record in table.parent.glob(".*.published.json"):
            record.unlink()
        if left is not None:
            manifest.write_bytes(left)
        assert why_foreign(table) == ""
        made = corpus.measure()
        assert (made.foreign, made.rows) == ("", 3)
        assert made.manifest is not None
        assert made.manifest["run_provenance"]["outputs"]["features"]["sha256"] == _sha256(table)


def test_a_table_that_an_operator_wrote_is_left_as_it_is_and_replaced_when_asked(
    corpus: Measurable, caplog: pytest.LogCaptureFixture
) -> None:
    table = corpus.root.features(corpus.corpus)
    edited = pl.read_parquet(table).with_columns(mine=pl.lit(1))
    edited.write_parquet(table)
    with caplog.at_level(logging.WARNING):
        made = corpus.measure()
    assert "was changed since" in made.foreign
    assert "is left as it is" in caplog.text
    assert pl.read_parquet(table).equals(edited)
    assert corpus.measure(overwrite=True).foreign == ""
    assert "mine" not in pl.read_parquet(table).columns


def test_a_table_with_nothing_beside_it_is_an_operators(corpus: Measurable) -> None:
    table = corpus.root.features(corpus.corpus)
    rows = pl.read_parquet(table)
    for path in table.parent.iterdir():
        if path.is_file() and path.suffix != ".jsonl":
            path.unlink()
    rows.write_parquet(table)
    assert "neither its metadata nor a file beside it" in why_foreign(table)


def test_a_table_whose_disk_changed_it_is_made_again_with_a_warning(
    corpus: Measurable, caplog: pytest.LogCaptureFixture
) -> None:
    table = corpus.root.features(corpus.corpus)
    whole = table.read_bytes()
    for place in range(4, 400, 99):
        damaged = bytearray(whole)
        damaged[place] ^= 0x10
        table.write_bytes(damaged)
        caplog.clear()
        assert corpus.measure().foreign == ""
        assert "features.parquet was damaged on the disk and is made again" in caplog.text
        made = made_by(table)
        assert made is not None
        assert made.is_ours


def test_a_table_of_a_later_version_is_neither_measured_over_nor_replaced(
    corpus: Measurable, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = corpus.root.features(corpus.corpus)
    table.unlink()
    with monkeypatch.context() as later:
        later.setattr(makers, "FORMATS", {**formats.FORMATS, "clip_features": 2})
        corpus.measure()
    content, changed = table.read_bytes(), table.stat()
    for overwrite in (False, True):
        with pytest.raises(NewerFormatError, match=r"features\.parquet: format 2 .*install that version"):
            corpus.measure(overwrite=overwrite)
    assert table.read_bytes() == content
    assert table.stat().st_mtime_ns == changed.st_mtime_ns


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
