"""Lists of clips: as the trainers read them, split so that no content is on two sides, and nothing lost unseen."""

import csv
import itertools
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from vqa_assets.command import main
from vqa_assets.corpora import CORPORA
from vqa_assets.errors import SharingError
from vqa_assets.sharing.clip_lists import LEVELS, ListSettings, export
from vqa_assets.tables.paths import DataRoot
from vqa_assets_tests.shared.unified_corpora import clip

PARTS = ("train", "val", "test")


class Listed:
    """Corpora of clips of a few bytes under a data root, and lists of them in a folder."""

    def __init__(self, root: Path) -> None:
        self.root, self.folder = DataRoot(root), root.parent / "lists"
        self.corpora = dict(CORPORA)

    def ingested(self, corpus: str, rows: Iterable[Mapping[str, Any]], absent: Iterable[str] = ()) -> None:
        """A corpus's JSONL, and its clips but those that are absent."""
        rows, absent = list(rows), set(absent)
        clips = self.root.corpus_dir(CORPORA[corpus]) / "clips"
        clips.mkdir(parents=True)
        self.root.corpus_jsonl(CORPORA[corpus]).write_text("".join(json.dumps(row) + "\n" for row in rows))
        for name in {row["src"] for row in rows} - absent:
            (clips / name).parent.mkdir(parents=True, exist_ok=True)
            (clips / name).write_bytes(b"a clip")

    def export(self, reader: str, *names: str, seed: int = 1, **settings: Any) -> tuple[str, ...]:
        given = ListSettings(reader, seed, **{"may": True, **settings})
        return export(names, self.folder, self.root, self.corpora, given)

    def parts(self, corpus: str, suffix: str = ".txt") -> dict[str, str]:
        """Part → the text of its list."""
        found = {part: self.folder / corpus / f"{part}{suffix}" for part in PARTS}
        return {part: path.read_text() for part, path in found.items() if path.exists()}

    def record(self) -> dict[str, Any]:
        return dict(json.loads((self.folder / "vqa-shared.json").read_text()))


@pytest.fixture
def listed(root_path: Path) -> Listed:
    return Listed(root_path)


def rows_of(corpus: str, count: int, **changes: Any) -> list[dict[str, Any]]:
    """Clips of which each second one shows what the one before it does."""
    return [
        clip(f"v/{n:03}.mp4", 1 + 4 * n / (count - 1), corpus, content_id=f"{corpus}-{n // 2}", **changes)
        for n in range(count)
    ]


def dover_reads(text: str) -> dict[str, float]:
    """Path → score, as DOVER's data set reads a list: four fields a line, or it reads none."""
    found = {}
    for line in text.splitlines(keepends=True):
        filename, _, _, label = line.strip().split(",")
        found[filename] = float(label)
    return found


def test_dover_reads_every_clip_with_its_score_below_the_clips_folder(
    listed: Listed, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = rows_of("lsvq", 60)
    listed.ingested("lsvq", rows)
    arguments = ["export", "--for", "dover", "--to", str(listed.folder), "--root", str(listed.root.path)]
    assert main(arguments) == 0
    told = capsys.readouterr().out
    assert "no content is in two parts" in told
    read = {part: dover_reads(text) for part, text in listed.parts("lsvq").items()}
    assert {**read["train"], **read["val"], **read["test"]} == {row["src"]: row["mos"] for row in rows}
    assert sum(map(len, read.values())) == len(rows)
    assert f"lsvq: {len(read['train'])} train, {len(read['val'])} val, {len(read['test'])} test of 60 rows" in told
    assert min(map(len, read.values())) >= 2
    assert all((listed.root.path / "lsvq" / "clips" / path).is_file() for part in read.values() for path in part)
    of = {row["src"]: row["content_id"] for row in rows}
    for one, other in itertools.combinations(read.values(), 2):
        assert not {of[path] for path in one} & {of[path] for path in other}
    # The same seed gives the same bytes, another one other parts; whole paths are found from anywhere.
    before = listed.parts("lsvq")
    assert main(arguments) == 0
    assert "in the place of lists of lsvq for dover" in capsys.readouterr().out
    assert listed.parts("lsvq") == before
    listed.export("dover", seed=2, absolute=True)
    paths = [path for text in listed.parts("lsvq").values() for path in dover_reads(text)]
    assert all(Path(path).is_absolute() and Path(path).is_file() for path in paths)
    assert {Path(path).name for path in dover_reads(listed.parts("lsvq")["test"])} != {
        Path(path).name for path in read["test"]
    }


def test_q_align_reads_levels_of_five_equal_intervals_of_the_scores_that_train(listed: Listed) -> None:
    listed.ingested("lsvq", rows_of("lsvq", 41))
    listed.export("q-align")
    lists = {part: json.loads(text) for part, text in listed.parts("lsvq", ".json").items()}
    scores = [float(one["id"].partition("->")[2]) for one in lists["train"]]
    low, high = min(scores), max(scores)
    assert listed.record()["level_edges"]["lsvq"] == [low + k * (high - low) / 5 for k in range(1, 5)]
    seen = set()
    for one in itertools.chain(*lists.values()):
        question, answer = one["conversations"]
        assert (question["from"], answer["from"]) == ("human", "gpt")
        assert question["value"].count("<|image|>") == 1
        (level,) = [n for n, word in enumerate(LEVELS) if answer["value"] == f"The quality of the video is {word}."]
        score = float(one["id"].partition("->")[2])
        share = (score - low) / (high - low)
        assert level == 0 or share > level / 5 - 1e-9
        assert level == 4 or share <= (level + 1) / 5 + 1e-9
        seen.add(level)
        assert (listed.root.path / "lsvq" / "clips" / one["image"]).is_file()
    assert seen == set(range(5))


def test_clips_of_one_content_one_upload_or_equal_bytes_are_on_one_side_whichever_corpora_they_are_of(
    listed: Listed,
) -> None:
    for number, corpus in enumerate(("konvid-1k", "konvid-150k", "lsvq")):
        rows = [clip(f"{3_000_000_000 + n}.mp4", 3, corpus, sha=f"{corpus}{n}") for n in range(30)]
        # KoNViD's names are Flickr's ids: equal ones are one upload. LSVQ's say nothing.
        shared = [
            clip(f"{corpus}-{n}.mp4", 3, corpus, content_id=f"shared-{n}", sha=f"s{number}-{n}") for n in range(9)
        ]
        copies = [clip(f"{corpus}-copy-{n}.mp4", 3, corpus, sha=f"copy-{n}") for n in range(9)]
        listed.ingested(corpus, [*rows, *shared, *copies])
    listed.export("csv")
    side: dict[tuple[str, str], set[str]] = {}
    for corpus in ("konvid-1k", "konvid-150k", "lsvq"):
        for part, text in listed.parts(corpus, ".csv").items():
            for row in csv.DictReader(text.splitlines()):
                side.setdefault(("content", row["content_id"] or f"{corpus}{row['src']}"), set()).add(part)
                side.setdefault(("bytes", row["src_sha256"]), set()).add(part)
                if corpus != "lsvq":
                    side.setdefault(("upload", row["src"]), set()).add(part)
    assert len(side) > 100
    assert all(len(parts) == 1 for parts in side.values())


def test_what_cannot_be_listed_is_told_and_counted_and_no_row_is_lost(listed: Listed) -> None:
    rows = rows_of("lsvq", 20)
    odd = [clip(name, 3, "lsvq") for name in ("a,b.mp4", "line\nbreak.mp4", "x.webm", "pointer.mp4", "gone.mp4")]
    listed.ingested("lsvq", [*rows, *odd], absent=["gone.mp4", rows[0]["src"]])
    (listed.root.path / "lsvq" / "clips" / "pointer.mp4").write_text("version https://git-lfs.github.com/spec/v1\n")
    lines = listed.export("dover")
    assert "lsvq: left out 3 clips not there: v/000.mp4, pointer.mp4, gone.mp4" in lines
    odd_names = "a,b.mp4, line\\u000abreak.mp4"
    assert f"lsvq: left out 2 clips with a comma, a line break or a blank at an end in its path: {odd_names}" in lines
    left, listed_clips = listed.record()["left_out"]["lsvq"], listed.record()["clips"]["lsvq"]
    assert sum(left.values()) + sum(listed_clips.values()) == 25
    lines = listed.export("q-align")
    assert any(line.startswith("lsvq: left out 1 clip not .mp4") for line in lines)
    raw = [clip(f"{n}.yuv", 3, "waterloo-ivc-4k", width=1920, height=1080 * (1 + n % 2)) for n in range(8)]
    listed.ingested("waterloo-ivc-4k", raw)
    (told,) = [line for line in listed.export("dover", "waterloo-ivc-4k") if "left out" in line]
    assert "left out 4 clips raw (.yuv) and not 1920×1080" in told
    listed.export("csv")
    table = [
        row for text in listed.parts("lsvq", ".csv").values() for row in csv.DictReader(text.splitlines(keepends=True))
    ]
    assert {row["path"] for row in table} >= {"a,b.mp4", "line\nbreak.mp4", "x.webm"}
    # A JSONL that somebody edited, or joined: no trainer is told a score that its corpus cannot have.
    other = [clip("of-0-10.mp4", 3, "kvq", mos_scale="0-10"), clip("99.mp4", 99, "kvq"), clip("v/000.mp4", 4, "kvq")]
    listed.ingested("kvq", [*rows_of("kvq", 20), *other])
    assert listed.export("csv", "kvq")[1:4] == (
        "kvq: left out 1 clip on a scale that its corpus does not have: of-0-10.mp4",
        "kvq: left out 1 clip scored outside its scale: 99.mp4",
        "kvq: left out 1 clip that a row before names, too: v/000.mp4",
    )


def test_a_corpuss_own_split_is_kept_and_what_is_tested_on_is_never_trained_on(listed: Listed) -> None:
    rows = rows_of("lsvq", 40)
    for number, row in enumerate(rows):
        row["split"] = "test" if number in (1, *range(30, 40)) else "train"  # of the first content one clip is in each
    listed.ingested("lsvq", rows)
    lines = listed.export("dover", own_split=True)
    read = {part: set(dover_reads(text)) for part, text in listed.parts("lsvq").items()}
    assert read == {
        "test": {row["src"] for row in rows if row["split"] == "test"},
        "train": {row["src"] for row in rows[2:] if row["split"] == "train"},
    }
    assert "lsvq: left out 1 clip of train, whose content is in test, too: v/000.mp4" in lines
    assert "lsvq: 40 of its 40 clips by their own split, 0 drawn" in lines
    listed.ingested("kvq", rows_of("kvq", 8, split="Train"))
    told = "kvq: 0 of its 8 clips by their own split, 8 drawn (8 × Train is none of train, val, test)"
    assert told in listed.export("dover", "kvq", own_split=True)


def test_more_is_better_in_every_list_of_a_corpus_whose_scores_are_differences_too(listed: Listed) -> None:
    listed.ingested("lsvq", rows_of("lsvq", 10, mos_scale="1-5-acr", mos_polarity="dmos"))
    listed.corpora["lsvq"] = CORPORA["lsvq"].but(polarity="dmos")
    listed.export("dover")
    scores = {path: score for text in listed.parts("lsvq").values() for path, score in dover_reads(text).items()}
    assert (scores["v/000.mp4"], scores["v/009.mp4"]) == (5.0, 1.0)


def test_what_keeps_lists_from_being_made_is_said_before_anything_is_written(
    listed: Listed, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(found: str, *names: str, **settings: Any) -> None:
        with pytest.raises(SharingError, match=found):
            listed.export("dover", *names, **settings)
        assert not listed.folder.exists()

    refused("nothing to export yet.*no corpus JSONL.*vqa-assets ingest CORPUS")
    refused("nothing to export of lsvq yet.*vqa-assets ingest lsvq", "lsvq")
    same = [clip(f"{n}.mp4", 3, "lsvq", content_id="one") for n in range(9)]
    listed.ingested("lsvq", same)
    refused("9 clips of 1 content: one, expected at least 3", "lsvq")
    listed.ingested("konvid-1k", rows_of("konvid-1k", 10), absent=[row["src"] for row in rows_of("konvid-1k", 10)])
    refused(r"konvid-1k: research use, citation required \(research-only\).*--i-may", "konvid-1k", may=False)
    refused("no clip to list.*left out 10 clips not there", "konvid-1k")
    to = ["--to", str(listed.folder), "--root", str(listed.root.path)]
    assert main(["export", "--for", "qalign", *to]) == 2
    assert "did you mean q-align?" in capsys.readouterr().err
    assert main(["export", "lsvk", "--for", "csv", *to]) == 2
    assert "did you mean lsvq?" in capsys.readouterr().err
    nowhere = ("", "s3://bucket/lists", "a\0b", "a" * 300)
    assert [main(["export", "--for", "csv", "--to", place]) for place in nowhere] == [2, 2, 2, 2]
    listed.root.corpus_jsonl(CORPORA["lsvq"]).write_text('{"src": "a.mp4", "mos": "3"}\n')
    assert main(["export", "lsvq", "--for", "csv", *to]) == 1
    assert (
        "lsvq.jsonl:1: src 'a.mp4', mos '3', expected a clip's name, its SHA-256 and its score"
        in capsys.readouterr().err
    )
