"""What a run in process left, read off its events: the failure in words, the metadata of an asset."""

from typing import Any

import dagster as dg


def failure(result: dg.ExecuteInProcessResult) -> str:
    (event,) = result.filter_events(lambda e: e.is_step_failure)
    data = event.step_failure_data
    return str(data.user_failure_data.description if data.user_failure_data else data.error)


def metadata(result: dg.ExecuteInProcessResult, asset: str) -> dict[str, Any]:
    (event,) = result.asset_materializations_for_node(asset)
    return {name: value.value for name, value in event.metadata.items()}
