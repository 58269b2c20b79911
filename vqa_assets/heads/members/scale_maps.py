"""The maps from one scale to those of several corpora in torch, learned with the networks. Importing imports torch.

What a map is, and where learning begins, is in ``corpus_scales``.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from vqa_assets.heads.members.corpus_scales import FLATTEST, KNOTS, STEEPEST, STEPS, CorpusScales
from vqa_assets.heads.members.weights import F32, MOS_SPAN

RATE_TIMES = 20.0
"""A map's numbers learn so many times faster than a network's: few rows are few steps, and a scale may be far off."""
RANK_TIMES = 1.0
"""A pair in the wrong order by one MOS costs so much more than a score that is one MOS off."""
_WIDTH = MOS_SPAN / STEPS
_MIDDLE = STEPS // 2
_SMOOTHNESS = 2.0
"""Rows' worth of squared error that an e-fold change of slope from piece to piece costs: few rows give a line."""


class ScaleMaps(nn.Module):
    """L members' maps of C corpora: ``middle`` (L, C, 1) is what 3 becomes, ``log_slopes`` (L, C, 8) how it rises.

    Slopes are positive, so a map rises everywhere. ``learns`` (L, C, 1) is 0 for the reference, which is the identity.
    """

    learns: Tensor
    knots: Tensor
    per_row: Tensor

    def __init__(self, starts: Sequence[CorpusScales], rows: Sequence[int]) -> None:
        """Of each member where its maps begin, and how many rows it is fitted on."""
        super().__init__()
        values = np.stack([start.values for start in starts]).astype(np.float64)
        self.is_seen = np.isfinite(values[:, :, :1])
        # A corpus that the member does not see has no map, and nothing that moves one.
        values = np.where(self.is_seen, values, KNOTS)
        slopes = np.clip(np.diff(values) / _WIDTH, FLATTEST, STEEPEST)
        self.log_slopes = nn.Parameter(torch.from_numpy(np.log(slopes).astype(np.float32)))
        self.middle = nn.Parameter(torch.from_numpy(values[:, :, _MIDDLE, None].astype(np.float32)))
        learns = np.ones((*values.shape[:2], 1), dtype=np.float32)
        learns[np.arange(len(starts)), self.is_seen[:, :, 0].argmax(axis=1)] = 0
        self.register_buffer("learns", torch.from_numpy(learns))
        self.register_buffer("knots", torch.from_numpy(KNOTS[:-1].astype(np.float32)))
        self.register_buffer("per_row", torch.tensor([1 / max(1, n) for n in rows])[:, None, None])

    def forward(self, mos: Tensor, corpora: Tensor) -> Tensor:
        """Scores (L, B) of the reference scale on the scale of each row's corpus, one-hot in (L, B, C).

        Sums of ramps over products with the one-hot: no gather, whose gradient has no order on a GPU.
        """
        lowest, rises = self._pieces()
        own = torch.bmm(corpora, torch.cat([lowest, rises], dim=2))
        ramps = ((mos[:, :, None] - self.knots) / _WIDTH).clamp(0, 1)
        return own[:, :, 0] + (own[:, :, 1:] * ramps).sum(2)

    def roughness(self) -> Tensor:
        """What maps that bend cost, over members: added to the loss."""
        bends = self._log_slopes().diff(dim=2)
        return (_SMOOTHNESS * self.per_row * bends**2).sum()

    def values(self) -> F32:
        """(L, C, 9): what the knots become; NaN for a corpus that the member does not see."""
        with torch.no_grad():
            lowest, rises = self._pieces()
            values = torch.cat([lowest, lowest + rises.cumsum(2)], dim=2).cpu().numpy()
        return np.where(self.is_seen, values, np.float32(np.nan))

    def _log_slopes(self) -> Tensor:
        return (self.log_slopes * self.learns).clamp(np.log(FLATTEST), np.log(STEEPEST))

    def _pieces(self) -> tuple[Tensor, Tensor]:
        """What the lowest knot becomes (L, C, 1), and how far each piece rises (L, C, 8)."""
        rises = self._log_slopes().exp() * _WIDTH
        of_reference = KNOTS[_MIDDLE]
        middle = of_reference + (self.middle - of_reference) * self.learns
        return middle - rises[:, :, :_MIDDLE].sum(2, keepdim=True), rises


def rank_loss(mos: Tensor, scores: Tensor, corpora: Tensor, shares: Tensor) -> Tensor:
    """What pairs of one corpus in the wrong order cost, in MOS, over members; all are (L, B), ``corpora`` (L, B, C).

    max(0, −(p − p′) · sign(m − m′)) over neighbours in a batch (Li et al. 2021), whose rows come by corpus and, within
    one, in random order.
    """
    apart, order = mos - mos.roll(1, 1), (scores - scores.roll(1, 1)).sign()
    alike = (corpora * corpora.roll(1, 1)).sum(2)
    counts = shares * shares.roll(1, 1).sign() * alike
    return (counts * torch.relu(-apart * order)).sum()
