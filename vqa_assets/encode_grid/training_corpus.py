"""``fr_training_corpus``: the grids of all sources as one table, each encode once. What trains on it is in ``heads``.

Two rows of one natural key are one encode, and the first wins, in the order of the inputs. Where the other says
something else of it than when and where it was scored, that is a conflict: counted, logged with both places, kept out
like any duplicate.
"""

import hashlib
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vqa_assets.encode_grid.grid import publish
from vqa_assets.encode_grid.layout import every_grid_jsonl, training_corpus
from vqa_assets.encode_grid.rows import NATURAL_KEY, ROW_KEYS, content_line, read_grid
from vqa_assets.errors import EncodeGridError
from vqa_assets.provenance import Manifest, RunContext, told_settings, write_manifest
from vqa_assets.tables.paths import manifest_path
from vqa_assets.tables.specs import FR_TRAINING_CORPUS

MANIFEST_SCHEMA = "fr-training-corpus-manifest-v1"
_EXAMPLES = 50
_log = logging.getLogger("vqa_assets.encode_grid")


@dataclass(frozen=True)
class MergeSettings:
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
    """Counters of one merge: rows_in = rows_out + duplicates, of which ``conflicts`` say something else."""

    rows_in: int = 0
    rows_out: int = 0
    duplicates: int = 0
    conflicts: int = 0
    unique_sources: int = 0
    rows_per_input: dict[str, int] = field(default_factory=dict)
    conflict_examples: list[dict[str, str]] = field(default_factory=list)

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
                next_step="the earlier output stands; report this as a defect",
            )
        if not self.rows_out:
            raise EncodeGridError(
                "fr_training_corpus: no row is left",
                found=f"{len(self.rows_per_input)} inputs without rows",
                expected="at least one scored encode",
                next_step="the earlier output stands; materialize encode_grid_jsonl again",
            )


@dataclass(frozen=True)
class TrainingCorpus:
    """A training corpus that stands: its file, its report, its manifest as written, its data version."""

    jsonl: Path
    report: MergeReport
    manifest: Mapping[str, Any]
    data_version: str


def choose_inputs(named: Iterable[Path], usual: Iterable[Path]) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    """(present, absent): the ``named`` inputs, of which none may be missing, else the ``usual`` that are there.

    EncodeGridError where a named input, or every usual one, is missing.
    """
    chosen = tuple(named)
    looked_at = chosen or tuple(usual)
    absent = tuple(path for path in looked_at if not path.is_file())
    if absent and (chosen or len(absent) == len(looked_at)):
        raise EncodeGridError(
            "fr_training_corpus: a missing input" if chosen else "fr_training_corpus: no input is there",
            found=f"nothing at {', '.join(str(path) for path in absent)}",
            expected="a JSON Lines file of encode-grid rows",
            next_step="correct inputs" if chosen else "materialize encode_grid_jsonl for bvi-dvc or netflix first",
        )
    return tuple(path for path in looked_at if path not in absent), absent


def make_training_corpus(settings: MergeSettings, context: RunContext) -> TrainingCorpus:
    """Merge the inputs into ``settings.output``; the earlier file stands until the new one is valid.

    EncodeGridError names file and line of a row that does not belong there.
    """
    report = MergeReport()
    rows = merged(settings.inputs, report, context.root.shown)
    version = publish(settings.output, rows, FR_TRAINING_CORPUS, report.judge)
    body = {
        "required_keys": list(ROW_KEYS),
        "natural_key": list(NATURAL_KEY),
        "conflicting_rows": "the first row wins, in the order of the inputs",
        "counters": report.counters(),
        "rows_per_input": report.rows_per_input,
        "conflict_examples": report.conflict_examples,
        "absent": [context.root.shown(path) for path in settings.absent],
        "data_version": version,
    }
    manifest = Manifest(
        MANIFEST_SCHEMA,
        body,
        told_settings(
            {"inputs": list(settings.inputs), "output": settings.output},
            {
                "inputs": [path for path in every_grid_jsonl(context.root) if path not in settings.absent],
                "output": training_corpus(context.root),
            },
        ),
        {context.root.shown(path): path for path in settings.inputs},
        {"fr_training_corpus": settings.output},
    )
    written = write_manifest(settings.manifest, manifest, context)
    told = " ".join(f"{name}={value}" for name, value in report.counters().items())
    _log.info("[fr-training-corpus] %s -> %s", told, context.root.shown(settings.output))
    return TrainingCorpus(settings.output, report, written, version)


def merged(inputs: Iterable[Path], report: MergeReport, shown: Callable[[Path], str] = str) -> Iterator[dict[str, Any]]:
    """Every row of the inputs whose natural key has not passed before, counted into ``report``."""
    seen: dict[tuple[Any, ...], tuple[bytes, str]] = {}
    sources: set[str] = set()
    for path in inputs:
        report.rows_per_input[shown(path)] = 0
        for number, row in read_grid(path):
            report.rows_in += 1
            key, where = tuple(row[k] for k in NATURAL_KEY), f"{shown(path)}:{number}"
            told = hashlib.sha256(content_line(row)).digest()
            if key in seen:
                _count_duplicate(report, key, (told, where), seen[key])
                continue
            seen[key] = told, where
            sources.add(row["src_sha256"])
            report.rows_out += 1
            report.rows_per_input[shown(path)] += 1
            report.unique_sources = len(sources)
            yield row


def _count_duplicate(
    report: MergeReport, key: tuple[Any, ...], row: tuple[bytes, str], kept: tuple[bytes, str]
) -> None:
    report.duplicates += 1
    if row[0] == kept[0]:
        return
    report.conflicts += 1
    _log.warning("%s: another result than %s for the same encode %s; the first is kept", row[1], kept[1], key)
    if len(report.conflict_examples) < _EXAMPLES:
        report.conflict_examples.append({"kept": kept[1], "left_out": row[1], "encode": ", ".join(map(str, key))})
