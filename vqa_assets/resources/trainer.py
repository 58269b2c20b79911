"""What trains heads: torch in this process, or the same training in another one, here or on another machine."""

import os
import sys
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg
from pydantic import Field

from vqa_assets.clips.processes import Process
from vqa_assets.errors import SettingsError, TrainingError
from vqa_assets.resources.training_process import CONTEXT, MESSAGES

if TYPE_CHECKING:
    from vqa_assets.heads.method import HeadRows, Progress, TrainedHeads, Trainer, TrainingRows
    from vqa_assets.heads.settings import TrainingSettings

HERE, PROCESS = "torch", "process"
JOB = "{job}"
"""Stands for the job's folder in a command."""
_GRACE_S = 20.0
_COMMAND = (sys.executable, "-m", "vqa_assets.resources.training_process", JOB)


class TrainerResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Trains the heads, in the run's own process or in another one that a command starts.

    Both ways train the same heads: the same data, seed and device give the same bytes.
    """

    implementation: str = Field(
        default=HERE,
        description=f"{HERE}: in this process. {PROCESS}: by the command, by Dagster Pipes.",
    )
    device: str = Field(default="auto", description="auto (CUDA where there is one), cpu or cuda.")
    command: list[str] = Field(
        default=list(_COMMAND),
        description=f"What {PROCESS} starts; {JOB} is the job's folder. It may be ssh, srun, kubectl.",
    )
    jobs: str | None = Field(
        default=None, description="Folder for jobs, one that the command's machine sees too. Default: a temporary one."
    )

    def of_run(self, context: dg.AssetExecutionContext) -> "Trainer":
        """The trainer of one run, which hears what it is doing. SettingsError on an implementation that is none."""
        if self.implementation not in (HERE, PROCESS):
            raise SettingsError(
                "trainer: implementation",
                found=repr(self.implementation),
                expected=f"{HERE} or {PROCESS}",
                next_step="correct it in the run config's resources",
            )
        if not self.command:
            raise SettingsError(
                "trainer: command", found="[]", expected=f"a program and its arguments, {JOB} among them"
            )
        if self.implementation == PROCESS:
            return ProcessTrainer(context, tuple(self.command), self.device, self.jobs)
        from vqa_assets.heads.training import TorchTrainer

        return TorchTrainer(self.device)


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
        progress: "Progress",  # noqa: ARG002  the process tells its own, through Pipes
    ) -> "TrainedHeads":
        """As ``heads.method.Trainer``; TrainingError as the process met it, or where it ended without a word."""
        from vqa_assets.heads.training_job import Job, read_result, write_job

        with tempfile.TemporaryDirectory(prefix="vqa-training-", dir=self._jobs()) as name:
            folder = Path(name)
            job = Job(data, heads, settings, self.device)
            write_job(folder, job)
            self._run(folder)
            return read_result(folder, job)

    def _jobs(self) -> Path | None:
        if self.jobs is None:
            return None
        folder = Path(self.jobs).expanduser()
        if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
            raise SettingsError(
                "trainer: jobs",
                found=f"no folder to write to: {folder}",
                expected="a folder both machines see",
                next_step="make it",
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
            self.context.log.debug(f"training: {message}")

    def _wait(self, folder: Path, environment: Mapping[str, str]) -> int:
        """The exit status of the command; an interrupted run ends it."""
        command = [part.replace(JOB, str(folder)) for part in self.command]
        try:
            process = Process(command, stdin=None, environment={**os.environ, **environment}, grace_s=_GRACE_S)
        except OSError as error:
            raise SettingsError(
                "trainer: command", found=f"{command[0]} cannot be started ({error.strerror})", expected="a program"
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
