"""The head assets in Dagster: what each reads and leaves, what its checks say, and what a bad run must not touch."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import onnx
import polars as pl
import pytest

from vqa_assets.encode_grid.grid_files import training_corpus
from vqa_assets.provenance.verify import verify
from vqa_assets_tests.heads.test_full_reference import encodes
from vqa_assets_tests.shared.grids import write_rows
from vqa_assets_tests.shared.head_tables import chug_labelled, labelled
from vqa_assets_tests.shared.platform import Platform, checks, data_version, failure, metadata

QUICK = {"epochs": 2, "device": "cpu", "protocol_splits": 0}


class HeadPlatform(Platform):
    """The platform with labelled tables and short trainings."""

    def __init__(self, root_path: Path, instance: dg.DagsterInstance) -> None:
        super().__init__(root_path, instance)
        self.defaults = QUICK

    def put(self, corpus: str, frame: pl.DataFrame) -> None:
        (self.root.path / corpus).mkdir(exist_ok=True)
        frame.write_parquet(self.root.path / corpus / "features_with_mos.parquet")

    def manifest(self, head: str) -> dict[str, Any]:
        told: dict[str, Any] = json.loads((self.root.path / "models" / f"{head}.json").read_text())
        return told


@pytest.fixture
def platform(root_path: Path) -> Iterator[HeadPlatform]:
    with dg.instance_for_test() as instance:
        yield HeadPlatform(root_path, instance)


def test_chugs_head_with_a_display_reads_the_profile_and_warns_of_constant_columns(platform, tmp_path):
    platform.put("chug", chug_labelled())
    display = tmp_path / "tv.json"
    display.write_text(json.dumps({"peak_nits": 1000, "panel_type": "OLED"}))
    result = platform.run("chug_hdr_mos_head_v1", display_profile_json=str(display))
    assert result.success
    warned = checks(result)["chug_hdr_mos_head_v1_columns"]
    assert not warned.passed
    assert warned.severity == dg.AssetCheckSeverity.WARN
    assert "of one value: reference_width_norm" in str(warned.description)
    assert "not in the display: display_black_luminance_nits_norm" in str(warned.description)
    assert platform.manifest("chug_hdr_mos_head_v1")["feature_schema"] == "chug-hdr-display-v1"
    inputs = platform.manifest("chug_hdr_mos_head_v1")["run_provenance"]["inputs"]
    assert set(inputs) == {"display_profile", "features_with_mos_chug"}
    assert inputs["display_profile"]["sha256"] == platform.manifest("chug_hdr_mos_head_v1")["display_profile"]["sha256"]
    display.write_text("{}")
    assert not verify(platform.root.path / "models" / "chug_hdr_mos_head_v1.json", platform.root).holds


def test_the_unified_head_trains_on_those_that_are_there(platform):
    platform.put("konvid-1k", labelled(60))
    platform.put("lsvq", labelled(60, seed=1))
    result = platform.run("unified_mos_head_v1", feature_schema="konvid-v1")
    assert result.success
    told = metadata(result, "unified_mos_head_v1")
    assert "chug" in told["absent_corpora"]
    m = platform.manifest("unified_mos_head_v1")
    assert set(m["corpora"]) == set(m["leave_one_corpus_out"]) == {"konvid-1k", "lsvq"}
    assert m["redistribution"]["strictest"] == "research-only"
    props = {
        p.key: p.value for p in onnx.load(platform.root.path / "models" / "unified_mos_head_v1.onnx").metadata_props
    }
    assert "Ying" in props["citations"]


def test_without_any_table_a_recipe_says_which_it_looked_for(platform):
    assert "expected the table of at least one of konvid-1k, konvid-150k" in failure(platform.run("konvid_mos_head_v1"))
    assert "no encode grid" in failure(platform.run("fr_regressor_v2"))


def test_the_full_reference_head_reads_the_encode_grid(platform):
    write_rows(training_corpus(platform.root), *encodes(5, bvi=3))
    result = platform.run("fr_regressor_v2")
    assert result.success
    found = checks(result)
    assert found["fr_regressor_v2_runs_anywhere"].passed
    assert not found["fr_regressor_v2_gate"].passed
    m = platform.manifest("fr_regressor_v2")
    assert set(m["corpora"]) == {"bvi-dvc", "netflix"}
    assert "Ma, Zhang, Bull" in m["corpora"]["bvi-dvc"]["citation"]
    assert list(m["run_provenance"]["inputs"]) == ["rows_encode-grid"]


def test_a_shard_of_computed_scores_is_never_an_opinion_heads_target(platform):
    platform.put("konvid-1k", labelled(60))
    platform.put("netflix", labelled(60, seed=1))
    path = str(platform.root.path / "netflix" / "features_with_mos.parquet")
    told = failure(platform.run("mos_head", partition="konvid-1k", extra_tables={"netflix-public": path}))
    assert "scores are no opinions: netflix-public" in told


def test_a_smoke_run_leaves_the_real_heads_file_and_data_version_alone(platform):
    platform.put("konvid-1k", labelled(60))
    first = platform.run("mos_head", partition="konvid-1k")
    before = (platform.root.path / "models" / "konvid_1k_mos_head.onnx").read_bytes()
    smoke = platform.run("mos_head", partition="konvid-1k", smoke=True)
    assert data_version(smoke, "mos_head") == data_version(first, "mos_head")
    assert (platform.root.path / "models" / "konvid_1k_mos_head.onnx").read_bytes() == before
    assert (platform.root.path / "models" / "konvid_1k_mos_head.smoke.onnx").is_file()


def test_a_failed_training_leaves_the_earlier_head_whole(platform):
    platform.put("konvid-1k", labelled(60))
    platform.run("mos_head", partition="konvid-1k")
    before = {path.name: path.read_bytes() for path in (platform.root.path / "models").iterdir()}
    platform.put("konvid-1k", labelled(60).with_columns(mos=pl.lit(3.0)))
    assert "all 60 labels are equal: 3" in failure(platform.run("mos_head", partition="konvid-1k"))
    assert {path.name: path.read_bytes() for path in (platform.root.path / "models").iterdir()} == before


def test_a_file_that_is_not_its_manifests_or_has_another_operator_blocks(platform):
    platform.put("konvid-1k", labelled(60))
    assert checks(platform.run("konvid_mos_head_v1"))["konvid_mos_head_v1_runs_anywhere"].passed
    path = platform.root.path / "models" / "konvid_mos_head_v1.onnx"
    model = onnx.load(path)
    (last,) = (node for node in model.graph.node if node.output[0] == "mos")
    last.output[0] = "sharp"
    model.graph.node.append(onnx.helper.make_node("Round", ["sharp"], ["mos"]))
    onnx.save(model, path)
    again = platform.check_again("konvid_mos_head_v1_runs_anywhere", "konvid_mos_head_v1")
    assert not again.passed
    assert "operators not allowed: Round" in str(again.description)
    assert "konvid_mos_head_v1.onnx is not the file its manifest describes" in str(again.description)
    path.unlink()
    gone = platform.check_again("konvid_mos_head_v1_runs_anywhere", "konvid_mos_head_v1")
    assert "found nothing there, expected the head" in str(gone.description)


def test_a_table_may_be_named_from_home(platform, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    labelled(60).write_parquet(tmp_path / "mine.parquet")
    assert platform.run("mos_head", partition="konvid-1k", tables={"konvid-1k": "~/mine.parquet"}).success
    (table,) = (v for k, v in platform.manifest("konvid_1k_mos_head")["run_provenance"]["inputs"].items() if "mos" in k)
    assert table["exists"] is True


def test_a_head_that_is_not_exported_leaves_the_one_that_stands(platform):
    platform.put("konvid-1k", labelled(60))
    first = platform.run("mos_head", partition="konvid-1k")
    before = {path.name: path.read_bytes() for path in (platform.root.path / "models").iterdir()}
    again = platform.run("mos_head", partition="konvid-1k", export=False)
    assert again.success
    assert checks(first)["mos_head_regression"].description == "no head before"
    assert "SROCC" in str(checks(again)["mos_head_regression"].description)
    assert data_version(again, "mos_head") == data_version(first, "mos_head")
    after = {path.name: path.read_bytes() for path in (platform.root.path / "models").iterdir()}
    assert {name: after[name] for name in before} == before
    assert set(after) - set(before) == {
        f"konvid_1k_mos_head.unexported{end}" for end in (".json", "_card.md", "_card.png")
    }


def test_after_a_smoke_run_the_checks_alone_judge_the_real_head(platform):
    platform.put("konvid-1k", labelled(60))
    platform.run("konvid_mos_head_v1")
    smoke = checks(platform.run("konvid_mos_head_v1", smoke=True))["konvid_mos_head_v1_gate"]
    assert "synthetic" in str(smoke.description)
    again = platform.check_again("konvid_mos_head_v1_gate", "konvid_mos_head_v1")
    assert "synthetic" not in str(again.description)
    (platform.root.path / "models" / "konvid_mos_head_v1.onnx").write_bytes(b"no head")
    broken = platform.check_again("konvid_mos_head_v1_runs_anywhere", "konvid_mos_head_v1")
    assert not broken.passed
    assert str(broken.description).startswith("konvid_mos_head_v1.onnx: reading an ONNX file")


def test_the_manifest_says_which_settings_were_chosen(platform):
    platform.put("konvid-1k", labelled(60))
    platform.run("mos_head", partition="konvid-1k", lr=0.002)
    told = platform.manifest("konvid_1k_mos_head")["run_provenance"]["args"]
    assert told["lr"] == {"value": 0.002, "from": "run config"}
    assert told["k_folds"] == {"value": 5, "from": "default"}


@pytest.mark.parametrize(
    ("setting", "value", "expected"),
    [
        ("epochs", 0, "a whole number of at least 1"),
        ("lr", -1.0, "a number above 0 and below 1"),
        ("k_folds", 1, "a whole number of at least 2"),
        ("batch_size", 0, "a whole number of at least 1"),
        ("protocol_splits", -1, "a whole number of at least 0 and at most 1000"),
    ],
)
def test_a_number_out_of_its_bounds_is_told_as_any_other_setting(platform, setting, value, expected):
    told = failure(platform.run("mos_head", partition="konvid-1k", **{setting: value}))
    assert told.startswith(f"{setting}: {value!r}, expected {expected}; correct the run config")
