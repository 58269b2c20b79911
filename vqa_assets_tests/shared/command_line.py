"""Dagster's command line called in this process: its exit code and words, without the seconds that a start takes."""

import shutil
import warnings
from dataclasses import dataclass
from pathlib import Path

from click.testing import CliRunner
from dagster._cli import create_dagster_cli

REPOSITORY = Path(__file__).parents[2]


@dataclass(frozen=True)
class Said:
    """How a command ended: its exit status, and all that it printed."""

    returncode: int
    text: str


def materialize_here(assets: str, partition: str, *, home: Path, data: Path) -> Said:
    """``dagster asset materialize`` of a partition, on a home (made where it is not there) and a data root."""
    home.mkdir(exist_ok=True)
    shutil.copy(REPOSITORY / "dagster.yaml", home)
    environment = {"DAGSTER_HOME": str(home), "VQA_DATA_ROOT": str(data)}
    command = ["asset", "materialize", "-m", "vqa_assets.definitions", "--select", assets, "--partition", partition]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Dagster warns of its own command; in a process of its own that stops nothing
        done = CliRunner().invoke(create_dagster_cli(), command, env=environment)
    return Said(done.exit_code, done.output)
