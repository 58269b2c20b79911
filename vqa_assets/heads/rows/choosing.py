"""Which rows one run trains on: the tables of the corpora present, the encode grid, or rows made up where allowed.

How a table is read is in ``rows``; who trains on which of its rows, in ``splitting``.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from vqa_assets.errors import Make, NoLabelledRowsError, SettingsError, TrainingError
from vqa_assets.feature_names import DISPLAY_COLUMNS, FeatureSchema
from vqa_assets.heads.recipe import MOS_TARGET, UNDECLARED, CorpusFacts, HeadRecipe
from vqa_assets.heads.rows.display import DisplayProfile, read_profile
from vqa_assets.heads.rows.reading import TableFiles, TrainingTable, files_of, read_grid_table, read_training_table
from vqa_assets.heads.rows.synthetic import synthetic_table
from vqa_assets.heads.rows.vectors import refuse_vectors_of_others
from vqa_assets.heads.settings import TrainingSettings, schema_of

if TYPE_CHECKING:
    from vqa_assets.backbones.folder import Backbone

Say = Callable[[str], None]


@dataclass(frozen=True)
class Chosen:
    """What a head read: facts of the corpora it has rows of, the recipe's without a table, those excluded, the display.

    ``unused`` had a table, and no row of it could be used. ``backbones`` are those whose vectors were read.
    """

    facts: Mapping[str, CorpusFacts]
    absent: tuple[str, ...]
    excluded: tuple[str, ...]
    display: DisplayProfile | None = None
    unused: tuple[str, ...] = ()
    backbones: "Mapping[str, Backbone]" = field(default_factory=dict)


def chosen_rows(
    recipe: HeadRecipe,
    tables: Mapping[str, TableFiles],
    corpora_facts: Mapping[str, CorpusFacts],
    settings: TrainingSettings,
    say: Say,
    helpers: Collection[str] = (),
) -> tuple[TrainingTable, Chosen]:
    """Real rows and where they come from; synthetic ones for a smoke run, or where a run allows it.

    ``tables`` {corpus: files} are those present, ``corpora_facts`` what is known of corpora. Of a recipe of every
    corpus each is the one table of unified_features, into which the run's own tables went already. TrainingError on
    tables that a head must not be trained on, and where none is there; SettingsError on names that no corpus has.
    """
    schema = schema_of(recipe, settings)
    if settings.target != "mos" and recipe.target != MOS_TARGET:
        raise SettingsError(
            "target",
            found=repr(settings.target),
            expected=f"no target: {recipe.name} learns {recipe.target.name}",
            next_step="leave it out",
        )
    synthetic = Chosen({}, (), ())
    # A smoke run asks whether the machinery learns at all; no table that is there may answer it.
    if settings.smoke:
        return synthetic_table(schema, seed=settings.seed, target=recipe.target), synthetic
    display = _display(schema, settings, say)
    try:
        if recipe.target == MOS_TARGET:
            present, chosen = _labelled_tables(recipe, tables, corpora_facts, settings)
            files = {corpus: files_of(own) for corpus, own in present.items()}
            if unknown := refuse_vectors_of_others(files, recipe.backbones):
                say(f"warning: nothing says which network measured the vectors of {', '.join(unknown)}")
            table = read_training_table(
                present,
                schema,
                settings.allow_missing_features,
                display,
                target=settings.target,
                unified=recipe.every_corpus,
            )
        else:
            table = read_grid_table(
                _grids(recipe, tables, settings), schema, settings.allow_missing_features, settings.exclude_corpora
            )
            chosen = _chosen(table.counts, recipe.corpora, corpora_facts, settings)
    except NoLabelledRowsError:
        if not settings.allow_synthetic_fallback:
            raise
        absent = tuple(name for name in recipe.corpora if name not in tables)
        made_up = synthetic_table(schema, seed=settings.seed, target=recipe.target)
        return made_up, replace(synthetic, absent=absent)
    # Only the rows say which sources an encode grid holds.
    _refuse_unknown("corpus_weights", settings.corpus_weights, (*recipe.corpora, *table.counts, *helpers))
    unused = tuple(name for name in chosen.facts if name in table.counts and not table.counts[name].used)
    facts = {name: fact for name, fact in chosen.facts.items() if name not in unused}
    return table, replace(chosen, facts=facts, display=display, unused=unused, backbones=recipe.backbones)


def _display(schema: FeatureSchema, settings: TrainingSettings, say: Say) -> DisplayProfile | None:
    """The display that a run names, where its head reads one."""
    if settings.display_profile_json is None:
        return None
    display = read_profile(settings.display_profile_json)
    if not set(schema.columns) & set(DISPLAY_COLUMNS):
        say(f"display profile {display.name} is not used: {schema.name} has no display columns")
        return None
    notes = {"lacks, taken as 0": display.lacking, "keys that mean nothing": display.ignored}
    say("; ".join([f"display profile {display.name}", *(f"{k}: {', '.join(v)}" for k, v in notes.items() if v)]))
    return display


def _labelled_tables(
    recipe: HeadRecipe,
    tables: Mapping[str, TableFiles],
    corpora_facts: Mapping[str, CorpusFacts],
    settings: TrainingSettings,
) -> tuple[dict[str, TableFiles], Chosen]:
    """The labelled tables of a run, in order: the settings' own, else those of the recipe's corpora; then the extra."""
    own, extra = (settings.tables, settings.extra_tables) if not recipe.every_corpus else ({}, {})
    named = dict(own) or {name: tables[name] for name in recipe.corpora if name in tables}
    if recipe.every_corpus:  # a corpus that is declared nowhere may be in unified_corpus all the same
        named |= {name: files for name, files in tables.items() if name not in named}
    if again := sorted(set(extra) & set(named)):
        raise SettingsError(
            "extra_tables",
            found=f"{', '.join(again)}, of which a table is read already",
            expected="corpora beside those of the recipe",
            next_step="name all its files under tables, where they stand instead, or the table under another name",
        )
    named |= extra
    _refuse_unknown("exclude_corpora", settings.exclude_corpora, (*recipe.corpora, *named))
    present = {name: path for name, path in named.items() if name not in settings.exclude_corpora}
    # Whoever names the tables does not expect those of the recipe.
    chosen = _chosen(present, () if own else recipe.corpora, corpora_facts, settings)
    if not present:
        absent, excluded = (", ".join(names) or "none" for names in (chosen.absent, settings.exclude_corpora))
        raise NoLabelledRowsError(
            f"{recipe.name}: no labelled table",
            found=f"absent: {absent}; excluded: {excluded}",
            expected=f"the table of at least one of {', '.join(recipe.corpora)}",
            next_step=Make("unified_features", "") if recipe.every_corpus else Make("mos_features", " of one of them"),
        )
    # A head that learned VMAF would pass for one that learned what people see.
    if computed := sorted(name for name, fact in chosen.facts.items() if not fact.opinion_scores):
        raise TrainingError(
            "corpora whose scores are no opinions",
            found=", ".join(computed),
            expected="human opinion scores",
            next_step="name them in exclude_corpora",
        )
    return present, chosen


def _grids(recipe: HeadRecipe, tables: Mapping[str, TableFiles], settings: TrainingSettings) -> list[Path]:
    """The encode grid's files; they need no corpus's name, their rows say which source they are of."""
    named = [*(settings.tables or tables).values(), *settings.extra_tables.values()]
    paths = [path for files in named for path in files_of(files)]
    _refuse_unknown("exclude_corpora", settings.exclude_corpora, recipe.corpora)
    if len({path.resolve() for path in paths}) < len(paths):
        found = ", ".join(map(str, paths))
        raise SettingsError("extra_tables", found=found, expected="each file once", next_step="correct the setting")
    missing = [path for path in paths if not path.is_file()]
    if missing or not paths:
        raise NoLabelledRowsError(
            f"{recipe.name}: no encode grid",
            found=f"no file {', '.join(map(str, missing))}" if missing else "no training corpus",
            expected="a JSON Lines file of encode-grid rows",
            next_step=Make("fr_training_corpus", " first"),
        )
    return paths


def _chosen(
    present: Collection[str],
    asked: Collection[str],
    corpora_facts: Mapping[str, CorpusFacts],
    settings: TrainingSettings,
) -> Chosen:
    facts = {name: corpora_facts.get(name, UNDECLARED) for name in present}
    absent = tuple(name for name in asked if name not in facts and name not in settings.exclude_corpora)
    return Chosen(facts, absent, settings.exclude_corpora)


def _refuse_unknown(setting: str, names: Collection[str], corpora: Collection[str]) -> None:
    unknown = sorted(set(names) - set(corpora))
    if unknown:
        expected = f"some of {', '.join(dict.fromkeys(corpora))}"
        raise SettingsError(setting, found=", ".join(unknown), expected=expected, next_step="correct the setting")
