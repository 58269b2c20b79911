"""What takes long or lacks a system tool is left out and told; with VQA_TEST_ALL=1 it runs, or is a failure."""

import os
import subprocess
import sys
from pathlib import Path

CONFTEST = Path(__file__).parents[1] / "conftest.py"


def run_without_tools(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Pytest on one test that needs ffprobe, on a PATH where there is none."""
    (folder / "conftest.py").write_text(CONFTEST.read_text(encoding="utf-8"), encoding="utf-8")
    (folder / "test_probe.py").write_text(
        "import pytest\n"
        "@pytest.mark.needs_tool('ffprobe')\ndef test_it() -> None:\n    raise AssertionError\n"
        "@pytest.mark.takes_long('a file of all rows')\ndef test_all() -> None:\n    print('all rows')\n"
    )
    plain = {name: value for name, value in os.environ.items() if name != "VQA_TEST_ALL"}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", str(folder)],
        env={**plain, "PATH": str(folder), "PYTHONPATH": str(CONFTEST.parents[1]), **environment},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_run_ends_by_saying_what_was_left_out_and_how_to_get_it(tmp_path: Path) -> None:
    done = run_without_tools(tmp_path)
    assert done.returncode == 0, done.stdout
    assert "left out: 1 tests need ffprobe: apt-get install ffmpeg" in done.stdout
    assert "left out: 1 tests take long (a file of all rows): set VQA_TEST_ALL=1" in done.stdout


def test_when_all_is_asked_for_a_missing_tool_fails(tmp_path: Path) -> None:
    done = run_without_tools(tmp_path, VQA_TEST_ALL="1")
    assert done.returncode == 1
    assert "needs the tool ffprobe" in done.stdout
    assert "1 passed" in done.stdout  # the long one
