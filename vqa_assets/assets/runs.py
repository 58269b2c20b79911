"""What a Dagster run tells the replay manifest of itself: its ids, its code's git state, its command line."""

import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import dagster as dg

from vqa_assets.provenance import RunContext
from vqa_assets.tables.living_runs import hold_run
from vqa_assets.tables.paths import CODE, DataRoot

_GIT_LIMIT_S = 10


def run_context(context: dg.AssetExecutionContext, root: DataRoot, module: str) -> RunContext:
    """The context of one asset's run; ``module`` is the ``__file__`` of the asset's module.

    From here on the run's process shows that it lives (``tables.living_runs``).
    """
    hold_run(root, context.run.run_id)
    partition = context.partition_key if context.has_partition_key else None
    ids = {
        "run_id": context.run.run_id,
        "asset_key": context.asset_key.to_user_string(),
        "partition_key": partition,
        "code_version": context.assets_def.code_versions_by_key.get(context.asset_key),
        "config": {k: v for k, v in (context.op_execution_context.op_config or {}).items() if v is not None},
    }
    return RunContext(root=root, dagster=ids, entrypoint=Path(module), argv=shown_arguments(sys.argv), git=git_state())


def shown_arguments(arguments: Sequence[str]) -> tuple[str, ...]:
    """A command line without the objects that Dagster hands its own processes: they may hold a database's password."""
    return tuple("<dagster object>" if '"__class__"' in argument else argument for argument in arguments)


@cache
def git_state() -> Mapping[str, Any]:
    """{commit, dirty} of the checkout the code runs from; empty where it is no checkout, or git is not there."""
    commit = _git("rev-parse", "HEAD")
    if commit is None or not (CODE / ".git").exists():
        return {}
    return {"commit": commit, "dirty": bool(_git("status", "--porcelain"))}


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(CODE), *arguments], capture_output=True, text=True, timeout=_GIT_LIMIT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def artefact_path(
    context: dg.AssetCheckExecutionContext,
    root: DataRoot,
    default: Path,
    partition: str | None = None,
    entry: str = "path",
    *,
    of_this_run: bool = False,
) -> Path:
    """Where the latest materialization of the checked asset put a file (metadata ``entry``), else ``default``.

    With ``of_this_run`` a materialization of another run says nothing where there is a default.
    """
    key = next(iter(context.selected_asset_check_keys)).asset_key
    records = context.instance.fetch_materializations(
        dg.AssetRecordsFilter(key, asset_partitions=None if partition is None else [partition]), limit=1
    ).records
    said = None
    if of_this_run and default.exists() and records and records[0].run_id != context.run.run_id:
        return default
    if records and records[0].asset_materialization is not None:
        said = records[0].asset_materialization.metadata.get(entry)
    return default if said is None else root.located(str(said.value))
