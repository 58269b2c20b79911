"""Several labelled tables by one manifest, and the report of what became of each: under ``mos_label_batch``.

The manifest is ``{"defaults": {…}, "tables": [{"id", "features", "labels", "out", "audit_json", …}]}``; keys that begin
with ``_`` are comments. Every mistake names the path of the entry: ``tables[1].min_match_rate``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from vqa_assets.corpora import CORPORA, Corpus
from vqa_assets.errors import LabelError, SettingsError, VqaError
from vqa_assets.labels.labelled import LabelledTable, make_labelled_table
from vqa_assets.labels.scores import ScaleRule
from vqa_assets.labels.settings import BatchSettings, LabelPaths, LabelSettings
from vqa_assets.printing import cell, logger, plain_values
from vqa_assets.provenance import Manifest, ReadInput, RunContext, content_version, write_manifest
from vqa_assets.provenance.reading import refuse_changes
from vqa_assets.settings import with_origins
from vqa_assets.tables.allowed import AllowedPlaces
from vqa_assets.tables.content_errors import library_words
from vqa_assets.tables.files import read_json_object
from vqa_assets.tables.foreign_tables import table_at
from vqa_assets.tables.paths import DataRoot, shipped
from vqa_assets.tables.publication import publishing, settle
from vqa_assets.tables.targets import OwnTarget, check_targets

STAGE = "mos_label_batch"
_TITLE = "# MOS label batch"
REPORT_SCHEMA = "mos-label-materializer-batch-v1"
_PATTERN = "mos-label-batch-*.json"
_OPTIONS = tuple(LabelSettings.model_fields)
_TABLE_KEYS = ("id", "features", "labels", "out", "audit_json")
_NEXT = "correct the manifest; keys that begin with _ are comments"
_COUNTS = ("input_rows", "matched_rows", "missing_rows", "total_feature_keys", "matched_feature_keys", "match_rate")
_log = logger("vqa_assets.labels")


@dataclass(frozen=True)
class BatchTable:
    """One table of a batch: its name, its files, its settings."""

    id: str
    paths: LabelPaths
    settings: LabelSettings


@dataclass(frozen=True)
class Reports:
    """Where a batch's report goes: for programs, and for people."""

    json: Path
    markdown: Path


@dataclass(frozen=True)
class BatchManifest:
    """A manifest as it was read, and its tables with absolute paths."""

    as_read: ReadInput
    base_dir: Path
    tables: tuple[BatchTable, ...]

    @property
    def path(self) -> Path:
        """Where it lies."""
        return self.as_read.path


@dataclass(frozen=True)
class TableOutcome:
    """What became of one table: made, failed with an error, or skipped after another's failure."""

    table: BatchTable
    status: Literal["ok", "failed", "skipped"]
    made: LabelledTable | None = None
    error: VqaError | None = None


@dataclass(frozen=True)
class Batch:
    """A batch that ran: its outcomes in the manifest's order, its reports as written and where, its data version."""

    reports: Reports
    outcomes: tuple[TableOutcome, ...]
    report: dict[str, Any]
    markdown: str
    data_version: str

    @property
    def failed(self) -> tuple[TableOutcome, ...]:
        """The tables that could not be made."""
        return tuple(outcome for outcome in self.outcomes if outcome.status == "failed")


def read_manifest(
    path: Path,
    base_dir: Path | None = None,
    corpora: Mapping[str, Corpus] = CORPORA,
    root: DataRoot | None = None,
) -> BatchManifest:
    """The manifest at a path; relative paths in it are from its own folder, or from ``base_dir``.

    All lie below that folder, in the data ``root``, or where the operator allows it. LabelError names the entry that
    cannot be used, SettingsError the one that lies elsewhere.
    """
    if not path.is_file():
        raise LabelError(
            f"batch manifest {path}",
            found="found nothing there",
            expected="a JSON file with tables",
            next_step=f"set manifest to a file of your own, or to {' or '.join(p.name for p in shipped_manifests())}",
        )
    base = (path.parent if base_dir is None else base_dir).absolute()
    as_read = ReadInput.of(path)
    content = _without_comments(read_json_object(path))
    refuse_changes([as_read])
    _check_keys(content, ("defaults", "tables"), "", f"{path}")
    defaults = _object(content.get("defaults", {}), "defaults", f"{path}")
    _check_keys(defaults, _OPTIONS, "defaults", f"{path}")
    _settings(defaults, "defaults", f"{path}")
    listed = content.get("tables")
    if not isinstance(listed, list) or not listed:
        raise _wrong(f"{path}", "tables", listed, "a list of at least one table")
    tables = [_table(entry, i, defaults, base, f"{path}") for i, entry in enumerate(listed)]
    names = ScaleRule(None, corpora).names(None)
    for i, table in enumerate(tables):
        if table.settings.mos_scale not in (None, *names):
            expected = f"one of {', '.join(names)}"
            raise _wrong(f"{path}", f"tables[{i}].mos_scale", table.settings.mos_scale, expected)
    _check_once(tables, f"{path}")
    _refuse_chains(tables, f"{path}")
    _check_places(tables, AllowedPlaces.of(root or DataRoot(base), also=[base]), f"{path}")
    return BatchManifest(as_read, base, tuple(tables))


def shipped_manifests() -> tuple[Path, ...]:
    """The manifests that come with the code."""
    return tuple(sorted(shipped("configs").glob(_PATTERN)))


def is_shipped(path: Path) -> bool:
    """Whether a manifest is one of those that come with the code."""
    return path.resolve() in [one.resolve() for one in shipped_manifests()]


def find_manifest(path: Path | None) -> Path:
    """The manifest at a path, or the shipped one of that name where no such file is; SettingsError for None."""
    if path is None:
        raise SettingsError(
            "mos_label_batch: manifest",
            found="found nothing",
            expected="a JSON manifest of the tables to label",
            next_step="set manifest in the run config to a file of your own, or to "
            + " or ".join(one.name for one in shipped_manifests()),
        )
    shipped = [one for one in shipped_manifests() if str(path) in (one.name, one.stem)]
    return shipped[0] if shipped and not path.is_file() else path


def reports_of(settings: BatchSettings, manifest: Path) -> Reports:
    """Where the reports go: beside the manifest unless stated, of one that comes with the code in ``base_dir``."""
    stem = manifest.with_suffix("")
    if settings.base_dir is not None and is_shipped(manifest):
        stem = settings.base_dir / stem.name
    return Reports(
        json=settings.report_json or stem.with_name(f"{stem.name}.report.json"),
        markdown=settings.report_md or stem.with_name(f"{stem.name}.report.md"),
    )


def label_batch(settings: BatchSettings, context: RunContext, corpora: Mapping[str, Corpus] = CORPORA) -> Batch:
    """Label every table of the manifest and write both reports, as one act; one table's failure stops no other.

    LabelError where the manifest itself cannot be used. Failures of tables are in the outcomes, and raise nothing.
    """
    path = find_manifest(settings.manifest)
    if settings.base_dir is None and is_shipped(path):
        raise SettingsError(
            f"{path.name}: base_dir",
            found="found nothing",
            expected="the folder that this manifest's paths are from",
            next_step="set base_dir: tables, labels and reports are never looked for among the code's own files",
        )
    manifest, reports = read_manifest(path, settings.base_dir, corpora, context.root), reports_of(settings, path)
    # Beside a manifest that may be read nothing need be written: it may lie among declarations.
    places = AllowedPlaces.of(context.root, also=[manifest.base_dir, path.parent])
    places.check("report_json", reports.json, written=True)
    places.check("report_md", reports.markdown, written=True)
    settle(reports.json.parent, reports.markdown.parent)
    _check_reports(reports, manifest)
    outcomes: list[TableOutcome] = []
    # Tables and reports are one act: after a kill no table stands that the report does not know.
    with publishing(STAGE, reports.json, REPORT_SCHEMA) as publication:
        for table in manifest.tables:
            if settings.fail_fast and any(outcome.status == "failed" for outcome in outcomes):
                outcomes.append(TableOutcome(table, "skipped"))
                continue
            try:
                with library_words():
                    made = make_labelled_table(table.paths, table.settings, context, corpora, publication)
            except VqaError as error:
                _log.error("%s: %s", table.id, error)
                outcomes.append(TableOutcome(table, "failed", error=error))
            else:
                _log.info("%s: %d of %d rows labelled", table.id, made.audit.matched_rows, made.audit.input_rows)
                outcomes.append(TableOutcome(table, "ok", made=made))
        described = _described(manifest, settings, reports, outcomes)
        report = write_manifest(publication, reports.json, described, context)
        for_people = _markdown(plain_values(report))
        publication.write(reports.markdown, for_people.encode())
    versions = [o.made.data_version if o.made else o.status for o in outcomes]
    version = content_version(f"{o.table.id}\0{v}\0".encode() for o, v in zip(outcomes, versions, strict=True))
    return Batch(reports, tuple(outcomes), report, for_people, version)


def check_batch(batch: Batch) -> None:
    """LabelError that names every table that failed."""
    if batch.failed:
        first = batch.failed[0]
        raise LabelError(
            f"{len(batch.failed)} of {len(batch.outcomes)} tables could not be labelled",
            found="; ".join(f"{outcome.table.id}: {outcome.error}" for outcome in batch.failed),
            next_step=f"begin with {first.table.id}; what was made stands, and {batch.reports.markdown} tells all",
        )


def _table(entry: object, number: int, defaults: Mapping[str, Any], base: Path, what: str) -> BatchTable:
    where = f"tables[{number}]"
    own = _object(entry, where, what)
    _check_keys(own, (*_TABLE_KEYS, *_OPTIONS), where, what)
    for name in ("id", "features", "out"):
        _text(own.get(name), f"{where}.{name}", what)
    labels = own.get("labels")
    labels = [labels] if isinstance(labels, str) else labels
    if not isinstance(labels, list) or not labels:
        raise _wrong(what, f"{where}.labels", own.get("labels"), "a list of at least one label file")
    files = [_text(one, f"{where}.labels[{i}]", what) for i, one in enumerate(labels)]
    out = base / own["out"]
    audit = own.get("audit_json")
    beside = out.with_name(f"{out.stem}.audit.json")
    paths = LabelPaths(
        features=_one_path(base / own["features"], f"{where}.features", what),
        labels=tuple(_one_path(base / file, f"{where}.labels[{i}]", what) for i, file in enumerate(files)),
        out=_one_path(out, f"{where}.out", what),
        audit_json=beside if audit is None else base / _text(audit, f"{where}.audit_json", what),
        by_default=frozenset(["audit_json"] if audit is None else []),
    )
    _settings({k: v for k, v in own.items() if k in _OPTIONS}, where, what)
    options = {**defaults, **{k: v for k, v in own.items() if k in _OPTIONS}}
    return BatchTable(own["id"], paths, _settings(options, where, what))


def _settings(values: Mapping[str, Any], where: str, what: str) -> LabelSettings:
    for name, value in values.items():
        if value is None:
            raise _wrong(what, f"{where}.{name}", value, "a value, or no such key")
    try:
        return LabelSettings.of(values, where)
    except SettingsError as error:
        entry = error.what.replace(": ", ".", 1)  # the entry's path goes on into the setting's
        raise LabelError(f"{what}: {entry}", found=error.found, expected=error.expected, next_step=_NEXT) from error


def _one_path(path: Path, where: str, what: str) -> Path:
    """The path, where it names one table of a known format: never a glob."""
    if any(sign in path.name for sign in "*?[") and not path.exists():
        raise _wrong(what, where, path.name, "one path, no pattern")
    try:
        table_at(path)
    except VqaError as error:
        raise LabelError(f"{what}: {where}", found=error.found, expected=error.expected, next_step=_NEXT) from error
    return path


def _check_once(tables: Sequence[BatchTable], what: str) -> None:
    """LabelError where two tables have one id, or write one file."""
    seen: dict[object, int] = {}
    for i, table in enumerate(tables):
        for name, value in (("id", table.id), ("out", table.paths.out), ("audit_json", table.paths.audit_json)):
            first = seen.setdefault(value, i)
            if first != i:
                raise _wrong(what, f"tables[{i}].{name}", str(value), f"another one than tables[{first}] has")


def _refuse_chains(tables: Sequence[BatchTable], what: str) -> None:
    """LabelError where a table reads what another of the batch writes: all of them are published at the end."""
    written = {table.paths.out.resolve(): i for i, table in enumerate(tables)}
    for i, table in enumerate(tables):
        read = [("features", table.paths.features), *((f"labels[{n}]", p) for n, p in enumerate(table.paths.labels))]
        for name, path in read:
            writer = written.get(path.resolve(), i)
            if writer != i:
                raise LabelError(
                    f"{what}: tables[{i}].{name}",
                    found=f"{path}, which tables[{writer}] writes",
                    expected="a file that stands before the batch",
                    next_step=f"give {table.id} a manifest of its own, and run that after this one",
                )


def _check_places(tables: Sequence[BatchTable], places: AllowedPlaces, what: str) -> None:
    for i, table in enumerate(tables):
        paths, where = table.paths, f"{what}: tables[{i}]"
        places.check(f"{where}.features", paths.features)
        for number, labels in enumerate(paths.labels):
            places.check(f"{where}.labels[{number}]", labels)
        places.check(f"{where}.out", paths.out, written=True)
        places.check(f"{where}.audit_json", paths.audit_json, written=True)


def _without_comments(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_comments(v) for k, v in value.items() if not k.startswith("_")}
    return [_without_comments(v) for v in value] if isinstance(value, list) else value


def _check_keys(value: Mapping[str, Any], allowed: Sequence[str], where: str, what: str) -> None:
    unknown = sorted(set(value) - set(allowed))
    if unknown:
        entry = f"{where}.{unknown[0]}" if where else unknown[0]
        raise LabelError(
            f"{what}: {entry}", found="unknown key", expected=f"one of {', '.join(allowed)}", next_step=_NEXT
        )


def _object(value: object, where: str, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _wrong(what, where, value, "an object")
    return value


def _text(value: object, where: str, what: str) -> str:
    if not isinstance(value, str) or not value:
        raise _wrong(what, where, value, "a text")
    return value


def _wrong(what: str, where: str, value: object, expected: str) -> LabelError:
    shown = "found nothing" if value is None else repr(value)
    return LabelError(f"{what}: {where}", found=shown, expected=expected, next_step=_NEXT)


def _check_reports(reports: Reports, manifest: BatchManifest) -> None:
    """LabelError where a report would replace a file of this batch, SettingsError where one that no batch wrote."""
    taken = {manifest.path.resolve()}
    for table in manifest.tables:
        paths = table.paths
        taken |= {p.resolve() for p in (paths.features, *paths.labels, paths.out, paths.audit_json)}
    for report in (reports.json, reports.markdown):
        if report.resolve() in taken:
            raise LabelError(
                f"report {report}",
                found="it is the manifest, a table or an audit, too",
                expected="a file of its own",
                next_step="set report_json and report_md to other files",
            )
    targets = [
        OwnTarget("report_json", reports.json, STAGE),
        OwnTarget("report_md", reports.markdown, STAGE, is_own=_is_markdown_report),
    ]
    check_targets(STAGE, targets, {"the manifest": manifest.path})


def _is_markdown_report(path: Path) -> bool:
    with path.open("rb") as report:
        return report.read(len(_TITLE) + 1).rstrip() == _TITLE.encode()


def _described(
    manifest: BatchManifest, settings: BatchSettings, reports: Reports, outcomes: Sequence[TableOutcome]
) -> Manifest:
    """The report as a replay manifest."""
    counts = {status: sum(o.status == status for o in outcomes) for status in ("ok", "failed", "skipped")}
    body = {
        "status": "failed" if counts["failed"] else "ok",
        "summary": {"tables": len(outcomes), **counts, **_rows(outcomes)},
        "tables": [_entry(outcome) for outcome in outcomes],
    }
    inputs: dict[str, Path | ReadInput] = {"manifest": manifest.as_read}
    outputs = {}
    for outcome in outcomes:
        paths = outcome.table.paths
        of_table: dict[str, Path | ReadInput] = {"features": paths.features}
        of_table |= {f"labels_{i}": path for i, path in enumerate(paths.labels)}
        if outcome.made:  # as its rows were read, which may be long ago
            of_table |= outcome.made.inputs
        inputs |= {f"{outcome.table.id}:{name}": file for name, file in of_table.items()}
        outputs[f"{outcome.table.id}:out"] = outcome.table.paths.out
    # What a run has that states the manifest alone; a report's own default follows the base_dir that is stated.
    usual_reports = reports_of(settings.but(report_json=None, report_md=None), manifest.path)
    defaults = {
        "base_dir": manifest.path.parent,
        "report_json": usual_reports.json,
        "report_md": usual_reports.markdown,
        "fail_fast": BatchSettings().fail_fast,
    }
    values = {
        "manifest": manifest.path,
        "base_dir": settings.base_dir or manifest.path.parent,
        "report_json": reports.json,
        "report_md": reports.markdown,
        "fail_fast": settings.fail_fast,
    }
    return Manifest(REPORT_SCHEMA, body, with_origins(values, defaults), inputs, outputs)


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
        "settings": settings.values(),
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
    sentence = f"{summary['ok']} of {summary['tables']} tables labelled, {summary['failed']} failed, "
    sentence += f"{summary['skipped']} skipped; {summary['matched_rows']} of {summary['rows']} rows have a label."
    lines = [
        _TITLE,
        "",
        sentence,
        "",
        "| table | status | rows | labelled | match rate | out |",
        "|---|---|---|---|---|---|",
    ]
    for table in report["tables"]:
        counts = [table.get(name, "–") for name in ("input_rows", "matched_rows")]
        rate = f"{table['match_rate']:.1%}" if "match_rate" in table else "–"
        cells = [table["id"], table["status"], *counts, rate, f"`{table['out']}`"]
        lines.append("| " + " | ".join(map(cell, cells)) + " |")
    for table in report["tables"]:
        if "error" in table:
            lines += ["", f"## {cell(table['id'])}", "", cell(table["error"]["message"])]
    return "\n".join(lines) + "\n"
