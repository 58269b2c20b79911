"""Batches: what a manifest may say, what becomes of its tables, and what the reports tell."""

import json
import os
from pathlib import Path

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vqa_assets.errors import LabelError, SchemaError, SettingsError
from vqa_assets.labels.batch import (
    check_batch,
    find_manifest,
    label_batch,
    read_manifest,
    shipped_manifests,
)
from vqa_assets.labels.settings import BatchSettings
from vqa_assets.provenance import RunContext
from vqa_assets.tables.makers import published_path
from vqa_assets.tables.paths import DataRoot
from vqa_assets_tests.shared.label_tables import label
from vqa_assets_tests.shared.platform import Platform, failure, metadata, shown_rows


class Bench:
    """A folder with a manifest, two feature tables and their labels."""

    def __init__(self, folder):
        self.folder = folder
        self.context = RunContext(DataRoot(folder), {}, Path(__file__), started=0.0)
        for name in ("one", "two"):
            self.features(name, f"{name}.mp4")
            self.labels(name, label(f"{name}.mp4", 3))
        self.tables = [self.entry("one"), self.entry("two")]

    def features(self, name, *keys):
        pq.write_table(pa.table({"key": list(keys)}), self.folder / f"{name}.parquet")

    def labels(self, name, *rows):
        (self.folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    def entry(self, name, **changes):
        files = {"features": f"{name}.parquet", "labels": [f"{name}.jsonl"], "out": f"out/{name}.parquet"}
        return {"id": name, **files, "audit_json": f"out/{name}.audit.json"} | changes

    def manifest(self, content=None, **defaults):
        path = self.folder / "batch.json"
        path.write_text(json.dumps({"defaults": defaults, "tables": self.tables} if content is None else content))
        return path

    def run(self, path=None, **settings):
        return label_batch(BatchSettings(manifest=path or self.manifest(), **settings), self.context)


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)


class TestManifest:
    """What is read, and every mistake with its path."""

    def test_paths_are_from_its_own_folder_or_from_base_dir(self, bench, tmp_path):
        path = bench.manifest()
        assert read_manifest(path).tables[0].paths.features == bench.folder / "one.parquet"
        assert read_manifest(path, tmp_path / "else").tables[0].paths.out == tmp_path / "else" / "out" / "one.parquet"

    @pytest.mark.parametrize(
        "change",
        [
            {"features": "../one.parquet"},
            {"features": "/elsewhere/one.parquet"},
            {"labels": ["one.jsonl", "x/../../one.jsonl"]},
            {"out": "../one.parquet"},
            {"audit_json": "/elsewhere/one.audit.json"},
        ],
    )
    def test_paths_stay_below_their_base_unless_they_are_allowed(self, bench, tmp_path, monkeypatch, change):
        base = bench.folder / "base"
        base.mkdir()
        bench.tables[0] |= change
        with pytest.raises(SettingsError, match=r"tables\[0\]\.\w+.*lies outside.*VQA_ALLOW_PATHS") as caught:
            read_manifest(bench.manifest(), base)
        assert f"tables[0].{next(iter(change))}" in caught.value.what
        monkeypatch.setenv("VQA_ALLOW_PATHS", f"/elsewhere{os.pathsep}{bench.folder}")
        read_manifest(bench.manifest(), base)

    @pytest.mark.parametrize("out", ["ingest.toml.parquet/../../x/ingest.toml", ".git/x.parquet", ".x.parquet"])
    def test_nothing_is_written_that_steers_the_platform(self, bench, out):
        bench.tables[0] |= {"audit_json": out}
        with pytest.raises(SettingsError, match=r"tables\[0\]\.audit_json.*(hidden|\.toml)"):
            read_manifest(bench.manifest(), bench.folder)

    def test_a_table_overrides_the_defaults_and_comments_are_left_out(self, bench):
        bench.tables[1] |= {"min_match_rate": 0.5, "_note": "why"}
        content = {"_about": 1, "defaults": {"min_match_rate": 0.9, "_": {}}, "tables": bench.tables}
        first, second = read_manifest(bench.manifest(content)).tables
        assert (first.settings.min_match_rate, second.settings.min_match_rate) == (0.9, 0.5)

    def test_labels_may_be_one_path_and_the_audit_lies_beside_the_table(self, bench):
        bench.tables = [bench.entry("one", labels="one.jsonl")]
        del bench.tables[0]["audit_json"]
        paths = read_manifest(bench.manifest()).tables[0].paths
        assert (paths.labels, paths.audit_json.name) == ((bench.folder / "one.jsonl",), "one.audit.json")

    @pytest.mark.parametrize(
        ("change", "told"),
        [
            ({"min_match_rate": 2}, "tables[1].min_match_rate: 2, expected a number of at least 0 and at most 1"),
            ({"min_match_rate": "0.9"}, "tables[1].min_match_rate: '0.9', expected a number"),
            ({"key_normalize": "lower"}, "tables[1].key_normalize: 'lower', expected one of auto, raw"),
            ({"overwrite": "yes"}, "tables[1].overwrite: 'yes', expected true or false"),
            ({"mos_scale": "vmaf"}, "tables[1].mos_scale: 'vmaf', expected one of 1-5-acr, 0-100-continuous"),
            ({"vote_columns": [1]}, "tables[1].vote_columns[0]: 1, expected the name of a column"),
            ({"status_column": None}, "tables[1].status_column: found nothing, expected a value"),
            ({"min_matchrate": 0.9}, "tables[1].min_matchrate: unknown key, expected one of id, features"),
            ({"id": ""}, "tables[1].id: '', expected a text"),
            ({"id": "one"}, "tables[1].id: 'one', expected another one than tables[0] has"),
            ({"features": None}, "tables[1].features: found nothing, expected a text"),
            ({"features": "*.parquet"}, "tables[1].features: '*.parquet', expected one path, no pattern"),
            ({"features": "t.xlsx"}, "tables[1].features: the suffix '.xlsx', expected a table"),
            ({"labels": []}, "tables[1].labels: [], expected a list of at least one label file"),
            ({"labels": ["a.jsonl", 3]}, "tables[1].labels[1]: 3, expected a text"),
            ({"out": "out/one.parquet"}, "expected another one than tables[0] has"),
            ({"audit_json": 3}, "tables[1].audit_json: 3, expected a text"),
        ],
    )
    def test_a_mistake_is_told_with_the_path_of_its_entry(self, change, told, bench):
        bench.tables[1] |= change
        path = bench.manifest()
        with pytest.raises(LabelError) as caught:
            read_manifest(path)
        assert str(caught.value).startswith(f"{path}: ")
        assert told in str(caught.value)
        assert not (bench.folder / "out").exists()

    @pytest.mark.parametrize(
        ("content", "told"),
        [
            ({}, "tables: found nothing, expected a list of at least one table"),
            ({"tables": []}, "tables: [], expected a list"),
            ({"tables": [3]}, "tables[0]: 3, expected an object"),
            ({"tables": [], "default": {}}, "default: unknown key, expected one of defaults, tables"),
            ({"tables": [], "defaults": []}, "defaults: [], expected an object"),
            ({"tables": [], "defaults": {"id": "x"}}, "defaults.id: unknown key, expected one of feature_key_column"),
            (
                {"tables": [], "defaults": {"min_match_rate": -1}},
                "defaults.min_match_rate: -1, expected a number of at least 0 and at most 1",
            ),
        ],
    )
    def test_a_manifest_of_another_shape_is_refused(self, content, told, bench):
        with pytest.raises(LabelError) as caught:
            read_manifest(bench.manifest(content))
        assert told in str(caught.value)

    def test_a_manifest_that_is_not_there_or_no_json_is_told(self, bench):
        with pytest.raises(LabelError, match=r"found nothing there.*or to mos-label-batch-chug\.json or mos-label-b"):
            read_manifest(bench.folder / "gone.json")
        (bench.folder / "broken.json").write_text("{")
        with pytest.raises(SchemaError, match=r"broken\.json: not JSON"):
            read_manifest(bench.folder / "broken.json")


class TestBatch:
    """What becomes of the tables."""

    def test_every_table_is_made_with_its_audit_and_both_reports(self, bench):
        del bench.tables[0]["audit_json"]
        done = bench.run()
        check_batch(done)
        assert [o.status for o in done.outcomes] == ["ok", "ok"]
        for name in ("one", "two"):
            assert pq.read_table(bench.folder / "out" / f"{name}.parquet").num_rows == 1
            assert json.loads((bench.folder / "out" / f"{name}.audit.json").read_text())["match_rate"] == 1.0
        report = json.loads((bench.folder / "batch.report.json").read_text())
        assert report == done.report
        assert report["schema"] == "mos-label-materializer-batch-v1"
        assert report["status"] == "ok"
        assert report["summary"] == {"tables": 2, "ok": 2, "failed": 0, "skipped": 0, "rows": 2, "matched_rows": 2}
        assert [t["id"] for t in report["tables"]] == ["one", "two"]
        run = report["run_provenance"]
        assert run["args"]["manifest"] == {"value": "batch.json", "from": "run config"}
        assert run["args"]["fail_fast"] == {"value": False, "from": "default"}
        audit = json.loads((bench.folder / "out" / "one.audit.json").read_text())["run_provenance"]["args"]
        assert audit["out"] == {"value": "out/one.parquet", "from": "run config"}
        assert audit["audit_json"] == {"value": "out/one.audit.json", "from": "default"}
        assert sorted(run["inputs"]) == ["manifest", "one:features", "one:labels_0", "two:features", "two:labels_0"]
        assert run["outputs"]["two:out"]["sha256"]
        text = (bench.folder / "batch.report.md").read_text()
        assert "2 of 2 tables labelled, 0 failed, 0 skipped; 2 of 2 rows have a label." in text
        assert "| one | ok | 1 | 1 | 100.0% | `out/one.parquet` |" in text

    def test_a_failure_stops_no_other_table_and_fails_the_batch_in_the_end(self, bench):
        bench.labels("one", label("other.mp4", 3))
        done = bench.run()
        assert [o.status for o in done.outcomes] == ["failed", "ok"]
        assert (bench.folder / "out" / "two.parquet").is_file()
        assert not (bench.folder / "out" / "one.parquet").exists()
        assert done.report["status"] == "failed"
        assert done.report["tables"][0]["error"]["expected"] == "at least 95.0%"
        assert "0 of 1 keys matched" in (bench.folder / "batch.report.md").read_text()
        with pytest.raises(LabelError, match=r"1 of 2 tables could not be labelled: one: .*0 of 1 keys matched"):
            check_batch(done)

    def test_fail_fast_leaves_the_rest_alone(self, bench):
        (bench.folder / "one.parquet").unlink()
        done = bench.run(fail_fast=True)
        assert [o.status for o in done.outcomes] == ["failed", "skipped"]
        assert done.report["summary"]["skipped"] == 1

    def test_reports_go_where_they_are_told_and_never_onto_an_input(self, bench):
        bench.run(report_json=bench.folder / "r" / "a.json", report_md=bench.folder / "r" / "a.md")
        assert {p.name for p in (bench.folder / "r").iterdir()} == {"a.json", "a.md", ".a.json.published.json"}
        for taken in ("one.jsonl", "batch.json", "out/one.parquet"):
            with pytest.raises(LabelError, match="it is the manifest, a table or an audit, too"):
                bench.run(report_json=bench.folder / taken)

    def test_tables_and_reports_are_one_act(self, bench):
        before = bench.run().report
        bench.labels("one", label("one.mp4", 4))
        # A folder in the place of the report's record is met when both tables are written.
        record = published_path(bench.folder / "batch.report.json")
        record.unlink()
        record.mkdir()
        with pytest.raises(IsADirectoryError, match=record.name):
            bench.run()
        assert pq.read_table(bench.folder / "out" / "one.parquet")["mos"].to_pylist() == [3.0]
        assert json.loads((bench.folder / "batch.report.json").read_text()) == before
        assert not list(bench.folder.rglob("*.tmp"))

    @pytest.mark.parametrize("key", ["features", "labels"])
    def test_a_table_that_reads_what_another_writes_is_refused(self, bench, key):
        out = "out/one.parquet"
        bench.tables[1] |= {key: out if key == "features" else [out]}
        with pytest.raises(LabelError, match=r"tables\[1\]\.(features|labels\[0\]): .*which tables\[0\] writes"):
            bench.run()

    def test_equal_inputs_give_an_equal_data_version_and_a_changed_score_another(self, bench):
        first = bench.run().data_version
        assert bench.run().data_version == first
        bench.labels("two", label("two.mp4", 4))
        assert bench.run().data_version != first


class TestShipped:
    """The two manifests in ``configs/``, in the layout that they are for."""

    def test_they_are_found_by_name_and_name_the_tables_of_the_contract(self):
        assert [path.name for path in shipped_manifests()] == [
            "mos-label-batch-chug.json",
            "mos-label-batch-konvid.json",
        ]
        tables = {t.id: t for path in shipped_manifests() for t in read_manifest(path, Path("/base")).tables}
        assert {name: t.paths.features.relative_to("/base").as_posix() for name, t in tables.items()} == {
            "chug-hdr": ".workingdir2/chug/runs/full_features_chug.parquet",
            "konvid-1k": "runs/full_features_konvid.parquet",
            "konvid-150k": "runs/full_features_konvid_with_folds.parquet",
        }
        konvid, chug = tables["konvid-150k"].settings, tables["chug-hdr"].settings
        assert (konvid.feature_key_column, konvid.label_key_column) == ("key", "src")
        assert konvid.feature_key_regex == konvid.label_key_regex == "([0-9]{6,})"
        assert (chug.feature_key_column, chug.label_key_column, chug.key_normalize) == (
            "chug_video_id",
            "chug_video_id",
            "raw",
        )

    @pytest.mark.parametrize("name", ["mos-label-batch-konvid.json", "mos-label-batch-chug"])
    def test_they_run_on_tables_in_their_layout(self, name, tmp_path):
        manifest = find_manifest(Path(name))
        for table in read_manifest(manifest, tmp_path).tables:
            features, (labels,) = table.paths.features, table.paths.labels
            features.parent.mkdir(parents=True, exist_ok=True)
            labels.parent.mkdir(parents=True, exist_ok=True)
            if table.id == "chug-hdr":
                pq.write_table(pa.table({"key": ["x"], "chug_video_id": ["0aff"]}), features)
                row = label("0aff.mp4", 3, chug_video_id="0aff", mos_raw_0_100=50.0, corpus="chug")
            else:
                pq.write_table(pa.table({"key": ["konvid_1234567"]}), features)
                row = label("1234567.mp4", 3, corpus=table.id)
            labels.write_text(json.dumps(row) + "\n")
        settings = BatchSettings(manifest=manifest, base_dir=tmp_path)
        done = label_batch(settings, RunContext(DataRoot(tmp_path), {}, Path(__file__)))
        check_batch(done)
        assert {path.name for path in tmp_path.glob("[!.]*.report.*")} == {
            f"{manifest.stem}.report.json",
            f"{manifest.stem}.report.md",
        }
        told = done.report["run_provenance"]["args"]
        assert (told["base_dir"]["from"], told["report_json"]["from"]) == ("run config", "default")
        assert all(o.made.audit.match_rate == 1.0 for o in done.outcomes)


class TestAsset:
    """``mos_label_batch`` in Dagster."""

    @pytest.fixture
    def run(self, bench):
        with dg.DagsterInstance.ephemeral() as instance:
            platform = Platform(bench.folder, instance)
            yield lambda **config: platform.run("mos_label_batch", **config)

    def test_it_shows_the_tables_and_their_checks_pass(self, run, bench):
        result = run(manifest=str(bench.manifest()))
        assert result.success
        assert {e.check_name: e.passed for e in result.get_asset_check_evaluations()} == {
            "mos_label_batch_schema": True,
            "mos_label_batch_match_rate": True,
            "mos_label_batch_split_leakage": True,
        }
        told = metadata(result, "mos_label_batch")
        assert [row["status"] for row in shown_rows(told["tables"])] == ["ok", "ok"]
        assert told["report_path"] == "batch.report.md"
        assert told["manifest"]["run_provenance"]["dagster"]["asset_key"] == "mos_label_batch"

    def test_without_a_manifest_the_run_says_what_to_set(self, run):
        assert "mos_label_batch: manifest: found nothing, expected a JSON manifest" in failure(run())

    def test_a_shipped_manifest_without_its_folder_is_refused_and_leaves_nothing_in_the_package(self, run):
        for manifest in shipped_manifests():
            assert "base_dir: found nothing, expected the folder" in failure(run(manifest=manifest.name))
            assert list(manifest.parent.glob("*.report.*")) == []

    def test_a_failed_table_fails_the_run_after_the_others(self, run, bench):
        bench.labels("one", label("other.mp4", 3))
        told = failure(run(manifest=str(bench.manifest())))
        assert "1 of 2 tables could not be labelled: one: " in told
        assert told.count("expected") == 1
        assert (bench.folder / "out" / "two.parquet").is_file()

    def test_a_content_in_two_splits_is_named_with_its_table(self, run, bench):
        bench.features("one", "a", "b")
        bench.labels("one", label("a", 3, content_id="c", split="train"), label("b", 3, content_id="c", split="val"))
        result = run(manifest=str(bench.manifest()))
        assert result.success
        (found,) = [e for e in result.get_asset_check_evaluations() if not e.passed]
        assert (found.check_name, found.severity) == ("mos_label_batch_split_leakage", dg.AssetCheckSeverity.ERROR)
        assert str(found.description).startswith("contents in two splits: one: c (train, val); a head would be judged")
