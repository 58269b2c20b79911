"""README's five minutes and the tutorials: what the reader is to type is typed; the pictures are what is seen then."""

import re
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from vqa_assets_tests.shared.clips import tiny_clips
from vqa_assets_tests.shared.help_pictures import COMMANDS, FOLDER, NAME, help_of, words_of
from vqa_assets_tests.shared.page_commands import PROGRAM, commands_of, parts_of, type_here
from vqa_assets_tests.shared.pictures import OF_TUTORIALS, PICTURES, TUTORIALS

REPOSITORY = Path(__file__).parents[2]
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
FIVE_MINUTES = README.split("## Five minutes with your own clips\n")[1].split("\n### ")[0]
TUTORIAL = (REPOSITORY / "docs" / "first-head.md").read_text(encoding="utf-8")
CLIPS = 12
LARGEST_PICTURE = 150_000
AGAIN = "run python -m vqa_assets_tests.shared.help_pictures"


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[pytest.MonkeyPatch]:
    """A reader in a folder with ``scores.csv`` and ``clips``; what they export holds as long as they read."""
    folder = tmp_path_factory.mktemp("reader")
    names = tiny_clips(folder / "clips", CLIPS)
    rows = [f"{name},{1.5 + at * 7 % CLIPS / 4},0.6,20\n" for at, name in enumerate(names)]
    (folder / "scores.csv").write_text("clip,how good,sd,n\n" + "".join(rows))
    handler = signal.getsignal(signal.SIGTERM)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("VQA_DATA_ROOT", str(folder / "data"))
        for name in ("DAGSTER_HOME", "VQA_CORPORA_DIR"):
            patch.delenv(name, raising=False)
        patch.setattr("vqa_assets.workflow.log_to_stderr", lambda: None)
        patch.setattr("vqa_assets.workflow.end_with_parent", lambda: None)
        yield patch
    signal.signal(signal.SIGTERM, handler)


@pytest.fixture(scope="module")
def printed(reader: pytest.MonkeyPatch) -> Mapping[str, str]:
    """What each command of README's five minutes printed."""
    return {command: type_here(command) for command in commands_of(FIVE_MINUTES)}


def test_the_readmes_five_minutes_go_from_a_score_file_to_scored_clips(printed: Mapping[str, str]) -> None:
    said = {command.split()[1]: text for command, text in printed.items()}
    assert f"my-clips: {CLIPS} rows, {CLIPS} clips with a score" in said["new-corpus"]
    assert "my-clips: an ingest would publish" in said["rehearse"]
    assert "5 of 5 steps succeeded" in said["run"]
    assert "Proposed" in said["status"]
    assert len(re.findall(r"^\d{4}\.mp4 +[1-5]\.\d+", said["predict"], re.MULTILINE)) == CLIPS
    assert (Path("data/corpora/my-clips.toml").is_file(), Path("data/.dagster").is_dir()) == (True, True)


def test_the_tutorial_on_a_head_types_the_same_and_judges_it(printed: Mapping[str, str]) -> None:
    own = [command for command in commands_of(TUTORIAL) if "demo-data" not in command]
    assert [command for command in own if command in printed] == list(printed)
    (judging,) = [command for command in own if command not in printed]
    assert "not trained on" in type_here(judging)
    assert Path("judged/judgement.png").is_file()


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_each_command_is_pictured_once_in_the_tour_as_it_is(command: str) -> None:
    assert README.count(f"](docs/pictures/help/{command}.svg)") == 1
    shown = words_of((FOLDER / f"{command}.svg").read_text(encoding="utf-8"))
    assert shown == [*f"$ {NAME} {command} --help".split(), *help_of(command).split()], AGAIN


def test_the_pictures_of_a_tutorial_are_those_that_are_taken_while_it_is_typed() -> None:
    pages = {name: (REPOSITORY / "docs" / f"{name}.md").read_text(encoding="utf-8") for name in TUTORIALS}
    shown = [part.picture for text in pages.values() for part in parts_of(text) if part.picture]
    assert shown == list(OF_TUTORIALS)
    assert all(PROGRAM in text for text in pages.values())
    files = {path.stem: path.stat().st_size for path in FOLDER.parent.glob("*.png")}
    assert files.keys() == {*PICTURES, *OF_TUTORIALS, "scale"}
    assert max(files.values()) <= LARGEST_PICTURE
