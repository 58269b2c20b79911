"""A Dagster run and the code below it: what the run says of itself in a replay manifest, and how its failures read.

What a run shows of its results is in ``metadata``; what it publishes is in ``published``.
"""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import dagster as dg

from vqa_assets.clips.work import Observer, PassCounts
from vqa_assets.errors import TooFewContentsError, VqaError
from vqa_assets.printing import public
from vqa_assets.provenance import RunContext
from vqa_assets.stages.run import faults_in_words, git_state, public_arguments
from vqa_assets.tables.lock import hold_run
from vqa_assets.tables.paths import DataRoot

TOO_FEW = "too_few_contents"
"""The entry of a failure's metadata that says that nothing is wrong but the number of contents."""


def run_context(context: dg.AssetExecutionContext, root: DataRoot, module: str) -> RunContext:
    """The context of one asset's run; ``module`` is the ``__file__`` of the asset's module.

    From here on the run's process shows that it lives (``tables.lock``).
    """
    hold_run(root, context.run.run_id)
    ids = {
        "run_id": context.run.run_id,
        "asset_key": context.asset_key.to_user_string(),
        "partition_key": context.partition_key if context.has_partition_key else None,
        "code_version": context.assets_def.code_versions_by_key.get(context.asset_key),
        "config": {k: v for k, v in (context.op_execution_context.op_config or {}).items() if v is not None},
    }
    return RunContext(
        root=root, dagster=ids, entrypoint=Path(module), argv=public_arguments(sys.argv, os.environ), git=git_state()
    )


def log_of(context: dg.AssetExecutionContext) -> Callable[[str], None]:
    """The run's log, for messages that may hold names from outside."""
    return lambda message: context.log.info(public(message))


@contextmanager
def dagster_failures() -> Iterator[None]:
    """Turn a ``VqaError`` into a ``dagster.Failure`` that says what, found, expected and next, and is not retried.

    A disk that refuses a file is reported in the same way, and so is content that a library cannot read; any other
    error passes as it is.
    """
    try:
        with faults_in_words():
            yield
    except VqaError as error:
        raise _failure(error) from error


def _failure(error: VqaError) -> dg.Failure:
    parts = {"what": error.what, "found": error.found, "expected": error.expected, "next": error.next_step}
    metadata: dict[str, Any] = {name: text for name, text in parts.items() if text}
    if isinstance(error, TooFewContentsError):
        metadata[TOO_FEW] = True
    message = str(error)
    try:
        from dagster_shared.error import SerializableErrorInfo

        told = SerializableErrorInfo(f"Failure: {message}", stack=[], cls_name="Failure")
        return _told_failure()(  # type: ignore[no-any-return]
            description=message, metadata=metadata, allow_retries=False, user_code_process_error_infos=[told]
        )
    except (ImportError, AttributeError, TypeError):  # a Dagster whose inside is another: a failure with its stack
        return dg.Failure(description=message, metadata=metadata, allow_retries=False)


@cache
def _told_failure() -> Any:
    """A failure that Dagster prints as its message alone; otherwise it prints the stack of every cause, twice.

    An error that another process told Dagster of is shown as that process told it. This rests on private modules
    (``dagster._utils.error.serializable_error_info_from_exc_info``). A defect of ours is no such failure: it keeps its
    stack.
    """
    from dagster._core.errors import DagsterUserCodeProcessError

    # In this order each one's __init__ hands on to the other's what is meant for it.
    return type("Failure", (DagsterUserCodeProcessError, dg.Failure), {})


def is_too_few(event: dg.DagsterEvent) -> bool:
    """Whether a step failed for nothing but the number of contents that a head would be trained on."""
    data = event.step_failure_data.user_failure_data
    return data is not None and TOO_FEW in (data.metadata or {})


def step_failure(event: dg.DagsterEvent) -> str:
    """Why a step failed, in words: the description of a ``Failure``, else the innermost error and where it was."""
    data = event.step_failure_data
    if data.user_failure_data and data.user_failure_data.description:
        return data.user_failure_data.description
    # An error that nobody foresaw: Dagster wraps it in errors of its own, which say nothing of the cause.
    error = data.error
    while error is not None and error.cause is not None:
        error = error.cause
    if error is None:
        return "no reason was recorded"
    return f"unexpected {error.message.strip()} ({' '.join(error.stack[-1].split()) if error.stack else 'nowhere'})"


def observer(context: dg.AssetExecutionContext) -> Observer:
    """Reports the counts of a pass over clips as observations: the asset's page lists and plots them while it lasts."""

    def observe(counts: PassCounts) -> None:
        seconds = max(counts.seconds, 1e-9)
        metadata = {
            "clips_done": counts.done,
            "clips_total": counts.total,
            "clips_failed": counts.failed,
            "clips_broken": counts.broken,
            "clips_cached": counts.cached,
            "clips_per_s": round((counts.done - counts.cached) / seconds, 2),
            "read_mb": round(counts.read_bytes / 1e6, 1),
            "read_mb_per_s": round(counts.read_bytes / seconds / 1e6, 2),
            "fetched_mb": round(counts.fetched_bytes / 1e6, 1),
            "minutes": round(counts.seconds / 60, 2),
        }
        context.log_event(dg.AssetObservation(context.asset_key, partition=context.partition_key, metadata=metadata))

    return observe
