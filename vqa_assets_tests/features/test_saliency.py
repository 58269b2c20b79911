"""Spectral-residual saliency on pictures whose answer can be worked out by hand."""

import numpy as np
import pytest

from vqa_assets.features.saliency import BATCH, FLAT_BELOW, saliency_maps, saliency_moments


def ground(level: int = 100, frames: int = 1) -> np.ndarray:
    return np.full((frames, 36, 64), level, dtype=np.uint8)


def with_blob(x: int = 40, y: int = 12) -> np.ndarray:
    picture = ground()
    picture[0, y - 1 : y + 2, x - 1 : x + 2] = 220
    return picture


def reference_map(frame: np.ndarray) -> np.ndarray:
    """The method in double precision, step by step, blur and stretch left out."""
    spectrum = np.fft.fft2(frame / 255)
    log_amplitude = np.log(np.maximum(np.abs(spectrum), 1 / 255))
    shifts = [np.roll(log_amplitude, (dy, dx), (0, 1)) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
    residual = log_amplitude - np.mean(shifts, axis=0)
    keep = np.minimum(np.abs(spectrum) * 255, 1)
    return np.abs(np.fft.ifft2(keep * np.exp(residual + 1j * np.angle(spectrum)))) ** 2


def test_a_bright_blob_is_the_most_salient_place():
    salience = saliency_maps(with_blob(40, 12))[0]
    y, x = np.unravel_index(salience.argmax(), salience.shape)
    assert abs(x - 40) <= 2
    assert abs(y - 12) <= 2
    near, far = salience[8:17, 36:45].mean(), salience[:, :20].mean()
    assert near > 5 * far


def test_a_moved_blob_moves_its_map():
    here, there = saliency_maps(with_blob(24, 15))[0], saliency_maps(with_blob(34, 20))[0]
    assert np.unravel_index(there.argmax(), there.shape) == (
        np.unravel_index(here.argmax(), here.shape)[0] + 5,
        np.unravel_index(here.argmax(), here.shape)[1] + 10,
    )


@pytest.mark.parametrize("level", [0, 17, 255])
def test_a_flat_frame_has_no_salient_place(level):
    mean, variance = saliency_moments(ground(level))
    assert (mean[0], variance[0]) == (0.0, 0.0)


def test_rounding_noise_is_flat():
    noisy = ground(100) + np.random.default_rng(1).integers(0, FLAT_BELOW, (1, 36, 64), dtype=np.uint8)
    assert saliency_maps(noisy).max() == 0.0


def test_maps_fill_the_unit_interval():
    pictures = np.random.default_rng(2).integers(0, 256, (5, 36, 64), dtype=np.uint8)
    maps = saliency_maps(pictures)
    assert maps.dtype == np.float32
    assert maps.shape == pictures.shape
    assert maps.min(axis=(1, 2)).tolist() == [0.0] * 5
    assert maps.max(axis=(1, 2)).tolist() == [1.0] * 5


def test_the_map_is_the_formula_blurred_and_stretched():
    from scipy.ndimage import gaussian_filter

    picture = np.random.default_rng(4).integers(0, 256, (1, 36, 64), dtype=np.uint8)
    blurred = gaussian_filter(reference_map(picture[0]), 2.5, mode="nearest", truncate=2.0)
    expected = (blurred - blurred.min()) / (blurred.max() - blurred.min())
    assert np.abs(saliency_maps(picture)[0] - expected).max() < 1e-4


def test_a_frame_does_not_depend_on_its_batch():
    pictures = np.random.default_rng(5).integers(0, 256, (BATCH + 3, 20, 64), dtype=np.uint8)
    means, variances = saliency_moments(pictures)
    alone = [saliency_moments(pictures[i : i + 1]) for i in (0, BATCH - 1, BATCH, BATCH + 2)]
    assert [means[i] for i in (0, BATCH - 1, BATCH, BATCH + 2)] == [m[0] for m, _ in alone]
    assert [variances[i] for i in (0, BATCH - 1, BATCH, BATCH + 2)] == [v[0] for _, v in alone]
