"""CHUG's heads, from a ladder's labelled table to the manifest: wide, with a display, and the ablation."""

import json
from pathlib import Path

import polars as pl
import pytest

from vqa_assets.errors import TrainingError
from vqa_assets.feature_names import DISPLAY_COLUMNS
from vqa_assets.heads.build import BuiltHead, build_head
from vqa_assets.heads.card import render_card
from vqa_assets.heads.members.training import TorchTrainer
from vqa_assets.heads.recipe import CHUG_HDR_DISPLAY_V1, CHUG_HDR_MOS_HEAD_V1, CHUG_HDR_WIDE_V1
from vqa_assets.heads.settings import TrainingSettings
from vqa_assets_tests.shared.head_tables import FACTS, chug_labelled, quiet, written


def build(path: Path, say=quiet, **settings) -> BuiltHead:
    chosen = TrainingSettings(epochs=2, device="cpu", protocol_splits=0, **{"export": False, **settings})
    return build_head(CHUG_HDR_MOS_HEAD_V1, {"chug": path}, FACTS, chosen, TorchTrainer(), say)


@pytest.fixture(scope="module")
def table(tmp_path_factory) -> Path:
    return written(chug_labelled(), tmp_path_factory.mktemp("chug") / "chug.parquet")


@pytest.fixture(scope="module")
def display(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("display") / "tv.json"
    path.write_text(json.dumps({"peak_nits": 1000, "panel_type": "OLED", "maker": "X"}))
    return path


def test_the_wide_head_keeps_constant_metadata_and_lists_it(table):
    m = build(table).manifest
    assert (m["feature_schema"], m["feature_order"]) == (CHUG_HDR_WIDE_V1.name, list(CHUG_HDR_WIDE_V1.columns))
    assert m["constant"] == ["reference_width_norm", "reference_height_norm", "feature_bitdepth_norm"]
    still = [m["feature_std"][m["feature_order"].index(name)] for name in m["constant"]]
    assert still == [1.0, 1.0, 1.0]
    assert m["corpora"]["chug"]["rows"] == 200
    assert "display_profile" not in m


def test_folds_of_a_ladder_go_by_content(table):
    p = build(table).predictions
    folds_of = {group: {f for g, f in zip(p.groups, p.fold, strict=True) if g == group} for group in p.groups}
    assert {len(folds) for folds in folds_of.values()} == {1}


def test_a_ladder_split_at_random_is_told_and_never_production(tmp_path):
    words = pl.Series("split", ["test" if i % 3 == 0 else "train" for i in range(200)])
    m = build(written(chug_labelled().with_columns(words), tmp_path / "torn.parquet")).manifest
    assert (m["folds"]["groups_in_train_and_test"], m["status"], m["gate"]["passed"]) == (40, "Proposed", False)
    assert m["gate"]["reasons"][0] == "40 contents stand on both sides of the given split"
    card = render_card(m)
    assert "- **40 contents stand on both sides of the split: these numbers say nothing of new content.**" in card
    assert "All folds together" not in card
    assert "out of fold" not in card
    # What is off on contents that were trained on says nothing of how far off others are.
    assert m["interval"] is None
    assert m["no_interval"] == "not measured: 40 contents stand on both sides of the given split"
    assert f"- No interval stands beside its scores: {m['no_interval']}." in card


def test_a_display_profile_makes_the_wider_head_and_is_recorded(table, display):
    said: list[str] = []
    m = build(table, said.append, display_profile_json=str(display)).manifest
    assert m["feature_order"] == list(CHUG_HDR_DISPLAY_V1.columns)
    told = m["display_profile"]
    assert (told["file"], told["ignored"]) == ("tv.json", ["maker"])
    assert told["values"]["display_peak_luminance_nits_norm"] == pytest.approx(0.1)
    assert set(told["lacking"]) == set(DISPLAY_COLUMNS) - {
        *("display_peak_luminance_nits_norm", "display_panel_oled", "display_panel_qled", "display_panel_lcd")
    }
    assert m["training_recipe"]["settings"]["display_profile_json"] == "tv.json"
    assert set(DISPLAY_COLUMNS) <= set(m["constant"])
    assert any("lacks, taken as 0: display_black" in line and "maker" in line for line in said)


def test_an_ablation_reads_the_older_columns_only(table, display, tmp_path):
    frame = chug_labelled().with_columns(
        saliency_mean=pl.col("adm2") * 0.5,
        saliency_var=pl.col("motion2") * 0.5,
        shot_count_norm=pl.col("duration_s") / 10,
        shot_mean_len_norm=pl.col("duration_s") / 20,
        shot_cut_density=pl.col("duration_s") / 30,
    )
    path, said = written(frame, tmp_path / "chug.parquet"), list[str]()
    m = build(path, said.append, feature_schema="konvid-v1", display_profile_json=str(display)).manifest
    assert m["feature_schema"] == "konvid-v1"
    assert "display_profile" not in m
    assert "display profile tv.json is not used: konvid-v1 has no display columns" in said


def test_a_display_head_without_any_display_lists_what_is_absent(table):
    with pytest.raises(TrainingError, match=r"chug: display_peak_luminance_nits_norm \(absent or all missing\)"):
        build(table, feature_schema="chug-hdr-display-v1")


def test_a_constant_measured_quantile_is_refused_until_it_is_allowed(tmp_path):
    path = written(chug_labelled().with_columns(adm2_p10=pl.lit(1.0)), tmp_path / "chug.parquet")
    with pytest.raises(TrainingError, match=r"chug: adm2_p10 \(constant 1\)"):
        build(path)
    assert "adm2_p10" in build(path, allow_missing_features=("adm2_p10",)).manifest["constant"]
