"""What help from other corpora does to a head of few labels, over many draws: where it helps, and that it never harms.

Prints Markdown: SROCC over folds by content of a head with help minus that of the same head without. The helper's clips
are of a law that is the own one, or half, or not at all. Draws of each: ``$VQA_BENCH_DRAWS``, or 8.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from benchmarks.head_laws import table_of
from vqa_assets.heads.help.assistance import PlainHeads, SameSplits, with_help
from vqa_assets.heads.help.sources import Helper, HelpingRows
from vqa_assets.heads.members.training import TorchTrainer
from vqa_assets.heads.part_training import train_parts
from vqa_assets.heads.rows.reading import TrainingTable
from vqa_assets.heads.rows.splitting import own_parts, plan_splits
from vqa_assets.heads.settings import TrainingSettings

F64 = NDArray[np.float64]
SETTINGS = TrainingSettings(device="cpu", protocol_splits=0)
OWN_CLIPS, HELPING_CLIPS, COLUMNS = (40, 100), 400, 20


@dataclass(frozen=True)
class Law:
    """Quality by weights of the columns and of two products; ``noise`` is the SD of what no column tells."""

    weights: F64
    products: F64
    noise: float = 0.35

    @classmethod
    def drawn(cls, rng: np.random.Generator) -> "Law":
        """A law of its own: six columns count, and two pairs."""
        weights = np.zeros(COLUMNS)
        weights[rng.permutation(COLUMNS)[:6]] = 0.4 * rng.standard_normal(6)
        return cls(weights, 0.25 * rng.standard_normal(2))

    def table(self, clips: int, rng: np.random.Generator, scale: Callable[[F64], F64] = lambda q: q) -> TrainingTable:
        """Clips of this law, two to a content, whose quality a laboratory calls as ``scale`` says."""
        z = rng.standard_normal((clips, COLUMNS))
        quality = z @ self.weights + z[:, :2] @ self.products * z[:, 2]
        return table_of(z, scale(np.tanh(quality + self.noise * rng.standard_normal(clips))), np.arange(clips) // 2)


def half_of(law: Law, other: Law) -> Law:
    """A law that shares half of what counts."""
    return Law((law.weights + other.weights) / np.sqrt(2), other.products)


HELPERS: dict[str, Callable[[Law, Law], Law]] = {
    "the same law": lambda law, _: law,
    "half of it": half_of,
    "another law": lambda _, other: other,
    "the reverse": lambda law, _: Law(-law.weights, -law.products),
    "noise": lambda law, _: Law(0 * law.weights, 0 * law.products, 1.0),
}
"""What the helper's clips are of, by the own law and one that is not it."""


def help_of(draw: int, clips: int, helper: Callable[[Law, Law], Law], settings: TrainingSettings) -> SameSplits:
    """One draw: a head of ``clips`` with and without a helper of another laboratory, on the same folds."""
    rng = np.random.default_rng(draw)
    law, other = Law.drawn(rng), Law.drawn(rng)
    own = law.table(clips, rng)
    helping = helper(law, other).table(HELPING_CLIPS, rng, lambda quality: 0.6 * quality - 0.4)
    helping = replace(helping, groups=tuple(f"helping {group}" for group in helping.groups))
    plan, parts = plan_splits(own, settings), own_parts(plan_splits(own, settings))
    trained = train_parts(own, parts, settings, TorchTrainer(), _quiet)
    plain = PlainHeads({part.name: head for part, head in zip(parts, trained.heads, strict=True)}, {})
    rows = HelpingRows(helping, np.arange(HELPING_CLIPS))
    source = Helper(rows, {}, {"helping": HELPING_CLIPS})
    _, report = with_help(own, plan, (), plain, source, settings, TorchTrainer(), _quiet)
    assert report.folds is not None
    return report.folds


def gain(same: SameSplits) -> float:
    """The mean SROCC over folds with help minus that without."""
    return same.metrics["with"]["srocc"] - same.metrics["without"]["srocc"]


def main() -> None:
    """Print the table."""
    draws = int(os.environ.get("VQA_BENCH_DRAWS", "8"))
    print(f"| own clips | the helper is of | without | with | worst of {draws} draws | heads that took it |")
    print("| --- | --- | --- | --- | --- | --- |")
    for clips in OWN_CLIPS:
        for name, helper in HELPERS.items():
            each = [help_of(draw, clips, helper, SETTINGS) for draw in range(draws)]
            means = [np.mean([one.metrics[way]["srocc"] for one in each]) for way in ("without", "with")]
            took = sum(one.helped for one in each) / sum(one.parts for one in each)
            worst = min(map(gain, each))
            print(f"| {clips} | {name} | {means[0]:.3f} | {means[1]:.3f} | {worst:+.3f} | {took:.0%} |", flush=True)


def _quiet(_: str) -> None:
    """Says nothing."""


if __name__ == "__main__":
    main()
