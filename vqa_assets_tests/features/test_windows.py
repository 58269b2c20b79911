"""Windows of a clip: where they begin and end, and that each is measured as a clip of its frames is, in one decode."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from vqa_assets.errors import BrokenClipError, ClipError, SettingsError
from vqa_assets.feature_names import CLIP_COLUMNS, NO_REFERENCE_CLIP
from vqa_assets.features.decoding import Source, Timeline
from vqa_assets.features.extractor import ClipExtractor
from vqa_assets.features.measuring import one_clip_row, one_clip_windows
from vqa_assets.features.windows import planned_windows
from vqa_assets_tests.features.test_backbones import AS_THEY_ARE, extractor, lossless, plain_pictures
from vqa_assets_tests.shared.networks import declared

NR = ClipExtractor(feature_sets=("nr-v1",))
SECOND = Fraction(1)


def noise(frames: int, seed: int = 0) -> np.ndarray:
    """Pictures of noise whose spread grows from one to the next."""
    spread = np.linspace(10, 120, frames)[:, None, None, None]
    random = np.random.default_rng(seed).random((frames, 32, 48, 3))
    return (random * spread + 60).astype(np.uint8)


def clip_at(path: Path, pictures: np.ndarray, ticks: Sequence[int]) -> Path:
    """A lossless clip whose frames are shown at these hundredths of a second."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=100)
        stream.height, stream.width, stream.pix_fmt = *pictures.shape[1:3], "bgr0"
        stream.codec_context.time_base = Fraction(1, 100)
        for picture, tick in zip(pictures, ticks, strict=True):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = tick, Fraction(1, 100)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(
    ("times", "every", "expected"),
    [
        (range(0, 100, 4), 1, [(0, 1, 25)]),
        (range(0, 250, 4), 1, [(0, 1, 25), (1, 2, 25), (2, 2.52, 13)]),  # over half a window is one of its own
        (range(0, 240, 4), 1, [(0, 1, 25), (1, 2.4, 35)]),  # less belongs to the one before
        (range(0, 20, 4), 1, [(0, 0.2, 5)]),  # a clip shorter than a window
        ([7], 1, [(0, 0.04, 1)]),  # one frame, by the container's rate
        (range(500, 700, 4), 1, [(0, 1, 25), (1, 2, 25)]),  # times that do not begin at 0
        ([0, 10, 20, 250, 260, 340], 1, [(0, 1, 3), (1, 2, 0), (2, 3, 2), (3, 4.08, 1)]),  # a variable rate
        (range(0, 200, 4), "0.5", [(0, 0.5, 13), (0.5, 1, 12), (1, 1.5, 13), (1.5, 2, 12)]),
    ],
)
def test_windows_follow_the_times_of_frames_to_the_clips_end(times, every, expected):
    timeline = Timeline(len(times), tuple(times))
    plan = planned_windows(timeline, Fraction(1, 100), 25.0, Fraction(every))
    assert [(one.start_s, one.end_s, one.timeline.count) for one in plan.windows] == expected


def test_ten_seconds_at_a_broadcast_rate_are_ten_windows_with_and_without_times():
    with_times = planned_windows(Timeline(300, tuple(range(0, 300 * 1001, 1001))), Fraction(1, 30000), 29.97, SECOND)
    without = planned_windows(Timeline(300), Fraction(1, 1000), 30000 / 1001, SECOND)
    for plan in (with_times, without):
        assert [one.timeline.count for one in plan.windows] == [30] * 10
        assert (plan.windows[-1].start_s, round(plan.windows[-1].end_s, 4)) == (9.0, 10.01)


def test_a_window_is_measured_as_a_clip_of_its_frames_and_the_clip_as_ever(tmp_path):
    pictures = noise(60)
    clip = lossless(tmp_path / "a.mkv", pictures)
    measured = one_clip_windows(clip, NR, SECOND)
    assert measured.row == one_clip_row(clip, NR)
    assert [(one.start_s, one.end_s) for one, _ in measured.windows] == [(0, 1), (1, 2.4)]
    of_file = {*NO_REFERENCE_CLIP, *CLIP_COLUMNS}
    for (_, row), part in zip(measured.windows, (pictures[:25], pictures[25:]), strict=True):
        alone = one_clip_row(lossless(tmp_path / "part.mkv", part), NR)
        assert not isinstance(row, ClipError)
        assert list(row) == list(alone)
        for name in NR.families[0].columns:
            # What tells of the file is the whole clip's: a head saw no clip of a second.
            expected = measured.row[name] if name in of_file else alone[name]
            assert row[name] == pytest.approx(expected, nan_ok=True), name
        assert row["n_feature_frames"] == 60


def test_all_windows_come_of_one_decode(tmp_path, monkeypatch):
    clip, decodes = lossless(tmp_path / "a.mkv", noise(50)), []
    frames = Source.frames

    def counted(self, *arguments):
        decodes.append(self.clip.name)
        return frames(self, *arguments)

    monkeypatch.setattr(Source, "frames", counted)
    assert len(NR.measure_windows(clip, Fraction(1, 2)).windows) == 4
    assert decodes == ["a.mkv"]


def test_windows_go_on_where_the_frames_measured_of_a_clip_end(tmp_path):
    clip = lossless(tmp_path / "a.mkv", noise(75))
    short = ClipExtractor(feature_sets=("nr-v1",), max_frames=25)
    measured = one_clip_windows(clip, short, SECOND)
    assert measured.row == one_clip_row(clip, short)
    assert measured.row["n_feature_frames"] == 25
    spreads = [row["contrast"] for _, row in measured.windows if not isinstance(row, ClipError)]
    assert len(spreads) == 3
    assert spreads == sorted(spreads)


def test_a_window_in_which_no_frame_begins_says_so_and_the_others_stand(tmp_path):
    clip = clip_at(tmp_path / "a.mkv", noise(12), [*range(0, 100, 20), *range(210, 350, 20)])
    windows = NR.measure_windows(clip, SECOND).windows
    assert [isinstance(row, ClipError) for _, row in windows] == [False, True, False, False]
    assert str(windows[1][1]) == "a.mkv: no frame begins between 1 s and 2 s"


def test_a_backbone_embeds_each_window_by_itself(tmp_path):
    levels = [51] * 25 + [102] * 25 + [255] * 15
    clip = lossless(tmp_path / "a.mkv", plain_pictures(levels))
    measured = extractor(tmp_path, declared(input=AS_THEY_ARE, sampling={"frames": 4})).measure_windows(clip, SECOND)
    for (_, row), level in zip(measured.windows, (51, 102, 255), strict=True):
        assert not isinstance(row, ClipError)
        np.testing.assert_allclose(row["tiny.resize.embedding_mean"], level / 255, atol=1e-5)
        np.testing.assert_allclose(row["tiny.resize.embedding_sd"], 0, atol=1e-5)
    beside = extractor(tmp_path, declared(input=AS_THEY_ARE, sampling={"frames": 4}), beside=("nr-v1",))
    for (_, one), (_, both) in zip(measured.windows, beside.measure_windows(clip, SECOND).windows, strict=True):
        assert not isinstance(one, ClipError)
        assert not isinstance(both, ClipError)
        np.testing.assert_array_equal(one["tiny.resize.embedding_mean"], both["tiny.resize.embedding_mean"])
        assert "contrast" in both


def test_a_piece_longer_than_a_window_costs_that_window(tmp_path):
    clip = clip_at(tmp_path / "a.mkv", noise(14), [*range(0, 100, 10), *range(110, 200, 30), 200])
    text = declared(
        input={**AS_THEY_ARE, "layout": "NCTHW", "frames_per_piece": 8, "stride": 1, "height": 8, "width": 8}
    )
    windows = extractor(tmp_path, text, sides=("batch", 3, 8, 8, 8)).measure_windows(clip, SECOND).windows
    assert [isinstance(row, ClipError) for _, row in windows] == [False, True]
    assert "shorter than what tiny looks at: 4 frames, expected 8, a piece of video" in str(windows[1][1])


def test_a_family_that_looks_at_the_clip_as_a_whole_measures_no_windows(tmp_path):
    clip = lossless(tmp_path / "a.mkv", noise(5))
    with pytest.raises(SettingsError, match="konvid-v1, which looks at a clip as a whole"):
        ClipExtractor().measure_windows(clip, SECOND)


def test_a_broken_clip_has_no_windows(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"no video" * 100)
    with pytest.raises(BrokenClipError, match=r"a\.mp4"):
        one_clip_windows(tmp_path / "a.mp4", NR, SECOND)
