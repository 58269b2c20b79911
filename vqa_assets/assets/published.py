"""A published file is one thing: which asset publishes it, its columns, its path, its replay manifest, its checks.

An asset module describes its file once as a ``PublishedFile``; the result of a materialization, what a check reads and
the blocking check of the columns are made from that. What the other checks judge is in the asset modules.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import dagster as dg

from vqa_assets.assets.metadata import EVENT_PAGE, OVERVIEW_TAB, Room, fitted
from vqa_assets.assets.runs import dagster_failures
from vqa_assets.errors import VqaError
from vqa_assets.printing import plain, plain_values
from vqa_assets.resources.data_root import DataRootResource
from vqa_assets.tables.content_errors import library_words, read_document
from vqa_assets.tables.paths import DataRoot, manifest_path
from vqa_assets.tables.publication import settle
from vqa_assets.tables.specs import Table
from vqa_assets.tables.validation import validate_file

Place = Callable[[DataRoot, str], Path]
"""A path from the data root and a partition key; the key is empty for an asset without partitions."""
Judge = Callable[["Latest"], dg.AssetCheckResult]
_COLUMN_TYPES = {"string": "string", "integer": "int", "number": "float", "boolean": "bool"}


@dataclass(frozen=True)
class PublishedFile:
    """A file that an asset publishes; of a partitioned asset, one file per partition.

    ``place`` is where it lies by default and ``manifest_place`` the same of its replay manifest, which stands beside
    the file where that is not set. A run config may name other paths: then those stand in the materialization.
    ``judged_in_its_run``: checks read what their own run made, and what an earlier run put elsewhere is none of theirs.
    """

    asset: str
    place: Place
    table: Table | None = None
    manifest_place: Place | None = None
    partitions: dg.PartitionsDefinition[str] | None = None
    judged_in_its_run: bool = False

    @property
    def room(self) -> Room:
        """Where its metadata is read: on the page of one event where the asset's own begins with many columns."""
        return EVENT_PAGE if self.table else OVERVIEW_TAB

    def result(
        self,
        root: DataRoot,
        *,
        path: Path,
        manifest_file: Path,
        manifest: Mapping[str, Any],
        data_version: str,
        metadata: Mapping[str, Any],
        rows: int | None = None,
    ) -> dg.MaterializeResult[Any]:
        """The materialization of the file at ``path``: ``metadata``, and what every published file shows.

        That is its path, its whole replay manifest and where that is, and of a table the number of ``rows`` and the
        column schema under the names that the web UI knows.
        """
        own: dict[str, Any] = {"path": root.shown(path)}
        if self.table is not None:
            own |= {"dagster/row_count": rows, "dagster/column_schema": column_schema(self.table)}
        return dg.MaterializeResult(
            # What came of it first, then where it lies: paths are for programs, too, and stay as they are.
            metadata={
                **shown_metadata(metadata, self.room),
                **own,
                **manifest_metadata(manifest_file, manifest, root),
            },
            data_version=dg.DataVersion(data_version),
        )

    def check(
        self,
        description: str,
        *,
        name: str | None = None,
        blocking: bool = False,
        severity: dg.AssetCheckSeverity | None = None,
    ) -> Callable[[Judge], dg.AssetChecksDefinition]:
        """Decorates the function that judges what was published; its name is the check's where ``name`` is not set.

        A check that does not pass is an error where it is blocking, and a warning otherwise, unless ``severity`` says
        something else.
        """
        usual = dg.AssetCheckSeverity.ERROR if blocking else dg.AssetCheckSeverity.WARN

        def declare(judge: Judge) -> dg.AssetChecksDefinition:
            @dg.asset_check(
                asset=self.asset,
                name=name or judge.__name__,
                partitions_def=self.partitions,
                blocking=blocking,
                description=description,
            )
            def check(context: dg.AssetCheckExecutionContext, data_root: DataRootResource) -> dg.AssetCheckResult:
                # How a check counts is part of its declaration: a judge says only whether it passed, and why.
                with dagster_failures():
                    result = judge(Latest(self, data_root.root(), context))
                return result._replace(
                    severity=severity or usual,
                    description=result.description and plain(result.description),
                    metadata=shown_metadata(result.metadata or {}, EVENT_PAGE),
                )

            return check

        return declare

    def schema_check(self, description: str) -> dg.AssetChecksDefinition:
        """The blocking check ``<asset>_schema``: every row keeps the column specs of the table."""
        return self.check(description, name=f"{self.asset}_schema", blocking=True)(Latest.schema_result)


@dataclass(frozen=True)
class Latest:
    """What the latest materialization of an asset (of one partition) published, as a check sees it.

    Checks read the published file, so they can run alone, also where nothing was ever recorded of it.
    """

    file: PublishedFile
    root: DataRoot
    context: dg.AssetCheckExecutionContext

    @property
    def partition(self) -> str:
        """The partition that is judged; empty for an asset without partitions."""
        return self.context.partition_key if self.file.partitions else ""

    @cached_property
    def path(self) -> Path:
        """Where the file is."""
        path = self._path("path", lambda: self.file.place(self.root, self.partition))
        settle(path.parent)  # it may lie outside the data root, which is settled already
        return path

    @cached_property
    def manifest_path(self) -> Path:
        """Where its replay manifest is."""
        place = self.file.manifest_place
        return self._path(
            "manifest_path", lambda: place(self.root, self.partition) if place else manifest_path(self.path)
        )

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """Its replay manifest; SchemaError where that is no JSON object."""
        settle(self.path.parent)
        return read_document(self.manifest_path)

    def schema_result(self) -> dg.AssetCheckResult:
        """Whether every row keeps the column specs of the file's table."""
        assert self.file.table is not None, f"{self.file.asset} publishes no table"
        return file_schema_result(self.path, self.file.table)

    # Path, manifest path and manifest come from one look into the event log.
    @cached_property
    def _record(self) -> dg.EventLogRecord | None:
        records_filter = dg.AssetRecordsFilter(
            dg.AssetKey(self.file.asset), asset_partitions=[self.partition] if self.file.partitions else None
        )
        return next(iter(self.context.instance.fetch_materializations(records_filter, limit=1).records), None)

    def _path(self, entry: str, default: Callable[[], Path]) -> Path:
        """What the metadata ``entry`` of the latest materialization says, else ``default``."""
        record = self._record
        if record is None or record.asset_materialization is None:
            return default()
        if self.file.judged_in_its_run and record.run_id != self.context.run.run_id and default().exists():
            return default()
        # A path is noted as ``DataRoot.shown`` gives it, so a data root that was moved since is no obstacle.
        noted = record.asset_materialization.metadata.get(entry)
        return default() if noted is None else self.root.located(str(noted.value))


def file_schema_result(path: Path, table: Table) -> dg.AssetCheckResult:
    """Whether every row of a Parquet or JSON Lines file keeps the column specs."""
    if not path.exists():
        message = f"{path}: found nothing there, expected the artefact; materialize the asset"
        return dg.AssetCheckResult(passed=False, description=message)
    return schema_result(lambda: validate_file(path, table))


def schema_result(validate: Callable[[], int]) -> dg.AssetCheckResult:
    """What ``validate`` says: the number of rows, or (a VqaError) what breaks the column specs."""
    try:
        with library_words():
            rows = validate()
    except VqaError as error:
        details = {"found": error.found, "expected": error.expected}
        return dg.AssetCheckResult(passed=False, description=str(error), metadata=details)
    return dg.AssetCheckResult(passed=True, description=f"{rows} rows keep the column specs", metadata={"rows": rows})


def column_schema(table: Table) -> dg.TableSchema:
    """The table's columns with their constraints, as the Columns panel shows them."""
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                c.name,
                _COLUMN_TYPES[c.kind],
                c.meaning,
                dg.TableColumnConstraints(nullable=c.nullable, unique=c.unique, other=c.constraints),
            )
            for c in table.columns
        ]
    )


def manifest_metadata(path: Path, manifest: Mapping[str, Any], root: DataRoot) -> dict[str, Any]:
    """The whole replay manifest and where it is."""
    return {"manifest": dg.MetadataValue.json(plain_values(manifest)), "manifest_path": root.shown(path)}


def shown_metadata(metadata: Mapping[str, Any], room: Room = OVERVIEW_TAB) -> dict[str, Any]:
    """Metadata that fits a page, its texts as a person may see them, without empty tables; names are shown as they are.

    What no browser could break to fit the room is behind [Show Markdown].
    """

    def shown(value: Any) -> Any:
        if isinstance(value, dg.TextMetadataValue):
            value = value.value or ""
        if isinstance(value, dg.JsonMetadataValue):
            return dg.MetadataValue.json(plain_values(value.value))
        return fitted(plain_values(value) if isinstance(value, str | list) else value, room)

    return {name: shown(value) for name, value in metadata.items() if not _is_nothing(value)}


def _is_nothing(value: Any) -> bool:
    # a result of Dagster's has made an object of what was None
    return value is None or isinstance(value, dg.NullMetadataValue)


def listed(examples: Iterable[str]) -> str:
    """Examples in a sentence, or ``none``."""
    return ", ".join(examples) or "none"
