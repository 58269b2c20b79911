"""The job that starts ``python -m vqa_assets.workflow`` from the web UI, as a child under the same ``DAGSTER_HOME``.

The stages' own runs appear beside the job's; what the child says is the job's log.
"""

import os
import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import dagster as dg

from vqa_assets.assets.run_config import form, stated
from vqa_assets.clips.processes import PIPE, STDOUT, Process
from vqa_assets.printing import plain
from vqa_assets.resources.data_root import DataRootResource
from vqa_assets.settings import Settings, setting

_LAST_LINES = 20
_GRACE_S = 30.0


class WorkflowSettings(Settings):
    """Settings of one pass over everything that is there."""

    dry_run: bool = setting(False, "Stop before training.")


def make_workflow_job() -> dg.JobDefinition:
    """The job; its op takes the place of a GPU job, since the child trains heads."""

    @dg.op(
        description="Runs python -m vqa_assets.workflow and logs what it prints.",
        pool="gpu",
        config_schema=form(WorkflowSettings),
    )
    def run_workflow(context: dg.OpExecutionContext, data_root: DataRootResource) -> None:
        root = data_root.root()
        command = [sys.executable, "-m", "vqa_assets.workflow", "--root", str(root.path)]
        command += ["--dry-run"] if stated(WorkflowSettings, context, root).dry_run else []
        code, last = run_streamed(command, _environment(context.instance), context.log.info)
        if code != 0:
            description = f"the workflow ended with exit code {code}: {last[-1] if last else 'it said nothing'}"
            raise dg.Failure(description, metadata={"last_lines": "\n".join(last)}, allow_retries=False)

    @dg.job(
        name="whole_workflow",
        description="Everything for every corpus that is present: ingest, unified corpus, features, labels, heads. The "
        "stages' runs stand beside this one.",
    )
    def whole_workflow() -> None:
        run_workflow()

    return whole_workflow


def run_streamed(
    command: Sequence[str], environment: Mapping[str, str], log: Callable[[str], None]
) -> tuple[int, list[str]]:
    """Run a program and log every line it writes, as it comes; its exit code and its last lines.

    It is asked to end when this process is interrupted, and killed where it does not.
    """
    last: deque[str] = deque(maxlen=_LAST_LINES)
    with Process(command, stdin=None, stdout=PIPE, stderr=STDOUT, environment=environment, grace_s=_GRACE_S) as child:
        for line in child.lines():
            last.append(plain(line))
            log(plain(line))
        return child.wait(), list(last)


def _environment(instance: dg.DagsterInstance) -> dict[str, str]:
    """This process's environment, with the instance's folder as ``DAGSTER_HOME`` where it has one that lasts."""
    home = None if instance.is_ephemeral else instance.root_directory
    own = {"DAGSTER_HOME": str(Path(home).absolute())} if home else {}
    # Without a buffer a line of the child is in the job's log when it is written, not when 8 kB are full.
    return {**os.environ, "PYTHONUNBUFFERED": "1", **own}
