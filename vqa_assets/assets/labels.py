"""``mos_features``: each corpus's feature table joined with its opinion scores."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import Field

from vqa_assets.assets.catalog import Catalog
from vqa_assets.assets.checks import error, parquet_schema_result
from vqa_assets.assets.runs import artefact_path, run_context
from vqa_assets.assets.telling import counted, manifest_metadata, table_metadata, told_failures
from vqa_assets.corpora import Corpus
from vqa_assets.resources.data_root import DataRootResource
from vqa_assets.schemas import MOS_FEATURES, labelled_table
from vqa_assets.store.files import read_json_object
from vqa_assets.store.paths import DataRoot

if TYPE_CHECKING:
    from vqa_assets.labels import LabelledTable, LabelPaths, LabelSettings

CODE_VERSION = "1"


class LabelConfig(dg.Config):
    """Settings of one join."""

    features: str | None = Field(default=None, description="Feature table. Default: <root>/<corpus>/features.parquet.")
    labels: list[str] = Field(default=[], description="Label files. Default: the corpus JSONL.")
    out: str | None = Field(
        default=None, description="Table to write. Default: <root>/<corpus>/features_with_mos.parquet."
    )
    audit_json: str | None = Field(
        default=None, description="Audit to write. Default: <root>/<corpus>/features_with_mos.audit.json."
    )
    feature_key_column: str = Field(default="key", description="Key column of the features. Default: key.")
    label_key_column: str = Field(default="src", description="Key column of the labels. Default: src.")
    min_match_rate: float = Field(
        default=0.95, ge=0, le=1, description="Least share of feature keys with a label. Default: 0.95."
    )
    status_column: str = Field(
        default="mos_label_status", description="Column that says ok or missing-label. Default: mos_label_status."
    )
    overwrite: bool = Field(default=False, description="Replace MOS columns that the features have. Default: false.")

    def settings(self) -> "LabelSettings":
        """The part of the settings that decides how keys are joined."""
        from vqa_assets.labels import LabelSettings

        return LabelSettings(
            self.feature_key_column,
            self.label_key_column,
            self.min_match_rate,
            self.status_column,
            self.overwrite,
        )

    def paths(self, corpus: Corpus, root: DataRoot) -> "LabelPaths":
        """The part of the settings that says which files."""
        from vqa_assets.labels import LabelPaths

        return LabelPaths(
            features=Path(self.features) if self.features else root.features(corpus),
            labels=tuple(Path(p) for p in self.labels) or (root.corpus_jsonl(corpus),),
            out=Path(self.out) if self.out else root.labelled(corpus),
            audit_json=Path(self.audit_json) if self.audit_json else root.labelled_audit(corpus),
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
        context: dg.AssetExecutionContext, config: LabelConfig, data_root: DataRootResource
    ) -> dg.MaterializeResult[Any]:
        from vqa_assets.labels import make_labelled_table

        with told_failures():
            root, corpus = data_root.root(), catalog.corpora[context.partition_key]
            run = run_context(context, root, __file__)
            done = make_labelled_table(config.paths(corpus, root), config.settings(), run)
        return dg.MaterializeResult(metadata=_metadata(done, root), data_version=dg.DataVersion(done.data_version))

    return mos_features


def make_mos_features_checks(catalog: Catalog) -> list[dg.AssetChecksDefinition]:
    """Schema and match rate, both blocking."""

    @dg.asset_check(
        asset="mos_features",
        partitions_def=catalog.partitions,
        blocking=True,
        description="The added columns keep their specs.",
    )
    def mos_features_schema(context: dg.AssetCheckExecutionContext, data_root: DataRootResource) -> dg.AssetCheckResult:
        root, name = data_root.root(), context.partition_key
        path = artefact_path(context, root, root.labelled(catalog.corpora[name]), name)
        status = _audit(context, root, catalog)["run_provenance"]["args"]["status_column"]
        return parquet_schema_result(path, labelled_table(status))

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
        rate, least = audit["match_rate"], audit["run_provenance"]["args"]["min_match_rate"]
        return error(rate >= least, f"{rate:.1%} of the keys have a label, at least {least:.1%} must")

    return [mos_features_schema, mos_features_match_rate]


def _audit(context: dg.AssetCheckExecutionContext, root: DataRoot, catalog: Catalog) -> dict[str, Any]:
    name = context.partition_key
    default = root.labelled_audit(catalog.corpora[name])
    return read_json_object(artefact_path(context, root, default, name, entry="manifest_path"))


def _metadata(done: "LabelledTable", root: DataRoot) -> dict[str, Any]:
    audit = done.audit
    return {
        **table_metadata(MOS_FEATURES, audit.output_rows),
        **manifest_metadata(done.manifest, done.paths.audit_json, root),
        "path": root.shown(done.paths.out),
        "match_rate": audit.match_rate,
        "matched_rows": audit.matched_rows,
        "missing_rows": audit.missing_rows,
        "label_sources": counted(audit.label_sources, "file"),
        "unmatched_feature_keys": list(audit.unmatched_features),
        "unmatched_label_keys": list(audit.unmatched_labels),
    }
