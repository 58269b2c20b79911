"""What starts runs: files that were dropped, patiently; and schedules over the corpora that are present."""

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextvars import copy_context
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest

from vqa_assets.assets.catalog import Catalog
from vqa_assets.corpora import CORPORA
from vqa_assets.definitions import build_defs, defs
from vqa_assets.errors import SettingsError
from vqa_assets.provenance import Manifest, RunContext
from vqa_assets.resources.data_root import DataRootResource
from vqa_assets.sensors.dropped_files import make_drop_sensors
from vqa_assets.sensors.schedules import Timing, make_schedules
from vqa_assets.tables.paths import DataRoot, manifest_path
from vqa_assets_tests.shared.grids import small_report, tune_row, write_rows
from vqa_assets_tests.shared.manifests import publish_manifest

CATALOG = Catalog(CORPORA)
SENSORS = {sensor.name: sensor for sensor in make_drop_sensors(CATALOG, 30)}


@pytest.fixture
def annotation_file(root_path: Path) -> Path:
    path = root_path / "konvid-150k" / "manifest.csv"
    path.parent.mkdir()
    return path


def write(path: Path, text: str, age_s: float = 3600) -> None:
    path.write_text(text)
    then = time.time() - age_s
    os.utime(path, (then, then))


def tick(root: Path, cursor: str | None, sensor: str = "changed_annotation_files") -> tuple[list[Any], str | None]:
    """One evaluation: its run requests, and the cursor it leaves."""
    context = dg.build_sensor_context(cursor=cursor)
    found = SENSORS[sensor](context, data_root=DataRootResource(path=str(root)))
    assert isinstance(found, dg.SensorResult)
    return list(found.run_requests or []), found.cursor


def two_ticks(root: Path, cursor: str | None, sensor: str = "changed_annotation_files") -> tuple[list[Any], str | None]:
    """A file is taken at the second tick that sees it the same; nothing is requested at the first."""
    requests, cursor = tick(root, cursor, sensor)
    assert requests == []
    return tick(root, cursor, sensor)


def test_a_new_file_starts_its_corpus_once(root_path: Path, annotation_file: Path) -> None:
    assert two_ticks(root_path, None)[0] == []
    write(annotation_file, "a")
    requests, cursor = two_ticks(root_path, None)
    assert [request.partition_key for request in requests] == ["konvid-150k"]
    assert tick(root_path, cursor)[0] == []


def test_a_file_waits_while_it_grows_however_old_its_time_of_change_is(root_path: Path, annotation_file: Path) -> None:
    cursor = None
    for text in ("a", "a who", "a whole f"):
        write(annotation_file, text)
        requests, cursor = tick(root_path, cursor)
        assert requests == []
    write(annotation_file, "a whole file")
    assert len(two_ticks(root_path, cursor)[0]) == 1


def test_a_file_from_a_clock_that_is_ahead_is_taken_all_the_same(root_path: Path, annotation_file: Path) -> None:
    write(annotation_file, "a", age_s=-7200)
    assert len(two_ticks(root_path, None)[0]) == 1


def test_a_file_that_is_replaced_while_it_is_hashed_waits(
    root_path: Path, annotation_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(annotation_file, "a", age_s=900)
    _, cursor = tick(root_path, None)
    opened: Callable[..., Any] = Path.open

    def replaced(path: Path, *arguments: Any) -> Any:
        if path == annotation_file:
            monkeypatch.undo()
            write(annotation_file, "another", age_s=300)
        return opened(path, *arguments)

    monkeypatch.setattr(Path, "open", replaced)
    requests, cursor = tick(root_path, cursor)
    assert requests == []
    assert len(tick(root_path, cursor)[0]) == 1


def test_a_touched_file_with_equal_bytes_starts_nothing(root_path: Path, annotation_file: Path) -> None:
    write(annotation_file, "a", age_s=900)
    cursor = two_ticks(root_path, None)[1]
    write(annotation_file, "a", age_s=600)
    assert two_ticks(root_path, cursor)[0] == []


@pytest.mark.parametrize("ages_s", [(900, 600, 300), (300, 600, 300), (600, 600, 600)])
def test_going_back_to_an_older_file_starts_again_under_a_key_of_its_own_whatever_its_time(
    ages_s: tuple[int, ...], root_path: Path, annotation_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys, cursor = [], None
    monkeypatch.setattr(time, "time", lambda: 1_700_000_000.0)
    for text, age_s in zip(("A", "BB", "A"), ages_s, strict=True):
        write(annotation_file, text, age_s)
        requests, cursor = two_ticks(root_path, cursor)
        keys += [request.run_key for request in requests]
    assert len(set(keys)) == 3


def test_an_unchanged_file_is_not_read_again(
    root_path: Path, annotation_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(annotation_file, "a")
    cursor = two_ticks(root_path, None)[1]
    monkeypatch.setattr("vqa_assets.sensors.dropped_files._digest", lambda files: pytest.fail("read again"))
    assert tick(root_path, cursor)[0] == []


def test_a_cursor_that_somebody_spoilt_counts_as_none(root_path: Path, annotation_file: Path) -> None:
    write(annotation_file, "a")
    for spoilt in ("no json", "[1]", '{"konvid-150k": 3}'):
        assert len(two_ticks(root_path, spoilt)[0]) == 1


def test_a_file_that_ingest_toml_names_is_watched_where_it_is(root_path: Path, annotation_file: Path) -> None:
    elsewhere = root_path / "scores.csv"
    (annotation_file.parent / "ingest.toml").write_text(f'manifest_csv = "{elsewhere}"')
    write(annotation_file, "not this one")
    assert two_ticks(root_path, None)[0] == []
    write(elsewhere, "this one")
    assert len(two_ticks(root_path, None)[0]) == 1


def test_a_broken_ingest_toml_stops_its_own_corpus_only(root_path: Path, annotation_file: Path) -> None:
    write(annotation_file, "a")
    (root_path / "lsvq").mkdir()
    (root_path / "lsvq" / "ingest.toml").write_text("nonsense")
    assert [request.partition_key for request in two_ticks(root_path, None)[0]] == ["konvid-150k"]


def feature_table(root_path: Path) -> Path:
    """A foreign feature table in a corpus that was ingested."""
    folder = root_path / "konvid-150k"
    folder.mkdir()
    (folder / "konvid_150k.jsonl").write_text("{}\n")
    table = folder / "features.parquet"
    pl.DataFrame({"key": ["a"], "adm2": [0.9]}).write_parquet(table)
    return table


def test_a_feature_table_of_ones_own_starts_its_labels(root_path: Path) -> None:
    table = feature_table(root_path)
    requests, cursor = two_ticks(root_path, None, "changed_feature_tables")
    assert [request.partition_key for request in requests] == ["konvid-150k"]
    assert tick(root_path, cursor, "changed_feature_tables")[0] == []
    pl.DataFrame({"key": ["a"], "adm2": [0.8]}).write_parquet(table)
    assert len(two_ticks(root_path, cursor, "changed_feature_tables")[0]) == 1


def test_a_feature_table_that_clip_features_wrote_starts_nothing(root_path: Path) -> None:
    table = feature_table(root_path)
    run = RunContext(DataRoot(root_path), {}, Path(__file__))
    publish_manifest(manifest_path(table), Manifest("clip-features-manifest-v1", {}, {}, {}, {"features": table}), run)
    assert two_ticks(root_path, None, "changed_feature_tables")[0] == []


def test_a_feature_table_waits_for_its_corpus_and_is_not_forgotten(root_path: Path) -> None:
    jsonl = feature_table(root_path).with_name("konvid_150k.jsonl")
    jsonl.unlink()
    requests, cursor = two_ticks(root_path, None, "changed_feature_tables")
    assert requests == []
    jsonl.write_text("{}\n")
    assert len(two_ticks(root_path, cursor, "changed_feature_tables")[0]) == 1


def test_a_table_whose_manifest_cannot_be_read_is_your_own(root_path: Path) -> None:
    manifest_path(feature_table(root_path)).write_text("{")
    assert len(two_ticks(root_path, None, "changed_feature_tables")[0]) == 1


def test_reports_and_vmaf_tune_rows_start_their_own_source(root_path: Path) -> None:
    reports = root_path / "encode-grid" / "bvi-dvc"
    reports.mkdir(parents=True)
    (reports / "A_64x48_25fps_1.json").write_text(small_report())
    requests, cursor = two_ticks(root_path, None, "changed_encode_reports")
    assert [request.partition_key for request in requests] == ["bvi-dvc"]
    (reports / "B_64x48_25fps_1.json").write_text(small_report(70.0))
    (reports / "dangling.json").symlink_to(reports / "nowhere.json")
    write_rows(root_path / "encode-grid" / "netflix_vmaf_tune.jsonl", tune_row())
    requests, cursor = two_ticks(root_path, cursor, "changed_encode_reports")
    assert [request.partition_key for request in requests] == ["bvi-dvc", "netflix"]
    (reports / "A_64x48_25fps_1.json").unlink()
    requests, cursor = two_ticks(root_path, cursor, "changed_encode_reports")
    assert [request.partition_key for request in requests] == ["bvi-dvc"]
    shutil.rmtree(reports)
    assert two_ticks(root_path, cursor, "changed_encode_reports")[0] == []


def test_what_a_dropped_report_starts_is_a_run_that_works(root_path: Path) -> None:
    """The request as the daemon would run it: the reports, which have no partition, with the grid, which has."""
    reports = root_path / "encode-grid" / "bvi-dvc"
    reports.mkdir(parents=True)
    (reports / "A_64x48_25fps_1.json").write_text(small_report())
    (request,) = two_ticks(root_path, None, "changed_encode_reports")[0]
    with dg.DagsterInstance.ephemeral() as instance:
        result = (
            build_defs(data_root=DataRootResource(path=str(root_path)))
            .resolve_implicit_global_asset_job_def()
            .execute_in_process(
                asset_selection=[dg.AssetKey("libvmaf_reports"), dg.AssetKey("encode_grid_jsonl")],
                partition_key=request.partition_key,
                run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
                instance=instance,
            )
        )
    assert result.success
    assert (root_path / "encode-grid" / "bvi_dvc_corpus.jsonl").is_file()


def scheduled(root: Path, name: str, instance: dg.DagsterInstance) -> Any:
    """What a tick requests. It opens the instance once more, which Dagster notes in this thread's context for ever."""
    schedule = next(one for one in make_schedules(CATALOG, Timing()) if one.name == name)

    def tick() -> Any:
        moment = datetime(2026, 11, 23, 3, tzinfo=UTC)
        with dg.build_schedule_context(instance, scheduled_execution_time=moment) as context:
            return schedule(context, data_root=DataRootResource(path=str(root)))

    return copy_context().run(tick)


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.instance_for_test() as found:
        yield found


def test_the_schedule_takes_the_corpora_whose_annotation_file_is_there(
    root_path: Path, annotation_file: Path, instance: dg.DagsterInstance
) -> None:
    assert "no annotation file" in str(scheduled(root_path, "weekly_reingest", instance).skip_message)
    write(annotation_file, "a")
    found = [(r.partition_key, r.run_key) for r in scheduled(root_path, "weekly_reingest", instance)]
    assert found == [("konvid-150k", "konvid-150k:2026-11-23T03:00:00+00:00")]
    # where somebody's settings are broken or name a file that is gone, the run says so
    annotation_file.unlink()
    for settings in ("typo = 1\n", 'manifest_csv = "gone.csv"\n'):
        annotation_file.with_name("ingest.toml").write_text(settings)
        assert [r.partition_key for r in scheduled(root_path, "weekly_reingest", instance)] == ["konvid-150k"]


def test_the_age_of_every_ingested_corpus_is_judged_without_a_run_of_it(
    root_path: Path, annotation_file: Path, instance: dg.DagsterInstance
) -> None:
    assert "no corpus JSONL" in str(scheduled(root_path, "daily_freshness", instance).skip_message)
    write(annotation_file, "a")
    annotation_file.with_name("konvid_150k.jsonl").write_text("{}\n")
    assert [r.tags["dagster/partition"] for r in scheduled(root_path, "daily_freshness", instance)] == ["konvid-150k"]


@pytest.mark.parametrize(("year", "words"), [(2020, "days ago"), (2900, "days in the future: was a clock wrong?")])
def test_an_old_corpus_and_one_from_the_future_fail_the_freshness_check_when_the_job_of_the_schedule_runs(
    year: int, words: str, root_path: Path, instance: dg.DagsterInstance
) -> None:
    folder = root_path / "konvid-150k"
    folder.mkdir()
    (folder / "konvid_150k.jsonl").write_text("{}\n")
    begun = datetime(year, 1, 1, tzinfo=UTC).timestamp()
    publish_manifest(
        folder / "konvid_150k.manifest.json",
        Manifest("mos-corpus-manifest-v1", {}, {}, {}, {}),
        RunContext(DataRoot(root_path), {}, Path(__file__), started=begun),
    )
    (request,) = scheduled(root_path, "daily_freshness", instance)
    job = build_defs(data_root=DataRootResource(path=str(root_path))).resolve_job_def("corpus_freshness")
    quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    result = job.execute_in_process(tags=request.tags, instance=instance, run_config=quiet)
    (found,) = result.get_asset_check_evaluations()
    assert (found.check_name, found.passed, found.severity) == (
        "corpus_jsonl_fresh",
        False,
        dg.AssetCheckSeverity.WARN,
    )
    assert words in str(found.description)


def test_a_corpus_whose_file_is_gone_is_judged_too_and_said_to_be_gone(
    root_path: Path, instance: dg.DagsterInstance
) -> None:
    instance.report_runless_asset_event(dg.AssetMaterialization("corpus_jsonl", partition="lsvq"))
    (request,) = scheduled(root_path, "daily_freshness", instance)
    job = build_defs(data_root=DataRootResource(path=str(root_path))).resolve_job_def("corpus_freshness")
    quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    result = job.execute_in_process(tags=request.tags, instance=instance, run_config=quiet)
    (found,) = result.get_asset_check_evaluations()
    assert not found.passed
    assert found.description == "not there: lsvq.jsonl and lsvq.manifest.json; materialize the partition again"


def test_cron_and_time_zone_come_from_the_environment() -> None:
    assert Timing.of({}) == Timing("0 3 * * 1", "UTC", 30)
    found = Timing.of({"VQA_REINGEST_CRON": "15 4 * * 6", "VQA_REINGEST_TIMEZONE": "Europe/Berlin"})
    (reingest, _) = make_schedules(CATALOG, found)
    assert (reingest.cron_schedule, reingest.execution_timezone) == ("15 4 * * 6", "Europe/Berlin")


@pytest.mark.parametrize("timing", [Timing(cron="every monday"), Timing(timezone="Mars/Olympus")])
def test_timing_that_means_nothing_is_refused_with_the_names_to_correct(timing: Timing) -> None:
    with pytest.raises(SettingsError, match=r"VQA_REINGEST_CRON='.*expected a cron expression such as"):
        make_schedules(CATALOG, timing)


@pytest.mark.parametrize("told", ["soon", "0", "-5", "1.5", "86401"])
def test_an_interval_that_is_no_number_of_seconds_is_refused(told: str) -> None:
    assert Timing.of({"VQA_SENSOR_INTERVAL_S": "5"}).interval_s == 5
    with pytest.raises(SettingsError, match=r"VQA_SENSOR_INTERVAL_S: .*, expected whole seconds from 1 to 86400"):
        Timing.of({"VQA_SENSOR_INTERVAL_S": told})


def test_what_starts_long_runs_is_off_until_somebody_switches_it_on() -> None:
    on = {s.name for s in defs.sensors or () if s.default_status == dg.DefaultSensorStatus.RUNNING}
    assert on == {"abandoned_runs", "failed_runs"}
    assert {s.default_status for s in make_schedules(CATALOG, Timing())} == {dg.DefaultScheduleStatus.STOPPED}
