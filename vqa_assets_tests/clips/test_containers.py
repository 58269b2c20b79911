"""A probe that decodes no picture: it says what a full look says, and leaves to that what it cannot tell."""

import random
from fractions import Fraction
from pathlib import Path

import av
import pytest

from vqa_assets.clips import pyav
from vqa_assets.clips.geometry import geometry_of
from vqa_assets.errors import BrokenClipError
from vqa_assets_tests.clips.test_probing import encode

UNEVEN = [0, 1, 2, 5, 9, 10, 11, 20, 22, 29]


@pytest.fixture(autouse=True, scope="module")
def _quiet():
    pyav.silence()


@pytest.mark.parametrize("times", [range(30), UNEVEN], ids=["even", "uneven"])
@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
@pytest.mark.parametrize(
    ("codec", "pix_fmt"),
    [
        ("libx264", "yuv420p"),
        ("libx264", "yuvj420p"),
        ("libx264", "yuv444p"),
        ("libx264", "yuv422p10le"),
        ("libx265", "yuv420p"),
        ("libx265", "yuv420p10le"),
        ("mpeg4", "yuv420p"),
        ("mjpeg", "yuvj420p"),
    ],
)
def test_it_says_what_a_full_look_says(tmp_path, codec, pix_fmt, suffix, times):
    clip = encode(tmp_path / f"a{suffix}", codec, pix_fmt, times)
    found = pyav._glance(clip, None)
    assert found is not None
    assert geometry_of(found) == geometry_of(pyav._look(clip))
    assert found.pix_fmt == pix_fmt


@pytest.mark.parametrize("size", [(1920, 1080), (98, 50), (64, 36)])
@pytest.mark.parametrize("codec", ["libx264", "libx265"])
def test_sizes_that_are_cropped_from_whole_blocks_are_told_too(tmp_path, codec, size):
    import numpy as np

    clip = tmp_path / "a.mp4"
    with av.open(str(clip), "w") as container:
        stream = container.add_stream(codec, rate=25, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        for _ in range(3):
            picture = np.zeros((size[1], size[0], 3), dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    found = pyav._glance(clip, None)
    assert found == pyav._look(clip)
    assert (found.width, found.height) == size


def test_sound_beside_the_pictures_changes_nothing(tmp_path):
    clip = encode(tmp_path / "a.mp4", mux={"movflags": "faststart"}, audio_s=1.0)
    assert pyav._glance(clip, None) == pyav._look(clip)


def test_fragments_have_no_tables_to_believe(tmp_path):
    clip = encode(tmp_path / "a.mp4", mux={"movflags": "frag_keyframe+empty_moov"})
    assert pyav._glance(clip, None) is None
    assert pyav.answer_of(clip) == pyav._look(clip)


@pytest.mark.parametrize("gaps", [1, 3])
def test_a_clip_larger_than_what_is_read_is_told_from_its_tables(tmp_path, gaps):
    import numpy as np

    clip, dice = tmp_path / "a.mp4", np.random.default_rng(0)
    with av.open(str(clip), "w") as container:
        stream = container.add_stream("libx264", rate=30, options={"preset": "veryfast", "crf": "10"})
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 30)
        for number in range(40):
            picture = dice.integers(0, 255, (240, 320, 3), dtype=np.uint8)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = number + gaps * (number // 5), Fraction(1, 30)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    assert clip.stat().st_size > 1_000_000
    assert geometry_of(pyav._glance(clip, None)) == geometry_of(pyav._look(clip))


def test_what_is_damaged_is_judged_as_by_a_full_look(tmp_path):
    dice, damaged = random.Random(3), tmp_path / "damaged.mp4"
    content = [encode(tmp_path / "a.mp4").read_bytes(), encode(tmp_path / "b.mp4", "libx265").read_bytes()]
    for turn in range(300):
        data = bytearray(content[turn % 2])
        if turn % 3:
            for _ in range(dice.choice([1, 5, 40, 200])):
                data[dice.randrange(len(data))] = dice.randrange(256)
        else:
            del data[dice.randrange(100, len(data)) :]
        damaged.write_bytes(data)
        found = pyav._glance(damaged, None)
        if found is not None:
            assert (found.width, found.height) == sizes(damaged)


def sizes(clip: Path):
    try:
        found = pyav._look(clip)
    except BrokenClipError:
        return None
    return found.width, found.height
