"""Whether a head of several corpora learns each one's scale of scores, or takes all scores as they stand.

Both are trained on the same folds (``deciding_folds``), and on the others of each corpus left out; the one that ranks
clips within corpora better ships. What is learned is in ``corpus_scales``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vqa_assets.heads.judging.evaluation import joined, predicted
from vqa_assets.heads.label_noise import NoiseWeights
from vqa_assets.heads.members.corpus_scales import KNOTS, numbered
from vqa_assets.heads.members.method import Trainer
from vqa_assets.heads.members.weights import HeadWeights
from vqa_assets.heads.part_training import train_parts
from vqa_assets.heads.rows.choosing import Say
from vqa_assets.heads.rows.reading import TrainingTable
from vqa_assets.heads.rows.splitting import Part
from vqa_assets.heads.settings import TrainingSettings
from vqa_assets.metrics import Scores, score, srocc

LEARNED, UNION = "learned", "union"
"""A head that learned scales, and one of the plain union of all corpora's rows."""


@dataclass(frozen=True)
class ScaleChoice:
    """What was measured of both heads.

    ``corpora`` are those of the rows, the reference first. ``within`` {learned or union: {corpus: SROCC out of fold}};
    ``left_out`` {corpus: {learned or union: scores by a head of the other corpora}}, where a corpus has no map.
    """

    corpora: tuple[str, ...]
    within: Mapping[str, Mapping[str, float]]
    left_out: Mapping[str, Mapping[str, Scores]]

    @property
    def reference(self) -> str:
        """The corpus on whose scale a head that learned scales gives its scores: that of most rows."""
        return self.corpora[0]

    @property
    def means(self) -> dict[str, float]:
        """Per head the mean over corpora, of those where both heads have an SROCC; NaN without any."""
        both = [c for c in self.corpora if all(np.isfinite(of.get(c, np.nan)) for of in self.within.values())]
        return {way: float(np.mean([of[c] for c in both])) if both else np.nan for way, of in self.within.items()}

    @property
    def learns(self) -> bool:
        """Whether the head that learned scales ships; of equals the plain one does."""
        return self.means[LEARNED] > self.means[UNION]

    def as_json(
        self, head: HeadWeights, table: TrainingTable, parts: Sequence[Part], heads: Sequence[HeadWeights]
    ) -> dict[str, Any]:
        """What a manifest says of it, and of the shipped ``head``; ``heads`` are those of ``parts``."""
        said: dict[str, Any] = {
            "reference": self.reference,
            "ships": LEARNED if self.learns else UNION,
            "srocc_within_corpora": {way: {"mean": self.means[way], "each": of} for way, of in self.within.items()},
            "leave_one_corpus_out": self.left_out,
        }
        if head.scales is not None:
            maps = dict(zip(self.corpora, head.scales.values, strict=True))
            said |= {"at": KNOTS, "maps": maps, "after_map": _after_map(table, parts, heads)}
        return said


def chosen_scales(
    table: TrainingTable,
    folds: Sequence[Part],
    without: Mapping[str, Part],
    settings: TrainingSettings,
    trainer: Trainer,
    say: Say,
    weights: Mapping[str, NoiseWeights | None],
    plain: Mapping[str, HeadWeights],
) -> tuple[ScaleChoice | None, dict[str, HeadWeights]]:
    """Whether a head of several corpora learns their scales, and the heads that are trained already, as it ships.

    None where all scores are of one corpus, the head is not over all corpora, or there are no ``folds`` to decide by.
    ``weights`` of rows by name of their part; ``plain`` are heads of parts that take all scores as they stand.
    """
    if not without or not folds:
        return None, dict(plain)
    tried = (*folds, *without.values())
    heads: dict[str, dict[str, HeadWeights]] = {UNION: dict(plain), LEARNED: {}}
    for way, known in heads.items():
        rest = [part for part in tried if part.name not in known]
        own_weights = [weights.get(part.name) for part in rest]
        trained = train_parts(table, rest, settings, trainer, say, own_weights, learn_scales=way == LEARNED)
        known |= {part.name: head for part, head in zip(rest, trained.heads, strict=True)}
    choice = compared(table, folds, without, {way: [of[part.name] for part in tried] for way, of in heads.items()})
    ships = LEARNED if choice.learns else UNION
    said = ", ".join(f"{way} {mean:.4f}" for way, mean in choice.means.items())
    say(f"scales of {len(choice.corpora)} corpora: mean SROCC within them {said}; {ships} ships")
    return choice, heads[ships]


def compared(
    table: TrainingTable,
    parts: Sequence[Part],
    without: Mapping[str, Part],
    heads: Mapping[str, Sequence[HeadWeights]],
) -> ScaleChoice:
    """Both heads beside each other; ``heads`` {learned or union: those of ``parts``, then those of ``without``}."""
    within: dict[str, dict[str, float]] = {}
    left_out: dict[str, dict[str, Scores]] = {name: {} for name in without}
    for way, own in heads.items():
        of_folds = joined([predicted(table, part.test, head) for part, head in zip(parts, own, strict=False)])
        corpora = np.asarray(of_folds.corpora)
        masks = {c: corpora == c for c in dict.fromkeys(of_folds.corpora)}
        within[way] = {c: srocc(of_folds.mos[mask], of_folds.predicted[mask]) for c, mask in masks.items()}
        for (name, part), head in zip(without.items(), own[len(parts) :], strict=True):
            of_corpus = predicted(table, part.test, head)
            left_out[name][way] = score(of_corpus.mos, of_corpus.predicted)
    return ScaleChoice(numbered(table.corpora)[0], within, left_out)


def _after_map(table: TrainingTable, parts: Sequence[Part], heads: Sequence[HeadWeights]) -> dict[str, Any]:
    """The folds' predictions brought to the scale of each clip's own corpus, by the map of the head that made them."""
    names, number = numbered(table.corpora)
    mos, on_own, corpora = [], [], []
    for part, head in zip(parts, heads, strict=True):
        raw = predicted(table, part.test, head).predicted
        of = number[part.test]
        mos.append(table.mos[part.test])
        on_own.append(raw if head.scales is None else head.scales.on_own(raw, of))
        corpora.append(of)
    of, truth, guess = np.concatenate(corpora), np.concatenate(mos), np.concatenate(on_own)
    each = {name: of == i for i, name in enumerate(names) if (of == i).any()}
    return {
        "pooled": score(truth, guess),
        "per_corpus": {name: score(truth[mask], guess[mask]) for name, mask in each.items()},
    }
