"""Made-up training rows with a known signal, for smoke runs and the fallback. Never mixed with real rows."""

from dataclasses import replace

import numpy as np

from vqa_assets.feature_names import FeatureSchema
from vqa_assets.heads.members.weights import encoder_onehot, on_target_range
from vqa_assets.heads.recipe import MOS_TARGET, Target
from vqa_assets.heads.rows.reading import TrainingTable

SYNTHETIC_ROWS = 600
_SIBLINGS, _ENCODES = 3, 60
_NOISE = 0.25
_NUMBERS = 16
"""Of a vector, which no table tells the length of here."""


def synthetic_table(
    schema: FeatureSchema, rows: int = SYNTHETIC_ROWS, seed: int = 0, target: Target = MOS_TARGET
) -> TrainingTable:
    """``rows`` rows of ``schema``, corpus ``synthetic``; the same seed gives the same rows.

    Features are uniform in 0–1. MOS is 3 plus a sum of the features with falling weights and one product, plus noise;
    another target is the same on its range. A content has three rows; of another target it has sixty, as an encode
    grid's sources have. Vectors are short ones.
    """
    schema = schema.with_vectors([replace(vector, size=_NUMBERS) for vector in schema.vectors])
    rng = np.random.default_rng(seed)
    features = rng.uniform(size=(rows, len(schema.columns)))
    centred = features - 0.5
    weights = 2.0 / (1.0 + np.arange(centred.shape[1])) * np.where(np.arange(centred.shape[1]) % 2, -1.0, 1.0)
    signal = centred @ weights + centred[:, 0] * centred[:, -1]
    mos = np.clip(3.0 + signal + _NOISE * rng.standard_normal(rows), 1.0, 5.0)
    siblings = _SIBLINGS if target == MOS_TARGET else _ENCODES
    return TrainingTable(
        schema=schema,
        features=features.astype(np.float32),
        mos=on_target_range(mos.astype(np.float32), target),
        vmaf=np.full(rows, np.nan, dtype=np.float32),
        keys=tuple(f"synthetic-{row:06d}" for row in range(rows)),
        groups=tuple(f"content:synthetic-{row // siblings:06d}" for row in range(rows)),
        corpora=("synthetic",) * rows,
        src_sha256=(None,) * rows,
        split=(None,) * rows,
        counts={},
        filled={},
        constant=(),
        onehot=encoder_onehot(rows),
        target=target,
        synthetic=True,
    )
