"""``mos_features``: each corpus's feature table joined with its opinion scores."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import Field, create_model

from vqa_assets.assets.catalog import Catalog
from vqa_assets.assets.checks import error, schema_result, shown_examples, warning
from vqa_assets.assets.pictures import histogram_png
from vqa_assets.assets.runs import artefact_path, run_context
from vqa_assets.assets.telling import (
    counted,
    manifest_metadata,
    picture,
    records,
    shortened,
    table_metadata,
    told_failures,
)
from vqa_assets.corpora import Corpus
from vqa_assets.corpora.opinions import SOS_ORDINARY
from vqa_assets.corpora.scales import TRAINING
from vqa_assets.labels.settings import LABEL_SETTINGS, LabelPaths, label_settings
from vqa_assets.resources.data_root import DataRootResource
from vqa_assets.settings import Setting
from vqa_assets.tables.files import read_json_object
from vqa_assets.tables.paths import DataRoot
from vqa_assets.tables.specs import MOS_FEATURES

if TYPE_CHECKING:
    from vqa_assets.labels.labelled import LabelledTable

CODE_VERSION = "2"
_LEAKS_SHOWN = 20
_PATHS: dict[str, Any] = {
    "features": (
        str | None,
        Field(default=None, description="Feature table. Default: <root>/<corpus>/features.parquet."),
    ),
    "labels": (list[str], Field(default=[], description="Label files. Default: the corpus JSONL.")),
    "out": (
        str | None,
        Field(
            default=None,
            description="Table to write, in the format that its suffix says. "
            "Default: <root>/<corpus>/features_with_mos.parquet.",
        ),
    ),
    "audit_json": (
        str | None,
        Field(default=None, description="Audit to write. Default: <root>/<corpus>/features_with_mos.audit.json."),
    ),
}


def _config_field(setting: Setting) -> Any:
    kind = list[str] if setting.type is list else setting.type
    return (kind | None, Field(default=None, description=setting.help))


LabelConfig = create_model(
    "LabelConfig",
    __base__=dg.Config,
    __doc__="Settings of one join; what is left empty is inferred from the tables, or its default.",
    **_PATHS,
    **{setting.name: _config_field(setting) for setting in LABEL_SETTINGS},
)


def make_mos_features_asset(catalog: Catalog) -> dg.AssetsDefinition:
    """The asset over all corpora of the catalog."""

    @dg.asset(
        deps=[catalog.same("clip_features"), catalog.same("corpus_jsonl")],
        partitions_def=catalog.partitions,
        group_name="labels",
        kinds={"parquet"},
        code_version=CODE_VERSION,
        description=f"{MOS_FEATURES.row} Row count, row order and all other columns stay as they are.",
    )
    def mos_features(
        context: dg.AssetExecutionContext,
        config: LabelConfig,  # type: ignore[valid-type]
        data_root: DataRootResource,
    ) -> dg.MaterializeResult[Any]:
        from vqa_assets.labels.labelled import make_labelled_table

        with told_failures():
            root, corpus = data_root.root(), catalog.corpora[context.partition_key]
            given = config.model_dump()  # type: ignore[attr-defined]
            paths = _paths(given, corpus, root)
            settings = label_settings({s.name: given[s.name] for s in LABEL_SETTINGS}, "run config")
            done = make_labelled_table(paths, settings, run_context(context, root, __file__), catalog.corpora)
        return dg.MaterializeResult(metadata=_metadata(done, root), data_version=dg.DataVersion(done.data_version))

    return mos_features


def make_mos_features_checks(catalog: Catalog) -> list[dg.AssetChecksDefinition]:
    """Schema and match rate (blocking), contents in two splits, labels that no opinions give."""

    @dg.asset_check(
        asset="mos_features",
        partitions_def=catalog.partitions,
        blocking=True,
        description="The added columns keep their specs.",
    )
    def mos_features_schema(context: dg.AssetCheckExecutionContext, data_root: DataRootResource) -> dg.AssetCheckResult:
        from vqa_assets.labels.labelled import validate_labelled

        root, name = data_root.root(), context.partition_key
        path = artefact_path(context, root, root.labelled(catalog.corpora[name]), name)
        status = _audit(context, root, catalog)["run_provenance"]["args"]["status_column"]["value"]
        return schema_result(lambda: validate_labelled(path, status))

    @dg.asset_check(
        asset="mos_features",
        partitions_def=catalog.partitions,
        blocking=True,
        description="Enough feature keys have a label.",
    )
    def mos_features_match_rate(
        context: dg.AssetCheckExecutionContext, data_root: DataRootResource
    ) -> dg.AssetCheckResult:
        audit = _audit(context, data_root.root(), catalog)
        rate, least = audit["match_rate"], audit["run_provenance"]["args"]["min_match_rate"]["value"]
        return error(rate >= least, f"{rate:.1%} of the keys have a label, at least {least:.1%} must")

    @dg.asset_check(
        asset="mos_features",
        partitions_def=catalog.partitions,
        description="No content stands in two splits.",
    )
    def mos_features_split_leakage(
        context: dg.AssetCheckExecutionContext, data_root: DataRootResource
    ) -> dg.AssetCheckResult:
        return split_leakage_result(_audit(context, data_root.root(), catalog)["split_leaks"])

    @dg.asset_check(
        asset="mos_features",
        partitions_def=catalog.partitions,
        description="No label has an SD of 0 beside others that have one, and the SOS parameter is one of opinions.",
    )
    def mos_features_labels(context: dg.AssetCheckExecutionContext, data_root: DataRootResource) -> dg.AssetCheckResult:
        return _suspicion_result(_audit(context, data_root.root(), catalog)["labels"])

    return [mos_features_schema, mos_features_match_rate, mos_features_split_leakage, mos_features_labels]


def split_leakage_result(leaks: Mapping[str, Sequence[str]]) -> dg.AssetCheckResult:
    """An error that names the contents which stand in more than one split."""
    told = [f"{content} ({', '.join(splits)})" for content, splits in list(leaks.items())[:_LEAKS_SHOWN]]
    more = f" and {len(leaks) - _LEAKS_SHOWN} more" if len(leaks) > _LEAKS_SHOWN else ""
    advice = "; a head would be judged on contents it was trained on: correct the split by content" if leaks else ""
    description = f"contents in two splits: {shown_examples(told)}{more}{advice}"
    return error(not leaks, description, {"contents": len(leaks)})


def _suspicion_result(summaries: Sequence[Mapping[str, Any]]) -> dg.AssetCheckResult:
    low, high = SOS_ORDINARY
    odd, found = [], {}
    for one in summaries:
        unknown = round(one["share_unknown_sd"] * one["clips"])
        if 0 < unknown < one["clips"]:
            odd.append(f"{one['corpus']}: {unknown} of {one['clips']} labels have an SD of 0")
        if not one["sos_is_ordinary"]:
            odd.append(f"{one['corpus']}: SOS parameter {one['sos_parameter']:.4g}, outside {low:g}–{high:g}")
        if one["sos_parameter"] is not None:
            found[f"SOS parameter of {one['corpus']}"] = shortened(one["sos_parameter"])
    return warning(not odd, f"suspicious labels: {shown_examples(odd)}", found)


def _paths(given: Mapping[str, Any], corpus: Corpus, root: DataRoot) -> LabelPaths:
    """The part of the settings that says which files."""
    out = Path(given["out"]).expanduser() if given["out"] else root.labelled(corpus)
    beside = out.with_name(f"{out.stem}.audit.json") if given["out"] else root.labelled_audit(corpus)
    return LabelPaths(
        features=Path(given["features"]).expanduser() if given["features"] else root.features(corpus),
        labels=tuple(Path(p).expanduser() for p in given["labels"]) or (root.corpus_jsonl(corpus),),
        out=out,
        audit_json=Path(given["audit_json"]).expanduser() if given["audit_json"] else beside,
        unsaid=frozenset(name for name in _PATHS if not given[name]),
    )


def _audit(context: dg.AssetCheckExecutionContext, root: DataRoot, catalog: Catalog) -> dict[str, Any]:
    name = context.partition_key
    default = root.labelled_audit(catalog.corpora[name])
    return read_json_object(artefact_path(context, root, default, name, entry="manifest_path"))


def _metadata(done: "LabelledTable", root: DataRoot) -> dict[str, Any]:
    audit = done.audit
    counts = [sum(bins) for bins in zip(*(one.histogram_native for one in done.summaries), strict=True)]
    title = f"{audit.matched_feature_keys} labelled keys"
    return {
        **table_metadata(MOS_FEATURES, audit.output_rows),
        **manifest_metadata(done.manifest, done.paths.audit_json, root),
        "path": root.shown(done.paths.out),
        "match_rate": audit.match_rate,
        "matched_rows": audit.matched_rows,
        "missing_rows": audit.missing_rows,
        "label_sources": counted(audit.label_sources, "file"),
        "labels": records([one.as_row() for one in done.summaries]),
        "mos_histogram": picture(histogram_png(counts or [0], TRAINING, title), "MOS histogram"),
        "unmatched_feature_keys": list(audit.unmatched_features),
        "unmatched_label_keys": list(audit.unmatched_labels),
        "contents_in_two_splits": len(audit.split_leaks),
    }
