"""Assets in Dagster: what a run leaves, what blocks, what only warns, and what a failure says."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest

from vqa_assets.assets.runs import public_arguments
from vqa_assets.corpora.declarations import read_declaration
from vqa_assets.definitions import build_defs
from vqa_assets.describe import main as describe
from vqa_assets.resources.data_root import DataRootResource
from vqa_assets_tests.shared.fakes import KONVID, FakeDownloader, FakeProber, SmallCorpus
from vqa_assets_tests.shared.platform import Platform, failure, metadata, passed, shown_rows


class CorpusPlatform(Platform):
    """The platform with one small corpus of fake clips."""

    def __init__(self, root_path: Path, instance: dg.DagsterInstance) -> None:
        super().__init__(root_path, instance)
        self.corpus = SmallCorpus(self.root)
        self.corpus.folder.mkdir()
        (self.corpus.folder / "ingest.toml").write_text("min_rows = 1\n")

    def definitions(self) -> dg.Definitions:
        self.resources = {"prober": self.corpus.prober, "downloader": self.corpus.downloader}
        return super().definitions()

    def run(self, *assets: str, partition: str | None = KONVID.name, **config: Any) -> dg.ExecuteInProcessResult:
        return super().run(*assets, partition=partition, **config)

    def staged(self, count: int = 12) -> "CorpusPlatform":
        """``count`` clips by hand, with rows."""
        names = [f"{i}.mp4" for i in range(count)]
        for name in names:
            self.corpus.stage(name, name.encode())
        self.corpus.annotate([(name, "", 2 + i / 10, 0.5, 5) for i, name in enumerate(names)])
        return self


@pytest.fixture
def platform(root_path: Path) -> Iterator[CorpusPlatform]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield CorpusPlatform(root_path, instance)


def test_a_corpus_is_materialized_with_counts_manifest_and_passing_checks(platform: CorpusPlatform) -> None:
    result = platform.staged().run("corpus_annotations", "corpus_jsonl")
    assert result.success
    assert all(passed(result).values())
    told = metadata(result, "corpus_jsonl")
    assert told["dagster/row_count"] == 12
    assert told["path"] == "konvid-150k/konvid_150k.jsonl"
    written = json.loads((platform.corpus.folder / "konvid_150k.manifest.json").read_text())
    assert told["manifest"] == written
    assert written["run_provenance"]["dagster"] == {
        "run_id": result.run_id,
        "asset_key": "corpus_jsonl",
        "partition_key": "konvid-150k",
        "code_version": "1",
        "config": {},
    }
    told = metadata(result, "corpus_annotations")
    assert told["usable_rows"] == 12
    # Of one row with many columns: their names and values.
    numbers = {row["name"]: row["value"] for row in shown_rows(told["labels"])}
    assert (numbers["clips"], numbers["mos_mean"], numbers["ratings_per_clip"]) == ("12", "2.55", "5")
    assert max(len(str(number)) for number in numbers.values()) <= 7
    assert not {"histogram", "ratings"} & set(numbers)


def test_the_counts_of_the_pass_are_observations_while_it_lasts(platform: CorpusPlatform) -> None:
    result = platform.staged(3).run("corpus_jsonl")
    (record,) = platform.instance.fetch_observations(dg.AssetKey("corpus_jsonl"), limit=5).records
    assert record.partition_key == "konvid-150k"
    told_counts = {name: value.value for name, value in record.asset_observation.metadata.items()}  # type: ignore[union-attr]
    assert (told_counts["clips_done"], told_counts["clips_total"], told_counts["clips_failed"]) == (3, 3, 0)
    told = metadata(result, "corpus_jsonl")
    assert told["losses_path"] == "konvid-150k/konvid_150k.losses.jsonl"
    assert told["manifest"]["losses_path"] == told["losses_path"]
    assert told["manifest"]["run_provenance"]["outputs"]["losses"]["exists"] is True
    platform.run("corpus_jsonl")
    assert len(platform.instance.fetch_observations(dg.AssetKey("corpus_jsonl"), limit=5).records) == 1


def test_equal_inputs_give_an_equal_data_version(platform: CorpusPlatform) -> None:
    platform.staged()

    def versions() -> list[str]:
        platform.run("corpus_annotations", "corpus_jsonl")
        platform.run("unified_corpus", partition=None)
        keys = [dg.AssetKey(name) for name in ("corpus_annotations", "corpus_jsonl", "unified_corpus")]
        found = [platform.instance.get_latest_data_version_record(key) for key in keys]
        return [dg_data_version(record) for record in found]

    first = versions()
    platform.corpus.root.corpus_jsonl(KONVID).unlink()
    assert versions() == first
    platform.corpus.annotate([("0.mp4", "", 4.9, 0.5, 5)])
    assert all(new != old for new, old in zip(versions(), first, strict=True))


def dg_data_version(record: Any) -> str:
    return str(record.asset_materialization.tags["dagster/data_version"])


def test_a_file_broken_after_the_run_fails_its_blocking_check_when_that_is_run_alone(platform: CorpusPlatform) -> None:
    platform.staged().run("corpus_jsonl")
    path = platform.corpus.root.corpus_jsonl(KONVID)
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0].replace('"mos_scale":"1-5-acr"', '"mos_scale":"1-6"'), *lines[1:]]) + "\n")
    defs = build_defs(data_root=DataRootResource(path=str(platform.corpus.root.path)))
    selection = dg.AssetSelection.checks_for_assets(dg.AssetKey("corpus_jsonl"))
    job = dg.define_asset_job("checks", selection)
    resolved = dg.Definitions(
        assets=defs.assets, asset_checks=defs.asset_checks, jobs=[job], resources=defs.resources
    ).resolve_job_def("checks")
    result = resolved.execute_in_process(
        tags={"dagster/partition": "konvid-150k"},
        instance=platform.instance,
        raise_on_error=False,
        run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
    )
    assert not result.success
    found = {e.check_name: e for e in result.get_asset_check_evaluations()}
    assert not found["corpus_jsonl_schema"].passed
    assert "mos_scale" in str(found["corpus_jsonl_schema"].description)
    assert "1-6" in str(found["corpus_jsonl_schema"].description)


def test_a_corpus_whose_clips_lie_elsewhere_is_told_as_such(platform: CorpusPlatform) -> None:
    platform.staged()
    (platform.corpus.folder / "clips").rename(platform.corpus.root.path / "videos")
    refused = failure(platform.run("corpus_jsonl"))
    assert "none of the 12 usable rows of this run has a clip that could be read" in refused
    assert "looked for 0.mp4, 1.mp4, 2.mp4" in refused
    assert not platform.corpus.root.corpus_jsonl(KONVID).exists()
    result = platform.run("corpus_jsonl", allow_empty=True)
    assert result.success
    told = {e.check_name: e.description for e in result.get_asset_check_evaluations()}
    assert told["corpus_jsonl_label_scale"] == "there are no rows: the losses in the asset's metadata say why"
    assert told["corpus_jsonl_attrition"].endswith("; beside them, 12 rows have neither a clip nor a URL")


def test_attrition_above_the_threshold_warns_and_the_run_succeeds(platform: CorpusPlatform) -> None:
    platform.staged(3)
    rows = [("0.mp4", "", 2, 0.5, 5), ("gone.mp4", "http://127.0.0.1/gone.mp4", 3, 0.5, 5)]
    platform.corpus.annotate(rows)
    result = platform.run("corpus_jsonl")
    assert result.success
    assert passed(result)["corpus_jsonl_attrition"] is False
    losses = metadata(result, "corpus_jsonl")["losses"]
    told = "gone.mp4: curl-rc=22: HTTP 404 Not Found (skipped_download, line 3)"
    assert [dict(record.data)["clip"] for record in losses.records] == [told]
    assert passed(platform.run("corpus_jsonl", attrition_warn_threshold=0.6))["corpus_jsonl_attrition"] is True


def test_a_failure_says_what_was_found_and_expected_and_what_to_do(platform: CorpusPlatform) -> None:
    result = platform.run("corpus_jsonl")
    assert not result.success
    told = failure(result)
    for part in ("konvid-150k: no annotation file", "found nothing at", "expected manifest.csv", "database.mmsp-kn.de"):
        assert part in told
    assert "no input JSONL files exist" in failure(platform.run("unified_corpus", partition=None))
    assert "materialize corpus_jsonl" in failure(platform.run("clip_features"))
    assert "materialize clip_features" in failure(platform.run("mos_features"))
    assert "materialize mos_features" in failure(platform.run("mos_head"))


def test_a_data_root_that_is_not_there_is_named(tmp_path: Path) -> None:
    defs = build_defs(data_root=DataRootResource(path=str(tmp_path / "nowhere")))
    result = defs.resolve_implicit_global_asset_job_def().execute_in_process(
        asset_selection=[dg.AssetKey("unified_corpus")],
        raise_on_error=False,
        run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
    )
    assert "nowhere: found nothing there, expected an existing folder; make it (vqa-assets init" in failure(result)


def test_a_run_config_names_every_setting_with_its_bounds(platform: CorpusPlatform) -> None:
    platform.staged()
    result = platform.run("corpus_jsonl", max_rows=5, workers=1)
    assert metadata(result, "corpus_jsonl")["dagster/row_count"] == 5
    assert "max_rows" in failure(platform.run("corpus_jsonl", max_rows=0))


def test_a_feature_table_of_your_own_is_left_as_it_is_with_a_warning(platform: CorpusPlatform) -> None:
    platform.staged().run("corpus_jsonl")
    own = platform.corpus.root.features(KONVID)
    own.write_bytes(own_table(own.parent / "x.parquet"))
    before = own.read_bytes()
    result = platform.run("clip_features")
    assert result.success
    assert own.read_bytes() == before
    assert passed(result) == {
        "clip_features_schema": True,
        "clip_features_coverage": False,
        "clip_features_audit": True,
    }
    labelled = platform.run("mos_features")
    assert labelled.success
    assert metadata(labelled, "mos_features")["match_rate"] == 1.0


def own_table(path: Path) -> bytes:
    import polars as pl

    pl.DataFrame({"key": [f"{i}.mp4" for i in range(12)], "my_feature": [float(i) for i in range(12)]}).write_parquet(
        path
    )
    content = path.read_bytes()
    path.unlink()
    return content


def test_outputs_named_in_the_run_config_are_checked_where_they_are(platform: CorpusPlatform, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere" / "k.jsonl"
    result = platform.staged().run("corpus_jsonl", output=str(elsewhere))
    assert result.success
    assert all(passed(result).values())
    assert elsewhere.is_file()
    assert not platform.corpus.root.corpus_jsonl(KONVID).exists()


def test_a_manifest_named_in_the_run_config_is_the_one_that_is_judged(platform: CorpusPlatform, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere" / "m.json"
    first = platform.staged().run("corpus_jsonl", manifest_out=str(elsewhere))
    assert first.success
    assert all(passed(first).values())
    platform.run("corpus_jsonl")
    platform.corpus.stage("more.mp4", b"more")
    platform.corpus.annotate([("more.mp4", "", 4, 0.5, 5)])
    again = platform.run("corpus_jsonl", manifest_out=str(elsewhere))
    assert again.success
    assert all(passed(again).values())


def test_rows_on_another_scale_than_their_scores_warn(platform: CorpusPlatform) -> None:
    platform.staged()
    platform.corpus.annotate([(f"{i}.mp4", "", 20 + 5 * i, 0.5, 5) for i in range(12)])
    assert platform.run("corpus_jsonl", mos_scale="0-100-continuous").success
    again = platform.run("corpus_jsonl", mos_scale="0-100-continuous")
    (found,) = (e for e in again.get_asset_check_evaluations() if e.check_name == "corpus_jsonl_label_scale")
    assert not found.passed
    assert str(found.description).startswith("12 rows on 0-100-continuous: 12 scores (quantiles 0% 20, ")
    assert "konvid-150k declares 1-5-acr only" in str(found.description)


def test_a_feature_table_whose_manifest_is_broken_is_left_as_it_is_too(platform: CorpusPlatform) -> None:
    platform.staged().run("corpus_jsonl")
    own = platform.corpus.root.features(KONVID)
    own.write_bytes(own_table(own.parent / "x.parquet"))
    own.with_name("features.manifest.json").write_text("{broken")
    before = own.read_bytes()
    result = platform.run("clip_features")
    assert result.success
    assert own.read_bytes() == before
    assert not passed(result)["clip_features_coverage"]


def test_the_command_line_keeps_what_a_person_typed_and_no_connection_of_dagsters() -> None:
    reference = '{"__class__": "InstanceRef", "storage_data": {"config_yaml": "password: secret"}}'
    arguments = ["dagster", "api", "grpc", "--instance-ref", reference, "--config-json", '{"ops": {}}']
    assert public_arguments(arguments, {}) == (*arguments[:4], "<dagster object>", *arguments[5:])


def test_fakes_stand_in_for_the_real_resources(platform: CorpusPlatform) -> None:
    platform.corpus.prober, platform.corpus.downloader = FakeProber(), FakeDownloader({"http://127.0.0.1/a": b"a"})
    platform.corpus.annotate([("a.mp4", "http://127.0.0.1/a", 3, 0.5, 5)])
    assert platform.run("corpus_jsonl").success
    assert platform.corpus.prober.probed == {"a.mp4.part": 1}


def test_an_external_shard_is_read_where_it_lies_and_not_missed_where_it_does_not(platform: CorpusPlatform) -> None:
    platform.staged().run("corpus_jsonl")
    told = metadata(platform.run("unified_corpus", partition=None), "unified_corpus")
    assert "netflix-public" not in str(told["absent"])
    (row, *_) = platform.corpus.rows()
    shard = {
        **row,
        "src": "n.mp4",
        "src_sha256": "f" * 64,
        "corpus": "netflix-public",
        "mos": 93.5,
        "mos_scale": "vmaf",
    }
    path = platform.corpus.root.path / "netflix" / "netflix_public.jsonl"
    path.parent.mkdir()
    path.write_text(json.dumps(shard) + "\n")
    result = platform.run("unified_corpus", partition=None)
    assert result.success
    unified = platform.corpus.root.unified_corpus().read_text().splitlines()
    (read,) = (json.loads(line) for line in unified if "netflix-public" in line)
    assert (read["mos"], read["mos_native_scale"], read["corpus_source"]) == (93.5, "vmaf", "netflix-public")


def test_the_unified_corpus_shows_clips_labels_licences_duplicates_and_related_clips(platform: CorpusPlatform) -> None:
    platform.staged().run("corpus_jsonl")
    result = platform.run("unified_corpus", partition=None)
    assert passed(result) == dict.fromkeys(
        ("unified_corpus_schema", "unified_corpus_dropped", "unified_corpus_spread", "unified_corpus_raw_scores"), True
    )
    told = metadata(result, "unified_corpus")
    assert [row["corpus"] for row in shown_rows(told["describe"])] == ["konvid-150k", "(total)"]
    assert {"name": "share_unknown_sd", "value": 0.0} in shown_rows(told["labels"])
    assert {"name": "licence", "value": KONVID.licence} in shown_rows(told["licences"])
    assert told["redistribution"].startswith("The unified corpus is for research use only")
    assert told["mos_histograms"].startswith("![MOS per corpus, native and unified](data:image/png;base64,")
    # A table of no rows is left out, and what was lost stands before statistics.
    assert not {"duplicates", "dropped_rows", "related_clips"} & told.keys()
    assert list(told)[:2] == ["rows_in", "raw_disagree"]
    # No page breaks so long a path: it is Markdown, behind a click.
    assert told["croissant"].rstrip() == "`aggregated/unified_corpus.croissant.json`"
    assert told["related_path"] == "aggregated/related_clips.json"


@pytest.mark.parametrize(("sd", "ordinary"), [(0.5, True), (0.05, False), (2.5, False)])
def test_a_spread_that_no_opinions_have_warns_and_blocks_nothing(
    platform: CorpusPlatform, sd: float, ordinary: bool
) -> None:
    platform.corpus.stage("a.mp4", b"a")
    platform.corpus.annotate([("a.mp4", "", 3.0, sd, 5)])
    platform.run("corpus_jsonl")
    result = platform.run("unified_corpus", partition=None)
    assert result.success
    assert passed(result)["unified_corpus_spread"] is ordinary
    (found,) = [e for e in result.get_asset_check_evaluations() if e.check_name == "unified_corpus_spread"]
    # one clip at 3 on 1–5 has g = 4: a = s² / 4
    assert found.metadata["konvid-150k (1-5-acr)"].value == pytest.approx(sd**2 / 4)
    assert ("outside 0.01–0.4: none" in str(found.description)) is ordinary


@pytest.mark.parametrize("spelling", ["from the root", "from the working folder", "a link"])
def test_an_override_finds_its_file_however_the_path_is_spelled(
    platform: CorpusPlatform, spelling: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    platform.staged().run("corpus_jsonl")
    path = platform.corpus.root.corpus_jsonl(KONVID)
    path.write_text(path.read_text().replace('"corpus":"konvid-150k"', '"corpus":"foo"'))
    link = tmp_path / "link.jsonl"
    link.symlink_to(path)
    monkeypatch.chdir(path.parent)
    spelled = {
        "from the root": platform.corpus.root.shown(path),
        "from the working folder": path.name,
        "a link": str(link),
    }[spelling]
    result = platform.run("unified_corpus", partition=None, corpus_source_overrides={spelled: "konvid-1k"})
    assert passed(result)["unified_corpus_dropped"] is True
    assert {row.data["corpus"] for row in metadata(result, "unified_corpus")["per_corpus"].records} == {"konvid-1k"}


def test_an_override_of_no_input_or_to_no_corpus_is_refused_and_nothing_is_replaced(platform: CorpusPlatform) -> None:
    platform.staged().run("corpus_jsonl")
    platform.run("unified_corpus", partition=None)
    path, unified = platform.corpus.root.corpus_jsonl(KONVID), platform.corpus.root.unified_corpus()
    before = unified.read_bytes()
    told = failure(platform.run("unified_corpus", partition=None, mos_scales={"lsqv.jsonl": "1-5-acr"}))
    assert told.startswith("mos_scales: lsqv.jsonl, expected one of the inputs (")
    told = failure(platform.run("unified_corpus", partition=None, mos_scales={"lsvq": "1-5"}))
    assert told.startswith("mos_scales.lsvq: '1-5', expected one of 1-5-acr, 0-100-continuous; ")
    told = failure(platform.run("unified_corpus", partition=None, corpus_source_overrides={"lsqv.jsonl": "lsvq"}))
    assert told.startswith("corpus_source_overrides: lsqv.jsonl, expected one of the inputs (")
    told = failure(platform.run("unified_corpus", partition=None, corpus_source_overrides={str(path): "lsqv"}))
    assert told.startswith("corpus_source_overrides: lsqv, expected one of konvid-1k, konvid-150k, lsvq, ")
    assert unified.read_bytes() == before


def test_the_schema_check_judges_lines_that_were_edited_since_the_table_was_made(platform: CorpusPlatform) -> None:
    platform.staged().run("corpus_jsonl")
    platform.run("unified_corpus", partition=None)
    unified = platform.corpus.root.unified_corpus()
    unified.write_text(unified.read_text().replace('"width":', '"width":-', 1))
    job = build_defs(data_root=DataRootResource(path=str(platform.corpus.root.path)))
    checks_alone = dg.AssetSelection.checks(dg.AssetCheckKey(dg.AssetKey("unified_corpus"), "unified_corpus_schema"))
    definition = dg.Definitions.merge(job, dg.Definitions(jobs=[dg.define_asset_job("again", checks_alone)]))
    result = definition.resolve_job_def("again").execute_in_process(instance=platform.instance, raise_on_error=False)
    (found,) = result.get_asset_check_evaluations()
    assert not found.passed
    assert "width" in str(found.description)


def test_dropped_rows_are_shown_with_their_place_by_asset_and_check(platform: CorpusPlatform) -> None:
    platform.staged().run("corpus_jsonl")
    path = platform.corpus.root.corpus_jsonl(KONVID)
    path.write_text(path.read_text().replace('"corpus":"konvid-150k"', '"corpus":"foo"', 1))
    result = platform.run("unified_corpus", partition=None)
    assert passed(result)["unified_corpus_dropped"] is False
    (row,) = shown_rows(metadata(result, "unified_corpus")["dropped_rows"])
    assert row == {
        "reason": "dropped_unknown_corpus",
        "path": "konvid-150k/konvid_150k.jsonl",
        "line": "1",
        "corpus": "foo",
        "found": "unknown corpus label 'foo'",
    }
    (found,) = [e for e in result.get_asset_check_evaluations() if e.check_name == "unified_corpus_dropped"]
    assert shown_rows(found.metadata["examples"].value) == [row]


OWN = """\
name = "my-clips"
title = "My clips"
version = "1"
scales = [{ name = "0-10", low = 0, high = 10 }, "0-100-continuous"]
polarity = "dmos"
scores = { sharp = { column = "S", scale = "1-5-acr", polarity = "mos" } }
spread = "sd"
licence = "mine"
redistribution = "attribution"
citation = "Me."
homepage = "https://example.org/"
expected_clips = 30
size = "1 GB"
bytes_per_clip = 1_000
min_rows = 1
acquisition = { file = "manifest.csv", where = "https://example.org/", steps = "Drop it." }
"""


def test_a_corpus_of_its_own_scale_and_better_end_goes_through_every_stage(
    platform: CorpusPlatform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "corpora").mkdir()
    (tmp_path / "corpora" / "mine.toml").write_text(OWN)
    monkeypatch.setenv("VQA_CORPORA_DIR", str(tmp_path / "corpora"))
    small = platform.corpus
    small.corpus = read_declaration(tmp_path / "corpora" / "mine.toml")
    rows = [f"{i}.mp4,{i / 3},0.5,{9 if i == 0 else 1 + i / 10}" for i in range(30)]
    small.drop("manifest.csv", "\n".join(["name,DMOS,dmos_std,S", *rows]) + "\n")
    for i in range(30):
        small.stage(f"{i}.mp4", b"%d" % i)
    own = pl.DataFrame({"key": [f"{i}.mp4" for i in range(30)], "adm2": [0.5] * 30})
    own.write_parquet(small.root.features(small.corpus))
    made = platform.run("corpus_annotations", "corpus_jsonl", "mos_features", partition="my-clips")
    assert all(passed(made).values())
    assert metadata(made, "corpus_annotations")["mos_scale"] == "0-10, less is better (detected)"
    assert {(row["mos_scale"], row["mos_polarity"]) for row in small.rows()} == {("0-10", "dmos")}
    table = {row["key"]: row for row in pl.read_parquet(small.root.labelled(small.corpus)).to_dicts()}
    assert (table["0.mp4"]["mos"], table["0.mp4"]["mos_sharp"]) == (5.0, None)
    assert (table["15.mp4"]["mos"], table["15.mp4"]["mos_sharp"]) == pytest.approx((3.0, 2.5))
    assert table["15.mp4"]["mos_std_dev"] == pytest.approx(0.2)
    unified = platform.run(
        "unified_corpus", partition=None, mos_scales={str(small.root.corpus_jsonl(small.corpus)): "0-10"}
    )
    assert all(passed(unified).values())
    row = next(r for r in map(json.loads, small.root.unified_corpus().read_text().splitlines()) if r["src"] == "15.mp4")
    assert (row["mos"], row["mos_native"], row["mos_native_scale"], row["mos_native_polarity"]) == (
        *(50.0, 5.0, "0-10", "dmos"),
    )
    assert row["mos_sharp"] == pytest.approx(37.5)
    parquet = str(small.root.unified_corpus().with_suffix(".parquet"))
    assert describe([parquet]) == 0
    assert "0-10" in capsys.readouterr().out
    monkeypatch.delenv("VQA_CORPORA_DIR")
    assert describe([parquet]) == 1
    assert "set VQA_CORPORA_DIR to the declarations" in capsys.readouterr().err
