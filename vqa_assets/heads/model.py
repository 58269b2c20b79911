"""The head's architecture in torch, for many members at once. Importing this imports torch.

A member adds a linear skip and a residual MLP: ``mos = 1 + 4 · sigmoid(linear(x) + mlp(x))``. Every parameter has a
leading axis of members, L. The formula itself is in ``passes``, how members are trained in ``lanes``, and the same
graph for onnxruntime in ``export``.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager

import numpy as np
import torch
from torch import Tensor

from vqa_assets.heads.passes import Passes
from vqa_assets.heads.weights import CLIP, F32, HeadWeights, MemberWeights, on_target_range, with_onehot

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


def shaped(flat: Tensor, like: Sequence[Tensor]) -> list[Tensor]:
    """Views of ``flat`` (L, numbers of a member) in the shapes of ``like``, whose leading axis is L."""
    sizes = [p[0].numel() for p in like]
    return [part.view(p.shape) for part, p in zip(torch.split(flat, sizes, 1), like, strict=True)]


def seen(x: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Inputs (…, F + V) as members see them, in place: standardised and clipped; a one-hot has mean 0 and SD 1."""
    return x.sub_(mean).div_(std).clamp_(-CLIP, CLIP)


def predict(head: HeadWeights, features: F32, onehot: F32) -> F32:
    """The target (N,) of raw features (N, F) and one-hot (N, V), on the CPU; NaN where an input is not finite."""
    parameters = stacked(head.members, torch.device("cpu"))
    mean, std = (torch.from_numpy(a) for a in with_onehot(head.mean, head.std, onehot.shape[1]))
    passes = Passes(len(head.members), min(_CHUNK, len(features)), torch.device("cpu"))
    parts = [np.empty(0, dtype=np.float32)]
    with torch.no_grad(), threads(len(features)):
        for first in range(0, len(features), _CHUNK):
            part = slice(first, first + _CHUNK)
            raw = torch.from_numpy(np.hstack([features[part], onehot[part]]))
            unknown = (raw - raw).mean(-1)  # 0, or NaN where an input is not finite
            x = seen(raw, mean, std).expand(len(head.members), -1, -1)
            parts.append((passes.forward(parameters, x).mean(0) + unknown).numpy())
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
