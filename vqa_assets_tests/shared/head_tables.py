"""Generated labelled tables with a known signal, as ``mos_features`` writes them, and the facts of their corpora."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import polars as pl

from vqa_assets.feature_names import CANONICAL_6, KONVID_V1
from vqa_assets.heads.recipe import QUANTILES, CorpusFacts

FACTS = {
    "konvid-1k": CorpusFacts("KoNViD-1k", "research use", "Hosu et al. 2017", "konvid-1k-2017", "research-only"),
    "konvid-150k": CorpusFacts(
        "KonViD-150k", "CC BY | 4.0", "Götz-Hahn et al. 2021", "konvid-150k-2019", "attribution"
    ),
    "chug": CorpusFacts("CHUG", "CC BY-NC", "Saini et al. 2025", "chug-icip-2025", "non-commercial-share-alike"),
}
NOISE = 0.3
_POOLED = ("", *(f"_{pooled}" for pooled in QUANTILES))


def quiet(_: str) -> None:
    """A ``say`` that says nothing."""


def labelled(rows: int, seed: int = 0, bend: float = 0.0) -> pl.DataFrame:
    """``rows`` clips, two to a content. MOS: four features, ``bend`` times a product of two, and noise."""
    rng = np.random.default_rng(seed)
    z = rng.standard_normal((rows, len(KONVID_V1.columns)))
    signal = z[:, :4] @ np.array([0.4, 0.3, -0.3, 0.2]) + bend * z[:, 0] * z[:, 2]
    mos = np.clip(3.2 + 0.9 * np.tanh(signal) + NOISE * rng.standard_normal(rows), 1, 5)
    features = 5.0 + z * np.linspace(0.1, 20, z.shape[1])
    return pl.DataFrame(
        {
            "key": [f"clip-{seed}-{i}.mp4" for i in range(rows)],
            "content_id": [f"content-{seed}-{i // 2}" for i in range(rows)],
            "src_sha256": [f"{seed:032x}{i:032x}" for i in range(rows)],
            **{name: features[:, i] for i, name in enumerate(KONVID_V1.columns)},
            "mos": mos,
            "mos_std_dev": np.full(rows, 0.6),
            "mos_label_status": ["ok"] * rows,
        }
    )


def written(frame: pl.DataFrame, path: Path) -> Path:
    """The frame as a parquet file."""
    frame.write_parquet(path)
    return path


def unified(frames: Mapping[str, pl.DataFrame], path: Path) -> dict[str, Path]:
    """The one table of several corpora, as ``unified_features`` leaves it, per corpus that is in it."""
    each = [frame.with_columns(corpus=pl.lit(name)) for name, frame in frames.items()]
    return dict.fromkeys(frames, written(pl.concat(each, how="diagonal_relaxed"), path))


def chug_labelled(contents: int = 40, seed: int = 0) -> pl.DataFrame:
    """A bitrate ladder of four rungs and a reference per content, in ``clip_features``'s columns of a ladder corpus.

    MOS follows the rung's bitrate, the content and the six features.
    """
    rng = np.random.default_rng(seed)
    labels = ["0.2M", "500K", "1M", "2M", None]
    rows = contents * len(labels)
    rung = np.tile(np.arange(len(labels)), contents)
    content = np.repeat(rng.standard_normal(contents), len(labels))
    six = rng.standard_normal((rows, len(CANONICAL_6)))
    mos = 2.2 + 0.35 * rung + 0.3 * content + 0.2 * six[:, 0] + 0.1 * rng.standard_normal(rows)
    pooled = {f"{name}{end}": six[:, i] + k for i, name in enumerate(CANONICAL_6) for k, end in enumerate(_POOLED)}
    jitter = {name: values + 0.01 * rng.standard_normal(rows) for name, values in pooled.items()}
    return pl.DataFrame(
        {
            "key": [f"chug-{seed}-{i}.mp4" for i in range(rows)],
            "content_id": [f"chug-{seed}-{i // len(labels)}" for i in range(rows)],
            "src_sha256": [f"c{seed:031x}{i:032x}" for i in range(rows)],
            **jitter,
            "chug_bitrate_label": labels * contents,
            "chug_orientation": ["Portrait" if i % 3 else "Landscape" for i in range(rows)],
            "chug_ref": (rung == len(labels) - 1).astype(int),
            "width": np.where(rung < 2, 640, 1920),
            "height": np.where(rung < 2, 360, 1080),
            "feature_width": np.full(rows, 1920.0),
            "feature_height": np.full(rows, 1080.0),
            "duration_s": rng.uniform(4, 8, rows),
            "n_feature_frames": rng.integers(100, 240, rows),
            "feature_bitdepth": np.full(rows, 10),
            "src_size_bytes": rng.integers(10_000_000, 20_000_000, rows),
            "mos": np.clip(mos, 1, 5),
            "mos_label_status": ["ok"] * rows,
        }
    )
