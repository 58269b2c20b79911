"""Training tables whose labels follow known laws, each like one kind of corpus; seeded, so that a draw is a number."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from vqa_assets.feature_names import FeatureSchema
from vqa_assets.heads.recipe import OWN_COLUMNS
from vqa_assets.heads.rows.reading import TrainingTable
from vqa_assets.heads.rows.synthetic import synthetic_table

F64 = NDArray[np.float64]
_WEIGHTS = np.array([0.4, 0.3, -0.3, 0.2])


def table_of(features: F64, quality: F64, contents: NDArray[np.int64]) -> TrainingTable:
    """A table of features (N, F); quality (N,) 0 is MOS 3, and contents (N,) number what a clip shows."""
    names = tuple(f"feature_{i:02d}" for i in range(features.shape[1]))
    rows = synthetic_table(FeatureSchema(OWN_COLUMNS, names, frozenset(names)), rows=len(features))
    return replace(
        rows,
        features=features.astype(np.float32),
        mos=np.clip(3 + 0.9 * quality, 1, 5).astype(np.float32),
        groups=tuple(f"content:{content}" for content in contents),
        synthetic=False,
    )


def few_sources(draw: int) -> TrainingTable:
    """24 sources of 25 clips: a source moves all its features, and its MOS by as much as the distortion does."""
    rng = np.random.default_rng(draw)
    source = np.repeat(np.arange(24), 25)
    shift, bias = 1.2 * rng.standard_normal((24, 11)), 0.5 * rng.standard_normal(24)
    level = rng.uniform(-1.5, 1.5, len(source))
    features = shift[source] + np.outer(level, rng.standard_normal(11)) + 0.4 * rng.standard_normal((len(source), 11))
    bent = np.tanh(1.2 * level) * (1 + 0.3 * np.tanh(shift[source, 0]))
    return table_of(features, bent + bias[source] + 0.3 * rng.standard_normal(len(source)), source)


def many_weak(draw: int) -> TrainingTable:
    """2 000 clips, two to a content, whose features tell a third of what there is to know, half of it not linear."""
    rng = np.random.default_rng(draw)
    z = rng.standard_normal((2_000, 11))
    signal = z @ (0.15 * rng.standard_normal(11)) + 0.25 * z[:, 0] * z[:, 1] + 0.2 * np.abs(z[:, 2])
    return table_of(z, 0.8 * (signal + 0.7 * rng.standard_normal(len(z))), np.arange(len(z)) // 2)


def handcrafted(draw: int) -> TrainingTable:
    """1 200 clips with 60 features that saturate and overlap: eight causes seen sixty ways."""
    rng = np.random.default_rng(draw)
    causes = rng.standard_normal((1_200, 8))
    features = np.tanh(causes @ rng.standard_normal((8, 60)) / np.sqrt(8)) + 0.3 * rng.standard_normal((1_200, 60))
    a, b, c, d, e = causes.T[:5]
    quality = 0.6 * np.tanh(a + 0.5 * b) + 0.4 * c - 0.3 * np.maximum(d, 0) + 0.21 * a * e
    return table_of(features, quality + 0.35 * rng.standard_normal(1_200), np.arange(1_200))


def small_linear(draw: int) -> TrainingTable:
    """115 clips and a law that is linear: nothing to find that a ridge regression does not."""
    rng = np.random.default_rng(draw)
    z = rng.standard_normal((115, 11))
    return table_of(z, np.tanh(z[:, :4] @ _WEIGHTS + 0.35 * rng.standard_normal(115)), np.arange(115) // 2)


def bent(draw: int) -> TrainingTable:
    """756 clips, four to a content: a linear law and one product."""
    rng = np.random.default_rng(draw)
    z = rng.standard_normal((756, 11))
    signal = z[:, :4] @ _WEIGHTS + 0.3 * z[:, 0] * z[:, 2]
    return table_of(z, np.tanh(signal + 0.35 * rng.standard_normal(756)), np.arange(756) // 4)


def wide_sparse(draw: int) -> TrainingTable:
    """400 clips with 197 features, as many as ``nr-v1`` has, of which six say something: a nearly linear law."""
    rng = np.random.default_rng(draw)
    z, weights = rng.standard_normal((400, 197)), rng.standard_normal(6)
    signal = z[:, :6] @ (0.7 * weights / np.linalg.norm(weights))
    return table_of(z, np.tanh(signal + 0.35 * rng.standard_normal(400)), np.arange(400) // 2)


LAWS: dict[str, Callable[[int], TrainingTable]] = {
    law.__name__: law for law in (few_sources, many_weak, handcrafted, small_linear, bent, wide_sparse)
}


def heavy_tails(draw: int) -> TrainingTable:
    """600 clips with 20 columns of heavy tails; what counts is order, not distance."""
    rng = np.random.default_rng(draw)
    z = rng.standard_normal((600, 20))
    signal = z[:, :4] @ _WEIGHTS + 0.3 * z[:, 4] * z[:, 5]
    return table_of(np.sinh(2 * z), signal + 0.35 * rng.standard_normal(600), np.arange(600) // 2)


def thresholds(draw: int) -> TrainingTable:
    """600 clips with 12 columns; four of them matter only beyond a point."""
    rng = np.random.default_rng(draw)
    z = rng.standard_normal((600, 12))
    signal = 0.8 * (z[:, 0] > 0.5) - 0.6 * (z[:, 1] > -0.3) + 0.5 * np.maximum(z[:, 2] - 0.4, 0) - 0.4 * (z[:, 3] > 1)
    return table_of(z, signal + 0.35 * rng.standard_normal(600), np.arange(600) // 2)


def interactions(draw: int) -> TrainingTable:
    """600 clips with ten columns that count in pairs and in threes."""
    rng = np.random.default_rng(draw)
    z = rng.standard_normal((600, 10))
    signal = 0.4 * z[:, 0] * z[:, 1] - 0.4 * z[:, 2] * np.abs(z[:, 3]) + 0.3 * z[:, 4] * (z[:, 5] > 0) + 0.3 * z[:, 6]
    return table_of(z, signal + 0.3 * rng.standard_normal(600), np.arange(600) // 2)


def more_columns_than_rows(draw: int) -> TrainingTable:
    """300 clips with 1 500 columns, like vectors of a pretrained network: twenty causes seen 1 500 ways."""
    rng = np.random.default_rng(draw)
    causes = rng.standard_normal((300, 20))
    features = np.tanh(causes @ rng.standard_normal((20, 1_500)) / 4) + 0.5 * rng.standard_normal((300, 1_500))
    signal = 0.5 * causes[:, 0] + 0.4 * np.tanh(2 * causes[:, 1]) + 0.3 * causes[:, 2] * causes[:, 3]
    return table_of(features, signal + 0.3 * rng.standard_normal(300), np.arange(300) // 2)


def few_contents(draw: int) -> TrainingTable:
    """120 clips of 12 contents, each with an effect of its own."""
    rng = np.random.default_rng(draw)
    content = np.arange(120) % 12
    z = rng.standard_normal((120, 8)) + 0.7 * rng.standard_normal((12, 8))[content]
    signal = z[:, :4] @ _WEIGHTS + 0.3 * rng.standard_normal(12)[content]
    return table_of(z, signal + 0.3 * rng.standard_normal(120), content)


HARD_LAWS: dict[str, Callable[[int], TrainingTable]] = {
    law.__name__: law for law in (heavy_tails, thresholds, interactions, more_columns_than_rows, few_contents)
}
"""What the map and the ridge member of a head are for."""


def _natural(draw: int, clips: int, columns: int, of_content: int, noise: float) -> TrainingTable:
    """Hand-made measures of natural clips, as ``nr-v1`` has.

    Six causes, of which content moves the first three, are seen many times over by columns that overlap: some have
    heavy tails, some saturate, a fifth say nothing. What is noticed of one cause depends on another (masking).
    """
    rng = np.random.default_rng(draw)
    content = np.arange(clips) // of_content
    causes = rng.standard_normal((clips, 6))
    causes[:, :3] = (causes[:, :3] + rng.standard_normal((content[-1] + 1, 3))[content]) / np.sqrt(2)
    mixing = rng.standard_normal((6, columns)) * (rng.uniform(size=(6, columns)) < 0.5)
    seen = causes @ mixing / np.sqrt(3) + 0.4 * rng.standard_normal((clips, columns))
    kinds = rng.integers(5, size=columns)
    features = np.select([kinds == 0, kinds == 1], [np.exp(1.2 * seen), np.tanh(1.5 * seen)], seen)
    features[:, kinds == 4] = rng.gamma(1.5, size=(clips, int((kinds == 4).sum())))
    a, b, c, d, e = causes.T[:5]
    quality = 0.5 * np.tanh(a + 0.4 * b) - 0.4 * np.maximum(c, -0.3) / (1 + np.exp(-1.5 * d)) + 0.25 * e - 0.15 * d * d
    return table_of(features, 0.8 * (quality + noise * rng.standard_normal(clips)), content)


def _embedded(draw: int, clips: int, columns: int, noise: float) -> TrainingTable:
    """Pooled vectors of a pretrained network: many causes of falling strength behind a ReLU, few of which say anything
    of quality, and those not the strongest."""
    rng = np.random.default_rng(draw)
    strength = np.arange(1, 61) ** -0.6
    causes = rng.standard_normal((clips, 60))
    mixing = rng.standard_normal((60, columns)) * strength[:, None]
    features = np.maximum(causes @ mixing / 2 + 0.15 * rng.standard_normal((clips, columns)) - 0.3, 0)
    of_quality = causes[:, rng.permutation(20)[:6]]
    signal = of_quality @ np.array([0.4, 0.3, -0.3, 0.25, 0.2, 0.2]) + 0.2 * of_quality[:, 0] * of_quality[:, 1]
    return table_of(features, np.tanh(signal) + noise * rng.standard_normal(clips), np.arange(clips))


def _with_reference(draw: int, sources: int, of_source: int, columns: int) -> TrainingTable:
    """Full-reference measures: each falls as distortion grows, faster on some kinds of it and on some sources."""
    rng = np.random.default_rng(draw)
    source = np.repeat(np.arange(sources), of_source)
    kind = np.tile(np.arange(of_source) % 4, sources)
    level = rng.uniform(0, 1, len(source))
    busy = rng.standard_normal(sources)
    of_kind = 1 + 0.35 * rng.standard_normal((4, columns))
    of_busy = 0.35 * rng.standard_normal(columns)
    seen = level[:, None] * of_kind[kind] * np.exp(busy[source, None] * of_busy)
    features = np.exp(-2 * seen) + 0.05 * rng.standard_normal(seen.shape)
    noticed = level * np.array([1.0, 1.3, 0.8, 1.1])[kind] * np.exp(-0.3 * busy[source])
    quality = 1.2 - 2.4 / (1 + np.exp(-5 * (noticed - 0.5))) + 0.15 * rng.standard_normal(sources)[source]
    return table_of(features, quality + 0.3 * rng.standard_normal(len(source)), source)


PUBLIC_LIKE: dict[str, Callable[[int], TrainingTable]] = {
    "natural_240": lambda draw: _natural(draw, 240, 36, 1, 0.4),
    "natural_585": lambda draw: _natural(draw, 585, 60, 1, 0.4),
    "natural_1200": lambda draw: _natural(draw, 1_200, 60, 1, 0.5),
    "distorted_200": lambda draw: _natural(draw, 200, 120, 20, 0.3),
    "embedded_200": lambda draw: _embedded(draw, 200, 2_048, 0.25),
    "embedded_480": lambda draw: _embedded(draw, 480, 2_048, 0.4),
    "embedded_1200": lambda draw: _embedded(draw, 1_200, 748, 0.5),
    "reference_88": lambda draw: _with_reference(draw, 11, 8, 6),
    "reference_480": lambda draw: _with_reference(draw, 24, 20, 12),
}
"""Like the tables that are public: hand-made, deep and full-reference features of as many clips."""
