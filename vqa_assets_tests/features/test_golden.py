"""No-reference measures against ffmpeg's own filters, published formulas worked independently, and answers by hand."""

import math
import re
import subprocess
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image
from scipy import ndimage, optimize, special, stats

from vqa_assets.feature_names import NSS_OF_SCALE
from vqa_assets.features.clip_description import is_malformed_hdr, primaries_name, transfer_name
from vqa_assets.features.decoding import ClipFile, DecodedClip, opened, read_picture
from vqa_assets.features.distortions import (
    blockiness,
    blur,
    colourfulness,
    entropy,
    flicker,
    noise,
    saturation,
    spatial_information,
    temporal_information,
)
from vqa_assets.features.ffmpeg import ffmpeg_binary
from vqa_assets.features.natural_scenes import Moments, asymmetric_fit, half_size, nss_features, symmetric_fit
from vqa_assets.features.no_reference import NoReference, NrV1, full_range_table

PIXELS = {
    "8 bits": ("yuv420p", "tv"),
    "8 bits full range": ("yuv420p", "pc"),
    "10 bits": ("yuv420p10le", "tv"),
}


@pytest.fixture(scope="module", params=PIXELS, ids=lambda name: name.replace(" ", "-"))
def lossless(request, tmp_path_factory):
    """Twelve frames of noise over moving shapes, and how many times a code is of 8 bits."""
    pixels, levels = PIXELS[request.param]
    path = tmp_path_factory.mktemp("lossless") / "clip.mkv"
    source = f"testsrc2=size=200x120:rate=25,noise=alls=20:allf=t:all_seed=7,format={pixels},setparams=range={levels}"
    tool = [ffmpeg_binary(), "-y", "-loglevel", "error", "-f", "lavfi", "-i", source, "-frames:v", "12"]
    subprocess.run([*tool, "-c:v", "ffv1", "-color_range", levels, "-pix_fmt", pixels, path], check=True)
    return path, 4 if "10" in pixels else 1


def told_by(clip: Path, filters: str) -> dict[str, list[float]]:
    """What ffmpeg's filters say of every frame, by the name of the value."""
    graph = f"{filters},metadata=print:file=-"
    tool = [ffmpeg_binary(), "-loglevel", "error", "-i", clip, "-vf", graph, "-f", "null", "-"]
    said = subprocess.run(tool, check=True, capture_output=True, text=True).stdout
    found: dict[str, list[float]] = {}
    for name, value in re.findall(r"lavfi\.(\S+)=([-\d.]+)", said):
        found.setdefault(name, []).append(float(value))
    return found


def measured(clip: Path) -> dict[str, list[float]]:
    with opened(ClipFile(clip)) as source:
        every_frame = NoReference(DecodedClip(source, read_picture(ClipFile(clip)), 1800), step=1)
        for frame in source.frames(1800):
            every_frame.add(frame)
    return every_frame.values


def test_si_and_ti_are_those_of_ffmpegs_siti(lossless):
    clip, scale = lossless
    expected, found = told_by(clip, "siti"), measured(clip)
    assert found["si"] == pytest.approx([value / scale for value in expected["siti.si"]], abs=0.006)
    assert found["ti"] == pytest.approx([value / scale for value in expected["siti.ti"][1:]], abs=0.006)
    assert min(found["si"]) > 20


def test_entropy_is_that_of_ffmpegs_entropy(lossless):
    clip, scale = lossless
    if scale == 1:
        expected = told_by(clip, "entropy")["entropy.entropy.normal.Y"]
        assert measured(clip)["entropy"] == pytest.approx(expected, abs=1e-4)


def test_luma_and_saturation_are_those_of_ffmpegs_signalstats(lossless):
    clip, scale = lossless
    expected, found = told_by(clip, "signalstats"), measured(clip)
    assert found["saturation"] == pytest.approx([value / scale for value in expected["signalstats.SATAVG"]], abs=1.0)
    full = [value / scale for value in expected["signalstats.YAVG"]]
    if "pc" not in subprocess.run([ffmpeg_binary(), "-i", clip], capture_output=True, text=True, check=False).stderr:
        full = [(value - 16) * 255 / 219 for value in full]
    assert found["luma"] == pytest.approx(full, abs=1.0)


def test_limited_range_is_stretched_to_all_grey_levels():
    table = full_range_table(8, full_range=False)
    assert (table[0], table[16], table[235], table[255]) == (0, 0, 255, 255)
    assert full_range_table(10, full_range=False)[[64, 940]].tolist() == [0, 255.75]
    assert np.array_equal(full_range_table(8, full_range=True), np.arange(256))


def texture(height: int = 96, width: int = 128, seed: int = 5) -> np.ndarray:
    """A picture with structure at many sizes, 0–255."""
    rng = np.random.default_rng(seed)
    layers = [ndimage.gaussian_filter(rng.normal(0, 1, (height, width)), size) * size for size in (1, 3, 9)]
    total = np.sum(layers, axis=0)
    return np.clip(128 + 60 * total / total.std(), 0, 255).astype(np.float32)


def published_scale(picture: np.ndarray) -> list[float]:
    """The paper's equations in double precision, convolution, root finding and all; nothing of the code under test."""
    picture = picture.astype(np.float64)
    x, y = np.mgrid[-3:4, -3:4]
    window = np.exp(-(x**2 + y**2) / (2 * (7 / 6) ** 2))
    window /= window.sum()
    mean = ndimage.convolve(picture, window, mode="nearest")
    deviation = np.sqrt(np.abs(ndimage.convolve(picture**2, window, mode="nearest") - mean**2))
    coefficients = np.round((picture - mean) / (deviation + 1), 9)

    def shape_of(ratio):
        def gap(a):
            return special.gamma(2 / a) ** 2 / (special.gamma(1 / a) * special.gamma(3 / a)) - ratio

        return optimize.brentq(gap, 0.2, 10)

    found = [shape_of(np.mean(np.abs(coefficients)) ** 2 / np.mean(coefficients**2)), np.mean(coefficients**2)]
    for shift in ((0, 1), (1, 0), (1, 1), (1, -1)):
        product = coefficients * np.roll(coefficients, [-s for s in shift], axis=(0, 1))
        left, right = np.mean(product[product < 0] ** 2), np.mean(product[product > 0] ** 2)
        gamma = math.sqrt(left / right)
        ratio = np.mean(np.abs(product)) ** 2 / np.mean(product**2)
        shape = shape_of(ratio * (gamma**3 + 1) * (gamma + 1) / (gamma**2 + 1) ** 2)
        beta = [math.sqrt(v * special.gamma(1 / shape) / special.gamma(3 / shape)) for v in (left, right)]
        eta = (beta[1] - beta[0]) * special.gamma(2 / shape) / special.gamma(1 / shape)
        found += [shape, eta, left, right]
    return found


@pytest.mark.parametrize("seed", [5, 6, 7])
def test_the_natural_scene_statistics_are_those_of_the_published_formula(seed):
    picture = texture(seed=seed)
    found = nss_features(picture)
    own = [found[f"nss1_{name}"] for name in NSS_OF_SCALE]
    half = [found[f"nss2_{name}"] for name in NSS_OF_SCALE]
    assert own == pytest.approx(published_scale(picture), rel=2e-3, abs=2e-4)
    assert half == pytest.approx(published_scale(half_size(picture)), rel=2e-3, abs=2e-4)


def test_pictures_larger_than_a_band_have_the_same_statistics_as_the_formula():
    picture = texture(height=300, width=700)
    found = nss_features(picture)
    assert [found[f"nss1_{n}"] for n in NSS_OF_SCALE] == pytest.approx(published_scale(picture), rel=2e-3, abs=2e-4)


def test_half_the_size_is_pillows_antialiased_bicubic():
    picture = texture()
    expected = np.asarray(Image.fromarray(picture).resize((64, 48), Image.Resampling.BICUBIC))
    inside = (slice(2, -2), slice(2, -2))
    assert half_size(picture)[inside] == pytest.approx(expected[inside], abs=1e-3)
    assert half_size(np.full((9, 5), 77, np.float32)) == pytest.approx(np.full((4, 2), 77), abs=1e-4)


@pytest.mark.parametrize("shape", [0.8, 2.0, 3.5])
def test_the_fits_find_the_distribution_that_numbers_were_drawn_from(shape):
    numbers = stats.gennorm.rvs(shape, size=400_000, random_state=11)
    lopsided = np.where(numbers < 0, 0.5 * numbers, 2 * numbers)
    lopsided = np.where(np.random.default_rng(1).random(numbers.size) < 0.8, np.abs(lopsided), -np.abs(lopsided) / 4)
    moments = Moments()
    for piece in np.split(numbers.astype(np.float32), 4):
        moments.add(piece)
    assert symmetric_fit(moments) == pytest.approx((shape, numbers.var()), rel=0.02)
    found = asymmetric_fit(moments)
    assert found[0] == pytest.approx(shape, rel=0.02)
    assert found[1] == pytest.approx(0, abs=0.02)
    assert found[2:] == pytest.approx([numbers.var()] * 2, rel=0.02)


def test_an_asymmetric_distribution_keeps_its_two_sides_apart():
    drawn = stats.norm.rvs(size=300_000, random_state=3)
    left = np.random.default_rng(4).random(drawn.size) < 1 / 4
    moments = Moments()
    moments.add(np.where(left, -np.abs(drawn), 3 * np.abs(drawn)).astype(np.float32))
    shape, mean, below, above = asymmetric_fit(moments)
    assert (shape, below, above) == pytest.approx((2.0, 1.0, 9.0), rel=0.03)
    assert mean == pytest.approx((3 - 1) * math.sqrt(2 / math.pi), rel=0.03)


def test_a_flat_picture_has_no_natural_scene_statistics():
    assert all(math.isnan(value) for value in nss_features(np.full((64, 64), 128, np.float32)).values())


def test_a_step_has_the_si_that_is_worked_by_hand():
    picture = np.zeros((10, 12), np.float32)
    picture[:, 6:] = 50
    sobel = np.zeros((8, 10))
    sobel[:, 4:6] = 4 * 50
    assert spatial_information(picture) == pytest.approx(sobel.std())
    assert temporal_information(np.zeros_like(picture), picture) == 25
    assert spatial_information(np.full((40, 40), 9, np.float32)) == 0


@pytest.mark.parametrize("sigma", [2.0, 8.0])
def test_noise_of_a_known_deviation_is_found(sigma):
    picture = 100 + np.random.default_rng(2).normal(0, sigma, (200, 300))
    assert noise(picture.astype(np.float32)) == pytest.approx(sigma, rel=0.03)
    ramp = np.add.outer(np.arange(50), 2 * np.arange(60)).astype(np.float32)
    assert noise(ramp) == 0


def test_blurring_a_picture_raises_its_blur():
    picture = texture()
    found = [blur(ndimage.gaussian_filter(picture, sigma).astype(np.float32)) for sigma in (0, 1, 2, 4)]
    assert found == sorted(found)
    assert 0 < found[0] < found[-1] < 1


def test_blur_of_a_row_of_pixels_is_worked_by_hand():
    """One bright line: D is 90 twice; averaged over nine pixels it is 10 at the line's reach, and 0 beside it."""
    picture = np.zeros((40, 40), np.float32)
    picture[20] = 90
    assert blur(picture) == 0
    picture[20:] = 90
    assert blur(picture) == pytest.approx(10 / 90)
    assert math.isnan(blur(np.full((40, 40), 7, np.float32)))


@pytest.mark.parametrize("shift", [0, 3])
def test_blocks_are_found_wherever_their_grid_lies(shift):
    board = np.kron(np.indices((6, 8)).sum(axis=0) % 2 * 20.0, np.ones((8, 8)))
    picture = (100 + np.roll(board, (shift, shift), (0, 1)))[:40, :56].astype(np.float32)
    assert blockiness(picture) == pytest.approx(21.0)
    assert blockiness(np.random.default_rng(0).normal(100, 9, (160, 240)).astype(np.float32)) == pytest.approx(
        1, abs=0.1
    )


def test_entropy_of_known_histograms():
    assert entropy(np.arange(256, dtype=np.uint8).reshape(16, 16), 8) == pytest.approx(8)
    assert entropy(np.full((9, 9), 7, np.uint8), 8) == 0
    assert entropy(np.array([[0, 3], [512, 515]], np.uint16), 10) == pytest.approx(1)


def test_flicker_is_change_that_goes_back():
    assert flicker(np.array([100.0, 110.0] * 5))[1:-1].tolist() == [10.0] * 8
    assert flicker(np.arange(10.0)).tolist() == [0.0] * 10
    assert flicker(np.array([5.0])).tolist() == [0.0]


def test_colourfulness_and_saturation_worked_by_hand():
    half = np.zeros((4, 4, 3), np.uint8)
    half[:2, :, 0] = half[2:, :, 2] = 255
    expected = math.hypot(127.5, 191.25) + 0.3 * math.hypot(127.5, 63.75)
    assert colourfulness(half) == pytest.approx(expected)
    assert colourfulness(np.full((4, 4, 3), 90, np.uint8)) == 0
    u, v = np.array([[128, 131]], np.uint8), np.array([[128, 132]], np.uint8)
    assert saturation(u, v, 8) == (2.5, 2.5)
    assert saturation(u.astype(np.uint16) * 4, v.astype(np.uint16) * 4, 10) == (2.5, 2.5)


@pytest.mark.parametrize(("rate", "expected", "step"), [(30, 0, 15), (30, 300, 15), (30, 60, 7), (30, 1, 1), (1, 0, 1)])
def test_two_frames_a_second_are_sampled_and_eight_of_a_short_clip(rate, expected, step):
    assert NrV1.frames.step(rate, expected) == step


def test_transfer_functions_and_primaries_have_names():
    codes = {"pq": av.video.reformatter.ColorTrc.SMPTE2084, "hlg": av.video.reformatter.ColorTrc.ARIB_STD_B67}
    assert {name: transfer_name(int(code)) for name, code in codes.items()} == {"pq": "pq", "hlg": "hlg"}
    assert (transfer_name(1), transfer_name(2), transfer_name(14)) == ("sdr", "unknown", "sdr")
    assert (primaries_name(9), primaries_name(2)) == ("bt2020", "unknown")
    assert [is_malformed_hdr(*pair) for pair in (("pq", "bt709"), ("hlg", "bt2020"), ("sdr", "bt709"))] == [
        True,
        False,
        False,
    ]
