"""``cross_corpus_evaluation``: heads trained on each corpus and tested on every other, as a table and a heat map."""

from collections.abc import Mapping
from typing import Any

import dagster as dg

from vqa_assets.assets.catalog import Catalog
from vqa_assets.assets.head_settings import TrainingConfig
from vqa_assets.assets.heads import CODE_VERSION, corpora_facts, present_tables, tables_read
from vqa_assets.assets.pictures import heat_map_png
from vqa_assets.assets.runs import run_context
from vqa_assets.assets.telling import manifest_metadata, picture, records, told_failures
from vqa_assets.resources.data_root import DataRootResource
from vqa_assets.resources.trainer import TrainerResource


def make_cross_corpus_evaluation(catalog: Catalog) -> dg.AssetsDefinition:
    """The asset over the labelled tables of all corpora of the catalog that are there."""

    @dg.asset(
        deps=[catalog.every("mos_features")],
        group_name="heads",
        kinds={"pytorch"},
        code_version=CODE_VERSION,
        pool="gpu",
        description="How far heads carry: one trained on each corpus and tested on every other (SROCC, PLCC), and each "
        "corpus by a head of all others. All heads read one feature schema; none is exported.",
    )
    def cross_corpus_evaluation(
        context: dg.AssetExecutionContext,
        config: TrainingConfig,
        data_root: DataRootResource,
        trainer: dg.ResourceParam[TrainerResource],
    ) -> dg.MaterializeResult[Any]:
        from vqa_assets.heads.across import METRICS, evaluate_across, recipe_of
        from vqa_assets.heads.publish import publish_across

        with told_failures():
            root, settings = data_root.root(), config.settings()
            ran = run_context(context, root, __file__)
            recipe = recipe_of(tuple(catalog.corpora))
            present = present_tables(recipe, catalog, root)
            facts = corpora_facts(catalog)
            across = evaluate_across(recipe, present, facts, settings, trainer.of_run(context), context.log.info)
            done = publish_across(across, settings, tables_read(across.corpora, present, settings), ran)
        told = {
            **_metadata(done.report),
            **manifest_metadata(done.manifest, done.manifest_path, root),
            "path": root.shown(done.path),
            "heat_map": picture(heat_map_png({m: across.matrix(m) for m in METRICS}), "trained on, tested on"),
        }
        return dg.MaterializeResult(metadata=told, data_version=dg.DataVersion(done.data_version))

    return cross_corpus_evaluation


def _metadata(report: Mapping[str, Any]) -> dict[str, Any]:
    matrices = {
        metric: records([{"trained on": one, **of} for one, of in report[metric].items()])
        for metric in ("srocc", "plcc")
    }
    left_out = [{"corpus": name, **of} for name, of in report["leave_one_corpus_out"].items()]
    near = report["near_duplicates"]
    return {
        **matrices,
        "leave_one_corpus_out": records([{k: v for k, v in row.items() if k != "interval_95"} for row in left_out]),
        "near_duplicates": "no perceptual hashes" if near is None else f"{near['groups']} groups",
        "absent_corpora": list(report["absent"]),
        "corpora": records(
            [{"corpus": n, "rows": c["rows"], "contents": c["contents"]} for n, c in report["corpora"].items()]
        ),
    }
