"""``python -m vqa_assets.rehearse``: its exit status, its two forms, and what it says of what it cannot use."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from vqa_assets import rehearse
from vqa_assets.rehearse import main
from vqa_assets.tables.paths import DataRoot
from vqa_assets_tests.shared.clips import tiny_clips
from vqa_assets_tests.shared.fakes import SmallCorpus


@pytest.fixture
def root(root_path: Path) -> Path:
    """KonViD-150k with two clips that are there and one that is not."""
    corpus = SmallCorpus(DataRoot(root_path))
    names = tiny_clips(corpus.folder / "clips", 2)
    corpus.annotate([(name, "", 3, 0.5, 5) for name in [*names, "9999.mp4"]])
    corpus.drop("ingest.toml", "min_rows = 1\n")
    return root_path


def test_it_exits_0_where_an_ingest_would_publish_and_1_where_it_would_not(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["konvid-150k", "--root", str(root)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "konvid-150k: an ingest would publish"
    assert "  rows in:       3; out 0 to 2 (1 skipped_missing)" in lines
    assert "  clips found:   2 exact, 1 not_there" in lines
    for clip in (root / "konvid-150k" / "clips").iterdir():
        clip.unlink()
    assert main(["konvid-150k", "--root", str(root)]) == 1
    told = capsys.readouterr().out
    assert told.startswith("konvid-150k: an ingest would publish nothing\n")
    assert "  blocks:        konvid-150k: every row came to nothing" in told


def test_for_machines_it_prints_one_object_with_the_same_facts(root: Path) -> None:
    command = [sys.executable, "-m", "vqa_assets.rehearse", "konvid-150k", "--root", str(root), "--read", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    told = json.loads(done.stdout)
    assert (told["corpus"], told["would_publish"], told["rows_in"]) == ("konvid-150k", True, 3)
    assert (told["counters"]["written"], told["counters"]["skipped_missing"]) == (2, 1)
    assert told["losses"][0]["src"] == "9999.mp4"
    assert sorted(path.name for path in (root / "konvid-150k").iterdir()) == ["clips", "ingest.toml", "manifest.csv"]


def test_a_token_that_no_request_may_carry_blocks(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HF_TOKEN", "a\nb: c")
    assert main(["konvid-150k", "--root", str(root)]) == 1
    told = capsys.readouterr().out
    assert "blocks:        $HF_TOKEN: " in told
    assert "b: c" not in told


def test_times_are_at_the_rates_that_are_given(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["konvid-150k", "--root", str(root), "--probe-rate", "0.5", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["to_read"]["seconds"] == 4.0


def test_settings_of_the_run_come_as_they_do_in_a_launch(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["konvid-150k", "--root", str(root), "--config-json", '{"max_rows": 1}', "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rows_in"] == 1
    assert main(["konvid-150k", "--root", str(root), "--config-json", '{"max_row": 1}']) == 1
    assert "unknown key 'max_row'" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["konvid-150"], "did you mean konvid-150k?"),
        (["elsewhere"], "expected one of konvid-1k, konvid-150k"),
        (["konvid-150k", "--config-json", "max_rows"], "--config-json: not JSON"),
        (["konvid-150k", "--config-json", "[1]"], "--config-json: a JSON list"),
        (["konvid-150k", "--root", "/nowhere/at/all"], "found nothing there"),
    ],
)
def test_what_it_cannot_use_is_told_in_one_line(
    root: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    status = main([*arguments, *(() if "--root" in arguments else ("--root", str(root)))])
    assert status == (1 if "--root" in arguments else 2)  # typed wrongly
    told = capsys.readouterr()
    assert (told.out, told.err.count("\n")) == ("", 1)
    assert told.err.startswith("error: ")
    assert words in told.err


@pytest.mark.parametrize("rate", ["0", "-1", "fast", "inf", "nan"])
def test_a_rate_is_a_number_above_0(rate: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["konvid-150k", f"--probe-rate={rate}"])
    assert ended.value.code == 2
    assert "expected a number above 0" in capsys.readouterr().err


def test_its_help_says_where_the_rates_come_from(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    told = " ".join(capsys.readouterr().out.split())
    assert "default: 12.5, a line of 100 Mbit/s" in told
    assert "default: 100, what two ordinary cores do with clips of a few megabytes" in told


def test_an_interrupt_ends_it_without_a_trace(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(rehearse, "rehearse", interrupted)
    assert main(["konvid-150k", "--root", str(root)]) == 130
    assert capsys.readouterr().err == "stopped; nothing was written\n"
