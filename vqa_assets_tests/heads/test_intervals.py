"""Conformal intervals: what residuals of left-out contents make of them, and how often they hold."""

from dataclasses import replace

import numpy as np
import pytest

from vqa_assets.corpora.contents import ENOUGH_CONTENTS
from vqa_assets.heads.judging.evaluation import Predictions
from vqa_assets.heads.judging.intervals import LEVEL, Interval, disagreement, measured_intervals
from vqa_assets.heads.recipe import MOS_TARGET, VMAF_TARGET


def left_out(contents: int, each: int, seed: int, *, informative: bool = True, corpora: int = 1) -> Predictions:
    """Rows of contents that err together; the error is as large as the members disagree, if that is ``informative``."""
    rng = np.random.default_rng(seed)
    rows = contents * each
    size = rng.choice([0.05, 0.6], rows)
    error = (np.repeat(rng.standard_normal(contents), each) + rng.standard_normal(rows)) / np.sqrt(2)
    predicted = rng.uniform(2.2, 3.8, rows)
    mos = predicted + error * (size if informative else 0.2)
    names = [f"content:{i // each}" for i in range(rows)]
    return Predictions(
        keys=tuple(f"clip-{i}" for i in range(rows)),
        corpora=tuple(f"corpus-{i * corpora // rows}" for i in range(rows)),
        groups=tuple(names),
        src_sha256=(None,) * rows,
        mos=mos.astype(np.float32),
        predicted=predicted.astype(np.float32),
        fold=np.zeros(rows, dtype=np.int64),
        disagreement=size,
    )


def interval_of(predictions: Predictions) -> Interval:
    interval = measured_intervals(predictions, None, MOS_TARGET, seed=1).interval
    assert interval is not None
    return interval


def held(interval: Interval, new: Predictions) -> np.ndarray:
    low, high = interval.ends(new.predicted, new.disagreement, MOS_TARGET)
    return (low <= new.mos) & (new.mos <= high)


@pytest.mark.parametrize("informative", [True, False])
def test_an_interval_holds_nine_of_ten_clips_of_contents_that_had_no_part_in_it(informative):
    shares = []
    for trial in range(16):
        interval = interval_of(left_out(60, 3, seed=trial, informative=informative))
        shares.append(held(interval, left_out(200, 1, seed=1000 + trial, informative=informative)).mean())
    assert 0.88 <= np.mean(shares) <= 0.95


def test_where_the_members_disagree_an_interval_is_wider_and_holds_there_as_often():
    interval, new = interval_of(left_out(2_000, 1, seed=1)), left_out(2_000, 1, seed=2)
    low, high = interval.ends(new.predicted, new.disagreement, MOS_TARGET)
    is_sure, inside = new.disagreement < 0.1, held(interval, new)
    assert (high - low)[is_sure].max() < 0.5 * (high - low)[~is_sure].min()
    assert inside[is_sure].mean() == pytest.approx(inside[~is_sure].mean(), abs=0.06)


def test_where_disagreement_says_nothing_of_the_error_every_interval_is_about_as_wide():
    predictions = left_out(300, 1, seed=1, informative=False)
    low, high = interval_of(predictions).ends(predictions.predicted, predictions.disagreement, MOS_TARGET)
    assert (high - low).max() < 1.2 * (high - low).min()


def test_a_content_of_many_clips_counts_as_one_content():
    """One content's thousand clips are far off, and of nineteen other contents each clip is near: 19 of 21 are .905."""
    few, many = left_out(20, 1, seed=3), 1000
    rows = [0] * many + list(range(1, 20))
    mos = few.predicted[rows] + np.where(np.array(rows) == 0, 1.0, 0.1).astype(np.float32)
    predictions = Predictions(
        *(tuple(of[row] for row in rows) for of in (few.keys, few.corpora, few.groups, few.src_sha256)),
        mos=mos,
        predicted=few.predicted[rows],
        fold=few.fold[rows],
        disagreement=np.full(len(rows), 0.1),
    )
    interval = interval_of(predictions)
    assert interval.quantile * (0.1 + interval.floor) == pytest.approx(0.1, abs=1e-6)


@pytest.mark.parametrize("contents", [0, 1, ENOUGH_CONTENTS - 1])
def test_under_ten_contents_there_is_no_interval_and_the_reason_counts_them(contents):
    intervals = measured_intervals(left_out(contents, 3, seed=1), None, MOS_TARGET, seed=1)
    assert (intervals.interval, intervals.holdout, dict(intervals.corpora)) == (None, None, {})
    assert intervals.lacking == f"not measured: {contents} contents, at least 10 are needed"


def test_of_ten_contents_the_interval_is_as_wide_as_the_largest_residual():
    few = left_out(ENOUGH_CONTENTS, 2, seed=1)
    intervals = measured_intervals(few, None, MOS_TARGET, seed=1)
    assert intervals.interval is not None
    assert held(Interval(LEVEL, intervals.interval.quantile * (1 + 1e-6), intervals.interval.floor), few).all()
    assert (intervals.rows, intervals.groups) == (20, 10)


def test_members_that_never_disagree_make_an_interval_of_one_width():
    few = left_out(40, 1, seed=1, informative=False)
    predictions = replace(few, disagreement=np.zeros(40))
    low, high = interval_of(predictions).ends(few.predicted, np.zeros(40), MOS_TARGET)
    assert 0.2 < (high - low).mean() < 2
    np.testing.assert_allclose(high - low, (high - low)[0], atol=1e-5)


def test_clips_without_a_prediction_have_no_part_in_it():
    few = left_out(40, 2, seed=1)
    broken = few.predicted.copy()
    broken[:6] = np.nan
    predictions = replace(few, predicted=broken)
    intervals = measured_intervals(predictions, predictions, MOS_TARGET, seed=1)
    assert (intervals.rows, intervals.groups) == (74, 37)
    assert intervals.holdout is not None
    assert intervals.holdout.rows == 74


def test_ends_stay_on_the_targets_range_and_no_score_has_none():
    scores = np.array([1.1, 3.0, 4.9, np.nan], dtype=np.float32)
    low, high = Interval(0.9, 1.0, 0.5).ends(scores, np.array([0.0, 0.25, 0.0, 0.1]), MOS_TARGET)
    np.testing.assert_allclose(low, [1.0, 2.25, 4.4, np.nan], atol=1e-6)
    np.testing.assert_allclose(high, [1.6, 3.75, 5.0, np.nan], atol=1e-6)
    assert Interval(0.9, 1.0, 20.0).ends(scores[:1], np.zeros(1), VMAF_TARGET)[1] == pytest.approx(21.1)


def test_how_often_they_held_is_measured_per_corpus_by_what_other_contents_made():
    predictions, holdout = left_out(200, 2, seed=5, corpora=2), left_out(50, 2, seed=6)
    intervals = measured_intervals(predictions, holdout, MOS_TARGET, seed=1)
    assert {name: (one.rows, one.groups) for name, one in intervals.corpora.items()} == {
        "corpus-0": (200, 100),
        "corpus-1": (200, 100),
    }
    assert all(0.82 < one.share < 0.98 and 0 < one.width < 3 for one in intervals.corpora.values())
    assert intervals.holdout is not None
    interval = interval_of(predictions)
    assert intervals.holdout.share == pytest.approx(held(interval, holdout).mean(), abs=0.011)
    # Of eleven contents one lies far off: by its own residual it would be held.
    few = left_out(11, 1, seed=7, informative=False)
    far = few.mos.copy()
    far[3] = few.predicted[3] + 1.1
    predictions = replace(few, mos=far)
    of_few = measured_intervals(predictions, None, MOS_TARGET, seed=1)
    assert of_few.corpora["corpus-0"].share <= 10 / 11


def test_disagreement_is_the_sd_of_the_members():
    members = np.array([[3.0, 3.0, 3.0], [2.0, 3.0, 4.0]], dtype=np.float32)
    np.testing.assert_allclose(disagreement(members), [0.0, np.sqrt(2 / 3)])
