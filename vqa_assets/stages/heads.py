"""The stages that train heads: which rows a head reads in a data root, and training, judging and publishing it.

What a recipe is, how a head is trained and judged, and what its manifest says is in ``vqa_assets.heads``.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from vqa_assets.corpora import ENCODE_GRID_SOURCES, EXTERNAL_SHARDS, Corpus, EncodeGridSource, ExternalShard
from vqa_assets.encode_grid.grid_files import training_corpus
from vqa_assets.errors import Make, SettingsError, TrainingError
from vqa_assets.heads.recipe import HEAD_RECIPES, MOS_TARGET, CorpusFacts, HeadRecipe
from vqa_assets.heads.settings import CrossCorpusSettings, TrainingSettings
from vqa_assets.provenance import ReadInput, RunContext
from vqa_assets.provenance.reading import names_of_tables, read_now, refuse_changes
from vqa_assets.stages.unified import rows_of_run
from vqa_assets.tables.content_errors import reading
from vqa_assets.tables.paths import DataRoot
from vqa_assets.unified.settings import FeatureRowsSettings

if TYPE_CHECKING:
    from vqa_assets.heads.across import Across
    from vqa_assets.heads.members.method import Trainer
    from vqa_assets.heads.publish import PublishedAcross, PublishedHead

HEADS_VERSION = "5"
"""The code version of every head, and of ``cross_corpus_evaluation``."""
_GRID = "encode-grid"
_TRAINING = {"torch": "torch", "sklearn": "scikit-learn"}
"""What requirements/slim.txt leaves out: module → package."""


def require_training() -> None:
    """SettingsError on a machine with the slim set: the run's own process judges heads, whatever trains them."""
    absent = [name for module, name in _TRAINING.items() if find_spec(module) is None]
    if absent:
        raise SettingsError(
            "training a head",
            found=f"{' and '.join(absent)} not installed: the slim set ingests, labels and predicts",
            expected="the whole package",
            next_step=f"run pip install {' '.join(_TRAINING.values())} (docs/installing.md), or train where both are",
        )


def named_recipes(corpora: Mapping[str, Corpus]) -> list[HeadRecipe]:
    """The heads that have a name of their own; one over every corpus reads these ``corpora``."""
    every = tuple(corpora)
    return [replace(recipe, corpora=every) if recipe.every_corpus else recipe for recipe in HEAD_RECIPES.values()]


def train(
    recipe: HeadRecipe,
    settings: TrainingSettings,
    corpora: Mapping[str, Corpus],
    trainer: "Callable[[], Trainer]",
    say: Callable[[str], None],
    run: RunContext,
) -> "PublishedHead":
    """Train, judge and publish one head on the tables of the data root, or on those that the settings name.

    ``trainer`` is opened when the rows are there. TrainingError on rows that no head must be trained on, SettingsError
    where a head of other choices stands, or a setting names what is not there.
    """
    from vqa_assets.heads.build import build_head
    from vqa_assets.heads.experiments import check_same_head
    from vqa_assets.heads.help.sources import sources_of_help
    from vqa_assets.heads.publish import HeadInputs, publish_head
    from vqa_assets.heads.rows.vectors import with_backbones

    root = run.root
    recipe = with_backbones(recipe, settings.feature_schema, root)
    check_same_head(recipe, settings, root, say)
    facts = corpora_facts(corpora)
    labelled = {corpus.name: root.labelled(corpus) for corpus in corpora.values()}
    help_from = sources_of_help(recipe, settings, labelled)
    with rows_of_head(recipe, corpora, root, settings) as rows:
        of_helpers, of_backbones = read_now(help_from.files), _backbones_read(recipe)

        def refuse_what_changed() -> None:
            rows.refuse_changes()
            refuse_changes((*of_helpers.values(), *of_backbones.values()))

        built = build_head(
            recipe, rows.tables, facts, settings, trainer(), say, help_from=help_from, when_read=refuse_what_changed
        )
        read = rows.files_of([*built.manifest["corpora"], *built.manifest["unused"]])
        if built.manifest["help"] is not None:
            read |= of_helpers
        if built.manifest["backbones"]:
            read |= of_backbones
        # While the rows are there: the head that is there is judged on them too.
        return publish_head(built, HeadInputs(recipe.name, settings, read, rows.read), run)


def evaluate_between(
    stated: CrossCorpusSettings,
    corpora: Mapping[str, Corpus],
    trainer: "Callable[[], Trainer]",
    say: Callable[[str], None],
    run: RunContext,
) -> "tuple[Across, PublishedAcross]":
    """Train a head on each corpus of unified_features, judge it on every other, and publish what came of it."""
    from vqa_assets.heads.across import evaluate_across, recipe_of
    from vqa_assets.heads.publish import publish_across
    from vqa_assets.heads.rows.vectors import with_backbones

    settings = stated.training()
    recipe = with_backbones(recipe_of(tuple(corpora)), settings.feature_schema, run.root)
    facts = corpora_facts(corpora)
    with rows_of_head(recipe, corpora, run.root, settings) as rows:
        across = evaluate_across(recipe, rows.tables, facts, settings, trainer(), say, when_read=rows.refuse_changes)
        table = rows.tables[across.corpora[0]][0]
        read = rows.files_of(across.corpora) | _backbones_read(recipe)
        return across, publish_across(across, settings, table, read, run)


def _backbones_read(recipe: HeadRecipe) -> dict[str, ReadInput]:
    """The files of the backbones whose vectors a head reads: no row is read of them, but their hashes are in it."""
    return read_now({name: path for one in recipe.backbones.values() for name, path in one.files.items()})


@dataclass(frozen=True)
class HeadTables:
    """The tables present that a run may read, by corpus, and every file by its corpus and as manifests name it.

    Of a head over every corpus, and of one that reads the encode grid, ``files`` stand for all corpora together.
    ``read`` are the tables with the rows of the run, by corpus; of a head over every corpus the one table of all.
    The files are hashed before their rows are read: ``refuse_changes`` is for when they are.
    """

    tables: Mapping[str, Sequence[Path]]
    files: Mapping[str, Mapping[str, ReadInput]]
    read: Mapping[str, Sequence[Path]]

    def refuse_changes(self) -> None:
        """ChangedInputError where rows may have been read of two states of a file; later changes are the next run's."""
        for of_corpus in self.files.values():
            refuse_changes(of_corpus.values())

    def files_of(self, corpora: Iterable[str]) -> dict[str, ReadInput]:
        """The files that rows of these corpora came from."""
        read = set(corpora)
        each = [of for corpus, of in self.files.items() if corpus in read or not read <= set(self.files)]
        return {name: path for of in each for name, path in of.items()}


@contextmanager
def rows_of_head(
    recipe: HeadRecipe, corpora: Mapping[str, Corpus], root: DataRoot, settings: CrossCorpusSettings
) -> Iterator[HeadTables]:
    """What a run reads, for as long as the block lasts: labelled tables, unified_features, or the encode grid."""
    named = {"tables": settings.tables, "extra_tables": settings.extra_tables}
    if recipe.every_corpus:
        with rows_of_run(corpora, root, FeatureRowsSettings(**named)) as (table, files):
            yield HeadTables({corpus: [table] for corpus in corpora_in(table)}, {"": files}, {"": [table]})
        return
    if recipe.target != MOS_TARGET:
        grid, what = training_corpus(root), "rows"
        present = {_GRID: [grid]} if grid.is_file() else {}
    else:
        declared = [corpora[name] for name in recipe.corpora if name in corpora]
        present = {c.name: [root.labelled(c)] for c in declared if root.labelled(c).is_file()}
        what = "features_with_mos"
    usual = settings.tables or present
    # The encode grid's files may go by one name in both: its rows say whose they are.
    read = {
        corpus: [*usual.get(corpus, ()), *settings.extra_tables.get(corpus, ())]
        for corpus in dict.fromkeys((*usual, *settings.extra_tables))
    }
    files_of_corpora = {corpus: read_now(own) for corpus, own in names_of_tables(what, read).items()}
    yield HeadTables(present, files_of_corpora, read)


def corpora_in(table: Path) -> list[str]:
    """The corpora of the table of all, in its order; none where it is not there."""
    import polars as pl

    from vqa_assets.tables.parquet import column_names

    if not table.is_file():
        return []
    if "corpus" not in column_names(table):
        raise TrainingError(
            f"{table}",
            found="no column corpus",
            expected="the table of unified_features",
            next_step=Make("unified_features"),
        )
    with reading(table):
        corpora = pl.scan_parquet(table, glob=False).select(pl.col("corpus").unique(maintain_order=True)).collect()
    names: list[str] = corpora["corpus"].to_list()
    return names


def corpora_facts(corpora: Mapping[str, Corpus]) -> dict[str, CorpusFacts]:
    """Every corpus, and what has computed scores instead of opinions: no MOS head is trained on that."""
    sources: list[ExternalShard | EncodeGridSource] = [*EXTERNAL_SHARDS.values(), *ENCODE_GRID_SOURCES.values()]
    computed = {
        source.name: CorpusFacts(
            title=source.title,
            licence=source.licence,
            citation=source.citation,
            version="as it came",
            redistribution=source.redistribution,
            opinion_scores=False,
        )
        for source in sources
    }
    return computed | {
        corpus.name: CorpusFacts(
            title=corpus.title,
            licence=corpus.licence,
            citation=corpus.citation,
            version=corpus.version,
            redistribution=corpus.redistribution,
            name_ids=corpus.name_ids,
        )
        for corpus in corpora.values()
    }
