"""How long a person waits for the web UI: ``make ui`` to its first page, against a project of one bare asset."""

import os
import shutil
import statistics
import time
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from vqa_assets_tests.shared.web_ui import REPOSITORY, running_ui

TARGET = 1.3
RUNS = 3
_BARE = "import dagster as dg\n\n\n@dg.asset\ndef bare() -> None: ...\n\n\ndefs = dg.Definitions([bare])\n"
_WORKSPACE = "load_from:\n  - python_module:\n      module_name: {module}\n      location_name: {module}\n"


def main() -> None:
    """Print the ratio of both times, started in turn."""
    with TemporaryDirectory() as folder:
        ours, bare = _project(Path(folder), "vqa_assets.definitions"), _project(Path(folder), "bare_project")
        (bare / "bare_project.py").write_text(_BARE)
        timed: dict[Path, list[float]] = {ours: [], bare: []}
        for turn in range(RUNS + 1):
            for project in (ours, bare):
                seconds = _seconds(project)
                if turn:
                    timed[project].append(seconds)
    mine, theirs = (statistics.median(seconds) for seconds in timed.values())
    print(
        f"make ui to the first page against a project of one asset: {mine / theirs:.2f} × "
        f"({mine:.1f} s against {theirs:.1f} s, medians of {RUNS}); target: at most {TARGET} ×"
    )


def _project(folder: Path, module: str) -> Path:
    project = folder / module
    (project / "data").mkdir(parents=True)
    (project / "workspace.yaml").write_text(_WORKSPACE.format(module=module))
    return project


def _seconds(project: Path) -> float:
    """From the start of the command until its web server knows the project's assets; each time with a fresh home."""
    home = project / "home"
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir()
    shutil.copy(REPOSITORY / "dagster.yaml", home)
    begun = time.monotonic()
    with running_ui(_environment(project), project / "log.txt", project):
        return time.monotonic() - begun


def _environment(project: Path) -> Mapping[str, str]:
    own = {"DAGSTER_HOME": str(project / "home"), "VQA_DATA_ROOT": str(project / "data")}
    return {**os.environ, **own, "PYTHONPATH": f"{REPOSITORY}{os.pathsep}{project}"}
