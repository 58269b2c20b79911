"""Statistics of labels against values worked out by hand."""

import json
import math

import pytest

from vqa_assets.corpora.opinions import (
    Opinion,
    ci95_half_width,
    describe_labels,
    histogram,
    sd_from_spread,
    sos_parameter,
)
from vqa_assets.corpora.scales import ACR_1_5, CONTINUOUS_0_100


def test_the_sos_parameter_is_the_one_worked_out_by_hand():
    # g = 1·3 = 3 and 2·2 = 4; Σ g·s² = 3·0.25 + 4·1 = 4.75; Σ g² = 9 + 16 = 25
    assert sos_parameter([Opinion(2.0, 0.5, 5), Opinion(3.0, 1.0, 5)], ACR_1_5) == pytest.approx(4.75 / 25)


def test_the_sos_parameter_does_not_depend_on_the_scale():
    on_1_5 = [Opinion(2.0, 0.5, 5), Opinion(3.0, 1.0, 5), Opinion(4.5, 0.3, 5)]
    on_0_100 = [Opinion((o.mos - 1) * 25, o.sd * 25, 5) for o in on_1_5]
    assert sos_parameter(on_0_100, CONTINUOUS_0_100) == pytest.approx(sos_parameter(on_1_5, ACR_1_5))


def test_a_binomial_vote_has_the_largest_sos_parameter():
    # everyone votes 1 or 5: the variance is g itself
    assert sos_parameter([Opinion(x, math.sqrt((x - 1) * (5 - x)), 9) for x in (2.0, 3.5)], ACR_1_5) == pytest.approx(1)


@pytest.mark.parametrize("opinions", [[], [Opinion(3.0, None, 5)], [Opinion(1.0, 0.2, 5), Opinion(5.0, 0.2, 5)]])
def test_the_sos_parameter_is_unknown_where_nothing_says_it(opinions):
    assert sos_parameter(opinions, ACR_1_5) is None


@pytest.mark.parametrize(
    ("sd", "count", "half_width"),
    [
        (1.0, 2, 12.7062 / math.sqrt(2)),
        (1.0, 5, 2.7764 / math.sqrt(5)),
        (0.8, 25, 2.0639 * 0.8 / 5),
        (15.0, 121, 1.9799 * 15 / 11),
    ],
)
def test_the_confidence_interval_uses_students_t(sd, count, half_width):
    assert ci95_half_width(sd, count) == pytest.approx(half_width, rel=1e-4)


@pytest.mark.parametrize(
    ("score", "position"),
    [
        (1.0, 0),
        (0.95, 0),
        (1.19999, 0),
        (1.2, 1),
        (1.4, 2),
        (2.2, 6),
        (3.0, 10),
        (4.6, 18),
        (4.8, 19),
        (5.0, 19),
        (5.05, 19),
    ],
)
def test_a_score_on_an_edge_falls_into_the_bin_that_begins_there(score, position):
    counts = histogram([score], ACR_1_5)
    assert [i for i, count in enumerate(counts) if count] == [position]


@pytest.mark.parametrize("ratings", [5, 20])
def test_means_of_a_few_ratings_are_spread_evenly_over_the_bins(ratings):
    means = [sum_of / ratings for sum_of in range(ratings, 5 * ratings)]
    assert set(histogram(means, ACR_1_5)) == {ratings // 5}


def test_the_histogram_of_0_to_100_has_bins_of_five():
    assert histogram([0, 4.99, 5, 99.9, 100, -0.05, 100.05], CONTINUOUS_0_100) == (3, 1, *[0] * 17, 3)


@pytest.mark.parametrize(
    ("value", "kind", "count", "sd"),
    [
        (0.7, "sd", 0, 0.7),
        (0.7, "sd", 5, 0.7),
        (2.65, "se", 36, 15.9),
        (2.65, "se", 1, None),
        (2.65, "se", 0, None),
        (2.7764 / math.sqrt(5), "ci95", 5, 1.0),
        (0.5, "ci95", 1, None),
        (0.7, None, 5, None),
        (None, "sd", 5, None),
        (0.0, "sd", 5, None),
        (-0.1, "sd", 5, None),
        (math.nan, "sd", 5, None),
        (math.inf, "se", 5, None),
    ],
)
def test_only_a_known_spread_becomes_an_sd(value, kind, count, sd):
    found = sd_from_spread(value, kind, count)
    assert found is None if sd is None else found == pytest.approx(sd, rel=1e-4)


def test_an_interval_made_from_an_sd_gives_the_sd_back():
    assert sd_from_spread(ci95_half_width(0.9, 17), "ci95", 17) == pytest.approx(0.9)


def test_labels_are_described_by_every_figure():
    found = describe_labels(
        [Opinion(2.0, 0.5, 5), Opinion(3.0, 1.0, 5), Opinion(4.0, None, 0), Opinion(4.0, 0.4, 1)], ACR_1_5
    )
    assert (found.clips, found.mos_min, found.mos_max) == (4, 2.0, 4.0)
    assert (found.mos_mean, found.mos_median) == (3.25, 3.5)
    assert found.share_unknown_sd == 0.25
    assert found.mean_ci95 == pytest.approx(2.77645 * 0.75 / math.sqrt(5), rel=1e-4)
    assert found.ratings == {0: 1, 1: 1, 5: 2}
    assert sum(found.histogram) == 4
    assert json.loads(json.dumps(found.as_dict()))["ratings"] == {"0": 1, "1": 1, "5": 2}


def test_labels_without_spread_or_counts_have_neither_interval_nor_sos_parameter():
    found = describe_labels([Opinion(3.0, None, 0)], ACR_1_5)
    assert (found.mean_ci95, found.sos_parameter, found.share_unknown_sd) == (None, None, 1.0)
