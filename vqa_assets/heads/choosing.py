"""Which rows one run trains on: the tables of the corpora present, the encode grid, or rows made up where allowed.

How a table is read is in ``table_reading`` and ``grid_table``; who trains on which of its rows, in ``splitting``.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from pathlib import Path

from vqa_assets.errors import NoLabelledRowsError, SettingsError, TrainingError
from vqa_assets.feature_names import DISPLAY_COLUMNS, FeatureSchema
from vqa_assets.heads.display import DisplayProfile, read_profile
from vqa_assets.heads.facts import UNDECLARED, CorpusFacts
from vqa_assets.heads.grid_table import read_grid_table
from vqa_assets.heads.manifest import Chosen
from vqa_assets.heads.recipe import MOS_TARGET, HeadRecipe, TrainingSettings, schema_of
from vqa_assets.heads.synthetic import synthetic_table
from vqa_assets.heads.table_reading import read_training_table
from vqa_assets.heads.training_table import TrainingTable

Say = Callable[[str], None]
Given = tuple[Mapping[str, Path], Mapping[str, CorpusFacts]]
"""The tables that are there, by corpus, and what is known of corpora."""


def chosen_rows(recipe: HeadRecipe, given: Given, settings: TrainingSettings, say: Say) -> tuple[TrainingTable, Chosen]:
    """Real rows and where they come from; synthetic ones for a smoke run, or where a run allows it.

    TrainingError on tables that a head must not be trained on, and where none is there; SettingsError on names that no
    corpus has.
    """
    schema = schema_of(recipe, settings)
    synthetic = Chosen({}, (), ())
    if settings.smoke:
        return synthetic_table(schema, seed=settings.seed, target=recipe.target), synthetic
    display = _display(schema, settings, say)
    read = _grid_rows if recipe.target != MOS_TARGET else _opinion_rows
    try:
        table, chosen = read(recipe, given, settings, (schema, display))
    except NoLabelledRowsError:
        if not settings.allow_synthetic_fallback:
            raise
        absent = tuple(name for name in recipe.corpora if name not in given[0])
        made_up = synthetic_table(schema, seed=settings.seed, target=recipe.target)
        return made_up, replace(synthetic, absent=absent)
    _check_named("corpus_weights", settings.corpus_weights, (*recipe.corpora, *table.counts))
    unused = tuple(name for name in chosen.facts if name in table.counts and not table.counts[name].used)
    facts = {name: fact for name, fact in chosen.facts.items() if name not in unused}
    return table, replace(chosen, facts=facts, display=display, unused=unused)


def _display(schema: FeatureSchema, settings: TrainingSettings, say: Say) -> DisplayProfile | None:
    """The display that a run names, where its head reads one."""
    if settings.display_profile_json is None:
        return None
    display = read_profile(Path(settings.display_profile_json).expanduser())
    if not set(schema.columns) & set(DISPLAY_COLUMNS):
        say(f"display profile {display.name} is not used: {schema.name} has no display columns")
        return None
    told = {"lacks, taken as 0": display.lacking, "keys that mean nothing": display.ignored}
    say("; ".join([f"display profile {display.name}", *(f"{k}: {', '.join(v)}" for k, v in told.items() if v)]))
    return display


def _opinion_rows(
    recipe: HeadRecipe,
    given: Given,
    settings: TrainingSettings,
    features: tuple[FeatureSchema, DisplayProfile | None],
) -> tuple[TrainingTable, Chosen]:
    tables, chosen = _tables(recipe, given, settings)
    schema, display = features
    return read_training_table(tables, schema, settings.allow_missing_features, display), chosen


def _tables(recipe: HeadRecipe, given: Given, settings: TrainingSettings) -> tuple[dict[str, Path], Chosen]:
    """The tables of a run, in order, and their facts."""
    tables, facts = given
    own = {name: tables[name] for name in recipe.corpora if name in tables}
    wanted = _named(settings.tables) or own
    extra = _named(settings.extra_tables)
    if again := sorted(set(extra) & set(wanted)):
        raise SettingsError(
            "extra_tables",
            found=f"{', '.join(again)}, of which a table is read already",
            expected="corpora beside those of the recipe",
            next_step="name the table under tables, where it stands instead, or under a name of its own",
        )
    wanted |= extra
    _check_named("exclude_corpora", settings.exclude_corpora, (*recipe.corpora, *wanted))
    present = {name: path for name, path in wanted.items() if name not in settings.exclude_corpora}
    asked = () if settings.tables else recipe.corpora
    absent = tuple(name for name in asked if name not in present and name not in settings.exclude_corpora)
    if not present:
        raise NoLabelledRowsError(
            f"{recipe.name}: no labelled table",
            found=f"absent: {', '.join(absent) or 'none'}; excluded: {', '.join(settings.exclude_corpora) or 'none'}",
            expected=f"the table of at least one of {', '.join(recipe.corpora)}",
            next_step="materialize mos_features of one of them",
        )
    chosen = {name: facts.get(name, UNDECLARED) for name in present}
    _refuse_computed_scores(chosen)
    return present, Chosen(chosen, absent, settings.exclude_corpora)


def _grid_rows(
    recipe: HeadRecipe,
    given: Given,
    settings: TrainingSettings,
    features: tuple[FeatureSchema, DisplayProfile | None],
) -> tuple[TrainingTable, Chosen]:
    """The encode grid; its tables need no corpus's name, its rows say which source they are of."""
    tables, facts = given
    paths = [*(_named(settings.tables) or tables).values(), *_named(settings.extra_tables).values()]
    _check_named("exclude_corpora", settings.exclude_corpora, recipe.corpora)
    if len({path.resolve() for path in paths}) < len(paths):
        found = ", ".join(map(str, paths))
        raise SettingsError("extra_tables", found=found, expected="each file once", next_step="correct the run config")
    missing = [path for path in paths if not path.is_file()]
    if missing or not paths:
        raise NoLabelledRowsError(
            f"{recipe.name}: no encode grid",
            found=f"no file {', '.join(map(str, missing))}" if missing else "no training corpus",
            expected="a JSON Lines file of encode-grid rows",
            next_step="materialize fr_training_corpus first",
        )
    table = read_grid_table(paths, features[0], settings.allow_missing_features, settings.exclude_corpora)
    present = {name: facts.get(name, UNDECLARED) for name in table.counts}
    absent = tuple(n for n in recipe.corpora if n not in present and n not in settings.exclude_corpora)
    return table, Chosen(present, absent, settings.exclude_corpora)


def _named(tables: Mapping[str, str]) -> dict[str, Path]:
    return {name: Path(path).expanduser() for name, path in tables.items()}


def _check_named(setting: str, names: Collection[str], known: Collection[str]) -> None:
    unknown = sorted(set(names) - set(known))
    if unknown:
        expected = f"some of {', '.join(dict.fromkeys(known))}"
        raise SettingsError(setting, found=", ".join(unknown), expected=expected, next_step="correct the run config")


def _refuse_computed_scores(facts: Mapping[str, CorpusFacts]) -> None:
    computed = sorted(name for name, fact in facts.items() if not fact.opinion_scores)
    if computed:
        raise TrainingError(
            "corpora whose scores are no opinions",
            found=", ".join(computed),
            expected="human opinion scores",
            next_step="name them in exclude_corpora",
        )
