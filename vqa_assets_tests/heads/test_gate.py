import math
from dataclasses import replace

import pytest

from vqa_assets.heads.judging.evaluation import PRODUCTION, PROPOSED, verdict
from vqa_assets.heads.recipe import SMOKE_GATE, Gate
from vqa_assets.metrics import Scores

GOOD = Scores(100, srocc=0.85, krocc=0.66, plcc=0.86, rmse=0.40, plcc_fitted=0.87, rmse_fitted=0.39, rmse_over_sd=0.6)
FIVE = (GOOD,) * 5


def test_a_pass_is_production():
    judged = verdict(Gate(), FIVE)
    assert (judged.passed, judged.status, judged.reasons) == (True, PRODUCTION, ())
    means = {"mean_plcc": 0.86, "mean_srocc": 0.85, "mean_rmse": 0.4}
    assert judged.numbers == pytest.approx({**means, "plcc_spread": 0, "lowest_plcc": 0.86})


def test_thresholds_themselves_pass():
    edge = replace(GOOD, plcc=0.85, srocc=0.82, rmse=0.45)
    assert all(verdict(Gate(), [edge] * folds).passed for folds in (2, 5, 7, 10))
    assert verdict(Gate(), [replace(GOOD, plcc=0.9), replace(GOOD, plcc=0.905)]).passed


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"plcc": 0.84}, "mean PLCC 0.8400, needs at least 0.85"),
        ({"plcc": 0.84999}, "mean PLCC 0.84999, needs at least 0.85"),
        ({"srocc": 0.81}, "mean SROCC 0.8100, needs at least 0.82"),
        ({"rmse": 0.46}, "mean RMSE 0.4600, needs at most 0.45"),
    ],
)
def test_each_miss_is_a_proposal_with_its_reason(changed, reason):
    judged = verdict(Gate(), (replace(GOOD, **changed),) * 5)
    assert (judged.passed, judged.status, judged.reasons) == (False, PROPOSED, (reason,))


def test_folds_that_differ_too_much_miss():
    judged = verdict(Gate(), (*FIVE[:4], replace(GOOD, plcc=0.87)))
    assert judged.reasons == ("PLCC spread 0.0100, needs at most 0.005",)


@pytest.mark.parametrize("metric", ["plcc", "srocc", "rmse"])
def test_a_nan_fold_fails_and_is_named(metric):
    judged = verdict(Gate(), (*FIVE[:2], replace(GOOD, **{metric: math.nan}), *FIVE[3:]))
    assert judged.status == PROPOSED
    assert f"mean {metric.upper()} is not defined: NaN in fold 2" in judged.reasons


@pytest.mark.parametrize(
    ("gate", "fold", "passed", "not_asked"),
    [
        (Gate(), GOOD, True, ("plcc_spread",)),
        (Gate(), replace(GOOD, plcc=0.84), False, ("plcc_spread",)),
        (Gate(), replace(GOOD, plcc=math.nan), False, ("plcc_spread",)),
        (Gate(plcc_spread=None), GOOD, True, ()),
    ],
)
def test_a_given_splits_spread_is_not_measured_and_not_asked_for(gate, fold, passed, not_asked):
    judged = verdict(gate, [fold])
    assert (judged.passed, judged.status) == (passed, PRODUCTION if passed else PROPOSED)
    assert judged.not_asked == not_asked
    assert math.isnan(judged.numbers["plcc_spread"])
    assert not any("spread" in reason for reason in judged.reasons)


def test_no_fold_is_no_pass():
    assert not verdict(SMOKE_GATE, []).passed


def test_the_smoke_gate_asks_for_correlation_only():
    assert verdict(SMOKE_GATE, [replace(GOOD, plcc=0.76, srocc=0.1, rmse=2.0)]).passed
    assert not verdict(SMOKE_GATE, [replace(GOOD, plcc=0.74)]).passed
