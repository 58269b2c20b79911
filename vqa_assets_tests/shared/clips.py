"""Real clips for tests, encoded on the spot: tiny, distinct, decodable."""

import hashlib
from pathlib import Path

import av
import numpy as np

from vqa_assets.features.measuring import ClipToMeasure


def tiny_clip(path: Path, seed: int, frames: int = 5) -> bytes:
    """A 64×48 x264 clip of noise blocks that no other seed gives; its bytes."""
    blocks = np.random.default_rng(seed).integers(0, 255, (6, 8, 3), dtype=np.uint8)
    picture = blocks.repeat(8, axis=0).repeat(8, axis=1)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.options = {"preset": "ultrafast", "threads": "1"}
        for shift in range(frames):
            frame = av.VideoFrame.from_ndarray(np.roll(picture, 2 * shift, axis=1), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path.read_bytes()


def tiny_clips(folder: Path, count: int) -> dict[str, bytes]:
    """``count`` distinct tiny clips: name → bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    return {f"{i:04d}.mp4": tiny_clip(folder / f"{i:04d}.mp4", i) for i in range(count)}


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's bytes, as a corpus row has it."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def to_measure(path: Path) -> ClipToMeasure:
    """A clip as its corpus row would have it: called after its file, with the hash of its bytes."""
    return ClipToMeasure(path.name, path, sha256_of(path))
