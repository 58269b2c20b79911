"""The platform under test: the definitions on one data root, and what a run in process left, read off its events."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dagster as dg

from vqa_assets.definitions import build_defs, declared_corpora
from vqa_assets.resources.data_root import DataRootResource
from vqa_assets.tables.paths import DataRoot

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


class Platform:
    """The definitions on one data root, and one instance that remembers the runs.

    ``resources`` replace the default ones; ``defaults`` is the run config that every asset gets unless a run says
    otherwise.
    """

    def __init__(self, root_path: Path, instance: dg.DagsterInstance) -> None:
        self.root, self.instance = DataRoot(root_path), instance
        self.resources: dict[str, Any] = {}
        self.defaults: dict[str, Any] = {}
        self._built: tuple[object, dg.Definitions] | None = None

    def definitions(self) -> dg.Definitions:
        """The definitions; the same ones, which take a quarter of a second, until what they are built from changes."""
        resources = {name: id(resource) for name, resource in self.resources.items()}
        built_from = (dict(os.environ), declared_corpora(self.root), resources)
        if self._built is None or self._built[0] != built_from:
            data_root = DataRootResource(path=str(self.root.path))
            self._built = built_from, build_defs(data_root=data_root, **self.resources)
        return self._built[1]

    def run(
        self,
        *assets: str,
        partition: str | None = None,
        resource_config: Mapping[str, Any] | None = None,
        **config: Any,
    ) -> dg.ExecuteInProcessResult:
        """One run of these assets, each with the same run config; a failure is in the result."""
        config = {**self.defaults, **config}
        resources = {name: {"config": values} for name, values in (resource_config or {}).items()}
        return (
            self.definitions()
            .resolve_implicit_global_asset_job_def()
            .execute_in_process(
                asset_selection=[dg.AssetKey(asset) for asset in assets],
                partition_key=partition,
                run_config={
                    "ops": {asset: {"config": config} for asset in assets if config},
                    **({"resources": resources} if resources else {}),
                    **QUIET,
                },
                instance=self.instance,
                raise_on_error=False,
            )
        )

    def check_again(self, check: str, asset: str) -> dg.AssetCheckEvaluation:
        """One check alone, on what is published."""
        key = dg.AssetCheckKey(dg.AssetKey(asset), check)
        job = dg.define_asset_job("again", selection=dg.AssetSelection.checks(key))
        merged = dg.Definitions.merge(self.definitions(), dg.Definitions(jobs=[job])).resolve_job_def("again")
        result = merged.execute_in_process(instance=self.instance, raise_on_error=False, run_config=QUIET)
        (evaluation,) = result.get_asset_check_evaluations()
        return evaluation

    def data_version(self, asset: str) -> str:
        """The data version of the latest materialization."""
        record: Any = self.instance.get_latest_data_version_record(dg.AssetKey(asset))
        return str(record.asset_materialization.tags["dagster/data_version"])


def checks(result: dg.ExecuteInProcessResult) -> dict[str, dg.AssetCheckEvaluation]:
    """What the run's checks say, by name."""
    return {evaluation.check_name: evaluation for evaluation in result.get_asset_check_evaluations()}


def passed(result: dg.ExecuteInProcessResult) -> dict[str, bool]:
    """Which of the run's checks passed."""
    return {name: evaluation.passed for name, evaluation in checks(result).items()}


def failure(result: dg.ExecuteInProcessResult) -> str:
    """What the run's one failed step says."""
    (event,) = result.filter_events(lambda e: e.is_step_failure)
    data = event.step_failure_data
    return str(data.user_failure_data.description if data.user_failure_data else data.error)


def metadata(result: dg.ExecuteInProcessResult, asset: str) -> dict[str, Any]:
    """The metadata of the asset's materialization in this run."""
    (event,) = result.asset_materializations_for_node(asset)
    return {name: value.value for name, value in event.metadata.items()}


def shown_rows(value: Any) -> list[dict[str, Any]]:
    """The rows of a metadata table: those of an inline one, or those of Markdown, whose cells are texts."""
    if not isinstance(value, str):
        return [dict(record.data) for record in value.records]
    names, _, *lines = ([cell.strip() for cell in line.strip("| ").split(" | ")] for line in value.splitlines())
    return [dict(zip(names, line, strict=True)) for line in lines]


def data_version(result: dg.ExecuteInProcessResult, asset: str) -> str:
    """The data version that the run gave the asset."""
    (event,) = result.asset_materializations_for_node(asset)
    return str((event.tags or {})["dagster/data_version"])
