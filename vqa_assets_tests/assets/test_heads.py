"""The head assets in Dagster: what each reads and leaves, what its checks say, and what a bad run must not touch."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import onnx
import polars as pl
import pytest

from vqa_assets.assets.heads import EXPERIMENT_TAG
from vqa_assets.encode_grid.grid_files import training_corpus
from vqa_assets.errors import HeadError
from vqa_assets.heads.judging.seen import training_of
from vqa_assets.predict import find_head
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
    with dg.DagsterInstance.ephemeral() as instance:
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


def test_without_any_table_a_recipe_says_which_it_looked_for(platform):
    assert "expected the table of at least one of konvid-1k, konvid-150k" in failure(platform.run("konvid_mos_head_v1"))
    assert "no encode grid" in failure(platform.run("fr_regressor_v2"))


def test_the_full_reference_head_reads_the_encode_grid(platform):
    write_rows(training_corpus(platform.root), *encodes(5, bvi=3))
    result = platform.run("fr_regressor_v2")
    assert result.success
    found = checks(result)
    assert found["fr_regressor_v2_runs_anywhere"].passed
    assert found["fr_regressor_v2_schema"].passed
    assert not found["fr_regressor_v2_gate"].passed
    m = platform.manifest("fr_regressor_v2")
    assert set(m["corpora"]) == {"bvi-dvc", "netflix"}
    assert "Ma, Zhang, Bull" in m["corpora"]["bvi-dvc"]["citation"]
    assert list(m["run_provenance"]["inputs"]) == ["rows_encode-grid"]
    told = failure(platform.run("fr_regressor_v2", exclude_corpora=["netflix"]))
    assert told.startswith("fr_regressor_v2: another head is there: exclude_corpora: none there, netflix here")
    own = platform.run("fr_regressor_v2", exclude_corpora=["netflix"], name="bvi")
    assert own.success
    assert set(platform.manifest("experiments/fr_regressor_v2.bvi")["corpora"]) == {"bvi-dvc"}


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


def test_an_experiment_lies_beside_the_head_that_stands_and_changes_nothing_of_it(platform):
    platform.put("konvid-1k", labelled(60))
    first = platform.run("mos_head", partition="konvid-1k")
    models = platform.root.path / "models"
    before = {path.name: path.read_bytes() for path in models.iterdir()}
    own = platform.run("mos_head", partition="konvid-1k", columns=["motion2", "adm2"], name="two_2")
    assert own.success
    assert data_version(own, "mos_head") == data_version(first, "mos_head")
    assert {path.name: path.read_bytes() for path in models.iterdir() if path.is_file()} == before
    stem = "konvid_1k_mos_head.two_2"
    ends = (".onnx", ".json", ".predictions.parquet", "_card.md", "_card.png")
    published = {f".{stem}.onnx.published.json", *(f"{stem}{end}" for end in ends)}
    assert {path.name for path in (models / "experiments").iterdir()} == published
    manifest = platform.manifest(f"experiments/{stem}")
    assert (manifest["id"], manifest["experiment"], manifest["onnx"]) == (stem, "two_2", f"{stem}.onnx")
    assert "An experiment: nothing else uses it." in (models / "experiments" / f"{stem}_card.md").read_text()
    assert metadata(own, "mos_head")["path"] == f"models/experiments/{stem}.onnx"
    assert all(checks(own)[f"mos_head_{check}"].passed for check in ("schema", "runs_anywhere"))
    (event,) = own.asset_materializations_for_node("mos_head")
    assert (event.tags or {})[EXPERIMENT_TAG] == "two_2"
    assert verify(models / "experiments" / f"{stem}.json", platform.root).holds
    assert find_head(stem, str(platform.root.path)) == models / "experiments" / f"{stem}.onnx"
    # Whoever looks for a head by a wrong name is shown the experiments too.
    with pytest.raises(HeadError, match=rf"one of: konvid_1k_mos_head, {stem}"):
        find_head("mos", str(platform.root.path))


def test_a_run_that_chooses_otherwise_is_refused_before_it_reads_anything_unless_it_replaces(platform):
    platform.put("konvid-1k", labelled(60))
    assert platform.run("konvid_mos_head_v1").success
    before = platform.manifest("konvid_mos_head_v1")
    table = platform.root.path / "konvid-1k" / "features_with_mos.parquet"
    content = table.read_bytes()
    table.unlink()
    told = failure(platform.run("konvid_mos_head_v1", columns=["adm2", "motion2"]))
    assert told.startswith(
        "konvid_mos_head_v1: another head is there: feature_schema: konvid-v1 there, own-columns here"
    )
    assert told.endswith("models/experiments/konvid_mos_head_v1.<name>.onnx), or state replace: true")
    assert platform.manifest("konvid_mos_head_v1") == before
    table.write_bytes(content)
    assert platform.run("konvid_mos_head_v1", columns=["adm2", "motion2"], replace=True).success
    assert platform.manifest("konvid_mos_head_v1")["feature_order"] == ["adm2", "motion2"]
    # What stands now is that one: the run that made it needs no word any more, the recipe's own does.
    assert platform.run("konvid_mos_head_v1", columns=["adm2", "motion2"], seed=3).success
    assert "feature_schema: own-columns there, konvid-v1 here" in failure(platform.run("konvid_mos_head_v1"))


def test_predictions_that_were_changed_block(platform):
    platform.put("konvid-1k", labelled(60))
    made = checks(platform.run("konvid_mos_head_v1"))["konvid_mos_head_v1_schema"]
    assert (made.passed, made.severity) == (True, dg.AssetCheckSeverity.ERROR)
    path = platform.root.path / "models" / "konvid_mos_head_v1.predictions.parquet"
    pl.read_parquet(path).with_columns(predicted=pl.lit(9.0, pl.Float32)).write_parquet(path)
    again = platform.check_again("konvid_mos_head_v1_schema", "konvid_mos_head_v1")
    assert not again.passed
    assert "konvid_mos_head_v1.predictions.parquet: SHA-256 " in str(again.description)
    (platform.root.path / "models" / "konvid_mos_head_v1.json").unlink()
    gone = platform.check_again("konvid_mos_head_v1_schema", "konvid_mos_head_v1")
    assert "found nothing there, expected the head's manifest; train the head again" in str(gone.description)


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


def test_tables_may_be_named_from_home_several_a_corpus_and_of_any_format(platform, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    raw = labelled(60).select(pl.exclude("mos"), mos_raw_0_100=(pl.col("mos") - 1) * 25)
    raw[:30].write_csv(tmp_path / "mine.csv")
    raw[30:].write_ndjson(tmp_path / "more.jsonl")
    assert platform.run("mos_head", partition="konvid-1k", tables={"konvid-1k": ["~/mine.csv", "~/more.jsonl"]}).success
    m = platform.manifest("konvid_1k_mos_head")
    inputs = m["run_provenance"]["inputs"]
    assert {name: record["exists"] for name, record in inputs.items()} == {
        "features_with_mos_konvid-1k": True,
        "features_with_mos_konvid-1k_1": True,
    }
    assert m["corpora"]["konvid-1k"]["rows"] == 60
    # rows of either that name no corpus are known for that corpus's
    training = training_of(platform.root.models() / "konvid_1k_mos_head.onnx")
    assert training is not None
    assert set(training.tables.values()) == {"konvid-1k"}


def test_files_of_an_encode_grid_that_go_by_one_name_are_all_in_the_manifest(platform, tmp_path):
    rows = encodes(6)
    first, second = (write_rows(tmp_path / f"{n}.jsonl", *own) for n, own in enumerate((rows[::2], rows[1::2])))
    assert platform.run("fr_regressor_v2", tables={"mine": str(first)}, extra_tables={"mine": str(second)}).success
    inputs = platform.manifest("fr_regressor_v2")["run_provenance"]["inputs"]
    assert {name: Path(record["path"]).name for name, record in inputs.items()} == {
        "rows_mine": "0.jsonl",
        "rows_mine_1": "1.jsonl",
    }


def test_a_head_that_is_not_exported_leaves_the_one_that_stands(platform):
    platform.put("konvid-1k", labelled(60))
    first = platform.run("mos_head", partition="konvid-1k")
    before = {path.name: path.read_bytes() for path in (platform.root.path / "models").iterdir()}
    again = platform.run("mos_head", partition="konvid-1k", export=False)
    assert again.success, failure(again)
    assert checks(first)["mos_head_regression"].description == "no head before"
    assert "SROCC" in str(checks(again)["mos_head_regression"].description)
    assert data_version(again, "mos_head") == data_version(first, "mos_head")
    after = {path.name: path.read_bytes() for path in (platform.root.path / "models").iterdir()}
    assert {name: after[name] for name in before} == before
    stem, ends = "konvid_1k_mos_head.unexported", (".json", ".predictions.parquet", "_card.md", "_card.png")
    assert set(after) - set(before) == {f".{stem}.onnx.published.json", *(f"{stem}{end}" for end in ends)}


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


def test_other_corpora_help_a_head_and_stand_among_what_it_read(platform):
    platform.put("konvid-1k", labelled(40))
    platform.put("live-vqc", labelled(80, seed=2))
    platform.put("lsvq", labelled(20, seed=3).drop("adm2"))
    result = platform.run("mos_head", partition="konvid-1k", help_from="all", k_folds=2)
    assert all(checks(result)[f"mos_head_{check}"].passed for check in ("schema", "runs_anywhere"))
    manifest = platform.manifest("konvid_1k_mos_head")
    assert set(manifest["run_provenance"]["inputs"]) == {
        "features_with_mos_konvid-1k",
        "help_features_with_mos_live-vqc",
        "help_features_with_mos_lsvq",
    }
    assert verify(platform.root.models() / "konvid_1k_mos_head.json", platform.root).holds
    assert list(manifest["help"]["corpora"]) == ["live-vqc"]
    assert manifest["help"]["left_out"]["lsvq"].startswith("features that cannot be trained on: lsvq: adm2")
    shown = metadata(result, "mos_head")
    assert "- Help from all (80 rows of live-vqc)" in shown["card"]
    assert (shown["help_from"], shown["help"]) == (["all"], manifest["help"]["reason"] or "in the head")
    # a run that says nothing of help would make another head
    assert "help_from: all there, none here" in failure(platform.run("mos_head", partition="konvid-1k", k_folds=2))
    told = failure(platform.run("konvid_mos_head_v1", help_from=["live-vqc"]))
    assert told.startswith("help_from: help for konvid_mos_head_v1, which is trained on all its corpora")
