"""The training loop: every member of every head is a lane, and all lanes take a step together. Imports torch.

A lane's randomness (start, order of rows, dropout) is drawn by numpy from its own seed, and a lane that has no rows
left in an epoch stands still: a lane ends the same whichever others are beside it.
"""

import hashlib
import platform
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vqa_assets.errors import TrainingError
from vqa_assets.heads.losses import loss_of
from vqa_assets.heads.method import SHIPPED, Method
from vqa_assets.heads.model import seen, shaped, stacked, threads, unstacked
from vqa_assets.heads.passes import Dropped, Passes
from vqa_assets.heads.recipe import TrainingSettings
from vqa_assets.heads.start import Rows, best_penalty, starting_member
from vqa_assets.heads.training import HeadRows, Progress, TrainedHeads, TrainingRows
from vqa_assets.heads.weights import (
    F32,
    HIDDEN,
    I64,
    HeadWeights,
    MemberWeights,
    standardisation,
    standardised,
    with_onehot,
)

_BETA1, _BETA2, _EPSILON = 0.9, 0.999, 1e-8
_CHUNK = 4_096


def device_named(name: str) -> torch.device:
    """The device of a setting: ``auto``, ``cpu``, ``cuda`` or ``cuda:<n>``; TrainingError where it is not there."""
    names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    if name == "auto":
        return torch.device("cuda" if names else "cpu")
    if name not in ("cpu", *(["cuda"] if names else []), *(f"cuda:{i}" for i in range(len(names)))):
        found = ", ".join(f"cuda:{i} ({told})" for i, told in enumerate(names))
        there = f"auto, cpu or cuda; there is {found}" if names else "auto or cpu (no CUDA device is there)"
        raise TrainingError("device", found=repr(name), expected=there, next_step="set device: auto")
    return torch.device(name)


def train(
    data: TrainingRows,
    heads: Sequence[HeadRows],
    settings: TrainingSettings,
    on: tuple[torch.device, Progress],
    method: Method = SHIPPED,
) -> TrainedHeads:
    """Trains all heads for ``settings.epochs``; a member keeps the weights of its best epoch on its stopping rows."""
    device, progress = on
    _, codes = np.unique(np.asarray(data.groups), return_inverse=True)
    lanes = [lane for head in heads for lane in _lanes_of(data, head, codes, (settings, method))]
    with threads(sum(len(lane.fit) for lane in lanes)):
        run = _Run(data, lanes, (settings, method), device)
        for epoch in range(1, settings.epochs + 1):
            run.train_epoch()
            progress(epoch, settings.epochs, run.keep_best(epoch))
    members, epochs = unstacked(run.best), tuple(int(e) for e in run.best_epoch)
    of_head = [slice(first, first + method.members) for first in range(0, len(lanes), method.members)]
    trained = tuple(HeadWeights(lanes[m.start].mean, lanes[m.start].std, tuple(members[m]), epochs[m]) for m in of_head)
    return TrainedHeads(trained, _told(device))


def _told(device: torch.device) -> str:
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    return f"{device.type} ({name})"


@dataclass(frozen=True)
class _Lane:
    """One member: rows it is fitted on and rows it stops by, its randomness, its head's scaling, its first weights."""

    fit: I64
    stop: I64
    batch: int
    rng: np.random.Generator
    mean: F32
    std: F32
    start: MemberWeights

    @property
    def steps(self) -> int:
        """The steps of an epoch."""
        return -(-len(self.fit) // self.batch)

    @property
    def largest_batch(self) -> int:
        """The rows of its largest batch."""
        return -(-len(self.fit) // self.steps)

    def batches(self) -> list[I64]:
        """One epoch's rows in a new order, in batches of nearly equal size."""
        return np.array_split(self.rng.permutation(self.fit), self.steps)


def _lanes_of(data: TrainingRows, head: HeadRows, codes: I64, how: tuple[TrainingSettings, Method]) -> Iterator[_Lane]:
    settings, method = how
    mean, std = standardisation(data.features[head.rows])
    weights = None if data.weights is None else data.weights[head.rows]
    seen = Rows(standardised(data.features[head.rows], mean, std), data.mos[head.rows], weights)
    part = _parts(codes[head.rows], head.name, method.parts, _randomness(f"{settings.seed}:{head.name}"))
    penalty = best_penalty(seen, part) if method.start != "zero" else None
    for member in range(method.members):
        rng = _randomness(f"{settings.seed}:{head.name}:{member}")
        stops = part == member % (part.max() + 1)
        fits = ~stops if method.early_stopping else np.ones_like(stops)
        begun = None if method.start == "mixed" and member % 2 else penalty
        start = starting_member(seen[fits], begun, data.onehot.shape[1], rng)
        batch = settings.batch_rows(len(head.rows))
        yield _Lane(head.rows[fits], head.rows[stops], batch, rng, mean, std, start)


def _randomness(salt: str) -> np.random.Generator:
    seed = int.from_bytes(hashlib.sha256(salt.encode()).digest()[:16], "big")
    return np.random.Generator(np.random.SFC64(seed))


def _parts(codes: I64, name: str, count: int, rng: np.random.Generator) -> I64:
    """The part (N,) of each row: whole contents, ``count`` parts of nearly as many, fewer where contents are fewer."""
    groups, of_row = np.unique(codes, return_inverse=True)
    if len(groups) < 2:
        raise TrainingError(
            f"training {name}",
            found=f"{len(codes)} rows of {len(groups)} content groups",
            expected="two groups or more, one to stop by",
            next_step="label clips of more contents",
        )
    part_of = rng.permutation(np.arange(len(groups)) % min(count, len(groups)))
    found: I64 = part_of[of_row]
    return found


class _Run:
    """The state of one training run: parameters and Adam's moments of all L lanes, and the best weights so far.

    The numbers of a lane lie side by side, (L, P): an optimiser's step is a few operations on all of them.
    """

    def __init__(
        self,
        data: TrainingRows,
        lanes: Sequence[_Lane],
        how: tuple[TrainingSettings, Method],
        device: torch.device,
    ) -> None:
        self.lanes, (self.settings, self.method), self.device = lanes, how, device
        self.table = torch.from_numpy(np.hstack([data.features, data.onehot])).to(device)
        self.mos, self.weights = torch.from_numpy(np.ascontiguousarray(data.mos)).to(device), data.weights
        means, stds = (np.stack([getattr(lane, name) for lane in lanes])[:, None, :] for name in ("mean", "std"))
        self.mean, self.std = (torch.from_numpy(a).to(device) for a in with_onehot(means, stds, data.onehot.shape[1]))
        start = stacked([lane.start for lane in lanes], device)
        self.numbers = torch.cat([p.flatten(1) for p in start], 1)
        self.first, self.second, self.slopes = (torch.zeros_like(self.numbers) for _ in range(3))
        self.parameters, self.gradients = shaped(self.numbers, start), shaped(self.slopes, start)
        self.steps = torch.zeros((len(lanes), 1), device=device)
        self.kept = self.numbers.clone()
        self.best_epoch = torch.zeros(len(lanes), dtype=torch.int64)
        self.stop_rows, self.stop_shares = self._padded([lane.stop for lane in lanes])
        batch, self.chunk = max(lane.largest_batch for lane in lanes), min(_CHUNK, self.stop_rows.shape[1])
        most = max(batch, self.chunk)
        self.passes = Passes(len(lanes), most, device)
        self.inputs = torch.empty(len(lanes) * most * self.table.shape[1], device=device)
        self.bits = np.zeros((2, len(lanes) * batch * HIDDEN if self.method.dropout else 0), dtype=np.int16)
        self.noise = torch.zeros(self.bits.shape, device=device)
        self.best_loss = self._stopping_loss()

    @property
    def best(self) -> list[Tensor]:
        """The eight parameters of each lane's best epoch so far."""
        return shaped(self.kept, self.parameters)

    def train_epoch(self) -> None:
        """One pass of every lane over its rows."""
        batches = [lane.batches() for lane in self.lanes]
        nothing = np.empty(0, dtype=np.int64)
        for step in range(max(map(len, batches))):
            self._step([lane[step] if step < len(lane) else nothing for lane in batches])

    def keep_best(self, epoch: int) -> float:
        """Keeps the weights of the lanes whose stopping loss is the lowest so far; the RMSE of all on those rows."""
        loss = self._stopping_loss()
        better = loss < self.best_loss if self.method.early_stopping else torch.ones_like(loss, dtype=torch.bool)
        self.best_loss = torch.where(better, loss, self.best_loss)
        self.best_epoch[better.cpu()] = epoch
        self.kept = torch.where(better[:, None], self.numbers, self.kept)
        return float(loss.mean().sqrt())

    def _step(self, batch: Sequence[I64]) -> None:
        rows, shares = self._padded(batch)
        x = self._inputs(rows)
        predicted = self.passes.forward(self.parameters, x, self._dropped(batch))
        slope = self._slope(predicted, self.mos[rows], shares)
        self.passes.backward(self.parameters, x, predicted, slope, self.gradients)
        self._adamw((shares[:, :1] > 0).float())

    def _slope(self, predicted: Tensor, mos: Tensor, shares: Tensor) -> Tensor:
        """The loss's derivative by each prediction (L, B)."""
        given = predicted.detach().requires_grad_(True)
        (slope,) = torch.autograd.grad(loss_of(self.method, given, mos, shares), given)
        return slope

    def _adamw(self, active: Tensor) -> None:
        """One AdamW step (Loshchilov and Hutter 2019) of the lanes in ``active`` (L, 1); the others stand still."""
        self.steps += active
        done = self.steps.clamp(min=1)
        lr, decay = active * self.settings.lr, self.settings.weight_decay
        p, g, m, v = self.numbers, self.slopes, self.first, self.second
        m.add_(active * (1 - _BETA1) * (g - m))
        v.add_(active * (1 - _BETA2) * (g * g - v))
        slope = (m / (1 - _BETA1**done)) / ((v / (1 - _BETA2**done)).sqrt() + _EPSILON)
        p.sub_(lr * (slope + decay * p))

    def _inputs(self, rows: Tensor) -> Tensor:
        """What members see of these rows (L, B, F + V); it stands until the next call."""
        width = self.table.shape[1]
        flat = self.inputs[: rows.numel() * width].view(-1, width)
        torch.index_select(self.table, 0, rows.reshape(-1), out=flat)
        return seen(flat.view(*rows.shape, width), self.mean, self.std)

    def _stopping_loss(self) -> Tensor:
        """Mean squared error (L,) on each lane's stopping rows."""
        loss = torch.zeros(len(self.lanes), device=self.device)
        for part in range(0, self.stop_rows.shape[1], self.chunk):
            rows, shares = (a[:, part : part + self.chunk] for a in (self.stop_rows, self.stop_shares))
            predicted = self.passes.forward(self.parameters, self._inputs(rows))
            loss += (shares * (predicted - self.mos[rows]) ** 2).sum(1)
        return loss

    def _padded(self, rows: Sequence[I64]) -> tuple[Tensor, Tensor]:
        """Row numbers (L, B) and each row's share in its lane's mean (L, B); 0 where a lane has no row."""
        numbers = np.zeros((len(rows), max(map(len, rows))), dtype=np.int64)
        shares = np.zeros(numbers.shape, dtype=np.float32)
        for lane, own in enumerate(rows):
            numbers[lane, : len(own)] = own
            shares[lane, : len(own)] = self._shares(own)
        return torch.from_numpy(numbers).to(self.device), torch.from_numpy(shares).to(self.device)

    def _shares(self, rows: I64) -> F32 | float:
        """Each row's share in the mean over these rows, by its weight."""
        if self.weights is None or not len(rows):
            return 1 / max(1, len(rows))
        weights = self.weights[rows]
        shares: F32 = weights / weights.sum()
        return shares

    def _dropped(self, batch: Sequence[I64]) -> Dropped | None:
        """Each lane's dropout from its own randomness: 16 random bits a unit. What pads a lane keeps older bits."""
        if not self.method.dropout:
            return None
        shape = (2, len(batch), max(map(len, batch)), HIDDEN)
        bits = self.bits[:, : shape[1] * shape[2] * HIDDEN].reshape(shape)
        for lane, own in enumerate(batch):
            drawn = self.lanes[lane].rng.bit_generator.random_raw(2 * len(own) * HIDDEN // 4)
            bits[:, lane, : len(own)] = drawn.view(np.int16).reshape(2, len(own), HIDDEN)
        noise = self.noise[:, : bits[0].size].view(shape)
        noise.copy_(torch.from_numpy(bits))
        return Dropped(noise[0], noise[1], self.method.dropout)
