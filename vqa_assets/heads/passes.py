"""Forward and backward passes of many members at once, written out. Importing this imports torch.

Autograd makes every layer's arrays anew in every step, and on a processor memory that is touched for the first time
costs more than the arithmetic on it. Here arrays are made once and used again.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from vqa_assets.heads.weights import HIDDEN, MOS_LOW, MOS_SPAN

NOISE = 2**15


class Dropped(NamedTuple):
    """Dropout of one step: noise for the units of the two hidden layers (L, B, 64), and the share that is silenced.

    Noise is whole numbers from −32 768 to 32 767, each as likely, in float32; the lowest are silenced.
    """

    first: Tensor
    second: Tensor
    share: float

    @property
    def lowest_kept(self) -> int:
        """Units of less noise are silenced."""
        return round(self.share * 2 * NOISE) - NOISE


class Passes:
    """Passes of L members over at most ``rows`` rows each; a pass's results stand until the next one.

    ``parameters`` are the eight of ``model.stacked``; inputs are (L, B, I) with B up to ``rows``.
    """

    def __init__(self, lanes: int, rows: int, device: torch.device) -> None:
        self._first, self._second = (torch.empty(lanes * rows * HIDDEN, device=device) for _ in range(2))
        self._slopes: Tensor | None = None
        self._share = 0.0

    def forward(self, parameters: Sequence[Tensor], x: Tensor, dropped: Dropped | None = None) -> Tensor:
        """MOS (L, B); ``dropped`` while training.

        A unit is silenced in place, and what is left is scaled up in the next layer's weights, which are fewer.
        """
        hidden1, bias1, hidden2, bias2, hidden3, bias3, skip, skip_bias = parameters
        self._share = dropped.share if dropped else 0.0
        scale = 1 / (1 - self._share)
        one, two = _shaped(self._first, x), _shaped(self._second, x)
        torch.baddbmm(bias1, x, hidden1, out=one).relu_()
        if dropped:
            _zero(one, dropped.first, dropped.lowest_kept)
        torch.baddbmm(bias2, one, hidden2 * scale, out=two).relu_()
        if dropped:
            _zero(two, dropped.second, dropped.lowest_kept)
        summed = torch.baddbmm(bias3, two, hidden3 * scale).baddbmm_(x, skip).add_(skip_bias)
        return summed.squeeze(-1).sigmoid_().mul_(MOS_SPAN).add_(MOS_LOW)

    def backward(
        self, parameters: Sequence[Tensor], x: Tensor, mos: Tensor, slope: Tensor, into: Sequence[Tensor]
    ) -> None:
        """Writes into ``into`` the gradients of a loss whose derivative by ``mos`` is ``slope`` (L, B).

        ``x`` and ``parameters`` are those of the last ``forward``, ``mos`` is what it gave; its hidden layers are
        written over.
        """
        _, _, hidden2, _, hidden3, _, _, _ = parameters
        scale = 1 / (1 - self._share)
        one, two = _shaped(self._first, x), _shaped(self._second, x)
        if self._slopes is None:
            self._slopes = torch.empty_like(self._first)
        below = _shaped(self._slopes, x)
        summed = (slope * (mos - MOS_LOW) * (MOS_LOW + MOS_SPAN - mos) / MOS_SPAN).unsqueeze(-1)
        inputs = x.transpose(1, 2)

        torch.bmm(two.transpose(1, 2), summed, out=into[4]).mul_(scale)
        torch.sum(summed, 1, keepdim=True, out=into[5])
        torch.bmm(inputs, summed, out=into[6])
        into[7].copy_(into[5])

        torch.bmm(summed, (hidden3 * scale).transpose(1, 2), out=below)
        _through_relu(below, two)
        torch.bmm(one.transpose(1, 2), below, out=into[2]).mul_(scale)
        torch.sum(below, 1, keepdim=True, out=into[3])

        torch.bmm(below, (hidden2 * scale).transpose(1, 2), out=two)
        _through_relu(two, one)
        torch.bmm(inputs, two, out=into[0])
        torch.sum(two, 1, keepdim=True, out=into[1])


def _shaped(memory: Tensor, x: Tensor) -> Tensor:
    """The beginning of ``memory`` as a hidden layer (L, B, 64) for these inputs."""
    lanes, rows, _ = x.shape
    return memory[: lanes * rows * HIDDEN].view(lanes, rows, HIDDEN)


def _zero(values: Tensor, by: Tensor, least: float) -> None:
    """Zeroes ``values`` in place where ``by``, whole numbers, is below ``least``: what ``threshold_backward`` does.

    A mask of its own takes three times as long to make and to apply.
    """
    torch.ops.aten.threshold_backward.grad_input(values, by, least - 1, grad_input=values)


def _through_relu(slope: Tensor, layer: Tensor) -> None:
    """``slope`` where the layer let something through, 0 elsewhere, in place."""
    torch.ops.aten.threshold_backward.grad_input(slope, layer, 0, grad_input=slope)
