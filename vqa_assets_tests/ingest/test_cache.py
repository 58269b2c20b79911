"""The ingest cache: what is committed stays, and losing it costs reading the clips again."""

import logging
import random
import sqlite3
import subprocess
import sys

import pytest

from vqa_assets.clips.cache import checksum_of
from vqa_assets.clips.folders import FileStamp
from vqa_assets.clips.geometry import Geometry
from vqa_assets.errors import NewerFormatError
from vqa_assets.ingest.cache import IngestCache, ReadClip, read_only

GEOMETRY = Geometry(960, 540, 29.97003, 8.008, "yuv420p", "h264")
GOOD = ReadClip(FileStamp(1_000, 1_700_000_000_123_456_789), "ab" * 32, GEOMETRY)
BROKEN = ReadClip(FileStamp(10, 5), "cd" * 32, None, "no video stream")


@pytest.fixture
def path(tmp_path):
    return tmp_path / ".ingest-cache.sqlite"


def filled(path, count=1):
    with IngestCache(path) as cache:
        for i in range(count):
            cache.put(f"{i:05}.mp4", GOOD)
    return path


@pytest.mark.parametrize("clip", [GOOD, BROKEN], ids=["good", "broken"])
@pytest.mark.parametrize("name", ["0001.mp4", "yfcc-batch1/747.mp4", "é#'\";--.mp4"])
def test_a_clip_comes_back_as_it_was_put(clip, name, path):
    with IngestCache(path) as cache:
        cache.put(name, clip)
        assert cache.load() == {name: clip}
    with IngestCache(path) as cache:
        assert cache.load() == {name: clip}


def test_a_name_is_known_once_with_what_was_read_last(path):
    with IngestCache(path) as cache:
        cache.put("a.mp4", BROKEN)
        cache.put("a.mp4", GOOD)
        assert cache.load() == {"a.mp4": GOOD}
        cache.put("a.mp4", BROKEN)
        assert cache.load() == {"a.mp4": BROKEN}


def test_a_deleted_cache_is_empty(path):
    filled(path).unlink()
    with IngestCache(path) as cache:
        assert cache.load() == {}


def garbage(path):
    path.write_bytes(b"this is no database at all, but long enough to be taken for one" * 50)


def torn_pages(path):
    content = filled(path, 2_000).read_bytes()
    path.write_bytes(content[:8192] + b"\xa5" * (len(content) - 8192))


def torn_header(path):
    content = bytearray(filled(path, 10).read_bytes())
    content[:16] = b"0123456789abcdef"
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [garbage, torn_pages, torn_header])
def test_a_broken_file_is_made_anew_with_a_warning(damage, path, caplog):
    damage(path)
    with caplog.at_level(logging.WARNING), IngestCache(path) as cache:
        assert cache.load() == {}
        cache.put("a.mp4", GOOD)
        assert cache.load() == {"a.mp4": GOOD}
    assert f"{path} is broken (" in caplog.text
    assert "every clip is read again, nothing else is lost" in caplog.text
    with IngestCache(path) as cache:
        assert cache.load() == {"a.mp4": GOOD}


def test_an_empty_file_is_an_empty_cache(path):
    path.write_bytes(b"")
    with IngestCache(path) as cache:
        assert cache.load() == {}


def assert_made_anew(path):
    with IngestCache(path) as cache:
        assert cache.load() == {}
        cache.put("a.mp4", GOOD)
    with IngestCache(path) as cache:
        assert cache.load() == {"a.mp4": GOOD}


@pytest.mark.parametrize("edition", ["this", "first"])
def test_a_cache_of_a_later_version_is_an_error_and_stays_as_it_is(path, edition):
    connection = sqlite3.connect(filled(path))
    with connection:
        if edition == "this":
            said = ("ingest_cache", 9)
            connection.execute("REPLACE INTO format VALUES (?, ?, ?)", (*said, checksum_of(said)))
        else:  # which said it in the file's header alone
            connection.executescript("DROP TABLE format; PRAGMA user_version = 9")
    connection.close()
    content = path.read_bytes()
    for opens in (IngestCache, read_only):
        with pytest.raises(NewerFormatError, match=r"format 9 \(ingest_cache\), which a later version .* wrote"):
            opens(path)
    assert path.read_bytes() == content


def test_a_cache_of_somebody_elses_tables_is_made_anew(path):
    connection = sqlite3.connect(path)
    connection.executescript("CREATE TABLE clips (name TEXT PRIMARY KEY); INSERT INTO clips VALUES ('a.mp4')")
    connection.close()
    assert_made_anew(path)


@pytest.mark.parametrize("damage", ["UPDATE format SET version = 66", "DELETE FROM format", "PRAGMA user_version = 99"])
def test_a_damaged_format_is_no_later_version_and_costs_no_row(path, damage):
    connection = sqlite3.connect(filled(path, 3))
    with connection:
        connection.execute(damage)
    connection.close()
    with IngestCache(path) as cache:
        assert len(cache.load()) == 3


@pytest.mark.parametrize("column", ["size_bytes", "width", "framerate"])
def test_a_cache_of_other_values_is_made_anew(path, column):
    filled(path)
    connection = sqlite3.connect(path)
    with connection:
        connection.execute(f"UPDATE clips SET {column} = 'many'")
    connection.close()
    assert_made_anew(path)


def changed(path, what):
    """The file after somebody's hand, or a disk: SQLite finds nothing wrong with it."""
    connection = sqlite3.connect(path)
    with connection:
        connection.execute(f"UPDATE clips SET {what} WHERE name = '00001.mp4'")
    connection.close()


@pytest.mark.parametrize(
    "what", ["size_bytes = 999", "mtime_ns = 5", "sha256 = replace(sha256, 'a', 'b')", "width = 961", "checksum = 7"]
)
def test_a_row_that_is_not_as_it_was_put_counts_as_none_and_costs_no_other(what, path, caplog):
    changed(filled(path, 3), what)
    with IngestCache(path) as cache:
        assert set(cache.load()) == {"00000.mp4", "00002.mp4"}
        assert f"{path}: 1 rows are not as they were put: their clips are read again" in caplog.text
        cache.put("00001.mp4", GOOD)
        assert len(cache.load()) == 3


def test_a_value_that_sqlite_gives_in_another_form_is_the_same_value(path):
    clip = ReadClip(FileStamp(1, 2), "ab", Geometry(8, 8, 25, 2, "gray", "ffv1"))
    with IngestCache(path) as cache:
        cache.put("a.mp4", clip)
        assert cache.load() == {"a.mp4": clip}


@pytest.mark.parametrize("place", [0.3, 0.6, 0.9])
def test_of_a_file_with_a_damaged_page_the_rows_of_the_others_stay(place, path, caplog):
    content = bytearray(filled(path, 2_000).read_bytes())
    page = int(len(content) * place) // 4096 * 4096
    content[page : page + 4096] = b"\xa5" * 4096
    path.write_bytes(content)
    with IngestCache(path) as cache:
        known = cache.load()
        assert all(clip == GOOD for clip in known.values())
        assert 1_900 < len(known) < 2_000
        cache.put_all({f"{i:05}.mp4": GOOD for i in range(2_000)})
        assert len(cache.load()) == 2_000
    assert f"{len(known)} of its rows are whole and stay, of the others every clip is read again" in caplog.text
    assert [name.name for name in path.parent.iterdir()] == [path.name]


def test_every_flipped_bit_costs_rows_at_most_and_changes_none(path):
    content = filled(path, 120).read_bytes()
    seeded = random.Random(7)
    for _ in range(60):
        flipped = bytearray(content)
        flipped[seeded.randrange(len(content))] ^= 1 << seeded.randrange(8)
        path.write_bytes(flipped)
        try:
            with IngestCache(path) as cache:
                assert set(cache.load().items()) <= {(f"{i:05}.mp4", GOOD) for i in range(120)}
        except sqlite3.OperationalError as error:
            raise AssertionError("damage is never taken for a disk that refuses") from error


EARLIER_EDITION = """
CREATE TABLE clips (name TEXT PRIMARY KEY, size_bytes INTEGER, mtime_ns INTEGER, sha256 TEXT, broken TEXT,
    width INTEGER, height INTEGER, framerate REAL, duration_s REAL, pix_fmt TEXT, encoder_upstream TEXT) WITHOUT ROWID;
INSERT INTO clips VALUES ('a.mp4', 1000, 1700000000123456789, 'cd', '', 960, 540, 29.97003, 8.008, 'yuv420p', 'h264');
PRAGMA user_version = 1;
"""


def test_a_cache_of_an_edition_without_checksums_is_read_and_gains_them(path):
    connection = sqlite3.connect(path)
    connection.executescript(EARLIER_EDITION)
    connection.close()
    expected = {"a.mp4": ReadClip(GOOD.stamp, "cd", GEOMETRY)}
    assert read_only(path)[0] == expected
    with IngestCache(path) as cache:
        assert cache.load() == expected
        cache.put("b.mp4", GOOD)
    with IngestCache(path) as cache:
        assert cache.load() == expected | {"b.mp4": GOOD}


def test_a_name_that_no_database_holds_costs_no_other_row(path):
    filled(path, 3)
    with IngestCache(path) as cache:
        with pytest.raises(UnicodeEncodeError):
            cache.put("\ud800.mp4", GOOD)
        assert len(cache.load()) == 3


def test_a_file_that_cannot_be_opened_is_not_called_broken(tmp_path):
    with pytest.raises(sqlite3.OperationalError):
        IngestCache(tmp_path / "no folder" / "x.sqlite")


_WRITER = (
    "import pathlib, sys\n"
    "from vqa_assets.clips.geometry import Geometry\n"
    "from vqa_assets.clips.folders import FileStamp\nfrom vqa_assets.ingest.cache import IngestCache, ReadClip\n"
    "cache = IngestCache(pathlib.Path(sys.argv[1]))\n"
    "clip = ReadClip(FileStamp(1, 2), 'ab' * 32, Geometry(1, 1, 1.0, 1.0, 'y', 'h'))\n"
    "for i in range(10**9):\n"
    "    cache.put(f'{i:09}.mp4', clip)\n"
    "    print(i, flush=True)\n"
)


def test_kill_9_in_the_middle_of_writing_loses_no_committed_clip(path):
    with subprocess.Popen([sys.executable, "-c", _WRITER, str(path)], stdout=subprocess.PIPE, text=True) as writer:
        while int(writer.stdout.readline()) < 200:
            pass
        writer.kill()
        told = [200, *(int(line) for line in writer.stdout.read().splitlines(keepends=True) if line.endswith("\n"))]
    with IngestCache(path) as cache:
        known = cache.load()
        cache.put("after.mp4", GOOD)
    assert set(known) >= {f"{i:09}.mp4" for i in range(told[-1] + 1)}
    assert len(known) <= told[-1] + 2
