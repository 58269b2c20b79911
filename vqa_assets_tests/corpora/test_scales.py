"""Scales: both maps, spreads, and the detection that judges a file and never a row."""

import math

import pytest

from vqa_assets.corpora.scales import (
    ACR_1_5,
    CONTINUOUS_0_100,
    SCALES,
    TRAINING,
    UNIFIED,
    VMAF_0_100,
    MosScale,
    detect_scale,
)
from vqa_assets.errors import ScaleError

BOTH = (ACR_1_5, CONTINUOUS_0_100)
ZERO_TO_TEN, CVD = MosScale("0-10", 0, 10), MosScale("cvd", -10, 100)
DMOS = CONTINUOUS_0_100.directed("dmos")


@pytest.mark.parametrize(("native", "unified"), [(1.0, 0.0), (2.0, 25.0), (3.2, 55.0), (5.0, 100.0), (5.04, 101.0)])
def test_1_to_5_and_0_to_100_map_onto_each_other_by_25(native, unified):
    assert ACR_1_5.convert(native, CONTINUOUS_0_100) == pytest.approx(unified)
    assert CONTINUOUS_0_100.convert(unified, ACR_1_5) == pytest.approx(native)


@pytest.mark.parametrize("scale", SCALES.values())
def test_a_scale_maps_onto_itself_without_a_trace(scale):
    assert scale.map_to(scale) == (1.0, 0.0)
    assert scale.convert(3.3, scale) == 3.3


def test_the_maps_have_the_contracts_slope_and_intercept():
    assert ACR_1_5.map_to(UNIFIED) == (25.0, -25.0)
    assert UNIFIED.map_to(TRAINING) == (0.04, 1.0)
    assert VMAF_0_100.map_to(UNIFIED) == (1.0, 0.0)


def test_a_spread_scales_by_the_slope_and_never_by_the_intercept():
    assert ACR_1_5.convert_spread(0.8, CONTINUOUS_0_100) == pytest.approx(20.0)
    assert CONTINUOUS_0_100.convert_spread(20.0, ACR_1_5) == pytest.approx(0.8)
    assert ACR_1_5.convert_spread(0.0, CONTINUOUS_0_100) == 0.0


@pytest.mark.parametrize(
    ("scale", "native", "on_0_100", "on_1_5"),
    [
        (ZERO_TO_TEN, 0, 0, 1),
        (ZERO_TO_TEN, 7.5, 75, 4),
        (CVD, -10, 0, 1),
        (CVD, 45, 50, 3),
        (DMOS, 0, 100, 5),
        (DMOS, 30, 70, 3.8),
        (DMOS, 100, 0, 1),
        (ACR_1_5.directed("dmos"), 1, 100, 5),
        (CVD.directed("dmos"), -10, 100, 5),
        (CVD.directed("dmos"), 78, 20, 1.8),
    ],
)
def test_an_own_scale_and_one_of_which_less_is_better_are_mapped_like_the_known_ones(scale, native, on_0_100, on_1_5):
    assert scale.convert(native, UNIFIED) == pytest.approx(on_0_100)
    assert scale.convert(native, TRAINING) == pytest.approx(on_1_5)
    assert UNIFIED.convert(on_0_100, scale) == pytest.approx(native)
    assert scale.convert_spread(2.0, UNIFIED) == pytest.approx(2.0 * 100 / (scale.high - scale.low))


@pytest.mark.parametrize(
    ("scale", "score", "held"),
    [(MosScale("0-1", 0, 1), 1.0125, True), (MosScale("0-1", 0, 1), 1.02, False), (ZERO_TO_TEN, 10.05, True)],
)
def test_a_narrow_scale_has_less_slack_than_its_scores_could_bear_on_1_to_5(scale, score, held):
    assert scale.holds(score) is held


def test_a_score_outside_is_mapped_and_not_clipped():
    assert ACR_1_5.convert(6.0, CONTINUOUS_0_100) == 125.0


@pytest.mark.parametrize(
    ("score", "held"),
    [
        (1.0, True),
        (5.0, True),
        (0.95, True),
        (5.05, True),
        (0.94, False),
        (5.06, False),
        (math.nan, False),
        (math.inf, False),
        (-math.inf, False),
    ],
)
def test_a_scale_holds_its_range_and_five_hundredths_more(score, held):
    assert ACR_1_5.holds(score) is held


def spread_over(low, high, count=100):
    return [low + (high - low) * i / (count - 1) for i in range(count)]


@pytest.mark.parametrize(
    ("case", "scores", "candidates", "found"),
    [
        ("konvid: 1.22–4.64", spread_over(1.22, 4.64), (ACR_1_5,), ACR_1_5),
        ("lsvq: 8.5–91.4", spread_over(8.5, 91.4), BOTH, CONTINUOUS_0_100),
        ("live-vqc: 6.2–94.3", spread_over(6.2, 94.3), (CONTINUOUS_0_100,), CONTINUOUS_0_100),
        ("the first candidate wins where both hold", spread_over(1, 5), BOTH, ACR_1_5),
        ("the narrowest wins, in whatever order they are declared", [2.0, 3.0], (CONTINUOUS_0_100, ACR_1_5), ACR_1_5),
        ("one of a hundred may lie outside", [*spread_over(1, 5, 99), 80.0], BOTH, ACR_1_5),
        (
            "a tenth may stand on the narrower one",
            [*spread_over(1, 5, 10), *spread_over(6, 95, 90)],
            BOTH,
            CONTINUOUS_0_100,
        ),
        ("one declared scale is not chosen", [*spread_over(1, 5, 90), *[60.0] * 10], (ACR_1_5,), ACR_1_5),
        ("slack holds at both ends", [0.95, 5.05] * 40, (ACR_1_5,), ACR_1_5),
        ("NaN and infinity are not counted", [*spread_over(1, 5, 50), *[math.nan] * 9, math.inf], (ACR_1_5,), ACR_1_5),
        ("19 low rows may be 0–100", [3.0] * 19, (CONTINUOUS_0_100,), CONTINUOUS_0_100),
        ("20 low rows with one above 30 may be", [*[3.0] * 19, 30.1], (CONTINUOUS_0_100,), CONTINUOUS_0_100),
        ("an own scale", spread_over(0, 10), (ZERO_TO_TEN, CONTINUOUS_0_100), ZERO_TO_TEN),
        ("a narrower one before an own one", spread_over(1.2, 4.8), (ACR_1_5, ZERO_TO_TEN), ACR_1_5),
        ("an own one behind a narrower one", [*[0.5] * 30, *spread_over(6, 9.5)], (ACR_1_5, ZERO_TO_TEN), ZERO_TO_TEN),
        ("an own narrow scale need not be used", [1.0] * 30, (ZERO_TO_TEN,), ZERO_TO_TEN),
        ("a range below zero", spread_over(-6.5, 93.4), (CVD,), CVD),
        ("less is better", spread_over(5, 80), (DMOS,), DMOS),
    ],
)
def test_a_whole_file_decides_its_scale(case, scores, candidates, found):
    assert detect_scale(scores, candidates, "corpus") is found, case


@pytest.mark.parametrize("scale", [CONTINUOUS_0_100, VMAF_0_100, DMOS, MosScale("own", 0, 100)])
@pytest.mark.parametrize(
    "scores", [spread_over(0, 10, 60), spread_over(1, 9, 60), spread_over(0, 6, 20), [*[3.0] * 19, 30.0]], ids=len
)
def test_twenty_rows_that_never_exceed_30_are_no_0_to_100_file(scale, scores):
    with pytest.raises(ScaleError, match="none is above 30, so they may be on another scale") as caught:
        detect_scale(scores, (scale,), "live-vqc")
    # nothing is outside, so there is nothing to remove
    assert "remove" not in caught.value.next_step
    assert "if they are on 0–100 all the same" in caught.value.next_step


@pytest.mark.parametrize(
    ("scores", "reason"),
    [
        ([*spread_over(1, 5, 1185), *[99.0] * 15], r"15 of 1 200 are outside 1–5: 99 × 15"),
        ([*spread_over(1, 5, 98), -1.0, 81.0], r"2 of 100 are outside 1–5: -1 × 1, 81 × 1"),
        ([*spread_over(1, 5, 11), *spread_over(6, 95, 89)], r"89 of 100 are outside 1–5: 6 × 1, .*, …"),
        (spread_over(0, 10, 60), r"36 of 60 are outside 1–5"),
    ],
)
def test_a_wide_scale_never_swallows_a_narrow_one(scores, reason):
    with pytest.raises(ScaleError, match=reason):
        detect_scale(scores, (ACR_1_5, MosScale("own", -200, 200)), "mine")
    with pytest.raises(ScaleError, match=reason):
        detect_scale(scores, (CONTINUOUS_0_100, ACR_1_5), "declared the wide one first")
    with pytest.raises(ScaleError, match=reason) as caught:
        detect_scale(scores, BOTH, "lsvq")
    assert "quantiles 0%" in caught.value.found
    assert "on 1-5-acr" in caught.value.found
    assert "set mos_scale" in caught.value.next_step


def test_a_low_score_in_a_0_to_100_file_stays_0_to_100():
    scale = detect_scale([3.2, *spread_over(10, 90)], BOTH, "lsvq")
    assert scale.convert(3.2, TRAINING) == pytest.approx(1.128)


def test_the_refusal_names_the_corpus_the_numbers_the_scales_tried_and_the_remedy():
    with pytest.raises(ScaleError) as caught:
        detect_scale([*spread_over(2, 4, 97), 50.0, 60.0, 70.0], BOTH, "lsvq: /data/manifest.csv")
    message = str(caught.value)
    quantiles = "0% 2, 10% 2.20833, 50% 3.04167, 90% 3.85417, 100% 70"
    shares = "97.0% on 1-5-acr, 100.0% on 0-100-continuous"
    assert message.startswith(f"lsvq: /data/manifest.csv: 100 scores (quantiles {quantiles}; {shares}); 3 of 100 are")
    assert "set mos_scale for this run or in ingest.toml" in message


@pytest.mark.parametrize("scores", [[], [math.nan, math.inf]])
def test_a_file_without_a_finite_score_has_no_scale(scores):
    with pytest.raises(ScaleError, match=r"chug: no finite score, expected opinion scores; check the MOS column"):
        detect_scale(scores, BOTH, "chug")


def test_scales_are_found_by_the_names_that_rows_carry():
    assert list(SCALES) == ["1-5-acr", "0-100-continuous", "vmaf"]
    assert all(scale.name == name for name, scale in SCALES.items())
