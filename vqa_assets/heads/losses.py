"""The losses a step can lower, over many lanes at once. Importing this imports torch."""

import torch
from torch import Tensor

from vqa_assets.heads.method import Method

_TINY = 1e-8


def loss_of(method: Method, predicted: Tensor, mos: Tensor, shares: Tensor) -> Tensor:
    """A step's loss, summed over lanes; all are (L, B), ``shares`` a row's share in its lane's mean, 0 for no row."""
    squared = (shares * (predicted - mos) ** 2).sum()
    if method.loss == "mse":
        return squared
    return squared + (_unlike if method.loss == "mse+plcc" else _disorder)(predicted, mos, shares)


def _unlike(predicted: Tensor, mos: Tensor, shares: Tensor) -> Tensor:
    """1 − PLCC of each lane's batch."""
    p, m = (x - (shares * x).sum(1, keepdim=True) for x in (predicted, mos))
    variances = (shares * p * p).sum(1) * (shares * m * m).sum(1)
    likeness = (shares * p * m).sum(1) / (variances + _TINY).sqrt()
    return ((1 - likeness) * (shares[:, 0] > 0)).sum()


def _disorder(predicted: Tensor, mos: Tensor, shares: Tensor) -> Tensor:
    """log(1 + exp(−(p_i − p_j) · sign(m_i − m_j))) over neighbours in a batch, whose order is random."""
    p, order = predicted - predicted.roll(1, 1), (mos - mos.roll(1, 1)).sign()
    both = shares * shares.roll(1, 1).sign() * order.abs()
    return (both * torch.nn.functional.softplus(-p * order)).sum()
