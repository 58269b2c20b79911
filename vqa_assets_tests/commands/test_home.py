"""``python -m vqa_assets.home``: a home that several processes may meet in at once; what a person set there stands."""

import os
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest

from vqa_assets import home
from vqa_assets.home import main, prepare_home
from vqa_assets.tables.paths import CODE

REPOSITORY = Path(__file__).parents[2]
TRIVIAL = "import dagster as dg\n\n\n@dg.asset\ndef trivial() -> None:\n    pass\n"
RUNS = (
    TRIVIAL
    + """
with dg.DagsterInstance.get() as instance:
    dg.materialize([trivial], instance=instance)
"""
)


def started(*command: str, home_folder: Path, cwd: Path = REPOSITORY) -> "subprocess.Popen[str]":
    environment = {**os.environ, "DAGSTER_HOME": str(home_folder)}
    return subprocess.Popen(
        [sys.executable, "-m", *command],
        env=environment,
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_a_home_that_two_prepare_at_once_serves_four_commands_at_once(tmp_path: Path) -> None:
    (tmp_path / "trivial.py").write_text(TRIVIAL)
    (tmp_path / "program.py").write_text(RUNS)
    folder = tmp_path / "deep" / "home"
    preparing = [started("vqa_assets.home", home_folder=folder) for _ in range(2)]
    told = [process.communicate(timeout=120)[0] for process in preparing]
    assert [process.returncode for process in preparing] == [0, 0], told
    assert sorted("dagster.yaml written" in text for text in told) == [False, True]
    command = ("dagster", "asset", "materialize", "-f", "trivial.py", "--select", "*")
    # Dagster's own command line takes twice as long to start as a program that opens the home in the same way.
    commands = (command, ("program",), ("program",), ("program",))
    running = [started(*command, home_folder=folder, cwd=tmp_path) for command in commands]
    said = [process.communicate(timeout=180)[0] for process in running]
    assert [process.returncode for process in running] == [0] * 4, said
    with dg.DagsterInstance.from_config(str(folder)) as instance:
        assert [run.status for run in instance.get_runs()] == [dg.DagsterRunStatus.SUCCESS] * 4


def test_what_a_person_set_is_left_and_what_is_missing_is_added(tmp_path: Path) -> None:
    settings = tmp_path / "dagster.yaml"
    settings.write_text("telemetry:\n  enabled: false\n")
    first = prepare_home(tmp_path)
    assert (first.wrote_settings, first.migrated, first.limits) == (False, False, {"gpu": 1, "download": 2})
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        instance.event_log_storage.set_concurrency_slots("gpu", 3)
    assert prepare_home(tmp_path).limits == {"gpu": 3, "download": 2}
    assert settings.read_text() == "telemetry:\n  enabled: false\n"


def test_the_settings_of_a_fresh_home_are_the_repositorys(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "home"
    assert main([str(folder)]) == 0
    assert (folder / "dagster.yaml").read_bytes() == (CODE / "dagster.yaml").read_bytes()
    expected = f"{folder}: dagster.yaml written, storage up to date, gpu: 1 at once, download: 2 at once\n"
    assert capsys.readouterr().out == expected


def test_a_storage_of_an_older_version_is_migrated(tmp_path: Path) -> None:
    import sqlite3

    prepare_home(tmp_path)
    with sqlite3.connect(tmp_path / "schedules" / "schedules.db") as file:
        (head,) = file.execute("SELECT version_num FROM alembic_version").fetchone()
        file.execute("UPDATE alembic_version SET version_num = '0da417ae1b81'")
    file.close()
    assert prepare_home(tmp_path).migrated
    with sqlite3.connect(tmp_path / "schedules" / "schedules.db") as file:
        assert file.execute("SELECT version_num FROM alembic_version").fetchall() == [(head,)]
    file.close()


def test_a_home_that_was_ruined_before_is_told_with_what_to_move_away(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import sqlite3

    prepare_home(tmp_path)
    with sqlite3.connect(tmp_path / "history" / "runs.db") as file:
        file.execute("INSERT INTO alembic_version VALUES ('567bc23fd1ac')")
    file.close()
    assert main([str(tmp_path)]) == 1
    told = capsys.readouterr().err
    assert "more than one head present" in told
    assert "move its folders history and schedules away" in told
    for name in ("history", "schedules"):
        (tmp_path / name).rename(tmp_path / f"old-{name}")
    assert main([str(tmp_path)]) == 0


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: path.write_text(""), "File exists"),
        (lambda path: (path.mkdir(), (path / "dagster.yaml").write_text("a: [")), "dagster.yaml"),
        (lambda path: (path.mkdir(), (path / "dagster.yaml").write_text("nonsense: 1\n")), "nonsense"),
    ],
    ids=["a file", "no YAML", "an unknown setting"],
)
def test_what_cannot_be_a_home_is_told_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], make: object, words: str
) -> None:
    folder = tmp_path / "home"
    make(folder)  # type: ignore[operator]
    assert main([str(folder)]) == 1
    told = capsys.readouterr().err
    assert words in told
    assert told.startswith("error: ")
    assert told.count("\n") == 1


def test_without_a_folder_it_is_the_data_roots_and_says_where_there_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    monkeypatch.setenv("VQA_DATA_ROOT", str(tmp_path / "data"))
    assert main([]) == 1
    assert f"$VQA_DATA_ROOT {tmp_path}/data: found nothing there" in capsys.readouterr().err
    (tmp_path / "data").mkdir()
    assert main([]) == 0
    assert capsys.readouterr().out.startswith(f"{tmp_path}/data/.dagster: dagster.yaml written")


def test_a_package_without_its_files_says_which_to_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(home, "shipped", lambda name: tmp_path / "share" / name)
    assert main([str(tmp_path / "home")]) == 1
    assert "copy dagster.yaml from the repository" in capsys.readouterr().err


def test_a_home_of_postgresql_is_told_what_it_lacks_and_one_with_settings_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("DB", "HOST", "PASSWORD", "USERNAME"):
        monkeypatch.delenv(f"DAGSTER_PG_{name}", raising=False)
    assert main([str(tmp_path / "home"), "--postgres"]) == 1
    lacking = ", ".join(f"DAGSTER_PG_{name}" for name in ("DB", "HOST", "PASSWORD", "USERNAME"))
    assert f"the environment lacks {lacking}, expected" in capsys.readouterr().err
    settings = tmp_path / "home" / "dagster.yaml"
    assert settings.read_bytes() == b"".join(
        (CODE / name).read_bytes() for name in ("dagster.yaml", "deploy/storage-postgres.yaml")
    )
    settings.write_text("telemetry: {enabled: false}\n")
    assert main([str(tmp_path / "home"), "--postgres"]) == 0
    assert "dagster.yaml left as it was" in capsys.readouterr().out


def test_make_the_units_and_the_pages_prepare_the_home_before_anything_opens_it() -> None:
    makefile = (REPOSITORY / "Makefile").read_text()
    for target in ("demo", "ui"):  # commands that prepare it themselves, each its data root's own
        assert f"-m vqa_assets {target} " in makefile.split(f"\n{target}: ")[1].split("\n\n")[0]
    assert "DAGSTER_HOME ?=" not in makefile
    for unit in ("vqa-daemon", "vqa-webserver"):
        service = (REPOSITORY / "deploy" / f"{unit}.service").read_text()
        assert service.index("ExecStartPre=/srv/vqa/code/.venv/bin/python -m vqa_assets.home\n") < service.index(
            "ExecStart="
        )
    for page in ("docs/deploying.md", "docs/operating.md"):
        assert "python -m vqa_assets.home" in (REPOSITORY / page).read_text()
