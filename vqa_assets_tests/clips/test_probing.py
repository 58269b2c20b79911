"""Probing real clips, encoded here, and files that pose as clips."""

import errno
import hashlib
import json
import os
import pickle
import random
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.stream import Disposition

from vqa_assets.clips.caps import ClipCaps
from vqa_assets.clips.containers import refuse_what_is_no_clip
from vqa_assets.clips.geometry import Geometry, ProbeAnswer
from vqa_assets.clips.hashing import HASH_CHUNK_BYTES, ClipBytes, hash_file
from vqa_assets.clips.probing import FfprobeProber, ProbeTask, PyAvProber, probe_here
from vqa_assets.clips.processes import Worker
from vqa_assets.clips.pyav import answer_of
from vqa_assets.clips.trouble import MACHINES
from vqa_assets.clips.work import StoppedError
from vqa_assets.errors import BrokenClipError, ChildDiedError, IngestError, TooLargeError, TransientClipError

CLUSTER = bytes.fromhex("1F43B675")
PLAIN = Geometry(width=96, height=64, framerate=30.0, duration_s=1.0, pix_fmt="yuv420p", encoder_upstream="h264")
LIMIT_S = 20.0
X264 = {"preset": "ultrafast", "x264-params": "threads=1:keyint=10"}
VP9 = {"deadline": "realtime", "cpu-used": "8"}


def encode(
    path: Path,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    times: Iterable[int] = range(30),
    mux: dict[str, str] | None = None,
    audio_s: float = 0.0,
) -> Path:
    """A clip of 96×64 noise with a frame at each of ``times`` (in thirtieths of a second), with silence beside it."""
    options = VP9 if codec == "libvpx-vp9" else X264 if codec == "libx264" else {}
    pictures = np.random.default_rng(0)
    with av.open(str(path), "w", options=mux or {}) as container:
        stream = container.add_stream(codec, rate=30, options=options)
        stream.width, stream.height, stream.pix_fmt = 96, 64, pix_fmt
        stream.codec_context.time_base = Fraction(1, 30)
        sound = container.add_stream("libopus" if path.suffix == ".webm" else "aac", rate=48000) if audio_s else None
        for time_ in times:
            picture = pictures.integers(0, 255, (64, 96, 3), dtype=np.uint8)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format=pix_fmt)
            frame.pts, frame.time_base = time_, Fraction(1, 30)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if sound:
            add_silence(container, sound, audio_s)
    return path


def add_silence(container, stream, seconds: float) -> None:
    for number in range(round(seconds * 50)):
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 960), dtype=np.float32), format="fltp", layout="mono")
        frame.rate, frame.pts, frame.time_base = 48000, number * 960, Fraction(1, 48000)
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


def with_cover_art(path: Path, video: bool) -> Path:
    """An MP4 whose cover art comes before its silence, and before its pictures if it has any."""
    with av.open(str(path), "w") as container:
        cover = container.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 32, 32, "yuvj420p"
        cover.disposition = Disposition.attached_pic
        sound = container.add_stream("aac", rate=48000)
        stream = container.add_stream("libx264", rate=30, options=X264) if video else None
        if stream:
            stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        frame = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), dtype=np.uint8), format="rgb24")
        container.mux(cover.encode(frame.reformat(format="yuvj420p")) + cover.encode(None))
        add_silence(container, sound, 1.0)
        for number in range(30 if stream else 0):
            frame = av.VideoFrame.from_ndarray(np.zeros((64, 96, 3), dtype=np.uint8), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 30)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None) if stream else [])
    return path


def audio_only(path: Path) -> Path:
    with av.open(str(path), "w") as container:
        add_silence(container, container.add_stream("aac", rate=48000), 1.0)
    return path


def rotated(path: Path) -> Path:
    """A clip to be shown turned by 90°: the matrix in its track header (ISO/IEC 14496-12, 8.3.2) says so."""
    data = bytearray(encode(path).read_bytes())
    matrix = data.index(b"tkhd") + 4 + 4 + 20 + 16
    turned = (0, 1 << 16, 0, -1 << 16, 0, 0, 64 << 16, 0, 1 << 30)
    data[matrix : matrix + 36] = struct.pack(">9i", *turned)
    path.write_bytes(data)
    return path


def with_latin_1_title(path: Path) -> Path:
    with av.open(str(encode(path.with_suffix(".mov")))) as source, av.open(str(path), "w") as container:
        container.metadata["title"] = "cafeXcafeX"
        stream = container.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                container.mux(packet)
    path.write_bytes(path.read_bytes().replace(b"cafeXcafeX", "cafécafé  ".encode("latin-1")))
    return path


def cut(path: Path, share: float) -> Path:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


def clusters_of_unknown_size(path: Path) -> Path:
    """A live Matroska file as browsers write it: neither the Segment nor its Clusters say how long they are."""
    data = bytearray(encode(path, mux={"live": "1"}, times=range(0, 300, 10)).read_bytes())
    at = data.find(CLUSTER)
    while at >= 0:
        size_at = at + len(CLUSTER)
        length = 9 - data[size_at].bit_length()
        data[size_at : size_at + length] = ((1 << 7 * length + 1) - 1).to_bytes(length)
        at = data.find(CLUSTER, size_at)
    path.write_bytes(data)
    return path


CLIPS = {
    "h264.mp4": (encode, PLAIN),
    "faststart.mp4": (lambda p: encode(p, mux={"movflags": "+faststart"}), PLAIN),
    "fragmented.mp4": (lambda p: encode(p, mux={"movflags": "+frag_keyframe+empty_moov"}), PLAIN),
    "ten-bit.mp4": (lambda p: encode(p, pix_fmt="yuv420p10le"), replace(PLAIN, pix_fmt="yuv420p10le")),
    "vp9.webm": (lambda p: encode(p, codec="libvpx-vp9"), replace(PLAIN, encoder_upstream="vp9")),
    "h264.mkv": (encode, PLAIN),
    "live.mkv": (lambda p: encode(p, mux={"live": "1"}), replace(PLAIN, duration_s=0.0)),
    "live-clusters.mkv": (clusters_of_unknown_size, replace(PLAIN, duration_s=0.0)),
    "h264.mov": (encode, PLAIN),
    "ffv1.avi": (lambda p: encode(p, codec="ffv1"), replace(PLAIN, encoder_upstream="ffv1")),
    "rotated.mp4": (rotated, PLAIN),
    "varying.mp4": (
        lambda p: encode(p, times=[0, 1, 2, 4, 8, 16, 24]),
        replace(PLAIN, framerate=8.4, duration_s=round(25 / 30, 6)),
    ),
    "longer-sound.mp4": (lambda p: encode(p, audio_s=3.0), PLAIN),
    "longer-sound.webm": (
        lambda p: encode(p, codec="libvpx-vp9", audio_s=3.0),
        replace(PLAIN, encoder_upstream="vp9", duration_s=3.008),
    ),
    "latin-1-title.mp4": (with_latin_1_title, PLAIN),
    "latin-1-title.mkv": (with_latin_1_title, PLAIN),
    "cover-art.mp4": (lambda p: with_cover_art(p, video=True), PLAIN),
    "a name with %03d, #, é and 'quotes'.mp4": (encode, PLAIN),
}


def without_size(path: Path) -> None:
    """Raw pictures in an AVI whose stream header (BITMAPINFOHEADER) says that they are 0×0."""
    data = bytearray(encode(path, "rawvideo").read_bytes())
    size_at = data.index(b"strf") + 8 + 4
    data[size_at : size_at + 8] = bytes(8)
    path.write_bytes(data)


def page(path: Path) -> None:
    path.write_bytes(b"\n<!DOCTYPE html><html><body>Not here</body></html>")


POSING = {
    "empty.mp4": (lambda p: p.write_bytes(b""), "zero bytes"),
    "text.mp4": (lambda p: p.write_text("This is no clip. " * 100), "a text file, not a clip"),
    "pointer.mp4": (
        lambda p: p.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n"),
        "a Git-LFS pointer, not a clip; run git lfs pull",
    ),
    "page.mp4": (page, "an HTML page, not a clip"),
    "folder.mp4": (lambda p: p.mkdir(), "not a regular file"),
    "pipe.mp4": (os.mkfifo, "not a regular file"),
    "sound.mp4": (audio_only, "no video stream (streams: audio)"),
    "picture.mp4": (
        lambda p: shutil.copy(encode(p.with_suffix(".jpg"), "mjpeg", "yuvj420p", times=[0]), p),
        "no container of clips (Invalid argument)",
    ),
    "no-size.avi": (without_size, "zero geometry: 0×0"),
    "noise.mp4": (lambda p: p.write_bytes(random.Random(3).randbytes(5000)), "Invalid data found"),
    "sound-with-cover.mp4": (lambda p: with_cover_art(p, video=False), "no video stream (streams: audio, video)"),
    "cut.mp4": (lambda p: cut(encode(p), 0.5), "truncated: "),
    "cut-faststart.mp4": (lambda p: cut(encode(p, mux={"movflags": "+faststart"}), 0.95), "truncated: "),
    "cut-fragmented.mp4": (
        lambda p: cut(encode(p, mux={"movflags": "+frag_keyframe+empty_moov"}), 0.9),
        "truncated: ",
    ),
    "vast.mp4": (
        lambda p: p.write_bytes(b"\0\0\0\x01ftyp" + b"\xff" * 8 + b"\0" * 100),
        "Invalid data found",
    ),
    "cut.webm": (lambda p: cut(encode(p, codec="libvpx-vp9"), 0.8), "truncated: "),
    "cut.mkv": (lambda p: cut(encode(p), 0.99), "truncated: "),
}


@pytest.fixture(scope="module")
def pyav():
    prober = PyAvProber()
    yield prober
    prober.close()


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(PyAvProber, id="pyav"),
        pytest.param(FfprobeProber, id="ffprobe", marks=pytest.mark.needs_tool("ffprobe")),
    ],
)
def prober(request):
    prober = request.param()
    yield prober
    prober.close()


def refusal(prober: PyAvProber | FfprobeProber, path: Path, limit_s: float = LIMIT_S) -> str:
    with pytest.raises((BrokenClipError, TransientClipError)) as caught:
        prober.probe(path, limit_s)
    assert isinstance(caught.value, TransientClipError) == str(caught.value).startswith("no answer within")
    return str(caught.value)


# Clips


@pytest.mark.parametrize("name", CLIPS)
def test_a_clips_geometry(prober, tmp_path, name):
    make, geometry = CLIPS[name]
    make(tmp_path / name)
    assert prober.probe(tmp_path / name, LIMIT_S) == geometry


@pytest.mark.parametrize("name", POSING)
def test_a_file_that_poses_as_a_clip_is_called_what_it_is(prober, tmp_path, name):
    make, reason = POSING[name]
    make(tmp_path / name)
    assert refusal(prober, tmp_path / name).startswith(reason)


LOSING_THEIR_END = [
    *("faststart.mp4", "vp9.webm", "h264.mkv", "longer-sound.mp4", "longer-sound.webm", "live.mkv", "live-clusters.mkv")
]


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9, 0.999])
@pytest.mark.parametrize("name", LOSING_THEIR_END)
def test_a_clip_whose_end_is_missing_is_truncated(prober, tmp_path, name, share):
    path = tmp_path / name
    CLIPS[name][0](path)
    whole = path.stat().st_size
    cut(path, share)
    reason = refusal(prober, path)
    assert reason.startswith(f"truncated: {path.stat().st_size} of at least ")
    assert int(reason.split(" ")[-2]) <= whole


def with_open_end(path: Path) -> Path:
    """An MP4 whose samples lie in a last box that leaves its size open."""
    data = bytearray(path.read_bytes())
    at = data.index(b"mdat")
    data[at - 4 : at] = bytes(4)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("share", [0.6, 0.9, 0.999])
@pytest.mark.parametrize("audio_s", [0.0, 3.0])
def test_an_mp4_whose_boxes_do_not_say_where_they_end_is_checked_by_its_sample_tables(prober, tmp_path, share, audio_s):
    path = with_open_end(encode(tmp_path / "a.mp4", mux={"movflags": "+faststart"}, audio_s=audio_s))
    whole = path.stat().st_size
    assert prober.probe(path, LIMIT_S) == PLAIN
    cut(path, share)
    assert refusal(prober, path) == f"truncated: {path.stat().st_size} of at least {whole} bytes"


@pytest.mark.parametrize("damage", [b"\xff" * 4, bytes(4)])
@pytest.mark.parametrize("table", [b"stco", b"stsc", b"stsz"])
def test_sample_tables_that_do_not_agree_say_nothing_of_a_files_end(tmp_path, table, damage):
    path = with_open_end(encode(tmp_path / "a.mp4", mux={"movflags": "+faststart"}))
    data = bytearray(path.read_bytes())
    at = data.index(table) + (12 if table == b"stsz" else 8)
    data[at : at + 4] = damage
    path.write_bytes(data)
    refuse_what_is_no_clip(path)


def test_a_live_matroska_cut_between_two_elements_is_a_whole_stream_by_its_own_account(prober, tmp_path):
    path = encode(tmp_path / "a.mkv", mux={"live": "1"}, times=range(0, 300, 10))
    data = path.read_bytes()
    path.write_bytes(data[: data.rindex(CLUSTER)])
    assert prober.probe(path, LIMIT_S).width == 96


@pytest.mark.parametrize("rubbish", [bytes(5000), b"\xff" * 5000, b"some text"])
def test_rubbish_after_a_live_matroska_does_no_harm(prober, tmp_path, rubbish):
    path = encode(tmp_path / "a.mkv", mux={"live": "1"})
    path.write_bytes(path.read_bytes() + rubbish)
    assert prober.probe(path, LIMIT_S).width == 96


def test_rubbish_after_the_last_box_does_no_harm(prober, tmp_path):
    path = encode(tmp_path / "a.mp4")
    path.write_bytes(path.read_bytes() + b"\xff" * 20)
    assert prober.probe(path, LIMIT_S) == PLAIN


@pytest.mark.parametrize("head", ["#EXTM3U", "\n#EXTM3U", "ffconcat version 1.0\nfile {url}\n", "v=0\no=- 0 0 IN IP4"])
def test_a_playlist_is_refused_at_once_and_opens_nothing(prober, tmp_path, head):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/a.ts"
        path = tmp_path / "a.mp4"
        path.write_text(f"{head.format(url=url)}\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{url}\n#EXT-X-ENDLIST\n")
        begun = time.monotonic()
        assert refusal(prober, path) in ("an HLS playlist, not a clip", "a text file, not a clip")
        assert time.monotonic() - begun < 5
        listener.settimeout(0.1)
        with pytest.raises(TimeoutError):
            listener.accept()


def test_a_playlist_opens_nothing_even_where_its_first_bytes_are_not_looked_at(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        path = tmp_path / "a.m3u8"
        path.write_text(f"#EXTM3U\n#EXTINF:10,\nhttp://127.0.0.1:{listener.getsockname()[1]}/a.ts\n")
        with pytest.raises(BrokenClipError):
            answer_of(path)
        listener.settimeout(0.1)
        with pytest.raises(TimeoutError):
            listener.accept()


def test_a_file_that_is_not_there_says_nothing_of_a_clip(prober, tmp_path):
    with pytest.raises(FileNotFoundError):
        prober.probe(tmp_path / "absent.mp4", LIMIT_S)


def test_a_path_may_be_relative_and_begin_with_a_dash(prober, tmp_path, monkeypatch):
    encode(tmp_path / "-v.mp4")
    monkeypatch.chdir(tmp_path)
    assert prober.probe(Path("-v.mp4"), LIMIT_S) == PLAIN


def test_mutated_files_in_four_threads_give_a_geometry_or_a_reason(pyav, tmp_path):
    sources = [CLIPS[name][0](tmp_path / name).read_bytes() for name in ("h264.mp4", "vp9.webm", "ffv1.avi")]
    dice = random.Random(7)

    def outcome(number: int) -> Geometry | str:
        data = bytearray(sources[number % 3])
        for _ in range(dice.choice([1, 5, 50])):
            data[dice.randrange(min(len(data), dice.choice([500, 1 << 30])))] = dice.randrange(256)
        path = tmp_path / f"{number}.mp4"
        path.write_bytes(data)
        try:
            return pyav.probe(path, LIMIT_S)
        except BrokenClipError as error:
            return str(error)

    with ThreadPoolExecutor(4) as pool:
        outcomes = list(pool.map(outcome, range(300)))
    assert sum(isinstance(found, Geometry) for found in outcomes) > 20
    assert all(outcomes)


# Isolation


def fake_worker(tmp_path: Path, body: str, before: str = "") -> PyAvProber:
    """A prober whose workers run ``body`` for each question; ``path`` is the clip's name."""
    lines = "\n".join(f"    {line}" for line in body.splitlines())
    script = tmp_path / "worker.py"
    script.write_text(
        "import os, signal, time\n"
        "from vqa_assets.clips import probing, processes\n"
        "from vqa_assets.errors import BrokenClipError\n"
        f"{before}"
        f"def answer(task):\n    path = task.path\n{lines}\n"
        "probing.probe_here = answer\n"
        "processes.serve()\n"
    )
    return PyAvProber((sys.executable, str(script)))


@pytest.fixture
def clip(tmp_path):
    return encode(tmp_path / "clip.mp4")


def test_a_clip_that_crashes_the_library_costs_that_clip_only(tmp_path, clip):
    prober = fake_worker(
        tmp_path,
        "if 'bad' in path: os.kill(os.getpid(), signal.SIGSEGV)\nraise BrokenClipError('fine otherwise')",
    )
    bad = clip.with_name("bad.mp4")
    shutil.copy(clip, bad)
    assert refusal(prober, bad) == f"the probe crashes on it (signal {signal.SIGSEGV.value})"
    assert refusal(prober, clip) == "fine otherwise"
    prober.close()


def test_a_worker_that_died_meanwhile_is_replaced(tmp_path, clip):
    prober = fake_worker(
        tmp_path,
        "flag = path + '.died'\n"
        "if not os.path.exists(flag):\n    open(flag, 'w').close()\n    os._exit(9)\n"
        "raise BrokenClipError('asked again')",
    )
    assert refusal(prober, clip) == "asked again"
    prober.close()


def test_a_clip_that_hangs_the_library_is_given_up_when_its_time_is_up(tmp_path, clip):
    prober = fake_worker(tmp_path, "if 'bad' in path: time.sleep(60)\nraise BrokenClipError('fine otherwise')")
    bad = clip.with_name("bad.mp4")
    shutil.copy(clip, bad)
    begun = time.monotonic()
    assert refusal(prober, bad, limit_s=0.3) == "no answer within 0.3 s"
    assert time.monotonic() - begun < 3
    assert refusal(prober, clip) == "fine otherwise"
    prober.close()


@pytest.mark.parametrize("number", [n for n in MACHINES if n != errno.EIO])
def test_what_the_machine_refuses_the_library_is_no_fault_of_the_clip(tmp_path, clip, number):
    prober = fake_worker(tmp_path, f"raise OSError({number}, os.strerror({number}))")
    for _ in range(2):
        with pytest.raises(OSError, match=os.strerror(number)) as caught:
            prober.probe(clip, LIMIT_S)
        assert caught.value.errno == number
    prober.close()


def test_a_disk_that_fails_once_is_asked_again(tmp_path, clip):
    prober = library_worker(tmp_path, errno.EIO, times=1)
    assert prober.probe(clip, LIMIT_S) == PLAIN
    prober.close()


@pytest.mark.parametrize("number", [errno.ENOMEM, errno.EMFILE, errno.ESTALE])
def test_an_error_that_the_library_passes_on_from_the_machine_is_one_of_the_machine(tmp_path, clip, number):
    prober = library_worker(tmp_path, number, times=9)
    with pytest.raises(OSError, match=os.strerror(number)):
        prober.probe(clip, LIMIT_S)
    prober.close()


def test_a_library_that_speaks_of_the_disk_where_the_file_can_be_read_speaks_of_the_clip(tmp_path, clip):
    prober = library_worker(tmp_path, errno.EIO, times=9)
    assert refusal(prober, clip) == "Input/output error"
    prober.close()


def library_worker(tmp_path: Path, number: int, times: int) -> PyAvProber:
    """A prober whose workers have a library that cannot open a clip for a reason of the machine's, so many times."""
    script = tmp_path / "library.py"
    script.write_text(
        "import av\nfrom vqa_assets.clips import processes\n"
        f"really, left = av.open, [2 * {times}]\n"  # a probe opens a clip twice: at a glance, then in full
        "def failing(*args, **kwargs):\n"
        "    left[0] -= 1\n"
        f"    if left[0] >= 0:\n        av.error.err_check(-{number})\n"
        "    return really(*args, **kwargs)\n"
        "av.open = failing\n"
        "processes.serve()\n"
    )
    return PyAvProber((sys.executable, str(script)))


def test_a_worker_without_descriptors_is_no_fault_of_the_clip(tmp_path, clip):
    body = "import resource\nresource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))\nreturn really(task)"
    prober = fake_worker(tmp_path, body, "really = probing.probe_here\n")
    with pytest.raises(OSError, match="Too many open files"):
        prober.probe(clip, LIMIT_S)
    prober.close()


def test_a_clip_that_crashes_the_library_once_is_asked_again_and_is_whole(tmp_path, clip):
    body = (
        "if not os.path.exists(path + '.died'):\n"
        "    open(path + '.died', 'w').close()\n    os.kill(os.getpid(), signal.SIGABRT)\n"
        "return really(task)"
    )
    prober = fake_worker(tmp_path, body, "really = probing.probe_here\n")
    assert prober.probe(clip, LIMIT_S) == PLAIN
    prober.close()


@pytest.mark.parametrize(("signal_name", "crashed"), [("SIGKILL", False), ("SIGBUS", False)])
def test_a_worker_that_is_killed_says_nothing_of_the_clip_but_what_it_held(tmp_path, clip, signal_name, crashed):
    body = f"kept = bytearray(150_000_000)\ntime.sleep(0.5)\nos.kill(os.getpid(), signal.{signal_name})"
    prober = fake_worker(tmp_path, body)
    with pytest.raises(ChildDiedError, match=r"the probe was killed \(signal") as caught:
        prober.probe(clip, LIMIT_S)
    assert caught.value.crashed is crashed
    assert 150_000_000 < caught.value.memory_bytes < 1_000_000_000
    prober.close()


def test_a_worker_that_died_while_it_waited_is_no_death_of_the_next_clip(tmp_path, clip):
    body = (
        "if os.path.exists(path + '.begun'):\n    os.kill(os.getpid(), signal.SIGSEGV)\n"
        "raise BrokenClipError(str(os.getpid()))"
    )
    prober = fake_worker(tmp_path, body)
    os.kill(int(refusal(prober, clip)), signal.SIGKILL)
    time.sleep(0.1)
    clip.with_name("clip.mp4.begun").touch()
    assert refusal(prober, clip) == "the probe crashes on it (signal 11)"
    prober.close()


@pytest.mark.parametrize("complaint", ["Too many open files", "Cannot allocate memory", "Stale file handle"])
def test_a_program_that_complains_of_the_machine_condemns_no_clip(tmp_path, clip, complaint):
    prober = fake_ffprobe(tmp_path, f"echo 'file:{clip}: {complaint}' >&2; exit 1")
    with pytest.raises(OSError, match=complaint):
        prober.probe(clip, LIMIT_S)
    prober = fake_ffprobe(tmp_path, "kill -KILL $$")
    with pytest.raises(ChildDiedError, match="was killed"):
        prober.probe(clip, LIMIT_S)
    prober = fake_ffprobe(tmp_path, "kill -SEGV $$")
    assert refusal(prober, clip) == "the probe crashes on it (signal 11)"


# Caps

OVER = {
    "pixels": (ClipCaps(max_pixels=96 * 64 - 1), "too large: 96×64 are 6144 pixels, at most 6143 (max_pixels)"),
    "length": (ClipCaps(max_duration_s=0.9), "too large: 1 s, at most 0.9 (max_duration_s)"),
    "frames": (ClipCaps(max_frames=29), "too large: 30 frames, at most 29 (max_frames)"),
    "memory": (ClipCaps(memory_budget=100_000), "too large: decoding takes about 0 MB, at most 0 MB (memory_budget)"),
}


@pytest.mark.parametrize("cap", OVER)
def test_a_clip_over_a_cap_is_told_by_its_header_and_not_decoded(tmp_path, cap):
    caps, reason = OVER[cap]
    script = tmp_path / "library.py"
    script.write_text(
        "import os\nfrom vqa_assets.clips import processes, pyav\n"
        "pyav._look = pyav.settle_pixel_format = lambda *_: os.abort()\nprocesses.serve()\n"
    )
    prober = PyAvProber((sys.executable, str(script)), caps=caps)
    for name in ("h264.mp4", "fragmented.mp4", "vp9.webm", "h264.mkv", "ffv1.avi", "h264.ts"):
        CLIPS.get(name, (encode, PLAIN))[0](tmp_path / name)
        with pytest.raises(TooLargeError) as caught:
            prober.probe(tmp_path / name, LIMIT_S)
        assert str(caught.value) == reason
    prober.close()


@pytest.mark.parametrize("name", ["h264.mp4", "vp9.webm", "h264.mkv"])
def test_a_clip_at_its_caps_is_probed(tmp_path, name):
    make, geometry = CLIPS[name]
    make(tmp_path / name)
    prober = PyAvProber(caps=ClipCaps(max_pixels=96 * 64, max_duration_s=1.0, max_frames=30))
    assert prober.probe(tmp_path / name, LIMIT_S) == geometry
    prober.close()


def test_the_program_is_not_asked_of_a_clip_over_a_cap(clip):
    with pytest.raises(TooLargeError, match="max_pixels"):
        FfprobeProber("no-such-program", ClipCaps(max_pixels=100)).probe(clip, LIMIT_S)


def test_closing_stops_a_probe_under_way(tmp_path, clip):
    prober = fake_worker(tmp_path, "time.sleep(60)")
    threading.Timer(0.5, prober.close).start()
    begun = time.monotonic()
    with pytest.raises(StoppedError):
        prober.probe(clip, LIMIT_S)
    assert time.monotonic() - begun < 5


def test_a_closed_prober_can_be_used_again(clip):
    prober = PyAvProber()
    for _ in range(2):
        assert prober.probe(clip, LIMIT_S) == PLAIN
        prober.close()


def test_a_worker_is_kept_for_the_next_clip(tmp_path, clip):
    prober = fake_worker(tmp_path, "raise BrokenClipError(str(os.getpid()))")
    assert len({refusal(prober, clip) for _ in range(10)}) == 1
    with ThreadPoolExecutor(3) as pool:
        assert len(set(pool.map(lambda _: refusal(prober, clip), range(30)))) <= 3
    prober.close()


def test_a_worker_that_cannot_be_started_is_no_fault_of_the_clip(clip):
    with pytest.raises(IngestError, match="the probe's process did not start: No such file or directory"):
        PyAvProber(("/nonexistent/python",)).probe(clip, LIMIT_S)


def test_a_library_that_cannot_be_loaded_is_no_fault_of_the_clip(tmp_path, clip, monkeypatch):
    (tmp_path / "av.py").write_text("raise ImportError('No module named av')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(IngestError, match="No module named av; reinstall Python or PyAV"):
        PyAvProber().probe(clip, LIMIT_S)
    with pytest.raises(IngestError, match="exit code 1"):
        PyAvProber((sys.executable, "-c", "raise SystemExit(1)")).probe(clip, LIMIT_S)


def test_a_worker_ends_with_its_input(clip):
    with Worker() as worker:
        worker.ask(probe_here, ProbeTask(str(clip), 5))
        worker.close_stdin()
        assert worker.answer(30) == answer_of(clip)
        assert worker.wait(30) == 0


def test_an_answer_survives_the_pipe():
    answer = ProbeAnswer(96, 64, None, "h264", Fraction(30000, 1001), None, 1.5, None)
    assert pickle.loads(pickle.dumps(answer)) == answer


def test_importing_the_probers_loads_no_library():
    code = "import sys, vqa_assets.clips.probing; print('av' in sys.modules or 'numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


# The ffprobe program


def test_the_absence_of_ffprobe_is_told_with_its_remedy(clip):
    with pytest.raises(IngestError, match=r"'no-such-ffprobe'.*apt-get install ffmpeg.*\$FFPROBE_BIN"):
        FfprobeProber("no-such-ffprobe").probe(clip, LIMIT_S)


def fake_ffprobe(tmp_path: Path, body: str) -> FfprobeProber:
    script = tmp_path / "ffprobe"
    script.write_text(f'#!/bin/sh\n[ "$1" = -version ] && echo "ffprobe version 7" && exit\n{body}\n')
    script.chmod(0o755)
    return FfprobeProber(str(script))


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("exit 1", "-version ends with 1 and says 'nothing'"),
        ("exit 0", "-version ends with 0 and says 'nothing'"),
        ("echo hello", "-version ends with 0 and says 'hello'"),
        ("echo 'x: error while loading shared libraries' >&2; exit 127", "ends with 127 and says 'x: error while"),
        ("echo \"Unrecognized option 'format_whitelist'.\" >&2; exit 1", "Unrecognized option 'format_whitelist'"),
    ],
)
def test_a_program_that_is_no_ffprobe_condemns_no_clip(tmp_path, clip, body, told):
    script = tmp_path / "ffprobe"
    script.write_text(f"#!/bin/sh\n{body}\n")
    script.chmod(0o755)
    with pytest.raises(IngestError) as caught:
        FfprobeProber(str(script)).probe(clip, LIMIT_S)
    assert told in str(caught.value)
    assert "no clip was judged by it" in str(caught.value)


def test_an_answer_that_is_no_json_is_the_programs_fault(tmp_path, clip):
    with pytest.raises(IngestError, match="an answer that is no JSON"):
        fake_ffprobe(tmp_path, "echo hello").probe(clip, LIMIT_S)


def test_a_program_that_was_killed_once_is_asked_again(tmp_path, clip):
    (tmp_path / "first").touch()
    prober = fake_ffprobe(tmp_path, f'[ -e "{tmp_path}/first" ] && rm "{tmp_path}/first" && kill -KILL $$; echo "{{}}"')
    assert refusal(prober, clip) == "no video stream (streams: none)"


def test_the_programs_json_becomes_a_geometry(tmp_path, clip):
    told = {
        "streams": [
            {"codec_type": "audio", "codec_name": "aac"},
            {"codec_type": "video", "codec_name": "mjpeg", "width": 9, "height": 9, "disposition": {"attached_pic": 1}},
            {
                "codec_type": "video",
                "codec_name": "vp9",
                "width": 1920,
                "height": 1080,
                "pix_fmt": "yuv420p",
                "avg_frame_rate": "0/0",
                "r_frame_rate": "30000/1001",
            },
        ],
        "format": {"duration": "8.008000"},
    }
    prober = fake_ffprobe(tmp_path, f"cat <<'END'\n{json.dumps(told)}\nEND")
    assert prober.probe(clip, LIMIT_S) == Geometry(1920, 1080, 29.97003, 8.008, "yuv420p", "vp9")


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ('for last; do :; done; echo odd >&2; echo "$last: Invalid data found" >&2; exit 1', "Invalid data found"),
        ("exit 3", "ffprobe ended with 3"),
        ("kill -SEGV $$", "the probe crashes on it (signal 11)"),
        ("exec sleep 30", "no answer within 0.3 s"),
        ("echo '{}'", "no video stream (streams: none)"),
    ],
)
def test_the_programs_failures_are_the_clips(tmp_path, clip, body, reason):
    assert refusal(fake_ffprobe(tmp_path, body), clip, limit_s=0.3 if "sleep" in body else LIMIT_S) == reason


def test_closing_stops_the_program_too(tmp_path, clip):
    prober = fake_ffprobe(tmp_path, "exec sleep 60")
    threading.Timer(0.3, prober.close).start()
    begun = time.monotonic()
    with pytest.raises(StoppedError):
        prober.probe(clip, LIMIT_S)
    assert time.monotonic() - begun < 5


# The bytes


def test_the_hash_is_that_of_the_whole_file(tmp_path):
    content = random.Random(5).randbytes(2 * HASH_CHUNK_BYTES + 17)
    (tmp_path / "a").write_bytes(content)
    found = hash_file(tmp_path / "a", threading.Event())
    assert found == ClipBytes(hashlib.sha256(content).hexdigest(), len(content))


def test_an_empty_file_has_a_hash(tmp_path):
    (tmp_path / "a").touch()
    assert hash_file(tmp_path / "a", threading.Event()) == ClipBytes(hashlib.sha256().hexdigest(), 0)


def test_hashing_stops_at_the_signal(tmp_path):
    (tmp_path / "a").write_bytes(b"x")
    stop = threading.Event()
    stop.set()
    with pytest.raises(StoppedError):
        hash_file(tmp_path / "a", stop)
