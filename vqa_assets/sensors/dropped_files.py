"""A sensor that starts a corpus's ingest when its annotation file changed: ``stat`` first, hash on change."""

import hashlib
import json
import time
from pathlib import Path
from typing import Any

import dagster as dg

from vqa_assets.assets.catalog import Catalog
from vqa_assets.corpora import Corpus
from vqa_assets.errors import SettingsError
from vqa_assets.resources.data_root import DataRootResource
from vqa_assets.store.paths import DataRoot

QUIET_S = 10.0
"""A file that changed more recently than this is still being written."""


def make_annotation_sensor(catalog: Catalog) -> dg.SensorDefinition:
    """The sensor over all corpora of the catalog."""

    @dg.sensor(
        name="changed_annotation_files",
        target=dg.AssetSelection.assets("corpus_annotations", "corpus_jsonl"),
        minimum_interval_seconds=60,
        default_status=dg.DefaultSensorStatus.STOPPED,
        description="Starts corpus_jsonl for a corpus whose annotation file is new or has other bytes.",
    )
    def changed_annotation_files(context: dg.SensorEvaluationContext, data_root: DataRootResource) -> dg.SensorResult:
        seen: dict[str, Any] = json.loads(context.cursor or "{}")
        requests = []
        for corpus in catalog.corpora.values():
            try:
                request = _request(corpus, data_root.root(), seen)
            except SettingsError as error:  # of one corpus: the others are looked at all the same
                context.log.warning(str(error))
                continue
            requests += [request] if request else []
        skipped = None if requests else "no annotation file changed"
        return dg.SensorResult(run_requests=requests, skip_reason=skipped, cursor=json.dumps(seen, sort_keys=True))

    return changed_annotation_files


def _request(corpus: Corpus, root: DataRoot, seen: dict[str, Any]) -> dg.RunRequest | None:
    """A run for a corpus whose file changed since ``seen``, which is brought up to date."""
    from vqa_assets.ingest.layout import waiting_annotation_files

    files = waiting_annotation_files(corpus, root)
    if not files:
        return None
    found = [path.stat() for path in files]
    stamp = [[one.st_size, one.st_mtime_ns] for one in found]
    newest = max(one.st_mtime_ns for one in found)
    before = seen.get(corpus.name, {})
    if before.get("stamp") == stamp or time.time_ns() - newest < QUIET_S * 1e9:
        return None
    digest = _digest(files)
    seen[corpus.name] = {"stamp": stamp, "sha256": digest}
    if before.get("sha256") == digest:
        return None
    return dg.RunRequest(run_key=f"{corpus.name}:{digest}:{newest}", partition_key=corpus.name)


def _digest(files: tuple[Path, ...]) -> str:
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as content:
            while piece := content.read(1 << 20):
                digest.update(piece)
    return digest.hexdigest()
