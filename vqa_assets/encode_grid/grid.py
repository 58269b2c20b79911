"""From one source's input to its grid JSONL: counting, validating, publishing. What a source's rows look like is in
``bvi_dvc`` and ``netflix``.
"""

import filecmp
import hashlib
import logging
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vqa_assets.corpora import EncodeGridSource
from vqa_assets.encode_grid.rows import ROW_KEYS, SCHEMA_VERSION, content_line, grid_line
from vqa_assets.errors import EncodeGridError
from vqa_assets.feature_names import CANONICAL_6
from vqa_assets.provenance import Manifest, RunContext, write_manifest
from vqa_assets.tables.files import drafting, read_json_lines, write_lines
from vqa_assets.tables.paths import manifest_path
from vqa_assets.tables.specs import ENCODE_GRID_JSONL, Table
from vqa_assets.tables.validation import validate_rows

MANIFEST_SCHEMA = "encode-grid-manifest-v1"
_EXAMPLES = 3
_log = logging.getLogger("vqa_assets.encode_grid")


@dataclass(frozen=True)
class Loss:
    """A report that gave no row, and why; ``empty`` where nothing was written in it."""

    name: str
    reason: str
    empty: bool = False


@dataclass
class GridReport:
    """Counters of one grid: rows_in = rows_out + broken + empty. The others say what is wrong with the rows."""

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
    losses: list[Loss] = field(default_factory=list)

    def counters(self) -> dict[str, int]:
        """Every counter by name."""
        return {name: value for name, value in vars(self).items() if isinstance(value, int)}

    def lose(self, loss: Loss) -> None:
        """Count a report that gave no row."""
        self.rows_in += 1
        self.empty += loss.empty
        self.broken += not loss.empty
        self.losses.append(loss)
        _log.warning("%s: %s; left out", loss.name, loss.reason)

    def keep(self, row: Mapping[str, Any]) -> None:
        """Count a row."""
        self.rows_in += 1
        self.rows_out += 1
        self.without_geometry += not (row["width"] and row["height"] and row["framerate"])
        self.without_features += any(math.isnan(row[f"{f}_mean"]) for f in CANONICAL_6)
        self.unscored += math.isnan(row["vmaf_score"])
        self.failed_encodes += row["exit_status"] != 0

    def reconcile(self, what: str) -> None:
        """EncodeGridError where a row is unaccounted for."""
        if self.rows_in != self.rows_out + self.broken + self.empty:
            raise EncodeGridError(
                f"{what}: rows do not reconcile",
                found=f"{self.rows_in} in",
                expected=f"{self.rows_out} out + {self.broken} broken + {self.empty} empty",
                next_step="the earlier output stands; report this as a defect",
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
    """What to make: the rows that ``read`` finds in ``inputs`` (by shown name), where they go, and the settings told.

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


def make_grid(job: GridJob, context: RunContext) -> Grid:
    """Write a source's rows to ``job.to.jsonl``; the earlier file stands until the new one is valid.

    EncodeGridError where no row is usable.
    """
    report = GridReport()
    rows = _counted(job.read(report), report)
    version = publish(job.to.jsonl, rows, ENCODE_GRID_JSONL, lambda: _judge(report, job))
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
        "losses": [vars(loss) for loss in report.losses],
        "data_version": version,
    }
    manifest = Manifest(MANIFEST_SCHEMA, body, job.args, job.inputs, {"encode_grid_jsonl": job.to.jsonl})
    written = write_manifest(job.to.manifest, manifest, context)
    told = ", ".join(f"{name} {value}" for name, value in report.counters().items() if value)
    _log.info("[%s-encode-grid] %s -> %s", job.source.name, told, context.root.shown(job.to.jsonl))
    return Grid(job.to.jsonl, report, written, version)


def publish(output: Path, rows: Iterable[Mapping[str, Any]], table: Table, judge: Callable[[], None]) -> str:
    """Write rows beside ``output``, ``judge`` and validate them, then replace it; a file of equal bytes is left alone.

    Rows pass one at a time: a grid may be larger than memory. Returns the data version, which knows nothing of runs.
    """
    digest = hashlib.sha256()

    def lines() -> Iterator[bytes]:
        for row in rows:
            digest.update(content_line(row))
            yield grid_line(row)

    with drafting(output) as draft:
        write_lines(draft.path, lines())
        judge()
        validate_rows((line.row for line in read_json_lines(draft.path)), table, str(output))
        if not (output.is_file() and filecmp.cmp(draft.path, output, shallow=False)):
            draft.publish()
    return digest.hexdigest()[:32]


def _counted(rows: Iterable[dict[str, Any]], report: GridReport) -> Iterator[dict[str, Any]]:
    for row in rows:
        report.keep(row)
        yield row


def _judge(report: GridReport, job: GridJob) -> None:
    report.reconcile(f"encode_grid_jsonl[{job.source.name}]")
    if report.rows_out:
        return
    told = "; ".join(f"{loss.name}: {loss.reason}" for loss in report.losses[:_EXAMPLES])
    raise EncodeGridError(
        f"{job.source.name}: no usable row",
        found=f"{report.broken} broken and {report.empty} empty reports ({told})" if told else "an input without rows",
        expected="at least one scored encode",
        next_step="the earlier output stands; score the clips again, or name another input",
    )
