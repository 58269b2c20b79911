"""From single raters' votes to one score a clip: the plain mean, ITU-R BT.500's screening, and bias and inconsistency.

Votes are on one scale and of one experiment; which column is a vote, and on what scale, is in ``scores``.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vqa_assets.corpora.opinions import ci95_half_width
from vqa_assets.labels.settings import VoteModel

_NORMAL_KURTOSIS = (2.0, 4.0)
_NORMAL_LIMIT, _OTHER_LIMIT = 2.0, float(np.sqrt(20.0))
"""How many SDs off a clip's mean a vote is an outlier: of votes that look normal by their kurtosis, and of others."""
_OUTLIERS_LIMIT, _ONE_SIDED_LIMIT = 0.05, 0.3
_LEAST_VOTES = 3
"""With fewer votes of a rater, bias and inconsistency say nothing."""
_LEAST_INCONSISTENCY = 0.25
"""A rater's inconsistency is at least this share of the common one. Likelihood grows without bound where one rater is
taken to be exact and all clips follow that rater's votes, which is what it comes to with few votes a clip."""
_ROUNDS, _SETTLED = 1_000, 1e-8
_Z95 = 1.959963984540054

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]


@dataclass(frozen=True)
class Votes:
    """V votes of one experiment: ``vote`` of the rater with number ``rater`` on the clip with number ``clip``."""

    vote: F64
    rater: I64
    clip: I64

    def only(self, kept: NDArray[np.bool_]) -> "Votes":
        """The votes that are ``kept`` (V,); raters and clips keep their numbers."""
        return Votes(self.vote[kept], self.rater[kept], self.clip[kept])


@dataclass(frozen=True)
class ClipScores:
    """Per clip number (C,): the score, the SD of its votes, how many these are, half the width of its 95 % interval.

    A clip without votes has NaN and 0; a single vote has SD 0 and no interval (NaN). ``raters_left_out`` are numbers of
    raters whose votes do not count. ``at_an_end`` counts clips whose score a model put off the scale: it stands at the
    scale's end.
    """

    score: F64
    sd: F64
    count: I64
    ci95: F64
    raters_left_out: I64
    at_an_end: int = 0


@dataclass(frozen=True)
class VoteCounts:
    """What became of one label file's raters and votes; ``clips_without_score`` have none that counts."""

    model: VoteModel
    raters: int = 0
    raters_left_out: int = 0
    votes: int = 0
    votes_left_out: int = 0
    clips_without_score: int = 0
    scores_at_an_end: int = 0

    def plus(self, other: "VoteCounts") -> "VoteCounts":
        """Both together."""
        sums = {name: n + getattr(other, name) for name, n in asdict(self).items() if name != "model"}
        return VoteCounts(self.model, **sums)

    def as_dict(self) -> dict[str, Any]:
        """The counts for a manifest."""
        return asdict(self)


def scores_of(votes: Votes, clips: int, raters: int, model: VoteModel, scale: tuple[float, float]) -> ClipScores:
    """The scores of ``clips`` clips by a model; ``scale`` is where the scale of the votes begins and ends."""
    if model == "bias":
        return _corrected(votes, clips, raters, scale)
    rejected = _rejected(votes, clips, raters) if model == "bt500" else np.zeros(raters, dtype=bool)
    return _plain(votes.only(~rejected[votes.rater]), clips, np.flatnonzero(rejected))


def _plain(votes: Votes, clips: int, left_out: I64) -> ClipScores:
    count = np.bincount(votes.clip, minlength=clips)
    mean = _means(votes.vote, votes.clip, clips)
    sd = _sample_sd(votes.vote, votes.clip, clips)
    # Student's t per count, not per clip: there are few counts and many clips
    half_widths = {int(n): ci95_half_width(1.0, int(n)) for n in np.unique(count) if n > 1}
    factor = np.array([half_widths.get(int(n), np.nan) for n in count])
    return ClipScores(mean, sd, count, factor * sd, left_out)


def _rejected(votes: Votes, clips: int, raters: int) -> NDArray[np.bool_]:
    """The raters (R,) that are screened out, once: those with many outliers on both sides of the clips' means.

    Source: Recommendation ITU-R BT.500, the screening of observers by the kurtosis of each presentation's votes. The
    share of outliers is of the rater's own votes, so that nobody is safe by having seen little.
    """
    centre = _means(votes.vote, votes.clip, clips)
    apart = votes.vote - centre[votes.clip]
    sd = _sample_sd(votes.vote, votes.clip, clips)
    second, fourth = (_means(apart**power, votes.clip, clips) for power in (2, 4))
    with np.errstate(invalid="ignore", divide="ignore"):
        kurtosis = fourth / second**2
    normal = (kurtosis >= _NORMAL_KURTOSIS[0]) & (kurtosis <= _NORMAL_KURTOSIS[1])
    limit = np.where(normal, _NORMAL_LIMIT, _OTHER_LIMIT) * sd
    # Where all agree every vote is at the limit, and none of them an outlier.
    differs = second[votes.clip] > 0
    above, below = (
        np.bincount(votes.rater[differs & outlier], minlength=raters)
        for outlier in (apart >= limit[votes.clip], apart <= -limit[votes.clip])
    )
    outliers, own = above + below, np.bincount(votes.rater, minlength=raters)
    with np.errstate(invalid="ignore", divide="ignore"):
        rejected: NDArray[np.bool_] = (outliers / own > _OUTLIERS_LIMIT) & (
            np.abs(above - below) / outliers < _ONE_SIDED_LIMIT
        )
    return rejected


def _corrected(votes: Votes, clips: int, raters: int, scale: tuple[float, float]) -> ClipScores:
    """Scores ψ of ``vote = ψ[clip] + bias[rater] + inconsistency[rater] · noise``, by maximum likelihood.

    Source: Li, Bampis, Krasula, Janowski, Le Callet, *A Simple Model for Subject Behavior in Subjective Experiments*,
    2020 (the alternating projection of ITU-T P.913 and P.910, and of sureal), after Li and Bampis. Biases have mean
    0 among the raters whom common clips connect: without a common clip two groups of raters cannot be compared. Raters
    of under three votes are left out.
    """
    left_out = np.flatnonzero(np.bincount(votes.rater, minlength=raters) < _LEAST_VOTES)
    used = votes.only(~np.isin(votes.rater, left_out))
    clip, rater, vote = used.clip, used.rater, used.vote
    count = np.bincount(clip, minlength=clips)
    score = _means(vote, clip, clips)
    bias = _means(vote - score[clip], rater, raters)
    weight = np.ones(raters)
    for _ in range(_ROUNDS):
        apart = vote - score[clip] - bias[rater]
        spread = np.sqrt(_means((apart - _means(apart, rater, raters)[rater]) ** 2, rater, raters))
        least = _LEAST_INCONSISTENCY * float(apart.std()) if apart.size else 0.0
        if not least:  # nobody differs from the others by more than a bias
            break
        weight = np.fmax(spread, least) ** -2.0
        before, score = score, _means(vote - bias[rater], clip, clips, weight[rater])
        bias = _means(vote - score[clip], rater, raters)
        if np.nansum((score - before) ** 2) < _SETTLED**2:
            break
    shift = _mean_bias_of_connected(used, bias, clips)
    bias, score = bias - shift[clips:], score + shift[:clips]
    within = np.clip(score, *scale)
    total = np.bincount(clip, weight[rater], minlength=clips)
    with np.errstate(divide="ignore"):
        ci95 = np.where(count > 1, _Z95 / np.sqrt(total), np.nan)
    sd = _sample_sd(vote - bias[rater], clip, clips)
    at_an_end = int(np.sum(np.abs(score - within) > _SETTLED))
    return ClipScores(within, sd, count, ci95, left_out, at_an_end)


def _mean_bias_of_connected(votes: Votes, bias: F64, clips: int) -> F64:
    """Per clip and then per rater (C + R,), the mean bias of the raters whom clips in common connect with it."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    nodes = clips + len(bias)
    edges = coo_array((np.ones(len(votes.clip)), (votes.clip, clips + votes.rater)), shape=(nodes, nodes))
    groups, group = connected_components(edges, directed=False)
    known = np.isfinite(bias)
    mean: F64 = _means(bias[known], group[clips:][known], groups)[group]
    return np.nan_to_num(mean)


def _means(values: F64, of: I64, size: int, weights: F64 | None = None) -> F64:
    """The (weighted) mean of the values of each number in 0 … size − 1; NaN where there is none."""
    weights = np.ones_like(values) if weights is None else weights
    with np.errstate(invalid="ignore", divide="ignore"):
        means: F64 = np.bincount(of, values * weights, minlength=size) / np.bincount(of, weights, minlength=size)
    return means


def _sample_sd(values: F64, of: I64, size: int) -> F64:
    """The sample SD of the values of each number; 0 of a single one, NaN of none."""
    count = np.bincount(of, minlength=size)
    squares = np.bincount(of, (values - _means(values, of, size)[of]) ** 2, minlength=size)
    sd: F64 = np.where(count > 0, np.sqrt(squares / np.maximum(count - 1, 1)), np.nan)
    return sd
