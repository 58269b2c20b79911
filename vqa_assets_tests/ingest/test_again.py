"""What stands from an earlier run: rows of an older JSONL, rows outside this run, clips under another name."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from vqa_assets.corpora import CORPORA
from vqa_assets.errors import AnnotationError, IngestError, ScaleError, SchemaError, SettingsError
from vqa_assets.tables.paths import DataRoot
from vqa_assets_tests.shared.fakes import SmallCorpus


@pytest.fixture
def at(root_path: Path) -> Any:
    return lambda name: SmallCorpus(DataRoot(root_path), corpus=CORPORA[name])


def staged(small: SmallCorpus, count: int) -> SmallCorpus:
    for i in range(count):
        small.stage(f"c{i}.mp4", f"clip {i}".encode())
    small.annotate([(f"c{i}.mp4", "", 3 + i / 10, "", "") for i in range(count)])
    return small


def rewritten(small: SmallCorpus, **changes: Any) -> None:
    """The JSONL as an older version may have left it; a field of ``...`` goes."""
    rows = [{k: v for k, v in {**row, **changes}.items() if v is not ...} for row in small.rows()]
    small.root.corpus_jsonl(small.corpus).write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_rows_of_an_older_jsonl_without_a_scale_are_given_theirs_and_keep_the_time_they_were_made(at: Any) -> None:
    small = staged(at("lsvq"), 8)
    small.ingest()
    rewritten(small, mos_scale=..., ingested_at_utc="2020-01-01T00:00:00+00:00")
    report = small.ingest(max_rows=3).report
    assert (report.relabelled, report.retained_outside, report.rows_out) == (3, 5, 8)
    assert {row["mos_scale"] for row in small.rows()} == {"1-5-acr"}
    assert {row["ingested_at_utc"] for row in small.rows()} == {"2020-01-01T00:00:00+00:00"}
    assert small.ingest(max_rows=3).report.unchanged == 3


LABELS_OF_OLDER_ROWS: tuple[tuple[dict[str, Any], bool], ...] = (
    ({}, True),
    ({"mos_scale": ...}, True),
    ({"mos_scale": ..., "corpus_version": ...}, True),
    ({"mos": 4.5}, False),
    ({"mos_std_dev": 0.25, "mos_scale": ...}, False),
    ({"n_ratings": 3}, False),
    ({"split": "train"}, False),
)


@pytest.mark.parametrize(
    ("older", "stays", "available"),
    [
        *((label, stays, available) for label, stays in LABELS_OF_OLDER_ROWS for available in (True, False)),
        # of a clip that is gone the earlier row is all that is known
        ({"framerate": 25.0000004}, True, True),
        ({"pix_fmt": "yuv444p"}, False, True),
        ({"framerate": 24.0}, False, True),
        ({"src_size_bytes": 1}, False, True),
    ],
)
def test_a_row_keeps_its_time_where_clip_and_label_stand_and_gains_what_is_new(
    at: Any, older: dict[str, Any], stays: bool, available: bool
) -> None:
    small = staged(at("lsvq"), 1)
    small.ingest()
    today = {name: value for name, value in small.rows()[0].items() if name != "ingested_at_utc"}
    rewritten(small, ingested_at_utc="2020-01-01T00:00:00+00:00", **older)
    before = small.rows()[0]
    if not available:
        (small.folder / "clips" / "c0.mp4").unlink()
    small.ingest()
    (row,) = small.rows()
    assert (row["ingested_at_utc"][:4] == "2020") is stays
    assert {**row, "framerate": 0} == {**today, "framerate": 0, "ingested_at_utc": row["ingested_at_utc"]}
    assert row["framerate"] == (before if stays else today)["framerate"]
    lines = small.lines()
    small.ingest()
    assert small.lines() == lines


@pytest.mark.parametrize("there", [True, False], ids=["clips there", "clips gone"])
@pytest.mark.parametrize("cut", [0, 30, -9], ids=["to nothing", "before its name", "at its end"])
def test_of_a_torn_jsonl_whole_lines_stay_and_the_others_are_made_from_cache_and_clips(
    at: Any, there: bool, cut: int, caplog: pytest.LogCaptureFixture
) -> None:
    small = staged(at("lsvq"), 4)
    small.ingest(max_rows=3)
    small.ingest(max_rows=2)  # the third row is outside the run from now on, and the fourth never had one
    before, path = small.lines(), small.root.corpus_jsonl(small.corpus)
    path.write_text("\n".join([before[0], before[1][:cut]]))
    if not there:
        small.folder.joinpath("clips").rename(small.root.path.parent / "elsewhere")
    report = small.ingest(max_rows=2).report
    assert (report.unchanged, report.written) == ((1, 1) if there else (0, 0))
    assert (report.retained_unavailable, report.retained_outside, report.read_clips) == (0 if there else 2, 1, 0)
    assert (report.damaged_rows, report.rebuilt_rows, report.lost_rows) == (2, 2, 0)
    assert [without_time(line) for line in small.lines()] == [without_time(line) for line in before]
    assert small.lines()[0] == before[0]
    assert "whole rows stay, the others are made again" in caplog.text
    assert "of 2 damaged rows 2 are made again and 0 are lost" in caplog.text
    assert small.ingest(max_rows=2).report.damaged_rows == 0


def test_what_neither_cache_nor_clip_has_is_told_as_lost(at: Any, caplog: pytest.LogCaptureFixture) -> None:
    small = staged(at("lsvq"), 3)
    small.ingest()
    before, path = small.lines(), small.root.corpus_jsonl(small.corpus)
    path.write_text("\n".join([before[0], before[1][:-9], before[2][:-9]]))
    (small.folder / "clips" / "c1.mp4").unlink()
    (small.folder / ".ingest-cache.sqlite").unlink()
    ingested = small.ingest()
    report = ingested.report
    assert (report.damaged_rows, report.rebuilt_rows, report.lost_rows) == (2, 1, 1)
    assert [row["src"] for row in small.rows()] == ["c0.mp4", "c2.mp4"]
    (lost,) = ingested.manifest["lost_to_damage"]
    assert (lost["src"], lost["line"], lost["counter"]) == ("c1.mp4", 2, "lost_rows")
    assert lost["reason"].startswith("its line 2 is damaged (not JSON")
    assert "of 2 damaged rows 1 are made again and 1 are lost; c1.mp4: its line 2 is damaged" in caplog.text
    assert lost in [json.loads(line) for line in (small.folder / "lsvq.losses.jsonl").read_text().splitlines()]


def test_a_row_of_other_values_is_made_again_and_a_row_that_never_was_is_not(at: Any) -> None:
    small = staged(at("lsvq"), 4)
    small.ingest()
    (small.folder / "clips" / "c3.mp4").unlink()
    small.ingest(prune=True)  # of this clip the cache still knows, and its row is gone on purpose
    before, path = small.lines(), small.root.corpus_jsonl(small.corpus)
    changed = [
        before[0].replace('"width":', '"widtx":'),
        before[1].replace('"src_sha256":"', '"src_sha256":"_'),
        before[2],
    ]
    path.write_text("\n".join(changed) + "\n")
    small.folder.joinpath("clips").rename(small.root.path.parent / "elsewhere")
    report = small.ingest().report
    assert (report.retained_unavailable, report.rebuilt_rows, report.lost_rows) == (3, 2, 0)
    assert [without_time(line) for line in small.lines()] == [without_time(line) for line in before]


def test_numbers_of_a_clip_that_is_gone_are_the_caches_where_the_file_changed(
    at: Any, caplog: pytest.LogCaptureFixture
) -> None:
    small = staged(at("lsvq"), 2)
    small.ingest()
    before = small.lines()
    small.folder.joinpath("clips").rename(small.root.path.parent / "elsewhere")
    rewritten(small, width=77, mos=1.25)
    small.ingest()
    assert [without_time(line) for line in small.lines()] == [without_time(line) for line in before]
    assert "it is not the file that its replay manifest names: changed since" in caplog.text


def test_a_file_that_no_ingest_wrote_is_never_taken_for_a_damaged_one(at: Any) -> None:
    for content in ('{"src": "a.mp4", "src_sha', '{"other": 1}\n', "version https://git-lfs.github.com/spec/v1\n"):
        small = staged(at("lsvq"), 1)
        path = small.drop("lsvq.jsonl", content)
        with pytest.raises((IngestError, SchemaError), match=r"lsvq\.jsonl:1: "):
            small.ingest()
        assert path.read_text() == content


def without_time(line: str) -> dict[str, Any]:
    return {name: value for name, value in json.loads(line).items() if name != "ingested_at_utc"}


def test_a_run_that_changed_nothing_does_not_say_that_it_wrote(at: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="vqa_assets.ingest")
    small = staged(at("lsvq"), 3)
    small.ingest()
    assert "[lsvq-jsonl] wrote 3 rows, skipped 0 (download-failed)" in caplog.text
    caplog.clear()
    small.ingest()
    assert "[lsvq-jsonl] kept all 3 rows, skipped 0 (download-failed)" in caplog.text
    assert "wrote" not in caplog.text


def test_the_scale_of_older_rows_is_the_one_that_rows_are_stored_on(at: Any) -> None:
    chug = at("chug")
    chug.drop("manifest.csv", "Video,mos_j,sos_j\n" + "".join(f"c{i},{40 + i},5\n" for i in range(4)))
    for i in range(4):
        chug.stage(f"c{i}.mp4", f"clip {i}".encode())
    chug.ingest()
    rewritten(chug, mos_scale=...)
    chug.ingest(max_rows=1)
    assert {row["mos_scale"] for row in chug.rows()} == {"1-5-acr"}


def test_older_rows_on_no_scale_are_told(at: Any) -> None:
    small = staged(at("lsvq"), 3)
    small.ingest()
    rewritten(small, mos_scale=..., mos=1000)
    before = small.lines()
    with pytest.raises(
        ScaleError, match=r"lsvq: the earlier rows, which tell no scale: 3 scores \(quantiles 0% 1000, "
    ):
        small.ingest(max_rows=1)
    assert small.lines() == before


def test_older_rows_that_name_no_scale_are_on_the_one_that_is_set(at: Any) -> None:
    small = staged(at("lsvq"), 3)
    small.ingest()
    rewritten(small, mos_scale=..., mos=60)
    small.ingest(max_rows=1, mos_scale="0-100-continuous")
    assert {row["mos_scale"] for row in small.rows()} == {"0-100-continuous"}


def test_a_row_that_is_good_outside_the_run_only_stays(at: Any) -> None:
    small = staged(at("lsvq"), 30)
    small.annotate(
        [
            ("c0.mp4", "", "NaN", "", ""),
            *((f"c{i}.mp4", "", 3, "", "") for i in range(1, 30)),
            ("c0.mp4", "", 4, "", ""),
        ]
    )
    assert small.ingest(full=True).report.rows_out == 30
    before = small.lines()
    report = small.ingest(max_rows=5).report
    assert (report.withdrawn, report.skipped_bad_row, report.retained_outside, report.rows_out) == ([], 1, 26, 30)
    assert small.lines() == before


def test_a_bad_row_takes_its_earlier_row_away_though_its_clip_has_another_name(at: Any) -> None:
    konvid, youtube = at("konvid-1k"), at("youtube-ugc")
    konvid.drop("manifest.csv", "flickr_id,file_name,MOS\n" + "".join(f"{i}015,v{i}.mp4,3\n" for i in range(1, 31)))
    youtube.drop("manifest.csv", "vid,MOSFull\n" + "".join(f"v{i},3\n" for i in range(1, 31)))
    for i in range(1, 31):
        konvid.stage(f"{i}015.mp4", b"%d" % i)
        youtube.stage(f"v{i}_crf10.mp4", b"%d" % i)
    for small, name in ((konvid, "1015.mp4"), (youtube, "v1_crf10.mp4")):
        assert small.ingest().report.written == 30
        annotation = small.folder / "manifest.csv"
        annotation.write_text(annotation.read_text().replace(",3\n", ",NaN\n", 1))
        report = small.ingest().report
        assert (report.withdrawn, report.skipped_bad_row, report.unlabelled_clips) == ([name], 1, 0)
        assert name not in {row["src"] for row in small.rows()}


def test_a_name_that_leaves_the_folder_is_looked_for_nowhere_and_stops_nothing(at: Any) -> None:
    small = at("konvid-1k")
    lines = "".join(f"{i}015,v{i}.mp4,3\n" for i in range(60))
    small.drop("manifest.csv", f"flickr_id,file_name,MOS\n7,a\0.mp4,3\n8,../v1.mp4,3\n{lines}")
    small.stage("v1.mp4", b"1")
    report = small.ingest().report
    assert (report.written, report.skipped_bad_row, report.unlabelled_clips) == (1, 2, 0)


def test_rows_of_one_name_and_two_scores_take_its_earlier_row_away_under_its_other_name(at: Any) -> None:
    small = at("konvid-1k")
    lines = [f"{i}015,v{i}.mp4,3\n" for i in range(60)]
    small.drop("manifest.csv", "flickr_id,file_name,MOS\n" + "".join(lines))
    small.stage("0015.mp4", b"0")
    small.stage("1015.mp4", b"1")
    small.ingest()
    small.drop("manifest.csv", "flickr_id,file_name,MOS\n" + "".join(lines) + "0015,v0.mp4,4\n")
    assert small.ingest().report.withdrawn == ["0015.mp4"]
    assert [row["src"] for row in small.rows()] == ["1015.mp4"]


@pytest.mark.parametrize("vids", [("Vlog_1,1.5", "Vlog_1_b,4.5"), ("Vlog_1_b,4.5", "Vlog_1,1.5")])
def test_a_clip_is_of_the_row_that_says_most_of_its_name(at: Any, vids: tuple[str, ...]) -> None:
    small = at("youtube-ugc")
    small.drop("manifest.csv", "\n".join(("vid,MOSFull", *vids, "")))
    small.stage("Vlog_1_b_crf10.mp4", b"b")
    small.ingest()
    assert [(row["src"], row["mos"]) for row in small.rows()] == [("Vlog_1_b_crf10.mp4", 4.5)]
    small.stage("Vlog_1_crf10.mp4", b"a")
    small.ingest()
    assert {row["src"]: row["mos"] for row in small.rows()} == {"Vlog_1_b_crf10.mp4": 4.5, "Vlog_1_crf10.mp4": 1.5}


@pytest.mark.parametrize("gone", [["Vlog_1.mp4"], ["Vlog_1.mp4", "Vlog_1_b.mp4"]])
def test_a_clip_that_left_the_annotation_keeps_its_score_though_another_name_begins_its_own(
    at: Any, gone: list[str]
) -> None:
    small = at("youtube-ugc")
    small.drop("manifest.csv", "vid,MOSFull\nVlog_1,1.5\nVlog_1_b,4.5\n")
    clips = {name: small.stage(name, name.encode()) for name in ("Vlog_1.mp4", "Vlog_1_b.mp4")}
    small.ingest()
    for name in gone:
        clips[name].unlink()
    small.drop("manifest.csv", "vid,MOSFull\nVlog_1,1.5\n")
    small.ingest()
    assert {row["src"]: row["mos"] for row in small.rows()} == {"Vlog_1.mp4": 1.5, "Vlog_1_b.mp4": 4.5}


def test_a_new_score_of_a_clip_that_only_a_beginning_ties_to_its_row_is_taken_and_told(
    at: Any, caplog: pytest.LogCaptureFixture
) -> None:
    small = at("youtube-ugc")
    small.drop("manifest.csv", "vid,MOSFull\nGaming_720P-25aa,3.2\n")
    small.stage("Gaming_720P-25aa_crf_10.mp4", b"a")
    small.ingest()
    assert "another score" not in caplog.text
    small.drop("manifest.csv", "vid,MOSFull\nGaming_720P-25aa,3.5\n")
    assert small.ingest().report.relabelled == 1
    assert "1 clips are known by the beginning of their names and had another score (Gaming_720P-25aa_" in caplog.text


def test_a_file_name_that_is_no_text_is_passed_over(at: Any) -> None:
    small = at("youtube-ugc")
    small.drop("manifest.csv", "vid,MOSFull\nA,1.5\nB,2\n")
    small.stage("B_crf10.mp4", b"b")
    small.stage(os.fsdecode(b"A_\xff.mp4"), b"a")
    report = small.ingest().report
    assert (report.written, [row["src"] for row in small.rows()]) == (1, ["B_crf10.mp4"])


@pytest.mark.parametrize("pointer", [None, b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n"])
def test_a_pointer_or_a_dangling_link_hides_no_clip_in_the_next_folder(at: Any, pointer: bytes | None) -> None:
    small = at("konvid-1k")
    small.drop("manifest.csv", "flickr_id,file_name,MOS\n3015,a.mp4,3.2\n3016,b.mp4,2.5\n3017,c.mp4,2.5\n")
    for name in ("a.mp4", "3016.mp4"):
        small.drop(f"KoNViD_1k_videos/{name}", name.encode())
    (small.folder / "clips").mkdir()
    for name in ("a.mp4", "b.mp4", "c.mp4"):
        path = small.folder / "clips" / name
        path.symlink_to("nowhere.mp4") if pointer is None else path.write_bytes(pointer)
    report = small.ingest().report
    assert [row["src"] for row in small.rows()] == ["a.mp4", "3016.mp4"]
    assert ("a dangling link" if pointer is None else "a Git-LFS pointer") in report.losses[0].reason
    report = small.ingest().report
    assert (report.unchanged, report.read_clips) == (2, 0)


def test_rows_outside_the_annotation_sort_last_though_it_repeats_names(at: Any) -> None:
    small = at("lsvq")
    for name in ("a", "b", "z"):
        small.stage(f"{name}.mp4", name.encode())
    small.drop("manifest.csv", "name,mos\na,3\nb,3\nz,3\n")
    small.ingest()
    small.drop("manifest.csv", "name,mos\nb,3\nb,3\nb,3\nz,3\n")
    small.ingest()
    assert [row["src"] for row in small.rows()] == ["b.mp4", "z.mp4", "a.mp4"]


def test_a_clip_that_is_gone_keeps_the_name_it_had_on_disk(at: Any) -> None:
    small = at("konvid-1k")
    small.drop("manifest.csv", "flickr_id,file_name,MOS\n3015,a.mp4,3.2\n3016,b.mp4,2.5\n")
    clip = small.stage("3015.mp4", b"a")
    small.stage("b.mp4", b"b")
    small.ingest()
    clip.unlink()
    small.drop("manifest.csv", "flickr_id,file_name,MOS\n3015,a.mp4,4.4\n3016,b.mp4,2.5\n")
    report = small.ingest().report
    assert (report.retained_unavailable, report.unchanged, report.skipped_missing, report.retained_outside) == (
        1,
        1,
        0,
        0,
    )
    assert [(row["src"], row["mos"]) for row in small.rows()] == [("3015.mp4", 4.4), ("b.mp4", 2.5)]


def test_a_name_of_which_only_the_beginning_is_known_is_kept_too(at: Any) -> None:
    small = at("youtube-ugc")
    small.drop("manifest.csv", "vid,MOSFull,url\nGaming_720P-25aa,3.2,http://x/a\n")
    clip = small.stage("Gaming_720P-25aa_crf_10.mp4", b"a")
    small.ingest()
    assert [row["src"] for row in small.rows()] == ["Gaming_720P-25aa_crf_10.mp4"]
    clip.unlink()
    small.downloader.bodies["http://x/a"] = b"a"
    report = small.ingest().report
    assert (report.unchanged, report.retained_outside, len(small.rows())) == (1, 0, 1)


def test_a_clip_that_is_gone_takes_all_of_its_new_label(at: Any) -> None:
    small = at("lsvq")
    small.drop("manifest.csv", "name,mos,split\na.mp4,3,train\nb.mp4,4,test\n")
    clip = small.stage("a.mp4", b"a")
    small.stage("b.mp4", b"b")
    small.ingest()
    clip.unlink()
    small.drop("manifest.csv", "name,mos\na.mp4,3\nb.mp4,4\n")
    assert small.ingest().report.retained_unavailable == 1
    assert ["split" in row for row in small.rows()] == [False, False]
    assert small.rows()[0]["pix_fmt"] == small.rows()[1]["pix_fmt"]


def test_a_second_score_makes_a_name_bad_though_it_is_on_no_scale(at: Any) -> None:
    small = at("konvid-150k")
    small.stage("c1.mp4", b"c1")
    small.annotate([*((f"c{i}.mp4", "", 3, "", "") for i in range(200)), ("c0.mp4", "", 9, "", "")])
    losses = small.ingest().report.losses
    bad = [loss.reason for loss in losses if loss.counter == "skipped_bad_row"]
    assert bad == ["conflicting scores: c0.mp4 has [3.0, 9.0]"] * 2


@pytest.mark.parametrize(
    ("corpus", "content", "right"),
    [
        ("konvid-150k", "flickr_id,mos\n1,3\n", "belongs to konvid-1k"),
        ("konvid-1k", "video_name,video_score\na,3\n", "belong to konvid-150k"),
    ],
)
def test_the_right_corpus_is_named_where_the_columns_are_of_another(
    at: Any, corpus: str, content: str, right: str
) -> None:
    small = at(corpus)
    small.drop("manifest.csv", content)
    with pytest.raises(AnnotationError, match=right):
        small.ingest()


def test_a_bound_of_your_own_counts_for_a_part_too(at: Any) -> None:
    small = at("konvid-150k")
    small.drop("k150kb_scores.csv", "video_name,mos,video_score\n" + "".join(f"c{i},3,1\n" for i in range(1500)))
    with pytest.raises(AnnotationError, match="1500 rows, expected at least 2000"):
        small.ingest(min_rows=2000)


def test_numbers_beyond_all_counting_are_no_counts(at: Any) -> None:
    small = at("chug")
    small.drop("manifest.csv", "Video,mos_j,sos_j,n,height\na,40,5,1e20,1e30\n")
    small.stage("a.mp4", b"a")
    small.ingest()
    (row,) = small.rows()
    assert row["n_ratings"] == 0
    assert row["chug_height_manifest"] == 1e30


def test_only_clips_are_unlabelled_clips_however_their_names_are_spelled(at: Any) -> None:
    small = at("lsvq")
    for name in ("a.mp4", "x/b.mp4", "c.mp4", "README.txt"):
        small.stage(name, name.encode())
    small.drop("manifest.csv", "name,mos\n./a.mp4,3\nx//b.mp4,4\n")
    report = small.ingest().report
    assert (report.written, report.unlabelled_clips) == (2, 1)


def test_a_progress_file_may_lie_in_a_folder_to_come(at: Any, tmp_path: Path) -> None:
    small = staged(at("lsvq"), 2)
    small.ingest(progress_path=str(tmp_path / "new" / "p.json"))
    assert set(json.loads((tmp_path / "new" / "p.json").read_text())) == {"c0.mp4", "c1.mp4"}


def test_a_whole_frame_rate_is_a_number_like_any_other(root_path: Path) -> None:
    corpus = CORPORA["waterloo-ivc-4k"].but(name="raw")
    small = SmallCorpus(DataRoot(root_path), corpus=corpus)
    small.drop("ingest.toml", "[raw_video]\nwidth = 16\nheight = 16\nframerate = 25\n")
    small.drop("manifest.csv", "name,mos\na.yuv,40\n")
    small.stage("a.yuv", bytes(16 * 16 * 3 // 2))
    small.ingest()
    assert '"framerate":25.0' in small.lines()[0].replace(" ", "")


def test_two_spellings_of_one_name_are_one_clip(at: Any) -> None:
    small = at("lsvq")
    small.stage("d/b.mp4", b"b")
    small.stage("c.mp4", b"c")
    rows = "".join(f"e{i},3\n" for i in range(60))
    small.drop("manifest.csv", f"name,mos\nd/b.mp4,3\nd//b.mp4,3\n./c.mp4,3\nc.mp4,4\n{rows}")
    report = small.ingest().report
    assert (report.duplicate_labels, report.skipped_bad_row) == (1, 2)
    assert [row["src"] for row in small.rows()] == ["d/b.mp4"]


def test_without_a_header_a_decimal_comma_is_no_separator(at: Any) -> None:
    small = at("live-vqc")
    for name in ("A001.mp4", "A002.mp4"):
        small.stage(name, name.encode())
    small.drop("manifest.csv", "A001.mp4;63,52\nA002.mp4;71,2\n")
    small.ingest()
    assert [(row["src"], row["mos"]) for row in small.rows()] == [("A001.mp4", 63.52), ("A002.mp4", 71.2)]


@pytest.mark.parametrize("name", [".download-progress.json", "lsvq.jsonl", "lsvq.losses.jsonl", "lsvq.manifest.json"])
def test_a_folder_where_a_file_belongs_is_told(at: Any, name: str) -> None:
    small = staged(at("lsvq"), 2)
    (small.folder / name).mkdir()
    with pytest.raises(IngestError, match=f"{name}: is a directory, .* move away what stands there"):
        small.ingest()


def test_a_file_where_the_clips_belong_is_told(at: Any) -> None:
    small = at("lsvq")
    small.annotate([("a.mp4", "", 3, "", "")])
    (small.folder / "clips").write_text("?")
    with pytest.raises(IngestError, match=r"clips: (file exists|not a directory), .* move away what stands there"):
        small.ingest()


@pytest.mark.parametrize("name", ["lsvq.losses.jsonl", "lsvq.manifest.json"])
def test_the_earlier_output_stands_where_a_folder_is_in_its_sidecars_place(at: Any, name: str) -> None:
    small = staged(at("lsvq"), 2)
    small.ingest()
    before = small.lines()
    (small.folder / name).unlink()
    (small.folder / name).mkdir()
    small.annotate([("c0.mp4", "", 2, "", ""), ("c1.mp4", "", 4, "", "")])
    with pytest.raises(IngestError, match=f"/{name}: is a directory"):
        small.ingest()
    assert small.lines() == before
    assert not list(small.folder.glob("*.tmp"))


def test_a_spread_beyond_all_measure_stops_no_ingest(at: Any) -> None:
    small = at("konvid-150k")
    small.stage("a.mp4", b"a")
    small.annotate([("a.mp4", "", 3, "1e200", 9), ("b.mp4", "", 3, "1e308", 2), ("c.mp4", "", 3, "1e308", 2)])
    labels = small.ingest().manifest["labels"]
    assert (labels["sos_parameter"], labels["mean_ci95"]) == (None, None)
    assert small.rows()[0]["mos_std_dev"] == 1e200


@pytest.mark.parametrize(
    ("settings", "two"),
    [
        ({"manifest_out": "manifest.csv"}, "the annotation file and manifest_out"),
        ({"output": "manifest.csv"}, "the annotation file and output"),
        ({"output": "link/../manifest.csv"}, "the annotation file and output"),
        ({"output": "x.jsonl", "manifest_out": "x.jsonl"}, "output and manifest_out"),
        ({"output": "x.jsonl", "manifest_out": "x.losses.jsonl"}, "manifest_out and the file of losses"),
        ({"progress_path": "manifest.csv"}, "the annotation file and progress_path"),
        ({"manifest_out": ".ingest-cache.sqlite"}, "manifest_out and the ingest cache"),
    ],
)
def test_two_files_on_one_path_are_refused_and_nothing_is_overwritten(
    at: Any, settings: dict[str, str], two: str
) -> None:
    small = staged(at("lsvq"), 2)
    (small.folder / "link").symlink_to(small.folder / "clips")
    scores = (small.folder / "manifest.csv").read_bytes()
    with pytest.raises(SettingsError, match=f"lsvq: {two}"):
        small.ingest(**{name: str(small.folder / path) for name, path in settings.items()})
    assert (small.folder / "manifest.csv").read_bytes() == scores
