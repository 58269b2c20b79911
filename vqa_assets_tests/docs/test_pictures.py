"""Pictures for metadata: PNG, readable, small enough for the event log."""

import random
from dataclasses import replace

import pytest

from vqa_assets.assets.metadata import PANELS_DRAWN, HistogramPair, histogram_pairs_png, histogram_png
from vqa_assets.corpora.scales import ACR_1_5, CONTINUOUS_0_100

MOST_BYTES = 40_000


def pairs(count: int) -> list[HistogramPair]:
    draw = random.Random(3)

    def counts() -> list[int]:
        return [draw.randrange(20_000) for _ in range(20)]

    scales = (ACR_1_5, CONTINUOUS_0_100)
    return [HistogramPair(f"corpus-{i}: 150000 clips", scales[i % 2], counts(), counts()) for i in range(count)]


@pytest.mark.parametrize("count", [1, 8, PANELS_DRAWN, 30])
def test_histograms_of_however_many_corpora_are_one_small_png(count: int) -> None:
    png = histogram_pairs_png(pairs(count))
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    assert len(png) < MOST_BYTES


def test_the_same_histograms_give_the_same_bytes() -> None:
    assert histogram_pairs_png(pairs(3)) == histogram_pairs_png(pairs(3))


def test_a_corpuss_title_is_drawn_as_it_is_written(recwarn: pytest.WarningsRecorder) -> None:
    (pair,) = pairs(1)
    for title in ("a piece_$x_$", "影片"):
        assert histogram_png(pair.native, pair.scale, title).startswith(b"\x89PNG")
        assert histogram_pairs_png([replace(pair, title=title)]).startswith(b"\x89PNG")
    assert [str(one.message) for one in recwarn] == []


def test_one_histogram_is_a_small_png() -> None:
    png = histogram_png(range(20), ACR_1_5, "title")
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    assert len(png) < MOST_BYTES
