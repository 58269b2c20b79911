"""A head's members in torch: many networks at once, and the ridge member. Importing this imports torch.

A network adds a linear skip and a residual MLP: ``mos = 1 + 4 · sigmoid(linear(z) + mlp(z))``. How networks are trained
is in ``training``, the ridge member's fit in ``random_features``, the map to z in ``feature_map``, and the same graph
for onnxruntime in ``export``.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import fields
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vqa_assets.heads.members.random_features import RandomFeatureRidge
from vqa_assets.heads.members.weights import (
    F32,
    MOS_LOW,
    MOS_SPAN,
    HeadWeights,
    NetworkWeights,
    OnnxHelper,
    on_target_range,
)

SILENT = -1e9
"""Added to a hidden unit before its ReLU, it silences the unit."""
ROWS_AT_ONCE = 2_048
"""Rows that one thread scores at once: their random features are 32 MB."""


class Members(nn.Module):
    """L networks side by side: the parameters of ``NetworkWeights`` with a leading axis of networks, biases
    (L, 1, out)."""

    hidden1: nn.Parameter
    bias1: nn.Parameter
    hidden2: nn.Parameter
    bias2: nn.Parameter
    hidden3: nn.Parameter
    bias3: nn.Parameter
    skip: nn.Parameter
    skip_bias: nn.Parameter

    def __init__(self, members: Sequence[NetworkWeights], dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout = dropout
        for field in fields(NetworkWeights):
            stacked = np.stack([getattr(member, field.name) for member in members])
            rows = stacked if stacked.ndim == 3 else stacked[:, None, :]
            self.register_parameter(field.name, nn.Parameter(torch.from_numpy(rows)))

    def forward(self, inputs: Tensor, silence: Tensor | None = None) -> Tensor:
        """MOS (L, B) of mapped inputs, (B, Z + V) for all networks or (L, B, Z + V).

        ``silence`` (2, L, B, 64) is added to the units of the two hidden layers while training: ``SILENT`` or below
        where dropout takes a unit out, 0 elsewhere. It costs less than a mask: an addition leaves the gradient alone,
        and the ReLU after it stops what is silenced. What is left is scaled up in the next layer's weights, which are
        fewer than its units.
        """
        x = inputs.expand(len(self.hidden1), *inputs.shape[-2:])
        one = torch.baddbmm(self.bias1, x, self.hidden1)
        scale = 1.0
        if silence is not None:
            one, scale = one.add_(silence[0]), 1 / (1 - self.dropout)
        two = torch.baddbmm(self.bias2, one.relu_(), self.hidden2 * scale)
        if silence is not None:
            two = two.add_(silence[1])
        residual = torch.baddbmm(self.bias3, two.relu_(), self.hidden3 * scale)
        linear = torch.baddbmm(self.skip_bias, x, self.skip)
        return MOS_LOW + MOS_SPAN * (residual + linear).squeeze(-1).sigmoid()

    def weights(self) -> list[NetworkWeights]:
        """Each member's weights as plain arrays."""
        arrays = {name: parameter.detach().cpu().numpy() for name, parameter in self.named_parameters()}
        biases = {name for name, array in arrays.items() if "bias" in name}
        return [
            NetworkWeights(**{name: (a[i, 0] if name in biases else a[i]).copy() for name, a in arrays.items()})
            for i in range(len(self.hidden1))
        ]


def predict(head: HeadWeights, features: F32, onehot: F32) -> F32:
    """The target (N,) of raw features (N, F) and one-hot (N, V), on the CPU; NaN where an input is not finite."""
    scores: F32 = member_scores(head, features, onehot) @ head.shares
    return scores


def member_scores(head: HeadWeights, features: F32, onehot: F32) -> F32:
    """What each member says (N, M) of rows as of ``predict``: the networks, then the ridge member where there is one.

    Of a helped head those that learned what the helper leaves come after, each with the helper's line. On the range of
    the head's target, NaN where an input of the row is not finite.
    """
    own = _own_scores(head, features, onehot)
    if head.help is None:
        return own
    line = np.float32(head.help.slope) * helper_scores(head.help.helper, features, onehot)
    line += np.float32(head.help.intercept)
    helped = line[:, None] + _own_scores(head.help.rest, features, onehot)
    return np.hstack([own, np.clip(helped, head.target.low, head.target.low + head.target.span)])


def helper_scores(helper: HeadWeights | OnnxHelper, features: F32, onehot: F32) -> F32:
    """A helper's scores (N,) of rows as of ``predict``."""
    if isinstance(helper, HeadWeights):
        return predict(helper, features, onehot)
    from vqa_assets.heads.members.export import run_onnx

    return run_onnx(helper.onnx, features, onehot)


def _own_scores(head: HeadWeights, features: F32, onehot: F32) -> F32:
    networks = Members(head.networks)
    ridge = None if head.ridge is None else _Ridge(head.ridge)

    def scored(first: int) -> F32:
        own = features[first : first + ROWS_AT_ONCE], onehot[first : first + ROWS_AT_ONCE]
        z = head.map.inputs(*own)
        z[~np.isfinite(np.hstack(own)).all(1)] = np.nan
        with torch.no_grad():
            mos = [networks(torch.from_numpy(z)).T]
            if ridge is not None:
                mos.append(ridge(torch.from_numpy(z))[:, None])
        return torch.cat(mos, 1).numpy()

    firsts = range(0, len(features), ROWS_AT_ONCE)
    if not firsts:
        return np.empty((0, len(head.alone.shares)), dtype=np.float32)
    # Each thread computes on its own, so that the bytes do not depend on how many there are.
    workers = min(len(firsts), torch.get_num_threads())
    with one_thread():
        if workers == 1:
            parts = [scored(first) for first in firsts]
        else:
            with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
                parts = list(pool.map(scored, firsts))
    return on_target_range(np.concatenate(parts), head.target)


class _Ridge:
    """The ridge member in torch: MOS (N,) on 1–5 of mapped inputs (N, Z + V)."""

    def __init__(self, ridge: RandomFeatureRidge) -> None:
        self.directions, self.shifts, self.weights = (
            torch.from_numpy(array) for array in (ridge.scaled_directions, ridge.shifts, ridge.weights[:, None])
        )
        self.bias = torch.tensor([ridge.bias], dtype=torch.float32)

    def __call__(self, inputs: Tensor) -> Tensor:
        features = torch.addmm(self.shifts, inputs, self.directions).relu_()
        return torch.addmm(self.bias, features, self.weights).squeeze(1).clamp(MOS_LOW, MOS_LOW + MOS_SPAN)


@contextmanager
def one_thread() -> Iterator[None]:
    """One thread for torch and for numpy's and scipy's algebra, restored after.

    So the same numbers come out whatever the number of cores, and threads of several works never fight.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with _algebra().limit(limits=1, user_api="blas"):
            yield
    finally:
        torch.set_num_threads(before)


@cache
def _algebra() -> Any:
    import scipy.linalg  # noqa: F401 — brings its own library of linear algebra, which must be there to be limited
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()
