"""The encode grid in Dagster: what a run leaves, what warns, what blocks, and what a failure says."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from vqa_assets.corpora import ENCODE_GRID_SOURCES
from vqa_assets.encode_grid import grid_files
from vqa_assets.provenance.verify import verify
from vqa_assets.tables.files import read_json_object
from vqa_assets.tables.paths import manifest_path
from vqa_assets_tests.shared.grids import real_report, small_report, tune_row, version_2, write_rows
from vqa_assets_tests.shared.platform import Platform, checks, failure, metadata, passed


class GridPlatform(Platform):
    """The platform with a folder for libvmaf reports."""

    def __init__(self, root_path: Path, instance: dg.DagsterInstance) -> None:
        super().__init__(root_path, instance)
        self.reports = grid_files.reports_folder(self.root)
        self.reports.mkdir(parents=True)


@pytest.fixture
def platform(root_path: Path) -> Iterator[GridPlatform]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield GridPlatform(root_path, instance)


def test_reports_of_the_real_libvmaf_and_rows_of_vmaf_tune_become_one_corpus(platform: GridPlatform) -> None:
    real_report(platform.reports / "Blurred_64x48_25fps_8bit_420.json")
    write_rows(grid_files.vmaf_tune_rows(platform.root), tune_row(), tune_row(1), tune_row(1, vmaf_score=1.0))
    listed = platform.run("libvmaf_reports")
    assert listed.success
    assert metadata(listed, "libvmaf_reports")["dagster/row_count"] == 2
    for source, rows in (("bvi-dvc", 1), ("netflix", 3)):
        made = platform.run("encode_grid_jsonl", partition=source)
        assert made.success
        assert all(passed(made).values())
        told = metadata(made, "encode_grid_jsonl")
        assert told["dagster/row_count"] == rows
        assert told["licence"] == ENCODE_GRID_SOURCES[source].licence
        assert told["manifest"]["run_provenance"]["dagster"]["partition_key"] == source
        written = manifest_path(grid_files.grid_jsonl(platform.root, ENCODE_GRID_SOURCES[source]))
        assert told["manifest"] == read_json_object(written)
    merged = platform.run("fr_training_corpus")
    assert merged.success
    told = metadata(merged, "fr_training_corpus")
    assert (told["rows_in"], told["dagster/row_count"], told["duplicates"], told["unique_sources"]) == (4, 3, 1, 3)
    assert told["absent"] == []
    assert passed(merged)["fr_training_corpus_schema"]
    conflicts = checks(merged)["fr_training_corpus_conflicts"]
    assert not conflicts.passed
    assert "encode-grid/netflix_corpus.jsonl:2 is kept, encode-grid/netflix_corpus.jsonl:3 is not" in str(
        conflicts.description
    )


def test_a_broken_report_warns_by_name_and_the_run_succeeds(platform: GridPlatform) -> None:
    (platform.reports / "a_64x48_25fps_x.json").write_text(small_report())
    (platform.reports / "cut.json").write_text("{")
    result = platform.run("encode_grid_jsonl", partition="bvi-dvc")
    assert result.success
    dropped = checks(result)["encode_grid_jsonl_dropped"]
    assert not dropped.passed
    assert str(dropped.description).startswith("broken 1 (cut.json: no usable report: not JSON")
    losses = metadata(result, "encode_grid_jsonl")["losses"]
    assert [dict(record.data)["report"].split(": ")[0] for record in losses.records] == ["cut.json"]


def test_rows_that_version_2_completed_warn_that_features_are_missing(platform: GridPlatform) -> None:
    write_rows(grid_files.vmaf_tune_rows(platform.root), version_2(tune_row()))
    result = platform.run("encode_grid_jsonl", partition="netflix")
    assert result.success
    dropped = checks(result)["encode_grid_jsonl_dropped"]
    assert (dropped.passed, dropped.description) == (False, "without_features 1")


def test_failures_say_what_was_looked_for_and_what_to_do(platform: GridPlatform) -> None:
    assert "materialize encode_grid_jsonl for bvi-dvc or netflix first" in failure(platform.run("fr_training_corpus"))
    assert "put the reports there, or set cache_dir" in failure(platform.run("libvmaf_reports"))
    assert "bvi-dvc: no libvmaf report" in failure(platform.run("encode_grid_jsonl", partition="bvi-dvc"))
    assert "put the file there, or set input" in failure(platform.run("encode_grid_jsonl", partition="netflix"))
    write_rows(grid_files.vmaf_tune_rows(platform.root), tune_row(schema_version=1))
    assert ":1: schema_version: version 1, expected version 2 or 3" in failure(
        platform.run("encode_grid_jsonl", partition="netflix")
    )
    (platform.reports / "a.json").write_text("")
    assert "0 broken and 1 empty reports (a.json: empty: no byte)" in failure(
        platform.run("encode_grid_jsonl", partition="bvi-dvc")
    )


def test_settings_name_inputs_labels_and_outputs_with_their_bounds(platform: GridPlatform, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    cache.mkdir()
    (cache / "a_64x48_25fps_x.json").write_text(small_report())
    output = tmp_path / "out" / "grid.jsonl"
    settings = {"cache_dir": str(cache), "output": str(output), "crf": 20, "encoder": "libsvtav1", "preset": "6"}
    result = platform.run("encode_grid_jsonl", partition="bvi-dvc", **settings)
    assert result.success
    assert all(passed(result).values())
    assert metadata(result, "encode_grid_jsonl")["manifest"]["run_provenance"]["args"]["crf"]["value"] == 20
    assert output.is_file()
    assert manifest_path(output).is_file()
    merged = platform.run("fr_training_corpus", inputs=[str(output)], output=str(tmp_path / "out" / "all.jsonl"))
    assert merged.success
    assert all(passed(merged).values())
    assert "a missing input" in failure(platform.run("fr_training_corpus", inputs=[str(tmp_path / "no.jsonl")]))
    assert "crf" in failure(platform.run("encode_grid_jsonl", partition="bvi-dvc", crf=64))
    assert "encoder" in failure(platform.run("encode_grid_jsonl", partition="bvi-dvc", encoder=""))


def test_a_grid_can_be_verified_and_its_command_names_its_settings(platform: GridPlatform) -> None:
    report = platform.reports / "a_64x48_25fps_x.json"
    report.write_text(small_report())
    platform.run("encode_grid_jsonl", partition="bvi-dvc", crf=20)
    manifest = manifest_path(grid_files.grid_jsonl(platform.root, ENCODE_GRID_SOURCES["bvi-dvc"]))
    verified = verify(manifest)
    assert verified.holds
    assert "--select encode_grid_jsonl --partition bvi-dvc --config-json" in verified.command
    assert '"crf": 20' in verified.command
    report.write_text(small_report(12.0))
    assert [one.name for one in verify(manifest).compared if not one.match.good] == [
        "encode-grid/bvi-dvc/" + report.name
    ]


def test_equal_inputs_give_equal_data_versions(platform: GridPlatform) -> None:
    report = platform.reports / "a_64x48_25fps_x.json"
    report.write_text(small_report())

    def versions() -> list[str]:
        platform.run("libvmaf_reports", "encode_grid_jsonl", partition="bvi-dvc")
        platform.run("fr_training_corpus")
        return [platform.data_version(a) for a in ("libvmaf_reports", "encode_grid_jsonl", "fr_training_corpus")]

    first = versions()
    grid_files.training_corpus(platform.root).unlink()
    assert versions() == first
    report.write_text(small_report(12.0))
    assert all(new != old for new, old in zip(versions(), first, strict=True))


def test_the_command_exits_1_where_no_report_is_usable(platform: GridPlatform, tmp_path: Path) -> None:
    (platform.reports / "b.json").write_text("{")
    command = [str(Path(sys.executable).with_name("dagster")), "asset", "materialize", "-m", "vqa_assets.definitions"]
    home = tmp_path / "home"
    home.mkdir()
    own = {"DAGSTER_HOME": str(home), "VQA_DATA_ROOT": str(platform.root.path)}
    done = subprocess.run(
        [*command, "--select", "encode_grid_jsonl", "--partition", "bvi-dvc"],
        env={**os.environ, **own, "PYTHONPATH": str(Path(__file__).parents[2])},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1
    assert (
        "no usable row: 1 broken and 0 empty reports (b.json: no usable report: not JSON" in done.stdout + done.stderr
    )
    assert not grid_files.grid_jsonl(platform.root, ENCODE_GRID_SOURCES["bvi-dvc"]).exists()
