"""One clip, measured: decoding, the comparison by libvmaf, the extractor. Clips are made here."""

import json
import math
import pickle
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path

import av
import numpy as np
import pytest

from vqa_assets.clips.work import StoppedError
from vqa_assets.errors import BrokenClipError, ClipError, FeatureError, TransientClipError
from vqa_assets.feature_names import (
    CANONICAL_6,
    KONVID_V1,
    NO_REFERENCE,
    NO_REFERENCE_CLIP,
    NR_V1,
    SHOT_FEATURES,
    TIME_VARYING,
    pooled_columns,
)
from vqa_assets.features.decoding import ClipFile, Picture, opened, read_picture, small_size
from vqa_assets.features.extractor import ClipExtractor
from vqa_assets.features.family import pooled
from vqa_assets.features.ffmpeg import Child, build_version, ffmpeg_binary
from vqa_assets.features.libvmaf import Comparison, comparing, read_report

EXTRACT = ClipExtractor()


@dataclass(frozen=True)
class Spec:
    """A test clip: a lavfi picture source, and how it is encoded; ``times`` are timestamps in ms."""

    codec: str = "libx264"
    pixels: str = "yuv420p"
    width: int = 160
    height: int = 96
    frames: int = 12
    source: str = "testsrc2"
    times: tuple[int, ...] = ()


def make_clip(path: Path, spec: Spec) -> Path:
    generator = av.open(
        f"{spec.source}{':' if '=' in spec.source else '='}size={spec.width}x{spec.height}:rate=30", format="lavfi"
    )
    base = Fraction(1, 1000) if spec.times else Fraction(1, 30)
    with generator, av.open(str(path), "w") as out:
        stream = out.add_stream(spec.codec, rate=30, options={"preset": "ultrafast"} if "264" in spec.codec else {})
        stream.width, stream.height, stream.pix_fmt = spec.width, spec.height, spec.pixels
        stream.time_base = stream.codec_context.time_base = base
        for index, picture in enumerate(islice(generator.decode(video=0), spec.frames)):
            frame = picture.reformat(format=spec.pixels)
            frame.pts, frame.time_base = (spec.times[index] if spec.times else index), base
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("clips")


@pytest.fixture(scope="module")
def plain(folder):
    return make_clip(folder / "plain.mp4", Spec(width=320, height=180, frames=30))


@pytest.fixture(scope="module")
def row(plain):
    return EXTRACT.extract(plain)


def independent_report(clip: Path, work: Path, pixels: str) -> list[dict[str, float]]:
    """The same comparison in two processes and by way of a file, without any of the code under test."""
    encoded, report = work / "encoded.mkv", work / "report.json"
    tool = [ffmpeg_binary(), "-y", "-nostdin", "-loglevel", "error"]
    shape = f"format={pixels},settb=1/25,setpts=N"
    encode = ["-vf", shape, "-enc_time_base", "1:25", "-c:v", "libx264", "-preset", "veryfast", "-crf", "35"]
    encode += ["-x264-params", "mbtree=0"]
    subprocess.run([*tool, "-i", clip, *encode, "-threads", "1", "-fps_mode", "passthrough", encoded], check=True)
    graph = f"[0:v]settb=1/25,setpts=N[d];[1:v]{shape}[r];[d][r]libvmaf=log_fmt=json:log_path={report}"
    subprocess.run([*tool, "-i", encoded, "-i", clip, "-lavfi", graph, "-f", "null", "-"], check=True)
    return [frame["metrics"] for frame in json.loads(report.read_text())["frames"]]


def scores_of(clip: Path, stop: threading.Event | None = None) -> dict[str, list[float]]:
    with opened(ClipFile(clip)) as source:
        comparison = Comparison(clip.name, read_picture(ClipFile(clip)), 1800)
        with comparing(comparison, ffmpeg_binary(), stop) as under_way:
            for frame in source.frames(1800, stop):
                under_way.feed(frame.planes)
            return under_way.scores()


CODECS = [
    pytest.param("h264.mp4", Spec(), 8, id="h264-8bit"),
    pytest.param("h264-10.mp4", Spec(pixels="yuv420p10le"), 10, id="h264-10bit"),
    pytest.param("vp9.webm", Spec(codec="libvpx-vp9"), 8, id="vp9"),
]


@pytest.mark.parametrize(("name", "spec", "bits"), CODECS)
def test_libvmaf_features_equal_an_independent_run(folder, tmp_path, name, spec, bits):
    clip = make_clip(folder / name, spec)
    scores = scores_of(clip)
    expected = independent_report(clip, tmp_path, "yuv420p" if bits == 8 else "yuv420p10le")
    assert len(expected) == spec.frames
    assert scores == {
        **{f: [metrics[f"integer_{f}"] for metrics in expected] for f in CANONICAL_6},
        "vmaf": [metrics["vmaf"] for metrics in expected],
    }


@pytest.mark.parametrize(("name", "spec", "bits"), CODECS)
def test_a_row_says_what_was_compared(folder, name, spec, bits):
    row = EXTRACT.extract(make_clip(folder / f"row-{name}", spec))
    geometry = {k: row[k] for k in ("feature_width", "feature_height", "feature_bitdepth", "n_feature_frames")}
    assert list(geometry.values()) == [160, 96, bits, 12]
    assert row["feature_reference"] == "recompressed"
    assert row["vmaf"] == pytest.approx(np.mean(scores_of(folder / f"row-{name}")["vmaf"]))


def test_a_row_has_every_column_and_nothing_else(row):
    described = {"n_feature_frames", "feature_width", "feature_height", "feature_bitdepth", "feature_reference", "vmaf"}
    described |= {"clip_transfer", "clip_primaries", "clip_bitdepth", "clip_damaged", "clip_interlaced"}
    pooled_ones = {c for f in (*TIME_VARYING, *NO_REFERENCE) for c in pooled_columns(f)}
    assert set(row) == pooled_ones | {*SHOT_FEATURES, *NO_REFERENCE_CLIP} | described
    assert {*KONVID_V1.columns, *NR_V1.columns} <= set(row)
    assert all(math.isfinite(value) for value in row.values() if not isinstance(value, str))


def test_a_reencoded_clip_is_no_constant(row):
    assert 0.3 < row["adm2"] < 0.999
    assert 20 < row["vmaf"] < 99
    assert 0.1 < row["vif_scale0"] < row["vif_scale3"] < 0.999


def test_two_runs_are_equal(plain, row):
    assert EXTRACT.extract(plain) == row


def test_the_mean_stands_under_both_its_names(row):
    assert all(row[f] == row[f"{f}_mean"] for f in TIME_VARYING)


def test_pooling_agrees_with_numpy():
    values = np.random.default_rng(3).normal(size=57)
    expected = [
        values.mean(),
        values.mean(),
        np.quantile(values, 0.1),
        np.quantile(values, 0.9),
        np.std(values, ddof=0),
    ]
    assert list(pooled("adm2", values).values()) == pytest.approx(expected, rel=1e-12)
    assert pooled("adm2", [0.0, 1.0, 2.0, 3.0, 4.0])["adm2_p10"] == pytest.approx(0.4)


def test_values_that_are_not_finite_are_left_out():
    assert pooled("adm2", [1.0, math.nan, 3.0])["adm2"] == 2.0
    assert pooled("adm2", [math.nan, math.inf]) == dict.fromkeys(pooled_columns("adm2"))


def test_an_odd_size_loses_its_last_column_and_row(folder):
    row = EXTRACT.extract(make_clip(folder / "odd.webm", Spec(codec="libvpx-vp9", width=161, height=97)))
    assert (row["feature_width"], row["feature_height"]) == (160, 96)


def test_a_variable_frame_rate_neither_drops_nor_doubles_frames(folder):
    spec = Spec(codec="ffv1", times=(0, 5, 11, 200, 204, 209, 500, 501, 1400, 1405, 1900, 2000))
    uneven = EXTRACT.extract(make_clip(folder / "vfr.mkv", spec))
    even = EXTRACT.extract(make_clip(folder / "cfr.mkv", Spec(codec="ffv1")))
    assert uneven["n_feature_frames"] == 12
    assert uneven["shot_mean_len_norm"] == pytest.approx(2.0 * 12 / 11 / 30)
    assert [uneven[f] for f in TIME_VARYING] == [even[f] for f in TIME_VARYING]


def test_one_frame_is_a_clip(folder):
    row = EXTRACT.extract(make_clip(folder / "one.mp4", Spec(frames=1)))
    assert (row["n_feature_frames"], row["motion2"], row["adm2_std"], row["shot_cut_density"]) == (1, 0, 0, 0)
    assert row["shot_mean_len_norm"] == pytest.approx(1 / 30 / 30)


def test_a_long_clip_is_measured_up_to_the_cap(plain, row):
    capped = ClipExtractor(max_frames=10)
    assert capped.extract(plain)["n_feature_frames"] == 10
    assert capped.version != EXTRACT.version


@pytest.fixture(scope="module", params=[90, 180, -90])
def turned(request, plain, folder):
    """The plain clip with rotation metadata, and the same pictures turned by ffmpeg and stored without any loss."""
    clip, upright = folder / f"turned{request.param}.mp4", folder / f"upright{request.param}.mkv"
    tool = [ffmpeg_binary(), "-y", "-loglevel", "error"]
    rotate = ["-display_rotation", str(request.param), "-i", plain, "-c", "copy", clip]
    subprocess.run([*tool, *rotate], check=True)
    subprocess.run([*tool, "-i", clip, "-c:v", "ffv1", upright], check=True)
    return clip, upright


def test_a_turned_clip_is_measured_as_it_is_shown(turned):
    clip, upright = turned
    expected, found = EXTRACT.extract(upright), EXTRACT.extract(clip)
    del expected["bits_per_pixel"]
    exact = [*(column for f in CANONICAL_6 for column in pooled_columns(f)), "si", "nss1_h_shape", "nr_width"]
    assert [found[name] for name in exact] == pytest.approx([expected[name] for name in exact], rel=1e-5)
    words = {name: value for name, value in expected.items() if isinstance(value, str)}
    assert {name: found[name] for name in words} == words
    numbers = {name: value for name, value in expected.items() if name not in words}
    assert {name: found[name] for name in numbers} == pytest.approx(numbers, rel=0.03, abs=0.02)


def test_a_turned_reference_is_compared_as_it_is_shown(turned):
    clip, upright = turned
    for one, other in ((clip, upright), (upright, clip)):
        row = EXTRACT.extract(one, reference=other)
        assert [row[f] for f in CANONICAL_6[:5]] == pytest.approx([1.0] * 5, abs=1e-5)


def test_a_ladder_clip_is_scaled_to_its_reference(plain, folder):
    lower = make_clip(folder / "lower.mp4", Spec(width=160, height=90, frames=30))
    row = EXTRACT.extract(lower, reference=plain)
    assert (row["feature_width"], row["feature_height"], row["feature_reference"]) == (320, 180, "ladder")
    assert row["vif_scale0"] < 0.9
    assert 0 < row["vmaf"] < 90
    itself = EXTRACT.extract(plain, reference=plain)
    assert [itself[f] for f in CANONICAL_6[:5]] == pytest.approx([1.0] * 5, abs=1e-5)
    assert itself["vmaf"] > 95


def test_a_ladder_clip_of_other_length_or_shape_is_refused(plain, folder):
    short = make_clip(folder / "short.mp4", Spec(width=320, height=180, frames=29))
    for clip, reference, numbers in ((short, plain, "29 decoded, 30 on"), (plain, short, "30 decoded, 29 on")):
        with pytest.raises(ClipError, match=f"the frames do not pair: {numbers}"):
            EXTRACT.extract(clip, reference=reference)
    portrait = make_clip(folder / "portrait.mp4", Spec(width=96, height=160))
    with pytest.raises(ClipError, match="96×160, reference 320×180"):
        EXTRACT.extract(portrait, reference=plain)


def test_a_picture_too_small_for_libvmaf_has_all_but_canonical_6_and_vmaf(folder):
    row = EXTRACT.extract(make_clip(folder / "tiny.mp4", Spec(width=16, height=16)))
    absent = {name for name, value in row.items() if value is None}
    assert absent == {"vmaf", *(column for name in CANONICAL_6 for column in pooled_columns(name))}
    assert (row["nr_width"], row["n_feature_frames"]) == (16, 12)


def test_a_picture_of_a_few_pixels_is_refused_by_its_size(folder):
    speck = make_clip(folder / "speck.mkv", Spec(codec="ffv1", width=6, height=16))
    with pytest.raises(ClipError, match=r"speck\.mkv: too small to be measured: 6×16, expected 8 pixels"):
        EXTRACT.extract(speck)


def test_the_smallest_picture_is_measured(folder):
    assert EXTRACT.extract(make_clip(folder / "small.mp4", Spec(width=32, height=32)))["n_feature_frames"] == 12


def test_files_that_are_no_clips_are_broken_clips(folder, plain):
    whole = plain.read_bytes()
    contents = {"text.mp4": b"hello\n" * 40, "empty.mp4": b"", "cut.mp4": whole[: len(whole) // 2]}
    for name, content in contents.items():
        (folder / name).write_bytes(content)
        with pytest.raises(BrokenClipError, match=name):
            EXTRACT.extract(folder / name)


def test_a_clip_cut_short_is_broken_though_its_frames_decode(folder):
    whole = make_clip(folder / "whole.webm", Spec(codec="libvpx-vp9", frames=30)).read_bytes()
    cut = folder / "cut.webm"
    cut.write_bytes(whole[: len(whole) * 6 // 10])
    with pytest.raises(BrokenClipError, match=r"cut\.webm: truncated: \d+ of at least \d+ bytes"):
        EXTRACT.extract(cut)


def test_a_picture_that_changes_its_size_is_refused(folder):
    parts = [make_clip(folder / f"{w}.h264", Spec(width=w, frames=4)).read_bytes() for w in (160, 96)]
    joined = folder / "joined.h264"
    joined.write_bytes(b"".join(parts))
    with pytest.raises(ClipError, match="changes its size: 160×96, then 96×96"):
        EXTRACT.extract(joined)


def test_a_playlist_posing_as_a_clip_reaches_no_network(folder):
    posing = folder / "playlist.mp4"
    posing.write_text("#EXTM3U\n#EXTINF:9,\nhttp://192.0.2.1/a.ts\n#EXT-X-ENDLIST\n")
    with pytest.raises(BrokenClipError):
        EXTRACT.extract(posing)


def test_an_absent_file_says_nothing_lasting_about_the_clip(folder):
    with pytest.raises(TransientClipError, match=r"gone\.mp4: cannot be read: No such file"):
        EXTRACT.extract(folder / "gone.mp4")


def test_a_stop_signal_ends_a_long_comparison_and_leaves_no_files(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    clip = make_clip(folder / "long.mp4", Spec(width=640, height=360, frames=500))
    stop = threading.Event()
    threading.Timer(0.1, stop.set).start()
    begun = time.monotonic()
    with pytest.raises(StoppedError):
        scores_of(clip, stop)
    assert time.monotonic() - begun < 5
    assert list(tmp_path.iterdir()) == []


def test_a_set_stop_signal_ends_decoding(plain):
    stop = threading.Event()
    stop.set()
    with pytest.raises(StoppedError):
        EXTRACT.extract(plain, stop=stop)


SLEEPER = (sys.executable, "-c", "import time; time.sleep(60)")


@pytest.mark.parametrize("sent", [0, 1 << 24], ids=["does not end", "takes no frame"])
def test_a_child_process_that_stalls_is_killed(tmp_path, sent):
    def work():
        with Child(SLEEPER, tmp_path, 0.2) as child:
            child.feed(bytes(sent))
            child.finish()

    begun = time.monotonic()
    with pytest.raises(TransientClipError, match="no progress for 0 s"):
        work()
    assert time.monotonic() - begun < 10


def test_an_ffmpeg_that_cannot_measure_ends_everything(plain, monkeypatch, tmp_path):
    fake = tmp_path / "ffmpeg"
    fake.write_text("#!/bin/sh\necho ffmpeg version 4.0 --enable-libx264\n")
    fake.chmod(0o755)
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(fake))
    with pytest.raises(FeatureError, match="built without --enable-libvmaf"):
        EXTRACT.extract(plain)
    with pytest.raises(FeatureError, match="does not run"):
        build_version(str(tmp_path / "absent"))


def test_the_version_names_the_build_and_the_encode():
    assert build_version(ffmpeg_binary()) in EXTRACT.version
    assert f"av {av.__version__}" in EXTRACT.version
    assert "libx264 -preset veryfast -crf 35" in EXTRACT.version


def test_the_extractor_travels_to_other_processes():
    assert pickle.loads(pickle.dumps(EXTRACT)) == EXTRACT


def test_features_are_read_by_exact_name(tmp_path):
    six = {**dict.fromkeys(CANONICAL_6, 0.5), "vmaf": 90.0}
    report = tmp_path / "report.json"
    report.write_text(json.dumps({"frames": [{"metrics": {**six, "integer_adm3": 9.0}}]}))
    assert read_report(report)["adm2"] == [0.5]
    del six["motion2"]
    report.write_text(json.dumps({"frames": [{"metrics": {**six, "integer_motion3": 9.0}}]}))
    with pytest.raises(FeatureError, match="expected motion2, integer_motion2"):
        read_report(report)


def test_small_frames_keep_the_shape_and_the_full_range(folder):
    with opened(ClipFile(make_clip(folder / "black.mp4", Spec(source="color=black", frames=3)))) as source:
        small = [frame.small_luma() for frame in source.frames(1800)]
    assert [one.shape for one in small] == [(38, 64)] * 3
    assert source.picture == Picture(160, 96, 8)
    assert max(one.max() for one in small) == 0
    assert (small_size(1920, 1080), small_size(1080, 1920), small_size(4000, 100)) == ((64, 36), (36, 64), (64, 8))
