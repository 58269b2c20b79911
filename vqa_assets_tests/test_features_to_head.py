"""From clips to a table that a head reads: no column of either feature set is absent, missing or constant."""

import subprocess
from pathlib import Path

import pytest

from vqa_assets.features.extractor import ClipExtractor
from vqa_assets.features.ffmpeg import ffmpeg_binary
from vqa_assets.features.measuring import one_clip_row
from vqa_assets.heads.recipe import FEATURE_SCHEMAS
from vqa_assets.heads.rows.reading import read_training_table
from vqa_assets_tests.shared.tables import write_rows

SOURCES = ("testsrc2", "mandelbrot", "cellauto=rule=110", "life=mold=10:death_color=#c83232:life_color=#00ff00")


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Labelled rows of eight clips that differ in content, size, cuts and coding."""
    folder = tmp_path_factory.mktemp("to-head")
    rows = []
    for number in range(8):
        clip, name = folder / f"{number}.mp4", SOURCES[number % len(SOURCES)]
        size = ("160x96", "96x128")[number % 2]
        one = f"{name}{':' if '=' in name else '='}size={size}:rate=25"
        graph = f"{one},trim=end_frame={12 + number},format=yuv420p[a];testsrc=size={size}:rate=25,hue=s={number / 4},"
        graph += f"trim=end_frame={10 * (number % 3)},format=yuv420p[b];[a][b]concat,noise=alls={3 * number}:allf=t"
        tool = [ffmpeg_binary(), "-y", "-loglevel", "error", "-filter_complex", graph, "-crf", str(18 + 4 * number)]
        subprocess.run([*tool, clip], check=True)
        rows.append({**one_clip_row(clip, ClipExtractor()), "mos": 1.5 + number / 3, "corpus": "mine"})
    write_rows(folder / "table.parquet", rows, list(rows[0]))
    return folder / "table.parquet"


@pytest.mark.parametrize("schema", ["konvid-v1", "nr-v1"])
def test_every_column_of_the_schema_can_be_trained_on(table: Path, schema: str) -> None:
    read = read_training_table({"mine": table}, FEATURE_SCHEMAS[schema])
    assert read.features.shape == (8, len(FEATURE_SCHEMAS[schema].columns))
    assert read.counts["mine"].used == 8
    assert set(read.constant) <= {"nr_framerate"}
