"""Made-up training rows with a known signal, for smoke runs and the fallback. Never mixed with real rows."""

import numpy as np

from vqa_assets.feature_names import FeatureSchema
from vqa_assets.heads.training_table import TrainingTable

SYNTHETIC_ROWS = 600
_SIBLINGS = 3
_NOISE = 0.25


def synthetic_table(schema: FeatureSchema, rows: int = SYNTHETIC_ROWS, seed: int = 0) -> TrainingTable:
    """``rows`` rows of ``schema``, three to a content, corpus ``synthetic``; the same seed gives the same rows.

    Features are uniform in 0–1. MOS is 3 plus a sum of the features with falling weights and one product, plus noise.
    """
    rng = np.random.default_rng(seed)
    features = rng.uniform(size=(rows, len(schema.columns)))
    centred = features - 0.5
    weights = 2.0 / (1.0 + np.arange(centred.shape[1])) * np.where(np.arange(centred.shape[1]) % 2, -1.0, 1.0)
    signal = centred @ weights + centred[:, 0] * centred[:, -1]
    mos = np.clip(3.0 + signal + _NOISE * rng.standard_normal(rows), 1.0, 5.0)
    return TrainingTable(
        schema=schema,
        features=features.astype(np.float32),
        mos=mos.astype(np.float32),
        vmaf=np.full(rows, np.nan, dtype=np.float32),
        keys=tuple(f"synthetic-{row:06d}" for row in range(rows)),
        groups=tuple(f"content:synthetic-{row // _SIBLINGS:06d}" for row in range(rows)),
        corpora=("synthetic",) * rows,
        src_sha256=(None,) * rows,
        split=(None,) * rows,
        counts={},
        filled={},
        constant=(),
        synthetic=True,
    )
