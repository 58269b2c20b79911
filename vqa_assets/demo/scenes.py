"""Moving pictures drawn from a seed, and the two kinds of damage done to them before encoding: blur and grain.

Encoding, opinion scores and files are in ``demo_corpus``. Every frame is an H×W×3 uint8 RGB array.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter

Frame = npt.NDArray[np.uint8]
Scene = Callable[[int], Frame]
"""One shot: the frame at an index counted from the shot's first frame."""

_TILE = (512, 1024)
"""Rows and columns after which a texture repeats; no frame is larger."""
_SHORTEST_SHOT = 6
_LETTERS = (
    ("A", "01110 10001 10001 11111 10001 10001 10001"),
    ("C", "01111 10000 10000 10000 10000 10000 01111"),
    ("E", "11111 10000 10000 11110 10000 10000 11111"),
    ("I", "01110 00100 00100 00100 00100 00100 01110"),
    ("L", "10000 10000 10000 10000 10000 10000 11111"),
    ("N", "10001 11001 10101 10101 10011 10001 10001"),
    ("O", "01110 10001 10001 10001 10001 10001 01110"),
    ("R", "11110 10001 10001 11110 10100 10010 10001"),
    ("S", "01111 10000 10000 01110 00001 00001 11110"),
    ("T", "11111 00100 00100 00100 00100 00100 00100"),
    ("U", "10001 10001 10001 10001 10001 10001 01110"),
    ("X", "10001 01010 00100 00100 00100 01010 10001"),
    (" ", "00000 00000 00000 00000 00000 00000 00000"),
)


@dataclass(frozen=True)
class Take:
    """What one clip shows. Takes of different seeds share no content.

    ``width`` and ``height`` are even pixels, at most 1024×512; ``shots`` are joined by hard cuts.
    """

    seed: tuple[int, ...]
    width: int
    height: int
    frames: int
    shots: int = 1


def moving_pictures(take: Take) -> Iterator[Frame]:
    """The frames of a take in order; equal for equal takes."""
    rng = np.random.default_rng(take.seed)
    kinds = rng.permutation(len(_SCENES))
    for shot, length in enumerate(_shot_lengths(rng, take.frames, take.shots)):
        scene = _SCENES[kinds[shot % len(kinds)]](rng, take.width, take.height)
        yield from (scene(index) for index in range(length))


def _shot_lengths(rng: np.random.Generator, frames: int, shots: int) -> list[int]:
    """How many frames each shot has, six at least; fewer shots where the take is too short for all."""
    shots = max(1, min(shots, frames // _SHORTEST_SHOT))
    spare = rng.multinomial(frames - shots * _SHORTEST_SHOT, [1 / shots] * shots) if shots > 1 else [frames]
    return [int(extra) + (_SHORTEST_SHOT if shots > 1 else 0) for extra in spare]


def soften(frames: Iterable[Frame], sigma_px: float) -> Iterator[Frame]:
    """Gaussian blur of ``sigma_px`` pixels, as of a lens out of focus; 0 leaves the frames alone."""
    for frame in frames:
        yield gaussian_filter(frame, (sigma_px, sigma_px, 0)) if sigma_px > 0 else frame


def grain(frames: Iterable[Frame], sd: float, seed: tuple[int, ...]) -> Iterator[Frame]:
    """Sensor-like noise of standard deviation ``sd`` (8-bit levels), equal in the three channels; 0 adds none.

    One noise field is drawn and laid down at a new offset for each frame: drawing afresh would cost more than encoding.
    """
    rng = np.random.default_rng(seed)
    field = _wrapped(np.round(rng.normal(0, sd, _TILE)).astype(np.int16)) if sd > 0 else None
    for frame in frames:
        if field is None:
            yield frame
            continue
        y, x = int(rng.integers(_TILE[0])), int(rng.integers(_TILE[1]))
        noise = field[y : y + frame.shape[0], x : x + frame.shape[1], None]
        yield np.clip(frame.astype(np.int16) + noise, 0, 255).astype(np.uint8)


def _wrapped(tile: npt.NDArray[np.int16]) -> npt.NDArray[np.int16]:
    """A tile repeated twice both ways, so that a crop at any offset inside the first copy is a plain slice."""
    return np.tile(tile, (2, 2))


def _texture(rng: np.random.Generator, slope: float, finest: float = 0.5) -> npt.NDArray[np.int16]:
    """Band-limited noise of spectrum f^-slope up to ``finest`` cycles a pixel, as levels 0–255; wraps both ways."""
    rows, columns = _TILE
    fy, fx = np.fft.fftfreq(rows)[:, None], np.fft.rfftfreq(columns)[None, :]
    stretch = rng.uniform(0.6, 1.6)
    frequency = np.hypot(fy * stretch, fx / stretch)
    gain = np.where((frequency > 0.003) & (frequency < finest), np.maximum(frequency, 0.003) ** -slope, 0)
    shape = gain.shape
    noise = np.fft.irfft2(gain * (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)), _TILE)
    levels: npt.NDArray[np.int16] = np.clip(128 + 52 * noise / noise.std(), 0, 255).astype(np.int16)
    return levels


def _palette(rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """256 colours from a dark one over a middle one to a light one, 256×3."""
    stops = np.stack([rng.uniform(0, 70, 3), rng.uniform(60, 190, 3), rng.uniform(180, 255, 3)])
    levels = np.arange(256)
    return np.stack([np.interp(levels, (0, 128, 255), stops[:, c]) for c in range(3)], axis=1).astype(np.uint8)


def _camera(rng: np.random.Generator, fastest: float) -> Callable[[int], tuple[int, int]]:
    """Where a hand-held, panning camera looks at frame i: (row, column) inside the tile, in whole pixels."""
    start, speed = rng.uniform(0, 500, 2), rng.uniform(-fastest, fastest, 2)
    sway, pace = rng.uniform(0, 4), rng.uniform(0.1, 0.5)

    def look(index: int) -> tuple[int, int]:
        row, column = start + speed * index + sway * np.sin(pace * index)
        return int(row) % _TILE[0], int(column) % _TILE[1]

    return look


def _pan(rng: np.random.Generator, width: int, height: int) -> Scene:
    """A camera pans over a texture between fine gravel and soft cloud."""
    ground = _palette(rng)[_wrapped(_texture(rng, rng.uniform(0.9, 1.9)))]
    look = _camera(rng, 6)

    def frame(index: int) -> Frame:
        y, x = look(index)
        return np.ascontiguousarray(ground[y : y + height, x : x + width])

    return frame


def _layers(rng: np.random.Generator, width: int, height: int) -> Scene:
    """A near, hard-edged layer slides over a far one at another speed."""
    far, near = _pan(rng, width, height), _pan(rng, width, height)
    cover = _wrapped(_texture(rng, 2.2, finest=0.03)) > rng.integers(120, 165)
    look = _camera(rng, 5)

    def frame(index: int) -> Frame:
        y, x = look(index)
        hides = cover[y : y + height, x : x + width, None]
        return np.where(hides, near(index), far(index))

    return frame


def _page(rng: np.random.Generator) -> npt.NDArray[np.bool_]:
    """A tile of text set in 5×7 letters, 2 or 3 pixels a dot; True is ink."""
    rows = [[[dot == "1" for dot in row] for row in picture.split()] for _, picture in _LETTERS]
    font = np.zeros((len(_LETTERS), 11, 6), bool)
    font[:, 2:9, :5] = np.array(rows)
    dot = int(rng.integers(2, 4))
    lines, columns = -(-_TILE[0] // (11 * dot)), -(-_TILE[1] // (6 * dot))
    letters = font[rng.integers(0, len(font), (lines, columns))]
    sheet = letters.transpose(0, 2, 1, 3).reshape(lines * 11, columns * 6)
    return sheet.repeat(dot, axis=0).repeat(dot, axis=1)[: _TILE[0], : _TILE[1]]


def _text(rng: np.random.Generator, width: int, height: int) -> Scene:
    """Lines of letters scroll over a cloudy ground."""
    ground = _pan(rng, width, height)
    ink = np.tile(_page(rng), (2, 2))
    colour = np.where(rng.random() < 0.5, 245, 10) + rng.integers(-8, 8, 3)
    speed = rng.choice([(1, 0), (2, 0), (0, 2), (0, 4), (1, 1)])

    def frame(index: int) -> Frame:
        y, x = index * speed % _TILE
        covered: Frame = np.where(ink[y : y + height, x : x + width, None], colour.astype(np.uint8), ground(index))
        return covered

    return frame


def _shapes(rng: np.random.Generator, width: int, height: int) -> Scene:
    """Discs and bars drift over a gradient with a little texture."""
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    angle = rng.uniform(0, 2 * np.pi)
    slope = rows / height * np.sin(angle) + columns / width * np.cos(angle)
    detail = _texture(rng, rng.uniform(0.8, 1.4))[:height, :width] - 128
    levels = np.clip(128 + 70 * (slope - slope.mean()) + rng.uniform(0.1, 0.5) * detail, 0, 255)
    ground: Frame = _palette(rng)[levels.astype(np.uint8)]
    count = int(rng.integers(5, 12))
    centres, speeds = rng.uniform(0, 1, (count, 2)) * (height, width), rng.uniform(-5, 5, (count, 2))
    sizes, colours = rng.uniform(0.04, 0.2, count) * height, rng.integers(0, 256, (count, 3)).astype(np.uint8)

    def frame(index: int) -> Frame:
        picture = ground.copy()
        for i, (row, column) in enumerate((centres + speeds * index) % (height, width)):
            box = _box(row, sizes[i], height), _box(column, sizes[i], width)
            inside = np.hypot(rows[box] - row, columns[box] - column) < sizes[i] if i % 2 else slice(None)
            picture[box][inside] = colours[i]
        return picture

    return frame


def _box(centre: float, half: float, limit: int) -> slice:
    """The pixels of one axis within ``half`` of the centre, cut at the picture's edge."""
    return slice(max(0, int(centre - half)), min(limit, int(centre + half) + 1))


def _checker(rng: np.random.Generator, width: int, height: int) -> Scene:
    """A camera zooms into a checkerboard of textured fields, turning slowly."""
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    rows, columns = rows - height / 2, columns - width / 2
    dark, light = _pan(rng, width, height), _pan(rng, width, height)
    field, zoom, turn = rng.uniform(18, 50), rng.uniform(0.985, 1.02), rng.uniform(-0.03, 0.03)

    def frame(index: int) -> Frame:
        scale, angle = zoom**index / field, turn * index + 0.3
        u = np.floor((columns * np.cos(angle) + rows * np.sin(angle)) * scale)
        v = np.floor((rows * np.cos(angle) - columns * np.sin(angle)) * scale)
        odd = ((u + v) % 2 > 0)[..., None]
        return np.where(odd, light(index), dark(index) // 2)

    return frame


def _ripples(rng: np.random.Generator, width: int, height: int) -> Scene:
    """Rings run outwards through a texture."""
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    centre = rng.uniform(0.2, 0.8, 2) * (height, width)
    reach = ((rows - centre[0]) ** 2 + (columns - centre[1]) ** 2) / rng.uniform(300, 1200)
    texture = _texture(rng, rng.uniform(1.0, 1.6))[:height, :width]
    palette, pace, depth = _palette(rng), rng.uniform(0.15, 0.7), rng.uniform(0.2, 0.6)

    def frame(index: int) -> Frame:
        waves = 128 + 110 * np.sin(np.sqrt(reach) * 2 - pace * index, dtype=np.float32)
        coloured: Frame = palette[(depth * waves + (1 - depth) * texture).astype(np.uint8)]
        return coloured

    return frame


_SCENES = (_pan, _layers, _text, _shapes, _checker, _ripples)
