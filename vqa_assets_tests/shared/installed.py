"""The package's wheel in a virtual environment of its own, outside any checkout; what it depends on is shared.

A whole installation takes minutes, and tests nothing of ours: other packages are found where the tests' own are.
"""

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
UV = str(Path(sys.executable).with_name("uv"))
_SOURCES = (
    "pyproject.toml",
    "README.md",
    "LICENSE",
    "dagster.yaml",
    "workspace.yaml",
    "configs",
    "deploy",
    "vqa_assets",
)
_OF_OTHERS = ("dagster", "dagster-daemon", "dagster-webserver", "dask")
"""Programs of other packages that lines in deploy/ and docs start."""


@dataclass(frozen=True)
class Installed:
    """A virtual environment with the wheel, and an empty folder to work in."""

    environment: Path
    work: Path
    wheel: Path

    def program(self, name: str) -> Path:
        """A program of the environment."""
        return self.environment / "bin" / name

    def variables(self, **own: str) -> dict[str, str]:
        """What a process gets: nothing of a checkout, programs by their names, and ``own``."""
        known = {
            name: value for name, value in os.environ.items() if not name.startswith(("VQA_", "DAGSTER_", "PYTHON"))
        }
        return {**known, "PATH": f"{self.environment / 'bin'}:{os.environ['PATH']}", **own}

    def run(self, command: Sequence[str], **own: str) -> "subprocess.CompletedProcess[str]":
        """A command in the folder, to its end."""
        return subprocess.run(
            command, cwd=self.work, env=self.variables(**own), capture_output=True, text=True, timeout=300, check=False
        )


def built_wheel(folder: Path) -> Path:
    """The wheel, built from a copy of what it is made from."""
    source = folder / "source"
    source.mkdir()
    for name in _SOURCES:
        if (REPOSITORY / name).is_dir():
            shutil.copytree(REPOSITORY / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(REPOSITORY / name, source)
    build = f"from setuptools import build_meta; build_meta.build_wheel({str(folder)!r})"
    subprocess.run([sys.executable, "-W", "ignore", "-c", build], cwd=source, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    return wheel


def fresh_environment(folder: Path, python: str = sys.executable) -> Path:
    """An empty virtual environment."""
    subprocess.run([UV, "venv", "--quiet", "--no-config", "--python", python, folder], check=True)
    return folder


def install(folder: Path) -> Installed:
    """Build the wheel, and install it."""
    wheel = built_wheel(folder)
    environment = fresh_environment(folder / "environment")
    pip = [UV, "pip", "install", "--quiet", "--no-config", "--offline", "--no-deps", "--python"]
    subprocess.run([*pip, environment / "bin" / "python", wheel], check=True)
    packages = next(environment.glob("lib/python*/site-packages"))
    # Files of this kind are not read in a folder that is added so: the tests' own editable install stays unseen.
    (packages / "shared.pth").write_text(sysconfig.get_path("purelib"))
    for name in _OF_OTHERS:
        (point,) = entry_points(group="console_scripts", name=name)
        script = environment / "bin" / name
        start = f"if __name__ == '__main__':\n    sys.exit({point.attr}())\n"  # children that are spawned import it
        script.write_text(f"#!{environment}/bin/python\nimport sys\nfrom {point.module} import {point.attr}\n{start}")
        script.chmod(0o755)
    work = folder / "work"
    work.mkdir()
    return Installed(environment, work, wheel)
