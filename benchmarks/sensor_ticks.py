"""What a look of the sensors costs where nothing changed: twenty corpora, against as many bare ``stat`` calls."""

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import dagster as dg

from vqa_assets.assets.catalog import Catalog
from vqa_assets.corpora import CORPORA
from vqa_assets.resources.data_root import DataRootResource
from vqa_assets.sensors.dropped_files import make_drop_sensors

TARGET_S = 0.2
COUNT = 20
RUNS = 30


def main() -> None:
    """Print the median of an unchanged tick, per sensor."""
    with TemporaryDirectory() as folder:
        root = Path(folder)
        names = [f"corpus-{i:02d}" for i in range(COUNT)]
        catalog = Catalog({name: CORPORA["konvid-150k"].but(name=name) for name in names})
        files = [file for name in names for file in _corpus(root / name)]
        plain = _median(lambda: [path.stat() for path in files])
        for sensor in make_drop_sensors(catalog, 30):
            seconds = _unchanged(sensor, root)
            print(
                f"{sensor.name}: {seconds * 1e3:.1f} ms a tick over {COUNT} unchanged corpora, {plain * 1e3:.2f} ms "
                f"for stat alone, medians of {RUNS}; target: under {TARGET_S:g} s"
            )


def _corpus(folder: Path) -> list[Path]:
    """A corpus folder with a score file, a JSONL and a feature table of one's own."""
    folder.mkdir()
    stem = folder.name.replace("-", "_")
    for name in ("manifest.csv", f"{stem}.jsonl", "features.parquet"):
        (folder / name).write_bytes(b"x" * 1_000_000)
    return [folder / "manifest.csv", folder / "features.parquet"]


def _unchanged(sensor: dg.SensorDefinition, root: Path) -> float:
    """Seconds of a tick after two that saw the same files."""
    cursor: str | None = None

    def tick() -> dg.SensorResult:
        found = sensor(dg.build_sensor_context(cursor=cursor), data_root=DataRootResource(path=str(root)))
        assert isinstance(found, dg.SensorResult)
        return found

    for _ in range(2):
        cursor = tick().cursor
    return _median(tick)


def _median(call: Callable[[], object]) -> float:
    times = []
    for _ in range(RUNS):
        begun = time.perf_counter()
        call()
        times.append(time.perf_counter() - begun)
    return statistics.median(times)
