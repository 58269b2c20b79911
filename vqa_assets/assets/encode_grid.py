"""``libvmaf_reports``, ``encode_grid_jsonl`` and ``fr_training_corpus``: encodes scored by VMAF, one training table.

They have their own partitions, the sources of the grid; no opinion score comes near them.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import Field

from vqa_assets.assets.checks import jsonl_schema_result, warning
from vqa_assets.assets.runs import artefact_path, run_context
from vqa_assets.assets.telling import counted, manifest_metadata, records, table_metadata, told_failures
from vqa_assets.assets.told_config import ToldConfig
from vqa_assets.corpora import ENCODE_GRID_SOURCES, EncodeGridSource
from vqa_assets.corpora.external import BVI_DVC
from vqa_assets.encode_grid import grid_files
from vqa_assets.resources.data_root import DataRootResource
from vqa_assets.tables.files import read_json_object
from vqa_assets.tables.paths import DataRoot, manifest_path
from vqa_assets.tables.specs import ENCODE_GRID_JSONL, FR_TRAINING_CORPUS

if TYPE_CHECKING:
    from vqa_assets.encode_grid.grid import Grid, GridJob, TrainingCorpus

CODE_VERSION = "1"
GROUP = "encode_grid"
SOURCES = dg.StaticPartitionsDefinition(list(ENCODE_GRID_SOURCES))
_EXAMPLES = 50
_CACHE_DIR = "Folder of libvmaf reports. Default: <root>/encode-grid/bvi-dvc."
_INPUT = "vmaf-tune's rows. Default: <root>/encode-grid/netflix_vmaf_tune.jsonl."


class ReportsConfig(ToldConfig):
    """Where the inputs of the grid are."""

    cache_dir: str | None = Field(default=None, description=_CACHE_DIR)
    input: str | None = Field(default=None, description=_INPUT)


class EncodeGridConfig(ToldConfig):
    """Settings of one grid: the labels and ``cache_dir`` are for bvi-dvc, ``input`` is for netflix."""

    cache_dir: str | None = Field(default=None, description=f"bvi-dvc: {_CACHE_DIR}")
    encoder: str = Field(default="libx264", min_length=1, description="bvi-dvc: encoder of all. Default: libx264.")
    preset: str = Field(default="fast", min_length=1, description="bvi-dvc: preset of all. Default: fast.")
    crf: int = Field(default=35, ge=0, le=63, description="bvi-dvc: CRF of all. Default: 35. From 0 to 63.")
    pix_fmt: str = Field(
        default="yuv420p10le", min_length=1, description="bvi-dvc: pixel format of all. Default: yuv420p10le."
    )
    vmaf_model: str = Field(
        default="vmaf_v0.6.1", min_length=1, description="bvi-dvc: model that scored. Default: vmaf_v0.6.1."
    )
    input: str | None = Field(default=None, description=f"netflix: {_INPUT}")
    output: str | None = Field(
        default=None, description="File to write. Default: <root>/encode-grid/<source_>_corpus.jsonl."
    )
    manifest_out: str | None = Field(default=None, description="Replay manifest to write. Default: beside the output.")

    def job(self, source: EncodeGridSource, root: DataRoot) -> "GridJob":
        """What to make for a source."""
        from vqa_assets.encode_grid.grid import GridOutput
        from vqa_assets.encode_grid.grid_sources import EncodeLabels, bvi_dvc_job, netflix_job

        to = GridOutput(_path(self.output, grid_files.grid_jsonl(root, source)), _optional(self.manifest_out))
        if source is not BVI_DVC:
            return netflix_job(_path(self.input, grid_files.vmaf_tune_rows(root)), root, to)
        labels = EncodeLabels(self.encoder, self.preset, self.crf, self.pix_fmt, self.vmaf_model)
        return bvi_dvc_job(_path(self.cache_dir, grid_files.reports_folder(root)), labels, root, to)


class TrainingCorpusConfig(ToldConfig):
    """Settings of one merge."""

    inputs: list[str] = Field(
        default=[], description="Grid JSONL files instead of every one present; of equal encodes the first wins."
    )
    output: str | None = Field(
        default=None, description="File to write. Default: <root>/encode-grid/fr_v2_train_corpus.jsonl."
    )
    manifest_out: str | None = Field(default=None, description="Replay manifest to write. Default: beside the output.")


def make_encode_grid_assets() -> list[dg.AssetsDefinition]:
    """The three assets, from the inputs to the training table."""

    @dg.asset(
        group_name=GROUP,
        kinds={"json"},
        code_version=CODE_VERSION,
        description="One row per input of the encode grid: every cached libvmaf report and vmaf-tune's rows, listed "
        "and hashed. Writes nothing; its data version is a hash of their names and bytes.",
    )
    def libvmaf_reports(config: ReportsConfig, data_root: DataRootResource) -> dg.MaterializeResult[Any]:
        from vqa_assets.encode_grid.grid_files import list_inputs
        from vqa_assets.encode_grid.grid_rows import shown_name

        with told_failures():
            root = data_root.root()
            found = list_inputs(
                _path(config.cache_dir, grid_files.reports_folder(root)),
                _path(config.input, grid_files.vmaf_tune_rows(root)),
            )
        shown = [
            {"file": shown_name(f.path), "bytes": f.size_bytes, "sha256": f.sha256} for f in found.files[:_EXAMPLES]
        ]
        return dg.MaterializeResult(
            metadata={
                "dagster/row_count": len(found.files),
                "inputs": counted(found.counts, "source"),
                "bytes": sum(f.size_bytes for f in found.files),
                "unreadable": [shown_name(path) for path in found.unreadable],
                "examples": records(shown),
                "cache_dir": root.shown(found.reports_folder),
            },
            data_version=dg.DataVersion(found.data_version),
        )

    @dg.asset(
        deps=[dg.AssetDep("libvmaf_reports", partition_mapping=dg.AllPartitionMapping())],
        partitions_def=SOURCES,
        group_name=GROUP,
        kinds={"jsonl"},
        code_version=CODE_VERSION,
        description=f"{ENCODE_GRID_JSONL.row} A broken or empty report costs that report only, and is named.",
    )
    def encode_grid_jsonl(
        context: dg.AssetExecutionContext, config: EncodeGridConfig, data_root: DataRootResource
    ) -> dg.MaterializeResult[Any]:
        from vqa_assets.encode_grid.grid import make_grid

        with told_failures():
            root, source = data_root.root(), ENCODE_GRID_SOURCES[context.partition_key]
            job = config.job(source, root)
            done = make_grid(job, run_context(context, root, __file__))
        told = _grid_metadata(done, source, root) | manifest_metadata(done.manifest, job.to.manifest, root)
        return dg.MaterializeResult(metadata=told, data_version=dg.DataVersion(done.data_version))

    @dg.asset(
        deps=[dg.AssetDep("encode_grid_jsonl", partition_mapping=dg.AllPartitionMapping())],
        group_name=GROUP,
        kinds={"jsonl"},
        code_version=CODE_VERSION,
        description=f"{FR_TRAINING_CORPUS.row} Reads every grid JSONL that is there; absent ones are listed.",
    )
    def fr_training_corpus(
        context: dg.AssetExecutionContext, config: TrainingCorpusConfig, data_root: DataRootResource
    ) -> dg.MaterializeResult[Any]:
        from vqa_assets.encode_grid.grid import MergeSettings, choose_inputs, make_training_corpus

        with told_failures():
            root = data_root.root()
            present, absent = choose_inputs([Path(p) for p in config.inputs], grid_files.every_grid_jsonl(root))
            for path in absent:
                context.log.warning(f"fr_training_corpus: nothing at {path}; its encodes are not among the rows")
            output = _path(config.output, grid_files.training_corpus(root))
            settings = MergeSettings(present, output, absent, _optional(config.manifest_out))
            done = make_training_corpus(settings, run_context(context, root, __file__))
        told = _corpus_metadata(done, absent, root) | manifest_metadata(done.manifest, settings.manifest, root)
        return dg.MaterializeResult(metadata=told, data_version=dg.DataVersion(done.data_version))

    return [libvmaf_reports, encode_grid_jsonl, fr_training_corpus]


def make_encode_grid_checks() -> list[dg.AssetChecksDefinition]:
    """Schemas (blocking); reports left out, and encodes with two results (warnings)."""

    @dg.asset_check(
        asset="encode_grid_jsonl",
        partitions_def=SOURCES,
        blocking=True,
        description="Every row has vmaf-tune's keys of version 3 and keeps the column specs.",
    )
    def encode_grid_jsonl_schema(
        context: dg.AssetCheckExecutionContext, data_root: DataRootResource
    ) -> dg.AssetCheckResult:
        return jsonl_schema_result(_published_grid(context, data_root.root()), ENCODE_GRID_JSONL)

    @dg.asset_check(
        asset="encode_grid_jsonl",
        partitions_def=SOURCES,
        description="No report was broken or empty, and no row lacks geometry, features or a score, and no "
        "clip has several reports.",
    )
    def encode_grid_jsonl_dropped(
        context: dg.AssetCheckExecutionContext, data_root: DataRootResource
    ) -> dg.AssetCheckResult:
        manifest = read_json_object(_manifest(context, data_root.root()))
        lost = {n: manifest["counters"].get(n, 0) for n in _LOST}
        told = ", ".join(f"{name} {count}" for name, count in lost.items() if count) or "nothing was lost"
        examples = "; ".join(f"{loss['name']}: {loss['reason']}" for loss in manifest["losses"][:3])
        return warning(not any(lost.values()), f"{told} ({examples})" if examples else told, lost)

    @dg.asset_check(
        asset="fr_training_corpus",
        blocking=True,
        description="Every row keeps the column specs; no encode (source, encoder, preset, CRF) repeats.",
    )
    def fr_training_corpus_schema(
        context: dg.AssetCheckExecutionContext, data_root: DataRootResource
    ) -> dg.AssetCheckResult:
        root = data_root.root()
        return jsonl_schema_result(artefact_path(context, root, grid_files.training_corpus(root)), FR_TRAINING_CORPUS)

    @dg.asset_check(asset="fr_training_corpus", description="No encode has two results.")
    def fr_training_corpus_conflicts(
        context: dg.AssetCheckExecutionContext, data_root: DataRootResource
    ) -> dg.AssetCheckResult:
        root = data_root.root()
        default = manifest_path(grid_files.training_corpus(root))
        manifest = read_json_object(artefact_path(context, root, default, entry="manifest_path"))
        count = manifest["counters"]["conflicts"]
        told = "; ".join(f"{c['kept']} is kept, {c['left_out']} is not" for c in manifest["conflict_examples"][:3])
        return warning(
            not count, f"{count} encodes have another result as well; {told}" if count else "no encode has two results"
        )

    return [
        encode_grid_jsonl_schema,
        encode_grid_jsonl_dropped,
        fr_training_corpus_schema,
        fr_training_corpus_conflicts,
    ]


_LOST = ("broken", "empty", "without_geometry", "without_features", "unscored", "failed_encodes", "repeated_clips")


def _path(given: str | None, default: Path) -> Path:
    return Path(given) if given else default


def _optional(given: str | None) -> Path | None:
    return Path(given) if given else None


def _published_grid(context: dg.AssetCheckExecutionContext, root: DataRoot) -> Path:
    name = context.partition_key
    return artefact_path(context, root, grid_files.grid_jsonl(root, ENCODE_GRID_SOURCES[name]), name)


def _manifest(context: dg.AssetCheckExecutionContext, root: DataRoot) -> Path:
    name = context.partition_key
    default = manifest_path(grid_files.grid_jsonl(root, ENCODE_GRID_SOURCES[name]))
    return artefact_path(context, root, default, name, entry="manifest_path")


def _grid_metadata(done: "Grid", source: EncodeGridSource, root: DataRoot) -> dict[str, Any]:
    report = done.report
    losses = [{"report": loss.name, "reason": loss.reason} for loss in report.losses[:_EXAMPLES]]
    return {
        **table_metadata(ENCODE_GRID_JSONL, report.rows_out),
        "path": root.shown(done.jsonl),
        "rows_in": report.rows_in,
        "counters": counted(report.counters(), "counter"),
        "losses": records(losses),
        "licence": source.licence,
        "citation": source.citation,
        "homepage": dg.MetadataValue.url(source.homepage),
    }


def _corpus_metadata(done: "TrainingCorpus", absent: tuple[Path, ...], root: DataRoot) -> dict[str, Any]:
    report = done.report
    return {
        **table_metadata(FR_TRAINING_CORPUS, report.rows_out),
        "path": root.shown(done.jsonl),
        "rows_in": report.rows_in,
        "duplicates": report.duplicates,
        "unique_sources": report.unique_sources,
        "counters": counted(report.counters(), "counter"),
        "rows_per_input": counted(report.rows_per_input, "input"),
        "conflicts": records(report.conflict_examples),
        "absent": [root.shown(path) for path in absent],
    }
