"""``vqa-assets new-corpus``: what it proposes of a score file, what it writes, what it says of one it cannot use."""

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from vqa_assets.annotations.proposal import proposed_scale
from vqa_assets.command import main
from vqa_assets.corpora.corpus import Corpus
from vqa_assets.corpora.declarations import corpora_folder, read_declaration, with_declared
from vqa_assets.corpora.scales import SCALES
from vqa_assets.definitions import build_defs
from vqa_assets.errors import ArgumentError, SettingsError
from vqa_assets.new_corpus import make_corpus
from vqa_assets.resources.data_root import DataRootResource
from vqa_assets.tables.paths import DataRoot
from vqa_assets_tests.shared.clips import tiny_clips


@pytest.fixture(autouse=True)
def _nothing_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("VQA_CORPORA_DIR", raising=False)
    monkeypatch.chdir(tmp_path)


def scored(folder: Path, text: str, name: str = "scores.csv") -> Path:
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return path


def rows(names: Sequence[str], *more: str) -> str:
    return "".join(",".join((name, f"{1 + at % 5 * 0.8:.1f}", *more)) + "\n" for at, name in enumerate(names))


def proposed(root_path: Path, scores: Path, **typed: str) -> Corpus:
    make_corpus(DataRoot(root_path), scores, name="mine", **typed)
    return read_declaration(root_path / "corpora" / "mine.toml")


def test_a_score_file_and_clips_become_a_corpus_that_an_ingest_would_publish(
    root_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = tiny_clips(tmp_path / "videos", 6)
    scores = scored(tmp_path / "Street Clips", "Video,Quality,std,device\n" + rows(names, "0.5", "phone"))
    typed = ["new-corpus", str(scores), "--clips", "videos", "--root", str(root_path)]
    assert main(typed) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "street-clips: 6 rows, 6 clips with a score"
    told = "\n".join(lines)
    assert "columns:     mos = Quality, clip = Video, sd = std" in told
    assert "scale:       1-5-acr: 6 scores (quantiles 0% 1," in told
    assert "bounds:      3 to 12 rows" in told
    assert "look up:     spread: is std a standard deviation (sd), a standard error (se) or an interval (ci95)?" in told
    assert "clips:       6 of 6 in videos" in told
    assert lines[-1].endswith("vqa-assets rehearse street-clips")
    # Declarations of the data root are found without naming a folder; scores and clips lie where they are looked for.
    corpus = with_declared(corpora_folder(root_path, {}))["street-clips"]
    assert (corpus.min_rows, corpus.max_rows, corpus.spread, corpus.redistribution) == (3, 12, "sd", "unknown")
    assert (root_path / "street-clips" / "manifest.csv").read_bytes() == scores.read_bytes()
    assert main(["rehearse", "street-clips", "--root", str(root_path)]) == 0
    assert "an ingest would publish" in capsys.readouterr().out
    # A second time the name is taken, and what a person corrected stays.
    assert main(typed) == 2
    assert "corpus 'street-clips': declared already, in data/corpora/street-clips.toml" in capsys.readouterr().err


def test_the_declarations_of_a_root_are_partitions_of_what_is_built_on_it(root_path: Path, tmp_path: Path) -> None:
    proposed(root_path, scored(tmp_path, "name,mos\n" + rows(["a", "b"])))
    platform = build_defs(data_root=DataRootResource(path=str(root_path)))
    partitions = platform.resolve_assets_def("mos_head").partitions_def
    assert partitions is not None
    assert "mine" in partitions.get_partition_keys()


def test_the_folder_that_the_environment_names_is_where_declarations_are_read_and_written(
    root_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VQA_CORPORA_DIR", str(tmp_path / "declared"))
    (tmp_path / "declared").mkdir()
    make_corpus(DataRoot(root_path), scored(tmp_path, "name,mos\n" + rows(["a", "b"])), name="mine")
    assert [path.name for path in (tmp_path / "declared").iterdir()] == ["mine.toml"]
    assert corpora_folder(root_path, os.environ) == tmp_path / "declared"
    assert corpora_folder(root_path, {}) is None


@pytest.mark.parametrize(
    ("scores", "scale", "doubt"),
    [
        ([1.2, 3.4, 4.9], "1-5-acr", ""),
        ([3.0] * 97 + [99.0] * 3, "1-5-acr", "what do 99 × 3 mean?"),
        ([0.1, 0.5, 0.93], "0-1", ""),
        ([0.2, 2.5, 4.8, 0.4], "0-5", ""),
        ([1.5, 6.6, 3.0], "1-7", ""),
        ([1.5, 8.6, 3.0], "1-9", ""),
        ([0.5, 9.6, 3.0], "0-10", ""),
        ([12.0, 55.0, 88.0], "0-100-continuous", ""),
        ([-6.5, 55.0, 93.4], "own", "their range; -6.5 to 94 is"),
        ([12.0, 22.0, 28.0], "own", "their range; 12 to 28 is"),
    ],
)
def test_the_scale_is_the_narrowest_known_one_that_holds_the_scores(
    scores: list[float], scale: str, doubt: str
) -> None:
    found, doubts = proposed_scale(scores)
    assert found.name == scale
    assert found.name not in SCALES or found == SCALES[scale]
    assert doubt in "".join(doubts)
    assert bool(doubt) == bool(doubts)


@pytest.mark.parametrize(
    ("header", "facts"),
    [
        ("file,DMOS,ci95", ("dmos", "ci95", {"mos": ("DMOS",), "clip": ("file",), "sd": ("ci95",)})),
        ("filename,mos,sem", ("mos", "se", {"mos": ("mos",), "clip": ("filename",), "sd": ("sem",)})),
        ("flickr_id,MOS,subjects", ("mos", None, {"mos": ("MOS",), "clip": ("flickr_id",), "count": ("subjects",)})),
        ("what,how good,", ("mos", None, {"mos": ("how good",), "clip": ("what",)})),
    ],
)
def test_columns_are_known_by_spellings_else_by_their_values(
    root_path: Path, tmp_path: Path, header: str, facts: tuple[str, str | None, dict[str, tuple[str, ...]]]
) -> None:
    text = rows(["a.mp4", "b.mp4", "c.mp4"], "7")
    corpus = proposed(root_path, scored(tmp_path, f"{header}\n{text}"))
    spellings = {role: names for role, names in corpus.own_spellings.model_dump().items() if names}
    assert (corpus.polarity, corpus.spread, spellings) == facts


def test_a_list_without_a_header_is_declared_by_its_shape(root_path: Path, tmp_path: Path) -> None:
    text = "".join(f"Video/A{at}.mp4, -1, -1, {20 + 10 * at}\n" for at in range(5))
    corpus = proposed(root_path, scored(tmp_path, text, "train_labels.txt"))
    assert corpus.headerless == (("name", "", "", "mos"),)
    assert corpus.acquisition.file == "manifest.txt"


def test_an_own_range_is_called_as_its_corpus(root_path: Path, tmp_path: Path) -> None:
    corpus = proposed(root_path, scored(tmp_path, "name,mos\na,-6.5\nb,50\nc,93.4\n"))
    assert [(one.name, one.low, one.high) for one in corpus.scales] == [("mine", -6.5, 94.0)]


def test_what_only_a_person_can_say_is_asked_for_and_nothing_is_written(root_path: Path, tmp_path: Path) -> None:
    scores = scored(tmp_path, "video,sharpness,beauty\n" + "".join(f"c{at}.mp4,{at + 1},{5 - at}\n" for at in range(4)))
    with pytest.raises(ArgumentError, match=r"2 columns that may be .* sharpness, beauty.*name it: --mos COLUMN"):
        make_corpus(DataRoot(root_path), scores, name="mine")
    with pytest.raises(ArgumentError, match=r"--mos sharpnes: no column of that name, expected one of video, sharp"):
        make_corpus(DataRoot(root_path), scores, name="mine", mos="sharpnes")
    assert list(root_path.iterdir()) == []
    assert proposed(root_path, scores, mos="beauty").own_spellings.mos == ("beauty",)


@pytest.mark.parametrize(
    ("text", "typed", "said"),
    [
        (None, [], "scores.csv: nothing there, expected a file of names of clips"),
        ("", [], "scores.csv: an empty file"),
        ("name,mos\n", [], "scores.csv: no row"),
        ("<!DOCTYPE html><html></html>", [], "an HTML page"),
        ("name,vmaf\na,91\nb,20\n", [], "column vmaf: scores that are computed, expected opinions of people"),
        ("name,mos\na,3\nb,bad\nc,bad\n", [], "no column that by its name or values is its opinion score"),
        ("name,mos\na,3\na,4\n", [], "conflicting scores"),
        ("0.5,0.25\n0.75,0.5\n", [], "no column that by its name or values names its clip"),
        ("name,mos\na,3\nb,2\n", ["--name", "konvid-1k"], "corpus 'konvid-1k': declared already"),
        (
            "name,mos\na,3\nb,2\n",
            ["--name", "My Clips"],
            "--name My Clips: name: 'My Clips', expected lower-case words",
        ),
        ("name,mos\na,3\nb,2\n", ["--name", "corpora"], "expected lower-case words joined by -, none of"),
        ("name,mos\na,3\nb,2\n", ["--clips", "nowhere"], "--clips nowhere: no folder there"),
    ],
)
def test_what_cannot_be_used_is_told_in_a_line_and_nothing_is_written(
    text: str | None, typed: list[str], said: str, root_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if text is not None:
        Path("scores.csv").write_text(text)
    name = [] if "--name" in typed else ["--name", "mine"]
    ended = main(["new-corpus", "scores.csv", "--root", str(root_path), *name, *typed])
    assert ended in ((2,) if typed else (1, 2))  # a word that was typed, or the file
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
    assert list(root_path.iterdir()) == []


def test_a_score_file_that_stands_there_is_not_replaced(root_path: Path, tmp_path: Path) -> None:
    scores = scored(tmp_path, "name,mos\n" + rows(["a", "b"]))
    (root_path / "mine").mkdir()
    (root_path / "mine" / "manifest.csv").write_text("another")
    with pytest.raises(ArgumentError, match=r"manifest\.csv: another file, expected no score file yet"):
        make_corpus(DataRoot(root_path), scores, name="mine")
    assert (root_path / "mine" / "manifest.csv").read_text() == "another"
    assert not (root_path / "corpora").exists()
    # What was copied before a kill is the same file, and the command goes on from there.
    (root_path / "mine" / "manifest.csv").write_bytes(scores.read_bytes())
    proposed(root_path, scores)


def test_a_file_in_the_place_of_the_declarations_is_told(root_path: Path) -> None:
    (root_path / "corpora").write_text("")
    with pytest.raises(
        SettingsError, match=r"the declarations of corpora .*corpora: found something that is no folder"
    ):
        with_declared(corpora_folder(root_path, {}))
