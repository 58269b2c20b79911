"""Checks of every head: its gate, the ridge baseline, the columns it read, operators and parity."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dagster as dg

from vqa_assets.assets.catalog import Catalog
from vqa_assets.assets.checks import error, warning
from vqa_assets.assets.runs import artefact_path
from vqa_assets.errors import TrainingError
from vqa_assets.heads.recipe import HEAD_RECIPES, corpus_head_recipe
from vqa_assets.provenance import file_record
from vqa_assets.resources.data_root import DataRootResource
from vqa_assets.tables.files import read_json_object
from vqa_assets.tables.paths import DataRoot


def make_head_checks(catalog: Catalog) -> list[dg.AssetChecksDefinition]:
    """Gate (WARN), the ridge baseline (WARN), operators and parity (blocking), per head."""
    return [
        *_make_checks("mos_head", catalog.partitions),
        *(check for name in HEAD_RECIPES for check in _make_checks(name, None)),
    ]


def _make_checks(asset: str, partitions: dg.PartitionsDefinition[str] | None) -> list[dg.AssetChecksDefinition]:
    @dg.asset_check(
        asset=asset,
        name=f"{asset}_gate",
        partitions_def=partitions,
        description="The head passes its gate and is Production; a miss is an honest Proposed.",
    )
    def gate(context: dg.AssetCheckExecutionContext, data_root: DataRootResource) -> dg.AssetCheckResult:
        found = _manifest(context, data_root.root(), asset)
        reasons = "; ".join(found["gate"]["reasons"])
        return warning(found["gate"]["passed"], f"{found['status']}: {reasons or 'every threshold is met'}")

    @dg.asset_check(
        asset=asset,
        name=f"{asset}_runs_anywhere",
        partitions_def=partitions,
        blocking=True,
        description="The ONNX file is its manifest's, has only allowed operators, and onnxruntime reproduces torch "
        "within 1e-5 of 1–5.",
    )
    def runs_anywhere(context: dg.AssetCheckExecutionContext, data_root: DataRootResource) -> dg.AssetCheckResult:
        root = data_root.root()
        found = _manifest(context, root, asset)
        if found["onnx"] is None:
            return dg.AssetCheckResult(passed=True, description="nothing was exported")
        return _runs_anywhere(root.models() / found["onnx"], found)

    @dg.asset_check(
        asset=asset,
        name=f"{asset}_beats_ridge",
        partitions_def=partitions,
        description="The head is better than a ridge regression on the same folds.",
    )
    def beats_ridge(context: dg.AssetCheckExecutionContext, data_root: DataRootResource) -> dg.AssetCheckResult:
        found = _manifest(context, data_root.root(), asset)
        plcc, ridge = (found["folds"]["mean"]["plcc"], found["folds"]["baselines"]["ridge"]["mean"]["plcc"])
        told = f"mean PLCC of the head {_shown(plcc)}, of the ridge regression {_shown(ridge)}"
        return warning(bool(found["beats_ridge"]), told, {"plcc": plcc, "ridge_plcc": ridge})

    @dg.asset_check(
        asset=asset,
        name=f"{asset}_columns",
        partitions_def=partitions,
        description="Every column the head reads was known in all rows, and varies.",
    )
    def columns(context: dg.AssetCheckExecutionContext, data_root: DataRootResource) -> dg.AssetCheckResult:
        return _columns(_manifest(context, data_root.root(), asset))

    return [gate, beats_ridge, columns, runs_anywhere]


def _shown(value: float | None) -> str:
    return "not defined" if value is None else f"{value:.4f}"


def _columns(manifest: Mapping[str, Any]) -> dg.AssetCheckResult:
    lacking = manifest.get("display_profile", {}).get("lacking", [])
    counts = {name: c["counts"] for name, c in manifest["corpora"].items()} | manifest["unused"]
    without = {name: c["rows_missing_features"] for name, c in counts.items() if c["rows_missing_features"]}
    told = {
        "of one value": manifest["constant"],
        "filled": list(manifest["filled"]),
        "not in the display": lacking,
        "rows left out for a feature that is not known": [f"{name} {rows}" for name, rows in without.items()],
    }
    parts = [f"{what}: {', '.join(names)}" for what, names in told.items() if names]
    return warning(not parts, "; ".join(parts) or "all columns are known and vary", told)


def _manifest(context: dg.AssetCheckExecutionContext, root: DataRoot, asset: str) -> dict[str, Any]:
    """The manifest of the head that this run made, else of the one that stands: never that of an earlier smoke run."""
    partition = context.partition_key if context.has_partition_key else None
    name = corpus_head_recipe(partition).name if partition else asset
    default = root.models() / f"{name}.json"
    return read_json_object(artefact_path(context, root, default, partition, entry="manifest_path", of_this_run=True))


def _runs_anywhere(onnx: Path, manifest: Mapping[str, Any]) -> dg.AssetCheckResult:
    from vqa_assets.heads.export import check_operators

    record = file_record(onnx)
    if not record["exists"]:
        return error(False, f"{onnx.name}: found nothing there, expected the head; materialize it again")
    try:
        offenders = check_operators(onnx)
    except TrainingError as problem:
        return error(False, f"{onnx.name}: {problem}; materialize the head again")
    parity = manifest["parity"]["max_abs_difference"]
    described = record["sha256"] == manifest["sha256"]
    good = not offenders and described and parity <= manifest["parity"]["limit"]
    told = f"operators not allowed: {', '.join(offenders) or 'none'}; onnxruntime against torch: {parity:.1e}"
    if not described:
        told += f"; {onnx.name} is not the file its manifest describes (SHA-256 {record['sha256']}, expected "
        told += f"{manifest['sha256']}); materialize the head again"
    return error(good, told, {"parity": parity})
