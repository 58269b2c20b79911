"""From a probe's answer to a geometry."""

import math
from dataclasses import replace
from fractions import Fraction

import pytest

from vqa_assets.clips.geometry import Geometry, ProbeAnswer, geometry_of
from vqa_assets.clips.hashing import ClipBytes
from vqa_assets.errors import BrokenClipError

ANSWER = ProbeAnswer(
    width=960,
    height=540,
    pix_fmt="yuv420p",
    codec="h264",
    average_rate=Fraction(30000, 1001),
    base_rate=Fraction(60),
    stream_duration_s=8.008,
    container_duration_s=8.1,
)


def test_a_whole_answer_becomes_the_fields_of_the_corpus_row():
    assert geometry_of(ANSWER).as_dict() == {
        "width": 960,
        "height": 540,
        "framerate": 29.97003,
        "duration_s": 8.008,
        "pix_fmt": "yuv420p",
        "encoder_upstream": "h264",
    }


@pytest.mark.parametrize(("average", "expected"), [(None, 60.0), (Fraction(0), 60.0), (Fraction(25), 25.0)])
def test_the_average_rate_comes_before_the_base_rate(average, expected):
    assert geometry_of(replace(ANSWER, average_rate=average)).framerate == expected


@pytest.mark.parametrize(
    ("stream", "container", "expected"),
    [
        (8.0, 9.0, 8.0),
        (None, 9.0, 9.0),
        (0.0, 9.0, 9.0),
        (-1.0, 9.0, 9.0),
        (math.nan, 9.0, 9.0),
        (None, None, 0.0),
        (math.inf, -2.0, 0.0),
        (1 / 3, None, 0.333333),
    ],
)
def test_the_streams_duration_comes_before_the_containers_and_nobodys_is_zero(stream, container, expected):
    found = geometry_of(replace(ANSWER, stream_duration_s=stream, container_duration_s=container))
    assert found.duration_s == expected


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"width": 0}, "zero geometry: 0×540"),
        ({"height": None}, "zero geometry: 960×0"),
        ({"average_rate": None, "base_rate": None}, "no frame rate"),
        ({"average_rate": Fraction(0), "base_rate": Fraction(0)}, "no frame rate"),
        ({"average_rate": Fraction(-25)}, "no frame rate"),
        ({"pix_fmt": None}, "no pixel format: the stream cannot be decoded"),
        ({"codec": ""}, "no codec: the stream cannot be decoded"),
    ],
)
def test_an_answer_without_picture_or_time_is_a_broken_clip(change, told):
    with pytest.raises(BrokenClipError) as caught:
        geometry_of(replace(ANSWER, **change))
    assert str(caught.value) == told


def test_what_is_known_of_a_clip_can_be_compared_and_not_changed():
    assert ClipBytes("ab", 3) == ClipBytes("ab", 3)
    with pytest.raises(AttributeError):
        Geometry(1, 1, 1.0, 1.0, "a", "b").width = 2
