"""Measuring many clips with the cache between; a counting extractor stands in for the real one."""

import json
import logging
import math
import sqlite3
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass, field, replace

import pyarrow.parquet as pq
import pytest

from vqa_assets.clips.cache import checksum_of
from vqa_assets.clips.work import StoppedError
from vqa_assets.corpora.raw_video import RawVideo
from vqa_assets.errors import BrokenClipError, FeatureError, NewerFormatError, TransientClipError
from vqa_assets.features.cache import CacheKey, FeatureCache, Outcome
from vqa_assets.features.family import FamilyVersion
from vqa_assets.features.measuring import (
    CARRIED,
    FamilyCounts,
    FeatureReport,
    MeasuringRun,
    extract_features,
    feature_row,
    without_reference,
)
from vqa_assets.tables.parquet import ColumnKinds, open_parquet
from vqa_assets_tests.shared.clips import to_measure
from vqa_assets_tests.shared.tables import write_rows


@dataclass
class CountingExtractor:
    """Measures a clip's length, counts calls, and raises what it is told to for a clip."""

    version: str = "counting.1"
    failures: dict[str, BaseException] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)

    @property
    def families(self):
        return [FamilyVersion("counting", self.version)]

    def measure(self, clip, *, families=None, reference=None, raw=None, stop=None):
        self.calls.append(clip.name)
        if clip.name in self.failures:
            raise self.failures[clip.name]
        side = "ladder" if reference else "recompressed"
        return {"counting": {"adm2": float(len(clip.read_bytes())), "feature_reference": side}}


@pytest.fixture
def clips(tmp_path):
    made = []
    for index in range(5):
        path = tmp_path / f"{index}.mp4"
        path.write_bytes(b"x" * (index + 1))
        made.append(to_measure(path))
    return made


@pytest.fixture
def cache(tmp_path):
    with FeatureCache(tmp_path / "cache.sqlite") as opened:
        yield opened


def measure(clips, extractor, cache, progress=None, workers=2):
    with ThreadPoolExecutor(workers) as executor:
        run = MeasuringRun(2, threading.Event(), progress)
        rows, report = extract_features(clips, extractor, executor, cache, run)
    return list(rows), report


def test_rows_come_in_input_order(clips, cache):
    rows, report = measure(clips, CountingExtractor(), cache, workers=3)
    assert [row["adm2"] for row in rows] == [1.0, 2.0, 3.0, 4.0, 5.0]
    assert report == FeatureReport(
        rows_in=5, measured=5, cached=0, failed=[], families={"counting": FamilyCounts(measured=5)}
    )


def test_a_second_run_measures_nothing(clips, cache):
    extractor = CountingExtractor()
    first, _ = measure(clips, extractor, cache)
    extractor.calls.clear()
    again, report = measure(clips, extractor, cache)
    assert extractor.calls == []
    assert again == first
    assert (report.measured, report.cached, report.reconciles) == (0, 5, True)


def test_rows_from_the_cache_share_their_names(cache):
    for number in range(2):
        cache.put(CacheKey(str(number), "", "v"), Outcome(row={f"feature {i}": i / 7 for i in range(5)}))
    one, other = (cache.get(CacheKey(str(number), "", "v")).row for number in range(2))
    assert one == other == {f"feature {i}": i / 7 for i in range(5)}
    assert all(a is b for a, b in zip(one, other, strict=True))


def test_a_changed_version_measures_again(clips, cache):
    measure(clips, CountingExtractor(), cache)
    newer = CountingExtractor(version="counting.2")
    _, report = measure(clips, newer, cache)
    assert (len(newer.calls), report.measured) == (5, 5)
    assert report.again == "5 clips are measured again: counting.1 became counting.2"


def test_what_was_never_measured_is_not_measured_again(clips, cache):
    _, report = measure(clips, CountingExtractor(), cache)
    assert report.again == ""


def test_going_back_to_an_earlier_version_measures_nothing(clips, cache):
    measure(clips, CountingExtractor(), cache)
    measure(clips, CountingExtractor(version="counting.2"), cache)
    _, report = measure(clips, CountingExtractor(), cache)
    assert (report.cached, report.again) == (5, "")


def test_another_declared_geometry_of_raw_clips_measures_again(clips, cache):
    for width, measured in ((64, 5), (64, 0), (32, 5)):
        raw = [replace(clip, raw=RawVideo(width=width, height=32)) for clip in clips]
        _, report = measure(raw, CountingExtractor(), cache)
        assert report.measured == measured
    assert report.again == "5 clips are measured again: raw 64x32 yuv420p 30 became raw 32x32 yuv420p 30"


def test_a_ladder_clip_without_reference_is_counted_and_has_no_reference_features(clips, cache):
    ladder = [
        replace(clips[0], ladder=True),
        replace(clips[1], ladder=True, reference=clips[0].path, reference_sha256=clips[0].sha256),
    ]
    rows, report = measure(ladder, CountingExtractor(), cache)
    assert report.no_reference == ["0.mp4"]
    assert math.isnan(rows[0]["adm2"])
    assert (rows[0]["feature_reference"], rows[1]["adm2"]) == ("ladder", 2.0)


def test_another_reference_measures_again(clips, cache):
    measure(clips[:1], CountingExtractor(), cache)
    ladder = [replace(clips[0], reference=clips[4].path, reference_sha256=clips[4].sha256)]
    rows, report = measure(ladder, CountingExtractor(), cache)
    assert (report.measured, rows[0]["feature_reference"]) == (1, "ladder")


def test_a_failing_clip_is_named_and_costs_no_other(clips, cache):
    extractor = CountingExtractor(failures={"2.mp4": BrokenClipError("2.mp4: does not decode")})
    rows, report = measure(clips, extractor, cache)
    assert rows[2] is None
    assert report.failed == [("2.mp4", "2.mp4: does not decode")]
    assert (report.measured, report.reconciles) == (4, True)


def test_a_lasting_failure_is_remembered_and_a_passing_one_is_not(clips, cache):
    failures = {"1.mp4": BrokenClipError("1.mp4: broken"), "2.mp4": TransientClipError("2.mp4: took too long")}
    measure(clips, CountingExtractor(failures=failures), cache)
    healed = CountingExtractor()
    _, report = measure(clips, healed, cache)
    assert healed.calls == ["2.mp4"]
    assert report == FeatureReport(
        rows_in=5,
        measured=1,
        cached=3,
        failed=[("1.mp4", "1.mp4: broken")],
        families={"counting": FamilyCounts(measured=1, known=3, failed=1)},
    )


def test_an_absent_file_is_a_failure_that_is_not_remembered(clips, cache, tmp_path):
    gone = [replace(clips[0], path=tmp_path / "gone.mp4"), replace(clips[1], reference=tmp_path / "gone.mp4")]
    _, report = measure(gone, CountingExtractor(), cache)
    assert report.failed == [("0.mp4", "clip file absent"), ("1.mp4", "reference file absent")]
    _, report = measure(clips[:2], CountingExtractor(), cache)
    assert report.measured == 2


def test_a_broken_environment_ends_the_run(clips, cache):
    extractor = CountingExtractor(failures={"0.mp4": FeatureError("ffmpeg: not found")})
    with pytest.raises(FeatureError):
        measure(clips, extractor, cache)


@pytest.mark.parametrize("error", [StoppedError(), KeyboardInterrupt()])
def test_an_interrupt_loses_only_the_clips_in_hand(clips, cache, error):
    with pytest.raises(type(error)):
        measure(clips, CountingExtractor(failures={"3.mp4": error}), cache, workers=1)
    again = CountingExtractor()
    _, report = measure(clips, again, cache)
    assert {"0.mp4", "1.mp4"}.isdisjoint(again.calls)
    assert report.reconciles


def test_a_stop_signal_ends_the_run_between_clips(clips, cache):
    run = MeasuringRun(window=1, stop=threading.Event(), progress=lambda done, failed: done >= 2 and run.stop.set())
    extractor = CountingExtractor()
    with pytest.raises(StoppedError), ThreadPoolExecutor(1) as executor:
        extract_features(clips, extractor, executor, cache, run)
    assert len(extractor.calls) == 2


def test_progress_counts_what_the_cache_knew_first(clips, cache):
    measure(clips[:2], CountingExtractor(), cache)
    told = []
    failures = {"3.mp4": BrokenClipError("3.mp4: broken")}
    measure(clips, CountingExtractor(failures=failures), cache, lambda *counts: told.append(counts), workers=1)
    assert told == [(2, 0), (3, 0), (4, 1), (5, 1)]


def test_work_may_run_in_other_processes(clips, cache):
    with ProcessPoolExecutor(1) as executor:
        run = MeasuringRun(window=2, stop=threading.Event())
        rows, report = extract_features(clips[:3], CountingExtractor(), executor, cache, run)
    assert ([row["adm2"] for row in rows], report.measured) == ([1.0, 2.0, 3.0], 3)


def test_what_is_put_is_on_disk_at_once(cache):
    key = CacheKey("a", "", "v")
    cache.put(key, Outcome(row={"adm2": 0.1, "n": 3, "none": None}))
    with FeatureCache(cache.path) as other:
        assert other.get(key) == Outcome(row={"adm2": 0.1, "n": 3, "none": None})
        assert other.get(CacheKey("a", "b", "v")) is None


@pytest.mark.parametrize(
    "content", [b"no database at all, but long enough to look like a header" * 40, b"SQLite format 3\0junk" * 99]
)
def test_a_broken_cache_is_begun_anew_with_a_warning(tmp_path, caplog, content):
    path = tmp_path / "cache.sqlite"
    path.write_bytes(content)
    with caplog.at_level(logging.WARNING), FeatureCache(path) as cache:
        cache.put(CacheKey("a", "", "v"), Outcome(reason="broken"))
        assert cache.get(CacheKey("a", "", "v")) == Outcome(reason="broken")
    assert "is made anew: clips are measured again" in caplog.text


def test_a_cache_of_another_format_is_begun_anew(tmp_path, caplog):
    path = tmp_path / "cache.sqlite"
    foreign = sqlite3.connect(path)
    foreign.execute("CREATE TABLE measured (other TEXT)")
    foreign.close()
    with FeatureCache(path) as cache:
        assert cache.get(CacheKey("a", "", "v")) is None
    assert "is broken (no format) and is made anew" in caplog.text


def test_a_cache_of_a_later_version_days_of_work_is_an_error_and_stays(cache):
    cache.put(CacheKey("a", "", "v"), Outcome(row={"adm2": 0.1}))
    cache.close()
    said = ("feature_cache", 3)
    with sqlite3.connect(cache.path) as later:
        later.execute("REPLACE INTO format VALUES (?, ?, ?)", (*said, checksum_of(said)))
    later.close()
    content = cache.path.read_bytes()
    with pytest.raises(NewerFormatError, match=r"format 3 \(feature_cache\), which a later version .*; install that"):
        FeatureCache(cache.path).get(CacheKey("a", "", "v"))
    assert cache.path.read_bytes() == content


def test_an_unwritable_place_is_an_error_that_names_it(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(FeatureError, match=r"file/cache\.sqlite: the feature cache cannot be used"):
        FeatureCache(tmp_path / "file" / "cache.sqlite").get(CacheKey("a", "", "v"))


def test_a_stored_row_that_is_no_row_is_measured_again(cache):
    key = CacheKey("a", "", "v")
    cache.put(key, Outcome(row={}))
    with sqlite3.connect(cache.path) as direct:
        direct.execute("UPDATE measured SET row = '[1'")
    direct.close()
    assert cache.get(key) is None


@pytest.mark.parametrize("what", ["row = replace(row, '1', '2')", "row = NULL", "reason = 'x'", "checksum = 7"])
def test_a_stored_row_that_was_changed_is_measured_again_and_told_once(cache, what, caplog):
    key, other = CacheKey("a", "", "v"), CacheKey("b", "", "v")
    cache.put_all({key: Outcome(row={"si": 1.5}), other: Outcome(row={"si": 1.0})})
    with sqlite3.connect(cache.path) as direct:
        direct.execute(f"UPDATE measured SET {what} WHERE sha256 = 'a'")
    direct.close()
    assert (cache.get(key), cache.get(key)) == (None, None)
    assert cache.get(other) == Outcome(row={"si": 1.0})
    cache.close()
    assert caplog.text.count("1 rows are not as they were put: what they held is measured again") == 1
    cache.put(key, Outcome(row={"si": 1.5}))
    assert cache.get(key) == Outcome(row={"si": 1.5})


def test_of_a_damaged_cache_the_measurements_that_are_whole_stay(tmp_path, caplog):
    path = tmp_path / "cache.sqlite"
    keys = [CacheKey(f"{i:03}", "", "v") for i in range(200)]
    with FeatureCache(path) as cache:
        cache.put_all({key: Outcome(row={f"f{i}": 0.5 for i in range(50)}) for key in keys})
    content = bytearray(path.read_bytes())
    middle = len(content) // 8192 * 4096
    content[middle : middle + 4096] = bytes(4096)
    path.write_bytes(content)
    with FeatureCache(path) as cache:
        found = [cache.get(key) for key in keys]
    assert 180 < sum(outcome is not None for outcome in found) < 200
    assert "of its rows are whole and stay, of the others clips are measured again" in caplog.text


CORPUS_ROW = {
    "src": "a/b.mp4",
    "src_sha256": "abc",
    "src_size_bytes": 9,
    "width": 64,
    "height": 48,
    "framerate": 30.0,
    "duration_s": 2.0,
    "pix_fmt": "yuv420p",
    "encoder_upstream": "h264",
    "corpus": "chug",
    "mos": 3.0,
    "content_id": "c1",
    "chug_ref": 0,
    "chug_bitrate_label": "0.2M",
}


def test_a_table_row_holds_features_geometry_and_identity():
    row = feature_row(CORPUS_ROW, {"adm2": 0.5}, {"chug_ref", "chug_bitrate_label"})
    assert (row["key"], row["src_sha256"], row["adm2"]) == ("a/b.mp4", "abc", 0.5)
    assert {name: row[name] for name in CARRIED} == {name: CORPUS_ROW[name] for name in CARRIED}
    assert (row["content_id"], row["chug_ref"], row["chug_bitrate_label"]) == ("c1", 0, "0.2M")
    assert {"mos", "score_drop", "src"}.isdisjoint(row)


def test_a_ladder_clip_without_reference_keeps_what_is_its_own():
    measured = {"adm2": 0.9, "vif_scale0_p10": 0.5, "saliency": 0.2, "feature_width": 64, "n_feature_frames": 7}
    measured["vmaf"] = 80.0
    row = without_reference({**measured, "feature_reference": "recompressed"})
    assert json.dumps([row[n] for n in ("adm2", "vif_scale0_p10", "feature_width", "vmaf")]) == "[NaN, NaN, null, null]"
    assert (row["saliency"], row["n_feature_frames"], row["feature_reference"]) == (0.2, 7, "ladder")


FIRST_EDITION = """
PRAGMA journal_mode = WAL;
CREATE TABLE measured (
    sha256 TEXT, reference_sha256 TEXT, version TEXT, row TEXT, reason TEXT,
    PRIMARY KEY (sha256, reference_sha256, version)) WITHOUT ROWID;
PRAGMA user_version = 1;
"""


def test_a_cache_of_the_first_edition_is_used_and_nothing_is_measured_again(clips, tmp_path):
    path = tmp_path / "first.sqlite"
    first = sqlite3.connect(path)
    first.executescript(FIRST_EDITION)
    rows = [(clip.sha256, "", "counting.1", json.dumps({"adm2": 0.5}), "") for clip in clips]
    first.executemany("INSERT INTO measured VALUES (?, ?, ?, ?, ?)", rows)
    first.commit()
    first.close()
    extractor = CountingExtractor()
    with FeatureCache(path) as cache:
        rows, report = measure(clips, extractor, cache)
    assert (extractor.calls, report.cached) == ([], 5)
    assert rows == [{"adm2": 0.5}] * 5


def test_rows_written_in_batches_are_the_same_table_as_rows_written_at_once(tmp_path):
    mixed = [1, "a", None, 2.5, True]
    rows = [{"n": i, "half": i if i % 2 else i / 2, "none": None, "mixed": mixed[i], "name": str(i)} for i in range(5)]
    kinds = ColumnKinds()
    for row in rows:
        kinds.add(row)
    schema = kinds.schema(kinds.names)
    with pq.ParquetWriter(tmp_path / "batches.parquet", schema) as writer:
        for start in (0, 2, 4):
            writer.write_table(kinds.batch(rows[start : start + 2], schema))
    write_rows(tmp_path / "once.parquet", rows, kinds.names)
    batches, once = (open_parquet(tmp_path / f"{name}.parquet").read() for name in ("batches", "once"))
    assert batches.equals(once)


def test_a_row_that_the_cache_lost_during_the_run_ends_it(clips, cache):
    with ThreadPoolExecutor(2) as executor:
        rows, _ = extract_features(clips, CountingExtractor(), executor, cache, MeasuringRun(2, threading.Event()))
    with sqlite3.connect(cache.path) as direct:
        direct.execute("DELETE FROM measured")
    direct.close()
    with pytest.raises(FeatureError, match=r"the feature cache lost what was measured of 0\.mp4"):
        list(rows)
