import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from vqa_assets.errors import TrainingError
from vqa_assets.feature_names import KONVID_V1
from vqa_assets.heads.judging.evaluation import evaluate
from vqa_assets.heads.members.method import SHIPPED, HeadRows, Method, TrainedHeads, TrainingRows
from vqa_assets.heads.members.model import Members, predict
from vqa_assets.heads.members.training import (
    DeviceRows,
    Learner,
    Member,
    Stack,
    TorchTrainer,
    loss_of,
    members_of,
    silence_of,
    train,
)
from vqa_assets.heads.members.weights import HIDDEN, HeadWeights, encoder_onehot, standardisation
from vqa_assets.heads.rows.reading import TrainingTable, read_training_table
from vqa_assets.heads.rows.splitting import plan_splits
from vqa_assets.heads.settings import TrainingSettings
from vqa_assets.metrics import mean_scores, plcc
from vqa_assets_tests.shared.head_tables import labelled, written

META = torch.device("meta")
"""Memory without numbers: what it holds does not mix with what is here, as on any other device."""
CPU = torch.device("cpu")
SHORT = TrainingSettings(epochs=6, device="cpu")


def rows_of(table: TrainingTable) -> TrainingRows:
    return TrainingRows(table.features, encoder_onehot(len(table.mos)), table.mos, table.groups)


def table_of(tmp_path, rows: int, bend: float = 0.0, seed: int = 0) -> TrainingTable:
    path = written(labelled(rows, seed, bend), tmp_path / "t.parquet")
    return read_training_table({"konvid-1k": path}, KONVID_V1)


def trained(table: TrainingTable, heads: list[HeadRows], settings: TrainingSettings = SHORT) -> TrainedHeads:
    return TorchTrainer().train(rows_of(table), heads, settings, lambda *_: None)


def stack_rows(
    data: TrainingRows,
    rows: int,
    settings: TrainingSettings = SHORT,
    method: Method = SHIPPED,
    device: torch.device = CPU,
) -> tuple[DeviceRows, list[Member]]:
    """The first rows as one head's on the device, and its networks before their first step."""
    _, codes = np.unique(np.asarray(data.groups), return_inverse=True)
    learner = Learner.of(data, codes, HeadRows("a", np.arange(rows)), settings, method)
    return DeviceRows([learner], device), list(members_of(learner, 0, settings, method))


def numbers(head: HeadWeights) -> np.ndarray:
    return np.concatenate([array.ravel() for network in head.networks for array in network.arrays()])


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
    assert len({network.hidden1.tobytes() for network in head.networks}) == len(head.networks) == SHIPPED.members
    assert any(np.any(network.hidden3) for network in head.networks)
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
    _, members = stack_rows(rows_of(table), 100)
    assert sorted(np.concatenate([member.stop for member in members])) == list(range(100))
    for member in members:
        assert sorted((*member.fit, *member.stop)) == list(range(100))
        assert not {table.groups[row] for row in member.fit} & {table.groups[row] for row in member.stop}
    assert all(np.any(member.start.skip) for member in members)


def test_without_early_stopping_every_row_trains_and_the_last_epoch_stays(tmp_path):
    table = table_of(tmp_path, 60)
    cpu, method = torch.device("cpu"), Method(members=2, early_stopping=False)
    (head,) = train(rows_of(table), [HeadRows("a", np.arange(60))], SHORT, cpu, lambda *_: None, method)
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


def test_progress_counts_the_ridge_members_of_all_heads_then_epochs(tmp_path):
    told: list[tuple] = []
    table = table_of(tmp_path, 60)
    heads = [HeadRows("a", np.arange(60)), HeadRows("b", np.arange(50))]
    TorchTrainer().train(rows_of(table), heads, SHORT, lambda *at: told.append(at))
    members, epochs = told[:2], told[2:]
    assert [(done, total, what) for done, total, _, what in members] == [(n, 2, "ridge members") for n in (1, 2)]
    assert [(done, total) for done, total, _ in epochs] == [(epoch, 6) for epoch in range(1, 7)]
    assert all(0 < rmse < 2 for _, _, rmse in epochs)


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
    method = replace(SHIPPED, loss=loss)
    table, members = stack_rows(rows_of(table_of(tmp_path, 60)), 60, method=method, device=META)
    stack = Stack(table, members, SHORT, method)
    for batch in zip(*(member.batches() for member in members), strict=True):
        stack.step(batch)  # an operation on what lies here and what lies there is an error
    held = [value for of in (table, stack) for value in vars(of).values() if isinstance(value, torch.Tensor)]
    held += [*stack.network.parameters(), *stack.network.buffers(), *stack.best.values(), stack.stopping_loss()]
    held += [parameter.grad for parameter in stack.network.parameters()]
    assert len(held) > 20
    assert {value.device for value in held if value is not stack.best_epoch} == {META}


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


def step_of(tmp_path, share: float = 0.3) -> tuple[Members, torch.Tensor, torch.Tensor]:
    """Three trained members, five rows of inputs each, and 16 random bits for each hidden unit, all from one seed."""
    head = trained(table_of(tmp_path, 60), [HeadRows("a", np.arange(60))]).heads[0]
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.normal(5, 3, (3, 5, 12)).astype(np.float32))
    bits = torch.from_numpy(rng.integers(-(2**15), 2**15, (2, 3, 5, HIDDEN)).astype(np.int16))
    return Members(head.networks[:3], share), x, bits


def by_the_formula(members: Members, x: torch.Tensor, bits: torch.Tensor, share: float) -> torch.Tensor:
    """What a member gives, as the architecture is written."""
    of = dict(members.named_parameters())
    kept = [1.0 * (layer >= (share * 2 - 1) * 2**15) / (1 - share) for layer in bits]
    h = torch.relu(x @ of["hidden1"] + of["bias1"]) * kept[0]
    h = torch.relu(h @ of["hidden2"] + of["bias2"]) * kept[1]
    summed = h @ of["hidden3"] + of["bias3"] + x @ of["skip"] + of["skip_bias"]
    return 1 + 4 * torch.sigmoid(summed).squeeze(-1)


def test_a_forward_pass_is_the_formula_with_and_without_dropout(tmp_path):
    members, x, bits = step_of(tmp_path)
    for silence, share in ((silence_of(bits, 0.3), 0.3), (None, 0.0), (silence_of(bits, 0.3), 0.3)):
        torch.testing.assert_close(members(x, silence), by_the_formula(members, x, bits, share), atol=1e-5, rtol=0)


def test_the_share_of_units_that_is_silenced_is_the_one_asked_for():
    bits = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16)
    assert int((silence_of(bits, 0.1) < 0).sum()) == round(0.1 * 2**16)


@pytest.mark.parametrize("share", [0.0, 0.3])
def test_a_backward_pass_gives_the_gradients_of_the_formula(tmp_path, share):
    members, x, bits = step_of(tmp_path, share)
    slope = torch.from_numpy(np.random.default_rng(1).normal(size=(3, 5)).astype(np.float32))
    parameters = list(members.parameters())
    theirs = torch.autograd.grad((slope * by_the_formula(members, x, bits, share)).sum(), parameters)
    ours = torch.autograd.grad((slope * members(x, silence_of(bits, share) if share else None)).sum(), parameters)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


def test_a_step_is_adamw_with_decoupled_weight_decay_for_each_member_alone(tmp_path):
    settings, method = SHORT.but(weight_decay=0.1), replace(SHIPPED, dropout=0.0)
    table, members = stack_rows(rows_of(table_of(tmp_path, 60)), 60, settings, method)
    stack = Stack(table, members, settings, method)
    before = dict(members[1].start.named())
    stack.step([member.fit for member in members])
    gradients = {name: parameter.grad[1].numpy() for name, parameter in stack.network.named_parameters()}
    for name, after in stack.network.weights()[1].named():
        # The first step of Adam is the sign of the gradient, and the decay is of the weights alone.
        slope = gradients[name].reshape(after.shape)
        moved = slope / (np.abs(slope) + 1e-8)
        np.testing.assert_allclose(after, before[name] * (1 - settings.lr * 0.1) - settings.lr * moved, atol=1e-6)
