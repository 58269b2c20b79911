"""No setting replaces a file that the stage did not write: for every stage, by every way to name one."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vqa_assets.corpora import CORPORA
from vqa_assets.encode_grid.grid import GridOutput, Merge, make_grid, make_training_corpus
from vqa_assets.encode_grid.grid_files import vmaf_tune_rows
from vqa_assets.encode_grid.grid_sources import netflix_job
from vqa_assets.errors import IngestError, NewerFormatError, SettingsError, VqaError
from vqa_assets.labels.batch import label_batch
from vqa_assets.labels.labelled import make_labelled_table
from vqa_assets.labels.settings import BatchSettings, LabelPaths, LabelSettings
from vqa_assets.provenance import RunContext
from vqa_assets.tables.makers import mark, seal
from vqa_assets.tables.paths import DataRoot, manifest_path
from vqa_assets.tables.targets import OwnTarget, check_targets
from vqa_assets.unified.aggregation import UnifiedSettings, make_unified_corpus
from vqa_assets.unified.shards import Shard
from vqa_assets_tests.shared.fakes import KONVID, SmallCorpus
from vqa_assets_tests.shared.grids import tune_row
from vqa_assets_tests.shared.label_tables import label

Run = Callable[..., None]


class Bench:
    """A data root on which every stage that writes to a named place has run once."""

    def __init__(self, root: Path) -> None:
        self.root, self.folder = DataRoot(root), root
        self.context = RunContext(self.root, {}, Path(__file__))
        self.corpus = SmallCorpus(self.root)
        self.corpus.annotate([(f"{i}.mp4", "", 2 + i, 0.5, 5) for i in range(3)])
        for i in range(3):
            self.corpus.stage(f"{i}.mp4", b"%d" % i)
        self.ingest()
        pq.write_table(pa.table({"key": [f"{i}.mp4" for i in range(3)]}), self.root.features(KONVID))
        self.mos_features()
        self.unified_corpus()

    def ingest(self, **settings: Any) -> None:
        self.corpus.ingest(**settings)

    def mos_features(self, **places: Path) -> None:
        usual = {
            "features": self.root.features(KONVID),
            "labels": (self.root.corpus_jsonl(KONVID),),
            "out": self.root.labelled(KONVID),
            "audit_json": places.get("out", self.root.labelled(KONVID)).with_suffix(".audit.json"),
        }
        by_default = frozenset(usual) - set(places)
        paths = LabelPaths(**{**usual, **places}, by_default=by_default)  # type: ignore[arg-type]
        make_labelled_table(paths, LabelSettings(), self.context)

    def unified_corpus(self, output: Path | None = None, manifest_out: Path | None = None) -> None:
        shards = (Shard(self.root.corpus_jsonl(KONVID)),)
        settings = UnifiedSettings(shards, output or self.root.unified_corpus(), manifest_out)
        make_unified_corpus(settings, CORPORA, self.context)

    def encode_grid(self, output: Path, manifest_out: Path | None = None) -> None:
        rows = vmaf_tune_rows(self.root)
        rows.parent.mkdir(exist_ok=True)
        rows.write_text("".join(json.dumps(tune_row(i)) + "\n" for i in range(2)))
        make_grid(netflix_job(rows, self.root, GridOutput(output, manifest_out)), self.context)

    def fr_training_corpus(self, output: Path, manifest_out: Path | None = None) -> None:
        grid = self.folder / "grid.jsonl"
        if not grid.exists():
            self.encode_grid(grid)
        make_training_corpus(Merge((grid,), output, (), manifest_out), self.context)

    def mos_label_batch(self, **reports: Path) -> None:
        (self.folder / "one.jsonl").write_text(json.dumps(label("0.mp4", 3)) + "\n")
        pq.write_table(pa.table({"key": ["0.mp4"]}), self.folder / "one.parquet")
        table = {"id": "one", "features": "one.parquet", "labels": "one.jsonl", "out": "out/one.parquet"}
        manifest = self.folder / "batch.json"
        manifest.write_text(json.dumps({"tables": [table]}))
        label_batch(BatchSettings(manifest=manifest, **reports), self.context)  # type: ignore[arg-type]

    def contents(self) -> dict[Path, bytes]:
        """Every file that a person, or a stage, left: those that a run may touch while it looks are not among them."""
        passing = (".ingest.lock", ".ingest-cache.sqlite", ".download-progress.json")
        files = (path for path in self.folder.rglob("*") if path.is_file() and not path.name.startswith(passing))
        return {path: path.read_bytes() for path in files}


@pytest.fixture
def bench(root_path: Path) -> Bench:
    return Bench(root_path)


def foreign_files(bench: Bench) -> list[Path]:
    """What no stage may take for its own: a person's, and other stages'."""
    notes = bench.folder / "notes.json"
    notes.write_text('{"mine": true}')
    text = bench.folder / "thesis.txt"
    text.write_text("years of work\n")
    link = bench.folder / "link.json"
    link.symlink_to(notes)
    hard = bench.folder / "same-clip.mp4"
    hard.hardlink_to(bench.corpus.folder / "clips" / "0.mp4")
    return [notes, text, link, hard, bench.corpus.folder / "manifest.csv", bench.corpus.folder / "clips" / "1.mp4"]


WAYS: dict[str, Callable[[Bench, Path], None]] = {
    "corpus_jsonl.output": lambda b, p: b.ingest(output=str(p)),
    "corpus_jsonl.manifest_out": lambda b, p: b.ingest(manifest_out=str(p)),
    "corpus_jsonl.progress_path": lambda b, p: b.ingest(progress_path=str(p)),
    "unified_corpus.output": lambda b, p: b.unified_corpus(p),
    "unified_corpus.manifest_out": lambda b, p: b.unified_corpus(manifest_out=p),
    "mos_features.audit_json": lambda b, p: b.mos_features(audit_json=p),
    "encode_grid_jsonl.output": lambda b, p: b.encode_grid(p),
    "encode_grid_jsonl.manifest_out": lambda b, p: b.encode_grid(b.folder / "new.jsonl", p),
    "fr_training_corpus.output": lambda b, p: b.fr_training_corpus(p),
    "fr_training_corpus.manifest_out": lambda b, p: b.fr_training_corpus(b.folder / "new.jsonl", p),
    "mos_label_batch.report_json": lambda b, p: b.mos_label_batch(report_json=p),
    "mos_label_batch.report_md": lambda b, p: b.mos_label_batch(report_md=p),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_file_of_a_person_or_of_another_stage_is_refused_and_stays(way: str, bench: Bench) -> None:
    stage = way.partition(".")[0]
    files = foreign_files(bench)
    if stage != "corpus_jsonl":
        files += [bench.root.corpus_jsonl(KONVID), manifest_path(bench.root.corpus_jsonl(KONVID))]
    if stage != "unified_corpus":
        files += [bench.root.unified_corpus(), bench.root.unified_corpus().with_suffix(".parquet")]
    if stage != "mos_features":
        files += [bench.root.labelled(KONVID), bench.root.labelled_audit(KONVID)]
    if stage == "mos_label_batch":  # whose own inputs they are
        bench.mos_label_batch()
        files += [bench.folder / name for name in ("one.parquet", "one.jsonl", "batch.json")]
    if stage == "fr_training_corpus":
        bench.encode_grid(bench.folder / "grid.jsonl")
    before = bench.contents()
    for path in files:
        with pytest.raises(VqaError) as error:
            WAYS[way](bench, path)
        message = str(error.value)
        assert str(path) in message
        assert any(
            words in message
            for words in ("left as it is", "one path for both", "never replaced", "too, expected a file of its own")
        ), message
    assert {path: content for path, content in bench.contents().items() if path in before} == before


@pytest.mark.parametrize("way", WAYS)
def test_what_the_stage_wrote_at_a_named_place_is_replaced_by_its_next_run(way: str, bench: Bench) -> None:
    name = {"report_md": "own.md", "output": "own/rows.jsonl"}.get(way.partition(".")[2], "own.json")
    for _ in range(2):
        WAYS[way](bench, bench.folder / name)
    assert (bench.folder / name).stat().st_size


class TestIngest:
    def test_rows_of_another_corpus_are_no_earlier_rows_of_this_one(self, bench: Bench) -> None:
        jsonl = bench.root.corpus_jsonl(KONVID)
        lines = jsonl.read_text().replace(KONVID.name, "lsvq")
        lsvq = bench.folder / "lsvq" / "lsvq.jsonl"
        lsvq.parent.mkdir()
        lsvq.write_text(lines)
        with pytest.raises(SettingsError, match="nothing says that corpus_jsonl wrote it"):
            bench.ingest(output=str(lsvq))
        # With the manifest of the other corpus it is of the stage, and of another corpus all the same.
        manifest = json.loads(manifest_path(jsonl).read_text()) | {"corpus": "lsvq"}
        manifest["run_provenance"]["outputs"]["corpus_jsonl"]["path"] = "lsvq/lsvq.jsonl"
        manifest_path(lsvq).write_text(json.dumps(manifest))
        with pytest.raises(IngestError, match=r"lsvq\.jsonl:1: a row of 'lsvq', not of konvid-150k"):
            bench.ingest(output=str(lsvq))
        assert lsvq.read_text() == lines

    def test_an_existing_drop_at_the_default_place_is_the_corpus_own_without_a_manifest(self, bench: Bench) -> None:
        jsonl = bench.root.corpus_jsonl(KONVID)
        manifest_path(jsonl).unlink()
        before = jsonl.read_bytes()
        bench.ingest()
        assert jsonl.read_bytes() == before
        jsonl.write_text(before.decode().replace(f'"corpus":"{KONVID.name}"', '"corpus":"lsvq"', 1))
        manifest_path(jsonl).unlink()
        foreign = jsonl.read_bytes()
        with pytest.raises(IngestError, match="a row of 'lsvq', not of konvid-150k"):
            bench.ingest()
        assert jsonl.read_bytes() == foreign

    def test_elsewhere_a_manifest_must_name_it(self, bench: Bench) -> None:
        copy = bench.folder / "copy" / "rows.jsonl"
        copy.parent.mkdir()
        copy.write_bytes(bench.root.corpus_jsonl(KONVID).read_bytes())
        with pytest.raises(SettingsError, match="nothing says that corpus_jsonl wrote it"):
            bench.ingest(output=str(copy))
        copy.unlink()
        elsewhere = str(bench.folder / "copy" / "its.json")
        bench.ingest(output=str(copy), manifest_out=elsewhere)
        bench.ingest(output=str(copy), manifest_out=elsewhere)

    def test_the_files_beside_a_named_one_are_judged_too(self, bench: Bench) -> None:
        (bench.folder / "mine.losses.jsonl").write_text('{"my": "list"}\n')
        (bench.folder / "mine.log").write_text("a log of mine\n")
        with pytest.raises(SettingsError, match="the losses beside output"):
            bench.ingest(output=str(bench.folder / "mine.jsonl"))
        with pytest.raises(SettingsError, match="the log of progress_path"):
            bench.ingest(progress_path=str(bench.folder / "mine.json"))
        assert (bench.folder / "mine.log").read_text() == "a log of mine\n"


class TestTables:
    def test_the_files_beside_a_unified_corpus_are_judged_too(self, bench: Bench) -> None:
        table = bench.corpus.folder / "features.parquet"
        before = table.read_bytes()
        with pytest.raises(SettingsError, match="the Parquet file beside output"):
            bench.unified_corpus(table.with_suffix(".jsonl"))
        assert table.read_bytes() == before

    def test_a_labelled_table_of_other_features_is_another_table(self, bench: Bench) -> None:
        other = bench.folder / "lsvq" / "features.parquet"
        other.parent.mkdir()
        other.write_bytes(bench.root.features(KONVID).read_bytes())
        with pytest.raises(SettingsError, match=r"which mos_features made of konvid-150k/features\.parquet"):
            bench.mos_features(features=other, out=bench.root.labelled(KONVID))
        for _ in range(2):
            bench.mos_features(out=bench.root.labelled(KONVID))

    def test_a_table_that_a_person_changed_is_theirs(self, bench: Bench) -> None:
        out = bench.folder / "mine.parquet"
        bench.mos_features(out=out)
        pq.write_table(pq.read_table(out).append_column("note", pa.array(["a", "b", "c"])), out)
        with pytest.raises(SettingsError, match="changed since mos_features wrote it"):
            bench.mos_features(out=out)

    def test_a_grid_does_not_take_the_place_of_another_sources(self, bench: Bench) -> None:
        place = bench.folder / "encode-grid" / "bvi_dvc_corpus.jsonl"
        bench.encode_grid(place) if not place.exists() else None
        with pytest.raises(SettingsError, match="the place of another source's rows"):
            bench.encode_grid(place)


class TestRules:
    def test_spellings_and_links_hide_nothing(self, tmp_path: Path) -> None:
        (tmp_path / "in.csv").write_text("x")
        (tmp_path / "link").symlink_to(tmp_path)
        os.link(tmp_path / "in.csv", tmp_path / "hard.csv")
        for name in ("in.csv", "link/in.csv", "x/../in.csv", "hard.csv"):
            with pytest.raises(SettingsError, match="which is the score file, too"):
                check_targets(
                    "stage",
                    [OwnTarget("out", tmp_path / name, "s", usual=True)],
                    {"the score file": tmp_path / "in.csv"},
                )

    def test_two_targets_are_two_files(self, tmp_path: Path) -> None:
        targets = [OwnTarget("out", tmp_path / "a.json", "s"), OwnTarget("manifest_out", tmp_path / "x/../a.json", "s")]
        with pytest.raises(SettingsError, match=r"stage: manifest_out: .*which is out, too"):
            check_targets("stage", targets, {})

    def test_a_name_that_no_disk_can_hold_is_told(self, tmp_path: Path) -> None:
        with pytest.raises(SettingsError, match=r"stage: out: .*a path that no disk can hold"):
            check_targets("stage", [OwnTarget("out", tmp_path / f"{'é' * 128}.json", "s")], {})
        check_targets("stage", [OwnTarget("out", tmp_path / f"{'x' * 250}.json", "s")], {})

    def test_an_empty_file_holds_nothing_and_a_pipe_is_no_file(self, tmp_path: Path) -> None:
        (tmp_path / "empty").touch()
        check_targets("stage", [OwnTarget("out", tmp_path / "empty", "s")], {})
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(SettingsError, match="no plain file"):
            check_targets("stage", [OwnTarget("out", tmp_path / "pipe", "s")], {})

    def test_a_later_versions_file_is_told_as_that(self, tmp_path: Path) -> None:
        path = tmp_path / "x.parquet"
        newer = {k: v.replace('"format":1', '"format":9') for k, v in mark("mos_features").items()}
        pq.write_table(pa.table({"a": [1]}).replace_schema_metadata(newer), path)
        seal(path)
        with pytest.raises(NewerFormatError):
            check_targets("stage", [OwnTarget("out", path, "mos_features")], {})
