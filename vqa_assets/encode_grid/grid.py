"""From rows to the grid's published files: one source's grid JSONL, and all of them as one training corpus.

Counting, validating and publishing are here; what a source's rows look like is in ``grid_sources``, what trains on the
training corpus in ``heads``. In ``fr_training_corpus`` each encode stands once: two rows of one natural key are one
encode, and the first wins, in the order of the inputs. Where the other says something else of it than when and where
it was scored, that is a conflict: counted, logged with both places, kept out like any duplicate.
"""

import filecmp
import hashlib
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vqa_assets.corpora import EncodeGridSource
from vqa_assets.encode_grid.grid_files import every_grid_jsonl, grid_jsonl, training_corpus
from vqa_assets.encode_grid.grid_rows import (
    NATURAL_KEY,
    ROW_KEYS,
    SCHEMA_VERSION,
    content_line,
    content_of,
    grid_line,
    read_grid,
)
from vqa_assets.errors import EncodeGridError, Make
from vqa_assets.feature_names import CANONICAL_6
from vqa_assets.printing import LOSSES_TOLD, logger, warn_of_others
from vqa_assets.provenance import Manifest, ReadInput, RunContext, write_manifest
from vqa_assets.provenance.reading import read_now, refuse_changes
from vqa_assets.settings import with_origins
from vqa_assets.tables.files import read_json_lines, write_lines
from vqa_assets.tables.paths import DataRoot, manifest_path
from vqa_assets.tables.publication import Publication, publishing, settle
from vqa_assets.tables.specs import ENCODE_GRID_JSONL, FR_TRAINING_CORPUS, Table
from vqa_assets.tables.targets import OwnTarget, check_targets, is_written_for, why_other_manifest
from vqa_assets.tables.validation import validate_rows

GRID_STAGE, MERGE_STAGE = "encode_grid_jsonl", "fr_training_corpus"
GRID_SCHEMA = "encode-grid-manifest-v1"
MERGE_SCHEMA = "fr-training-corpus-manifest-v1"
_LOSSES_IN_MESSAGE = 3
_log = logger("vqa_assets.encode_grid")


@dataclass(frozen=True)
class ReportLoss:
    """A report that gave no row, and why; ``empty`` where nothing was written in it."""

    name: str
    reason: str
    empty: bool = False


@dataclass
class GridReport:
    """Counters of one grid: rows_in = rows_out + broken + empty. The others say what is wrong with the rows.

    ``other_models`` counts the rows that another model scored than most.
    """

    rows_in: int = 0
    rows_out: int = 0
    broken: int = 0
    empty: int = 0
    filled_version_2: int = 0
    without_geometry: int = 0
    without_features: int = 0
    unscored: int = 0
    failed_encodes: int = 0
    repeated_clips: int = 0
    other_models: int = 0
    vmaf_models: Counter[str] = field(default_factory=Counter)
    losses: list[ReportLoss] = field(default_factory=list)

    def counters(self) -> dict[str, int]:
        """Every counter by name."""
        return {name: value for name, value in vars(self).items() if isinstance(value, int)}

    def lose(self, loss: ReportLoss) -> None:
        """Count a report that gave no row."""
        self.rows_in += 1
        self.empty += loss.empty
        self.broken += not loss.empty
        self.losses.append(loss)
        if len(self.losses) <= LOSSES_TOLD:  # the others are named when all are known
            _log.warning("%s: %s; left out", loss.name, loss.reason)

    def keep(self, row: Mapping[str, Any]) -> None:
        """Count a row."""
        self.rows_in += 1
        self.rows_out += 1
        self.without_geometry += not (row["width"] and row["height"] and row["framerate"])
        self.without_features += any(math.isnan(row[f"{f}_mean"]) for f in CANONICAL_6)
        self.unscored += math.isnan(row["vmaf_score"])
        self.failed_encodes += row["exit_status"] != 0
        self.vmaf_models[row["vmaf_model"]] += 1
        self.other_models = self.rows_out - max(self.vmaf_models.values())

    def judge(self, source: str) -> None:
        """EncodeGridError where a row is unaccounted for, or none is usable."""
        if self.rows_in != self.rows_out + self.broken + self.empty:
            raise EncodeGridError(
                f"encode_grid_jsonl[{source}]: rows do not reconcile",
                found=f"{self.rows_in} in",
                expected=f"{self.rows_out} out + {self.broken} broken + {self.empty} empty",
                next_step="the earlier output is kept; report this as a defect",
            )
        if not self.rows_out:
            examples = "; ".join(f"{loss.name}: {loss.reason}" for loss in self.losses[:_LOSSES_IN_MESSAGE])
            without_rows = f"{self.broken} broken and {self.empty} empty reports ({examples})"
            raise EncodeGridError(
                f"{source}: no usable row",
                found=without_rows if examples else "an input without rows",
                expected="at least one scored encode",
                next_step="the earlier output is kept; score the clips again, or name another input",
            )


@dataclass(frozen=True)
class GridOutput:
    """Where a grid goes, and its replay manifest: beside it unless named."""

    jsonl: Path
    manifest_out: Path | None = None

    @property
    def manifest(self) -> Path:
        """The replay manifest's path."""
        return self.manifest_out or manifest_path(self.jsonl)


@dataclass(frozen=True)
class GridJob:
    """What to make: the rows that ``read`` finds in ``inputs`` (by shown name), where they go, and the settings.

    ``read`` counts into the report what gave no row; rows are counted by their maker.
    """

    source: EncodeGridSource
    inputs: Mapping[str, Path]
    read: Callable[[GridReport], Iterator[dict[str, Any]]]
    to: GridOutput
    args: Mapping[str, Any]


@dataclass(frozen=True)
class Grid:
    """A grid JSONL that stands: its file, its report, its manifest as written, its data version."""

    jsonl: Path
    report: GridReport
    manifest: Mapping[str, Any]
    data_version: str


@dataclass(frozen=True)
class Merge:
    """What to merge, in the order in which the first row wins, and where to. ``absent`` inputs are not there."""

    inputs: tuple[Path, ...]
    output: Path
    absent: tuple[Path, ...] = ()
    manifest_out: Path | None = None

    @property
    def manifest(self) -> Path:
        """The replay manifest's path."""
        return self.manifest_out or manifest_path(self.output)


@dataclass
class MergeReport:
    """Counters of one merge: rows_in = rows_out + duplicates, of which ``conflicts`` say something else.

    ``unique_sources`` counts contents: the same at four sizes is one.
    """

    rows_in: int = 0
    rows_out: int = 0
    duplicates: int = 0
    conflicts: int = 0
    unique_sources: int = 0
    rows_per_input: dict[str, int] = field(default_factory=dict)
    vmaf_models: Counter[str] = field(default_factory=Counter)
    conflict_examples: list[dict[str, str]] = field(default_factory=list)
    further_conflicts: list[str] = field(default_factory=list)

    def counters(self) -> dict[str, int]:
        """Every counter by name."""
        return {name: value for name, value in vars(self).items() if isinstance(value, int)}

    def judge(self) -> None:
        """EncodeGridError where a row is unaccounted for, or none is left."""
        if self.rows_in != self.rows_out + self.duplicates or self.conflicts > self.duplicates:
            raise EncodeGridError(
                "fr_training_corpus: rows do not reconcile",
                found=f"{self.rows_in} in",
                expected=f"{self.rows_out} out + {self.duplicates} duplicates",
                next_step="the earlier output is kept; report this as a defect",
            )
        if not self.rows_out:
            raise EncodeGridError(
                "fr_training_corpus: no row is left",
                found=f"{len(self.rows_per_input)} inputs without rows",
                expected="at least one scored encode",
                next_step=Make("encode_grid_jsonl", " again; the earlier output is kept"),
            )


@dataclass(frozen=True)
class TrainingCorpus:
    """A training corpus that stands: its file, its report, its manifest as written, its data version."""

    jsonl: Path
    report: MergeReport
    manifest: Mapping[str, Any]
    data_version: str


def make_grid(job: GridJob, context: RunContext) -> Grid:
    """Write a source's rows to ``job.to.jsonl``; the earlier file stands until the new one is valid.

    EncodeGridError where no row is usable.
    """
    settle(job.to.jsonl.parent, job.to.manifest.parent)
    usual = job.to.jsonl == grid_jsonl(context.root, job.source)
    _check_targets(GRID_STAGE, job.to.jsonl, job.to.manifest, job.inputs, context.root, usual=usual)
    report = GridReport()

    def counted_rows() -> Iterator[dict[str, Any]]:
        for row in job.read(report):
            report.keep(row)
            yield row

    inputs = read_now(job.inputs)
    with publishing("encode_grid_jsonl", job.to.jsonl, GRID_SCHEMA) as publication:
        rows = counted_rows()
        version = _write(publication, job.to.jsonl, rows, ENCODE_GRID_JSONL, lambda: report.judge(job.source.name))
        refuse_changes(inputs.values())
        written = write_manifest(publication, job.to.manifest, _grid_manifest(job, inputs, report, version), context)
    others = [f"{loss.name}: {loss.reason}" for loss in report.losses[LOSSES_TOLD:]]
    warn_of_others(_log, f"{job.source.name}: further reports left out", others)
    _warn_of_models(context.root.shown(job.to.jsonl), report.vmaf_models)
    counters = ", ".join(f"{name} {value}" for name, value in report.counters().items() if value)
    _log.info("[%s-encode-grid] %s -> %s", job.source.name, counters, context.root.shown(job.to.jsonl))
    return Grid(job.to.jsonl, report, written, version)


def _grid_manifest(job: GridJob, inputs: Mapping[str, ReadInput], report: GridReport, version: str) -> Manifest:
    body = {
        "source": {
            "name": job.source.name,
            "licence": job.source.licence,
            "redistribution": job.source.redistribution,
            "citation": job.source.citation,
        },
        "row_schema_version": SCHEMA_VERSION,
        "required_keys": list(ROW_KEYS),
        "counters": report.counters(),
        "vmaf_models": dict(sorted(report.vmaf_models.items())),
        "losses": [vars(loss) for loss in report.losses],
        "data_version": version,
    }
    return Manifest(GRID_SCHEMA, body, job.args, inputs, {"encode_grid_jsonl": job.to.jsonl})


def choose_inputs(named: Iterable[Path], usual: Iterable[Path]) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    """(present, absent): the ``named`` inputs, of which none may be missing, else the ``usual`` that are there.

    EncodeGridError where a named input, or every usual one, is missing.
    """
    chosen = tuple(named)
    candidates = chosen or tuple(usual)
    absent = tuple(path for path in candidates if not path.is_file())
    if absent and (chosen or len(absent) == len(candidates)):
        raise EncodeGridError(
            "fr_training_corpus: a missing input" if chosen else "fr_training_corpus: no input is there",
            found=f"nothing at {', '.join(str(path) for path in absent)}",
            expected="a JSON Lines file of encode-grid rows",
            next_step="correct inputs" if chosen else Make("encode_grid_jsonl", " for bvi-dvc or netflix first"),
        )
    return tuple(path for path in candidates if path not in absent), absent


def make_training_corpus(settings: Merge, context: RunContext) -> TrainingCorpus:
    """Merge the inputs into ``settings.output``; the earlier file stands until the new one is valid.

    EncodeGridError names file and line of a row that does not belong there.
    """
    settle(*(path.parent for path in (settings.output, settings.manifest, *settings.inputs)))
    uses = {f"input {number}": path for number, path in enumerate(settings.inputs, 1)}
    usual = settings.output == training_corpus(context.root)
    _check_targets(MERGE_STAGE, settings.output, settings.manifest, uses, context.root, usual=usual)
    report = MergeReport()
    inputs = read_now({context.root.shown(path): path for path in settings.inputs})
    with publishing("fr_training_corpus", settings.output, MERGE_SCHEMA) as publication:
        rows = merged(settings.inputs, report, context.root.shown)
        version = _write(publication, settings.output, rows, FR_TRAINING_CORPUS, report.judge)
        refuse_changes(inputs.values())
        described = _merge_manifest(settings, inputs, report, version, context.root)
        written = write_manifest(publication, settings.manifest, described, context)
    warn_of_others(
        _log, "fr_training_corpus: further rows with another result than the first", report.further_conflicts
    )
    _warn_of_models(context.root.shown(settings.output), report.vmaf_models)
    counters = " ".join(f"{name}={value}" for name, value in report.counters().items())
    _log.info("[fr-training-corpus] %s -> %s", counters, context.root.shown(settings.output))
    return TrainingCorpus(settings.output, report, written, version)


def _merge_manifest(
    settings: Merge, inputs: Mapping[str, ReadInput], report: MergeReport, version: str, root: DataRoot
) -> Manifest:
    body = {
        "required_keys": list(ROW_KEYS),
        "natural_key": list(NATURAL_KEY),
        "conflicting_rows": "the first row wins, in the order of the inputs",
        "counters": report.counters(),
        "rows_per_input": report.rows_per_input,
        "vmaf_models": dict(sorted(report.vmaf_models.items())),
        "conflict_examples": report.conflict_examples,
        "absent": [root.shown(path) for path in settings.absent],
        "data_version": version,
    }
    return Manifest(
        MERGE_SCHEMA,
        body,
        with_origins(
            {"inputs": list(settings.inputs), "output": settings.output},
            {
                "inputs": [path for path in every_grid_jsonl(root) if path not in settings.absent],
                "output": training_corpus(root),
            },
        ),
        inputs,
        {"fr_training_corpus": settings.output},
    )


def merged(inputs: Iterable[Path], report: MergeReport, shown: Callable[[Path], str] = str) -> Iterator[dict[str, Any]]:
    """Every row of the inputs whose natural key has not passed before, counted into ``report``."""
    seen: dict[tuple[Any, ...], tuple[bytes, str]] = {}
    contents: set[str] = set()
    for path in inputs:
        report.rows_per_input[shown(path)] = 0
        for number, row in read_grid(path):
            report.rows_in += 1
            key, where = tuple(row[k] for k in NATURAL_KEY), f"{shown(path)}:{number}"
            # a digest instead of the row: what has passed must be kept in memory for as long as the merge runs
            content = hashlib.sha256(content_line(row)).digest()
            if key in seen:
                first_content, first = seen[key]
                report.duplicates += 1
                if content != first_content:
                    report.conflicts += 1
                    if len(report.conflict_examples) < LOSSES_TOLD:
                        _log.warning(
                            "%s: another result than %s for the same encode %s; the first is kept", where, first, key
                        )
                        encode = ", ".join(map(str, key))
                        report.conflict_examples.append({"kept": first, "left_out": where, "encode": encode})
                    else:
                        report.further_conflicts.append(where)
                continue
            seen[key] = content, where
            contents.add(content_of(row))
            report.rows_out += 1
            report.vmaf_models[row["vmaf_model"]] += 1
            report.rows_per_input[shown(path)] += 1
            report.unique_sources = len(contents)
            yield row


def _check_targets(
    stage: str, output: Path, manifest: Path, inputs: Mapping[str, Path], root: DataRoot, *, usual: bool
) -> None:
    """SettingsError where an output that was stated would replace an input, or what another stage or person wrote."""
    own_place = manifest == manifest_path(output)
    others = {root.shown(path) for path in every_grid_jsonl(root)} if stage == GRID_STAGE and not usual else ()

    def is_written(path: Path) -> bool:
        return is_written_for(manifest, stage, path, root.shown)

    def of_other_source(path: Path) -> str:
        return "which is the place of another source's rows" if root.shown(path) in others else ""

    check_targets(
        stage,
        [
            OwnTarget("output", output, stage, usual, is_own=is_written, why_not=of_other_source),
            OwnTarget(
                "manifest_out",
                manifest,
                stage,
                usual and own_place,
                why_not=why_other_manifest(stage, output, root.shown),
            ),
        ],
        inputs,
    )


def _warn_of_models(shown: str, models: Mapping[str, int]) -> None:
    """Scores of several models are on several scales, and no one mixes them without being told."""
    if len(models) > 1:
        counts = ", ".join(f"{name or '(none)'} {count}" for name, count in sorted(models.items()))
        _log.warning("%s: scores by %d VMAF models: %s", shown, len(models), counts)


def _write(
    publication: Publication,
    output: Path,
    rows: Iterable[Mapping[str, Any]],
    table: Table,
    judge: Callable[[], None],
) -> str:
    """Write rows, ``judge`` and validate them; a file of equal bytes is left alone.

    Rows pass one at a time: a grid may be larger than memory. Returns the data version, which knows nothing of runs.
    """
    digest = hashlib.sha256()

    def lines() -> Iterator[bytes]:
        for row in rows:
            digest.update(content_line(row))
            yield grid_line(row)

    draft = publication.draft(output)
    write_lines(draft, lines())
    judge()
    validate_rows((line.row for line in read_json_lines(draft)), table, str(output))
    if output.is_file() and filecmp.cmp(draft, output, shallow=False):
        publication.keep(output)
    return digest.hexdigest()[:32]
