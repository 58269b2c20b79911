"""Which file is a row's clip: every name that means it is found, what is only like it is told, nothing is guessed."""

import json
from pathlib import Path
from typing import Any

import pytest

from vqa_assets.clips.folders import ClipFolders
from vqa_assets.corpora import CORPORA
from vqa_assets.errors import IngestError
from vqa_assets.tables.paths import DataRoot
from vqa_assets_tests.shared.fakes import SmallCorpus

COMPOSED, DECOMPOSED = "caf\u00e9.mp4", "cafe\u0301.mp4"


@pytest.fixture
def at(root_path: Path) -> Any:
    return lambda name: SmallCorpus(DataRoot(root_path), corpus=CORPORA[name])


def found(small: SmallCorpus) -> dict[str, str]:
    """The clip's name on disk → what the row says the score file calls it."""
    return {row["src"]: row.get("annotated_as", "") for row in small.rows()}


@pytest.mark.parametrize(
    ("corpus", "named", "file", "src", "annotated_as", "how"),
    [
        ("lsvq", "b/x.mov", "clips/b/x.mov.mp4", "b/x.mov.mp4", "b/x.mov", "added_suffix"),
        ("lsvq", "b/747", "clips/b/747.mp4", "b/747.mp4", "", "exact"),
        ("lsvq", "b/747", "clips/b/747", "b/747", "", "exact"),
        ("lsvq", "b/747", "clips/b/747.webm", "b/747.webm", "b/747", "other_suffix"),
        ("live-vqc", "p.3gp", "clips/p.3gp", "p.3gp", "", "exact"),
        ("live-vqc", "p.wmv", "clips/p.MP4", "p.MP4", "p.wmv", "other_suffix"),
        ("live-vqc", "a.mp4", "clips/a.MP4", "a.MP4", "a.mp4", "other_suffix"),
        *(
            ("live-vqc", "p", f"clips/p.{suffix}", f"p.{suffix}", "p", "other_suffix")
            for suffix in ("ogv", "m2ts", "mts", "mxf", "vob", "ivf", "mkv")
        ),
        ("live-vqc", "Video/A001.mp4", "Video/A001.mp4", "Video/A001.mp4", "", "exact"),
        ("live-vqc", "A001.mp4", "A001.mp4", "A001.mp4", "", "exact"),
        ("live-vqc", "clips/A001.mp4", "clips/A001.mp4", "clips/A001.mp4", "", "exact"),
        ("live-vqc", "A001.mp4", "LIVE VQC/Video/A001.mp4", "LIVE VQC/Video/A001.mp4", "A001.mp4", "below"),
        ("lsvq", "b/1.mp4", "clips/videos/b/1.mp4", "videos/b/1.mp4", "b/1.mp4", "below"),
        ("youtube-ugc", "Gaming_1-25", "clips/Gaming/720P/Gaming_1-25.mkv", "Gaming/720P/Gaming_1-25.mkv",
         "Gaming_1-25", "other_suffix"),
        ("live-vqc", COMPOSED, f"clips/{DECOMPOSED}", DECOMPOSED, COMPOSED, "unicode"),
        ("live-vqc", DECOMPOSED, f"clips/x/{COMPOSED}", f"x/{COMPOSED}", DECOMPOSED, "unicode"),
    ],
)  # fmt: skip
def test_a_clip_is_found_under_every_name_that_means_it(
    corpus: str, named: str, file: str, src: str, annotated_as: str, how: str, at: Any
) -> None:
    small = at(corpus)
    small.drop("manifest.csv", f"name,mos\n{named},3\n")
    small.drop(file, b"1")
    done = small.ingest(mos_scale=small.corpus.scales[0].name)
    assert found(small) == {src: annotated_as}
    assert done.manifest["names_found"] == {how: 1}
    assert done.report.unlabelled_clips == 0
    again = small.ingest(mos_scale=small.corpus.scales[0].name).report
    assert (again.unchanged, again.read_clips) == (1, 0)
    # Every other stage finds it by its name.
    folders = ClipFolders.of(small.corpus, "clips", small.folder)
    assert folders.path_of(src).read_bytes() == b"1"


def test_the_clip_folder_may_be_the_corpuss_own(at: Any) -> None:
    small = at("live-vqc")
    small.drop("manifest.csv", "".join(f"Video/A{i:03d}.mp4, -1, -1, {40 + i}\n" for i in range(60)))
    for i in range(60):
        small.drop(f"Video/A{i:03d}.mp4", b"%d" % i)
    for settings in ({}, {"clips_subdir": "."}):
        report = small.ingest(**settings).report
        assert (report.rows_out, report.skipped_missing, report.unlabelled_clips) == (60, 0, 0)
        assert found(small) == {f"Video/A{i:03d}.mp4": "" for i in range(60)}


@pytest.mark.parametrize(
    ("clips", "why"),
    [
        (("x/1.mp4", "y/1.mp4"), "1.mp4: 2 clips could be meant"),
        (("1.mov", "1.avi"), "1.mp4: 2 clips could be meant"),
    ],
)
def test_a_clip_is_not_guessed_where_several_could_be_meant(
    clips: tuple[str, ...], why: str, at: Any, caplog: pytest.LogCaptureFixture
) -> None:
    small = at("live-vqc")
    small.drop("manifest.csv", "name,mos\n1,30\n")
    for name in clips:
        small.stage(name, name.encode())
    assert small.ingest().report.skipped_missing == 1
    assert caplog.text.count(why) == 1


def test_a_file_that_two_rows_could_mean_is_neithers(at: Any, caplog: pytest.LogCaptureFixture) -> None:
    small = at("live-vqc")
    small.drop("manifest.csv", "name,mos\na.mov,30\na.avi,70\n")
    small.stage("a.mp4", b"a")
    report = small.ingest().report
    assert (report.skipped_missing, report.unlabelled_clips) == (2, 1)
    assert "a.mp4 could be the clip of 2 rows (a.mov, a.avi); rename it" in caplog.text


def test_a_file_that_another_row_names_is_that_rows(at: Any) -> None:
    small = at("live-vqc")
    small.drop("manifest.csv", "name,mos\na.mov,30\na.mp4,70\n1.mp4,50\nx/1.mp4,60\n")
    small.stage("a.mp4", b"a")
    small.stage("x/1.mp4", b"1")
    report = small.ingest().report
    assert {row["src"]: row["mos"] for row in small.rows()} == {"a.mp4": 70.0, "x/1.mp4": 60.0}
    assert report.skipped_missing == 2


def test_a_row_keeps_the_name_its_clip_had_when_the_clip_is_gone(at: Any) -> None:
    small = at("live-vqc")
    small.drop("manifest.csv", "name,mos\na.mov,30\nb,70\n")
    clip = small.stage("a.mkv", b"a")
    small.stage("b.mp4", b"b")
    small.ingest()
    clip.unlink()
    report = small.ingest().report
    assert (report.retained_unavailable, report.retained_outside, report.unchanged) == (1, 0, 1)
    assert found(small) == {"a.mkv": "a.mov", "b.mp4": ""}


def test_an_earlier_row_that_left_the_score_file_lends_its_clip_to_no_other(at: Any) -> None:
    small = at("live-vqc")
    small.drop("manifest.csv", "name,mos\nx/1.mp4,30\nb,70\n")
    clip = small.stage("x/1.mp4", b"1")
    small.stage("b.mp4", b"b")
    small.ingest()
    clip.unlink()
    small.drop("manifest.csv", "name,mos\n1.mp4,90\nb,70\n")
    report = small.ingest().report
    assert (report.skipped_missing, report.retained_outside) == (1, 1)
    assert {row["src"]: row["mos"] for row in small.rows()} == {"x/1.mp4": 30.0, "b.mp4": 70.0}


@pytest.mark.parametrize(
    ("named", "file"),
    [
        ("A012.mp4", "A012NEW.mp4"),
        ("A012NEW.mp4", "A012.mp4"),
        ("A012.mp4", "a012.mp4"),
        ("walk.mp4", "10008004183_walk.mp4"),
        ("10008004183_walk.mp4", "walk.mp4"),
        ("x/A012.mp4", "y/a012.mkv"),
    ],
)
def test_what_is_only_like_a_clip_is_told_and_never_taken(
    named: str, file: str, at: Any, caplog: pytest.LogCaptureFixture
) -> None:
    small = at("live-vqc")
    small.drop("manifest.csv", f"name,mos\n{named},30\nb,70\n")
    small.stage(file, b"1")
    small.stage("b.mp4", b"b")
    done = small.ingest()
    assert list(found(small)) == ["b.mp4"]
    lines = [json.loads(line) for line in done.layout.losses.read_text().splitlines()]
    assert [(line["counter"], line["src"]) for line in lines] == [
        ("skipped_missing", named),
        ("unlabelled_clips", file),
    ]
    assert lines[0]["reason"] == f"no file, and no URL: {file!r} is there, and only like it"
    assert f"no clip, but files like it: {named} ({file!r} is there, and only like it)" in caplog.text
    assert f"no row names 1 clips that are there: {file}" in caplog.text


@pytest.mark.parametrize("file", ["10.mp4", "A0120.mp4", "other.mp4"])
def test_another_number_is_not_like_a_clip(file: str, at: Any) -> None:
    small = at("live-vqc")
    small.drop("manifest.csv", "name,mos\n1,30\nA012,40\n")
    small.stage(file, b"1")
    assert [loss.reason for loss in small.ingest().report.losses] == ["no file, and no URL"] * 2


class TestEmpty:
    """A run that gave no clip."""

    def test_it_is_an_error_that_shows_names_and_files_and_publishes_nothing(self, at: Any) -> None:
        small = at("live-vqc")
        small.drop("manifest.csv", "".join(f"c{i},{i}.5\n" for i in range(60)))
        for name in ("p.mp4", "q.mp4", "r.mp4", "s.mp4"):
            small.stage(name, name.encode())
        with pytest.raises(IngestError) as caught:
            small.ingest(allow_empty=False)
        assert "none of the 60 usable rows" in caught.value.found
        assert "60 × no file, and no URL" in caught.value.found
        assert "looked for c0.mp4, c1.mp4, c2.mp4; below" in caught.value.found
        assert "lies p.mp4, q.mp4, r.mp4" in caught.value.found
        assert "allow_empty" in caught.value.next_step
        left = {path.name for path in small.folder.iterdir()}
        assert not left & {"live_vqc.jsonl", "live_vqc.losses.jsonl", "live_vqc.manifest.json"}
        assert small.ingest(allow_empty=True).report.rows_out == 0

    @pytest.mark.parametrize("fault", ["missing", "broken", "gone"])
    def test_what_was_there_stands_whatever_became_of_the_clips(self, fault: str, at: Any) -> None:
        small = at("live-vqc")
        small.drop("manifest.csv", "name,url,mos\na,http://h/a,30\nb,http://h/b,70\n")
        clips = [small.stage(f"{name}.mp4", name.encode()) for name in "ab"]
        small.ingest(allow_empty=False)
        before = {path.name: path.read_bytes() for path in small.folder.glob("live_vqc.*")}
        if fault == "missing":
            small.drop("manifest.csv", "name,mos\na,30\nb,71\n")
        for clip in clips:
            clip.write_bytes(b"broken now") if fault == "broken" else clip.unlink()
        with pytest.raises(IngestError, match="none of the 2 usable rows"):
            small.ingest(allow_empty=False)
        assert {path.name: path.read_bytes() for path in small.folder.glob("live_vqc.*")} == before

    def test_rows_that_are_kept_from_before_do_not_change_it(self, at: Any) -> None:
        small = at("live-vqc")
        small.drop("manifest.csv", "name,mos\na,30\nb,70\n")
        small.stage("a.mp4", b"a")
        small.ingest(allow_empty=False)
        (small.folder / "clips").rename(small.folder.parent / "unmounted")
        with pytest.raises(IngestError, match="1 rows have a clip from before: is its disk mounted"):
            small.ingest(allow_empty=False)
        assert small.ingest(allow_empty=True).report.retained_unavailable == 1

    def test_one_clip_is_enough(self, at: Any) -> None:
        small = at("live-vqc")
        small.drop("manifest.csv", "".join(f"c{i},{i}.5\n" for i in range(60)))
        small.stage("c0.mp4", b"0")
        assert small.ingest(allow_empty=False).report.written == 1


FLICKR, LONG = "8536919744", "8536919744_original_centercrop_960x540_8s.mp4"


class TestKonvid1k:
    """Its clips by the names that its own files and those who pass it on give them."""

    @pytest.mark.parametrize("folder", ["KoNViD_1k_videos", "KoNViD_1k_videos/KoNViD_1k_videos", "videos", "clips"])
    @pytest.mark.parametrize(
        ("named", "file"),
        [
            (LONG, f"{FLICKR}.mp4"),
            (LONG.replace("_", " _", 1), f"{FLICKR}.mp4"),
            (f"{FLICKR}.mp4", LONG),
            (FLICKR, LONG.replace("_", " _", 1)),
            (LONG, LONG.replace("_", " _", 1)),
            (LONG.replace("_", " _", 1), LONG),
        ],
    )
    def test_a_file_name_alone_is_enough(self, named: str, file: str, folder: str, at: Any) -> None:
        small = at("konvid-1k")
        small.drop("KoNViD_1k_metadata/KoNViD_1k_attributes.csv", f"file_name,MOS\n{named},3.2\n4_original.mp4,2\n")
        small.drop(f"{folder}/{file}", b"1")
        small.drop(f"{folder}/4.mp4", b"4")
        assert small.ingest().report.written == 2
        inside = "KoNViD_1k_videos/" if folder.count("/") else ""
        assert found(small) == {inside + file: named, f"{inside}4.mp4": "4_original.mp4"}

    @pytest.mark.parametrize(
        "file",
        [
            "KoNViD_1k_metadata/KoNViD_1k_mos.csv",
            "KoNViD_1k_metadata/scores of 2017.csv",
            "KoNViD_1k_metadata/KoNViD_1k_metadata/KoNViD_1k_attributes.csv",
            "metadata/MOS.CSV",
            "KoNViD_1k_mos.csv",
        ],
    )
    def test_a_lone_table_is_its_score_file(self, file: str, at: Any) -> None:
        small = at("konvid-1k")
        small.drop(file, f"flickr_id,MOS\n{FLICKR},3.2\n")
        small.drop("KoNViD_1k_metadata/._KoNViD_1k_attributes.csv", b"\0")
        small.drop(f"KoNViD_1k_videos/{FLICKR}.mp4", b"1")
        assert small.ingest().layout.annotation_files == (small.folder / file,)

    def test_of_two_tables_the_one_with_scores_in_its_name_is_taken_else_none(self, at: Any) -> None:
        small = at("konvid-1k")
        small.drop(f"KoNViD_1k_videos/{FLICKR}.mp4", b"1")
        small.drop("KoNViD_1k_metadata/a.csv", "flickr_id,MOS\n1,3.2\n")
        small.drop("KoNViD_1k_metadata/b.csv", "flickr_id,MOS\n1,3.2\n")
        with pytest.raises(Exception, match="no annotation file"):
            small.ingest()
        small.drop("KoNViD_1k_metadata/KoNViD_1k_mos.csv", f"flickr_id,MOS\n{FLICKR},3.2\n")
        assert small.ingest().report.written == 1
