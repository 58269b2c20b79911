"""What starts runs: a changed annotation file, patiently; and a schedule over the corpora that are present."""

import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from vqa_assets.assets.catalog import Catalog
from vqa_assets.corpora import CORPORA
from vqa_assets.resources.data_root import DataRootResource
from vqa_assets.sensors.dropped_files import make_annotation_sensor
from vqa_assets.sensors.schedules import make_reingest_schedule

CATALOG = Catalog(CORPORA)


@pytest.fixture
def annotation_file(root_path: Path) -> Path:
    path = root_path / "konvid-150k" / "manifest.csv"
    path.parent.mkdir()
    return path


def write(path: Path, text: str, age_s: float = 3600) -> None:
    path.write_text(text)
    then = time.time() - age_s
    os.utime(path, (then, then))


def tick(root: Path, cursor: str | None) -> tuple[list[Any], str | None]:
    """One evaluation: its run requests, and the cursor it leaves."""
    context = dg.build_sensor_context(cursor=cursor)
    found = make_annotation_sensor(CATALOG)(context, data_root=DataRootResource(path=str(root)))
    assert isinstance(found, dg.SensorResult)
    return list(found.run_requests or []), found.cursor


def test_a_new_file_starts_its_corpus_once(root_path: Path, annotation_file: Path) -> None:
    assert tick(root_path, None)[0] == []
    write(annotation_file, "a")
    requests, cursor = tick(root_path, None)
    assert [request.partition_key for request in requests] == ["konvid-150k"]
    assert tick(root_path, cursor)[0] == []


def test_a_file_that_is_still_being_written_waits(root_path: Path, annotation_file: Path) -> None:
    write(annotation_file, "a", age_s=0)
    requests, cursor = tick(root_path, None)
    assert requests == []
    write(annotation_file, "a whole file")
    assert len(tick(root_path, cursor)[0]) == 1


def test_a_touched_file_with_equal_bytes_starts_nothing(root_path: Path, annotation_file: Path) -> None:
    write(annotation_file, "a", age_s=900)
    cursor = tick(root_path, None)[1]
    write(annotation_file, "a", age_s=600)
    assert tick(root_path, cursor)[0] == []


def test_going_back_to_an_older_file_starts_again_under_a_key_of_its_own(
    root_path: Path, annotation_file: Path
) -> None:
    keys, cursor = [], None
    for text, age_s in (("A", 900), ("B", 600), ("A", 300)):
        write(annotation_file, text, age_s)
        requests, cursor = tick(root_path, cursor)
        keys += [request.run_key for request in requests]
    assert len(set(keys)) == 3


def test_the_schedule_takes_the_corpora_whose_annotation_file_is_there(root_path: Path, annotation_file: Path) -> None:
    def run() -> Any:
        context = dg.build_schedule_context(scheduled_execution_time=datetime(2026, 11, 23, 3, tzinfo=UTC))
        return make_reingest_schedule(CATALOG)(context, data_root=DataRootResource(path=str(root_path)))

    assert "no annotation file" in str(run().skip_message)
    write(annotation_file, "a")
    assert [(r.partition_key, r.run_key) for r in run()] == [("konvid-150k", "konvid-150k:2026-11-23T03:00:00+00:00")]


def test_both_are_off_until_somebody_switches_them_on() -> None:
    assert make_annotation_sensor(CATALOG).default_status == dg.DefaultSensorStatus.STOPPED
    assert make_reingest_schedule(CATALOG).default_status == dg.DefaultScheduleStatus.STOPPED


def test_a_file_that_ingest_toml_names_is_watched_where_it_is(root_path: Path, annotation_file: Path) -> None:
    elsewhere = root_path / "scores.csv"
    (annotation_file.parent / "ingest.toml").write_text(f'manifest_csv = "{elsewhere}"')
    write(annotation_file, "not this one")
    assert tick(root_path, None)[0] == []
    write(elsewhere, "this one")
    assert len(tick(root_path, None)[0]) == 1


def test_a_broken_ingest_toml_stops_its_own_corpus_only(root_path: Path, annotation_file: Path) -> None:
    write(annotation_file, "a")
    (root_path / "lsvq").mkdir()
    (root_path / "lsvq" / "ingest.toml").write_text("nonsense")
    assert [request.partition_key for request in tick(root_path, None)[0]] == ["konvid-150k"]
