"""Sensors that start a run when a person dropped a file: annotation files, feature tables, reports of the encode grid.

Files are looked for where ``ingest.toml`` says. One that is still being written starts nothing: a sensor's ``Cursor``
remembers what was whole. ``stat`` comes first, bytes are read only where that changed. A feature table of your own
starts nothing before its corpus has its JSONL. Assets that follow from other assets are in ``automation``.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg

from vqa_assets.assets.catalog import Catalog
from vqa_assets.corpora import ENCODE_GRID_SOURCES
from vqa_assets.corpora.external import BVI_DVC
from vqa_assets.errors import VqaError
from vqa_assets.resources.data_root import DataRootResource
from vqa_assets.tables.paths import DataRoot


@dataclass
class Cursor:
    """Per name the state of its files when they last were whole, and the state that is waited on."""

    seen: dict[str, dict[str, Any]] = field(default_factory=dict)

    @classmethod
    def read(cls, text: str | None) -> "Cursor":
        """What an earlier tick left; nothing was seen where that cannot be read."""
        try:
            seen = json.loads(text or "{}")
        except ValueError:
            seen = {}
        return cls({k: v for k, v in seen.items() if isinstance(v, dict)} if isinstance(seen, dict) else {})

    def written(self) -> str:
        """The text for the next tick."""
        return json.dumps(self.seen, sort_keys=True)

    @property
    def waiting(self) -> list[str]:
        """The names whose files may still be in the making."""
        return [name for name, state in self.seen.items() if state.get("waiting")]

    def put_back(self, name: str, state: dict[str, Any] | None) -> None:
        """Forget what this tick noted of a name: it is looked at anew by the next one."""
        self.seen.pop(name, None)
        if state is not None:
            self.seen[name] = state

    def change_of(self, name: str, files: Sequence[Path]) -> str | None:
        """``<hash>:<mtime>:<number>`` where the files of a name are whole and have other bytes than before, else None.

        Files are whole when size and time of change were the same at an earlier tick, and still are once they were
        read. The time of change is not compared with our clock: copies keep old times, and servers have other clocks.
        """
        state = self.seen.get(name, {})
        stamp = _stamp(files)
        if stamp == state.get("stamp") or (not files and "stamp" not in state):
            state.pop("waiting", None)
            return None
        if stamp != state.get("waiting"):
            self.seen[name] = {**state, "waiting": stamp}
            return None
        digest, newest = _digest(files), max((path.stat().st_mtime_ns for path in files), default=0)
        if _stamp(files) != stamp:  # written to while we read
            self.seen[name] = {**state, "waiting": _stamp(files)}
            return None
        if not files or digest == state.get("sha256"):
            self.seen[name] = {**state, "stamp": stamp, "sha256": digest}
            self.seen[name].pop("waiting", None)
            return None
        # Dagster starts nothing twice under one key: A, B, and A again are three changes, also where the file came back
        # with its old time of change. That time tells them apart where a cursor was reset.
        number = state.get("changes", 0) + 1
        self.seen[name] = {"stamp": stamp, "sha256": digest, "changes": number}
        return f"{digest}:{newest}:{number}"


def _stamp(files: Iterable[Path]) -> str:
    """A short text that changes with name, size and time of change of any file."""
    digest = hashlib.sha256()
    for path in files:
        status = path.stat()
        digest.update(f"{path.name}\n{status.st_size}\n{status.st_mtime_ns}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()[:32]


def _digest(files: Sequence[Path]) -> str:
    """SHA-256 of the bytes of all files; of several, with their names."""
    digest = hashlib.sha256()
    for path in files:
        if len(files) > 1:
            digest.update(f"{path.name}\n".encode("utf-8", "surrogateescape"))
        with path.open("rb") as content:
            while piece := content.read(1 << 20):
                digest.update(piece)
    return digest.hexdigest()


Look = Callable[[str, DataRoot, Cursor], str | None]
"""Looks at the files of one partition: their change as ``Cursor.change_of`` gives it, where that is to start a run."""


def make_drop_sensors(catalog: Catalog, interval_s: int) -> list[dg.SensorDefinition]:
    """One sensor per kind of drop, all off until somebody switches them on."""

    def annotation_files(name: str, root: DataRoot, cursor: Cursor) -> str | None:
        return cursor.change_of(name, catalog.layout(root, name).waiting_annotation_files())

    def feature_table(name: str, root: DataRoot, cursor: Cursor) -> str | None:
        from vqa_assets.features.corpus_table import why_foreign

        corpus = catalog.corpora[name]
        table = root.features(corpus)
        if not table.is_file() or not catalog.layout(root, name).output.is_file():
            return None
        change = cursor.change_of(name, (table,))
        # What clip_features wrote itself is followed by automation.
        return change if change and why_foreign(table) else None

    def encode_reports(name: str, root: DataRoot, cursor: Cursor) -> str | None:
        from vqa_assets.encode_grid.grid_files import reports_folder, reports_in, vmaf_tune_rows

        inputs = reports_in(reports_folder(root)) if name == BVI_DVC.name else (vmaf_tune_rows(root),)
        return cursor.change_of(name, tuple(path for path in inputs if path.is_file()))

    return [
        _make_sensor(
            name="changed_annotation_files",
            target=dg.AssetSelection.assets("corpus_annotations", "corpus_jsonl"),
            description="Starts corpus_jsonl for a corpus whose annotation file is new or has other bytes.",
            partitions=catalog.corpora,
            look=annotation_files,
            interval_s=interval_s,
        ),
        _make_sensor(
            name="changed_feature_tables",
            target=dg.AssetSelection.assets("mos_features"),
            description="Starts mos_features for a corpus whose features.parquet is your own and new or changed, once "
            "the corpus has its JSONL.",
            partitions=catalog.corpora,
            look=feature_table,
            interval_s=interval_s,
        ),
        _make_sensor(
            name="changed_encode_reports",
            target=dg.AssetSelection.assets("libvmaf_reports", "encode_grid_jsonl"),
            description="Starts libvmaf_reports and encode_grid_jsonl for a source whose libvmaf reports or vmaf-tune "
            "rows are new, changed or gone.",
            partitions=ENCODE_GRID_SOURCES,
            look=encode_reports,
            interval_s=interval_s,
        ),
    ]


def _make_sensor(
    name: str, target: dg.AssetSelection, description: str, partitions: Iterable[str], look: Look, interval_s: int
) -> dg.SensorDefinition:
    @dg.sensor(
        name=name,
        target=target,
        minimum_interval_seconds=interval_s,
        default_status=dg.DefaultSensorStatus.STOPPED,
        description=description,
    )
    def sensor(context: dg.SensorEvaluationContext, data_root: DataRootResource) -> dg.SensorResult:
        root, cursor = data_root.root(), Cursor.read(context.cursor)
        requests = []
        for partition in partitions:
            before = cursor.seen.get(partition)
            try:
                change = look(partition, root, cursor)
            except (VqaError, OSError) as error:  # what is wrong with one partition does not hold up the others
                cursor.put_back(partition, before)
                context.log.warning("%s: %s", partition, error)
                continue
            if change:
                requests.append(dg.RunRequest(run_key=f"{partition}:{change}", partition_key=partition))
        waiting = ", ".join(cursor.waiting)
        quiet = f"still being written, or just seen: {waiting}" if waiting else "nothing changed"
        return dg.SensorResult(run_requests=requests, skip_reason=None if requests else quiet, cursor=cursor.written())

    return sensor
