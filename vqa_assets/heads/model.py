"""The head's architecture in torch, for many members at once. Importing this imports torch.

A member adds a linear skip and a residual MLP: ``mos = 1 + 4 · sigmoid(linear(x) + mlp(x))``. Every parameter has a
leading axis of members, L. How members are trained is in ``lanes``; the same graph for onnxruntime is in ``export``.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from vqa_assets.heads.weights import CLIP, F32, MOS_LOW, MOS_SPAN, HeadWeights, MemberWeights, on_target_range

_CHUNK = 16_384


def stacked(members: Sequence[MemberWeights], device: torch.device) -> list[Tensor]:
    """The eight parameters, each with a leading axis of members; biases as (L, 1, out)."""
    columns = zip(*(member.arrays() for member in members), strict=True)
    arrays = (np.stack(column) for column in columns)
    return [torch.from_numpy(a if a.ndim == 3 else a[:, None, :]).to(device) for a in arrays]


def unstacked(parameters: Sequence[Tensor]) -> list[MemberWeights]:
    """The reverse of ``stacked``."""
    arrays = [p.detach().cpu().numpy() for p in parameters]
    flat = [a[:, 0, :] if i % 2 else a for i, a in enumerate(arrays)]
    return [MemberWeights(*(np.ascontiguousarray(a[member]) for a in flat)) for member in range(len(flat[0]))]


def inputs(features: Tensor, onehot: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """What members see, (…, F + V): features standardised and clipped, beside the one-hot."""
    return torch.cat([((features - mean) / std).clamp(-CLIP, CLIP), onehot], dim=-1)


class Dropped(NamedTuple):
    """Dropout of one step: which units of the two hidden layers are silenced (L, B, 64), and the share that is."""

    first: Tensor
    second: Tensor
    share: float


def forward(parameters: Sequence[Tensor], x: Tensor, dropped: Dropped | None = None) -> Tensor:
    """MOS (L, B) of inputs (L, B, F + V); ``dropped`` while training.

    A unit is silenced before its ReLU, in place, and what is left is scaled up in the next layer's weights: the same
    as dropout after the ReLU, at half the memory traffic.
    """
    hidden1, bias1, hidden2, bias2, hidden3, bias3, skip, skip_bias = parameters
    first, second, share = dropped or (None, None, 0.0)
    scale = 1 / (1 - share)
    h = _hidden(torch.baddbmm(bias1, x, hidden1), first)
    h = _hidden(torch.baddbmm(bias2, h, hidden2 * scale), second)
    summed = torch.baddbmm(bias3, h, hidden3 * scale) + torch.baddbmm(skip_bias, x, skip)
    return MOS_LOW + MOS_SPAN * torch.sigmoid(summed.squeeze(-1))


def _hidden(summed: Tensor, dropped: Tensor | None) -> Tensor:
    if dropped is not None:
        summed.detach().masked_fill_(dropped, 0.0)  # unrecorded: the ReLU's own gradient is 0 there already
    return summed.relu_()


def predict(head: HeadWeights, features: F32, onehot: F32) -> F32:
    """The target (N,) of raw features (N, F) and one-hot (N, V), on the CPU; NaN where an input is not finite."""
    parameters = stacked(head.members, torch.device("cpu"))
    mean, std = torch.from_numpy(head.mean), torch.from_numpy(head.std)
    parts = [np.empty(0, dtype=np.float32)]
    with torch.no_grad(), threads(len(features)):
        for first in range(0, len(features), _CHUNK):
            f = torch.from_numpy(np.ascontiguousarray(features[first : first + _CHUNK]))
            o = torch.from_numpy(np.ascontiguousarray(onehot[first : first + _CHUNK]))
            x = inputs(f, o, mean, std).expand(len(head.members), -1, -1)
            parts.append((forward(parameters, x).mean(0) + (f - f).mean(-1) + (o - o).mean(-1)).numpy())
    return on_target_range(np.concatenate(parts), head.target)


def threads(rows: int) -> AbstractContextManager[None]:
    """One thread for a small number of rows, where handing work over costs more than it saves; restored after."""
    return _threads(1 if rows < 2 * _CHUNK else torch.get_num_threads())


@contextmanager
def _threads(wanted: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(wanted)
    try:
        yield
    finally:
        torch.set_num_threads(before)
