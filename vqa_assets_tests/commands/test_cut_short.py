"""A publication that was cut short: whichever command comes next makes it whole before it reads."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from vqa_assets import rehearse, status
from vqa_assets.provenance import verify as verifying
from vqa_assets.provenance.verify import verify
from vqa_assets.tables.makers import made_by
from vqa_assets.tables.paths import DataRoot
from vqa_assets_tests.shared.fakes import KONVID, SmallCorpus
from vqa_assets_tests.shared.kills import KILLED, killed_at

ROWS = [("a.mp4", "", 3.0, 0.5, 9), ("b.mp4", "", 4.0, 0.5, 9), ("c.mp4", "", 2.0, 0.5, 9)]


@pytest.fixture
def corpus(root_path: Path) -> SmallCorpus:
    """Ingested with one row; its annotation file has three by now."""
    small = SmallCorpus(DataRoot(root_path))
    for name, *_ in ROWS:
        small.stage(name, name.encode())
    small.annotate(ROWS[:1])
    small.ingest()
    small.annotate(ROWS)
    return small


def in_place(corpus: SmallCorpus) -> list[str]:
    """The published files, hidden ones too, but no cache."""
    return sorted(path.name for path in corpus.folder.glob("*konvid_150k*"))


def is_of_one_run(corpus: SmallCorpus) -> bool:
    """Whether JSONL and losses are those that the manifest tells of, and it counts their rows."""
    manifest = corpus.folder / "konvid_150k.manifest.json"
    counted = json.loads(manifest.read_text())["counters"]["rows_out"]
    outputs = [one for one in verify(manifest).compared if one.role == "output"]
    return all(one.match.good for one in outputs) and counted == len(corpus.rows())


Command = Callable[[SmallCorpus], object]
COMMANDS: dict[str, Command] = {
    "status": lambda corpus: status.main(["--root", str(corpus.root.path)]),
    "verify": lambda corpus: verifying.main(["verify", str(corpus.folder / "konvid_150k.manifest.json")]),
    "corpus_jsonl": lambda corpus: corpus.ingest(),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_at_whatever_replacement_an_ingest_was_killed_the_next_command_finds_files_of_one_run(
    corpus: SmallCorpus, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    names, number, ended = in_place(corpus), 0, KILLED
    while ended == KILLED:
        number += 1
        corpus.annotate([(name, url, mos + number / 100, *rest) for name, url, mos, *rest in ROWS])
        ended = killed_at("replace", number, corpus.ingest)
        COMMANDS[command](corpus)
        capsys.readouterr()
        assert in_place(corpus) == names, number
        assert is_of_one_run(corpus), number
    assert ended == 0
    assert number > 4
    corpus.annotate(ROWS)
    corpus.ingest()
    assert [row["src"] for row in corpus.rows()] == [name for name, *_ in ROWS]
    made = made_by(corpus.root.corpus_jsonl(KONVID))
    assert made is not None
    assert (made.stage, made.is_ours) == ("corpus_jsonl", True)


def test_a_command_that_writes_nothing_says_so_and_reads_the_earlier_files(
    corpus: SmallCorpus, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    assert killed_at("replace", 2, corpus.ingest) == KILLED  # the losses are new, the JSONL is not
    journal, before = ".konvid_150k.jsonl.publishing.json", in_place(corpus)
    assert journal in before
    rehearse.main([KONVID.name, "--root", str(corpus.root.path)])
    capsys.readouterr()
    assert f"{journal}: a publication was cut short and cannot be settled here" in caplog.text
    assert in_place(corpus) == before
    status.main(["--root", str(corpus.root.path)])
    assert "rows:            3" in capsys.readouterr().out
    assert journal not in os.listdir(corpus.folder)  # noqa: PTH208
