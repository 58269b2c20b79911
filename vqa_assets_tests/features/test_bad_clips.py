"""What is no ordinary clip: each is measured as it is shown, or refused by name, and costs no other clip."""

import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from vqa_assets.clips.caps import ClipCaps, ClipSize, available_bytes
from vqa_assets.clips.work import StoppedError
from vqa_assets.corpora.raw_video import RawVideo
from vqa_assets.errors import BrokenClipError, FeatureError, TooLargeError
from vqa_assets.feature_names import CANONICAL_6, FeatureColumn
from vqa_assets.features.cache import FeatureCache
from vqa_assets.features.decoding import ClipFile, DecodedClip, Frame, read_picture
from vqa_assets.features.extractor import ClipExtractor
from vqa_assets.features.family import Family, FrameRequest, Measured
from vqa_assets.features.ffmpeg import build_version, ffmpeg_binary
from vqa_assets.features.libvmaf import Comparison
from vqa_assets.features.measuring import ClipToMeasure, FeatureReport, MeasuringRun, extract_features, one_clip_row
from vqa_assets.features.memory import Memory
from vqa_assets_tests.shared.clips import tiny_clip, to_measure

EXTRACT = ClipExtractor()
BY_ITSELF = ClipExtractor(feature_sets=("nr-v1",))


def made(path: Path, source: str, *options: str) -> Path:
    """A clip of a lavfi source, encoded by ffmpeg."""
    tool = [ffmpeg_binary(), "-y", "-loglevel", "error", "-f", "lavfi", "-i", source]
    subprocess.run([*tool, *options, path], check=True)
    return path


SHAPES = "testsrc2=size=160x96:rate=25:duration=0.48"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bad")


@pytest.fixture(scope="module")
def plain(folder: Path) -> Path:
    return made(folder / "plain.mp4", SHAPES)


def test_a_truncated_clip_is_refused(folder: Path, plain: Path) -> None:
    for name, options in {"t.mp4": ("-movflags", "+faststart"), "t.mkv": (), "t.webm": ("-c:v", "libvpx-vp9")}.items():
        whole = made(folder / name, SHAPES, *options).read_bytes()
        (folder / name).write_bytes(whole[: len(whole) * 7 // 10])
        with pytest.raises(BrokenClipError, match=rf"{name}: truncated: \d+ of at least \d+ bytes"):
            EXTRACT.extract(folder / name)


@pytest.fixture(scope="module")
def two_seconds(folder: Path) -> dict[str, Path]:
    source = "testsrc2=size=320x192:rate=25:duration=2"
    return {name: made(folder / f"long.{name}", source, "-g", "10", "-bf", "0") for name in ("mkv", "mp4")}


def corrupted(clip: Path, size: int) -> Path:
    whole, path = clip.read_bytes(), clip.with_stem(f"corrupt{size}")
    middle = len(whole) // 2
    path.write_bytes(whole[:middle] + bytes(size) + whole[middle + size :])
    return path


def test_bytes_that_the_decoder_patches_up_are_measured_and_counted(two_seconds: dict[str, Path]) -> None:
    row = EXTRACT.extract(corrupted(two_seconds["mkv"], 400))
    assert (row["clip_damaged"], row["n_feature_frames"]) == (1, 50)
    assert all(row[name] is not None for name in (*CANONICAL_6, "si", "saliency"))
    assert EXTRACT.extract(two_seconds["mkv"])["clip_damaged"] == 0


def test_a_clip_whose_middle_does_not_decode_is_refused(two_seconds: dict[str, Path]) -> None:
    with pytest.raises(BrokenClipError, match=r"corrupt4000\.mp4: does not decode: Invalid data found"):
        EXTRACT.extract(corrupted(two_seconds["mp4"], 4000))


def test_a_clip_of_sound_alone_is_refused_by_what_it_holds(folder: Path) -> None:
    sound = made(folder / "sound.mp4", "sine=duration=1")
    with pytest.raises(BrokenClipError, match=r"sound\.mp4: no video stream that can be decoded \(streams: audio\)"):
        EXTRACT.extract(sound)


def test_a_clip_without_a_frame_is_refused(folder: Path) -> None:
    with av.open(str(folder / "none.mkv"), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        container.start_encoding()
    with pytest.raises(BrokenClipError, match=r"none\.mkv: (no frame decodes|does not decode)"):
        EXTRACT.extract(folder / "none.mkv")


@pytest.mark.parametrize("pixels", ["gray", "gray10le"])
def test_a_monochrome_clip_has_no_saturation(folder: Path, pixels: str) -> None:
    row = EXTRACT.extract(made(folder / f"{pixels}.mkv", SHAPES, "-pix_fmt", pixels, "-c:v", "ffv1"))
    assert (row["saturation"], row["saturation_spread"]) == (0, 0)
    assert row["colourfulness"] == pytest.approx(0, abs=0.01)
    assert row["adm2"] > 0.3  # type: ignore[operator]
    assert row["feature_bitdepth"] == (8 if pixels == "gray" else 10)


def test_alpha_is_left_out(folder: Path) -> None:
    with_alpha = made(folder / "alpha.mkv", f"{SHAPES},format=yuva420p", "-c:v", "ffv1", "-pix_fmt", "yuva420p")
    without = made(folder / "opaque.mkv", f"{SHAPES},format=yuv420p", "-c:v", "ffv1", "-pix_fmt", "yuv420p")
    rows = [EXTRACT.extract(clip) for clip in (with_alpha, without)]
    for row in rows:
        del row["bits_per_pixel"]
    assert rows[0] == rows[1]


def test_full_range_and_limited_range_of_one_picture_measure_alike(folder: Path) -> None:
    rows = []
    for levels in ("tv", "pc"):
        options = ["-vf", f"scale=out_range={levels},format=yuv420p", "-color_range", levels, "-c:v", "ffv1"]
        rows.append(EXTRACT.extract(made(folder / f"{levels}.mkv", SHAPES, *options)))
    for name in ("si", "luma", "contrast", "saliency"):
        assert rows[0][name] == pytest.approx(rows[1][name], rel=0.02)


def test_a_16_by_16_clip_is_measured_by_itself(folder: Path) -> None:
    row = EXTRACT.extract(made(folder / "16.mp4", "testsrc2=size=16x16:rate=25:duration=0.2"))
    assert row["adm2"] is None
    assert row["nss2_shape"] is not None
    assert math.isfinite(row["blur"])  # type: ignore[arg-type]


def test_ten_bits_stay_ten_bits(folder: Path) -> None:
    """A ramp of a quarter of an 8-bit level per pixel: in 8 bits it would be a staircase, and its SI of other kind."""
    ramp = "color=black:size=64x64:rate=25:duration=0.2,format=yuv420p10le,geq=lum='400+X':cb=512:cr=512"
    row = EXTRACT.extract(made(folder / "ramp.mkv", ramp, "-c:v", "ffv1", "-pix_fmt", "yuv420p10le"))
    assert (row["feature_bitdepth"], row["clip_bitdepth"]) == (10, 10)
    assert row["noise"] < 0.02 + 1 / 8  # type: ignore[operator]
    assert row["contrast"] == pytest.approx(np.arange(64).std() / 4 * 1023 / 876, rel=0.01)


def test_interlaced_frames_are_measured_as_they_are_stored_and_counted(folder: Path) -> None:
    options = ("-vf", "interlace", "-flags", "+ilme+ildct", "-c:v", "mpeg2video")
    row = EXTRACT.extract(made(folder / "interlaced.mkv", SHAPES, *options))
    assert (row["clip_interlaced"], row["nr_height"]) == (1, 96)
    assert row["si"] > 0  # type: ignore[operator]


def test_one_frame_has_neither_change_nor_flicker(folder: Path) -> None:
    row = EXTRACT.extract(made(folder / "one.mkv", SHAPES, "-frames:v", "1"))
    assert (row["ti"], row["flicker"], row["si_std"], row["n_feature_frames"]) == (0, 0, 0, 1)


def test_of_a_long_clip_the_first_frames_are_sampled_evenly(folder: Path) -> None:
    clip = made(folder / "hour.mkv", "testsrc2=size=32x32:rate=30:duration=80")
    row = BY_ITSELF.extract(clip)
    assert (row["n_feature_frames"], row["nr_duration_s"]) == (1800, pytest.approx(60, abs=0.1))


STILL = """
import re, resource, sys
from pathlib import Path
from vqa_assets.features.extractor import ClipExtractor
row = ClipExtractor().extract(Path(sys.argv[1]))
own = int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) // 1024
childs = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024
print(row["feature_width"], row["n_feature_frames"], own, childs)
"""
# not RUSAGE_SELF: its ru_maxrss outlives exec, and would be the peak of the process that runs the tests


def test_an_8k_still_takes_no_more_memory_than_it_is_said_to_hold(folder: Path) -> None:
    still = made(folder / "8k.mp4", "testsrc2=size=7680x4320:rate=25", "-frames:v", "1", "-preset", "ultrafast")
    told = subprocess.run([sys.executable, "-c", STILL, still], check=True, capture_output=True, text=True).stdout
    width, frames, own, childs = map(int, told.split())
    assert (width, frames) == (7680, 1)
    held = Comparison("8k", read_picture(ClipFile(still)), 1800, expected=1).memory_bytes / 2**20
    assert own < 800
    assert 0.5 * held < childs < 1.1 * held


KILLED = """
import sys, threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from vqa_assets.clips.hashing import hash_file
from vqa_assets.features.cache import FeatureCache
from vqa_assets.features.extractor import ClipExtractor
from vqa_assets.features.measuring import ClipToMeasure, MeasuringRun, extract_features
plain, clips = Path(sys.argv[1]).read_bytes(), []
for number in range(int(sys.argv[3])):
    path = Path(sys.argv[2]).with_name(f"{number}.mp4")
    # A box that nobody reads, behind the clip: other bytes, the same pictures.
    path.write_bytes(plain + (12).to_bytes(4) + b"free" + number.to_bytes(4))
    clips.append(ClipToMeasure(str(number), path, hash_file(path, threading.Event()).sha256))
run = MeasuringRun(2, threading.Event(), lambda done, failed: print(done, flush=True))
with FeatureCache(Path(sys.argv[2])) as cache, ThreadPoolExecutor(2) as executor:
    extract_features(clips, ClipExtractor(), executor, cache, run)
"""


def test_a_run_that_is_killed_loses_only_the_clips_in_hand_and_leaves_no_process(plain: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache.sqlite"
    begun = [sys.executable, "-c", KILLED, plain, cache, "200"]
    with subprocess.Popen(begun, stdout=subprocess.PIPE, env={**os.environ, "TMPDIR": str(tmp_path)}) as run:
        committed = next(int(line) for line in run.stdout or () if int(line) >= 3)
        run.kill()
    again = subprocess.run([sys.executable, "-c", KILLED, plain, cache, "8"], check=True, capture_output=True)
    known = int(again.stdout.split()[0])
    assert committed <= known <= 8
    assert int(again.stdout.split()[-1]) == 8
    ends = time.monotonic() + 30
    while children_in(tmp_path) and time.monotonic() < ends:
        time.sleep(0.1)
    assert children_in(tmp_path) == []


def children_in(folder: Path) -> list[str]:
    """Processes whose working directory is below ``folder``."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cwd"):
        with suppress(OSError):
            if entry.readlink().is_relative_to(folder):
                found.append(entry.parent.name)
    return found


def stand_in(folder: Path, monkeypatch: pytest.MonkeyPatch, behaviour: str) -> None:
    """An ffmpeg that names itself like the real one and then does as it is told."""
    real = ffmpeg_binary()
    fake = folder / f"ffmpeg-{len(list(folder.iterdir()))}"
    fake.write_text(f'#!/bin/sh\nif [ "$1" = -version ]; then exec {real} -version; fi\n{behaviour}\n')
    fake.chmod(0o755)
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(fake))
    build_version.cache_clear()


def measured_alone(clip: Path, cache: Path, **run: Any) -> FeatureReport:
    with FeatureCache(cache) as kept, ThreadPoolExecutor(1) as executor:
        return extract_features([to_measure(clip)], EXTRACT, executor, kept, MeasuringRun(1, threading.Event(), **run))[
            1
        ]


ONCE = 'if [ ! -e {flag} ]; then touch {flag}; {dies}; fi; exec {real} "$@"'


@pytest.mark.parametrize("dies", ["kill -SEGV $$", "kill -KILL $$"])
def test_a_child_that_dies_once_is_asked_again(
    plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dies: str
) -> None:
    once = ONCE.format(flag=tmp_path / "died", dies=dies, real=ffmpeg_binary())
    stand_in(tmp_path, monkeypatch, once)
    assert measured_alone(plain, tmp_path / "cache").measured == 1
    assert (tmp_path / "died").exists()


def test_a_crash_of_libvmaf_twice_costs_its_clip_and_is_remembered(
    plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(tmp_path, monkeypatch, "head -c 1000 > /dev/null; kill -SEGV $$")
    for _ in range(2):
        report = measured_alone(plain, tmp_path / "cache")
        assert report.failed == [("plain.mp4", "plain.mp4: libvmaf crashes on it: SIGSEGV; leave the clip out")]
        stand_in(tmp_path, monkeypatch, "exit 1")


def test_a_killed_child_says_nothing_lasting_about_the_clip(
    plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(tmp_path, monkeypatch, "kill -KILL $$")
    ((_, reason),) = measured_alone(plain, tmp_path / "cache").failed
    assert reason == "plain.mp4: ffmpeg was killed; give it more memory, or fewer workers"
    monkeypatch.undo()
    build_version.cache_clear()
    assert measured_alone(plain, tmp_path / "cache").measured == 1


def test_a_child_that_is_killed_in_three_runs_condemns_its_clip(
    plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(tmp_path, monkeypatch, "kill -KILL $$")
    reasons = [measured_alone(plain, tmp_path / "cache").failed[0][1] for _ in range(3)]
    assert [reason.startswith("in 3 runs: ") for reason in reasons] == [False, False, True]
    monkeypatch.undo()
    build_version.cache_clear()
    assert measured_alone(plain, tmp_path / "cache").failed == [("plain.mp4", reasons[-1])]


@dataclass(frozen=True)
class Deadly(Family):
    """Dies by ``signal`` of the clip that is called ``deadly.mp4``."""

    signal: int
    algorithm = 1
    frames = FrameRequest(every=True)
    name = "deadly"
    columns = (FeatureColumn("deadly_frames", "integer", "Frames"),)

    @contextmanager
    def open(self, clip: DecodedClip) -> "Iterator[Counted]":
        if clip.name == "deadly.mp4":
            os.kill(os.getpid(), self.signal)
        yield Counted()


@dataclass
class Counted:
    count: int = 0

    def add(self, frame: Frame) -> None:
        self.count += frame.index >= 0

    def columns(self) -> Measured:
        return {"deadly_frames": self.count}


def run_over(clips: Path, cache: Path, died: int) -> FeatureReport:
    """A run over a folder of clips with a family that dies of one of them."""
    extractor = ClipExtractor(feature_sets=("nr-v1",), further=(Deadly(died),))
    each = [to_measure(path) for path in sorted(clips.iterdir())]
    with FeatureCache(cache) as kept, ThreadPoolExecutor(2) as executor:
        return extract_features(each, extractor, executor, kept, MeasuringRun(1, threading.Event()))[1]


DEADLY = """import sys
from pathlib import Path
from vqa_assets_tests.features.test_bad_clips import run_over
run_over(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
"""


@pytest.mark.parametrize("died", [signal.SIGSEGV, signal.SIGKILL])
def test_a_clip_that_takes_the_run_with_it_is_measured_apart_by_the_next_and_costs_no_neighbour(
    plain: Path, tmp_path: Path, died: signal.Signals
) -> None:
    clips = tmp_path / "clips"
    clips.mkdir()
    # A free box behind the rest changes the bytes and nothing else.
    for name in ("a", "deadly", "z"):
        box = (8 + 6).to_bytes(4) + b"free" + name[:6].rjust(6).encode()
        (clips / f"{name}.mp4").write_bytes(plain.read_bytes() + box)
    first = subprocess.run([sys.executable, "-c", DEADLY, clips, tmp_path / "cache", str(int(died))], check=False)
    assert first.returncode == -died
    # A crash condemns it at once: it crashed the run, and twice the process apart.
    for verdict in {signal.SIGSEGV: ("crashes on it", "crashes on it"), signal.SIGKILL: ("was killed",)}[died]:
        report = run_over(clips, tmp_path / "cache", died)
        assert report.measured + report.cached == 2
        ((key, reason),) = report.failed
        assert (key, verdict in reason) == ("deadly.mp4", True), reason


@pytest.mark.parametrize("trouble", [OSError(5, "Input/output error"), PermissionError(13, "Permission denied")])
@pytest.mark.parametrize("times", [1, 99])
def test_a_disk_that_fails_costs_a_clip_this_run_at_most(
    plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trouble: OSError, times: int
) -> None:
    left, really = [times], Path.exists

    def exists(self: Path) -> bool:
        if self == plain and left[0] > 0:
            left[0] -= 1
            raise trouble
        return really(self)

    monkeypatch.setattr(Path, "exists", exists)
    report = measured_alone(plain, tmp_path / "cache")
    assert (report.measured, len(report.failed)) == ((1, 0) if times == 1 else (0, 1))
    monkeypatch.undo()
    assert not measured_alone(plain, tmp_path / "cache").failed


def test_want_of_memory_in_this_process_costs_a_clip_this_run_at_most(
    plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hungry(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(ClipExtractor, "measure", hungry)
    assert measured_alone(plain, tmp_path / "cache").failed == [("plain.mp4", "cannot be read: no memory")]
    monkeypatch.undo()
    assert measured_alone(plain, tmp_path / "cache").measured == 1


CAPS = {
    "max_pixels": 160 * 96 - 1,
    "max_duration_s": 0.4,
    "max_frames": 11,
    "memory_budget": 40_000_000,  # the decoder fits, and the comparison does not
}


@pytest.mark.parametrize("cap", CAPS)
def test_a_clip_over_a_cap_is_told_and_measured_when_the_cap_changes(plain: Path, tmp_path: Path, cap: str) -> None:
    report = measured_alone(plain, tmp_path / "cache", caps=ClipCaps(**{cap: CAPS[cap]}))
    ((key, reason),) = report.too_large
    assert (key, report.failed, report.reconciles) == ("plain.mp4", [], True)
    assert f"({cap})" in reason
    assert measured_alone(plain, tmp_path / "cache").measured == 1
    again = measured_alone(plain, tmp_path / "cache", caps=ClipCaps(**{cap: CAPS[cap]}))
    assert again.cached == 1, "what was measured stays"


def test_what_is_over_a_cap_by_its_row_its_header_or_its_reference_is_not_decoded(
    plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ClipExtractor, "measure", lambda *_, **__: pytest.fail("decoded"))
    large = made(tmp_path / "large.mkv", "testsrc2=size=320x192:rate=25:duration=0.2")
    raw = RawVideo(width=320, height=192)
    (tmp_path / "large.yuv").write_bytes(bytes(raw.frame_bytes))
    clips = [
        replace(to_measure(plain), key="row", size=ClipSize(320, 192)),
        replace(to_measure(large), key="header"),
        ClipToMeasure("reference", plain, sha256="3", reference=large, reference_sha256="2", ladder=True),
        ClipToMeasure("raw", tmp_path / "large.yuv", sha256="4", raw=raw),
    ]
    run = MeasuringRun(4, threading.Event(), caps=ClipCaps(max_pixels=160 * 96))
    with FeatureCache(tmp_path / "cache") as cache, ThreadPoolExecutor(1) as executor:
        _, report = extract_features(clips, EXTRACT, executor, cache, run)
    assert [key for key, _ in report.too_large] == ["row", "header", "reference", "raw"]


@pytest.mark.parametrize("cap", CAPS)
def test_one_clip_over_a_cap_is_told_by_name(plain: Path, cap: str) -> None:
    with pytest.raises(TooLargeError, match=rf"plain\.mp4: too large: .*, at most .* \({cap}\)"):
        one_clip_row(plain, EXTRACT, caps=ClipCaps(**{cap: CAPS[cap]}))
    option = f"--{cap.replace('_', '-')}"
    with pytest.raises(TooLargeError, match=rf"plain\.mp4: too large: .*, at most .* \({option} raises it\)"):
        one_clip_row(plain, EXTRACT, caps=ClipCaps(**{cap: CAPS[cap]}, by_options=True))


def test_one_clip_whose_header_tells_less_than_its_pictures_is_measured_against_what_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = tmp_path / "small.mp4"
    content = bytearray(tiny_clip(clip, seed=1))
    size_at = content.index(b"avc1", content.index(b"stsd")) + 4 + 24  # ISO/IEC 14496-12, 12.1.3
    content[size_at : size_at + 4] = (16).to_bytes(2) * 2
    clip.write_bytes(content)
    monkeypatch.setattr(ClipExtractor, "measure", lambda *_, **__: pytest.fail("decoded"))
    with pytest.raises(TooLargeError, match="64×48 are 3072 pixels, at most 3071"):
        one_clip_row(clip, EXTRACT, caps=ClipCaps(max_pixels=64 * 48 - 1))


def test_a_full_disk_in_the_child_ends_the_run(plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(tmp_path, monkeypatch, "cat > /dev/null; echo 'features.json: No space left on device' >&2; exit 1")
    with pytest.raises(FeatureError, match="No space left on device; free space"):
        EXTRACT.extract(plain)


def test_no_room_for_temporary_files_ends_the_run(plain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", "/nonexistent/place")
    with pytest.raises(FeatureError, match=r"no temporary folder can be made: .*; free space, or set TMPDIR"):
        EXTRACT.extract(plain)


def test_a_cache_that_cannot_grow_ends_the_run_and_loses_nothing(folder: Path, tmp_path: Path) -> None:
    """Files of this process may not grow beyond what the cache has already, as on a full disk."""
    script = """
import resource, signal, sys
from pathlib import Path
from vqa_assets.errors import FeatureError
from vqa_assets.features.cache import CacheKey, FeatureCache, Outcome
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
with FeatureCache(Path(sys.argv[1])) as cache:
    cache.put(CacheKey("first", "", "v"), Outcome(row={"si": 1.0}))
    resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))
    try:
        for number in range(1000):
            cache.put(CacheKey(str(number), "", "v"), Outcome(row={str(i): i for i in range(200)}))
    except FeatureError as error:
        print(error)
"""
    path = tmp_path / "cache.sqlite"
    told = subprocess.run([sys.executable, "-c", script, path], check=True, capture_output=True, text=True).stdout
    assert "the feature cache cannot be used" in told
    with FeatureCache(path) as cache:
        from vqa_assets.features.cache import CacheKey

        found = cache.get(CacheKey("first", "", "v"))
    assert found is not None
    assert found.row == {"si": 1.0}


def test_bad_clips_are_named_and_cost_no_good_one(folder: Path, plain: Path, tmp_path: Path) -> None:
    names = {"good.mp4": plain.read_bytes(), "text.mp4": b"hello\n" * 9, "cut.mp4": plain.read_bytes()[:900]}
    clips = []
    for name, content in names.items():
        (tmp_path / name).write_bytes(content)
        clips.append(to_measure(tmp_path / name))
    with FeatureCache(tmp_path / "cache.sqlite") as cache, ThreadPoolExecutor(2) as executor:
        rows, report = extract_features(clips, EXTRACT, executor, cache, MeasuringRun(4, threading.Event()))
    assert report.reconciles
    assert [key for key, _ in report.failed] == ["text.mp4", "cut.mp4"]
    assert [row is not None for row in rows] == [True, False, False]


def test_memory_is_held_and_given_back() -> None:
    memory, order = Memory(budget=100), []

    def work(number: int) -> None:
        with memory.held(60):
            order.append(("in", number))
            time.sleep(0.02)
            order.append(("out", number))

    with ThreadPoolExecutor(3) as executor:
        list(executor.map(work, range(3)))
    assert [one[0] for one in order] == ["in", "out"] * 3


def test_a_clip_that_needs_more_than_all_memory_is_too_large_whatever_is_held() -> None:
    memory = Memory(budget=100_000_000)
    with memory.held(60_000_000), pytest.raises(TooLargeError, match=r"takes about 200 MB, at most 100 MB"):
        memory.held(200_000_000).__enter__()
    memory.keep_to(ClipCaps(memory_budget=300_000_000))
    with memory.held(60_000_000), memory.held(200_000_000):
        pass


def test_waiting_for_memory_ends_with_the_stop_signal() -> None:
    memory, stop = Memory(budget=10), threading.Event()
    stop.set()

    def waits() -> None:
        with memory.held(10, stop):
            pass

    with memory.held(10), pytest.raises(StoppedError):
        waits()


def test_there_is_memory() -> None:
    assert 1 << 20 < available_bytes() < 1 << 50
