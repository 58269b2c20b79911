import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from vqa_assets.errors import TrainingError
from vqa_assets.feature_names import KONVID_V1
from vqa_assets.heads import lanes
from vqa_assets.heads.evaluation import evaluate
from vqa_assets.heads.losses import loss_of
from vqa_assets.heads.method import SHIPPED, Method
from vqa_assets.heads.model import predict, shaped, stacked
from vqa_assets.heads.passes import NOISE, Dropped, Passes
from vqa_assets.heads.recipe import TrainingSettings
from vqa_assets.heads.rows import TrainingTable, read_training_table
from vqa_assets.heads.splitting import plan_splits
from vqa_assets.heads.training import HeadRows, TorchTrainer, TrainedHeads, TrainingRows
from vqa_assets.heads.weights import HIDDEN, HeadWeights, encoder_onehot, standardisation
from vqa_assets.metrics import mean_scores, plcc
from vqa_assets_tests.head_tables import labelled, written

META = torch.device("meta")
"""Memory without numbers: what it holds does not mix with what is here, as on any other device."""
SHORT = TrainingSettings(epochs=6, device="cpu")


def rows_of(table: TrainingTable) -> TrainingRows:
    return TrainingRows(table.features, encoder_onehot(len(table.mos)), table.mos, table.groups)


def table_of(tmp_path, rows: int, bend: float = 0.0, seed: int = 0) -> TrainingTable:
    path = written(labelled(rows, seed, bend), tmp_path / "t.parquet")
    return read_training_table({"konvid-1k": path}, KONVID_V1)


def trained(table: TrainingTable, heads: list[HeadRows], settings: TrainingSettings = SHORT) -> TrainedHeads:
    return TorchTrainer().train(rows_of(table), heads, settings, lambda *_: None)


def numbers(head: HeadWeights) -> np.ndarray:
    return np.concatenate([array.ravel() for member in head.members for array in member.arrays()])


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(tmp_path):
    table = table_of(tmp_path, 150)
    heads = [HeadRows("a", np.arange(150))]
    one, again = (numbers(trained(table, heads).heads[0]).tobytes() for _ in range(2))
    other = trained(table, heads, TrainingSettings(epochs=6, device="cpu", seed=1))
    assert one == again
    assert one != numbers(other.heads[0]).tobytes()


def test_a_head_trained_beside_larger_ones_is_the_one_trained_alone(tmp_path):
    table = table_of(tmp_path, 400, bend=0.5)
    small, large = HeadRows("small", np.arange(70)), HeadRows("large", np.arange(20, 400))
    alone, together = trained(table, [small]).heads[0], trained(table, [large, small]).heads[1]
    assert alone.best_epochs == together.best_epochs
    np.testing.assert_allclose(numbers(alone), numbers(together), atol=1e-4)
    onehot = encoder_onehot(400)
    np.testing.assert_allclose(
        predict(alone, table.features, onehot), predict(together, table.features, onehot), atol=1e-4
    )


def test_members_differ_and_training_moves_the_silent_layer(tmp_path):
    head = trained(table_of(tmp_path, 300, bend=0.5), [HeadRows("a", np.arange(300))]).heads[0]
    assert len({member.hidden1.tobytes() for member in head.members}) == len(head.members) == SHIPPED.members
    assert any(np.any(member.hidden3) for member in head.members)
    assert all(0 <= epoch <= 6 for epoch in head.best_epochs)


def test_what_a_head_was_not_given_does_not_change_it(tmp_path):
    table = table_of(tmp_path, 120)
    half = [HeadRows("a", np.arange(60))]
    before = numbers(trained(table, half).heads[0])
    table.features[60:] = 1e6
    table.mos[60:] = 1.0
    np.testing.assert_array_equal(before, numbers(trained(table, half).heads[0]))


def test_mean_and_sd_are_the_training_rows_and_a_constant_has_sd_one():
    features = np.array([[1, 7], [3, 7]], dtype=np.float32)
    mean, std = standardisation(features)
    assert mean.tolist() == [2, 7]
    assert std.tolist() == [1, 1]


def test_predictions_stay_in_range_and_are_nan_where_an_input_is_not_finite(tmp_path):
    table = table_of(tmp_path, 100)
    head = trained(table, [HeadRows("a", np.arange(100))]).heads[0]
    wild = table.features[:5].copy() * 1e6
    assert np.all((predict(head, wild, encoder_onehot(5)) >= 1) & (predict(head, wild, encoder_onehot(5)) <= 5))
    wild[1, 3], wild[2, 0] = np.nan, np.inf
    assert np.isnan(predict(head, wild, encoder_onehot(5))).tolist() == [False, True, True, False, False]
    assert predict(head, wild[:0], encoder_onehot(0)).shape == (0,)


def mean_plcc(table: TrainingTable) -> dict[str, float]:
    """Mean PLCC and RMSE of the head and its baselines over five folds."""
    settings = TrainingSettings(device="cpu")
    plan = plan_splits(table, settings)
    heads = [HeadRows(part.name, part.train) for part in plan.parts]
    found = trained(table, [*heads, HeadRows("shipped", plan.final)], settings)
    evaluation = evaluate(table, plan, found.heads, settings)
    told = {"head": evaluation.folds, **evaluation.baselines}
    means = {name: mean_scores(scores) for name, scores in told.items()}
    return {f"{name} {metric}": mean[metric] for name, mean in means.items() for metric in ("plcc", "rmse")}


def test_on_a_linear_signal_the_head_is_as_good_as_ridge_and_beats_a_constant(tmp_path):
    got = mean_plcc(table_of(tmp_path, 115))
    assert got["head plcc"] > 0.97 * got["ridge plcc"] > 0.6
    assert got["head rmse"] < 0.8 * got["constant rmse"]
    assert math.isnan(got["constant plcc"])


def test_on_a_bent_signal_the_head_beats_ridge(tmp_path):
    got = mean_plcc(table_of(tmp_path, 1_500, bend=0.6))
    assert got["head plcc"] > got["ridge plcc"] + 0.05


def test_every_row_stops_one_member_and_fits_the_others(tmp_path):
    table = table_of(tmp_path, 100)
    data = rows_of(table)
    _, codes = np.unique(np.asarray(data.groups), return_inverse=True)
    members = list(lanes._lanes_of(data, HeadRows("a", np.arange(100)), codes, (SHORT, SHIPPED)))
    assert sorted(np.concatenate([member.stop for member in members])) == list(range(100))
    for member in members:
        assert sorted((*member.fit, *member.stop)) == list(range(100))
        assert not {table.groups[row] for row in member.fit} & {table.groups[row] for row in member.stop}
    assert all(np.any(member.start.skip) for member in members)


def test_without_early_stopping_every_row_trains_and_the_last_epoch_stays(tmp_path):
    table = table_of(tmp_path, 60)
    on = (torch.device("cpu"), lambda *_: None)
    method = Method(members=2, early_stopping=False)
    head = lanes.train(rows_of(table), [HeadRows("a", np.arange(60))], SHORT, on, method).heads[0]
    assert head.best_epochs == (6, 6)


@pytest.mark.parametrize("loss", ["mse", "mse+plcc", "mse+rank"])
def test_each_loss_is_its_formula_and_a_row_of_no_share_counts_for_nothing(loss):
    rng = np.random.default_rng(0)
    predicted, mos = (torch.from_numpy(rng.uniform(1, 5, (2, 6)).astype(np.float32)) for _ in range(2))
    shares = torch.full((2, 6), 1 / 6)
    shares[1, 3:] = 0
    shares[1, :3] = 1 / 3
    spoilt = predicted.clone()
    spoilt[1, 4] = 99
    found = float(loss_of(Method(loss=loss), predicted, mos, shares))
    assert found == pytest.approx(float(loss_of(Method(loss=loss), spoilt, mos, shares)))
    wanted = 0.0
    for p, m in ((predicted[0].numpy(), mos[0].numpy()), (predicted[1, :3].numpy(), mos[1, :3].numpy())):
        wanted += float(np.mean((p - m) ** 2))
        wanted += 1 - plcc(m, p) if loss == "mse+plcc" else 0.0
    if loss == "mse+rank":
        assert found > wanted
        right = float(loss_of(Method(loss=loss), mos * 3 - 6, mos, shares) - ((shares * (mos * 2 - 6) ** 2).sum()))
        wrong = float(loss_of(Method(loss=loss), 6 - mos * 3, mos, shares) - ((shares * (mos * 4 - 6) ** 2).sum()))
        assert 0 < right < wrong
    else:
        assert found == pytest.approx(wanted, rel=1e-4)


def test_progress_counts_epochs(tmp_path):
    told: list[tuple[int, int, float]] = []
    table = table_of(tmp_path, 60)
    TorchTrainer().train(rows_of(table), [HeadRows("a", np.arange(60))], SHORT, lambda *at: told.append(at))
    assert [(done, epochs) for done, epochs, _ in told] == [(epoch, 6) for epoch in range(1, 7)]
    assert all(0 < rmse < 2 for _, _, rmse in told)


def test_one_content_has_nothing_to_stop_by(tmp_path):
    with pytest.raises(TrainingError, match="2 rows of 1 content groups"):
        trained(table_of(tmp_path, 10), [HeadRows("a", np.arange(2))])


def test_a_device_that_is_not_there_is_named(tmp_path):
    with pytest.raises(TrainingError, match="'tpu', expected auto"):
        trained(table_of(tmp_path, 10), [], TrainingSettings(device="tpu"))


def test_the_device_is_recorded(tmp_path):
    assert trained(table_of(tmp_path, 60), [HeadRows("a", np.arange(60))]).device.startswith("cpu (")


@pytest.mark.parametrize("loss", ["mse", "mse+plcc", "mse+rank"])
def test_all_of_a_step_lies_on_the_devices_own_memory(tmp_path, loss):
    data = rows_of(table_of(tmp_path, 60))
    _, codes = np.unique(np.asarray(data.groups), return_inverse=True)
    how = SHORT, replace(SHIPPED, loss=loss)
    run = lanes._Run(data, list(lanes._lanes_of(data, HeadRows("a", np.arange(60)), codes, how)), how, META)
    run.train_epoch()  # an operation on what lies here and what lies there is an error
    held = [value for value in vars(run).values() if isinstance(value, torch.Tensor) and value is not run.best_epoch]
    assert len(held) > 10
    assert {value.device for value in (*held, *run.parameters, *run.gradients, run._stopping_loss())} == {META}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_cuda_a_head_scores_as_on_the_processor_and_is_the_same_bytes_twice(tmp_path):
    table, heads = table_of(tmp_path, 400, bend=0.5), [HeadRows("a", np.arange(400))]
    here, there, again = (
        trained(table, heads, TrainingSettings(epochs=20, device=device)) for device in ("cpu", "cuda", "cuda")
    )
    assert numbers(there.heads[0]).tobytes() == numbers(again.heads[0]).tobytes()
    assert there.device.startswith("cuda (")
    scores = [predict(t.heads[0], table.features, encoder_onehot(400)) for t in (here, there)]
    assert plcc(*scores) > 0.99


def passes_of_a_step(tmp_path, share: float = 0.3):
    """Three lanes' parameters, inputs and noise of five rows, all from one seed."""
    head = trained(table_of(tmp_path, 60), [HeadRows("a", np.arange(60))]).heads[0]
    parameters = stacked(head.members[:3], torch.device("cpu"))
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.normal(size=(3, 5, 12)).astype(np.float32))
    noise = torch.from_numpy(rng.integers(-NOISE, NOISE, size=(2, 3, 5, HIDDEN)).astype(np.float32))
    return parameters, x, Dropped(noise[0], noise[1], share)


def by_the_formula(parameters, x, dropped: Dropped) -> torch.Tensor:
    """What a member gives, as the architecture is written."""
    hidden1, bias1, hidden2, bias2, hidden3, bias3, skip, skip_bias = parameters
    kept = [1.0 * (noise >= (dropped.share * 2 - 1) * NOISE) / (1 - dropped.share) for noise in dropped[:2]]
    h = torch.relu(x @ hidden1 + bias1) * kept[0]
    h = torch.relu(h @ hidden2 + bias2) * kept[1]
    return 1 + 4 * torch.sigmoid(h @ hidden3 + bias3 + x @ skip + skip_bias).squeeze(-1)


def test_a_forward_pass_is_the_formula_with_and_without_dropout(tmp_path):
    parameters, x, dropped = passes_of_a_step(tmp_path)
    passes = Passes(3, 8, torch.device("cpu"))
    nothing = Dropped(*dropped[:2], 0.0)
    for given, wanted in ((dropped, dropped), (None, nothing), (dropped, dropped)):
        found = passes.forward(parameters, x, given)
        torch.testing.assert_close(found, by_the_formula(parameters, x, wanted), atol=1e-5, rtol=0)


def test_the_share_of_units_that_is_silenced_is_the_one_asked_for():
    noise = torch.arange(-NOISE, NOISE, dtype=torch.float32)
    assert int((noise < Dropped(noise, noise, 0.1).lowest_kept).sum()) == round(0.1 * 2 * NOISE)


@pytest.mark.parametrize("share", [0.0, 0.3])
def test_a_backward_pass_gives_the_gradients_that_autograd_gives(tmp_path, share):
    parameters, x, dropped = passes_of_a_step(tmp_path, share)
    slope = torch.from_numpy(np.random.default_rng(1).normal(size=(3, 5)).astype(np.float32))
    given = [p.clone().requires_grad_(True) for p in parameters]
    wanted = torch.autograd.grad((slope * by_the_formula(given, x, dropped)).sum(), given)
    flat = torch.full((3, sum(p[0].numel() for p in parameters)), torch.nan)
    found = shaped(flat, parameters)
    passes = Passes(3, 8, torch.device("cpu"))
    passes.backward(parameters, x, passes.forward(parameters, x, dropped if share else None), slope, found)
    for ours, theirs in zip(found, wanted, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)
    assert torch.isfinite(flat).all()
