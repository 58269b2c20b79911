"""The only assembly: ``build_defs`` joins assets, checks, resources, sensors; ``defs`` is what Dagster loads."""

# ruff: noqa: E402
import gc
import os
import warnings
from collections.abc import Mapping
from typing import Any

import dagster as dg

# What importing dagster made lives as long as the process; without this the next full collection walks all of it
# again in the middle of our own imports, which costs a tenth of the whole load.
gc.freeze()

from vqa_assets.assets.catalog import Catalog
from vqa_assets.assets.corpora import make_corpus_annotations, make_corpus_jsonl, make_corpus_jsonl_checks
from vqa_assets.assets.encode_grid import make_encode_grid_assets, make_encode_grid_checks
from vqa_assets.assets.features import make_clip_features_asset, make_clip_features_checks
from vqa_assets.assets.heads import make_cross_corpus_evaluation, make_head_assets, make_head_checks
from vqa_assets.assets.labels import (
    make_mos_features_asset,
    make_mos_features_checks,
    make_mos_label_batch_asset,
    make_mos_label_batch_checks,
)
from vqa_assets.assets.overview import make_overview_asset
from vqa_assets.assets.startable import Startable
from vqa_assets.assets.unified import make_unified_corpus_asset, make_unified_corpus_checks
from vqa_assets.assets.unified_features import make_unified_features_asset, make_unified_features_checks
from vqa_assets.corpora import Corpus
from vqa_assets.corpora.declarations import corpora_folder, with_declared
from vqa_assets.resources.clip_pool import ClipPoolResource
from vqa_assets.resources.data_root import DataRootResource
from vqa_assets.resources.downloader import DownloaderResource
from vqa_assets.resources.extractor import ClipExtractorResource
from vqa_assets.resources.notifier import NotifierResource
from vqa_assets.resources.prober import ProberResource
from vqa_assets.resources.trainer import TrainerResource
from vqa_assets.sensors.automation import make_automation_sensor, with_automation
from vqa_assets.sensors.dropped_files import make_drop_sensors
from vqa_assets.sensors.failed_runs import make_abandoned_runs_sensor, make_failure_sensor
from vqa_assets.sensors.schedules import Timing, make_schedules
from vqa_assets.sensors.whole_workflow import make_workflow_job
from vqa_assets.tables.paths import DataRoot

# Stages hand on files and no values; Dagster's own default would let a run config name a folder for values.
_VALUES = dg.IOManagerDefinition(lambda _: dg.InMemoryIOManager(), config_schema={})  # type: ignore[no-untyped-call]


def default_resources() -> dict[str, Any]:
    """Every resource by name, as a fresh machine can run it: no system package, no GPU."""
    return {
        "data_root": DataRootResource(),
        "prober": ProberResource(),
        "downloader": DownloaderResource(),
        "clip_pool": ClipPoolResource(),
        "extractor": ClipExtractorResource(),
        "trainer": TrainerResource(),
        "notifier": NotifierResource(),
    }


def declared_corpora(root: DataRoot | None = None) -> Mapping[str, Corpus]:
    """``CORPORA``, and those that TOML files declare for a data root, by default the one that the environment names.

    The files lie in ``$VQA_CORPORA_DIR``, else in ``<root>/corpora``. SettingsError names a mistake.
    """
    return with_declared(corpora_folder((root or DataRoot.named()).path, os.environ))


def build_defs(**resources: Any) -> dg.Definitions:
    """All assets, checks, sensors and schedules; ``resources`` replace the default ones by name.

    TypeError for a resource no asset asks for.
    """
    chosen = default_resources()
    unknown = sorted(set(resources) - set(chosen))
    if unknown:
        raise TypeError(f"build_defs: unknown resources {', '.join(unknown)}, expected some of {', '.join(chosen)}")
    chosen |= resources
    catalog, timing = Catalog(declared_corpora(chosen["data_root"].named_root())), Timing.of(os.environ)
    return dg.Definitions(
        assets=with_automation(_assets(catalog), Startable(catalog, chosen["data_root"].root).why_not),
        asset_checks=_checks(catalog),
        resources={**chosen, "io_manager": _VALUES},
        sensors=[
            *make_drop_sensors(catalog, timing.interval_s),
            make_automation_sensor(timing.interval_s),
            make_abandoned_runs_sensor(),
            make_failure_sensor(timing.interval_s),
        ],
        schedules=make_schedules(catalog, timing),
        jobs=[make_workflow_job()],
        executor=dg.in_process_executor,
    )


def _assets(catalog: Catalog) -> list[dg.AssetsDefinition]:
    published = [
        make_corpus_annotations(catalog),
        make_corpus_jsonl(catalog),
        make_unified_corpus_asset(catalog),
        make_clip_features_asset(catalog),
        make_mos_features_asset(catalog),
        make_mos_label_batch_asset(catalog),
        make_unified_features_asset(catalog),
        *make_head_assets(catalog),
        make_cross_corpus_evaluation(catalog),
        *make_encode_grid_assets(),
    ]
    return [*published, make_overview_asset(catalog, published)]


def _checks(catalog: Catalog) -> list[dg.AssetChecksDefinition]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", category=dg.PreviewWarning)  # partitioned checks
        return [
            *make_corpus_jsonl_checks(catalog),
            *make_unified_corpus_checks(catalog),
            *make_clip_features_checks(catalog),
            *make_mos_features_checks(catalog),
            *make_mos_label_batch_checks(),
            *make_unified_features_checks(),
            *make_head_checks(catalog),
            *make_encode_grid_checks(),
        ]


defs = build_defs()
