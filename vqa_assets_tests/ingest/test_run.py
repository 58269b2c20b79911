"""The ingest loop: clip states, counters, re-ingest, and what a run leaves behind. Faults come from public fakes."""

import json
import os
from pathlib import Path

import pytest

from vqa_assets.clips.geometry import Geometry
from vqa_assets.corpora import CORPORA
from vqa_assets.errors import AnnotationError, DownloadError, IngestError, LockedError, ServerGoneError, SettingsError
from vqa_assets.ingest.rows import KEPT, LOST, IngestReport
from vqa_assets.tables.lock import corpus_lock
from vqa_assets_tests.shared.fakes import KONVID, FakeDownloader, FakeProber, SmallCorpus


def url(name: str) -> str:
    return f"http://127.0.0.1/{name}"


def fetched_corpus(corpus: SmallCorpus, count: int = 4) -> SmallCorpus:
    """``count`` clips that the fake downloader serves, ingested once."""
    names = [f"{i:04d}.mp4" for i in range(count)]
    corpus.downloader = FakeDownloader({url(n): f"bytes of {n}".encode() for n in names})
    corpus.annotate([(n, url(n), 2.0 + i / 10, 0.5, 7) for i, n in enumerate(names)])
    corpus.ingest()
    return corpus


def test_a_row_holds_the_annotation_and_what_was_measured(corpus: SmallCorpus) -> None:
    corpus.annotate([("0001", "", 3.42, 0.51, 7)])
    corpus.stage("0001.mp4", b"abc")
    corpus.ingest()
    (row,) = corpus.rows()
    stamp = row.pop("ingested_at_utc")
    assert stamp.endswith("+00:00")
    assert len(stamp) == 25
    assert row == {
        "src": "0001.mp4",
        "src_sha256": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        "src_size_bytes": 3,
        "width": 640,
        "height": 360,
        "framerate": 25.0,
        "duration_s": 1.5,
        "pix_fmt": "yuv420p",
        "encoder_upstream": "h264",
        "mos": 3.42,
        "mos_scale": "1-5-acr",
        "mos_std_dev": 0.51,
        "n_ratings": 7,
        "corpus": "konvid-150k",
        "corpus_version": "konvid-150k-2019",
    }


def test_rows_stand_in_manifest_order_with_sorted_keys(corpus: SmallCorpus) -> None:
    corpus.annotate([(f"{name}.mp4", "", 3, "", "") for name in "zayb"])
    for name in "zayb":
        corpus.stage(f"{name}.mp4", name.encode())
    corpus.ingest(workers=4)
    assert [row["src"] for row in corpus.rows()] == ["z.mp4", "a.mp4", "y.mp4", "b.mp4"]
    assert all(list(json.loads(line)) == sorted(json.loads(line)) for line in corpus.lines())


def test_every_loss_is_counted_once_with_its_reason(corpus: SmallCorpus) -> None:
    corpus.downloader = FakeDownloader({url("slow.mp4"): DownloadError("curl-rc=28: timed out", permanent=False)})
    good = [(f"g{i}.mp4", "", 3, 0.5, 5) for i in range(40)]
    for name, *_ in good:
        corpus.stage(str(name), str(name).encode())
    corpus.stage("twin.mp4", b"g0.mp4")
    corpus.stage("torn.mp4", b"broken")
    faults = [
        ("gone.mp4", url("gone.mp4"), 3, 0.5, 5),
        ("slow.mp4", url("slow.mp4"), 3, 0.5, 5),
        ("nowhere.mp4", "", 3, 0.5, 5),
        ("torn.mp4", "", 3, 0.5, 5),
        ("twin.mp4", "", 3, 0.5, 5),
        ("g1.mp4", "", 3, 0.5, 5),
        ("unscored.mp4", "", "n/a", 0.5, 5),
    ]
    corpus.annotate([*good, *faults])
    report = corpus.ingest().report
    expected = {"rows_in": 47, "rows_out": 40, "written": 40, "skipped_download": 2, "skipped_missing": 1}
    expected |= {"skipped_broken": 1, "dedups": 1, "duplicate_labels": 1, "skipped_bad_row": 1}
    assert {name: report.counters()[name] for name in expected} == expected
    assert report.attrition == pytest.approx(2 / 47)
    reasons = {loss.src: loss.reason for loss in report.losses}
    assert reasons["gone.mp4"] == "curl-rc=22: HTTP 404 Not Found"
    assert reasons["twin.mp4"] == "the same bytes as g0.mp4"
    assert reasons["unscored.mp4"] == "no usable MOS: 'n/a'"
    assert "skipped 2 (download-failed), 1 (broken-clip), 1 dedups -> x" in report.summary("konvid-150k", "x")


def test_only_answers_that_will_not_change_are_marked_failed(corpus: SmallCorpus) -> None:
    corpus.stage("here.mp4", b"here")
    corpus.downloader = FakeDownloader({url("slow.mp4"): DownloadError("curl-rc=28: timed out", permanent=False)})
    rows = [
        ("here.mp4", "", 3, "", ""),
        ("gone.mp4", url("gone.mp4"), 3, "", ""),
        ("slow.mp4", url("slow.mp4"), 3, "", ""),
    ]
    corpus.annotate(rows)
    corpus.ingest()
    assert corpus.progress() == {
        "gone.mp4": {
            "state": "failed",
            "reason": "curl-rc=22: HTTP 404 Not Found",
            "address": "http://127.0.0.1/gone.mp4",
        },
        "here.mp4": {"state": "done"},
    }


def test_a_second_run_fetches_reads_and_changes_nothing(corpus: SmallCorpus) -> None:
    fetched_corpus(corpus)
    before, modified = corpus.lines(), corpus.root.corpus_jsonl(KONVID).stat().st_mtime_ns
    corpus.prober, corpus.downloader = FakeProber(), FakeDownloader()
    report = corpus.ingest().report
    assert (report.unchanged, report.read_clips, sum(corpus.downloader.fetched.values())) == (4, 0, 0)
    assert not corpus.prober.probed
    assert corpus.lines() == before
    assert corpus.root.corpus_jsonl(KONVID).stat().st_mtime_ns == modified


def test_a_failed_clip_is_skipped_until_retry_failed_or_its_entry_is_gone(corpus: SmallCorpus) -> None:
    corpus.stage("here.mp4", b"here")
    corpus.annotate([("here.mp4", "", 3, "", ""), ("x.mp4", url("x.mp4"), 3, "", "")])
    corpus.ingest()
    corpus.downloader = FakeDownloader({url("x.mp4"): b"now it is there"})
    assert corpus.ingest().report.skipped_download == 1
    assert not corpus.downloader.fetched
    assert corpus.ingest(retry_failed=True).report.written == 1
    assert corpus.progress()["x.mp4"] == {"state": "done"}


def test_a_done_clip_that_vanished_is_fetched_again(corpus: SmallCorpus) -> None:
    fetched_corpus(corpus)
    (corpus.folder / "clips" / "0002.mp4").unlink()
    corpus.downloader.fetched.clear()
    assert corpus.ingest().report.unchanged == 4
    assert dict(corpus.downloader.fetched) == {url("0002.mp4"): 1}


def test_new_bytes_are_written_and_a_new_score_is_relabelled(corpus: SmallCorpus) -> None:
    corpus.annotate([("a.mp4", "", 3, "", ""), ("b.mp4", "", 3, "", ""), ("c.mp4", "", 3, "", "")])
    for name in "abc":
        corpus.stage(f"{name}.mp4", name.encode())
    corpus.ingest()
    before = corpus.lines()
    corpus.stage("a.mp4", b"other bytes")
    corpus.annotate([("a.mp4", "", 3, "", ""), ("b.mp4", "", 4, "", ""), ("c.mp4", "", 3, "", "")])
    report = corpus.ingest().report
    assert (report.written, report.relabelled, report.unchanged) == (1, 1, 1)
    assert corpus.lines()[2] == before[2]


def test_a_row_that_turns_bad_or_breaks_is_withdrawn(corpus: SmallCorpus) -> None:
    rows = [(f"{i}.mp4", "", 3, "", "") for i in range(30)]
    for name, *_ in rows:
        corpus.stage(name, name.encode())
    corpus.annotate(rows)
    corpus.ingest()
    corpus.stage("0.mp4", b"broken now")
    corpus.annotate([rows[0], ("1.mp4", "", "NaN", "", ""), *rows[2:]])
    report = corpus.ingest().report
    assert sorted(report.withdrawn) == ["0.mp4", "1.mp4"]
    assert {"0.mp4", "1.mp4"}.isdisjoint(row["src"] for row in corpus.rows())


def test_a_row_whose_clip_is_gone_stays_with_its_new_label_unless_pruned(corpus: SmallCorpus) -> None:
    corpus.annotate([("a.mp4", "", 3, "", ""), ("b.mp4", "", 3, "", "")])
    gone = corpus.stage("a.mp4", b"a")
    corpus.stage("b.mp4", b"b")
    corpus.ingest()
    gone.unlink()
    corpus.annotate([("a.mp4", "", 4.5, "", ""), ("b.mp4", "", 3, "", "")])
    report = corpus.ingest().report
    assert (report.retained_unavailable, report.skipped_missing, report.rows_out) == (1, 0, 2)
    assert corpus.rows()[0]["mos"] == 4.5
    report = corpus.ingest(prune=True).report
    assert (report.skipped_missing, report.pruned, report.rows_out) == (1, 1, 1)


def test_rows_outside_the_run_stay_and_sort_last_by_name(corpus: SmallCorpus) -> None:
    names = ["d.mp4", "c.mp4", "b.mp4", "a.mp4"]
    for name in names:
        corpus.stage(name, name.encode())
    corpus.annotate([(name, "", 3, "", "") for name in names])
    corpus.ingest()
    corpus.annotate([("c.mp4", "", 3, "", ""), ("b.mp4", "", 3, "", "")])
    report = corpus.ingest(max_rows=1).report
    assert (report.rows_in, report.unchanged, report.retained_outside, report.rows_out) == (1, 1, 3, 4)
    assert [row["src"] for row in corpus.rows()] == ["c.mp4", "b.mp4", "a.mp4", "d.mp4"]


def test_a_renamed_clip_leaves_its_old_row_behind_only_once(corpus: SmallCorpus) -> None:
    corpus.annotate([("old.mp4", "", 3, "", "")])
    old = corpus.stage("old.mp4", b"same")
    corpus.ingest()
    old.rename(old.with_name("new.mp4"))
    corpus.annotate([("new.mp4", "", 3, "", "")])
    report = corpus.ingest().report
    assert (report.written, report.outside_dedups, report.rows_out) == (1, 1, 1)
    assert [row["src"] for row in corpus.rows()] == ["new.mp4"]


def test_the_cap_takes_the_first_rows_bad_ones_included(corpus: SmallCorpus) -> None:
    rows = [("a.mp4", "", "bad", "", ""), *[(f"{i}.mp4", "", 3, "", "") for i in range(30)]]
    for name, *_ in rows:
        corpus.stage(name, name.encode())
    corpus.annotate(rows)
    report = corpus.ingest(max_rows=3).report
    assert (report.rows_in, report.skipped_bad_row, report.written) == (3, 1, 2)
    assert corpus.ingest(max_rows=3, full=True).report.rows_in == 31


@pytest.mark.parametrize("content", [None, b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n"])
def test_a_dangling_link_or_an_lfs_pointer_is_absent_and_can_be_staged_later(
    corpus: SmallCorpus, content: bytes | None
) -> None:
    corpus.annotate([("a.mp4", "", 3, "", ""), ("b.mp4", "", 3, "", "")])
    corpus.stage("b.mp4", b"b")
    path = corpus.folder / "clips" / "a.mp4"
    if content is None:
        path.symlink_to(corpus.folder / "nowhere.mp4")
    else:
        path.write_bytes(content)
    report = corpus.ingest().report
    assert report.skipped_missing == 1
    assert ("dangling link" if content is None else "Git-LFS pointer") in report.losses[0].reason
    assert "a.mp4" not in corpus.progress()
    path.unlink()
    corpus.stage("a.mp4", b"a")
    assert corpus.ingest().report.written == 1


def test_rows_without_a_clip_are_told_with_the_folders_that_were_searched(
    corpus: SmallCorpus, caplog: pytest.LogCaptureFixture
) -> None:
    corpus.annotate([(f"{i}.mp4", "", 3, "", "") for i in range(3)])
    corpus.drop("k150ka_extracted/0.mp4", b"0")
    corpus.drop("elsewhere/1.mp4", b"1")
    assert corpus.ingest().report.skipped_missing == 1
    *_, told = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert told.startswith("konvid-150k: 1 rows have neither a clip nor a URL (1 × no file, and no URL); clips are")
    assert told.endswith("looked for in konvid-150k/clips, konvid-150k/k150ka_extracted, and below konvid-150k")


def test_a_touched_clip_is_read_again_and_an_equal_row_stays(corpus: SmallCorpus) -> None:
    corpus.annotate([("a.mp4", "", 3, "", "")])
    path = corpus.stage("a.mp4", b"a")
    corpus.ingest()
    before = corpus.lines()
    os.utime(path, ns=(1, 1))
    report = corpus.ingest().report
    assert (report.read_clips, report.unchanged) == (1, 1)
    assert corpus.lines() == before
    assert corpus.ingest(rescan=True).report.read_clips == 1


def test_half_fetched_files_of_an_interrupted_run_are_removed(corpus: SmallCorpus) -> None:
    corpus.annotate([("a.mp4", "", 3, "", "")])
    corpus.stage("a.mp4", b"a")
    left = corpus.stage("b.mp4.part", b"half")
    corpus.ingest()
    assert not left.exists()


def test_clips_may_lie_beside_the_score_file_and_a_half_fetched_archive_stays(corpus: SmallCorpus) -> None:
    corpus.annotate([("a.mp4", "", 3, "", "")])
    (corpus.folder / "a.mp4").write_bytes(b"a")
    archive = corpus.folder / "archives" / "clips.zip.part"
    archive.parent.mkdir()
    archive.write_bytes(b"half")
    assert corpus.ingest(clips_subdir=".").report.written == 1
    assert archive.exists()


def test_clips_that_no_row_names_are_counted(corpus: SmallCorpus) -> None:
    corpus.annotate([("a.mp4", "", 3, "", "")])
    for name in ("a.mp4", "extra.mp4", "sub/extra.mp4", ".DS_Store", "__MACOSX/x.mp4"):
        corpus.stage(name, name.encode())
    assert corpus.ingest().report.unlabelled_clips == 2


def test_a_clip_in_a_folder_keeps_its_folder_in_src(corpus: SmallCorpus) -> None:
    corpus.downloader = FakeDownloader({url("x"): b"one"})
    corpus.annotate([("batch/747", url("x"), 3, "", "")])
    corpus.ingest()
    assert corpus.rows()[0]["src"] == "batch/747.mp4"
    assert (corpus.folder / "clips" / "batch" / "747.mp4").read_bytes() == b"one"


def test_no_server_at_all_aborts_and_condemns_no_clip(corpus: SmallCorpus) -> None:
    dead = DownloadError("curl-rc=7: could not connect", permanent=False, unreachable=True)
    corpus.downloader = FakeDownloader({url(f"{i}.mp4"): dead for i in range(5)})
    corpus.annotate([(f"{i}.mp4", url(f"{i}.mp4"), 3, "", "") for i in range(5)])
    with pytest.raises(ServerGoneError) as caught:
        corpus.ingest()
    assert "no server answered: 5 of 5 transfers without an answer, the first: curl-rc=7" in str(caught.value)
    assert corpus.progress() == {}
    assert not corpus.root.corpus_jsonl(KONVID).exists()


def test_a_server_that_dies_costs_only_the_clips_it_did_not_give(corpus: SmallCorpus) -> None:
    dead = DownloadError("curl-rc=7: could not connect", permanent=False, unreachable=True)
    corpus.downloader = FakeDownloader({url("0.mp4"): b"first", url("1.mp4"): dead})
    corpus.annotate([("0.mp4", url("0.mp4"), 3, "", ""), ("1.mp4", url("1.mp4"), 3, "", "")])
    report = corpus.ingest().report
    assert (report.written, report.skipped_download) == (1, 1)


def test_a_server_that_answers_no_is_a_server_all_the_same(corpus: SmallCorpus) -> None:
    dead = DownloadError("curl-rc=7: could not connect", permanent=False, unreachable=True)
    corpus.downloader = FakeDownloader({url("1.mp4"): dead})
    corpus.annotate([("gone.mp4", url("gone.mp4"), 3, "", ""), ("1.mp4", url("1.mp4"), 3, "", "")])
    report = corpus.ingest().report
    assert report.skipped_download == 2
    assert set(corpus.progress()) == {"gone.mp4"}


@pytest.mark.parametrize("fault", [FileNotFoundError(2, "No such file"), OSError(5, "Input/output error")])
def test_a_clip_that_the_probe_cannot_read_is_unavailable_and_its_row_stays(
    corpus: SmallCorpus, fault: OSError
) -> None:
    corpus.annotate([(name, "", 3, "", "") for name in ("a.mp4", "b.mp4")])
    for name in ("a.mp4", "b.mp4"):
        corpus.stage(name, name.encode())
    corpus.ingest()

    class Unreading(FakeProber):
        def probe(self, path: Path, timeout_s: float) -> Geometry:
            if path.name == "a.mp4":
                raise fault
            return super().probe(path, timeout_s)

    corpus.prober = Unreading()
    report = corpus.ingest(rescan=True).report
    assert (report.retained_unavailable, report.unchanged, report.skipped_broken) == (1, 1, 0)
    assert len(corpus.rows()) == 2


def test_prune_drops_no_row_of_a_clip_that_is_there_and_cannot_be_read(corpus: SmallCorpus) -> None:
    corpus.annotate([(name, "", 3, "", "") for name in ("a.mp4", "b.mp4", "loop.mp4", "gone.mp4")])
    clips = {name: corpus.stage(name, name.encode()) for name in ("a.mp4", "b.mp4", "loop.mp4", "gone.mp4")}
    corpus.ingest()
    clips["loop.mp4"].unlink()
    clips["loop.mp4"].symlink_to("loop.mp4")
    clips["gone.mp4"].unlink()

    class Unreading(FakeProber):
        def probe(self, path: Path, timeout_s: float) -> Geometry:
            if path.name == "a.mp4":
                raise OSError(5, "Input/output error")
            return super().probe(path, timeout_s)

    corpus.prober = Unreading()
    report = corpus.ingest(rescan=True, prune=True).report
    assert (report.retained_unavailable, report.pruned, report.unchanged) == (2, 1, 1)
    assert [row["src"] for row in corpus.rows()] == ["a.mp4", "b.mp4", "loop.mp4"]


def test_a_clip_that_cannot_be_read_is_told_as_there(corpus: SmallCorpus) -> None:
    corpus.annotate([("loop.mp4", "", 3, "", "")])
    (corpus.folder / "clips").mkdir()
    (corpus.folder / "clips" / "loop.mp4").symlink_to("loop.mp4")
    (loss,) = corpus.ingest().report.losses
    assert (loss.counter, loss.reason.partition(":")[0]) == ("skipped_probe", "the clip is there and cannot be read")


def test_an_error_of_the_loop_leaves_the_earlier_output_whole(corpus: SmallCorpus) -> None:
    fetched_corpus(corpus)
    before = corpus.lines()
    corpus.annotate([("0000.mp4", url("0000.mp4"), 2.0, 0.5, 7), ("new.mp4", url("new.mp4"), 3, "", "")])
    full = IngestError("no space left", expected="room for the clip")
    corpus.downloader = FakeDownloader({url("new.mp4"): full})
    with pytest.raises(IngestError, match="no space left"):
        corpus.ingest()
    assert corpus.lines() == before


def test_two_runs_on_one_corpus_do_not_mix(corpus: SmallCorpus) -> None:
    corpus.annotate([("a.mp4", "", 3, "", "")])
    corpus.stage("a.mp4", b"a")
    with corpus_lock(corpus.folder, 0), pytest.raises(LockedError, match="another run holds"):
        corpus.ingest(lock_wait_s=0.1)


def test_a_corpus_without_archives_refuses_to_fetch_them(corpus: SmallCorpus) -> None:
    corpus.corpus = CORPORA["lsvq"]
    with pytest.raises(SettingsError, match="no archives"):
        corpus.ingest(fetch=True)


def test_an_absent_annotation_file_says_what_to_drop_and_where_it_is_had(corpus: SmallCorpus) -> None:
    with pytest.raises(AnnotationError) as caught:
        corpus.ingest()
    for part in (
        "no annotation file",
        "found no folder",
        "expected manifest.csv or k150ka_scores.csv or k150kb_scores.csv in",
        "database.mmsp-kn.de",
    ):
        assert part in str(caught.value)


def test_an_earlier_output_that_was_cut_short_is_named_by_line_and_made_whole(
    corpus: SmallCorpus, caplog: pytest.LogCaptureFixture
) -> None:
    fetched_corpus(corpus)
    before, path = corpus.rows(), corpus.root.corpus_jsonl(KONVID)
    path.write_bytes(path.read_bytes()[:-20])
    corpus.ingest()
    assert "1 lines are no rows, the first in line 4: not JSON" in caplog.text
    assert [{**row, "ingested_at_utc": ""} for row in corpus.rows()] == [
        {**row, "ingested_at_utc": ""} for row in before
    ]


def test_the_manifest_says_what_the_run_decided_and_lost(corpus: SmallCorpus) -> None:
    corpus.annotate([(f"{i}.mp4", "", 3, 0.5, 5) for i in range(20)] + [("bad.mp4", "", "x", "", "")])
    for i in range(20):
        corpus.stage(f"{i}.mp4", str(i).encode())
    (corpus.folder / "ingest.toml").write_text("per_host = 4\n")
    done = corpus.ingest(max_rows=21, workers=2)
    manifest = json.loads(done.layout.manifest.read_text())
    assert manifest["schema"] == "mos-corpus-manifest-v1"
    assert manifest["counters"]["rows_in"] == 21
    assert manifest["annotation_file"]["rows"] == 21
    assert manifest["mos_scale"] == {"name": "1-5-acr", "from": "detected"}
    provenance = manifest["run_provenance"]
    assert provenance["args"]["max_rows"] == {"value": 21, "from": "run config"}
    assert provenance["args"]["clip_suffix"] == {"value": ".mp4", "from": "corpus"}
    assert provenance["inputs"]["annotation_file"]["path"] == "konvid-150k/manifest.csv"
    assert provenance["inputs"]["ingest_toml"]["path"] == "konvid-150k/ingest.toml"
    assert provenance["outputs"]["corpus_jsonl"]["exists"] is True
    assert str(corpus.root.path) not in done.layout.manifest.read_text()


def test_the_data_version_follows_content_and_not_time(corpus: SmallCorpus) -> None:
    corpus.annotate([("a.mp4", "", 3, "", "")])
    corpus.stage("a.mp4", b"a")
    first = corpus.ingest().data_version
    corpus.root.corpus_jsonl(KONVID).unlink()
    assert corpus.ingest().data_version == first
    corpus.annotate([("a.mp4", "", 3.5, "", "")])
    assert corpus.ingest().data_version != first


@pytest.mark.parametrize("counter", [*KEPT, *LOST])
def test_a_row_unaccounted_for_is_an_error(counter: str) -> None:
    report = IngestReport(rows_in=1)
    setattr(report, counter, 2)
    with pytest.raises(IngestError, match="do not reconcile"):
        report.reconcile("konvid-150k")
