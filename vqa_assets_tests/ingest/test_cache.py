"""The ingest cache: what is committed stays, and losing it costs reading the clips again."""

import logging
import sqlite3
import subprocess
import sys

import pytest

from vqa_assets.clips.folders import FileStamp
from vqa_assets.clips.geometry import Geometry
from vqa_assets.ingest.cache import IngestCache, ReadClip

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


def test_a_cache_of_another_format_is_dropped(path):
    filled(path)
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version=99")
    connection.close()
    assert_made_anew(path)


@pytest.mark.parametrize("column", ["size_bytes", "width", "framerate"])
def test_a_cache_of_other_values_is_made_anew(path, column):
    filled(path)
    connection = sqlite3.connect(path)
    with connection:
        connection.execute(f"UPDATE clips SET {column} = 'many'")
    connection.close()
    assert_made_anew(path)


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
