"""Made-up opinion scores: a documented function of the damage done to a clip, rated by simulated people.

These scores are no opinions of anybody. They follow the damage, so that a head has something to learn.
"""

import statistics
from dataclasses import dataclass

import numpy as np

BEST, WORST = 4.7, 1.2
RATER_BIAS_SD, VOTE_SD = 0.35, 0.7
FEWEST_RATERS, MOST_RATERS = 8, 40


@dataclass(frozen=True)
class Damage:
    """What was done to a clip: codec and CRF, blur (σ in pixels), grain (SD in 8-bit levels), height in pixels."""

    codec: str
    crf: int
    blur_px: float
    grain_sd: float
    height: int


@dataclass(frozen=True)
class Rating:
    """Mean, sample SD and number of whole votes from 1 to 5."""

    mos: float
    sd: float
    count: int


CRF_RANGE = {"libx264": (18, 46), "libvpx-vp9": (24, 60)}
"""From hardly visible to gross, per codec."""


def latent_quality(damage: Damage) -> float:
    """The quality that raters scatter about, on 1–5: falls with CRF, blur and grain, and a little with a small picture.

    ``4.7 − 2.6 c^1.3 − 0.7 σ − 0.05 g − 0.4 (1 − h / 360)``, never under 1.2; c is the CRF's place in its range.
    """
    low, high = CRF_RANGE[damage.codec]
    coarse = min(max((damage.crf - low) / (high - low), 0.0), 1.0)
    lost = 2.6 * coarse**1.3 + 0.7 * damage.blur_px + 0.05 * damage.grain_sd + 0.4 * (1 - damage.height / 360)
    return float(max(BEST - lost, WORST))


def rate(damage: Damage, rng: np.random.Generator) -> Rating:
    """Votes of 8 to 40 simulated raters, each with a bias of their own."""
    count = int(rng.integers(FEWEST_RATERS, MOST_RATERS + 1))
    felt = latent_quality(damage) + rng.normal(0, RATER_BIAS_SD, count) + rng.normal(0, VOTE_SD, count)
    votes = [int(vote) for vote in np.clip(np.rint(felt), 1, 5)]
    return Rating(round(statistics.fmean(votes), 3), round(statistics.stdev(votes), 3), count)
