"""Training: the networks of all heads learn at once. Importing this imports torch.

Each head first maps its own rows, once (``feature_map``), and fits its ridge member in closed form
(``random_features``). Networks that take equally many steps an epoch are stacked, and each stack has its own optimizer;
so none waits for another, or is moved by a step that has no rows of its own. A network's randomness (start, order of
rows, dropout) is drawn by numpy from its own seed: it ends the same whichever others are beside it. The network is in
``model``, which rows train which head in ``splitting``, and what goes in and comes out in ``method``.
"""

import hashlib
import math
import platform
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import accumulate, groupby

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw

from vqa_assets.errors import TrainingError
from vqa_assets.heads.members.closed_form import RidgeRows, logit_skips
from vqa_assets.heads.members.corpus_scales import CorpusScales, first_scales, mean_of
from vqa_assets.heads.members.feature_map import FeatureMap
from vqa_assets.heads.members.large_tables import let_go
from vqa_assets.heads.members.method import (
    EPOCHS,
    RIDGE_MEMBERS,
    SHIPPED,
    HeadRows,
    Method,
    TrainedHeads,
    TrainingProgress,
    TrainingRows,
)
from vqa_assets.heads.members.model import SILENT, Members, one_thread
from vqa_assets.heads.members.random_features import RandomFeatureRidge
from vqa_assets.heads.members.scale_maps import RANK_TIMES, RATE_TIMES, ScaleMaps, rank_loss
from vqa_assets.heads.members.weights import F32, HIDDEN, I64, HeadWeights, NetworkWeights
from vqa_assets.heads.settings import TrainingSettings

_ROWS_AT_ONCE = 100_000
"""Rows that all members together read in a step. A hidden layer of so many is 26 MB; the C library hands larger pieces
back to the system and fetches them anew in every step, which takes longer than the arithmetic."""
_NUMBERS_AT_ONCE = 64_000_000
"""Mapped numbers of all heads that are trained at once, 256 MB: of large tables it is one head after another."""
_STACK_ROWS = 4_096
"""Rows of a step that one core works on; not by the number of cores, so that any number gives the same bytes."""
_CHUNK = 4_096
"""Rows of each member that are judged at once after an epoch."""
_OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "status_alloc_failed")
"""CUDA's and the processor's words, and those of cuBLAS and cuDNN (``CUBLAS_STATUS_ALLOC_FAILED``)."""
_RIDGE_THREADS = 2
"""Of one head's ridge member: each holds 130 MB of random features and their products."""
_TINY = 1e-8


class TorchTrainer:
    """Trains with torch: all heads and members together on one device, in lots where they are very many.

    ``device`` is ``auto`` (CUDA where there is one), ``cpu``, ``cuda`` or ``cuda:<n>``; a run's own wins over it.
    """

    def __init__(self, device: str = "auto") -> None:
        self.device = device

    def train(
        self, data: TrainingRows, heads: Sequence[HeadRows], settings: TrainingSettings, progress: TrainingProgress
    ) -> TrainedHeads:
        """As ``Trainer.train``; TrainingError where the device is not there."""
        device = device_named(self.device if settings.device == "auto" else settings.device)
        # What is on the device at once stays below ``_ROWS_AT_ONCE`` and ``_NUMBERS_AT_ONCE``, or is one head.
        batch = max((min(len(head.rows), settings.batch_rows(len(head.rows))) for head in heads), default=1)
        numbers = max((len(head.rows) for head in heads), default=1) * (data.features.shape[1] + data.onehot.shape[1])
        size = max(1, min(_ROWS_AT_ONCE // max(1, batch * SHIPPED.members), _NUMBERS_AT_ONCE // max(1, numbers)))
        lots = [heads[first : first + size] for first in range(0, len(heads), size)]
        trained: list[HeadWeights] = []
        for number, lot in enumerate(lots):

            def progress_of_all(done: int, total: int, rmse: float, what: str = EPOCHS, lot: int = number) -> None:
                if what == RIDGE_MEMBERS:
                    progress(lot * size + done, len(heads), rmse, what)
                # In whole epochs of all lots; of the first lot of many, the first epochs are none yet.
                elif (whole := (lot * total + done) // len(lots)) > 0:
                    progress(whole, total, rmse)

            try:
                trained += train(data, lot, settings, device, progress_of_all)
            except (MemoryError, RuntimeError) as error:
                # On the processor torch raises no type of its own for this.
                message = str(error).lower()
                if not isinstance(error, MemoryError) and not any(words in message for words in _OUT_OF_MEMORY):
                    raise
                batch_size = max(settings.batch_rows(len(head.rows)) for head in lot)
                raise TrainingError(
                    f"out of memory while training on {device}",
                    found=f"batch_size {batch_size}, {max(map(len, lots))} heads at once",
                    expected="a batch that fits",
                    next_step=f"set batch_size to {max(1, batch_size // 2)} or less, or another device",
                ) from error
        model = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
        return TrainedHeads(tuple(trained), f"{device.type} ({model})")


def device_named(name: str) -> torch.device:
    """The device of a setting: ``auto``, ``cpu``, ``cuda`` or ``cuda:<n>``; TrainingError where it is not there."""
    models = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    if name == "auto":
        return torch.device("cuda" if models else "cpu")
    if name not in ("cpu", *(["cuda"] if models else []), *(f"cuda:{i}" for i in range(len(models)))):
        present = ", ".join(f"cuda:{i} ({model})" for i, model in enumerate(models))
        raise TrainingError(
            "device",
            found=repr(name),
            expected=f"auto, cpu or cuda; there is {present}" if models else "auto or cpu (no CUDA device is there)",
            next_step="set device: auto",
        )
    return torch.device(name)


def train(
    data: TrainingRows,
    heads: Sequence[HeadRows],
    settings: TrainingSettings,
    device: torch.device,
    progress: TrainingProgress,
    method: Method = SHIPPED,
) -> list[HeadWeights]:
    """Trains all heads for ``settings.epochs``; a network keeps the weights of its best epoch on its stopping rows."""
    contents = np.unique(np.asarray(data.groups), return_inverse=True)[1]
    # A stack's steps are too small for several threads to share; stacks and heads know nothing of each other, so each
    # has one thread, and no number depends on how many there are.
    cores = torch.get_num_threads()
    with one_thread(), ThreadPoolExecutor(cores, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        learners = list(pool.map(lambda head: Learner.of(data, contents, head, settings, method), heads))

        def fitted(scales: Sequence[CorpusScales | None]) -> list[RandomFeatureRidge | None]:
            if not method.ridge:
                return [None] * len(heads)
            members: list[RandomFeatureRidge | None] = []
            # One head alone has several cores for the parts of its rows.
            ridge_of = partial(
                Learner.ridge, settings=settings, threads=min(_RIDGE_THREADS, max(1, cores // max(1, len(heads))))
            )
            for ridge in pool.map(ridge_of, learners, scales):
                members.append(ridge)
                progress(len(members), len(heads), math.nan, RIDGE_MEMBERS)
            return members

        # A ridge member that fits several corpora's scores does so on the scale that the networks brought them to.
        ridges = [] if data.corpora is not None else fitted([None] * len(heads))
        table = DeviceRows(learners, device)
        members = [
            member
            for learner, first in zip(learners, table.first_rows, strict=True)
            for member in members_of(learner, first, settings, method)
        ]
        stacks = [Stack(table, alike, settings, method) for alike in stacked(members, device)]
        for epoch in range(1, settings.epochs + 1):
            train_epoch = partial(Stack.train_epoch, epoch=epoch)
            losses = list(pool.map(train_epoch, stacks) if device.type == "cpu" else map(train_epoch, stacks))
            progress(epoch, settings.epochs, float(torch.cat(losses).mean().sqrt()))
        for learner in learners:
            let_go(learner.inputs)
        trained = {id(member): best for stack in stacks for member, best in stack.best_weights()}
        of_heads = [
            [trained[id(member)] for member in members[first : first + method.members]]
            for first in range(0, len(members), method.members)
        ]
        scales = [mean_of([one.maps for one in own]) for own in of_heads]
        ridges = ridges or fitted(scales)
        return [
            HeadWeights(
                learner.map,
                tuple(one.weights for one in own),
                ridge,
                tuple(one.epoch for one in own),
                scales=maps,
            )
            for learner, own, maps, ridge in zip(learners, of_heads, scales, ridges, strict=True)
        ]


def stacked(members: Sequence["Member"], device: torch.device) -> Iterator[Sequence["Member"]]:
    """Members in stacks: of equally many steps, and on the processor of at most ``_STACK_ROWS`` rows a step."""
    for _, equal in groupby(sorted(members, key=lambda member: member.steps), key=lambda member: member.steps):
        alike = list(equal)
        batch = max(len(member.fit) for member in alike) // alike[0].steps
        size = max(1, _STACK_ROWS // batch) if device.type == "cpu" else len(alike)
        yield from (alike[first : first + size] for first in range(0, len(alike), size))


@dataclass(frozen=True)
class Learner:
    """A head before its training: its map, and its own n rows as its members see them.

    ``inputs`` (n, I) are mapped features and one-hot, ``mos`` (n,) on 1–5, ``weights`` (n,) or None. ``contents`` (n,)
    number what a row shows, and ``part`` (n,) the parts of them that its members stop by and choose by. ``corpora``
    (n,) are their corpora's numbers where it learns their scales, which begin at ``scales``.
    """

    name: str
    map: FeatureMap
    inputs: F32
    mos: F32
    weights: F32 | None
    contents: I64
    part: I64
    corpora: I64 | None = None
    scales: CorpusScales | None = None

    @classmethod
    def of(
        cls, data: TrainingRows, contents: I64, head: HeadRows, settings: TrainingSettings, method: Method
    ) -> "Learner":
        """The learner of a head; ``contents`` (N,) number what each row of the data shows.

        TrainingError where all of the head's rows show one content.
        """
        rows = head.rows
        # Whole contents, in parts of nearly as many; fewer parts where contents are fewer.
        own, of_row = np.unique(contents[rows], return_inverse=True)
        if len(own) < 2:
            raise TrainingError(
                f"training {head.name}",
                found=f"{len(rows)} rows of {len(own)} content groups",
                expected="two groups or more",
                next_step="label clips of more contents",
            )
        parts = method.parts_of(len(own))
        part = _randomness(f"{settings.seed}:{head.name}").permutation(np.arange(len(own)) % parts)[of_row]
        mapped = FeatureMap.fitted(data.features, rows, seed=settings.seed, quantiles=method.quantiles)
        inputs = mapped.inputs(data.features, data.onehot, rows)
        weights = head.weights
        if weights is None and data.weights is not None:
            weights = data.weights[rows]
        mos = data.mos[rows] if head.mos is None else head.mos
        learner = cls(head.name, mapped, inputs, mos, weights, of_row, part)
        if data.corpora is None:
            return learner
        corpora, z = data.corpora[rows], RidgeRows(inputs[:, : mapped.outputs], learner.mos, weights)
        scales = first_scales(z, corpora, part, int(data.corpora.max()) + 1)
        return replace(learner, corpora=corpora, scales=scales)

    def on_reference(self, scales: CorpusScales | None) -> "Learner":
        """The same with its rows' MOS on the reference scale of ``scales``, and what they count there."""
        if scales is None or self.corpora is None:
            return self
        mos = scales.on_reference(self.mos, self.corpora)
        return replace(self, mos=mos, weights=scales.weights(self.corpora, self.weights))

    def ridge(self, scales: CorpusScales | None, settings: TrainingSettings, *, threads: int = 1) -> RandomFeatureRidge:
        """Its ridge member; the same whatever the number of ``threads``."""
        rng = _randomness(f"{settings.seed}:{self.name}:ridge")
        own = self.on_reference(scales)
        return RandomFeatureRidge.fitted(
            self.inputs, own.mos, self.part, self.contents, own.weights, rng, threads=threads
        )


@dataclass(frozen=True, eq=False)
class Member:
    """One network to be: rows of ``DeviceRows`` it is fitted on and stops by, its randomness, its first weights.

    Where it does not ``stops_early`` it is fitted on all rows and keeps its last epoch. ``scales`` are the first of its
    corpora, where it learns them.
    """

    fit: I64
    stop: I64
    batch_rows: int
    rng: np.random.Generator
    start: NetworkWeights
    stops_early: bool = True
    scales: CorpusScales | None = None

    @property
    def steps(self) -> int:
        """The steps of an epoch."""
        return -(-len(self.fit) // self.batch_rows)

    def batches(self) -> list[I64]:
        """One epoch's rows in a new order, in batches of nearly equal size."""
        return np.array_split(self.rng.permutation(self.fit), self.steps)


@dataclass(frozen=True)
class Best:
    """What a network is at its best epoch, and its maps (C, 9) to the corpora's scales, where it learned them."""

    weights: NetworkWeights
    epoch: int
    maps: F32 | None


def members_of(learner: Learner, first_row: int, settings: TrainingSettings, method: Method) -> Iterator[Member]:
    """The networks of one head before their first step; its rows are those of ``DeviceRows`` from ``first_row`` on."""
    columns, inputs = learner.map.outputs, learner.inputs.shape[1]
    parts = int(learner.part.max()) + 1
    stops_early = method.early_stopping and parts > 1
    skips = None
    if method.start != "zero":
        aligned = learner.on_reference(learner.scales)
        rows = RidgeRows(learner.inputs[:, :columns], aligned.mos, aligned.weights)
        skips = logit_skips(rows, learner.part, whole=not stops_early)
    for number in range(method.members):
        rng = _randomness(f"{settings.seed}:{learner.name}:{number}")
        stops = learner.part == number % parts
        fits = ~stops if stops_early else np.ones_like(stops)
        skip, skip_bias = np.zeros(columns), 0.0
        if skips is not None and not (method.start == "mixed" and number % 2):
            skip, skip_bias = skips[number % parts]
        start = starting_weights(skip, skip_bias, inputs - columns, rng)
        own, batch_rows = first_row + np.arange(len(stops)), settings.batch_rows(len(stops))
        yield Member(own[fits], own[stops], batch_rows, rng, start, stops_early, learner.scales)


def _randomness(salt: str) -> np.random.Generator:
    seed = int.from_bytes(hashlib.sha256(salt.encode()).digest()[:16], "big")
    return np.random.Generator(np.random.SFC64(seed))


def starting_weights(
    skip: np.typing.NDArray[np.float64], skip_bias: float, encoders: int, rng: np.random.Generator
) -> NetworkWeights:
    """Where a member begins: random hidden layers, a silent last layer, and this skip, zero for the encoders.

    With few rows, thirty epochs are some sixty steps of 0.001, which cannot move a linear layer from zero to where
    ridge is at once, and the less so the more features there are; ``docs/head-architecture.md`` has the figures.
    """
    inputs = len(skip) + encoders

    def uniform(fan_in: int, *shape: int) -> F32:
        """U(−1/√in, 1/√in), torch's own start of a Linear layer."""
        return rng.uniform(-(fan_in**-0.5), fan_in**-0.5, shape).astype(np.float32)

    return NetworkWeights(
        hidden1=uniform(inputs, inputs, HIDDEN),
        bias1=uniform(inputs, HIDDEN),
        hidden2=uniform(HIDDEN, HIDDEN, HIDDEN),
        bias2=uniform(HIDDEN, HIDDEN),
        hidden3=np.zeros((HIDDEN, 1), dtype=np.float32),
        bias3=np.zeros(1, dtype=np.float32),
        skip=np.concatenate([skip, np.zeros(encoders)]).astype(np.float32)[:, None],
        skip_bias=np.array([skip_bias], dtype=np.float32),
    )


class DeviceRows:
    """The rows of all heads in training on the device, one head's after another's: a row that several heads learn from
    is seen by each through a map of its own.

    ``inputs`` (N, Z + V) and ``mos`` (N,) are on the device, weights stay here; head i begins at ``first_rows[i]``.
    Where heads learn the scales of corpora, ``numbers`` (N,) are those of the rows' corpora.
    """

    def __init__(self, learners: Sequence[Learner], device: torch.device) -> None:
        self.device = device
        self.first_rows = [0, *accumulate(len(learner.mos) for learner in learners)][: len(learners)]
        inputs = [torch.from_numpy(learner.inputs) for learner in learners]
        # Of a large table, whose heads are trained one by one, no second copy is made.
        self.inputs = (torch.cat(inputs) if len(inputs) > 1 else inputs[0]).to(device)
        self.mos = torch.cat([torch.from_numpy(learner.mos) for learner in learners]).to(device)
        # A head whose rows count alike may stand beside one whose rows do not.
        each = [np.ones(len(of.mos), dtype=np.float32) if of.weights is None else of.weights for of in learners]
        self.weights = None if all(of.weights is None for of in learners) else np.concatenate(each)
        corpora = [learner.corpora for learner in learners if learner.corpora is not None]
        self.numbers = np.concatenate(corpora) if corpora else np.empty(0, dtype=np.int64)
        count = max((len(learner.scales.values) for learner in learners if learner.scales), default=1)
        self.corpora = torch.eye(count)[self.numbers].to(device)

    def inputs_of(self, rows: Tensor) -> Tensor:
        """Inputs (L, B, Z + V) of row numbers (L, B)."""
        return torch.index_select(self.inputs, 0, rows.reshape(-1)).view(*rows.shape, -1)

    def corpora_of(self, rows: Tensor) -> Tensor:
        """The corpora of row numbers (L, B), one-hot in (L, B, C), where heads learn their scales."""
        return torch.index_select(self.corpora, 0, rows.reshape(-1)).view(*rows.shape, -1)

    def padded(self, rows: Sequence[I64]) -> tuple[Tensor, Tensor]:
        """Row numbers (L, B), and each row's share in its member's mean by its weight (L, B); 0 for no row."""
        numbers = np.zeros((len(rows), max(map(len, rows))), dtype=np.int64)
        shares = np.zeros(numbers.shape, dtype=np.float32)
        for i, own in enumerate(rows):
            numbers[i, : len(own)] = own
            if self.weights is None:
                shares[i, : len(own)] = 1 / max(1, len(own))
            else:
                shares[i, : len(own)] = self.weights[own] / self.weights[own].sum()
        return torch.from_numpy(numbers).to(self.device), torch.from_numpy(shares).to(self.device)


class Descent:
    """Steps of AdamW along the gradients of some parameters, by torch's function of it.

    Torch's class of it loads a compiler when it is made, which takes each process that trains two seconds and 80 MB.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], rate: float, weight_decay: float) -> None:
        self.parameters, self.rate, self.weight_decay = list(parameters), rate, weight_decay
        device = self.parameters[0].device
        self.fused = device.type in ("cpu", "cuda")  # a third of the time; other devices have none
        self.means, self.squares = ([torch.zeros_like(each) for each in self.parameters] for _ in range(2))
        self.steps = [torch.zeros((), device=device if self.fused else "cpu") for _ in self.parameters]

    @torch.no_grad()
    def step(self) -> None:
        """One step by the gradients that the parameters have."""
        adamw(
            list(self.parameters),
            [each.grad for each in self.parameters if each.grad is not None],
            self.means,
            self.squares,
            [],
            self.steps,
            fused=self.fused,
            amsgrad=False,
            beta1=0.9,
            beta2=0.999,
            lr=self.rate,
            weight_decay=self.weight_decay,
            eps=1e-8,
            maximize=False,
        )


class Stack:
    """Members that take equally many steps an epoch: one network of them all, its optimizer, and the best so far."""

    def __init__(
        self, table: DeviceRows, members: Sequence[Member], settings: TrainingSettings, method: Method
    ) -> None:
        self.table, self.members, self.method = table, members, method
        self.network = Members([member.start for member in members], method.dropout).to(table.device)
        learned = [member.scales for member in members if member.scales is not None]
        rows = [len(member.fit) for member in members]
        self.maps = ScaleMaps(learned, rows).to(table.device) if learned else None
        self.descents = [Descent(list(self.network.parameters()), settings.lr, settings.weight_decay)]
        if self.maps is not None:
            # A scale is pulled nowhere, and a few numbers must go farther in as many steps.
            self.descents.append(Descent(list(self.maps.parameters()), settings.lr * RATE_TIMES, 0.0))
        self.stop_rows, self.stop_shares = table.padded([member.stop for member in members])
        self.best = {name: parameter.detach().clone() for name, parameter in self.parameters()}
        self.best_epoch = torch.zeros(len(members), dtype=torch.int64)
        self.keeps_last = torch.tensor([not member.stops_early for member in members]).to(table.device)
        self.best_loss = self.stopping_loss()

    def parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """What is learned, by name: the networks', and their maps' where they learn scales."""
        yield from self.network.named_parameters()
        if self.maps is not None:
            yield from self.maps.named_parameters(prefix="maps")

    def train_epoch(self, epoch: int) -> Tensor:
        """One pass of every member over its rows; then their stopping loss (L,).

        The weights of the members whose stopping loss is the lowest so far are kept.
        """
        for batch in zip(*(member.batches() for member in self.members), strict=True):
            self.step(batch)
        loss = self.stopping_loss()
        better = (loss < self.best_loss) | self.keeps_last
        self.best_loss = torch.where(better, loss, self.best_loss)
        self.best_epoch[better.cpu()] = epoch
        for name, parameter in self.parameters():
            self.best[name] = torch.where(better[:, None, None], parameter.detach(), self.best[name])
        return loss

    def step(self, batch: Sequence[I64]) -> None:
        """One step of every member on rows of its own."""
        if self.maps is not None:
            # Pairs of one corpus are neighbours then, still at random.
            batch = [own[np.argsort(self.table.numbers[own], kind="stable")] for own in batch]
        rows, shares = self.table.padded(batch)
        mos, scores = self.network(self.table.inputs_of(rows), self.silence(batch)), self.table.mos[rows]
        # The losses of members add up: a member's gradient is of its own loss alone.
        if self.maps is None:
            loss = loss_of(self.method, mos, scores, shares)
        else:
            corpora = self.table.corpora_of(rows)
            loss = loss_of(self.method, self.maps(mos, corpora), scores, shares)
            loss = loss + self.maps.roughness() + RANK_TIMES * rank_loss(mos, scores, corpora, shares)
        for _, parameter in self.parameters():
            parameter.grad = None
        loss.backward()  # type: ignore[no-untyped-call]
        for descent in self.descents:
            descent.step()

    def best_weights(self) -> Iterator[tuple[Member, "Best"]]:
        """Each member with its best weights."""
        with torch.no_grad():
            for name, parameter in self.parameters():
                parameter.copy_(self.best[name])
        maps = [None] * len(self.members) if self.maps is None else self.maps.values()
        for member, *best in zip(self.members, self.network.weights(), self.best_epoch.tolist(), maps, strict=True):
            yield member, Best(*best)

    @torch.no_grad()
    def stopping_loss(self) -> Tensor:
        """Mean squared error (L,) on each member's stopping rows."""
        loss = torch.zeros(len(self.members), device=self.table.device)
        for first in range(0, self.stop_rows.shape[1], _CHUNK):
            rows, shares = (of[:, first : first + _CHUNK] for of in (self.stop_rows, self.stop_shares))
            mos = self.network(self.table.inputs_of(rows))
            if self.maps is not None:
                mos = self.maps(mos, self.table.corpora_of(rows))
            loss += (shares * (mos - self.table.mos[rows]) ** 2).sum(1)
        return loss

    def silence(self, batch: Sequence[I64]) -> Tensor | None:
        """The dropout of one step for ``Members``, from each member's own randomness: 16 random bits a unit."""
        if not self.method.dropout:
            return None
        bits = np.zeros((2, len(batch), max(map(len, batch)), HIDDEN), dtype=np.int16)
        for i, (member, own) in enumerate(zip(self.members, batch, strict=True)):
            drawn = member.rng.bit_generator.random_raw(2 * len(own) * HIDDEN // 4)
            bits[:, i, : len(own)] = drawn.view(np.int16).reshape(2, len(own), HIDDEN)
        return silence_of(torch.from_numpy(bits).to(self.table.device), self.method.dropout)


def silence_of(bits: Tensor, share: float) -> Tensor:
    """``SILENT`` or below for the lowest ``share`` of 16-bit numbers, 0 for the others, in float32."""
    lowest_kept = round(share * 2**16) - 2**15
    # Arithmetic on floats: a comparison and a mask of its own take four times as long.
    return bits.float().sub_(lowest_kept).clamp_(max=0).mul_(-SILENT)


def loss_of(method: Method, predicted: Tensor, mos: Tensor, shares: Tensor) -> Tensor:
    """A step's loss, summed over members; all are (L, B), ``shares`` a row's share in its member's mean (0: no row)."""
    loss = (shares * (predicted - mos) ** 2).sum()
    if method.loss == "mse+plcc":
        # 1 − PLCC of each member's batch.
        p, m = (x - (shares * x).sum(1, keepdim=True) for x in (predicted, mos))
        variances = (shares * p * p).sum(1) * (shares * m * m).sum(1)
        loss = loss + (1 - (shares * p * m).sum(1) / (variances + _TINY).sqrt()).sum()
    elif method.loss == "mse+rank":
        # log(1 + exp(−(p_i − p_j) · sign(m_i − m_j))) over neighbours in a batch, whose order is random.
        p, order = predicted - predicted.roll(1, 1), (mos - mos.roll(1, 1)).sign()
        both = shares * shares.roll(1, 1).sign() * order.abs()
        loss = loss + (both * torch.nn.functional.softplus(-p * order)).sum()
    return loss
