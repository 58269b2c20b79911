"""The map that a head's members see features through, and the ridge member on random features."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import norm

from vqa_assets.heads.members import random_features
from vqa_assets.heads.members.closed_form import KernelRidge, RidgeRows, RidgeSums, logit_skips
from vqa_assets.heads.members.export import build_onnx, check_parity
from vqa_assets.heads.members.feature_map import KNOTS, FeatureMap, as_bytes, in_steps
from vqa_assets.heads.members.method import SHIPPED, HeadRows, TrainingRows
from vqa_assets.heads.members.model import member_scores, predict
from vqa_assets.heads.members.random_features import RandomFeatureRidge
from vqa_assets.heads.members.training import TorchTrainer, device_named, train
from vqa_assets.heads.members.weights import encoder_onehot
from vqa_assets.heads.settings import TrainingSettings
from vqa_assets.metrics import srocc

RNG = np.random.default_rng(0)
TAILS = np.exp(1.5 * RNG.standard_normal((500, 3))).astype(np.float32)
SHORT = TrainingSettings(device="cpu", epochs=2)


def rows(count: int = 80, columns: int = 5, seed: int = 0, contents: int = 20) -> TrainingRows:
    rng = np.random.default_rng(seed)
    z = rng.standard_normal((count, columns))
    mos = np.clip(3 + 0.5 * z[:, 0] + 0.5 * np.abs(z[:, 1]) + 0.2 * rng.standard_normal(count), 1, 5)
    groups = tuple(f"c{i % contents}" for i in range(count))
    return TrainingRows(z.astype(np.float32), encoder_onehot(count), mos.astype(np.float32), groups)


def fitted(data: TrainingRows, weights: np.ndarray | None = None) -> RandomFeatureRidge:
    inputs = FeatureMap.fitted(data.features).inputs(data.features, data.onehot)
    contents = np.unique(np.asarray(data.groups), return_inverse=True)[1]
    return RandomFeatureRidge.fitted(inputs, data.mos, contents % 5, contents, weights, np.random.default_rng(1))


def test_z_is_the_mean_of_the_standardised_value_and_the_normal_score_at_mean_0_and_sd_1():
    of = FeatureMap.fitted(TAILS)
    z = of.map(TAILS)
    np.testing.assert_allclose(z.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(z.std(0), 1, atol=1e-4)
    assert of.knots.shape == of.scores.shape == (3, KNOTS)
    ranks = (TAILS[:, 0].argsort().argsort() + 0.5) / len(TAILS)
    standardised = np.clip((TAILS[:, 0] - TAILS[:, 0].mean()) / TAILS[:, 0].std(), -4, 4)
    both = (standardised + norm.ppf(ranks)) / 2
    middle = (ranks > 1 / 32) & (ranks < 31 / 32)
    np.testing.assert_allclose(z[middle, 0], ((both - of.centre[0]) / of.scale[0])[middle], atol=0.06)


def test_beyond_the_knots_a_score_is_flat_and_no_value_leaves_the_range_of_z():
    of = FeatureMap.fitted(TAILS)
    wild = of.map(np.array([[1e30] * 3, [3e38] * 3, [-3e38] * 3], dtype=np.float32))
    np.testing.assert_array_equal(wild[0], wild[1])
    assert np.isfinite(wild).all()
    assert np.abs(wild).max() < 16


def test_a_tied_value_has_the_score_of_its_middle_rank_and_a_constant_is_zero():
    column = np.repeat([0.0, 1.0], [300, 100])
    features = np.column_stack([column, np.full(400, 7.0)]).astype(np.float32)
    of = FeatureMap.fitted(features)
    scores = dict(zip(of.knots[0].tolist(), of.scores[0].tolist(), strict=True))
    assert scores[0.0] == pytest.approx(norm.ppf(0.375), abs=1e-5)
    assert scores[1.0] == pytest.approx(norm.ppf(0.875), abs=1e-5)
    assert np.unique(of.map(features)[:, 1]).tolist() == [0]


def test_the_map_is_of_the_rows_that_it_is_given_alone():
    chosen = np.arange(0, 500, 3)
    some, again = FeatureMap.fitted(TAILS, chosen), FeatureMap.fitted(TAILS[chosen])
    for name, array in vars(some).items():
        np.testing.assert_array_equal(array, getattr(again, name), err_msg=name)


@pytest.mark.parametrize(("columns", "outputs"), [(2_700, 2_700), (4_096, 1_506)])
def test_a_head_stays_at_16_mb_and_of_very_many_columns_z_is_projected(columns, outputs):
    data = rows(20, columns)
    (head,) = TorchTrainer().train(data, [HeadRows("a", np.arange(20))], SHORT, lambda *_: None).heads
    assert head.map.outputs == outputs
    assert (head.map.projection is None) == (outputs == columns)
    onnx = build_onnx(head, "wide", {})
    assert 15e6 < len(onnx) < 16.5e6
    assert check_parity(onnx, head, data.features) <= 1e-5


def test_what_is_drawn_is_normal_and_a_byte_a_number():
    drawn = in_steps(np.random.default_rng(0).standard_normal((1_000, 300)))
    steps, width = as_bytes(drawn)
    assert steps.dtype == np.int8
    np.testing.assert_array_equal(steps.astype(np.float32) * np.float32(width), drawn)
    assert drawn.mean() == pytest.approx(0, abs=0.01)
    assert drawn.std() == pytest.approx(1, abs=0.01)
    levels = np.quantile(drawn, [0.02, 0.2, 0.8, 0.98])
    np.testing.assert_allclose(levels, norm.ppf([0.02, 0.2, 0.8, 0.98]), atol=0.03)


def test_left_out_parts_are_predicted_as_by_a_fit_to_all_others():
    x = RNG.standard_normal((30, 6))
    y, weights = x[:, 0] + RNG.standard_normal(30), RNG.uniform(0.2, 3, 30).astype(np.float32)
    part = np.arange(30) % 4
    left_out = KernelRidge(x @ x.T, y, weights).left_out(0.7, part)
    for k in range(4):
        own, rest = part == k, part != k
        by_columns, bias = RidgeSums.of(x[rest], y[rest], weights[rest]).solved(0.7)
        np.testing.assert_allclose(left_out[own], x[own] @ by_columns + bias, atol=1e-8)


def test_a_skip_is_the_same_by_rows_and_by_columns():
    data = rows(40, 41)
    part = np.arange(40) % 5
    by_rows = logit_skips(RidgeRows(data.features, data.mos), part)
    twice = RidgeRows(np.repeat(data.features, 2, axis=0), np.repeat(data.mos, 2), np.full(80, 0.5, np.float32))
    by_columns = logit_skips(twice, np.repeat(part, 2))
    for (one, bias), (other, same) in zip(by_rows, by_columns, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
        assert bias == pytest.approx(same, abs=1e-6)


def test_the_ridge_member_is_the_same_by_rows_and_by_random_features(monkeypatch):
    monkeypatch.setattr(random_features, "FEATURES", 64)
    data = rows(100, 4)
    contents = np.arange(100)
    weights = np.random.default_rng(2).uniform(0.5, 2, 100).astype(np.float32)
    inputs = FeatureMap.fitted(data.features).inputs(data.features, data.onehot)
    drawn = np.random.default_rng(3)
    directions, shifts = in_steps(drawn.standard_normal((5, 64))), np.zeros(64, np.float32)
    rows_of = random_features._Rows(inputs, data.mos.astype(float), contents % 5, contents, weights, directions, shifts)
    by_rows, by_features = (
        solve(rows_of, 1.0, 3) for solve in (random_features._by_rows, random_features._by_features)
    )
    assert by_rows[2] == by_features[2]
    np.testing.assert_allclose(by_rows[0], by_features[0], atol=2e-4)
    assert by_rows[1] == pytest.approx(by_features[1], abs=1e-3)


def test_the_ridge_member_learns_from_rows_by_their_weight_and_minds_no_common_factor():
    data = rows(80)
    law = np.where(np.arange(80) < 40, 1, -1) * 0.8 * np.tanh(data.features[:, 2])
    data = replace(data, mos=(3 + law).astype(np.float32))
    heavy = np.where(np.arange(80) < 40, 20.0, 1.0).astype(np.float32)
    member = fitted(data, heavy)
    inputs = FeatureMap.fitted(data.features).inputs(data.features, data.onehot)
    mos = np.maximum(inputs @ member.scaled_directions + member.shifts, 0) @ member.weights + member.bias
    assert srocc(data.features[:, 2], mos) > 0.8
    np.testing.assert_allclose(member.weights, fitted(data, 7 * heavy).weights, atol=1e-4)


def test_with_fewer_than_three_contents_gain_and_penalty_are_the_defaults():
    member = fitted(rows(20, contents=2))
    assert (member.gain, member.penalty) == (1.0, 0.3)
    assert fitted(rows(80)).gain in (0.5, 1.0, 2.0)


def test_inputs_that_matter_are_stretched_and_so_are_found_among_many_that_do_not(monkeypatch):
    rng = np.random.default_rng(4)
    z = rng.standard_normal((400, 100)).astype(np.float32)
    mos = np.clip(3 + 0.6 * z[:, 0] + 0.5 * np.tanh(2 * z[:, 1]) - 0.4 * z[:, 2], 1, 5)
    data = TrainingRows(z[:200], encoder_onehot(200), mos[:200], tuple(map(str, range(200))))
    found = {}
    for least in (15, 1_000):
        monkeypatch.setattr(random_features, "_LEAST_TO_WEIGH", least)
        of = FeatureMap.fitted(data.features)
        member = fitted(data)
        inputs = of.inputs(z[200:], encoder_onehot(200))
        drawn = np.maximum(inputs @ member.scaled_directions + member.shifts, 0)
        found[least] = member.relevance, srocc(mos[200:], drawn @ member.weights)
    relevance, with_it = found[15]
    assert set(np.argsort(relevance)[-3:]) == {0, 1, 2}
    assert np.square(relevance).mean() == pytest.approx(1, abs=1e-5)
    assert relevance[100:].max() == 0  # the encoder, of which there is one
    assert found[1_000][0] is None
    assert 1 - with_it < (1 - found[1_000][1]) / 3


@pytest.mark.parametrize(("columns", "contents"), [(5, 14), (90, 40)])
def test_of_few_contents_or_more_columns_than_rows_all_inputs_are_alike(columns, contents):
    assert fitted(rows(80, columns, contents=contents)).relevance is None
    assert fitted(rows(80, 5, contents=15)).relevance is not None


def test_the_head_is_a_quarter_the_mean_of_its_networks_and_three_quarters_its_ridge_member():
    data = rows()
    (head,) = TorchTrainer().train(data, [HeadRows("a", np.arange(80))], SHORT, lambda *_: None).heads
    wild = np.vstack([data.features, 1e6 * data.features[:5]])
    members = member_scores(head, wild, encoder_onehot(85))
    assert members.shape == (85, SHIPPED.members + 1)
    assert members.min() >= 1
    assert members.max() <= 5
    both = members[:, :-1].mean(1) / 4 + members[:, -1] * 3 / 4
    np.testing.assert_allclose(predict(head, wild, encoder_onehot(85)), both, atol=1e-6)
    assert srocc(data.mos, members[:80, -1]) > 0.8


def test_the_bytes_do_not_depend_on_the_number_of_threads():
    import torch

    data, heads = rows(70, 6), [HeadRows(name, np.arange(first, 70)) for name, first in (("a", 0), ("b", 10))]
    before, results = torch.get_num_threads(), []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            trained = train(data, heads, SHORT, device_named("cpu"), lambda *_: None)
            results.append([build_onnx(head, "a", {}) for head in trained])
    finally:
        torch.set_num_threads(before)
    assert results[0] == results[1]


def test_tails_cost_the_head_less_than_one_without_quantiles():
    rng = np.random.default_rng(5)
    z = rng.standard_normal((300, 4))
    features = np.sinh(3 * z).astype(np.float32)
    mos = np.clip(3 + 0.6 * z[:, 0] - 0.4 * z[:, 1] + 0.2 * rng.standard_normal(300), 1, 5).astype(np.float32)
    data = TrainingRows(features, encoder_onehot(300), mos, tuple(map(str, range(300))))
    found = {}
    for name, method in (("map", SHIPPED), ("before", replace(SHIPPED, quantiles=False, ridge=False))):
        (head,) = train(data, [HeadRows("a", np.arange(200))], SHORT, device_named("cpu"), lambda *_: None, method)
        found[name] = srocc(mos[200:], predict(head, features[200:], encoder_onehot(100)))
    assert found["map"] > found["before"] + 0.03
