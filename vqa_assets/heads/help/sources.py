"""Who helps a head of few clips: rows of other corpora, or a head that was trained on them; read, and refused.

A helper must never have seen what the helped head is judged by: rows of contents that this corpus has too are left out,
and a head that learned from any is refused. What a head makes of its helper is in ``assistance``. Trains nothing.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vqa_assets.corpora.contents import joined_groups
from vqa_assets.errors import HeadError, Make, SchemaError, SettingsError, TableError, TrainingError
from vqa_assets.heads.help.advice import could_help
from vqa_assets.heads.judging.seen import OF_EVERY_ROW, KnownRows, predictions_path, training_of
from vqa_assets.heads.members.large_tables import stacked
from vqa_assets.heads.members.weights import I64, OnnxHelper
from vqa_assets.heads.recipe import UNDECLARED, CorpusFacts, HeadRecipe
from vqa_assets.heads.rows.choosing import Chosen, Say
from vqa_assets.heads.rows.reading import TableFiles, TrainingTable, files_of, looks, read_training_table
from vqa_assets.heads.rows.vectors import refuse_other_network, refuse_vectors_of_others
from vqa_assets.heads.settings import EVERY_CORPUS, TrainingSettings
from vqa_assets.heads.using import open_head
from vqa_assets.provenance.reading import names_of_tables
from vqa_assets.tables.files import place_to_read, read_json_object

if TYPE_CHECKING:
    from numpy.typing import NDArray

_NAMED = 3
"""How many clips or columns a message names."""
_FACTS = ("title", "licence", "citation", "version", "redistribution")
"""What a manifest says of each corpus that its head learned from."""
_REMEDY = "name other corpora in help_from, or leave it out"


@dataclass(frozen=True)
class HelpSources:
    """What a run may be helped by: labelled ``tables`` {corpus: files} of other corpora, or another head's ``onnx``.

    ``every`` is True where the run names no corpus but takes all that are there: one that cannot help is then left out,
    and told. ``able`` are corpora that could help, where nobody is named.
    """

    tables: Mapping[str, TableFiles] = field(default_factory=dict)
    onnx: Path | None = None
    every: bool = False
    able: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.tables or self.onnx)

    @property
    def files(self) -> dict[str, Path]:
        """Every file that is read, by its name in a manifest."""
        if self.onnx is not None:
            places = (self.onnx, self.onnx.with_suffix(".json"), predictions_path(self.onnx))
            return dict(zip(("help_onnx", "help_manifest", "help_predictions"), places, strict=True))
        paths = {corpus: files_of(files) for corpus, files in self.tables.items()}
        named = names_of_tables("help_features_with_mos", paths).values()
        return {name: path for own in named for name, path in own.items()}


@dataclass(frozen=True)
class HelpingRows:
    """The ``rows`` of a table of other corpora that a helper is trained on: those of contents this corpus has not."""

    table: TrainingTable
    rows: I64


@dataclass(frozen=True)
class Helper:
    """What was read of a helper, whose ``source`` is rows that it is trained on first, or a head that there is.

    ``facts`` are those of its corpora, ``counts`` their rows that it learns or learned from. ``shared`` counts rows
    that were left out because this corpus has their content, ``left_out`` {corpus: why} are corpora that cannot help.
    """

    source: HelpingRows | OnnxHelper
    facts: Mapping[str, CorpusFacts]
    counts: Mapping[str, int]
    shared: int = 0
    left_out: Mapping[str, str] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """What a manifest says of it."""
        corpora = {
            name: {
                **{k: getattr(fact, k) for k in _FACTS},
                "rows": self.counts[name],
            }
            for name, fact in self.facts.items()
        }
        head = {"id": self.source.id, "sha256": self.source.sha256} if isinstance(self.source, OnnxHelper) else None
        return {"corpora": corpora, "head": head, "rows_of_shared_contents": self.shared, "left_out": self.left_out}


def sources_of_help(recipe: HeadRecipe, settings: TrainingSettings, labelled: Mapping[str, Path]) -> HelpSources:
    """Whom ``help_from`` names; ``labelled`` holds the place of every corpus's labelled table, be it there or not.

    SettingsError for a recipe that takes no help, and for names that mean nobody else; TrainingError where a table is
    not there.
    """
    if not settings.help_from or settings.smoke:
        return HelpSources(able=could_help(recipe, settings, labelled))
    if not recipe.takes_help:
        raise SettingsError(
            "help_from",
            found=f"help for {recipe.name}, which is trained on all its corpora",
            expected="a head of one corpus (mos_head)",
            next_step="leave it out, or name further corpora in extra_tables",
        )
    first = settings.help_from[0]
    if isinstance(first, Path):
        return HelpSources(onnx=first)
    own = {*(settings.tables or recipe.corpora), *settings.extra_tables}
    others = {name: path for name, path in labelled.items() if name not in own}
    if first == EVERY_CORPUS:
        present = {name: path for name, path in others.items() if path.is_file()}
        if not present:
            raise TrainingError(
                "help_from: all",
                found="no other corpus with a labelled table",
                expected=f"that of one of {', '.join(others)}",
                next_step=Make("mos_features", " of another corpus, or leave help_from out"),
            )
        return HelpSources(present, every=True)
    named = [str(name) for name in settings.help_from]
    if trained := [name for name in named if name in own]:
        raise SettingsError(
            "help_from",
            found=f"{', '.join(trained)}, whose rows this head is trained on",
            expected=f"other corpora: {', '.join(others)}",
            next_step="leave it out",
        )
    if unknown := [name for name in named if name not in others]:
        raise SettingsError(
            "help_from",
            found=", ".join(unknown),
            expected=f"{EVERY_CORPUS}, corpora ({', '.join(others)}), or the path of a head's .onnx",
            next_step="correct help_from",
        )
    if absent := [name for name in named if not others[name].is_file()]:
        raise TrainingError(
            f"help_from: {', '.join(absent)}",
            found=f"no labelled table ({', '.join(str(others[name]) for name in absent)})",
            expected="the table of each corpus that is to help",
            next_step=Make("mos_features", " of it, or name other corpora"),
        )
    return HelpSources({name: others[name] for name in named})


def read_helper(
    sources: HelpSources,
    own: TrainingTable,
    chosen: Chosen,
    settings: TrainingSettings,
    corpora_facts: Mapping[str, CorpusFacts],
    say: Say,
) -> Helper:
    """The helper of a head that is trained on ``own`` rows.

    TrainingError where it lacks the head's columns, or nothing of it is left; HeadError for a head that cannot help.
    """
    if sources.onnx is not None:
        return _head_that_helps(sources.onnx, own, chosen, settings, corpora_facts)
    tables, left_out = dict(sources.tables), {}
    if sources.every:
        reasons = {name: _refused(name, files, own, chosen, settings) for name, files in tables.items()}
        left_out = {name: why for name, why in reasons.items() if why}
        for name, why in left_out.items():
            say(f"help_from: {name} is left out: {why}")
        tables = {name: files for name, files in tables.items() if name not in left_out}
        if not tables:
            raise TrainingError(
                "help_from: all",
                found="; ".join(f"{name}: {why}" for name, why in left_out.items()),
                expected=f"a corpus with the {len(own.schema.feature_order)} columns of {own.schema.name}",
                next_step="measure its features, or leave help_from out",
            )
    try:
        table = _rows_of(tables, own, chosen, settings)
    except TrainingError as error:
        raise TrainingError(
            f"help_from: {error.what}", found=error.found, expected=error.expected, next_step=_REMEDY
        ) from error
    facts = {name: corpora_facts.get(name, UNDECLARED) for name in tables}
    is_shared = shared_contents(own, table, corpora_facts)
    if is_shared.any():
        first = [table.keys[row] for row in np.flatnonzero(is_shared)[:_NAMED]]
        say(f"help_from: {is_shared.sum()} rows of contents of this corpus are left out, such as {', '.join(first)}")
    rows = np.flatnonzero(~is_shared)
    contents = {table.groups[row] for row in rows}
    if len(contents) < 2:
        raise TrainingError(
            f"help_from: {', '.join(tables)}",
            found=f"{len(rows)} rows of {len(contents)} contents that this corpus does not have, of {len(is_shared)}",
            expected="two contents or more",
            next_step=_REMEDY,
        )
    counts = Counter(table.corpora[row] for row in rows)
    used = {name: fact for name, fact in facts.items() if counts[name]}
    return Helper(HelpingRows(table, rows), used, counts, shared=int(is_shared.sum()), left_out=left_out)


def _rows_of(
    tables: Mapping[str, TableFiles], own: TrainingTable, chosen: Chosen, settings: TrainingSettings
) -> TrainingTable:
    refuse_vectors_of_others({corpus: files_of(files) for corpus, files in tables.items()}, chosen.backbones)
    return read_training_table(
        tables, own.schema, settings.allow_missing_features, chosen.display, target=settings.target
    )


def _refused(name: str, files: TableFiles, own: TrainingTable, chosen: Chosen, settings: TrainingSettings) -> str:
    """Why one corpus cannot help, a table that cannot be read among the reasons; empty where it can."""
    try:
        _rows_of({name: files}, own, chosen, settings)
    except (TrainingError, TableError, SchemaError) as error:
        return f"{error.what}: {error.found}"
    return ""


def shared_contents(
    own: TrainingTable, other: TrainingTable, corpora_facts: Mapping[str, CorpusFacts]
) -> "NDArray[np.bool_]":
    """Which rows (M,) of another table show a content of this one's.

    They bear its content id, are the same bytes, the same upload by the site's id in their names, or measure the same.
    """
    both = (own, other)
    groups: Sequence[str] = [group for table in both for group in table.groups]
    of_bytes = [mark for table in both for mark in table.src_sha256]
    uploads = [mark for table in both for mark in _uploads(table.keys, table.corpora, corpora_facts)]
    features = stacked([(table.features, np.arange(len(table.features))) for table in both])
    alike = looks(features, own.schema, {*own.filled, *other.filled})
    for marks in (of_bytes, uploads, alike):
        groups = joined_groups(groups, marks)
    ours = set(groups[: len(own.groups)])
    return np.array([group in ours for group in groups[len(own.groups) :]], dtype=bool)


def _uploads(keys: Sequence[str], corpora: Sequence[str], corpora_facts: Mapping[str, CorpusFacts]) -> list[str | None]:
    """Per clip the id of its upload, where its corpus's names hold one."""
    from vqa_assets.unified.related import upload_ids

    of_corpora = np.asarray(corpora)
    marks: list[str | None] = [None] * len(keys)
    for name in dict.fromkeys(corpora):
        families = corpora_facts[name].name_ids if name in corpora_facts else ()
        rows = np.flatnonzero(of_corpora == name).tolist()
        for row, mark in zip(rows, upload_ids([keys[row] for row in rows], families), strict=True):
            marks[row] = mark
    return marks


def _head_that_helps(
    onnx: Path,
    own: TrainingTable,
    chosen: Chosen,
    settings: TrainingSettings,
    corpora_facts: Mapping[str, CorpusFacts],
) -> Helper:
    """Another head, as its files say it is; HeadError where it cannot help, or where nothing tells that it may."""
    head = open_head(onnx)
    manifest, what = head.manifest, f"help_from: {onnx.name}"
    if head.encoders or head.target != settings.target:
        raise HeadError(
            what,
            found=f"a head of {head.target}",
            expected=f"one of {settings.target}, which this head learns",
            next_step=_REMEDY,
        )
    if manifest.synthetic:
        raise HeadError(what, found="a head of made-up rows", expected="one of real clips", next_step=_REMEDY)
    theirs, ours = head.schema.feature_order, own.schema.feature_order
    if theirs != ours:
        raise HeadError(
            what,
            found=f"{len(theirs)} columns{_apart(theirs, ours)}",
            expected=f"the {len(ours)} columns of {own.schema.name}{_apart(ours, theirs)}, in the same order",
            next_step="train that head on these columns, or name its corpora in help_from",
        )
    for name, backbone in chosen.backbones.items():
        refuse_other_network(what, manifest.backbones.get(name), backbone)
    document = _ManifestOfHelp.of(onnx)
    if document.helped:
        raise HeadError(
            what,
            found="a head that was helped itself: nothing tells which clips its helper learned from",
            expected="one that learned from its own corpora alone",
            next_step=_REMEDY,
        )
    training = training_of(onnx)
    if training is None or training.predictions is None or training.kind not in OF_EVERY_ROW:
        kind = training and training.predictions and f"a head of a {training.kind}, whose predictions name what judged"
        raise HeadError(
            what,
            found=kind or f"no {predictions_path(onnx).name} of this head beside it",
            expected="its predictions out of fold, which name every clip that it learned from",
            next_step="put the file back, train that head again, or name its corpora in help_from",
        )
    learned = training.seen(KnownRows(own.keys, own.corpora, own.groups, own.split, own.src_sha256))
    seen = np.zeros(len(own.keys), dtype=bool) if learned is None else learned.rows
    seen |= _same_uploads(predictions_path(onnx), own, corpora_facts)
    if seen.any():
        clips = ", ".join(own.keys[row] for row in np.flatnonzero(seen)[:_NAMED])
        raise HeadError(
            what,
            found=f"a head that learned from {seen.sum()} of these {len(seen)} clips or their contents ({clips})",
            expected="one that has seen none of this corpus",
            next_step="name the other corpora in help_from: then their shared contents are left out",
        )
    helper = OnnxHelper(place_to_read(onnx).read_bytes(), manifest.id, manifest.sha256, document.n_parameters)
    return Helper(helper, document.facts, document.rows)


@dataclass(frozen=True)
class _ManifestOfHelp:
    """What the manifest of a helping head says beyond what using it takes: its corpora, their rows, its own help."""

    helped: bool
    n_parameters: int
    facts: Mapping[str, CorpusFacts]
    rows: Mapping[str, int]

    @classmethod
    def of(cls, onnx: Path) -> "_ManifestOfHelp":
        """HeadError where it does not say them: whose clips a helper learned, under what licence, must be known."""
        document = read_json_object(onnx.with_suffix(".json"))
        try:
            help_ = document.get("help") or {"used": False}  # a head of an earlier edition says none
            corpora = document["corpora"]
            facts = {name: CorpusFacts(**{k: one[k] for k in _FACTS}) for name, one in corpora.items()}
            rows = {name: int(one["rows"]) for name, one in corpora.items()}
            return cls(bool(help_["used"]), int(document["n_parameters"]), facts, rows)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise HeadError(
                f"help_from: {onnx.with_suffix('.json').name}",
                found=f"no usable help, n_parameters or corpora ({type(error).__name__}: {error})",
                expected="a manifest as the head's run wrote it",
                next_step="put the file back, train that head again, or name its corpora in help_from",
            ) from error


def _same_uploads(
    predictions: Path, own: TrainingTable, corpora_facts: Mapping[str, CorpusFacts]
) -> "NDArray[np.bool_]":
    """Which of our rows are of an upload that the clips of a head's predictions are of, too."""
    import polars as pl

    told = pl.read_parquet(predictions, columns=["key", "corpus"], glob=False)
    theirs = set(_uploads(told["key"].to_list(), told["corpus"].to_list(), corpora_facts)) - {None}
    return np.array([mark in theirs for mark in _uploads(own.keys, own.corpora, corpora_facts)], dtype=bool)


def _apart(ours: Sequence[str], theirs: Sequence[str]) -> str:
    own = [name for name in ours if name not in theirs]
    return f" ({', '.join(own[:_NAMED])}{', …' if len(own) > _NAMED else ''})" if own else ""
