"""``python -m vqa_assets.resources.training_process <job folder>``: a training that another process asked for.

It tells that process through Dagster Pipes what it does, and leaves the heads, or why there are none, in the folder.
"""

import sys
import time
from collections.abc import Sequence
from pathlib import Path

from dagster_pipes import (
    DAGSTER_PIPES_CONTEXT_ENV_VAR,
    DAGSTER_PIPES_MESSAGES_ENV_VAR,
    PipesContext,
    PipesEnvVarParamsLoader,
    PipesMappingParamsLoader,
    PipesParamsLoader,
    encode_param,
    open_dagster_pipes,
)

from vqa_assets.clips.processes import end_with_parent
from vqa_assets.errors import VqaError

CONTEXT, MESSAGES = "pipes-context.json", "pipes-messages.jsonl"
"""Where in the job's folder the two ends of the pipe are."""
_REPORT_EVERY_S = 5.0


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; exit status 0 when the heads are in the folder, 1 when the reason is, 2 without a job."""
    folders = sys.argv[1:] if arguments is None else list(arguments)
    if len(folders) != 1 or not (Path(folders[0]) / CONTEXT).is_file():
        sys.stderr.write(f"usage: {__doc__ or ''}\nno training waits in: {' '.join(folders) or '(no folder)'}\n")
        return 2
    end_with_parent()  # a training that nobody waits for any more would hold the GPU for hours
    folder = Path(folders[0])
    with open_dagster_pipes(params_loader=_ends(folder)) as pipes:
        try:
            _train(folder, pipes)
        except VqaError as failure:
            pipes.log.error(str(failure))  # noqa: TRY400  the one that asked raises it, with its traceback
            return 1
    return 0


def _ends(folder: Path) -> PipesParamsLoader:
    """Where the pipe's ends are: named by the environment, else (through ssh, or a queue) in the job's folder."""
    environment = PipesEnvVarParamsLoader()  # type: ignore[no-untyped-call]
    if environment.is_dagster_pipes_process():
        return environment
    names = {DAGSTER_PIPES_CONTEXT_ENV_VAR: CONTEXT, DAGSTER_PIPES_MESSAGES_ENV_VAR: MESSAGES}
    return PipesMappingParamsLoader({key: encode_param({"path": str(folder / name)}) for key, name in names.items()})


def _train(folder: Path, pipes: PipesContext) -> None:
    from vqa_assets.heads.members.method import EPOCHS
    from vqa_assets.heads.members.training_job import run_job

    begun = reported = time.monotonic()

    def progress(done: int, total: int, rmse: float, what: str = EPOCHS) -> None:
        nonlocal reported
        now = time.monotonic()
        if 1 < done < total and now - reported < _REPORT_EVERY_S:
            return
        reported, seconds = now, now - begun
        if what != EPOCHS:
            pipes.log.info(f"{done} of {total} {what}")
            return
        rate = done / max(seconds, 1e-9)
        pipes.log.info(f"epoch {done} of {total}, stopping RMSE {rmse:.4f}, {rate:.1f} epochs/s")
        pipes.report_custom_message({"epoch": done, "stopping_rmse": rmse, "seconds": round(seconds, 3)})

    trained = run_job(folder, progress)
    seconds = round(time.monotonic() - begun, 3)
    pipes.report_custom_message({"device": trained.device, "heads": len(trained.heads), "seconds": seconds})


if __name__ == "__main__":
    sys.exit(main())
