"""Whatever stands in a file that a person or a disk may change: its reader says so in our words, soon, in little room.

Hypothesis makes the files: bytes, good files with hostile edits, JSON of any shape. The seed is fixed, so a failure
here is the same everywhere.
"""

import json
import os
import resource
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vqa_assets.annotations.reading import read_annotations
from vqa_assets.clips.folders import FileStamp
from vqa_assets.clips.geometry import Geometry
from vqa_assets.corpora import CORPORA
from vqa_assets.corpora.declarations import read_declaration
from vqa_assets.encode_grid.libvmaf_report import parse_report
from vqa_assets.errors import VqaError
from vqa_assets.features.cache import CacheKey, FeatureCache, Outcome
from vqa_assets.heads.rows.display import read_profile
from vqa_assets.ingest.cache import IngestCache, ReadClip, read_only
from vqa_assets.ingest.earlier import read_earlier
from vqa_assets.ingest.layout import CorpusLayout
from vqa_assets.ingest.progress import Progress
from vqa_assets.ingest.settings import resolve
from vqa_assets.labels.batch import read_manifest
from vqa_assets.provenance.verify import verify
from vqa_assets.tables.files import read_json_lines, read_json_object
from vqa_assets.tables.paths import DataRoot

EACH_TAKES_AT_MOST = timedelta(seconds=10)
MOST_GROWTH_KB = 400 * 1024
KONVID = CORPORA["konvid-150k"]
CLIP = ReadClip(FileStamp(1_000, 5), "ab" * 32, Geometry(960, 540, 25.0, 8.0, "yuv420p", "h264"))

quick = settings(
    max_examples=60,
    deadline=EACH_TAKES_AT_MOST,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)

TRAPS = (
    *(b"NaN", b"1e400", b"-Infinity", b"null", b"9" * 400, b'"\\ud800"', b"\x00", b"\xff\xfe", b"\xef\xbb\xbf"),
    *(
        b"../../etc/passwd",
        b"/etc/passwd",
        b"[" * 9_000,
        b'{"a":' * 9_000,
        b'"' * 3,
        b",,,,",
        b";",
        b"\t",
        b"\r",
        b"\n\n",
    ),
    *(
        b"version https://git-lfs.github.com/spec/v1\n",
        b"<html>",
        b"PK\x03\x04",
        b"\x1f\x8b",
        b"sep=;\n",
        b"\xe2\x80\xae",
    ),
)
SAMPLES = {
    "annotations": b"video_name,url,mos,sd,n\na.mp4,,3.5,0.5,5\nb.mp4,https://example.org/b.mp4,1.5,,\n",
    "report": b'{"version": "3", "frames": [{"frameNum": 0, "metrics": {"integer_adm2": 0.9, "vmaf": 80.5}}], '
    b'"pooled_metrics": {"vmaf": {"min": 80, "max": 81, "mean": 80.5, "harmonic_mean": 80.4}}}',
    "batch": b'{"defaults": {"key_normalize": "raw"}, "tables": [{"id": "x", "features": "f.parquet", '
    b'"labels": ["l.jsonl"], "out": "o.parquet"}]}',
    "declaration": b'name = "street"\ntitle = "Street"\nversion = "1"\nscales = ["1-5-acr"]\nlicence = "CC BY 4.0"\n'
    b'redistribution = "attribution"\ncitation = "A."\nhomepage = "https://example.org"\nexpected_clips = 5\n'
    b'size = "3 GB"\nbytes_per_clip = 600\n[acquisition]\nfile = "r.csv"\nwhere = "here"\nsteps = "drop"\n',
    "display": b'{"peak_nits": 600, "display": {"black_luminance_nits": 0.05, "panel_type": "OLED"}}',
    "progress": b'{\n"a.mp4": {"state": "done"},\n"b.mp4": {"state": "failed", "reason": "gone", "address": "x"}\n}\n',
    "log": b'{"name": "a.mp4", "state": "done"}\n{"name": "b.mp4", "state": "failed", "reason": "gone"}\n',
    "manifest": b'{"schema": "s", "run_provenance": {"schema": "ai-run-provenance-v1", "argv": [], "args": {}, '
    b'"dagster": {"asset_key": "x"}, "outputs": {}, '
    b'"inputs": {"a": {"path": "a", "kind": "file", "exists": true, "sha256": "0"}}}}',
}

_leaves = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["..", "/x"])
)
anything = st.recursive(
    _leaves,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)


@st.composite
def edited(draw: st.DrawFn, sample: bytes) -> bytes:
    """A good file after a few edits: a part gone, or a trap in its place."""
    content = sample
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(content)))
        end = start + draw(st.sampled_from([0, 0, 1, 1, 3, 20, 400]))
        content = content[:start] + draw(st.sampled_from((b"", *TRAPS)) | st.binary(max_size=4)) + content[end:]
    return content


def of_another_shape(sample: bytes) -> st.SearchStrategy[bytes]:
    """The JSON object of a good file with any value in the place of one of its own."""

    def with_value(place: int, value: Any) -> bytes:
        document = json.loads(sample)
        holders = [document, *(part for part in document.values() if isinstance(part, dict))]
        places = [(holder, name) for holder in holders for name in holder]
        holder, name = places[place % len(places)]
        holder[name] = value
        return json.dumps(document).encode()

    return st.builds(with_value, st.integers(0, 40), anything)


def files(kind: str) -> st.SearchStrategy[bytes]:
    """What may stand where a file of that kind is expected."""
    sample = SAMPLES[kind]
    made = edited(sample) | st.binary(max_size=200) | edited(sample)
    is_object = sample.startswith(b"{") and kind != "log"
    return (
        made | of_another_shape(sample) | anything.map(lambda value: json.dumps(value).encode()) if is_object else made
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A corpus's folder in a data root; beside the root nothing appears."""
    place = tmp_path_factory.mktemp("readers")
    inside = place / "data" / KONVID.name
    (inside / "clips").mkdir(parents=True)
    yield inside
    assert [path.name for path in place.iterdir()] == ["data"]


@pytest.fixture(autouse=True)
def little_memory() -> Iterator[None]:
    """What one test reads takes little, whatever a file claims to hold."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MOST_GROWTH_KB


@quick
@given(content=files("annotations"))
def test_an_annotation_file_is_read_or_refused_and_no_name_leaves_the_folder(folder: Path, content: bytes) -> None:
    path = folder / "manifest.csv"
    path.write_bytes(content)
    resolved = resolve(KONVID, {"min_rows": 1}, folder / "ingest.toml")
    with suppress(VqaError):
        for row in read_annotations(KONVID, resolved.values, path).usable:
            assert not Path(row.src).is_absolute()
            assert ".." not in Path(row.src).parts


@quick
@given(
    content=files("log") | st.lists(anything, max_size=4).map(lambda rows: "\n".join(map(json.dumps, rows)).encode())
)
def test_json_lines_are_objects_or_an_error_that_names_the_line(folder: Path, content: bytes) -> None:
    path = folder / "any.jsonl"
    path.write_bytes(content)
    with suppress(VqaError):
        for line in read_json_lines(path):
            assert isinstance(line.row, dict)
    layout = CorpusLayout.of(
        KONVID, resolve(KONVID, {"output": str(path)}, folder / "ingest.toml").values, DataRoot(folder)
    )
    with suppress(VqaError):
        assert all(isinstance(src, str) for src in read_earlier(KONVID, layout).lines)


@quick
@given(content=files("report"))
def test_a_libvmaf_report_is_read_or_refused(content: bytes) -> None:
    with suppress(VqaError):
        assert parse_report(content).frames >= 0


@quick
@given(content=files("batch"))
def test_a_batch_manifest_is_read_or_refused(folder: Path, content: bytes) -> None:
    path = folder / "batch.json"
    path.write_bytes(content)
    with suppress(VqaError):
        assert read_manifest(path).tables


@quick
@given(content=files("declaration"))
def test_a_declaration_is_read_or_refused(folder: Path, content: bytes) -> None:
    path = folder / "street.toml"
    path.write_bytes(content)
    with suppress(VqaError):
        assert read_declaration(path).name


@quick
@given(content=files("display"))
def test_a_display_profile_is_read_or_refused(folder: Path, content: bytes) -> None:
    path = folder / "display.json"
    path.write_bytes(content)
    with suppress(VqaError):
        assert read_profile(path).values


@quick
@given(content=files("progress"), log=files("log"), newer=st.booleans())
def test_download_progress_is_read_or_refused_and_stays_as_it_is(
    folder: Path, content: bytes, log: bytes, newer: bool
) -> None:
    path = folder / ".download-progress.json"
    path.write_bytes(content)
    path.with_suffix(".log").write_bytes(log)
    os.utime(path, (1, 1) if newer else None)
    with suppress(VqaError):
        assert all(entry.state for entry in Progress(path).entries.values())
    assert (path.read_bytes(), path.with_suffix(".log").read_bytes()) == (content, log)


@quick
@given(content=files("manifest"))
def test_a_replay_manifest_is_verified_or_refused(folder: Path, content: bytes) -> None:
    path = folder / "x.manifest.json"
    path.write_bytes(content)
    with suppress(VqaError):
        assert verify(path).holds in (True, False)
    with suppress(VqaError):
        read_json_object(path)


@pytest.fixture(scope="module")
def whole_caches(folder: Path) -> tuple[bytes, bytes]:
    """Both caches, of thirty clips each."""
    with IngestCache(folder / "whole.sqlite") as ingest:
        ingest.put_all({f"{i:02}.mp4": CLIP for i in range(30)})
    with FeatureCache(folder / "measured.sqlite") as features:
        features.put_all({CacheKey(f"{i:02}", "", "v"): Outcome(row={"si": 1.5}) for i in range(30)})
    return (folder / "whole.sqlite").read_bytes(), (folder / "measured.sqlite").read_bytes()


@quick
@given(data=st.data())
def test_a_cache_gives_what_was_put_into_it_or_nothing(
    folder: Path, whole_caches: tuple[bytes, bytes], data: Any
) -> None:
    ingest, features = (data.draw(edited(content) | st.binary(max_size=200)) for content in whole_caches)
    path = folder / ".ingest-cache.sqlite"
    path.write_bytes(ingest)
    with suppress(VqaError):
        assert set(read_only(path)[0].values()) <= {CLIP}
        with IngestCache(path) as cache:
            assert set(cache.load().values()) <= {CLIP}
            cache.put("31.mp4", CLIP)
            assert cache.load()["31.mp4"] == CLIP
    path = folder / ".feature-cache.sqlite"
    path.write_bytes(features)
    with suppress(VqaError), FeatureCache(path) as measured:
        found = [measured.get(CacheKey(f"{i:02}", "", "v")) for i in range(30)]
        assert all(outcome in (None, Outcome(row={"si": 1.5})) for outcome in found)
