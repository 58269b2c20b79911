"""``unified_features`` in Dagster, and the heads over every corpus that read it: one platform for all."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import onnx
import polars as pl
import pytest

from vqa_assets.corpora import CORPORA
from vqa_assets.overview import status_of
from vqa_assets.provenance.verify import verify
from vqa_assets_tests.shared.head_tables import labelled
from vqa_assets_tests.shared.platform import Platform, checks, failure, metadata, passed, shown_rows
from vqa_assets_tests.shared.unified_corpora import clip

QUICK = {"epochs": 2, "device": "cpu", "feature_schema": "konvid-v1"}
SHARED = 10


class UnifiedPlatform(Platform):
    """Two corpora of one law with ten clips in common, a shard of computed scores, a corpus without features."""

    def put(self, corpus: str, frame: pl.DataFrame) -> None:
        folder = self.root.path / corpus
        folder.mkdir(exist_ok=True)
        frame.with_columns(corpus=pl.lit(corpus)).write_parquet(folder / "features_with_mos.parquet")
        names = ("key", "mos", "mos_std_dev", "content_id", "src_sha256")
        rows = [
            clip(key, mos, corpus, mos_scale="1-5-acr", mos_std_dev=sd, content_id=content, src_sha256=sha)
            for key, mos, sd, content, sha in frame.select(names).iter_rows()
        ]
        self.put_rows(corpus, f"{corpus.replace('-', '_')}.jsonl", rows)

    def put_rows(self, folder: str, name: str, rows: list[dict[str, Any]]) -> None:
        (self.root.path / folder).mkdir(exist_ok=True)
        (self.root.path / folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))

    def manifest(self, head: str) -> dict[str, Any]:
        told: dict[str, Any] = json.loads((self.root.path / "models" / f"{head}.json").read_text())
        return told


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[UnifiedPlatform]:
    one, two = labelled(60), labelled(60, seed=1)
    # the second corpus's word on ten clips of the first, with a larger SD
    same = pl.concat([one["src_sha256"][:SHARED], two["src_sha256"][SHARED:]])
    with dg.instance_for_test() as instance:
        made = UnifiedPlatform(tmp_path_factory.mktemp("root"), instance)
        made.put("konvid-1k", one)
        made.put("lsvq", two.with_columns(src_sha256=same, mos_std_dev=pl.lit(0.9)))
        made.put_rows("live-vqc", "live_vqc.jsonl", [clip("v.mp4", 60.0, "live-vqc")])
        made.put_rows("netflix", "netflix_public.jsonl", [clip("n.mp4", 90.0, "netflix-public")])
        yield made


@pytest.fixture(scope="module")
def made(platform: UnifiedPlatform) -> dg.ExecuteInProcessResult:
    return platform.run("unified_corpus", "unified_features")


def test_the_asset_leaves_one_row_a_clip_its_manifest_and_checks(
    platform: UnifiedPlatform, made: dg.ExecuteInProcessResult
) -> None:
    assert made.success
    told = metadata(made, "unified_features")
    assert (told["path"], told["dagster/row_count"]) == ("aggregated/unified_features.parquet", 110)
    assert passed(made)["unified_features_schema"]
    assert passed(made)["unified_features_reconciles"]
    coverage = checks(made)["unified_features_coverage"]
    assert not coverage.passed
    assert coverage.severity == dg.AssetCheckSeverity.WARN
    assert coverage.description == "live-vqc: without features: 1 of 1 clips"
    manifest = told["manifest"]
    assert manifest["schema"] == "unified-features-manifest-v1"
    assert (manifest["rows_per_corpus"], manifest["counters"]["no_opinions"]) == ({"konvid-1k": 60, "lsvq": 50}, 1)
    assert set(manifest["run_provenance"]["inputs"]) == {
        "unified_corpus",
        "features_with_mos_konvid-1k",
        "features_with_mos_lsvq",
    }
    assert verify(platform.root.path / "aggregated" / "unified_features.manifest.json", platform.root).holds
    lines = {name: status_of(CORPORA[name], platform.root).lines() for name in ("konvid-1k", "live-vqc")}
    assert "  with features:   60 in unified_features" in lines["konvid-1k"]
    assert "  with features:   0 in unified_features" in lines["live-vqc"]


def test_rows_that_do_not_add_up_block(platform: UnifiedPlatform, made: dg.ExecuteInProcessResult) -> None:
    path = platform.root.path / "aggregated" / "unified_features.manifest.json"
    whole = path.read_text()
    torn = json.loads(whole)
    torn["tables"][0]["rows"] += 1
    path.write_text(json.dumps(torn))
    again = platform.check_again("unified_features_reconciles", "unified_features")
    path.write_text(whole)
    assert not again.passed
    assert "rows of konvid-1k/features_with_mos.parquet do not add up" in str(again.description)


def test_the_unified_head_reads_it_and_decides_of_no_duplicate(
    platform: UnifiedPlatform, made: dg.ExecuteInProcessResult
) -> None:
    result = platform.run("unified_mos_head_v1", protocol_splits=0, **QUICK)
    assert result.success, failure(result)
    told = metadata(result, "unified_mos_head_v1")
    assert "chug" in told["absent_corpora"]
    m = platform.manifest("unified_mos_head_v1")
    assert m["corpus_scales"]["reference"] == "konvid-1k"  # most rows
    assert told["scale"] in {"that of konvid-1k", "1–5 as scores stand"}
    assert [row["scales"] for row in shown_rows(told["srocc_within"])] == ["union", "learned"]
    assert set(m["corpora"]) == set(m["leave_one_corpus_out"]) == {"konvid-1k", "lsvq"}
    counts = {name: corpus["counts"] for name, corpus in m["corpora"].items()}
    assert {n: (c["rows_in"], c["used"], c["duplicates"]) for n, c in counts.items()} == {
        "konvid-1k": (60, 60, 0),
        "lsvq": (50, 50, 0),
    }
    assert list(m["run_provenance"]["inputs"]) == ["unified_features"]
    assert m["redistribution"]["strictest"] == "research-only"
    head = onnx.load(platform.root.path / "models" / "unified_mos_head_v1.onnx")
    assert "Ying" in {p.key: p.value for p in head.metadata_props}["citations"]


def test_a_run_s_own_tables_go_through_the_same_decision(
    platform: UnifiedPlatform, made: dg.ExecuteInProcessResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VQA_ALLOW_PATHS", str(tmp_path))
    one, two = (pl.read_parquet(platform.root.path / c / "features_with_mos.parquet") for c in ("konvid-1k", "lsvq"))
    # scores of its own are nobody's: those of unified_corpus count
    one.head(40).with_columns(mos=pl.lit(1.0)).write_csv(tmp_path / "one.csv")
    one.tail(15).write_ndjson(tmp_path / "more.jsonl")
    published = (platform.root.path / "aggregated" / "unified_features.parquet").stat()
    result = platform.run(
        "cross_corpus_evaluation",
        k_folds=2,
        tables={"konvid-1k": str(tmp_path / "one.csv")},
        extra_tables={"konvid-1k": [str(tmp_path / "more.jsonl")]},
        **QUICK | {"epochs": 1},
    )
    assert result.success, failure(result)
    report = json.loads((platform.root.path / "models" / "cross_corpus_evaluation.json").read_text())
    assert {name: corpus["rows"] for name, corpus in report["corpora"].items()} == {"konvid-1k": 55, "lsvq": 50}
    inputs = metadata(result, "cross_corpus_evaluation")["manifest"]["run_provenance"]["inputs"]
    assert set(inputs) == {
        "unified_corpus",
        "features_with_mos_konvid-1k",
        "features_with_mos_konvid-1k_1",
        "features_with_mos_lsvq",
    }
    assert (platform.root.path / "aggregated" / "unified_features.parquet").stat().st_mtime_ns == published.st_mtime_ns
    strange = str(tmp_path / "strange.parquet")
    two.with_columns(src_sha256=pl.col("src_sha256").str.replace("^.{8}", "ffffffff")).write_parquet(strange)
    told = failure(platform.run("cross_corpus_evaluation", extra_tables={"mine": strange}, **QUICK))
    assert "extra_tables.mine" in told
    assert "60 are of no clip of unified_corpus" in told


def test_without_the_table_a_head_over_every_corpus_says_what_makes_it(
    platform: UnifiedPlatform, made: dg.ExecuteInProcessResult
) -> None:
    path = platform.root.path / "aggregated" / "unified_features.parquet"
    path.rename(path.with_suffix(".away"))
    told = failure(platform.run("unified_mos_head_v1", protocol_splits=0, **QUICK))
    labelled(20).write_parquet(path)
    other = failure(platform.run("unified_mos_head_v1", protocol_splits=0, **QUICK))
    path.with_suffix(".away").rename(path)
    assert told.endswith("materialize unified_features")
    assert "no column corpus, expected the table of unified_features; materialize unified_features again" in other
