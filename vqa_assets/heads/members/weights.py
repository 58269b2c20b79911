"""A trained head as plain arrays: what training hands to evaluation, export and manifest. No torch here."""

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vqa_assets.heads.recipe import ENCODER_VOCAB, MOS_TARGET, Target

if TYPE_CHECKING:  # all are made of the arrays that are named here
    from vqa_assets.heads.members.corpus_scales import CorpusScales
    from vqa_assets.heads.members.feature_map import FeatureMap
    from vqa_assets.heads.members.random_features import RandomFeatureRidge

F32 = NDArray[np.float32]
I64 = NDArray[np.int64]

HIDDEN = 64
CLIP = 4.0
"""Standardised features are clipped to ±4 SD."""
RIDGE_SHARE = 0.75
"""How much the ridge member counts beside the networks: better than a half on 13 of 17 kinds of generated tables."""
MOS_LOW, MOS_SPAN = 1.0, 4.0
"""mos = MOS_LOW + MOS_SPAN · sigmoid(…)."""


@dataclass(frozen=True)
class NetworkWeights:
    """One network, float32; I = Z mapped features + V encoders. Matrices are (in, out), vectors (out,)."""

    hidden1: F32
    bias1: F32
    hidden2: F32
    bias2: F32
    hidden3: F32
    bias3: F32
    skip: F32
    skip_bias: F32

    def named(self) -> Iterator[tuple[str, F32]]:
        """Each array with its name."""
        return ((f.name, getattr(self, f.name)) for f in fields(self))

    def arrays(self) -> Iterator[F32]:
        """The arrays alone."""
        return (array for _, array in self.named())


@dataclass(frozen=True)
class HeadWeights:
    """A head: the map of its training rows, its members, and each network's best epoch (0 = start).

    Members are networks, then one ridge on random features, or none where a method has none. The head is the mean of
    the networks' mean and the ridge member, which counts ``RIDGE_SHARE``; a helped one is the mean of that and of what
    its ``help`` says. Members are trained on 1–5; the head's scores are on the range of its ``target``. ``scales`` are
    what a head of several corpora learned of theirs; its own scores are then on the reference's.
    """

    map: "FeatureMap"
    networks: tuple[NetworkWeights, ...]
    ridge: "RandomFeatureRidge | None"
    best_epochs: tuple[int, ...]
    target: Target = MOS_TARGET
    scales: "CorpusScales | None" = None
    help: "Assistance | None" = None

    @property
    def alone(self) -> "HeadWeights":
        """The same head without its help."""
        return replace(self, help=None)

    @property
    def shares(self) -> F32:
        """How much each member counts (M,), the ridge member last: ``RIDGE_SHARE``, and the networks the rest alike.

        Of a helped head its own members come first, then those that learned what the helper leaves; each half counts
        the same.
        """
        count = len(self.networks)
        ridge = [] if self.ridge is None else [RIDGE_SHARE]
        own = np.array([(1 - sum(ridge)) / count] * count + ridge, dtype=np.float32)
        return own if self.help is None else np.concatenate([own, self.help.rest.shares]) * np.float32(0.5)

    @property
    def n_parameters(self) -> int:
        """Trained numbers over all members; the map and what was drawn at random are not among them."""
        ridge = 0 if self.ridge is None else self.ridge.weights.size + 1
        own = ridge + sum(int(a.size) for network in self.networks for a in network.arrays())
        return own if self.help is None else own + self.help.helper.n_parameters + self.help.rest.n_parameters + 2


@dataclass(frozen=True)
class OnnxHelper:
    """Another head as its file: it reads the same columns, and gives the score of the same name."""

    onnx: bytes
    id: str
    sha256: str
    n_parameters: int


@dataclass(frozen=True)
class Assistance:
    """What a helper adds to a head: ``slope · helper + intercept + rest``, cut to the range of the head's target.

    ``rest`` is a second own head, of what the line leaves of the scores; its ``target`` has the range of that.
    """

    helper: HeadWeights | OnnxHelper
    slope: float
    intercept: float
    rest: HeadWeights


def standardisation(features: F32) -> tuple[F32, F32]:
    """Mean and population SD (F,) of rows (N, F); a constant column has SD 1."""
    wide = features.astype(np.float64)
    std = np.where(np.ptp(wide, axis=0) > 0, wide.std(axis=0), 1.0)
    return wide.mean(axis=0).astype(np.float32), std.astype(np.float32)


def standardised(features: F32, mean: F32, std: F32) -> F32:
    """Features (N, F) standardised: ``(x − mean) / std``, clipped."""
    clipped: F32 = np.clip((features - mean) / std, -CLIP, CLIP)
    return clipped


def on_training_range(scores: F32, target: Target) -> F32:
    """Scores (N,) of a target on the range that members are trained on, 1–5."""
    if target == MOS_TARGET:
        return scores
    mapped: F32 = (MOS_LOW + (scores - target.low) * (MOS_SPAN / target.span)).astype(np.float32)
    return mapped


def on_target_range(scores: F32, target: Target) -> F32:
    """The reverse of ``on_training_range``."""
    if target == MOS_TARGET:
        return scores
    mapped: F32 = (target.low + (scores - MOS_LOW) * (target.span / MOS_SPAN)).astype(np.float32)
    return mapped


def encoder_onehot(rows: int) -> F32:
    """(rows, V): every clip of today's corpora is ``ugc-mixed``."""
    return np.ones((rows, len(ENCODER_VOCAB)), dtype=np.float32)
