"""Inputs are hashed as they are read: a manifest names the bytes that its rows came from, or nothing is published."""

import json
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from vqa_assets.clips.folders import ClipFolders
from vqa_assets.clips.work import ThreadClipPool
from vqa_assets.encode_grid import grid
from vqa_assets.encode_grid.grid import Merge, make_training_corpus
from vqa_assets.errors import ChangedInputError
from vqa_assets.features import corpus_table
from vqa_assets.features.corpus_table import FeatureSettings, make_clip_features
from vqa_assets.features.extractor import ClipExtractor
from vqa_assets.labels import batch, labelled
from vqa_assets.labels.labelled import make_labelled_table
from vqa_assets.labels.settings import BatchSettings, LabelPaths, LabelSettings
from vqa_assets.provenance import RunContext
from vqa_assets.provenance.reading import names_of_tables, read_now, refuse_changes
from vqa_assets.tables.paths import DataRoot
from vqa_assets.tables.publication import publishing
from vqa_assets.unified import aggregation
from vqa_assets_tests.shared.clips import sha256_of, tiny_clip
from vqa_assets_tests.shared.fakes import KONVID, SmallCorpus
from vqa_assets_tests.shared.grids import tune_row
from vqa_assets_tests.shared.kills import KILLED, killed_at
from vqa_assets_tests.shared.label_tables import label
from vqa_assets_tests.shared.unified_corpora import clip, unify


@pytest.fixture
def context(root_path: Path) -> RunContext:
    return RunContext(DataRoot(root_path), {}, Path(__file__))


@pytest.fixture
def paths(root_path: Path) -> LabelPaths:
    """Two feature rows and their labels."""
    pl.DataFrame({"key": ["a.mp4", "b.mp4"], "adm2": [0.5, 0.6]}).write_parquet(root_path / "f.parquet")
    (root_path / "l.jsonl").write_text("".join(json.dumps(label(f"{name}.mp4", 3)) + "\n" for name in "ab"))
    out, audit = root_path / "out.parquet", root_path / "out.audit.json"
    return LabelPaths(features=root_path / "f.parquet", labels=(root_path / "l.jsonl",), out=out, audit_json=audit)


def while_it_reads(monkeypatch: pytest.MonkeyPatch, module: Any, name: str, meanwhile: Callable[[], object]) -> None:
    """Have ``meanwhile`` happen between a stage's reading and its publication."""
    original = getattr(module, name)

    def with_company(*arguments: Any, **named: Any) -> Any:
        result = original(*arguments, **named)
        meanwhile()
        return result

    monkeypatch.setattr(module, name, with_company)


def appends(path: Path) -> Callable[[], object]:
    return lambda: path.write_bytes(path.read_bytes() + b"\n")


def test_a_labelled_table_of_two_states_of_its_labels_is_not_published(
    paths: LabelPaths, context: RunContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = make_labelled_table(paths, LabelSettings(), context)
    paths.labels[0].write_text("".join(json.dumps(label(f"{name}.mp4", 4)) + "\n" for name in "ab"))
    with monkeypatch.context() as patch:
        while_it_reads(patch, labelled, "_write_parquet", appends(paths.labels[0]))
        with pytest.raises(ChangedInputError) as caught:
            make_labelled_table(paths, LabelSettings(), context)
    assert str(caught.value).startswith(f"{paths.labels[0]}: it changed while it was read, expected one state ")
    assert caught.value.next_step.endswith("the earlier output is kept")
    assert sha256_of(paths.out) == before.manifest["run_provenance"]["outputs"]["features_with_mos"]["sha256"]


def test_a_batch_names_the_tables_as_each_was_read(
    paths: LabelPaths, context: RunContext, root_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    was = sha256_of(paths.labels[0])
    table = {"id": "one", "features": "f.parquet", "labels": ["l.jsonl"], "out": "o.parquet", "audit_json": "o.json"}
    (root_path / "batch.json").write_text(json.dumps({"tables": [table]}))
    manifest = sha256_of(root_path / "batch.json")
    # Both are written to once the table is made, and before the report is.
    while_it_reads(monkeypatch, batch, "make_labelled_table", appends(paths.labels[0]))
    while_it_reads(monkeypatch, batch, "make_labelled_table", appends(root_path / "batch.json"))
    report = batch.label_batch(BatchSettings(manifest=root_path / "batch.json"), context).report
    inputs = report["run_provenance"]["inputs"]
    assert (inputs["one:labels_0"]["sha256"], inputs["manifest"]["sha256"]) == (was, manifest)
    assert sha256_of(paths.labels[0]) != was


def test_a_unified_corpus_of_two_states_of_a_shard_is_not_published(
    root_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [clip("a.mp4", 3.0, "konvid-1k")]
    while_it_reads(monkeypatch, aggregation, "aggregate", appends(root_path / "shard0.jsonl"))
    with pytest.raises(ChangedInputError, match=r"shard0\.jsonl: it changed while it was read"):
        unify(root_path, rows)
    assert not (root_path / "aggregated" / "unified_corpus.jsonl").exists()


def test_a_grid_of_two_states_of_an_input_is_not_published(
    root_path: Path, context: RunContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = root_path / "grid.jsonl"
    path.write_text(json.dumps(tune_row()) + "\n")
    while_it_reads(monkeypatch, grid, "write_lines", appends(path))
    with pytest.raises(ChangedInputError, match=r"grid\.jsonl: it changed while it was read"):
        make_training_corpus(Merge((path,), root_path / "all.jsonl"), context)
    assert not (root_path / "all.jsonl").exists()


class Corpus:
    """A real clip, ingested, and its features."""

    def __init__(self, root: DataRoot) -> None:
        self.small = SmallCorpus(root)
        self.small.annotate([("a.mp4", "", 3, 0.5, 5)])
        tiny_clip(self.small.stage("a.mp4", b""), 1)
        self.small.ingest()
        self.jsonl = root.corpus_jsonl(KONVID)

    def measure(self) -> Any:
        settings = FeatureSettings(self.jsonl, ClipFolders(self.small.folder / "clips"), 1)
        context = RunContext(self.small.root, {}, Path(__file__))
        made = make_clip_features(KONVID, settings, ClipExtractor(feature_sets=("nr-v1",)), ThreadClipPool(), context)
        assert made.manifest is not None
        return made.manifest["run_provenance"]["inputs"]["corpus_jsonl"]


def test_features_name_the_jsonl_whose_rows_they_are_though_ingest_put_another_there(
    root_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = Corpus(DataRoot(root_path))
    was, other = sha256_of(corpus.jsonl), corpus.jsonl.with_name("other")
    other.write_bytes(corpus.jsonl.read_bytes() + b"\n")
    with monkeypatch.context() as patch:
        while_it_reads(patch, corpus_table, "extract_features", lambda: other.replace(corpus.jsonl))
        assert corpus.measure()["sha256"] == was
    with monkeypatch.context() as patch:  # written into, it is of two states
        while_it_reads(patch, corpus_table, "extract_features", appends(corpus.jsonl))
        with pytest.raises(ChangedInputError, match="it changed while it was read"):
            corpus.measure()


def test_an_input_that_is_not_as_it_was_published_is_read_and_told(
    root_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    corpus = Corpus(DataRoot(root_path))
    with caplog.at_level(logging.WARNING):
        assert "as_published" not in corpus.measure()
        assert "its bytes are not those" not in caplog.text
        corpus.jsonl.write_bytes(corpus.jsonl.read_bytes() + b"\n")
        assert corpus.measure()["as_published"] is False
    (told,) = [one for one in caplog.messages if "its bytes are not those" in one]
    assert told.startswith(f"{corpus.jsonl}: its bytes are not those that ")
    assert told.endswith("it was changed since, or a run did not finish; it is read as it is")


def test_an_ingest_names_the_score_file_that_it_read(root_path: Path) -> None:
    small = SmallCorpus(DataRoot(root_path))
    small.annotate([("a.mp4", "", 3, 0.5, 5)])
    small.stage("a.mp4", b"a clip")
    was, scores = sha256_of(small.folder / "manifest.csv"), small.folder / "manifest.csv"

    class Meanwhile(type(small.prober)):  # type: ignore[misc]
        def probe(self, path: Path, timeout_s: float) -> Any:
            scores.write_bytes(scores.read_bytes() + b"b.mp4,,2,0,0\n")
            return super().probe(path, timeout_s)

    small.prober = Meanwhile()
    manifest = small.ingest().manifest
    assert manifest["run_provenance"]["inputs"]["annotation_file"]["sha256"] == was
    assert manifest["annotation_file"]["sha256"] == was
    assert sha256_of(scores) != was


def test_what_is_absent_or_cannot_be_read_is_left_to_whoever_reads_it(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    inputs = read_now({name: tmp_path / name for name in ("absent", "folder", "pipe")})
    assert [one.record["exists"] for one in inputs.values()] == [False, True, True]
    assert not any("sha256" in one.record for one in inputs.values())
    (tmp_path / "absent").touch()
    refuse_changes(inputs.values())


def test_a_publication_cut_short_beside_an_input_is_settled_before_it_is_read(tmp_path: Path) -> None:
    table = tmp_path / "outside" / "x.jsonl"

    def publish(word: bytes) -> None:
        with publishing("stage", table, "stage-v1") as publication:
            publication.write(table, word)

    publish(b"earlier")
    assert killed_at("replace", 1, lambda: publish(b"new")) == KILLED
    record = read_now({"table": table})["table"].record
    assert (record["size_bytes"], record.get("as_published")) == (3, None)


def test_each_table_of_a_corpus_has_a_name_that_no_other_corpus_has() -> None:
    first, second, third, other = (Path(f"{name}.parquet") for name in "abcd")
    assert names_of_tables("rows", {"lab_1": [other], "lab": [first, second, third], "none": []}) == {
        "lab_1": {"rows_lab_1": other},
        "lab": {"rows_lab": first, "rows_lab_2": second, "rows_lab_3": third},
        "none": {},
    }
