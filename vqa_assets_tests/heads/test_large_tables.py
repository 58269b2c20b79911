"""Heads of large tables are the same, one after another and in pieces."""

import numpy as np
import pytest

from vqa_assets.feature_names import KONVID_V1
from vqa_assets.heads import closed_form, feature_map, random_features, training
from vqa_assets.heads.closed_form import RidgeRows, RidgeSums, logit_skips
from vqa_assets.heads.method import HeadRows, TrainingRows
from vqa_assets.heads.rows import read_training_table
from vqa_assets.heads.settings import TrainingSettings
from vqa_assets.heads.training import TorchTrainer
from vqa_assets_tests.shared.head_tables import labelled, written


@pytest.fixture
def everything_is_large(monkeypatch):
    """A few columns are too many to be worked on at once."""
    monkeypatch.setattr(feature_map, "_VALUES_AT_ONCE", 300)


def test_heads_of_a_large_table_are_trained_one_by_one_and_are_the_same(tmp_path, request, monkeypatch):
    table = read_training_table({"mine": written(labelled(160), tmp_path / "t.parquet")}, KONVID_V1)
    heads = [HeadRows("a", np.arange(0, 130)), HeadRows("b", np.arange(30, 160))]
    settings = TrainingSettings(epochs=2, device="cpu")
    monkeypatch.setattr(random_features, "FEATURES", 64)  # fewer than rows: by Gram matrices, as of large tables

    def trained(features: np.ndarray) -> list:
        data = TrainingRows(features, table.onehot, table.mos, table.groups)
        return list(TorchTrainer().train(data, heads, settings, lambda *_: None).heads)

    together = trained(table.features)
    request.getfixturevalue("everything_is_large")
    monkeypatch.setattr(training, "_NUMBERS_AT_ONCE", 1)
    for one, other in zip(together, trained(table.features), strict=True):
        for name, of_map in vars(one.map).items():
            np.testing.assert_array_equal(getattr(other.map, name), of_map, err_msg=name)
        assert one.ridge is not None
        assert other.ridge is not None
        assert other.ridge.weights.tobytes() == one.ridge.weights.tobytes()
        for network, again in zip(one.networks, other.networks, strict=True):
            np.testing.assert_allclose(again.skip, network.skip, atol=1e-4)


def test_a_ridge_start_in_pieces_is_the_same_up_to_rounding(monkeypatch):
    rng = np.random.default_rng(0)
    z, weights = rng.standard_normal((300, 6), dtype=np.float32), rng.uniform(0.5, 2, 300).astype(np.float32)
    mos, part = np.clip(3 + z[:, 0], 1, 5).astype(np.float32), np.arange(300) % 5
    whole = logit_skips(RidgeRows(z, mos, weights), part)
    monkeypatch.setattr(closed_form, "_ROWS_AT_ONCE", 7)
    for (skip, bias), (again, its_bias) in zip(whole, logit_skips(RidgeRows(z, mos, weights), part), strict=True):
        np.testing.assert_allclose(again, skip, rtol=1e-9)
        assert its_bias == pytest.approx(bias, rel=1e-9)


def test_solving_leaves_the_sums_as_they_are():
    rng = np.random.default_rng(0)
    sums = RidgeSums.of(rng.standard_normal((50, 4)), rng.standard_normal(50))
    before = sums.xx.copy()
    first, again = (sums.solved(1.0) for _ in range(2))
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(sums.xx, before)
