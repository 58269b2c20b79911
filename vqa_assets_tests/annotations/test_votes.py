"""Single votes beside a score file: SD and count of each clip, the mean beside the score, bad files left out."""

import logging
import statistics
from pathlib import Path
from typing import Any

import pytest

from vqa_assets.annotations.finding import find_annotation_files
from vqa_assets.annotations.reading import read_annotations
from vqa_assets.corpora import CORPORA
from vqa_assets.ingest.settings import resolve
from vqa_assets.tables.paths import DataRoot
from vqa_assets_tests.shared.fakes import SmallCorpus

CORPUS = CORPORA["konvid-150k"]
SCORES = "video_name,video_score\na.mp4,3\nb.mp4,4.5\nc.mp4,2\n"
OPINIONS = {"a.mp4": (2, 3, 3, 4), "b.mp4": (4, 5), "c.mp4": (2,)}


def votes(header: str = "video_name,vote", line: str = "{name},{vote}", **opinions: Any) -> str:
    lines = [line.format(name=name, vote=vote) for name, of in (opinions or OPINIONS).items() for vote in of]
    return "\n".join([header, *lines]) + "\n"


def read(folder: Path, **files: str | bytes) -> Any:
    """What the two drops and their votes come to."""
    for name, content in files.items():
        data = content if isinstance(content, bytes) else content.encode()
        (folder / f"{name}.csv").write_bytes(data)
    settings = resolve(CORPUS, {"min_rows": 1}, folder / "ingest.toml").values
    return read_annotations(CORPUS, settings, *find_annotation_files(CORPUS, folder, None))


def opinions(annotations: Any) -> dict[str, tuple[float | None, int]]:
    return {row.src: (row.sd, row.count) for row in annotations.rows}


EXPECTED = {
    "a.mp4": (pytest.approx(statistics.stdev(OPINIONS["a.mp4"])), 4),
    "b.mp4": (pytest.approx(statistics.stdev(OPINIONS["b.mp4"])), 2),
    "c.mp4": (None, 1),
}
UNKNOWN = dict.fromkeys(OPINIONS, (None, 0))


@pytest.mark.parametrize(
    "content",
    [
        votes(),
        votes("worker_id,Video_Name,time,Rating", "w1,{name},9,{vote}"),
        votes("name;score", "{name};{vote},0"),
        votes("filename\tquality", " {name} \t{vote}.0"),
        votes('"file_name","vote"', '"{name}","{vote}"'),
        "\ufeff\n" + votes().replace("\n", "\r\n").rstrip(),
        votes().replace(".mp4", ""),
        votes("name,vote", "./{name},{vote}"),
        votes("score,vote,name", "1,{vote},{name}"),
    ],
)
def test_sd_and_count_are_of_the_votes_however_the_file_is_written(content: str, tmp_path: Path) -> None:
    annotations = read(tmp_path, k150ka_scores=SCORES, k150ka_votes=content)
    assert opinions(annotations) == EXPECTED
    assert [row.mos for row in annotations.rows] == [3.0, 4.5, 2.0]


def test_each_drop_has_its_own_votes(tmp_path: Path) -> None:
    annotations = read(
        tmp_path,
        k150ka_scores="video_name,video_score\na.mp4,3\n",
        k150kb_scores="video_name,mos,video_score\nb.mp4,4.5,4\nc.mp4,2,2\n",
        k150ka_votes=votes(**{"a.mp4": (2, 3, 3, 4), "b.mp4": (1, 1)}),
        k150kb_votes=votes(**{"b.mp4": (4, 5), "c.mp4": (2,)}),
    )
    assert opinions(annotations) == EXPECTED
    assert [path.name for path in annotations.files] == [
        f"k150k{part}_{what}.csv" for what in ("scores", "votes") for part in "ab"
    ]


@pytest.mark.parametrize(
    ("equal", "sd"),
    [((3, 3, 3), None), ((2.1, 2.1, 2.1), None), ((1.1, 1.2), statistics.stdev((1.1, 1.2))), ((1,), None)],
)
def test_equal_votes_and_a_single_one_have_no_known_sd(
    equal: tuple[float, ...], sd: float | None, tmp_path: Path
) -> None:
    annotations = read(tmp_path, k150ka_scores="video_name,video_score\na,3\n", k150ka_votes=votes(a=equal))
    assert opinions(annotations) == {"a.mp4": (sd if sd is None else pytest.approx(sd), len(equal))}


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (
            votes("video_name,opinion"),
            "it has the columns video_name, opinion; expected are a clip column named one of",
        ),
        (votes("id,vote"), "and a vote column named one of vote, rating, score, quality"),
        ("a.mp4,3\n", "it has the columns a.mp4, 3; expected"),
        ("", "it has the columns none; expected"),
        (b"video_name,vote\na.mp4,\xff\n", "it cannot be read as CSV ('utf-8' codec"),
        ("video_name,vote\na.mp4,3\n" + "x" * 200_000, "it has a line of more than 65536 characters"),
        (votes(**{"z.mp4": (3, 4)}), "none of its 2 votes is of a clip in the score file"),
        (votes(**{"a.mp4": (3, 99, "x")}), "2 of 3 votes cannot be used (line 3: '99'; line 4: 'x')"),
        (votes(**{"a.mp4": (30, 70)}), "2 of 2 votes cannot be used"),
    ],
)
def test_votes_that_cannot_be_used_are_told_and_left_out_and_cost_no_row(
    content: str | bytes, why: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    annotations = read(tmp_path, k150ka_scores=SCORES, k150ka_votes=content)
    assert opinions(annotations) == UNKNOWN
    assert "k150ka_votes.csv is left out, and SD and count stay unknown: " in caplog.text
    assert why in caplog.text
    assert why in annotations.votes[0].described()["left_out"]


@pytest.mark.parametrize(
    ("limit", "value", "why"),
    [("MOST_SECONDS", -1.0, "it takes more than -1 s to read"), ("MOST_BYTES", 20, "it has 0 MiB, at most 0 are read")],
)
def test_a_file_of_votes_may_take_what_a_score_file_may(
    limit: str, value: float, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"vqa_assets.annotations.votes.{limit}", value)
    annotations = read(tmp_path, k150ka_scores=SCORES, k150ka_votes=votes())
    assert (opinions(annotations), annotations.votes[0].left_out) == (UNKNOWN, why)


def test_a_few_bad_votes_are_left_out_and_told_by_their_lines(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    many = {"a.mp4": [3, 4] * 40, "b.mp4": ["", "nan", 7], "z.mp4": [1]}
    annotations = read(tmp_path, k150ka_scores=SCORES, k150ka_votes=votes(**many) + "\nlone\n")
    assert opinions(annotations)["a.mp4"] == (pytest.approx(statistics.stdev(many["a.mp4"])), 80)
    told = annotations.votes[0].described()
    assert (told["votes"], told["unusable"], told["of_no_row"]) == (80, 4, 1)
    assert (told["clips"], told["clips_without_votes"]) == (1, 2)
    assert "4 votes cannot be used (line 82: ''; line 83: 'nan'; line 84: '7')" in caplog.text
    assert "1 votes are of clips that the score file has not, and 2 of its clips have no vote" in caplog.text


@pytest.mark.parametrize(("mos", "level"), [(3.0, None), (3.04, None), (3.3, "WARNING")])
def test_the_votes_mean_is_compared_with_the_published_score_which_stands(
    mos: float, level: str | None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "vqa_assets"):
        annotations = read(tmp_path, k150ka_scores=SCORES.replace("a.mp4,3", f"a.mp4,{mos}"), k150ka_votes=votes())
    assert annotations.rows[0].mos == mos
    told = annotations.votes[0].described()
    assert told["clips_apart"] == bool(level)
    assert told["mean_minus_score"] == pytest.approx((3 - mos) / 3, abs=1e-6)
    if mos != 3:
        assert told["largest_difference"] == {"src": "a.mp4", "votes_mean": 3.0, "score": mos}
    records = [r.levelname for r in caplog.records if "is another than the published score for 1 of 3" in r.message]
    assert records == ([level] if level else [])


def test_other_votes_are_another_annotation_and_bad_rows_have_none(tmp_path: Path) -> None:
    scores = SCORES + "d.mp4,\n"
    first = read(tmp_path, k150ka_scores=scores, k150ka_votes=votes())
    second = read(tmp_path, k150ka_votes=votes() + "d.mp4,3\n")
    assert first.sha256 != second.sha256
    assert second.rows[3].count == 0
    assert second.votes[0].of_no_row == 1
    (tmp_path / "k150ka_votes.csv").unlink()
    assert opinions(read(tmp_path))["a.mp4"] == (None, 0)


def test_rows_and_manifest_say_what_the_votes_say(root_path: Path) -> None:
    small = SmallCorpus(DataRoot(root_path), corpus=CORPUS)
    small.drop("k150ka_scores.csv", SCORES)
    path = small.drop("k150ka_votes.csv", votes())
    for name in OPINIONS:
        small.drop(f"k150ka_extracted/{name}", name.encode())
    manifest = small.ingest().manifest
    assert [(row["mos_std_dev"], row["n_ratings"]) for row in small.rows()] == [
        (0.0 if sd is None else sd, count) for sd, count in EXPECTED.values()
    ]
    (told,) = manifest["votes"]
    assert (told["path"], told["votes"], told["clips"]) == ("konvid-150k/k150ka_votes.csv", 7, 3)
    assert manifest["labels"]["ratings"] == {"1": 1, "2": 1, "4": 1}
    assert small.ingest().report.unchanged == 3
    path.write_text(votes(**{"a.mp4": (1, 5)}))
    assert small.ingest().report.relabelled == 3
    named = small.ingest(manifest_csv=str(small.folder / "k150ka_scores.csv"))
    assert [path.name for path in named.annotations.files] == ["k150ka_scores.csv", "k150ka_votes.csv"]
