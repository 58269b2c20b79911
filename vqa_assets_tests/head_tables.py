"""Generated labelled tables with a known signal, as ``mos_features`` writes them, and the facts of their corpora."""

from pathlib import Path

import numpy as np
import polars as pl

from vqa_assets.feature_names import KONVID_V1
from vqa_assets.heads.facts import CorpusFacts

FACTS = {
    "konvid-1k": CorpusFacts("KoNViD-1k", "research use", "Hosu et al. 2017", "konvid-1k-2017", "research-only"),
    "konvid-150k": CorpusFacts(
        "KonViD-150k", "CC BY | 4.0", "Götz-Hahn et al. 2021", "konvid-150k-2019", "attribution"
    ),
}
NOISE = 0.3


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
