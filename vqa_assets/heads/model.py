"""The head's network in torch, for many members at once. Importing this imports torch.

A member adds a linear skip and a residual MLP: ``mos = 1 + 4 · sigmoid(linear(x) + mlp(x))``. How members are trained
is in ``training``, and the same graph for onnxruntime in ``export``.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields

import numpy as np
import torch
from torch import Tensor, nn

from vqa_assets.heads.weights import CLIP, F32, MOS_LOW, MOS_SPAN, HeadWeights, MemberWeights, on_target_range

SILENT = -1e9
"""Added to a hidden unit before its ReLU, it silences the unit."""
_ROWS_AT_ONCE = 16_384


class Members(nn.Module):
    """L members side by side: the parameters of ``MemberWeights`` with a leading axis of members, biases (L, 1, out).

    ``mean`` and ``std`` (L, F) standardise each member's features; V encoders come after them.
    """

    hidden1: nn.Parameter
    bias1: nn.Parameter
    hidden2: nn.Parameter
    bias2: nn.Parameter
    hidden3: nn.Parameter
    bias3: nn.Parameter
    skip: nn.Parameter
    skip_bias: nn.Parameter
    mean: Tensor
    std: Tensor

    def __init__(self, members: Sequence[MemberWeights], mean: F32, std: F32, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout = dropout
        for field in fields(MemberWeights):
            stacked = np.stack([getattr(member, field.name) for member in members])
            rows = stacked if stacked.ndim == 3 else stacked[:, None, :]
            self.register_parameter(field.name, nn.Parameter(torch.from_numpy(rows)))
        # A one-hot is seen as it is: mean 0, SD 1.
        encoders = (len(members), self.skip.shape[1] - mean.shape[1])
        for name, of_features, of_encoders in (("mean", mean, np.zeros), ("std", std, np.ones)):
            both = np.hstack([of_features, of_encoders(encoders, dtype=np.float32)])
            self.register_buffer(name, torch.from_numpy(both[:, None, :]))

    def forward(self, inputs: Tensor, silence: Tensor | None = None) -> Tensor:
        """MOS (L, B) of raw inputs, (B, F + V) for all members or (L, B, F + V).

        ``silence`` (2, L, B, 64) is added to the units of the two hidden layers while training: ``SILENT`` or below
        where dropout takes a unit out, 0 elsewhere. It costs less than a mask: an addition leaves the gradient alone,
        and the ReLU after it stops what is silenced. What is left is scaled up in the next layer's weights, which are
        fewer than its units.
        """
        x = ((inputs - self.mean) / self.std).clamp(-CLIP, CLIP)
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

    def weights(self) -> list[MemberWeights]:
        """Each member's weights as plain arrays."""
        arrays = {name: parameter.detach().cpu().numpy() for name, parameter in self.named_parameters()}
        biases = {name for name, array in arrays.items() if "bias" in name}
        return [
            MemberWeights(**{name: (a[i, 0] if name in biases else a[i]).copy() for name, a in arrays.items()})
            for i in range(len(self.hidden1))
        ]


def predict(head: HeadWeights, features: F32, onehot: F32) -> F32:
    """The target (N,) of raw features (N, F) and one-hot (N, V), on the CPU; NaN where an input is not finite."""
    alike = (len(head.members), len(head.mean))
    members = Members(head.members, np.broadcast_to(head.mean, alike), np.broadcast_to(head.std, alike))
    parts = [np.empty(0, dtype=np.float32)]
    with torch.no_grad(), one_thread(len(features) < 2 * _ROWS_AT_ONCE):
        for first in range(0, len(features), _ROWS_AT_ONCE):
            part = slice(first, first + _ROWS_AT_ONCE)
            raw = torch.from_numpy(np.hstack([features[part], onehot[part]]))
            not_finite = (raw - raw).mean(-1)  # NaN where an input is not finite, else 0
            parts.append((members(raw).mean(0) + not_finite).numpy())
    return on_target_range(np.concatenate(parts), head.target)


@contextmanager
def one_thread(condition: bool = True) -> Iterator[None]:
    """One thread for torch, where handing work over costs more than it saves; restored after."""
    before = torch.get_num_threads()
    if condition:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
