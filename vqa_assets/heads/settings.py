"""The settings of a training run, the same for every recipe, and the features that they make of a recipe."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, model_validator

from vqa_assets.corpora import CORPORA
from vqa_assets.corpora.corpus import is_further_score
from vqa_assets.errors import SettingsError
from vqa_assets.feature_names import NO_REFERENCE_CLIP, FeatureSchema, schema_in_order
from vqa_assets.heads.recipe import DISPLAY_SCHEMAS, FEATURE_SCHEMAS, OWN_COLUMNS, HeadRecipe
from vqa_assets.heads.rows.vectors import is_schema_name, schema_named
from vqa_assets.settings import Many, SettingPath, Settings, Shape, TableFiles, Unfit, as_path, setting

_SMALL = 5_000
_METADATA = (
    *(f"{corpus.stem}_" for corpus in CORPORA.values() if corpus.extra_columns),
    *("display_", "distorted_", "reference_", "duration_s", "feature_", "n_feature_", "width", "height"),
)
"""How the names of columns begin that describe a clip, its ladder or its display: they may be constant."""
_LABELS = ("mos", "mean_mos", "raw_mos", "dmos", "score", "quality")

SchemaName = Annotated[
    str,
    Shape(
        is_schema_name,
        f"one of {', '.join(FEATURE_SCHEMAS)}, backbone:<id>, or some of them joined by + whose columns differ",
    ),
]
Weight = Annotated[
    float,
    Shape(
        lambda weight: 1e-6 <= weight <= 1e6, "a weight from 0.000001 to 1000000 (exclude_corpora leaves a corpus out)"
    ),
]

ExperimentName = Annotated[
    str, Shape(re.compile(r"[A-Za-z0-9_]{1,60}").fullmatch, "letters, digits and _, at most 60 of them")
]


NoiseWord = Annotated[str, Shape({"auto", "always", "never"}.__contains__, "auto, always or never")]

ScoreColumn = Annotated[
    str,
    Shape(
        lambda name: name == "mos" or is_further_score(name),
        "the column mos, or that of a further score (mos_technical)",
    ),
]

EVERY_CORPUS = "all"
"""In ``help_from``: every other corpus that has a labelled table."""


def _as_help(value: Any) -> tuple[str | Path, ...]:
    several = [value] if isinstance(value, (str, Path)) else value
    if not isinstance(several, (list, tuple)) or not all(isinstance(one, (str, Path)) for one in several):
        raise Unfit(repr(value), f"corpora, {EVERY_CORPUS}, or the path of a head's .onnx")
    # A form's field in which nothing is typed holds an empty text.
    named = [str(one) for one in several if one != ""]
    if len(named) > 1 and any(one == EVERY_CORPUS or one.endswith(".onnx") for one in named):
        raise Unfit(repr(named), f"corpora, or {EVERY_CORPUS} alone, or one head's .onnx alone")
    if len(set(named)) < len(named):
        raise Unfit(repr(named), "each corpus once")
    return tuple(as_path(one) if one.endswith(".onnx") else one for one in named)


HelpFrom = Annotated[Any, BeforeValidator(_as_help)]
"""Who helps a head, kept as a tuple of corpora, or of one path. Any to pydantic and to forms, as ``TableFiles``."""


class CrossCorpusSettings(Settings):
    """What every training run may decide."""

    target: ScoreColumn = setting("mos", "Score that is learned, on 1–5.")
    epochs: int = setting(30, "Passes over the rows, at most.", ge=1)
    lr: float = setting(1e-3, "Learning rate.", gt=0, lt=1)
    weight_decay: float = setting(1e-5, "Pull of the weights towards zero.", ge=0, lt=1)
    batch_size: int | None = setting(None, "Rows a step.", shown="64 up to 5 000 rows, 2 048 above", ge=1)
    k_folds: int = setting(5, "Content-wise folds.", ge=2)
    seed: int = setting(20260508, "Decides folds, members and steps.", ge=0, lt=2**63)
    device: str = setting("auto", "auto, cpu or cuda.")
    feature_schema: SchemaName | None = setting(None, "Columns by schema.", shown="the recipe's")
    columns: Many[str] = setting((), "Any named columns instead of a schema.")
    tables: Mapping[str, TableFiles] = setting(
        {},
        "Corpus → labelled table, or a list of them, instead of the recipe's; where a head reads unified_features, in "
        "the place of that corpus's.",
    )
    extra_tables: Mapping[str, TableFiles] = setting(
        {}, "Corpus → labelled table, or a list of them, beside the recipe's."
    )
    corpus_weights: Mapping[str, Weight] = setting(
        {},
        "Corpus, also one of help_from → how much one of its rows counts in training; judging never weighs.",
        shown="1 each",
    )
    exclude_corpora: Many[str] = setting((), "Corpora of the recipe to leave out.")
    allow_missing_features: Many[str] = setting(
        (), "Columns that may be absent, missing or constant; they are filled and listed."
    )

    @model_validator(mode="after")
    def _columns_are_features(self) -> Self:
        labels = [n for n in self.columns if (name := n.strip().lower()).startswith("mos_") or name in _LABELS]
        if labels:
            raise Unfit(repr(labels), "features: these are the label, or made of it", "columns")
        if len(set(self.columns)) < len(self.columns):
            raise Unfit(repr(list(self.columns)), "each column once", "columns")
        # So a manifest writes a vector's numbers: the trained head would be taken for one of so many columns.
        if blocks := [vector.block for vector in schema_in_order(OWN_COLUMNS, self.columns).vectors]:
            raise Unfit(repr(blocks), "columns of one number a row; vectors are read by feature_schema", "columns")
        if self.columns and self.feature_schema is not None:
            raise Unfit(repr(list(self.columns)), "no feature_schema beside it", "columns")
        return self

    def training(self) -> "TrainingSettings":
        """The same for a run that makes heads, whose other settings keep their defaults."""
        return TrainingSettings(**{name: getattr(self, name) for name in CrossCorpusSettings.model_fields})


class TrainingSettings(CrossCorpusSettings):
    """What a run that makes a head may decide."""

    protocol_splits: int = setting(
        10,
        "Repetitions of the field's protocol (80/20 by content) beside the gate, each one head more to train; 0 leaves "
        "it out.",
        ge=0,
        le=1_000,
    )
    help_from: HelpFrom = setting(
        (),
        "Whom a corpus of few labels is helped by: corpora with labelled tables, all (every one that is there), or the "
        "ONNX of a head on the same columns that has seen none of its clips; of mos_head.",
    )
    label_noise: NoiseWord = setting(
        "auto",
        "Whether a clip counts by the error of its score (SD and count): auto: where that is better on the folds.",
    )
    display_profile_json: SettingPath | None = setting(None, "A display's JSON, for heads that read a display.")
    smoke: bool = setting(False, "Train on seeded synthetic rows into <head>.smoke.onnx.")
    allow_synthetic_fallback: bool = setting(
        False, "Without a labelled row, train on synthetic ones into <head>.synthetic.onnx."
    )
    export: bool = setting(True, "Write the ONNX file.")
    name: ExperimentName | None = setting(
        None, "Keep the head as models/experiments/<head>.<name>, beside the one that stands."
    )
    replace: bool = setting(
        False, "Take the place of a head that was made with other columns, tables, weights, display, target or corpora."
    )

    def batch_rows(self, rows: int) -> int:
        """Rows a training step reads where ``rows`` are trained on: 64 up to 5 000 rows, 2 048 above."""
        return self.batch_size or (64 if rows <= _SMALL else 2_048)

    def head_id(self, head: str) -> str:
        """What a head is called that this run makes: ``head``, an experiment with it ``<head>.<name>``."""
        return f"{head}.{self.name}" if self.name else head

    @property
    def helpers_named(self) -> list[str]:
        """Whom ``help_from`` names: corpora, or a file by its name."""
        return [one.name if isinstance(one, Path) else one for one in self.help_from]

    def public_values(self) -> dict[str, object]:
        """Setting → value; of files the names only, since their paths and hashes are the replay manifest's inputs."""
        profile = self.display_profile_json and self.display_profile_json.name
        files = {"tables": sorted(self.tables), "extra_tables": sorted(self.extra_tables)}
        files["help_from"] = self.helpers_named
        return {**self.values(), **files, "display_profile_json": profile}


def schema_of(recipe: HeadRecipe, settings: TrainingSettings) -> FeatureSchema:
    """The features of a run: its own columns, else its schema, else what a display profile implies, else the recipe's.

    Of own columns all are measured but those whose name says geometry, duration, display or ladder.
    Vectors are of no length yet.
    SettingsError for a display profile that a head has no columns for.
    """
    if settings.columns:
        # Geometry, a ladder or a display may well be the same in all rows; a measurement that never varies is broken.
        of_clips = frozenset(NO_REFERENCE_CLIP)
        measured = frozenset(n for n in settings.columns if not n.startswith(_METADATA) and n not in of_clips)
        return FeatureSchema(OWN_COLUMNS, settings.columns, measured)
    if settings.feature_schema:
        return schema_named(settings.feature_schema, recipe.backbones)
    if settings.display_profile_json is None:
        return FEATURE_SCHEMAS[recipe.feature_schema]
    if recipe.display_schema is None:
        raise SettingsError(
            "display_profile_json",
            found=f"a profile for {recipe.name}, which reads no display",
            expected=f"feature_schema: {' or '.join(DISPLAY_SCHEMAS)} beside it",
            next_step="set it, or leave the profile out",
        )
    return FEATURE_SCHEMAS[recipe.display_schema]
