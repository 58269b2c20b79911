import copy
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import RidgeCV
from sklearn.svm import SVR

from vqa_assets.assets.heads import beats_result
from vqa_assets.corpora.contents import drawn_parts
from vqa_assets.feature_names import KONVID_V1
from vqa_assets.heads.build import BuiltHead, build_head
from vqa_assets.heads.card import render_card
from vqa_assets.heads.judging import baselines
from vqa_assets.heads.judging.baselines import RIVALS, bounded, inner_parts, kernel_predictions, rivals_of_parts
from vqa_assets.heads.judging.evaluation import METRICS, protocol_parts, run_protocol
from vqa_assets.heads.members.closed_form import PENALTIES
from vqa_assets.heads.members.method import HeadRows, TrainingRows
from vqa_assets.heads.members.model import predict
from vqa_assets.heads.members.training import TorchTrainer
from vqa_assets.heads.members.weights import encoder_onehot, standardisation, standardised
from vqa_assets.heads.recipe import KONVID_MOS_HEAD_V1
from vqa_assets.heads.rows.splitting import Part, plan_splits
from vqa_assets.heads.rows.synthetic import synthetic_table
from vqa_assets.heads.settings import TrainingSettings
from vqa_assets.metrics import plcc, score, srocc
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
    assert set(protocol["median"]) == {"head", "constant", "ridge", "svr", "kernel_ridge", "vmaf"}
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
    assert set(protocol["head_minus"]) == set(RIVALS) == {"ridge", "svr", "kernel_ridge", "constant"}
    for name, difference in protocol["head_minus"].items():
        low, high = difference["interval"]
        assert low <= difference["srocc"] <= high
        # A constant tells nothing apart: it has no SROCC, which counts as 0.
        of_baseline = protocol["median"][name]["srocc"] or 0.0
        assert difference["srocc"] == pytest.approx(protocol["median"]["head"]["srocc"] - of_baseline)
    assert protocol["head_minus"]["constant"]["interval"] == protocol["interval_95"]["head"]["srocc"]


def test_the_settings_that_each_baseline_chose_in_each_split_stand_in_the_manifest(built):
    chosen = built.manifest["protocol"]["settings_chosen"]
    assert {name: [set(one) for one in each] for name, each in chosen.items()} == {
        "constant": [{"score"}] * 4,
        "ridge": [{"penalty"}] * 4,
        "svr": [{"scaling", "gamma", "C", "epsilon"}] * 4,
        "kernel_ridge": [{"scaling", "gamma", "penalty"}] * 4,
    }
    assert built.manifest["protocol"]["kernel_machines"] == {
        "fitted_on_at_most": 5_000,
        "chosen_on_at_most": 1_500,
        "judged_on_at_most": 20_000,
        "rows_drawn_by": "content",
    }


def test_the_baselines_stand_on_the_hold_out_too(built, path):
    held = built.held_out
    assert {name: len(scores) for name, scores in held.baselines.items()} == dict.fromkeys(
        RIVALS, built.manifest["holdout"]["rows"]
    )
    assert np.corrcoef(held.baselines["kernel_ridge"], held.predictions.mos)[0, 1] > 0.5
    assert set(build(path, SETTINGS.but(protocol_splits=0, epochs=1)).held_out.baselines) == {"ridge", "constant"}


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
    machines = ("| RBF-SVR |", "| RBF kernel ridge regression |")
    for row in ("| the head | 0.", "| constant | – | – | – |", "| ridge regression |", *machines, "| VMAF |"):
        assert row in card
    assert "fitted on at most 5000 rows, choose their settings on at most 1500 and are judged on at most 20000" in card
    assert "SROCC of the head minus that of a constant, which counts as 0: 0." in card
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


def known(rows: int, bend: float = 0.6, features=lambda z: z):
    """A table whose scores follow its features, which are seen as ``features`` makes them."""
    frame = labelled(rows, bend=bend)
    return replace(
        synthetic_table(KONVID_V1, rows=rows),
        features=features(frame.select(KONVID_V1.columns).to_numpy()).astype(np.float32),
        mos=frame["mos"].to_numpy().astype(np.float32),
        groups=tuple(frame["content_id"]),
    )


def test_the_kernel_machines_learn_a_bent_signal_from_training_rows_alone():
    table, part = known(300), Part("a", np.arange(240), np.arange(240, 300))
    spoilt = table.mos.copy()
    spoilt[240:] = 1.0
    (tuned,), (blind,) = (list(rivals_of_parts(one, [part], seed=1)) for one in (table, replace(table, mos=spoilt)))
    for name in RIVALS:
        assert name == "constant" or plcc(table.mos[240:], tuned[name].scores) > (0.7 if name != "ridge" else 0.5)
        np.testing.assert_array_equal(blind[name].scores, tuned[name].scores)
        assert blind[name].settings == tuned[name].settings


@pytest.mark.parametrize("columns", [11, 150])
def test_each_baseline_is_scikit_learns_with_the_settings_that_it_says(columns):
    """And ridge's penalty is the one that its own search by left-out contents finds, by columns and by rows."""
    draw = np.random.default_rng(3)
    features = draw.standard_normal((120, columns)).astype(np.float32)
    mos = (3 + 0.4 * features[:, 0] + 0.3 * draw.standard_normal(120)).astype(np.float32)
    rows = TrainingRows(features, encoder_onehot(120), mos, tuple(f"c{i // 2}" for i in range(120)))
    part = Part("a", np.arange(100), np.arange(100, 120))
    (tuned,) = rivals_of_parts(rows, [part], 1)
    mean, std = standardisation(features[:100])
    x, y = standardised(features, mean, std).astype(np.float64), mos[:100].astype(np.float64)
    inner = inner_parts(rows.groups, part.train, 5, 1)
    cuts = [(np.flatnonzero(inner != k), np.flatnonzero(inner == k)) for k in range(5)]
    ridge = RidgeCV(PENALTIES, cv=cuts, scoring="neg_mean_squared_error").fit(x[:100], y)
    assert tuned["ridge"].settings["penalty"] == ridge.alpha_
    np.testing.assert_allclose(tuned["ridge"].scores, ridge.predict(x[100:]), atol=1e-9)
    low, high = features[:100].min(axis=0).astype(np.float64), features[:100].max(axis=0).astype(np.float64)
    scaled = {"standardised": x, "min-max": np.clip((features - low) / (high - low), 0, 1)}
    for name in ("svr", "kernel_ridge"):
        chosen = dict(tuned[name].settings)
        scaling, gamma = chosen.pop("scaling"), chosen.pop("gamma")
        machine = (
            SVR(gamma=gamma, **chosen) if name == "svr" else KernelRidge(chosen["penalty"], kernel="rbf", gamma=gamma)
        )
        machine.fit(scaled[scaling][:100], (y - y.mean()) / y.std())
        expected = y.mean() + y.std() * machine.predict(scaled[scaling][100:])
        np.testing.assert_allclose(tuned[name].scores, expected, atol=1e-6)


def test_other_processes_give_the_same_numbers(monkeypatch):
    monkeypatch.setattr(baselines, "KERNEL_JUDGED_ROWS", 25)
    table = known(90)
    parts = [Part(f"{k}", np.arange(90)[np.arange(90) // 30 != k], np.arange(30) + 30 * k) for k in range(3)]
    here, elsewhere = (list(kernel_predictions(table, parts, 1, processes=n)) for n in (1, 2))
    for ours, theirs in zip(here, elsewhere, strict=True):
        for name, tuned in ours.items():
            np.testing.assert_array_equal(theirs[name].scores, tuned.scores)
            assert theirs[name].settings == tuned.settings
            assert np.isfinite(tuned.scores).sum() == 25  # the others of 30 are not asked


PROGRAM = """
import numpy as np
from vqa_assets.feature_names import KONVID_V1
from vqa_assets.heads.judging.baselines import kernel_predictions
from vqa_assets.heads.rows.splitting import Part
from vqa_assets.heads.rows.synthetic import synthetic_table
table = synthetic_table(KONVID_V1, rows=400)
parts = [Part(f"{k}", np.arange(k, 400), np.arange(k)) for k in range(1, 100)]
for _ in kernel_predictions(table, parts, 1, processes=2):
    print("one", flush=True)
"""


@pytest.mark.takes_long("processes that are killed")
def test_the_processes_end_with_a_run_that_is_killed():
    with subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, start_new_session=True) as run:
        assert run.stdout
        run.stdout.readline()
        run.kill()
        group = run.pid
    for _ in range(200):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    os.killpg(group, signal.SIGKILL)
    pytest.fail("they outlive it")


def test_left_out_contents_choose_the_scaling_that_suits_the_columns():
    """Standardising makes noise as large as a column of two values; between its ends, it makes a tail all there is."""
    draw = np.random.default_rng(0)
    two = draw.integers(0, 2, (160, 3)).astype(float)
    tail = np.exp(2 * draw.standard_normal((160, 3)))
    noise = {"min-max": draw.standard_normal((160, 20)), "standardised": draw.random((160, 3))}
    laws = {"min-max": (two, two @ [1.0, 1.0, 1.0]), "standardised": (tail, np.log(tail) @ [0.5, 0.4, 0.3])}
    for scaling, (causes, law) in laws.items():
        features = np.hstack([causes, noise[scaling]]).astype(np.float32)
        mos = (3 + 0.4 * (law - law.mean())).astype(np.float32)
        rows = TrainingRows(features, encoder_onehot(160), mos, tuple(f"c{i // 2}" for i in range(160)))
        (tuned,) = kernel_predictions(rows, [Part("a", np.arange(120), np.arange(120, 160))], 1)
        assert {tuned[name].settings["scaling"] for name in tuned} == {scaling}
        assert srocc(mos[120:], tuned["kernel_ridge"].scores) > 0.6


def test_with_one_content_to_learn_from_nothing_is_chosen_and_with_two_it_is():
    table = replace(known(60), groups=("a",) * 20 + ("b",) * 20 + ("c",) * 20)
    one, two = (Part("x", np.arange(rows), np.arange(40, 60)) for rows in (20, 40))
    (of_one,) = rivals_of_parts(table, [one], 1)
    assert of_one["svr"].settings["C"] == 1.0
    assert of_one["kernel_ridge"].settings["scaling"] == "standardised"
    (of_two,) = rivals_of_parts(table, [two], 1)
    assert all(np.isfinite(tuned.scores).all() for tuned in (*of_one.values(), *of_two.values()))


@pytest.mark.parametrize("scores", [np.full(60, 3.0), np.where(np.arange(60) == 7, 4.0, 3.0)])
def test_scores_that_hardly_differ_and_columns_of_one_value_or_huge_ones_are_fitted_without_a_word(scores):
    features = known(60).features.copy()
    features[:, 0], features[:, 1], features[3, 1] = 1.0, 0.0, 1e30
    features[:, 2] = np.where(np.arange(60) % 2, 1e30, -1e30)
    table = replace(known(60), features=features, mos=scores.astype(np.float32))
    (tuned,) = rivals_of_parts(table, [Part("x", np.arange(45), np.arange(45, 60))], 1)
    for one in tuned.values():
        assert np.abs(one.scores - 3).max() < 1


def test_svr_reads_a_bounded_number_of_rows_of_whole_contents():
    groups = [f"g{i % 50}" for i in range(1_000)]
    rows = np.arange(100, 1_000)
    few = bounded(rows, groups, 90, seed=1)
    assert len(few) == len(set(few)) == 90
    assert set(few) <= set(rows)
    assert len({groups[row] for row in few}) == 5
    assert bounded(rows, groups, 900, seed=1) is rows


def apart(low: float | None, high: float | None, srocc: float | None = 0.01) -> dict:
    return {"srocc": srocc, "interval": [low, high]}


class TestBeats:
    """The checks ``<asset>_beats_<baseline>``, and the card's first line."""

    @pytest.mark.parametrize(
        ("difference", "passed", "told"),
        [
            (apart(0.002, 0.03), True, "over 4 splits: 0.010, 95 % 0.002 to 0.030, above zero"),
            (apart(-0.002, 0.03), False, "on both sides of zero"),
            (apart(-0.03, -0.001, -0.01), False, "-0.010, 95 % -0.030 to -0.001, below zero"),
            (
                apart(None, None),
                False,
                "not measured: SROCC of the head minus that of a ridge regression over 4 splits",
            ),
            (apart(None, None, None), False, "not measured: in one split or more the head tells no clips apart"),
        ],
    )
    def test_only_what_lies_above_zero_passes(self, difference, passed, told):
        checked = beats_result({"protocol": {"splits": 4, "head_minus": {"ridge": difference}}}, "ridge")
        assert (checked.passed, told in str(checked.description)) == (passed, True)

    def test_what_was_not_measured_is_told_and_has_not_passed(self):
        for manifest in ({"protocol": None}, {"protocol": {"splits": 4, "head_minus": {"svr": apart(0.1, 0.2)}}}):
            checked = beats_result(manifest, "kernel_ridge")
            assert not checked.passed
            assert str(checked.description).startswith("not measured: ")

    def test_the_head_of_a_known_signal_beats_a_constant(self, built):
        checked = beats_result(built.manifest, "constant")
        assert checked.passed, checked.description
        assert "a constant, whose own counts as 0, over 4 splits" in str(checked.description)

    def test_a_head_that_is_worse_says_so_in_the_first_line_of_its_card_and_what_to_use_instead(self, built):
        manifest = copy.deepcopy(built.manifest)
        assert render_card(manifest).startswith(f"**{manifest['status']}**. It ")
        manifest["protocol"]["head_minus"] |= {
            "svr": apart(-0.03, -0.001, -0.01),
            "kernel_ridge": apart(-0.05, -0.002, -0.02),
            "ridge": apart(-0.05, 0.002, -0.03),
            "constant": apart(0.4, 0.6, 0.5),
        }
        first = render_card(manifest).splitlines()[0]
        assert first.startswith(
            "**On the same features RBF kernel ridge regression (SROCC of the head minus its own: -0.020 ["
        )
        assert "RBF-SVR (SROCC of the head minus its own: -0.010 [-0.030, -0.001]) do better." in first
        assert "Use RBF kernel ridge regression instead" in first
        assert "ridge regression (SROCC of the head minus its own: -0.030" not in first.replace("kernel ridge", "")
        manifest["protocol"]["head_minus"] = {"constant": apart(-0.4, -0.1, -0.2)}
        assert "a constant" in (first := render_card(manifest).splitlines()[0])
        assert "does better. Use no head of these features." in first
