"""The stages as functions for scripts and notebooks, without Dagster: from a score file and clips to a judged head.

Each call does what the asset beside its name does: it reads and writes the same files of the same data root, with the
same replay manifests, checks its input in the same way, and keeps to ``ingest.toml``. Nobody is told that it ran: the
web UI shows what assets made, and the checks of an asset run when Dagster runs them.

``root`` is the data root, else ``$VQA_DATA_ROOT``, else ``data``. Corpora are named as the package, or a declaration in
``<root>/corpora``, names them. Further keyword arguments are the stage's settings by their names (docs/ingest.md,
docs/labels.md, docs/features-and-heads.md); what a call states is noted in the manifest's ``args`` as a run config's.

Errors are those of ``vqa_assets.errors``, with ``what``, ``found``, ``expected`` and ``next_step``: ArgumentError for a
name that means nothing (with the one that was probably meant), SettingsError for a value that cannot be used, and what
each call says. An error, and an interrupt (Ctrl-C), leave what stood before; clips that were read or measured are kept.
Calls may be made from several threads: those that make the same thing take turns.
Log lines go to the logger ``vqa_assets`` (``logging.basicConfig(level="INFO")`` shows them).
"""

import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, KeysView, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from vqa_assets.arguments import known_word
from vqa_assets.clips.cap_settings import StatedCaps
from vqa_assets.clips.work import ClipPool, Observer, PassCounts, ThreadClipPool, unobserved
from vqa_assets.corpora import Corpus
from vqa_assets.corpora.declarations import corpora_folder, with_declared
from vqa_assets.errors import ArgumentError, HeadError, SettingsError, VqaError
from vqa_assets.features.family import FeatureExtractor
from vqa_assets.features.settings import ExtractionSettings, MeasuringSettings
from vqa_assets.heads.recipe import HeadRecipe, corpus_head_recipe
from vqa_assets.heads.settings import TrainingSettings
from vqa_assets.ingest.settings import IngestSettings, resolve
from vqa_assets.ingest.tools import DownloaderSource, ProberSource
from vqa_assets.judge import JUDGEMENT, JudgeQuestion, judgement_of, names_in
from vqa_assets.labels.settings import JoinSettings
from vqa_assets.predict import Scored, find_head, score_all, sources_of
from vqa_assets.printing import logger
from vqa_assets.provenance import RunContext
from vqa_assets.settings import Settings, fits_a_disk, typed_path
from vqa_assets.stages import corpora as of_corpora
from vqa_assets.stages import features as of_features
from vqa_assets.stages import heads as of_heads
from vqa_assets.stages import labels as of_labels
from vqa_assets.stages import unified as of_unified
from vqa_assets.stages.run import faults_in_words, git_state, public_arguments
from vqa_assets.tables.paths import DataRoot, manifest_path
from vqa_assets.tables.publication import settle, settle_root
from vqa_assets.unified.settings import AggregationSettings, FeatureRowsSettings

if TYPE_CHECKING:
    from vqa_assets.heads.members.method import Trainer

__all__ = [
    "HeadFiles",
    "JudgedScores",
    "PassCounts",
    "Scored",
    "TableFile",
    "ThreadClipPool",
    "ingest",
    "judge",
    "label",
    "measure",
    "predict",
    "train",
    "unify",
    "unify_features",
]

Stage = TypeVar("Stage", bound=Settings)
_CALLS = {
    "corpus_jsonl": "ingest",
    "unified_corpus": "unify",
    "clip_features": "measure",
    "mos_features": "label",
    "unified_features": "unify_features",
    "mos_head": "train",
}
"""Asset → the call that makes the same."""
_OPTIONS_OF_JUDGE = [one.name for one in fields(JudgeQuestion) if one.name not in ("judged", "table", "root")]
_turns: dict[tuple[str, ...], threading.RLock] = {}
"""What is made → who makes it now, of the threads of this process."""
_turns_change = threading.Lock()
_log = logger("vqa_assets.api")


@dataclass(frozen=True)
class TableFile:
    """A table that a call published: where it and its replay manifest lie, its rows, and what became of the others.

    ``counters`` are those of the manifest, in which ``manifest`` is what was written. ``left_as_it_is`` says why a
    feature table of somebody else's was not replaced; then nothing is known of it but its rows.
    """

    path: Path
    manifest_path: Path
    rows: int
    counters: Mapping[str, int]
    data_version: str
    manifest: Mapping[str, Any] = field(repr=False)
    left_as_it_is: str = ""


@dataclass(frozen=True)
class HeadFiles:
    """A head that a call trained: its files, its verdict in a line, and whether its gate is passed, else why not.

    ``onnx`` is None where nothing was exported. ``scores`` {metric: value} are means over folds by content, None for
    what is not defined.
    """

    onnx: Path | None
    manifest_path: Path
    card: Path
    predictions: Path
    verdict: str
    passed: bool
    reasons: tuple[str, ...]
    scores: Mapping[str, float | None]
    manifest: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True)
class JudgedScores:
    """How well something predicts opinion scores: ``scores`` {metric: value} and 95 % ``intervals`` over all rows.

    ``rows`` of ``rows_in`` were judged. ``passed`` is None where no gate was named, else whether it is passed, and
    ``reasons`` why not. ``notes`` are what a reader must know; ``document`` is the whole judgement, which lies at
    ``path`` where it was to be written.
    """

    rows: int
    rows_in: int
    scores: Mapping[str, float | None]
    intervals: Mapping[str, Sequence[float | None]]
    passed: bool | None
    reasons: tuple[str, ...]
    notes: tuple[str, ...]
    document: Mapping[str, Any] = field(repr=False)
    path: Path | None = None


def ingest(
    corpus: str,
    *,
    root: str | Path | None = None,
    pool: ClipPool | None = None,
    prober: ProberSource | None = None,
    downloader: DownloaderSource | None = None,
    progress: Observer | None = None,
    **settings: Any,
) -> TableFile:
    """A corpus's score file and clips become its JSONL (``corpus_jsonl``); absent clips are fetched first.

    An interrupted call goes on where it stopped. ``progress`` hears once a minute, and at the end, how far it is.
    ``pool`` is where clips are worked on, by default threads of this process; ``prober`` and ``downloader`` are tools
    of your own.

    AnnotationError for a score file that is absent or not usable, ScaleError for scores that fit no scale of the
    corpus, LockedError where another run (of Dagster, too) is at work on the corpus, IngestError where no clip could be
    read.
    """
    with _in_words_of_calls():
        place = _OpenRoot.of("ingest", root)
        of = place.corpus("ingest", corpus)
        settings = _plain(settings)
        _checked("ingest", IngestSettings, settings)
        _refuse_no_tool("ingest", pool=(pool, "open"), progress=(progress, "__call__"))
        _refuse_no_tool("ingest", prober=(prober, "probe", "open_tool", "describe_tool"))
        _refuse_no_tool("ingest", downloader=(downloader, "fetch", "open_tool", "describe_tool"))
        resolved = resolve(of, settings, place.root.ingest_toml(of))
        made = of_corpora.ingest(
            of,
            resolved,
            of_corpora.prober_named() if prober is None else prober,
            of_corpora.downloader_named() if downloader is None else downloader,
            ThreadClipPool() if pool is None else pool,
            place.run("corpus_jsonl", of_corpora.CORPUS_JSONL_VERSION, settings, of.name),
            progress or unobserved,
        )
    layout = made.layout
    return TableFile(
        layout.output, layout.manifest, made.report.rows_out, made.report.counters(), made.data_version, made.manifest
    )


def unify(*, root: str | Path | None = None, **settings: Any) -> TableFile:
    """Every corpus JSONL that is there becomes one corpus, on one scale, each clip once (``unified_corpus``).

    AggregateError where there is none, or where they cannot become one.
    """
    with _in_words_of_calls():
        place = _OpenRoot.of("unify", root)
        settings = _plain(settings)
        config = _checked("unify", AggregationSettings, settings)
        run = place.run("unified_corpus", of_unified.UNIFIED_CORPUS_VERSION, settings)
        with place.turn("unified_corpus"):
            made = of_unified.unify(place.corpora, config, run)
    manifest_file = config.manifest_out or manifest_path(made.jsonl)
    report = made.report
    return TableFile(made.jsonl, manifest_file, report.rows_out, report.counters(), made.data_version, made.manifest)


def measure(
    corpus: str,
    *,
    root: str | Path | None = None,
    pool: ClipPool | None = None,
    extractor: FeatureExtractor | None = None,
    progress: Observer | None = None,
    **settings: Any,
) -> TableFile:
    """The clips of a corpus's JSONL are measured, and become its feature table (``clip_features``).

    Settings are those of the asset and of its resource ``extractor`` (``feature_sets``, ``perceptual_hash`` …); an
    ``extractor`` of your own stands in its place. Clips that were measured before are not measured again. ``progress``
    and ``pool`` as for ``ingest``.

    FeatureError where there is no JSONL, or no clip of it could be measured; a clip that fails costs that clip only.
    """
    with _in_words_of_calls():
        place = _OpenRoot.of("measure", root)
        of = place.corpus("measure", corpus)
        settings = _plain(settings)
        _refuse_no_tool(
            "measure", pool=(pool, "open"), progress=(progress, "__call__"), extractor=(extractor, "measure")
        )
        _known("measure", settings, ExtractionSettings, MeasuringSettings)
        own = {name: value for name, value in settings.items() if name in ExtractionSettings.model_fields}
        of_clips = {name: value for name, value in settings.items() if name not in own}
        extraction = _checked("measure", ExtractionSettings, own)
        measuring = _checked("measure", MeasuringSettings, of_clips)
        if extractor is not None and of_clips:
            raise SettingsError(
                f"measure: {', '.join(of_clips)}",
                found="an extractor beside it",
                expected="one of both to say what is measured",
                next_step="leave one out",
            )
        with place.turn("clip_features", of.name):
            made = of_features.measure(
                of,
                extraction,
                of_features.extractor_of_settings(measuring, place.root) if extractor is None else extractor,
                ThreadClipPool() if pool is None else pool,
                place.run("clip_features", of_features.CLIP_FEATURES_VERSION, own, of.name),
                progress or unobserved,
            )
    manifest = made.manifest or {}
    counters = manifest.get("counters", {})
    return TableFile(
        made.path, manifest_path(made.path), made.rows, counters, made.data_version, manifest, made.foreign
    )


def label(corpus: str, *, root: str | Path | None = None, **settings: Any) -> TableFile:
    """A corpus's feature table gets its opinion scores (``mos_features``); rows, order and columns stay.

    LabelError where too few keys have a label, or keys or scores cannot be read; TableError for a table that is not
    there or cannot be read.
    """
    with _in_words_of_calls():
        place = _OpenRoot.of("label", root)
        of = place.corpus("label", corpus)
        settings = _plain(settings)
        join = _checked("label", JoinSettings, settings)
        run = place.run("mos_features", of_labels.MOS_FEATURES_VERSION, settings, of.name)
        with place.turn("mos_features", of.name):
            made = of_labels.label(of, join, place.corpora, run)
    audit = made.audit
    counters = {"rows_in": audit.input_rows, "matched_rows": audit.matched_rows, "missing_rows": audit.missing_rows}
    return TableFile(
        made.paths.out, made.paths.audit_json, audit.output_rows, counters, made.data_version, made.manifest
    )


def unify_features(
    *, root: str | Path | None = None, extractor: FeatureExtractor | None = None, **settings: Any
) -> TableFile:
    """The unified corpus's opinion scores get the features of every labelled table (``unified_features``).

    It is what heads over every corpus are trained on: ``unify`` and ``label`` come before. ``extractor`` is one of your
    own, whose columns are features too. SchemaError or TableError for a table that cannot be used, AggregateError where
    nothing joins.
    """
    with _in_words_of_calls():
        place = _OpenRoot.of("unify_features", root)
        settings = _plain(settings)
        _refuse_no_tool("unify_features", extractor=(extractor, "measure"))
        config = _checked("unify_features", FeatureRowsSettings, settings)
        run = place.run("unified_features", of_unified.UNIFIED_FEATURES_VERSION, settings)
        # Which columns are features is said by what measures them; of vectors the tables say it themselves.
        measuring = (
            of_features.extractor_of_settings(MeasuringSettings(), place.root) if extractor is None else extractor
        )
        with place.turn("unified_features"):
            made = of_unified.join_with_features(place.corpora, config, measuring, run)
    report = made.report
    return TableFile(
        made.path, manifest_path(made.path), report.rows_out, report.counters(), made.data_version, made.manifest
    )


def train(head: str, *, root: str | Path | None = None, trainer: "Trainer | None" = None, **settings: Any) -> HeadFiles:
    """Labelled tables become a judged ONNX head; ``head`` is a recipe's name, or a corpus for a head of its own.

    A recipe's asset has its name (``konvid_mos_head_v1``), a corpus's is ``mos_head``. A head that misses its gate is
    published as Proposed, and is no error: see ``HeadFiles.passed``. ``trainer`` is one of your own; torch in this
    process by default.

    TrainingError where no labelled table is there, or rows must not be trained on; TooFewContentsError for rows of too
    few contents; SettingsError where a head of other choices stands (``name`` or ``replace``).
    """
    from vqa_assets.heads.verdicts import verdict_in_a_line

    with _in_words_of_calls():
        place = _OpenRoot.of("train", root)
        head, settings = _name("train", "head", head), _plain(settings)
        _refuse_no_tool("train", trainer=(trainer, "train"))
        recipes: dict[str, HeadRecipe] = {one.name: one for one in of_heads.named_recipes(place.corpora)}
        if head == "mos_head":  # the asset's name, which needs a partition there
            raise ArgumentError(
                "train: head mos_head",
                found="an asset with a head per corpus",
                expected="a corpus's name, for its head",
            )
        known_word(head, [*recipes, *place.corpora], "head or corpus")
        recipe = recipes[head] if head in recipes else corpus_head_recipe(head)
        training = _checked("train", TrainingSettings, settings)
        asset, partition = (head, None) if head in recipes else ("mos_head", head)
        run = place.run(asset, of_heads.HEADS_VERSION, settings, partition)
        with place.turn("a head", head, training.name or ""):
            made = of_heads.train(
                recipe, training, place.corpora, lambda: _torch() if trainer is None else trainer, _say, run
            )
    manifest = made.manifest
    return HeadFiles(
        made.onnx,
        made.manifest_path,
        made.card,
        made.predictions,
        verdict_in_a_line(manifest),
        bool(manifest["gate"]["passed"]),
        tuple(manifest["gate"]["reasons"]),
        manifest["folds"]["mean"],
        manifest,
    )


def judge(judged: str | Path, table: str | Path, *, root: str | Path | None = None, **options: Any) -> JudgedScores:
    """How well a head's file or name, or a column of the table, predicts the scores of a labelled table.

    Options are the command's (docs/judging.md): ``gate`` names a recipe whose gate is read, ``columns`` are
    what a head without our manifest reads, ``target`` the column of scores; ``lower_is_better`` turns the
    predictions round, ``no_baselines`` leaves out what takes longest, ``resamples`` [1000] are those of an interval.
    With ``out``, ``judgement.json`` and a picture are written into that folder.

    HeadError where it names neither a head nor a column, TableError for a table that cannot be read.
    """
    from vqa_assets.metrics import METRIC_NAMES

    with _in_words_of_calls():
        for name in options:
            known_word(name, _OPTIONS_OF_JUDGE, "option", of_what="judge")
        options = _options_of_judge(options)
        question = JudgeQuestion(
            str(_path("judge", "judged", judged)),
            typed_path(_path("judge", "table", table)),
            root=_root_text("judge", root),
            **options,
        )
        with _turn("a judgement", os.path.realpath(question.out or "")) if question.out else nullcontext():
            judgement = judgement_of(question, public_arguments(sys.argv, os.environ), "call")
    document = judgement.as_json()
    of_all, read = document["parts"][0], judgement.gate
    return JudgedScores(
        judgement.counts["judged"],
        judgement.counts["rows_in"],
        {name: of_all[name] for name in METRIC_NAMES},
        of_all["interval_95"],
        None if read is None else read.verdict.passed,
        () if read is None else tuple(read.verdict.reasons),
        judgement.notes,
        document,
        None if question.out is None else question.out / JUDGEMENT,
    )


def predict(
    head: str | Path,
    sources: str | Path | Sequence[str | Path],
    *,
    root: str | Path | None = None,
    workers: int | None = None,
    say: Callable[[str], None] | None = None,
    **caps: Any,
) -> list[Scored]:
    """A head's score for every row of feature tables and every clip, with the end points of its interval.

    ``head`` is an ONNX file of ours or a head's name under ``<root>/models``; ``sources`` are clips, folders of clips,
    feature tables, and corpora. A clip that cannot be measured has no score (NaN) and a ``reason``. ``workers`` clips
    are measured at once, by default as many as there are cores; ``say`` gets a line about it every few seconds.
    ``max_pixels``, ``max_duration_s``, ``max_frames`` and ``memory_budget`` are caps on what is decoded, by default
    those of the ``ingest.toml`` of a corpus that is named, else as for ``ingest``.

    HeadError for a head that is not there, or cannot read what is named.
    """
    from vqa_assets.heads.using import open_head

    tell_of = say or _say
    with _in_words_of_calls():
        data_root, head = _root_text("predict", root), _path("predict", "head", head)
        stated: Any = sources
        if isinstance(stated, (str, bytes, os.PathLike)) or not isinstance(stated, Iterable):
            stated = [stated]
        named = [str(_path("predict", "sources", one)) for one in stated]
        if not named:
            raise HeadError(f"predict: {head}", found="nothing to score", expected="clips, folders, tables or corpora")
        workers = _plain(workers)
        if workers is not None and (type(workers) is not int or workers < 1):
            _refuse("predict", "workers", workers, "a whole number of 1 or more")
        _refuse_no_tool("predict", say=(say, "__call__"))
        stated_caps = _checked("predict", StatedCaps, _plain(caps))
        tables, clips = sources_of(named, data_root, stated=stated_caps, say=tell_of)
        onnx = find_head(str(head), data_root)
        settle(onnx.parent, *(table.parent for table in tables))
        opened = open_head(onnx)
        for warning in opened.warnings:
            _log.warning("%s is %s", opened.manifest.id, warning)
        return score_all(opened, tables, clips, workers or os.cpu_count() or 1, data_root, tell_of)


@dataclass(frozen=True)
class _OpenRoot:
    """A data root and the corpora that are known there."""

    root: DataRoot
    corpora: Mapping[str, Corpus]

    @classmethod
    def of(cls, call: str, root: str | Path | None) -> "_OpenRoot":
        """The root that a call names, else the environment's; what a killed run left half published is settled."""
        found = DataRoot.resolve(_root_text(call, root))
        settle_root(found)
        return cls(found, with_declared(corpora_folder(found.path, os.environ)))

    def corpus(self, call: str, name: str) -> Corpus:
        return self.corpora[known_word(_name(call, "corpus", name), self.corpora, "corpus")]

    def turn(self, *what: str) -> AbstractContextManager[None]:
        """This thread's turn to make something in this root."""
        return _turn(os.path.realpath(self.root.path), *what)

    def run(self, asset: str, version: str, stated: Mapping[str, Any], corpus: str | None = None) -> RunContext:
        """What the manifest says of this call: as of the asset's run, but that there was none."""
        ids = {
            "run_id": None,
            "asset_key": asset,
            "partition_key": corpus,
            "code_version": version,
            "config": {name: _as_in_a_form(value) for name, value in stated.items() if value is not None},
        }
        argv = public_arguments(sys.argv, os.environ)
        return RunContext(root=self.root, dagster=ids, entrypoint=Path(__file__), argv=argv, git=git_state())


@contextmanager
def _turn(*what: str) -> Iterator[None]:
    """Wait while another thread of this process makes the same: drafts are named by their process, and are one."""
    with _turns_change:
        turn = _turns.setdefault(what, threading.RLock())
    with turn:
        yield


def _refuse(call: str, argument: str, value: object, expected: str) -> NoReturn:
    raise SettingsError(
        f"{call}: {argument}", found=f"{value!r:.80}", expected=expected, next_step="correct the argument"
    )


def _name(call: str, argument: str, value: object) -> str:
    """A name, a text of Python's own; SettingsError for anything else."""
    return str(value) if isinstance(value, str) else _refuse(call, argument, value, "a name")


def _path(call: str, argument: str, value: object) -> Path | str:
    """A path, or a name that stands for one; SettingsError for what is neither, or lies on no disk."""
    path = value if isinstance(value, str) else Path(value) if isinstance(value, os.PathLike) else None
    if path is None or not str(path) or "\0" in str(path) or not fits_a_disk(path):
        _refuse(call, argument, value, "a path, or a name")
    return path


def _root_text(call: str, root: object) -> str | None:
    """A data root as it was named; None, or an empty text, for the environment's."""
    return None if root is None or root == "" else str(_path(call, "root", root))


def _refuse_no_tool(call: str, **tools: tuple[Any, ...]) -> None:
    """SettingsError for a tool of somebody's own that has none of the methods beside it; None is the shipped one."""
    for argument, (tool, *methods) in tools.items():
        # A class has its objects' methods, too, but nobody to call them on.
        usable = not isinstance(tool, type) and any(callable(getattr(tool, method, None)) for method in methods)
        if tool is not None and not usable:
            one = " or ".join(f"{method}()" for method in methods)
            _refuse(call, argument, tool, "a function" if methods == ["__call__"] else f"an object with {one}")


def _options_of_judge(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options as the command has them; SettingsError for one of another type."""
    stated = {name: value for name, value in _plain(options).items() if value is not None}
    for name, value in stated.items():
        if name in ("lower_is_better", "no_baselines") and not isinstance(value, bool):
            _refuse("judge", name, value, "true or false")
        if name in ("gate", "target"):
            _name("judge", name, value)
        if name == "resamples" and (type(value) is not int or value < 1):
            _refuse("judge", name, value, "a whole number of 1 or more")
        if name == "out":
            stated[name] = typed_path(_path("judge", name, value))
        if name == "columns":
            if not isinstance(value, (list, str)) or not all(isinstance(one, str) for one in value):
                _refuse("judge", name, value, "a list of columns")
            stated[name] = names_in(value) if isinstance(value, str) else tuple(value)
    return stated


def _plain(value: Any) -> Any:
    """A value of Python's own: numbers and arrays of numpy and polars too, and as a list what is gone through once."""
    if isinstance(value, Mapping):
        return {name: _plain(one) for name, one in value.items()}
    as_list = getattr(value, "tolist", None) or getattr(value, "to_list", None)
    if callable(as_list) and not isinstance(value, type):
        return _plain(as_list())
    if isinstance(value, (set, frozenset)):
        return sorted(map(_plain, value), key=str)  # in an order that is the same in each process
    return [_plain(one) for one in value] if isinstance(value, (list, tuple, KeysView, Iterator)) else value


def _known(call: str, settings: Mapping[str, Any], *models: type[Settings]) -> None:
    """ArgumentError for a keyword that no setting of the call has, with the nearest one."""
    fields = [name for model in models for name in model.model_fields]
    for name in settings:
        known_word(name, fields, "setting", of_what=call)


def _checked(call: str, model: type[Stage], settings: Mapping[str, Any]) -> Stage:
    """The settings that a call states, the others by default."""
    _known(call, settings, model)
    return model.of(settings, call, "correct the argument")


def _as_in_a_form(value: Any) -> Any:
    """A value as a run config has it, from which the command that makes the artefact again is written."""
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return {name: _as_in_a_form(one) for name, one in value.items()}
    return [_as_in_a_form(one) for one in value] if isinstance(value, (tuple, list)) else value


def _torch() -> "Trainer":
    of_heads.require_training()
    from vqa_assets.heads.members.training import TorchTrainer

    return TorchTrainer()


def _say(message: str) -> None:
    _log.info("%s", message)


@contextmanager
def _in_words_of_calls() -> Iterator[None]:
    """An error that says which asset is to be made says which call does that; faults of the disk become errors."""
    try:
        with faults_in_words():
            yield
    except VqaError as error:
        if (step := error.make) is not None:
            how = (
                f"call {_CALLS[step.asset]} ({step.asset})"
                if step.asset in _CALLS
                else f"run vqa-assets materialize {step.asset}"
            )
            error.next_step, error.make = f"{how}{step.rest}", None
        raise
