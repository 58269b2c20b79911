"""Where a corpus's files lie is said once, in its ``ingest.toml``: every stage and command finds them there."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from vqa_assets.corpora import CORPORA
from vqa_assets.features.family import FamilyVersion
from vqa_assets.ingest.fakes import FakeDownloader, FakeProber
from vqa_assets.ingest.layout import CorpusLayout
from vqa_assets.overview import status_of
from vqa_assets.provenance.verify import verify
from vqa_assets.tables.paths import DataRoot
from vqa_assets.workflow import plan
from vqa_assets_tests.shared.fakes import KONVID, SmallCorpus
from vqa_assets_tests.shared.platform import Platform, checks, failure, metadata, passed


class LengthOfName:
    """An extractor of one family, that opens no clip."""

    version = "length-of-name.1"
    families = (FamilyVersion("length-of-name", version, compares=False),)

    def measure(self, clip: Path, **_: object) -> dict[str, Any]:
        return {"length-of-name": {"length_of_name": float(len(clip.name)), "n_feature_frames": 5}}


@pytest.fixture
def platform(root_path: Path) -> Iterator[Platform]:
    with dg.instance_for_test() as instance:
        made = Platform(root_path, instance)
        made.resources = {"prober": FakeProber(), "downloader": FakeDownloader(), "extractor": LengthOfName()}
        yield made


def elsewhere(platform: Platform, disk: Path, **places: str) -> SmallCorpus:
    """A corpus of three clips whose every file lies where only ``places``, its ``ingest.toml``, say."""
    corpus = SmallCorpus(platform.root)
    corpus.annotate([(f"{i}.mp4", "", 2 + i, 0.5, 5) for i in range(3)])
    (corpus.folder / "manifest.csv").rename(corpus.folder / "scores.csv")
    (disk / "films").mkdir(parents=True)
    for i in range(3):
        (disk / "films" / f"{i}.mp4").write_bytes(b"%d" % i)
    stated = "".join(f"{name} = {json.dumps(value)}\n" for name, value in places.items())
    (corpus.folder / "ingest.toml").write_text(f"min_rows = 1\n{stated}")
    return corpus


def test_every_stage_finds_the_files_where_ingest_toml_says(platform: Platform, tmp_path: Path) -> None:
    places = {"corpus_dir": str(tmp_path / "disk"), "clips_subdir": "films", "manifest_csv": "scores.csv"}
    elsewhere(platform, tmp_path / "disk", output="rows/mine.jsonl", **places)
    ingested = platform.run("corpus_annotations", "corpus_jsonl", partition=KONVID.name)
    assert ingested.success
    assert metadata(ingested, "corpus_jsonl")["path"] == "konvid-150k/rows/mine.jsonl"
    assert "this_run_only" not in metadata(ingested, "corpus_jsonl")
    assert all(passed(ingested).values())
    unified = platform.run("unified_corpus")
    assert metadata(unified, "unified_corpus")["dagster/row_count"] == 3
    tables = platform.run("clip_features", "mos_features", partition=KONVID.name)
    assert metadata(tables, "clip_features")["dagster/row_count"] == 3
    assert metadata(tables, "mos_features")["match_rate"] == 1.0
    (record,) = platform.instance.fetch_observations(dg.AssetKey("clip_features"), limit=5).records
    assert {"clips_done", "clips_failed", "clips_cached"} <= set(record.asset_observation.metadata)  # type: ignore[union-attr]
    status = status_of(KONVID, platform.root)
    assert (status.annotation_file, status.clips, status.rows) == ("konvid-150k/scores.csv", 3, 3)
    assert status.next_step.startswith("none")
    assert [step.corpus for step in plan(platform.root, training=False)][:2] == [KONVID.name, None]
    assert verify(platform.root.path / "aggregated" / "unified_corpus.manifest.json").holds
    assert not platform.root.corpus_jsonl(KONVID).exists()


def test_a_check_alone_looks_where_ingest_toml_says(platform: Platform, tmp_path: Path) -> None:
    corpus = elsewhere(platform, tmp_path / "disk", output="rows/mine.jsonl")
    layout = CorpusLayout.standing(KONVID, platform.root)
    layout.output.parent.mkdir()
    layout.output.write_text("{}\n")
    layout.manifest.write_text('{"run_provenance": {"schema": "ai-run-provenance-v1"}}')
    assert (layout.output, layout.manifest) == (
        corpus.folder / "rows" / "mine.jsonl",
        corpus.folder / "rows" / "mine.manifest.json",
    )
    job = platform.definitions().resolve_job_def("corpus_freshness")
    quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    tags = {"dagster/partition": KONVID.name}
    (found,) = job.execute_in_process(
        tags=tags, instance=platform.instance, run_config=quiet
    ).get_asset_check_evaluations()
    assert found.description == "mine.manifest.json says no time; materialize the partition again"


def test_places_in_a_run_config_hold_for_that_run_which_says_so(
    platform: Platform, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    elsewhere(platform, tmp_path / "disk", manifest_csv="scores.csv")
    config = {
        "corpus_dir": str(tmp_path / "disk"),
        "clips_subdir": "films",
        "output": str(tmp_path / "out.jsonl"),
        "manifest_csv": str(platform.root.corpus_dir(KONVID) / "scores.csv"),  # where ingest.toml has it anyway
    }
    with caplog.at_level(logging.WARNING, logger="vqa_assets.ingest"):
        result = platform.run("corpus_jsonl", partition=KONVID.name, **config)
    told = "corpus_dir, output, clips_subdir: set for this run only, other stages will not see it; "
    told += "in ingest.toml all do"
    assert metadata(result, "corpus_jsonl")["this_run_only"] == told
    assert f"konvid-150k: {told}" in caplog.text
    assert passed(result)["corpus_jsonl_schema"]
    assert "no input JSONL files exist" in failure(platform.run("unified_corpus"))
    assert status_of(KONVID, platform.root).rows is None


def test_a_broken_ingest_toml_is_told_by_the_stage_that_needs_it_and_by_no_other(
    platform: Platform, tmp_path: Path
) -> None:
    corpus = elsewhere(platform, tmp_path / "disk", corpus_dir=str(tmp_path / "disk"), manifest_csv="scores.csv")
    (tmp_path / "disk" / "films").rename(tmp_path / "disk" / "clips")
    assert platform.run("corpus_jsonl", partition=KONVID.name).success
    (corpus.folder / "ingest.toml").write_text("outputs = 1\n")
    for stage, partition in (("unified_corpus", None), ("clip_features", KONVID.name), ("mos_features", KONVID.name)):
        assert "konvid-150k: ingest.toml: unknown key 'outputs'" in failure(platform.run(stage, partition=partition))
    stated = platform.run("unified_corpus", inputs=[str(platform.root.corpus_jsonl(KONVID))])
    assert metadata(stated, "unified_corpus")["dagster/row_count"] == 3


def test_related_clips_follow_the_output_of_the_unified_corpus(platform: Platform, tmp_path: Path) -> None:
    elsewhere(
        platform, tmp_path / "disk", corpus_dir=str(tmp_path / "disk"), manifest_csv="scores.csv", clips_subdir="films"
    )
    platform.run("corpus_jsonl", partition=KONVID.name)
    result = platform.run("unified_corpus", output=str(tmp_path / "mine" / "all.jsonl"))
    # A long path stands in a field that folds.
    assert str(tmp_path / "mine" / "all.related_clips.json") in metadata(result, "unified_corpus")["related_path"]
    assert checks(result)["unified_corpus_schema"].passed
    assert not (platform.root.path / "aggregated").exists()


@pytest.mark.parametrize("name", list(CORPORA))
def test_a_layout_stands_without_any_file(name: str, root_path: Path) -> None:
    layout = CorpusLayout.standing(CORPORA[name], DataRoot(root_path))
    assert layout.output == root_path / name / f"{CORPORA[name].stem}.jsonl"
    assert layout.waiting_annotation_files() == ()
