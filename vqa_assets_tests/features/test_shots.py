"""Cuts: what is one, and what only looks like one."""

import math

import numpy as np
import pytest

from vqa_assets.features.shots import find_cuts, frame_differences, histogram_distance, shot_features

RATE = 30.0


def scene(seed: int, frames: int, mean: int = 128, noise: float = 2.0) -> np.ndarray:
    """A still picture of large smooth blocks under noise of so many grey levels."""
    rng = np.random.default_rng(seed)
    blocks = np.kron(rng.normal(mean, 45, (6, 8)), np.ones((6, 8)))
    return levels(blocks + rng.normal(0, noise, (frames, 36, 64)))


def levels(values: np.ndarray) -> np.ndarray:
    return np.clip(values, 0, 255).astype(np.uint8)


def test_three_scenes_have_two_cuts():
    luma = np.concatenate([scene(1, 20), scene(2, 25), scene(3, 15)])
    assert find_cuts(luma, RATE) == [20, 45]


def test_still_scenes_of_flat_grey_are_told_apart():
    luma = np.concatenate([np.full((12, 36, 64), grey, np.uint8) for grey in (20, 90, 200)])
    assert find_cuts(luma, RATE) == [12, 24]


@pytest.mark.parametrize("noise", [0, 2, 8])
def test_noise_is_no_cut_and_hides_none(noise):
    assert find_cuts(scene(4, 60, noise=noise), RATE) == []
    assert find_cuts(np.concatenate([scene(4, 30, noise=noise), scene(5, 30, noise=noise)]), RATE) == [30]


@pytest.mark.parametrize("speed", [1, 4, 9])
def test_a_pan_is_no_cut(speed):
    wide = np.tile(scene(6, 1)[0], (1, 12))
    luma = np.stack([np.roll(wide, -speed * t, axis=1)[:, :64] for t in range(60)])
    assert find_cuts(luma, RATE) == []


@pytest.mark.parametrize("frames", [4, 10, 30])
def test_a_fade_is_no_cut(frames):
    before, after = scene(7, 1, noise=0)[0].astype(float), scene(8, 1, noise=0)[0].astype(float)
    mix = np.concatenate([np.zeros(20), np.linspace(0, 1, frames), np.ones(20)])[:, None, None]
    assert find_cuts(levels(before * (1 - mix) + after * mix), RATE) == []
    assert find_cuts(levels(before * (1 - mix)), RATE) == []


def test_a_flash_is_no_cut():
    luma = scene(9, 60)
    luma[30] = 255
    assert find_cuts(luma, RATE) == []


def test_flicker_is_no_cut():
    gain = 1 + 0.25 * (np.arange(60) % 2)[:, None, None]
    assert find_cuts(levels(scene(10, 60, mean=100) * gain), RATE) == []


def test_repeated_frames_of_a_slow_source_are_no_cuts():
    wide = np.tile(scene(11, 1)[0], (1, 12))
    luma = np.repeat(np.stack([np.roll(wide, -9 * t, axis=1)[:, :64] for t in range(12)]), 5, axis=0)
    assert find_cuts(luma, RATE) == []


def test_no_shot_is_shorter_than_a_third_of_a_second():
    assert find_cuts(np.concatenate([scene(1, 9), scene(2, 51)]), RATE) == []
    assert find_cuts(np.concatenate([scene(1, 10), scene(2, 50)]), RATE) == [10]
    assert find_cuts(np.concatenate([scene(1, 20), scene(2, 5), scene(3, 20)]), RATE) == []


def test_differences_and_histograms_are_what_they_say():
    luma = np.zeros((2, 10, 10), np.uint8)
    luma[1, :5] = 40
    assert frame_differences(luma).tolist() == [20.0]
    assert histogram_distance(luma[0], luma[1]) == 0.5
    assert histogram_distance(luma[0], luma[0]) == 0.0


def test_shot_features_of_a_clip_worked_by_hand():
    luma = np.concatenate([scene(1, 30), scene(2, 30)])
    expected = {
        "shot_count_norm": math.log10(3) / 3,
        "shot_mean_len_norm": 1.0 / 30,
        "shot_cut_density": 1 / 60,
    }
    assert shot_features(luma, duration_s=2.0) == pytest.approx(expected)


def test_one_frame_is_one_shot():
    features = shot_features(scene(1, 1), duration_s=0.04)
    assert features == pytest.approx(
        {"shot_count_norm": math.log10(2) / 3, "shot_mean_len_norm": 0.04 / 30, "shot_cut_density": 0.0}
    )
