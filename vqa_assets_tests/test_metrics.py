import json
import math

import numpy as np
import pytest
from scipy import stats

from vqa_assets.metrics import (
    Bootstrap,
    LogisticFit,
    bootstrap_interval,
    krocc,
    logistic_fit,
    mean_scores,
    metric_of_resamples,
    plcc,
    resamples,
    rmse,
    rmse_over_sd,
    score,
    srocc,
)

TRUTH = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
PREDICTED = np.array([2.0, 1.0, 4.0, 3.0, 5.0])
rng = np.random.default_rng(0)
VOTES = rng.integers(1, 6, 200).astype(float)
NOISY = np.round(VOTES + rng.normal(size=200), 1)


@pytest.mark.parametrize(("metric", "by_hand"), [(plcc, 0.8), (srocc, 0.8), (krocc, 0.6), (rmse, math.sqrt(4 / 5))])
def test_metrics_worked_by_hand(metric, by_hand):
    assert metric(TRUTH, PREDICTED) == pytest.approx(by_hand)


def test_ties_take_the_mean_of_their_ranks():
    # ranks 1, 2.5, 2.5, 4 against 1, 2, 3, 4: covariance 4.5, variances 4.5 and 5
    assert srocc([1, 2, 2, 3], [1, 2, 3, 4]) == pytest.approx(4.5 / math.sqrt(4.5 * 5))
    # five concordant pairs of six, one tie: tau-b = 5 / sqrt(5 · 6)
    assert krocc([1, 2, 2, 3], [1, 2, 3, 4]) == pytest.approx(5 / math.sqrt(30))


@pytest.mark.parametrize(
    ("ours", "theirs"), [(plcc, stats.pearsonr), (srocc, stats.spearmanr), (krocc, stats.kendalltau)]
)
def test_correlations_agree_with_scipy_on_votes_full_of_ties(ours, theirs):
    assert ours(VOTES, NOISY) == pytest.approx(float(theirs(VOTES, NOISY).statistic), abs=1e-12)


@pytest.mark.parametrize("metric", [plcc, srocc, krocc])
@pytest.mark.parametrize(
    ("truth", "predicted"),
    [([1, 2, 3], [2, 2, 2]), ([2, 2, 2], [1, 2, 3]), ([1], [1]), ([], []), ([1, 2], [1, math.nan])],
)
def test_a_correlation_without_meaning_is_nan_without_a_warning(metric, truth, predicted):
    assert math.isnan(metric(truth, predicted))


def test_a_constant_has_an_rmse():
    assert rmse([1, 3], [2, 2]) == 1


def test_arrays_of_different_length_are_refused():
    with pytest.raises(ValueError, match="same"):
        plcc([1, 2], [1, 2, 3])


def test_the_logistic_finds_its_own_parameters():
    made = LogisticFit(4.5, 1.5, 50.0, 12.0)
    x = np.linspace(0, 100, 60)
    found = logistic_fit(made(x), x)
    assert found is not None
    assert [found.b1, found.b2, found.b3, abs(found.b4)] == pytest.approx([4.5, 1.5, 50.0, 12.0], rel=1e-4)
    assert found(50.0) == pytest.approx(3.0, rel=1e-4)  # halfway at b3


def test_the_fit_straightens_a_monotone_curve():
    x = np.linspace(-4, 4, 80)
    curved = score(3 + np.tanh(2 * x), x)
    assert curved.plcc_fitted > 0.999 > curved.plcc
    assert curved.rmse_fitted < 0.01 < curved.rmse
    assert curved.srocc == 1


@pytest.mark.parametrize("predicted", [[1, 1, 1, 1, 1, 1], [1, 2, 3, 4, 5, math.inf]])
def test_no_fit_without_a_spread_of_finite_predictions(predicted):
    assert logistic_fit([1, 2, 3, 4, 5, 5], predicted) is None


def test_four_rows_do_not_fit_four_parameters():
    assert logistic_fit([1, 2, 3, 4], [1, 2, 3, 5]) is None


def test_a_score_tells_rmse_against_what_a_constant_reaches():
    mean = score(TRUTH, np.full(5, 3.0))
    assert mean.rmse_over_sd == pytest.approx(1)
    assert math.isnan(mean.plcc)


def test_a_score_becomes_json_without_nan():
    told = score(TRUTH, np.full(5, 3.0)).as_json()
    assert told["plcc"] is None
    assert told["rows"] == 5
    json.dumps(told, allow_nan=False)


def test_a_nan_fold_is_not_dropped_from_the_mean():
    good, broken = score(TRUTH, PREDICTED), score(TRUTH, np.full(5, 3.0))
    assert mean_scores([good, good])["plcc"] == pytest.approx(0.8)
    assert math.isnan(mean_scores([good, broken])["plcc"])


def test_an_interval_holds_the_value_and_is_seeded():
    groups = [f"g{i}" for i in range(200)]
    low, high = bootstrap_interval(plcc, VOTES, NOISY, groups, Bootstrap(samples=300, seed=1))
    assert low < plcc(VOTES, NOISY) < high
    assert high - low < 0.2
    assert (low, high) == bootstrap_interval(plcc, VOTES, NOISY, groups, Bootstrap(samples=300, seed=1))
    assert (low, high) != bootstrap_interval(plcc, VOTES, NOISY, groups, Bootstrap(samples=300, seed=2))


def test_the_interval_of_an_rmse_agrees_with_theory():
    errors = np.random.default_rng(3).normal(size=1000)
    low, high = bootstrap_interval(rmse, np.zeros(1000), errors, [str(i) for i in range(1000)], Bootstrap(2000, 3))
    assert high - low == pytest.approx(2 * 1.96 / math.sqrt(2 * 1000), rel=0.15)


def test_copies_of_a_row_in_one_group_do_not_narrow_the_interval():
    def width(copies: int) -> float:
        groups = [f"g{i}" for i in range(60) for _ in range(copies)]
        truth, predicted = (np.repeat(a[:60], copies) for a in (VOTES, NOISY))
        low, high = bootstrap_interval(plcc, truth, predicted, groups, Bootstrap(400, 5))
        return high - low

    assert width(8) == pytest.approx(width(1), rel=0.2)


def test_groups_of_unequal_size_are_resampled_whole():
    seen = set()

    def count(truth: object, predicted: object) -> float:
        seen.add(tuple(sorted(np.asarray(truth))))
        return 0.0

    bootstrap_interval(count, [1, 2, 2, 2], [0, 0, 0, 0], ["a", "b", "b", "b"], Bootstrap(50, 0))
    assert seen == {(1, 1), (1, 2, 2, 2), (2, 2, 2, 2, 2, 2)}


def test_one_group_has_no_interval():
    assert all(map(math.isnan, bootstrap_interval(plcc, TRUTH, PREDICTED, ["a"] * 5)))


def test_a_metric_that_is_never_defined_has_no_interval():
    assert all(map(math.isnan, bootstrap_interval(plcc, TRUTH, np.ones(5), list("abcde"), Bootstrap(20))))


def test_no_mapping_turns_predictions_round():
    truth = np.random.default_rng(0).normal(3, 0.5, 200)
    found = score(truth, -truth)
    assert found.plcc_fitted == pytest.approx(-1)
    assert found.rmse_fitted == pytest.approx(truth.std(), rel=1e-5)
    noise = [score(truth, np.random.default_rng(seed).normal(size=200)).plcc_fitted for seed in range(1, 41)]
    assert abs(np.median(noise)) < 0.08


def test_an_interval_of_few_defined_resamples_is_not_told():
    truth, groups = np.arange(6.0), list("abcdef")

    def often_undefined(y, _):
        return float(len(y)) if len(set(y)) > 4 else np.nan

    assert all(map(np.isnan, bootstrap_interval(often_undefined, truth, truth, groups)))


@pytest.mark.parametrize("metric", [plcc, srocc, krocc, rmse, rmse_over_sd], ids=lambda metric: metric.__name__)
def test_over_all_resamples_together_a_metric_is_what_it_is_on_each(metric):
    rng = np.random.default_rng(4)
    for rows, groups in ((2, 2), (9, 4), (40, 40), (120, 17)):
        truth = np.round(3 + rng.normal(size=rows), 1)
        predicted = np.round(truth + rng.normal(size=rows), 0)
        contents = [f"c{row % groups}" for row in range(rows)]
        (counts,) = resamples(contents, Bootstrap(60, 7))
        each = [np.repeat(np.arange(rows), count.astype(int)) for count in counts]
        expected = [metric(truth[own], predicted[own]) for own in each]
        np.testing.assert_allclose(metric_of_resamples(metric, truth, predicted, counts), expected, atol=1e-9)


@pytest.mark.parametrize("metric", [plcc, rmse_over_sd], ids=lambda metric: metric.__name__)
def test_a_row_far_off_takes_no_digits_of_the_resamples_that_it_is_not_in(metric):
    rng = np.random.default_rng(2)
    truth = rng.normal(3, 1, 60)
    predicted = np.append(truth[1:] + rng.normal(size=59), 1e12)
    (counts,) = resamples([f"c{row}" for row in range(60)], Bootstrap(60, 7))
    each = [np.repeat(np.arange(60), count.astype(int)) for count in counts]
    for y, p in ((truth, predicted), (predicted, truth)):
        expected = [metric(y[own], p[own]) for own in each]
        np.testing.assert_allclose(metric_of_resamples(metric, y, p, counts), expected, atol=1e-9)


def test_a_resample_that_draws_alike_scores_only_has_no_correlation():
    truth, predicted = np.array([3.1, 3.1, 4.7]), np.array([1.0, 2.0, 3.0])
    counts = np.array([[2.0, 1.0, 0.0], [1.0, 1.0, 1.0], [0.0, 0.0, 3.0]])
    for metric in (plcc, srocc, krocc, rmse_over_sd):
        assert np.isfinite(metric_of_resamples(metric, truth, predicted, counts)).tolist() == [False, True, False]
    assert np.isfinite(metric_of_resamples(rmse, truth, predicted, counts)).all()


def test_resamples_are_drawn_a_few_at_a_time_where_rows_are_many():
    contents = [f"c{row}" for row in range(30_000)]
    parts = list(resamples(contents, Bootstrap(200, 1)))
    assert [counts.shape for counts in parts] == [(66, 30_000)] * 3 + [(2, 30_000)]
    assert all((counts.sum(axis=1) == 30_000).all() for counts in parts)


def test_a_fit_with_exact_slopes_finds_the_curve_that_the_scores_were_made_by():
    x = np.linspace(-3, 5, 60)
    made = LogisticFit(4.5, 1.2, 0.7, 0.9)
    fit = logistic_fit(made(x), x)
    assert fit is not None
    assert (fit.b1, fit.b2, fit.b3, abs(fit.b4)) == pytest.approx((4.5, 1.2, 0.7, 0.9), rel=1e-6)
