from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from vqa_assets.corpora.contents import drawn_parts
from vqa_assets.feature_names import KONVID_V1
from vqa_assets.heads.baselines import bounded, svr_predictions
from vqa_assets.heads.build import BuiltHead, build_head
from vqa_assets.heads.card import render_card
from vqa_assets.heads.evaluation import METRICS, protocol_parts, run_protocol
from vqa_assets.heads.method import HeadRows, TrainingRows
from vqa_assets.heads.model import predict
from vqa_assets.heads.recipe import KONVID_MOS_HEAD_V1
from vqa_assets.heads.settings import TrainingSettings
from vqa_assets.heads.splitting import Part, plan_splits
from vqa_assets.heads.synthetic import synthetic_table
from vqa_assets.heads.training import TorchTrainer
from vqa_assets.heads.weights import encoder_onehot
from vqa_assets.metrics import plcc, score
from vqa_assets_tests.shared.head_tables import FACTS, labelled, written

SETTINGS = TrainingSettings(epochs=3, device="cpu", protocol_splits=4)
TABLE = synthetic_table(KONVID_V1, rows=300, seed=1)


def build(path: Path, settings: TrainingSettings = SETTINGS, say=lambda _: None) -> BuiltHead:
    return build_head(KONVID_MOS_HEAD_V1, {"konvid-1k": path}, FACTS, settings, TorchTrainer(), say)


@pytest.fixture(scope="module")
def path(tmp_path_factory) -> Path:
    frame = labelled(160).with_columns(vmaf=60 + 10 * pl.col("adm2"))
    return written(frame, tmp_path_factory.mktemp("tables") / "konvid-1k.parquet")


@pytest.fixture(scope="module")
def told() -> list[str]:
    return []


@pytest.fixture(scope="module")
def built(path, told) -> BuiltHead:
    return build(path, say=told.append)


def test_a_fifth_of_the_contents_judges_each_split_and_the_splits_differ():
    groups = [f"c{i // 3}" for i in range(90)]
    masks = list(drawn_parts(groups, 0.2, 5, seed=1))
    for mask in masks:
        judged = {g for g, chosen in zip(groups, mask, strict=True) if chosen}
        assert len(judged) == 6
        assert sum(mask) == 18
    assert len(set(masks)) == 5
    assert masks == list(drawn_parts(groups, 0.2, 5, seed=1))
    assert list(drawn_parts(groups, 0.2, 7, seed=1))[:5] == masks


def test_a_draw_takes_two_groups_at_least_and_leaves_as_many():
    assert sum(next(drawn_parts("abcdefg", 0.2, 1, seed=0))) == 2
    assert sum(next(drawn_parts("abcd", 0.2, 1, seed=0))) == 2


def test_no_draw_comes_twice_and_few_groups_give_all_there_are():
    groups = ["a", "b", "b", "c", "d"]
    masks = list(drawn_parts(groups, 0.2, 10, seed=3))
    assert len(masks) == len(set(masks)) == 6
    drawn = {tuple(sorted({g for g, m in zip(groups, mask, strict=True) if m})) for mask in masks}
    assert drawn == set(combinations("abcd", 2))


@pytest.mark.parametrize("groups", ["", "aa", "abbc"])
def test_under_four_contents_there_is_no_draw(groups):
    assert list(drawn_parts(groups, 0.2, 10, seed=0)) == []


def test_protocol_splits_keep_contents_together_and_never_touch_the_holdout():
    plan = plan_splits(TABLE, SETTINGS)
    parts = protocol_parts(TABLE, plan, SETTINGS)
    assert [part.name for part in parts] == [f"protocol-{i}" for i in range(4)]
    for part in parts:
        assert sorted((*part.train, *part.test)) == sorted(plan.final)
        assert not {TABLE.groups[row] for row in part.train} & {TABLE.groups[row] for row in part.test}


def test_a_smoke_run_and_a_setting_of_0_leave_the_protocol_out():
    plan = plan_splits(TABLE, SETTINGS)
    assert protocol_parts(TABLE, plan, SETTINGS.but(smoke=True)) == ()
    assert protocol_parts(TABLE, plan, SETTINGS.but(protocol_splits=0)) == ()


def test_with_a_split_everywhere_the_protocol_draws_from_all_rows():
    given = replace(TABLE, split=("train",) * 180 + ("test",) * 120)
    plan = plan_splits(given, SETTINGS)
    assert {len(part.train) + len(part.test) for part in protocol_parts(given, plan, SETTINGS)} == {300}


def test_the_manifest_has_medians_and_intervals_of_all_predictors(built):
    protocol = built.manifest["protocol"]
    assert (protocol["splits"], protocol["test_share"]) == (4, 0.2)
    assert set(protocol["median"]) == {"head", "constant", "ridge", "svr", "vmaf"}
    for name, medians in protocol["median"].items():
        assert set(medians) == set(METRICS)
        for metric, median in medians.items():
            low, high = protocol["interval_95"][name][metric]
            assert (median is None) == (low is None) == (name == "constant" and "rmse" not in metric)
            if median is not None:
                assert low < median < high
    assert protocol["median"]["constant"]["rmse_over_sd"] == pytest.approx(1.0, abs=0.1)


def test_the_medians_are_those_of_the_splits_heads():
    settings = SETTINGS.but(protocol_splits=3, epochs=1)
    parts = protocol_parts(TABLE, plan_splits(TABLE, settings), settings)
    rows = TrainingRows(TABLE.features, encoder_onehot(300), TABLE.mos, TABLE.groups)
    heads = TorchTrainer().train(rows, [HeadRows(p.name, p.train) for p in parts], settings, lambda *_: None).heads
    found = run_protocol(TABLE, parts, heads, 1, lambda _: None).predictors["head"].median
    each = [
        score(TABLE.mos[p.test], predict(head, TABLE.features[p.test], encoder_onehot(len(p.test))))
        for p, head in zip(parts, heads, strict=True)
    ]
    assert found["srocc"] == pytest.approx(np.median([one.srocc for one in each]))
    assert found["krocc"] == pytest.approx(np.median([one.krocc for one in each]))
    assert found["plcc"] == pytest.approx(np.median([one.plcc_fitted for one in each]), abs=1e-6)
    assert found["rmse"] == pytest.approx(np.median([one.rmse_fitted for one in each]), abs=1e-6)


def test_differences_to_the_baselines_have_intervals(built):
    protocol = built.manifest["protocol"]
    assert set(protocol["head_minus"]) == {"ridge", "svr"}
    for name, difference in protocol["head_minus"].items():
        low, high = difference["interval"]
        assert low <= difference["srocc"] <= high
        apart = protocol["median"]["head"]["srocc"] - protocol["median"][name]["srocc"]
        assert difference["srocc"] == pytest.approx(apart)


def test_the_gates_folds_are_the_same_with_and_without_the_protocol(built, path):
    without = build(path, SETTINGS.but(protocol_splits=0)).manifest
    assert without["protocol"] is None
    assert "The field's protocol" not in render_card(without)
    np.testing.assert_allclose(
        [fold["plcc"] for fold in without["folds"]["each"]],
        [fold["plcc"] for fold in built.manifest["folds"]["each"]],
        atol=1e-3,
    )


def test_labels_that_hardly_differ_leave_numbers_undefined_and_warn_of_nothing(tmp_path):
    frame = labelled(60).with_columns(mos=pl.when(pl.int_range(60) < 58).then(3.0).otherwise(4.0))
    manifest = build(written(frame, tmp_path / "t.parquet"), SETTINGS.but(protocol_splits=2)).manifest
    assert manifest["status"] == "Proposed"
    assert manifest["protocol"]["median"]["head"]["srocc"] is None
    assert manifest["protocol"]["head_minus"]["ridge"] == {"srocc": None, "interval": [None, None]}
    assert "SROCC of the head minus that of ridge regression: –." in render_card(manifest)


def test_the_card_and_the_log_tell_of_the_protocol(built, told):
    card = render_card(built.manifest)
    assert "Medians over 4 splits by content" in card
    for row in ("| the head | 0.", "| constant | – | – | – |", "| ridge regression |", "| RBF-SVR |", "| VMAF |"):
        assert row in card
    assert "SROCC of the head minus that of RBF-SVR:" in card
    assert any("trained 10 heads in" in line for line in told)


def test_a_card_says_that_so_few_contents_allow_no_more_splits(tmp_path):
    path = written(labelled(8), tmp_path / "few.parquet")
    manifest = build(path, SETTINGS.but(protocol_splits=10)).manifest
    assert (manifest["protocol"]["splits"], manifest["protocol"]["groups"]) == (6, 4)
    told = "Medians over 6 splits by content (all that there are) (two contents judge, the others train)"
    assert told in render_card(manifest)


def test_vmaf_that_is_known_of_some_rows_says_of_how_many(tmp_path):
    known = pl.when(pl.int_range(160) % 2 == 0).then(60 + 10 * pl.col("adm2"))
    manifest = build(written(labelled(160).with_columns(vmaf=known), tmp_path / "half.parquet")).manifest
    judged = manifest["protocol"]["rows_judged"]
    assert judged["vmaf"] * 2 == judged["head"] == judged["ridge"]
    assert f"| VMAF (known of {judged['vmaf']} of {judged['head']} rows) |" in render_card(manifest)


def test_svr_learns_a_bent_signal_from_training_rows_alone():
    frame = labelled(400, bend=0.6)
    mos = frame["mos"].to_numpy().astype(np.float32)
    table = replace(
        synthetic_table(KONVID_V1, rows=400),
        features=frame.select(KONVID_V1.columns).to_numpy().astype(np.float32),
        mos=mos,
        groups=tuple(frame["content_id"]),
    )
    part = Part("a", np.arange(300), np.arange(300, 400))
    predicted = svr_predictions(table, part, seed=1)
    assert plcc(mos[300:], predicted) > 0.7
    spoilt = mos.copy()
    spoilt[300:] = 1.0
    np.testing.assert_array_equal(svr_predictions(replace(table, mos=spoilt), part, seed=1), predicted)


def test_svr_reads_a_bounded_number_of_rows_of_whole_contents():
    groups = [f"g{i % 50}" for i in range(1_000)]
    rows = np.arange(100, 1_000)
    few = bounded(rows, groups, 90, seed=1)
    assert len(few) == len(set(few)) == 90
    assert set(few) <= set(rows)
    assert len({groups[row] for row in few}) == 5
    assert bounded(rows, groups, 900, seed=1) is rows
