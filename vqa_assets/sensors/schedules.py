"""The weekly re-ingest of every corpus whose annotation file is present."""

from typing import Any

import dagster as dg

from vqa_assets.assets.catalog import Catalog
from vqa_assets.corpora import Corpus
from vqa_assets.errors import SettingsError
from vqa_assets.resources.data_root import DataRootResource
from vqa_assets.store.paths import DataRoot

WEEKLY = "0 3 * * 1"


def make_reingest_schedule(catalog: Catalog) -> dg.ScheduleDefinition:
    """The schedule over all corpora of the catalog."""

    @dg.schedule(
        name="weekly_reingest",
        target=dg.AssetSelection.assets("corpus_annotations", "corpus_jsonl"),
        cron_schedule=WEEKLY,
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.STOPPED,
        description="Checks every present corpus against its annotation file and its clips, Mondays at 03:00 UTC.",
    )
    def weekly_reingest(context: dg.ScheduleEvaluationContext, data_root: DataRootResource) -> Any:
        root = data_root.root()
        present = [c.name for c in catalog.corpora.values() if _is_present(c, root)]
        tick = context.scheduled_execution_time.isoformat()
        requests = [dg.RunRequest(run_key=f"{name}:{tick}", partition_key=name) for name in present]
        return requests or dg.SkipReason(f"no annotation file under {root.path}")

    return weekly_reingest


def _is_present(corpus: Corpus, root: DataRoot) -> bool:
    """True where an annotation file waits; also where settings are broken, so that the run says what is wrong."""
    from vqa_assets.ingest.layout import waiting_annotation_files

    try:
        return bool(waiting_annotation_files(corpus, root))
    except SettingsError:
        return True
