"""Several labelled tables by one manifest, and the report of what became of each: under ``mos_label_batch``."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from vqa_assets.corpora import CORPORA, Corpus
from vqa_assets.errors import LabelError, SettingsError, VqaError
from vqa_assets.labels.batch_manifest import BatchManifest, BatchTable, is_shipped, read_manifest
from vqa_assets.labels.labelled import LabelledTable, make_labelled_table
from vqa_assets.provenance import Manifest, RunContext, content_version, told_settings, write_manifest
from vqa_assets.tables.files import write_bytes

REPORT_SCHEMA = "mos-label-materializer-batch-v1"
_COUNTS = ("input_rows", "matched_rows", "missing_rows", "total_feature_keys", "matched_feature_keys", "match_rate")
_log = logging.getLogger("vqa_assets.labels")


@dataclass(frozen=True)
class BatchSettings:
    """What to run: the manifest, the folder its paths are from, the reports, and whether the first failure ends it."""

    manifest: Path
    base_dir: Path | None = None
    report_json: Path | None = None
    report_md: Path | None = None
    fail_fast: bool = False

    @property
    def reports(self) -> tuple[Path, Path]:
        """The JSON and the Markdown report; by default beside the manifest, of one that comes with the code in
        ``base_dir``.
        """
        stem = self.manifest.with_suffix("")
        if self.base_dir is not None and is_shipped(self.manifest):
            stem = self.base_dir / stem.name
        json_path = self.report_json or stem.with_name(f"{stem.name}.report.json")
        return json_path, self.report_md or stem.with_name(f"{stem.name}.report.md")

    def as_dict(self) -> dict[str, Any]:
        """The settings for a report."""
        json_path, md_path = self.reports
        named = {"manifest": self.manifest, "base_dir": self.base_dir or self.manifest.parent}
        return {**named, "report_json": json_path, "report_md": md_path, "fail_fast": self.fail_fast}


@dataclass(frozen=True)
class TableOutcome:
    """What became of one table: made, failed with an error, or skipped after another's failure."""

    table: BatchTable
    status: Literal["ok", "failed", "skipped"]
    made: LabelledTable | None = None
    error: VqaError | None = None


@dataclass(frozen=True)
class Batch:
    """A batch that ran: its outcomes in the manifest's order, its report as written, its data version."""

    settings: BatchSettings
    outcomes: tuple[TableOutcome, ...]
    report: dict[str, Any]
    data_version: str

    @property
    def failed(self) -> tuple[TableOutcome, ...]:
        """The tables that could not be made."""
        return tuple(outcome for outcome in self.outcomes if outcome.status == "failed")


def label_batch(settings: BatchSettings, context: RunContext, corpora: Mapping[str, Corpus] = CORPORA) -> Batch:
    """Label every table of the manifest and write both reports; one table's failure does not stop the others.

    LabelError where the manifest itself cannot be used. Failures of tables are in the outcomes, and raise nothing.
    """
    _check_base(settings)
    manifest = read_manifest(settings.manifest, settings.base_dir)
    _check_reports(settings, manifest)
    outcomes: list[TableOutcome] = []
    for table in manifest.tables:
        if settings.fail_fast and any(outcome.status == "failed" for outcome in outcomes):
            outcomes.append(TableOutcome(table, "skipped"))
            continue
        outcomes.append(_outcome(table, context, corpora))
    report = _write_reports(settings, outcomes, context)
    versions = [o.made.data_version if o.made else o.status for o in outcomes]
    version = content_version(f"{o.table.id}\0{v}\0".encode() for o, v in zip(outcomes, versions, strict=True))
    return Batch(settings, tuple(outcomes), report, version)


def check_batch(batch: Batch) -> None:
    """LabelError that names every table that failed."""
    if batch.failed:
        first = batch.failed[0]
        told = "; ".join(f"{outcome.table.id}: {outcome.error}" for outcome in batch.failed)
        raise LabelError(
            f"{len(batch.failed)} of {len(batch.outcomes)} tables could not be labelled",
            found=told,
            next_step=f"begin with {first.table.id}; what was made stands, and {batch.settings.reports[1]} tells all",
        )


def _check_base(settings: BatchSettings) -> None:
    if settings.base_dir is None and is_shipped(settings.manifest):
        raise SettingsError(
            f"{settings.manifest.name}: base_dir",
            found="found nothing",
            expected="the folder that this manifest's paths are from",
            next_step="set base_dir: tables, labels and reports are never looked for among the code's own files",
        )


def _outcome(table: BatchTable, context: RunContext, corpora: Mapping[str, Corpus]) -> TableOutcome:
    try:
        made = make_labelled_table(table.paths, table.settings, context, corpora)
    except VqaError as error:
        _log.error("%s: %s", table.id, error)
        return TableOutcome(table, "failed", error=error)
    _log.info("%s: %d of %d rows labelled", table.id, made.audit.matched_rows, made.audit.input_rows)
    return TableOutcome(table, "ok", made=made)


def _check_reports(settings: BatchSettings, manifest: BatchManifest) -> None:
    taken = {settings.manifest.resolve()}
    for table in manifest.tables:
        paths = table.paths
        taken |= {p.resolve() for p in (paths.features, *paths.labels, paths.out, paths.audit_json)}
    for report in settings.reports:
        if report.resolve() in taken:
            raise LabelError(
                f"report {report}",
                found="it is the manifest, a table or an audit, too",
                expected="a file of its own",
                next_step="set report_json and report_md to other files",
            )


def _write_reports(settings: BatchSettings, outcomes: Sequence[TableOutcome], context: RunContext) -> dict[str, Any]:
    json_path, md_path = settings.reports
    counts = {status: sum(o.status == status for o in outcomes) for status in ("ok", "failed", "skipped")}
    body = {
        "status": "failed" if counts["failed"] else "ok",
        "summary": {"tables": len(outcomes), **counts, **_rows(outcomes)},
        "tables": [_entry(outcome) for outcome in outcomes],
    }
    inputs = {"manifest": settings.manifest}
    outputs = {}
    for outcome in outcomes:
        inputs[f"{outcome.table.id}:features"] = outcome.table.paths.features
        inputs |= {f"{outcome.table.id}:labels_{i}": p for i, p in enumerate(outcome.table.paths.labels)}
        outputs[f"{outcome.table.id}:out"] = outcome.table.paths.out
    usual = BatchSettings(settings.manifest).as_dict()
    del usual["manifest"]  # it has no default
    usual["report_json"], usual["report_md"] = BatchSettings(settings.manifest, settings.base_dir).reports
    described = Manifest(REPORT_SCHEMA, body, told_settings(settings.as_dict(), usual), inputs, outputs)
    report = write_manifest(json_path, described, context)
    write_bytes(md_path, _markdown(report).encode())
    return report


def _rows(outcomes: Sequence[TableOutcome]) -> dict[str, int]:
    made = [outcome.made.audit for outcome in outcomes if outcome.made]
    return {"rows": sum(a.input_rows for a in made), "matched_rows": sum(a.matched_rows for a in made)}


def _entry(outcome: TableOutcome) -> dict[str, Any]:
    paths, settings = outcome.table.paths, outcome.table.settings
    entry: dict[str, Any] = {
        "id": outcome.table.id,
        "status": outcome.status,
        "features": paths.features,
        "labels": list(paths.labels),
        "out": paths.out,
        "audit_json": paths.audit_json,
        "settings": settings.as_dict(),
    }
    if outcome.made:
        audit = outcome.made.audit.as_dict()
        entry |= {name: audit[name] for name in (*_COUNTS, "label_sources", "split_leaks")}
        entry["data_version"] = outcome.made.data_version
    if outcome.error:
        error = outcome.error
        entry["error"] = {
            "message": str(error),
            "what": error.what,
            "found": error.found,
            "expected": error.expected,
            "next": error.next_step,
        }
    return entry


def _markdown(report: Mapping[str, Any]) -> str:
    """The report for people: a row per table, then what failed and what to do."""
    summary = report["summary"]
    told = f"{summary['ok']} of {summary['tables']} tables labelled, {summary['failed']} failed, "
    told += f"{summary['skipped']} skipped; {summary['matched_rows']} of {summary['rows']} rows have a label."
    lines = [
        "# MOS label batch",
        "",
        told,
        "",
        "| table | status | rows | labelled | match rate | out |",
        "|---|---|---|---|---|---|",
    ]
    for table in report["tables"]:
        counts = [table.get(name, "–") for name in ("input_rows", "matched_rows")]
        rate = f"{table['match_rate']:.1%}" if "match_rate" in table else "–"
        cells = [table["id"], table["status"], *map(str, counts), rate, f"`{table['out']}`"]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    for table in report["tables"]:
        if "error" in table:
            lines += ["", f"## {table['id']}", "", table["error"]["message"]]
    return "\n".join(lines) + "\n"
