"""What the page on deploying says, done: runs kept in a real PostgreSQL, whose password no artefact learns."""

import configparser
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from vqa_assets_tests.shared import postgres
from vqa_assets_tests.shared.clips import tiny_clips

REPOSITORY = Path(__file__).parents[2]


def environment(folder: Path, server: postgres.Server) -> dict[str, str]:
    """A DAGSTER_HOME as ``vqa_assets.home --postgres`` makes it, but for the port."""
    home = folder / "home"
    home.mkdir()
    storage = (REPOSITORY / "deploy/storage-postgres.yaml").read_text(encoding="utf-8")
    text = (REPOSITORY / "dagster.yaml").read_text(encoding="utf-8") + storage.replace("5432", str(server.port))
    (home / "dagster.yaml").write_text(text, encoding="utf-8")
    return {
        **os.environ,
        "DAGSTER_HOME": str(home),
        "VQA_DATA_ROOT": str(folder / "data"),
        "DAGSTER_PG_HOST": "127.0.0.1",
        "DAGSTER_PG_USERNAME": postgres.USER,
        "DAGSTER_PG_PASSWORD": postgres.PASSWORD,
        "DAGSTER_PG_DB": "postgres",
    }


@pytest.mark.needs_tool("postgres")
def test_two_runs_at_once_are_kept_in_postgresql_and_no_artefact_learns_its_password(tmp_path: Path) -> None:
    corpora = ("live-vqc", "waterloo-ivc-4k")
    for corpus in corpora:
        folder = tmp_path / "data" / corpus
        names = tiny_clips(folder / "clips", 3)
        (folder / "manifest.csv").write_text("name,mos\n" + "".join(f"{n},{50 + i}\n" for i, n in enumerate(names)))
        (folder / "ingest.toml").write_text('min_rows = 1\nclip_suffix = ".mp4"\n')
    with postgres.running() as server:
        known = environment(tmp_path, server)
        subprocess.run([sys.executable, "-m", "vqa_assets.home"], env=known, check=True, capture_output=True)
        command = "-m dagster asset materialize -m vqa_assets.definitions --select corpus_jsonl --partition"
        runs = [
            subprocess.Popen(
                [sys.executable, *command.split(), corpus],
                env=known,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
            )
            for corpus in corpora
        ]
        for run in runs:
            _, said = run.communicate(timeout=180)
            assert run.returncode == 0, said
        psql = [server.programs / "psql", "-h", "127.0.0.1", "-p", str(server.port), "-U", postgres.USER, "postgres"]

        def answer(question: str) -> str:
            password = {**known, "PGPASSWORD": postgres.PASSWORD}
            done = subprocess.run([*psql, "-Atc", question], env=password, capture_output=True, check=True, text=True)
            return done.stdout.strip()

        assert answer("select count(*) from event_logs where dagster_event_type = 'ASSET_MATERIALIZATION'") == "2"
        assert answer("select count(*), max(start_time) < min(end_time) from runs where status = 'SUCCESS'") == "2|t"
    written = [path for path in (tmp_path / "data").rglob("*") if path.is_file()]
    assert {tmp_path / "data" / c / f"{c.replace('-', '_')}.manifest.json" for c in corpora} <= set(written)
    assert [path for path in written if postgres.PASSWORD.encode() in path.read_bytes()] == []


@pytest.mark.parametrize("unit", ["vqa-daemon", "vqa-webserver"])
def test_the_units_start_programs_of_the_page_that_are_installed(unit: str) -> None:
    service = configparser.ConfigParser()
    service.optionxform = str  # type: ignore[assignment,method-assign]
    service.read(REPOSITORY / "deploy" / f"{unit}.service")
    program, _, arguments = service["Service"]["ExecStart"].partition(" ")
    folder = service["Service"]["WorkingDirectory"]
    page = (REPOSITORY / "docs/deploying.md").read_text(encoding="utf-8")
    # People type the short form of what the unit starts.
    shown = f"{Path(program).relative_to(folder)} {arguments}".replace("python -m vqa_assets.ui", "vqa-assets ui")
    assert shown in page
    assert f"git clone <this repository> {folder}\n" in page
    assert (Path(sys.executable).parent / Path(program).name).is_file()
    if arguments.startswith("-m "):
        help_text = subprocess.run(
            [sys.executable, *arguments.split()[:2], "--help"], check=False, capture_output=True, text=True
        )
        assert all(word in help_text.stdout for word in arguments.split()[2:])
    assert f"deploy/{unit}.service" in page


def test_the_extras_of_the_page_are_those_of_the_package_and_make_installs_them_all() -> None:
    page = (REPOSITORY / "docs/deploying.md").read_text(encoding="utf-8")
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    assert {*re.findall(r"\.\[([a-z0-9-]+)\]'", page)} == {*extras} - {"dev"}
    inner = {re.split(r"[<>=]", one)[0] for name in extras if name != "dev" for one in extras[name]}
    known = {re.split(r"[<>=]", one)[0] for one in extras["dev"]}
    own = {name for one in known if one.startswith("vqa-assets[") for name in one[len("vqa-assets[") : -1].split(",")}
    named = {part for name in own & {*extras} for part in extras[name]}
    assert inner <= known | {re.split(r"[<>=]", one)[0] for one in named}
    assert "install --quiet -c constraints.txt -e '.[dev]'" in (REPOSITORY / "Makefile").read_text(encoding="utf-8")
