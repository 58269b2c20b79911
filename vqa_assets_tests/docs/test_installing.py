"""What the page on installing says, done: the wheel outside a checkout, later Pythons, the slim set, ``dg``."""

import json
import os
import re
import shlex
import subprocess
import sys
import tarfile
import tomllib
import urllib.request
from contextlib import suppress
from pathlib import Path

import pytest

from vqa_assets.command import main
from vqa_assets.errors import SettingsError
from vqa_assets.stages import heads
from vqa_assets_tests.shared.installed import UV, Installed, fresh_environment
from vqa_assets_tests.shared.web_ui import free_port

REPOSITORY = Path(__file__).parents[2]
PAGE = (REPOSITORY / "docs/installing.md").read_text(encoding="utf-8")
COMMANDS_PAGE = (REPOSITORY / "docs/commands.md").read_text(encoding="utf-8")
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
SLIM = REPOSITORY / "requirements/slim.txt"
RELEASED = REPOSITORY / "vqa_assets_tests/shared/released/second.tar.gz"
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
COMMANDS = """
import sys
from vqa_assets.command import main

if __name__ == "__main__":
    for words in sys.argv[1:]:
        print("ended with", main(words.split()), "of", words, flush=True)
"""


def interpreter(version: str) -> str:
    """A Python of a version on this machine, empty where there is none: on the PATH, or where pyenv keeps them."""
    if sys.version_info[:2] == tuple(map(int, version.split("."))):
        return sys.executable
    kept = sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python{version}"))
    for candidate in (f"python{version}", *map(str, kept)):
        with suppress(OSError):
            # A name on the PATH may be a stand-in that finds nothing.
            if subprocess.run([candidate, "-c", "pass"], capture_output=True, check=False).returncode == 0:
                return candidate
    return ""


# The wheel


@pytest.mark.takes_long("a web server in an installed wheel")
def test_the_wheel_makes_a_root_and_opens_its_page(installed: Installed, tmp_path: Path) -> None:
    root, port = tmp_path / "data", free_port()
    made = installed.run(["vqa-assets", "init", str(root)])
    assert made.returncode == 0, made.stderr
    assert (root / ".dagster/dagster.yaml").read_bytes() == (REPOSITORY / "dagster.yaml").read_bytes()
    command = [installed.program("vqa-assets"), "ui", "--no-daemon", "--root", str(root), "--port", str(port)]
    with (tmp_path / "log").open("wb") as log:
        page = subprocess.Popen(command, cwd=installed.work, env=installed.variables(), stdout=log, stderr=log)
    try:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        version = ""
        while not version:
            assert page.poll() is None, (tmp_path / "log").read_text()
            with suppress(OSError):
                version = json.load(opener.open(f"http://127.0.0.1:{port}/server_info"))["dagster_version"]
    finally:
        page.terminate()
        page.wait(60)


def test_the_wheel_holds_the_files_that_commands_and_pages_name(installed: Installed) -> None:
    share = installed.environment / "share/vqa-assets"
    for name in ("dagster.yaml", "workspace.yaml", "deploy/storage-postgres.yaml", "deploy/vqa-daemon.service"):
        assert (share / name).read_bytes() == (REPOSITORY / name).read_bytes()
    batches = {path.name for path in (REPOSITORY / "configs").iterdir()}
    assert {path.name for path in (share / "configs").iterdir()} == batches
    asked = "from vqa_assets.labels.batch import shipped; print(*shipped('configs').glob('*.json'))"
    found = installed.run(["python", "-c", asked]).stdout.split()
    assert {Path(path).name for path in found} == batches


# Pythons, and the slim set


def test_the_slim_set_is_all_but_what_trains() -> None:
    lines = [line for line in SLIM.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    left_out = set(PROJECT["project"]["dependencies"]) - set(lines)
    assert {re.split("[<>=]", one)[0] for one in left_out} == {*heads._TRAINING.values()}
    assert set(lines) <= set(PROJECT["project"]["dependencies"])
    assert "requirements/slim.txt" in PAGE


def test_a_training_asset_says_there_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heads, "find_spec", lambda _: None)
    with pytest.raises(SettingsError, match="run pip install torch scikit-learn"):
        heads.require_training()


def test_the_versions_of_python_are_declared() -> None:
    declared = [one.rpartition(" ")[2] for one in PROJECT["project"]["classifiers"]]
    assert tuple(declared) == PYTHONS
    assert PROJECT["project"]["requires-python"] == ">=3.11"
    assert "Python 3.11 to 3.14" in PAGE


@pytest.mark.takes_long("an installation of a Python's packages")
@pytest.mark.parametrize("version", PYTHONS[1:])  # the first is what all other tests run on
def test_on_each_python_the_slim_set_ingests_and_labels(installed: Installed, tmp_path: Path, version: str) -> None:
    python = interpreter(version)
    if not python:  # those that are there: no tool that a machine must have, whatever VQA_TEST_ALL says
        pytest.skip(f"no Python {version} on this machine")
    environment = fresh_environment(tmp_path / "environment", python)
    own = environment / "bin/python"
    pip = [UV, "pip", "install", "--quiet", "--no-config", "--python", str(own)]
    subprocess.run([*pip, "-c", REPOSITORY / "constraints.txt", "-r", SLIM], check=True)
    subprocess.run([*pip, "--offline", "--no-deps", installed.wheel], check=True)
    with tarfile.open(RELEASED) as archive:
        archive.extractall(tmp_path, filter="data")
    (tmp_path / "commands.py").write_text(COMMANDS)
    (tmp_path / "data/konvid-150k/konvid_150k.jsonl").unlink()  # else nothing is to be done
    commands = [
        "ingest konvid-150k --root data",
        "materialize mos_features --partition konvid-150k --root data",
        "predict data/models/konvid_150k_mos_head.onnx data/konvid-150k/features.parquet --csv --out scores.csv",
    ]
    trains = "materialize mos_head --partition konvid-150k --root data --set replace=true"  # of an earlier version
    done = subprocess.run(
        [own, "commands.py", *commands, trains],
        cwd=tmp_path,
        env=installed.variables(),
        capture_output=True,
        text=True,
        check=False,
    )
    ended = [f"ended with 0 of {command}" for command in commands]
    ended.append(f"ended with 1 of {trains}")
    assert "torch and scikit-learn not installed" in done.stderr
    assert "run pip install torch scikit-learn" in done.stderr
    assert [line for line in done.stdout.splitlines() if line.startswith("ended")] == ended, done.stderr[-3000:]
    assert (tmp_path / "data/konvid-150k/konvid_150k.jsonl").is_file()
    assert len((tmp_path / "scores.csv").read_text().splitlines()) == 13


# The page


def test_the_page_names_the_index_of_torch_in_words_and_what_a_stock_install_weighs() -> None:
    weighs = PAGE.split("## What it weighs")[1].split("\n## ")[0]
    for words in ("CPU-only", "index", "2.7 GB"):
        assert words in weighs
    assert "http" not in weighs


@pytest.mark.takes_long("uv's help")
def test_uv_takes_what_the_page_gives_it() -> None:
    lines = [shlex.split(line) for line in re.findall(r"^(uvx? .*)$", PAGE, re.MULTILINE)]
    assert [line[:1] for line in lines] == [["uv"], ["uvx"]]
    for line in lines:
        program = [UV, "tool", "install" if line[0] == "uv" else "run", "--help"]
        known = subprocess.run(program, capture_output=True, text=True, check=True).stdout
        flags = [word for word in line if word.startswith("--")]
        assert flags
        assert all(flag in known for flag in flags)


@pytest.mark.takes_long("Dagster's dg")
def test_dg_lists_and_launches_what_the_project_has(tmp_path: Path) -> None:
    dg = Path(sys.executable).with_name("dg")
    corpus = tmp_path / "data/live-vqc"
    corpus.mkdir(parents=True)
    (corpus / "manifest.csv").write_text("a.mp4, 50\nb.mp4, 51\n")
    (corpus / "ingest.toml").write_text("min_rows = 1\n")
    root, home = tmp_path / "data", tmp_path / "data/.dagster"
    own = {"DAGSTER_HOME": str(home), "VQA_DATA_ROOT": str(root), "HOME": str(tmp_path)}

    def ran(*words: str, status: int = 0) -> str:
        done = subprocess.run(
            [dg, *words],
            cwd=REPOSITORY,
            env={**os.environ, **own},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == status, done.stdout
        return done.stdout

    # The home of a data root has the settings that keep its output short.
    assert main(["init", str(root)]) == 0
    assert "dg list defs\ndg launch --assets corpus_jsonl --partition konvid-150k\n" in PAGE
    assert "corpus_jsonl" in ran("list", "defs", "--json")
    ran("launch", "--assets", "corpus_annotations", "--partition", "live-vqc")
    line = re.findall("dg launch ([^`]*)`", COMMANDS_PAGE)[0].replace("ASSETS", "corpus_jsonl")
    (config,) = re.findall("`(--config-json .*?)`", COMMANDS_PAGE)
    typed = shlex.split(f"launch {line} {config}".replace("CORPUS", "konvid-150k"))
    failed = ran(*typed, status=1).splitlines()
    assert len(failed) <= 20
    for end in (failed[:3], failed[-3:]):
        assert any(line.startswith("Failure: konvid-150k: no annotation file: ") for line in end), failed
