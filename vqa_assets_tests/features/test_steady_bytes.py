"""Features are measured from the bytes that their row names: from no others, and from no file that is being written."""

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Event
from typing import Any

import av
import numpy as np
import pytest

import vqa_assets
from vqa_assets.clips.folders import stamp_of
from vqa_assets.clips.hashing import StampedHash
from vqa_assets.corpora.raw_video import RawVideo
from vqa_assets.errors import BrokenClipError, ClipError
from vqa_assets.features.cache import FeatureCache
from vqa_assets.features.extractor import ClipExtractor
from vqa_assets.features.family import FamilyVersion, Measured
from vqa_assets.features.measuring import ClipToMeasure, MeasuringRun, extract_features, nothing_known, one_clip_row
from vqa_assets.ingest.cache import hashes_of
from vqa_assets.ingest.fakes import FakeProber
from vqa_assets.tables.paths import DataRoot
from vqa_assets_tests.shared.clips import sha256_of, tiny_clip, to_measure
from vqa_assets_tests.shared.fakes import SmallCorpus


def nothing_happens(path: Path) -> None:
    """A file at rest."""


@dataclass
class Reading:
    """Reads a clip, and what somebody does to the file ``meanwhile``; notes what it read."""

    meanwhile: Callable[[Path], None] = nothing_happens
    read: list[bytes] = field(default_factory=list)
    fails: bool = False

    version = "reading.1"
    families: Sequence[FamilyVersion] = (FamilyVersion("reading", "reading.1"),)

    def measure(
        self,
        clip: Path,
        *,
        families: Collection[str] | None = None,
        reference: Path | None = None,
        raw: RawVideo | None = None,
        stop: Event | None = None,
    ) -> Mapping[str, Measured | ClipError]:
        self.read.append(clip.read_bytes())
        self.meanwhile(reference or clip)
        if self.fails:
            raise BrokenClipError("does not decode")
        return {"reading": {"length": len(self.read[-1])}}


@pytest.fixture
def clip(tmp_path: Path) -> ClipToMeasure:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"as ingest read it")
    return to_measure(path)


def measured(clip: ClipToMeasure, extractor: Any, hashes: Any = nothing_known) -> tuple[Any, str]:
    """The clip's row, and why it has none."""
    path = clip.path.with_name("cache.sqlite")
    with FeatureCache(path) as cache, ThreadPoolExecutor(1) as executor:
        rows, report = extract_features([clip], extractor, executor, cache, MeasuringRun(1, Event(), hashes=hashes))
        (row,) = rows
    assert report.reconciles
    return row, next((reason for _, reason in report.failed), "")


def test_a_clip_that_changed_since_ingest_is_told_and_not_measured(clip: ClipToMeasure) -> None:
    clip.path.write_bytes(b"another")
    extractor = Reading()
    row, reason = measured(clip, extractor)
    assert (row, extractor.read) == (None, [])
    assert reason.startswith(f"clip changed since ingest: SHA-256 {sha256_of(clip.path)}, expected {clip.sha256}")
    assert reason.endswith("materialize corpus_jsonl again, or bring the clip back")
    clip.path.write_bytes(b"as ingest read it")  # and it is not held against the clip
    assert measured(clip, extractor) == ({"length": 17}, "")


def test_a_reference_that_changed_since_ingest_is_told_and_nothing_is_compared_with_it(
    clip: ClipToMeasure, tmp_path: Path
) -> None:
    reference = tmp_path / "reference.mp4"
    reference.write_bytes(b"as it was")
    ladder = replace(clip, reference=reference, reference_sha256=sha256_of(reference), ladder=True)
    reference.write_bytes(b"another")
    extractor = Reading()
    row, reason = measured(ladder, extractor)
    assert (row, extractor.read) == (None, [])
    assert reason.startswith("reference changed since ingest: SHA-256 ")


@pytest.mark.parametrize("fails", [False, True])
def test_a_clip_that_is_written_while_it_is_measured_is_read_again(clip: ClipToMeasure, fails: bool) -> None:
    def touch_once(path: Path) -> None:
        extractor.fails = fails and len(extractor.read) == 1  # what was made of a torn reading is no verdict
        if len(extractor.read) == 1:
            os.utime(path, ns=(1, 1))

    extractor = Reading(touch_once)
    assert measured(clip, extractor) == ({"length": 17}, "")
    assert len(extractor.read) == 2


def test_a_clip_that_another_replaces_while_it_is_measured_is_told(clip: ClipToMeasure) -> None:
    def replace_it(path: Path) -> None:
        other = path.with_name("other")
        other.write_bytes(b"AS INGEST READ IT")
        stamp = path.stat()
        os.utime(other, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))  # the same size and time: another file all the same
        other.replace(path)

    row, reason = measured(clip, Reading(replace_it))
    assert row is None
    assert reason.startswith("clip changed since ingest: ")


def test_a_clip_that_never_comes_to_rest_is_left_for_the_next_run(clip: ClipToMeasure) -> None:
    def touch(path: Path) -> None:
        os.utime(path, ns=(len(extractor.read), len(extractor.read)))

    extractor = Reading(touch)
    row, reason = measured(clip, extractor)
    assert (row, len(extractor.read)) == (None, 3)
    assert reason == "changed while it was read: expected a file at rest; run again when its copy is done"
    assert measured(clip, Reading()) == ({"length": 17}, "")


def test_what_ingest_hashed_stands_while_the_stamp_does(clip: ClipToMeasure) -> None:
    stamp = stamp_of(clip.path)
    assert stamp is not None
    claimed = replace(clip, sha256="c" * 64)  # that nobody hashes the file shows in that a wrong word of it stands

    def known(keys: Sequence[str]) -> Mapping[str, StampedHash]:
        assert keys == ["a.mp4"]
        return {"a.mp4": StampedHash(stamp, "c" * 64)}

    assert measured(claimed, Reading(), known) == ({"length": 17}, "")
    os.utime(clip.path, ns=(5, 5))
    claimed.path.with_name("cache.sqlite").unlink()
    row, reason = measured(claimed, Reading(), known)
    assert row is None
    assert f"SHA-256 {clip.sha256}" in reason


def test_the_ingest_cache_knows_the_clips_that_ingest_read(root_path: Path) -> None:
    corpus = SmallCorpus(DataRoot(root_path), prober=FakeProber())
    corpus.annotate([(f"{i}.mp4", "", 1 + i % 5, 0.5, 5) for i in range(600)])
    paths = [corpus.stage(f"{i}.mp4", f"clip {i}".encode()) for i in range(600)]
    corpus.ingest()
    known = hashes_of(corpus.folder / ".ingest-cache.sqlite", [path.name for path in paths] + ["absent.mp4"])
    assert known == {
        path.name: StampedHash(stamp, sha256_of(path)) for path in paths if (stamp := stamp_of(path)) is not None
    }
    assert hashes_of(corpus.folder / "nothing.sqlite", ["0.mp4"]) == {}


def test_one_file_by_itself_is_one_state_of_it(tmp_path: Path) -> None:
    tiny_clip(tmp_path / "a.mp4", 1)
    first = sha256_of(tmp_path / "a.mp4")

    extractor = ClipExtractor(feature_sets=("nr-v1",))
    calls: list[str] = []

    class Swap:
        def measure(self, clip: Path, **options: Any) -> Any:
            calls.append(sha256_of(clip))
            if len(calls) == 1:
                tiny_clip(clip, 2)
            return extractor.measure(clip, **options)

    row = one_clip_row(tmp_path / "a.mp4", Swap())  # type: ignore[arg-type]
    assert calls == [first, sha256_of(tmp_path / "a.mp4")]
    assert row["src_sha256"] == calls[1]
    assert row["n_feature_frames"] == 5


def picture(path: Path) -> None:
    """A PNG: FFmpeg would take it for a video of one frame."""
    with av.open(str(path), "w", format="image2", options={"update": "1"}) as container:
        stream = container.add_stream("png", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "rgb24"
        frame = av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), format="rgb24")
        container.mux([*stream.encode(frame), *stream.encode(None)])


def listing(path: Path) -> None:
    """A text that names another clip, which FFmpeg would open and take for this one."""
    tiny_clip(path.with_name("other.mp4"), 3)
    path.write_text(f"ffconcat version 1.0\nfile '{path.with_name('other.mp4')}'\n" * 9)


def test_one_list_of_formats_stands_for_every_decoder() -> None:
    package = Path(vqa_assets.__file__).parent
    texts = {path.relative_to(package).as_posix(): path.read_text(encoding="utf-8") for path in package.rglob("*.py")}
    assert [name for name, text in texts.items() if '"format_whitelist"' in text] == ["clips/containers.py"]
    reading = {name: text for name, text in texts.items() if "av.open(" in text and not name.startswith("demo/")}
    assert reading
    assert all("ONLY_CLIPS" in text for text in reading.values())


@pytest.mark.parametrize(
    ("pose", "reason"), [(picture, "no container of clips (Invalid argument)"), (listing, "a text file, not a clip")]
)
def test_what_is_no_container_of_clips_is_measured_neither_as_clip_nor_as_reference(
    tmp_path: Path, pose: Callable[[Path], None], reason: str
) -> None:
    poses = tmp_path / "poses.mp4"
    pose(poses)
    row, why = measured(to_measure(poses), ClipExtractor())
    assert row is None
    assert why.startswith(f"poses.mp4: {reason}")
    tiny_clip(tmp_path / "a.mp4", 1)
    ladder = replace(to_measure(tmp_path / "a.mp4"), reference=poses, reference_sha256=sha256_of(poses), ladder=True)
    row, why = measured(ladder, ClipExtractor())
    assert row is None
    assert reason in why
