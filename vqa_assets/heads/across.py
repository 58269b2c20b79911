"""Train on one corpus, test on another: how far a head carries beyond the clips it knows. It exports nothing.

Which rows there are is in ``choosing``; a head over every corpus reports its own corpora left out in ``build``.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from vqa_assets.corpora.contents import assign_folds
from vqa_assets.errors import Make, TrainingError
from vqa_assets.heads.judging.evaluation import Judged, joined, judge, predicted
from vqa_assets.heads.members.method import Trainer
from vqa_assets.heads.members.weights import HeadWeights
from vqa_assets.heads.part_training import train_parts
from vqa_assets.heads.recipe import UNIFIED_MOS_HEAD_V1, CorpusFacts, HeadRecipe
from vqa_assets.heads.rows.choosing import Chosen, Say, chosen_rows
from vqa_assets.heads.rows.reading import TableFiles, TrainingTable
from vqa_assets.heads.rows.splitting import Part, corpora_out
from vqa_assets.heads.settings import TrainingSettings
from vqa_assets.heads.table_checks import check_training_rows
from vqa_assets.metrics import Scores, score

METRICS = ("srocc", "plcc")


@dataclass(frozen=True)
class Across:
    """Everything measured between corpora.

    ``cells`` {(trained on, tested on): scores}; a corpus on itself is folded by content, into so many ``folds`` as it
    has contents for. None where a corpus has too few contents to be trained on, or to be folded. ``left_out`` is each
    corpus by a head of all others.
    """

    table: TrainingTable
    chosen: Chosen
    folds: Mapping[str, int]
    cells: Mapping[tuple[str, str], Scores | None]
    left_out: Mapping[str, Judged]
    device: str

    @property
    def corpora(self) -> tuple[str, ...]:
        """The corpora, in the order of the table."""
        return tuple(dict.fromkeys(self.table.corpora))

    @cached_property
    def shared_contents(self) -> tuple[str, ...]:
        """The contents of several corpora: a head that learned from one in one corpus is not judged by it elsewhere."""
        pairs = Counter(group for group, _ in set(zip(self.table.groups, self.table.corpora, strict=True)))
        return tuple(sorted(group for group, corpora in pairs.items() if corpora > 1))

    def matrix(self, metric: str) -> dict[str, dict[str, float | None]]:
        """{trained on: {tested on: value}} of a metric, None where it is not defined."""
        values = {pair: cell.as_json()[metric] if cell else None for pair, cell in self.cells.items()}
        return {one: {other: values[one, other] for other in self.corpora} for one in self.corpora}


def recipe_of(corpora: Sequence[str]) -> HeadRecipe:
    """What is trained on each corpus: a unified head's columns."""
    return HeadRecipe(
        name="cross_corpus_evaluation",
        title="Cross-corpus evaluation",
        corpora=tuple(corpora),
        feature_schema=UNIFIED_MOS_HEAD_V1.feature_schema,
        intended_use="measuring how far heads carry from corpus to corpus",
        not_for=(),
        every_corpus=True,
    )


def evaluate_across(
    recipe: HeadRecipe,
    tables: Mapping[str, TableFiles],
    corpora_facts: Mapping[str, CorpusFacts],
    settings: TrainingSettings,
    trainer: Trainer,
    say: Say,
    *,
    when_read: Callable[[], None] = lambda: None,
) -> Across:
    """Trains a head per corpus, its folds, and one without it, all at once, and judges each on what it never saw.

    ``tables`` {corpus: the table of unified_features} are those present. TrainingError with fewer than two corpora, and
    as ``chosen_rows``. ``when_read`` as ``build_head``'s.
    """
    table, chosen = chosen_rows(recipe, tables, corpora_facts, settings, say)
    when_read()
    check_training_rows(table)
    names = tuple(dict.fromkeys(table.corpora))
    if len(names) < 2:
        raise TrainingError(
            "cross_corpus_evaluation",
            found=f"labelled rows of {', '.join(names)} only; absent: {', '.join(chosen.absent) or 'none'}",
            expected="two corpora or more",
            next_step=Make("mos_features", " of another, then unified_features"),
        )
    corpora = np.asarray(table.corpora)
    each = {
        name: Part(f"only-{name}", np.flatnonzero(corpora == name), np.flatnonzero(corpora != name)) for name in names
    }
    alone = {name: part for name, part in each.items() if _can_train(table, part)}
    folds = {name: _folds(table, name, settings) for name in names}
    without = corpora_out(table)
    # All at once: heads of one table train side by side in one pass.
    parts = [*alone.values(), *(part for of in folds.values() for part in of), *without.values()]
    trained = train_parts(table, parts, settings, trainer, say)
    heads = {part.name: head for part, head in zip(parts, trained.heads, strict=True)}
    cells: dict[tuple[str, str], Scores | None] = {
        (one, other): _carried(table, alone[one], other, heads[alone[one].name]) if one in alone else None
        for one in names
        for other in names
        if one != other
    }
    for name in names:
        out_of_fold = joined([predicted(table, part.test, heads[part.name]) for part in folds[name]])
        cells[name, name] = score(out_of_fold.mos, out_of_fold.predicted) if folds[name] else None
    left_out = {n: judge(table, part.test, heads[part.name], settings.seed) for n, part in without.items()}
    across = Across(table, chosen, {name: len(of) for name, of in folds.items()}, cells, left_out, trained.device)
    if shared := across.shared_contents:
        say(
            f"{len(shared)} contents stand in several corpora, such as {shared[0]}: no head is judged by one that it "
            "learned from; give contents that only have equal ids other ones"
        )
    return across


def _folds(table: TrainingTable, corpus: str, settings: TrainingSettings) -> tuple[Part, ...]:
    """Content-wise folds within a corpus; none where its contents are too few."""
    rows = np.flatnonzero(np.asarray(table.corpora) == corpus)
    try:
        folds = np.array(assign_folds([table.groups[row] for row in rows], settings.k_folds, settings.seed))
    except TrainingError:
        return ()
    return tuple(Part(f"{corpus}-{k}", rows[folds != k], rows[folds == k]) for k in range(folds.max() + 1))


def _can_train(table: TrainingTable, part: Part) -> bool:
    """A head is stopped by another content than those it learns from."""
    return len({table.groups[row] for row in part.train}) > 1


def _carried(table: TrainingTable, part: Part, corpus: str, head: HeadWeights) -> Scores | None:
    """A head of one corpus on another, but for contents that both have."""
    seen = {table.groups[row] for row in part.train}
    rows = [row for row in part.test if table.corpora[row] == corpus and table.groups[row] not in seen]
    predictions = predicted(table, np.array(rows, dtype=np.int64), head)
    return score(predictions.mos, predictions.predicted) if rows else None
