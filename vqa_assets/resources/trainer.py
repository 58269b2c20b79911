"""What trains heads: torch in this process, or the same training in another one, here or on another machine.

What is started, and where its jobs lie, comes from the environment: whoever may start runs may not start commands.
"""

import os
import shlex
import sys
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg
from pydantic import Field

from vqa_assets.clips.processes import Process
from vqa_assets.clips.programs import AUTO
from vqa_assets.errors import SettingsError, TrainingError
from vqa_assets.printing import plain
from vqa_assets.resources.training_process import CONTEXT, MESSAGES
from vqa_assets.settings import typed_path
from vqa_assets.stages.heads import require_training

if TYPE_CHECKING:
    from vqa_assets.heads.members.method import HeadRows, TrainedHeads, Trainer, TrainingProgress, TrainingRows
    from vqa_assets.heads.settings import TrainingSettings

HERE, PROCESS = "torch", "process"
COMMAND_NAME, JOBS_NAME = "VQA_TRAINER_COMMAND", "VQA_TRAINER_JOBS"
JOB = "{job}"
"""Stands for the job's folder in a command."""
_GRACE_S = 20.0
_COMMAND = (sys.executable, "-m", "vqa_assets.resources.training_process", JOB)


class TrainerResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Trains the heads, in the run's own process or in another one that a command starts.

    Both ways train the same heads: the same data, seed and device give the same bytes.
    """

    implementation: str = Field(
        default=AUTO,
        description=f"{HERE}: in this process. {PROCESS}: in another one, by Dagster Pipes. {AUTO}: {PROCESS} where "
        f"${COMMAND_NAME} says how it is started, else {HERE}.",
    )
    device: str = Field(default="auto", description="auto (CUDA where there is one), cpu or cuda.")

    def of_run(self, context: dg.AssetExecutionContext, environment: Mapping[str, str] | None = None) -> "Trainer":
        """The trainer of one run, which hears what it is doing; the environment is this process's.

        SettingsError on an implementation that is none, on a command that cannot be read, and where what trains and
        judges heads is not installed.
        """
        require_training()
        env = os.environ if environment is None else environment
        if self.implementation not in (AUTO, HERE, PROCESS):
            raise SettingsError(
                "trainer: implementation",
                found=repr(self.implementation),
                expected=f"{AUTO}, {HERE} or {PROCESS}",
                next_step="correct it in the run config's resources",
            )
        if self.implementation == PROCESS or (self.implementation == AUTO and env.get(COMMAND_NAME)):
            return ProcessTrainer(context, command_of(env), self.device, env.get(JOBS_NAME) or None)
        from vqa_assets.heads.members.training import TorchTrainer

        return TorchTrainer(self.device)


def command_of(environment: Mapping[str, str]) -> tuple[str, ...]:
    """What ``$VQA_TRAINER_COMMAND`` says, split as a shell does; where it says nothing, this Python trains.

    SettingsError where its quotes do not close, or no word of it has the job's folder.
    """
    text = environment.get(COMMAND_NAME, "")
    try:
        words = tuple(shlex.split(text)) or _COMMAND
    except ValueError as error:
        raise SettingsError(
            COMMAND_NAME,
            found=f"{text} ({error})",
            expected="a program and its arguments, quoted as for a shell",
            next_step="correct the environment variable, or unset it",
        ) from error
    if not any(JOB in word for word in words):
        raise SettingsError(
            COMMAND_NAME,
            found=f"{text}, no word of which is {JOB}",
            expected=f"a program and its arguments, {JOB} in the place of the job's folder",
            next_step="correct the environment variable, or unset it",
        )
    return words


class ProcessTrainer:
    """Trains in a process of its own, which sees the job's folder: its log lines and measures come through Pipes."""

    def __init__(
        self, context: dg.AssetExecutionContext, command: tuple[str, ...], device: str, jobs: str | None
    ) -> None:
        self.context, self.command, self.device, self.jobs = context, command, device, jobs

    def train(
        self,
        data: "TrainingRows",
        heads: "Sequence[HeadRows]",
        settings: "TrainingSettings",
        progress: "TrainingProgress",  # noqa: ARG002  the process tells its own, through Pipes
    ) -> "TrainedHeads":
        """As ``members.method.Trainer``; TrainingError as the process met it, or where it ended without a word."""
        from vqa_assets.heads.members.training_job import Job, read_result, write_job

        with tempfile.TemporaryDirectory(prefix="vqa-training-", dir=self._jobs()) as name:
            folder = Path(name)
            job = Job(data, heads, settings, self.device)
            write_job(folder, job)
            self._run(folder)
            return read_result(folder, job)

    def _jobs(self) -> Path | None:
        if self.jobs is None:
            return None
        folder = typed_path(self.jobs)
        if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
            raise SettingsError(
                JOBS_NAME,
                found=f"no folder to write to: {folder}",
                expected="a folder both machines see",
                next_step="make it, or unset the environment variable",
            )
        return folder

    def _run(self, folder: Path) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", category=dg.PreviewWarning)  # inside dagster's own session
            with dg.open_pipes_session(
                context=self.context.op_execution_context,
                context_injector=dg.PipesFileContextInjector(str(folder / CONTEXT)),
                message_reader=dg.PipesFileMessageReader(str(folder / MESSAGES)),
            ) as session:
                code = self._wait(folder, session.get_bootstrap_env_vars())
        if code != 0:
            self._tell_failure(folder, code)
            return
        for message in session.get_custom_messages():
            self.context.log.debug(plain(f"training: {message}"))

    def _wait(self, folder: Path, environment: Mapping[str, str]) -> int:
        """The exit status of the command; an interrupted run ends it."""
        command = [part.replace(JOB, str(folder)) for part in self.command]
        try:
            process = Process(command, stdin=None, environment={**os.environ, **environment}, grace_s=_GRACE_S)
        except OSError as error:
            raise SettingsError(
                COMMAND_NAME,
                found=f"{command[0]} cannot be started ({error.strerror})",
                expected="a program",
                next_step="correct the environment variable, or unset it",
            ) from error
        with process:
            return process.wait()

    def _tell_failure(self, folder: Path, code: int) -> None:
        """Raises what ended the process, unless it left the reason itself."""
        if not (folder / "failure.json").is_file():
            raise TrainingError(
                "training in another process",
                found=f"it ended with exit status {code}",
                expected="exit status 0",
                next_step="read its output; an exit status of -9 or 137 mostly means out of memory: lower batch_size",
            )
