"""``mos_features`` in Dagster: what is taken by convention, what the page shows, what blocks and what warns."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vqa_assets.features.corpus_table import MANIFEST_SCHEMA
from vqa_assets.provenance import Manifest, RunContext
from vqa_assets.tables.paths import manifest_path
from vqa_assets.tables.specs import CORPUS_JSONL
from vqa_assets_tests.shared.fakes import KONVID
from vqa_assets_tests.shared.manifests import publish_manifest
from vqa_assets_tests.shared.platform import Platform, checks, failure, metadata, shown_rows


def corpus_row(src: str, mos: float, **changes: Any) -> dict[str, Any]:
    """A row with every column of a corpus JSONL."""
    whole = {c.name: 1 if c.kind in ("integer", "number") else "x" for c in CORPUS_JSONL.columns}
    scores = {"mos": mos, "mos_scale": "1-5-acr", "mos_polarity": "mos", "mos_std_dev": 0.6, "n_ratings": 9}
    return whole | {"src": src, "corpus": KONVID.name} | scores | changes


class LabelPlatform(Platform):
    """One corpus's features and JSONL on a data root, and an instance that remembers the runs."""

    def __init__(self, root_path: Path, instance: dg.DagsterInstance) -> None:
        super().__init__(root_path, instance)
        self.root.corpus_dir(KONVID).mkdir()

    def features(self, *, ours: bool = False, **columns: Any) -> None:
        path = self.root.features(KONVID)
        pq.write_table(pa.table(columns), path)
        if ours:
            context = RunContext(self.root, {}, Path(__file__))
            publish_manifest(manifest_path(path), Manifest(MANIFEST_SCHEMA, {}, {}, {}, {"features": path}), context)

    def labels(self, *rows: dict[str, Any]) -> None:
        self.root.corpus_jsonl(KONVID).write_text("".join(json.dumps(row) + "\n" for row in rows))

    def join(self, **config: Any) -> dg.ExecuteInProcessResult:
        return self.run("mos_features", partition=KONVID.name, **config)

    def table(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = pq.read_table(self.root.labelled(KONVID)).to_pylist()
        return found


@pytest.fixture
def platform(root_path: Path) -> Iterator[LabelPlatform]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield LabelPlatform(root_path, instance)


def test_between_our_own_tables_nothing_is_inferred(platform: LabelPlatform) -> None:
    """LSVQ's names stand in folders: their basenames are not unique, and ``filename`` is somebody's own column."""
    platform.features(ours=True, clip_id=["?", "?"], key=["a/1.mp4", "b/1.mp4"])
    rows = (corpus_row("a/1.mp4", 2.0, video_id="v1"), corpus_row("b/1.mp4", 4.0, score=3, video_id="v2"))
    platform.labels(*rows)
    result = platform.join()
    assert result.success
    assert [r["mos"] for r in platform.table()] == [2.0, 4.0]
    manifest = metadata(result, "mos_features")["manifest"]
    assert manifest["key_columns"] == ["key", "src"]
    assert [file["mos_column"] for file in manifest["label_files"]] == ["mos"]


@pytest.mark.parametrize(
    "said", [{}, {"key_normalize": "raw"}, {"feature_key_column": "key", "label_mos_column": "mos"}]
)
def test_neither_is_it_where_the_labels_are_older_or_the_settings_say_the_same(
    said: dict[str, Any], platform: LabelPlatform
) -> None:
    platform.features(ours=True, key=["a/1.mp4", "b/1.mp4"])
    rows = (corpus_row("a/1.mp4", 2.0, chug_video_id="v1"), corpus_row("b/1.mp4", 4.0, chug_video_id="v2"))
    for row in rows:
        row.pop("mos_scale")
    platform.labels(*rows)
    assert platform.join(**said).success
    assert [r["mos"] for r in platform.table()] == [2.0, 4.0]


def test_of_a_table_that_was_changed_since_the_columns_are_inferred(platform: LabelPlatform) -> None:
    platform.features(ours=True, key=["1.mp4"])
    pq.write_table(pa.table({"clip_id": ["v1"], "key": ["1.mp4"]}), platform.root.features(KONVID))
    platform.labels(corpus_row("x", 2.0, video_id="v1"))
    result = platform.join()
    assert not result.success
    assert "keys matched (0.0%); unmatched keys of features: ['1.mp4'], of labels: ['v1']" in failure(result)
    assert platform.join(feature_key_column="clip_id").success


def test_the_page_shows_match_rate_rows_examples_histogram_and_sources(platform: LabelPlatform) -> None:
    platform.features(key=["a.mp4", "a.mp4", "b.mp4", "z.mp4"])
    platform.labels(corpus_row("a.mp4", 2.0), corpus_row("b.mp4", 4.0), corpus_row("spare.mp4", 3.0))
    result = platform.join(min_match_rate=0.6)
    told = metadata(result, "mos_features")
    assert (told["match_rate"], told["matched_rows"], told["missing_rows"]) == (pytest.approx(2 / 3), 3, 1)
    assert (told["without_label"], told["unused_labels"]) == (["z.mp4"], ["spare.mp4"])
    assert told["label_sources"].records[0].data == {"file": "konvid_150k.jsonl", "rows": 3}
    assert {"name": "clips", "value": 2} in shown_rows(told["labels"])
    assert told["mos_histogram"].startswith("![MOS histogram](data:image/png;base64,")
    assert told["manifest"] == json.loads(platform.root.labelled_audit(KONVID).read_text())
    args = told["manifest"]["run_provenance"]["args"]
    assert args["min_match_rate"] == {"value": 0.6, "from": "run config"}
    assert args["overwrite"] == {"value": False, "from": "default"}
    assert args["feature_key_column"] == {"value": None, "from": "tables"}
    assert args["features"]["from"] == args["out"]["from"] == "default"


def test_a_content_in_two_splits_is_an_error_that_names_it_and_blocks_nothing(platform: LabelPlatform) -> None:
    platform.features(key=["a.mp4", "b.mp4", "c.mp4"])
    splits = {"a.mp4": ("one", "train"), "b.mp4": ("one", "test"), "c.mp4": ("two", "val")}
    platform.labels(*(corpus_row(src, 3.0, content_id=c, split=s) for src, (c, s) in splits.items()))
    result = platform.join()
    assert result.success
    assert [r["split"] for r in platform.table()] == ["train", "test", "val"]
    found = checks(result)["mos_features_split_leakage"]
    assert (found.passed, found.severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert str(found.description).startswith("contents in two splits: one (test, train); ")


def test_splits_of_the_features_and_contents_of_the_labels_are_seen_together(platform: LabelPlatform) -> None:
    platform.features(key=["a.mp4", "b.mp4"], split=["train", "val"])
    platform.labels(*(corpus_row(src, 3.0, content_id="one") for src in ("a.mp4", "b.mp4")))
    assert not checks(platform.join())["mos_features_split_leakage"].passed


@pytest.mark.parametrize("side", ["features", "labels"])
def test_a_split_of_another_word_is_an_error(side: str, platform: LabelPlatform) -> None:
    platform.features(key=["a.mp4"], **({"split": ["training"]} if side == "features" else {}))
    platform.labels(corpus_row("a.mp4", 3.0, **({"split": "training"} if side == "labels" else {})))
    assert "unknown words in the split column: 'training', expected train, val, test" in failure(platform.join())


@pytest.mark.parametrize(
    ("sds", "told"),
    [
        ((0.6, 0.7, 0.5), "suspicious labels: none"),
        ((0.0, 0.0, 0.0), "suspicious labels: none"),
        ((0.6, 0.0, 0.5), "suspicious labels: konvid-150k: 1 of 3 labels have an SD of 0"),
        ((0.05, 0.05, 0.05), "suspicious labels: konvid-150k: SOS parameter 0.0007415, outside 0.01–0.4"),
    ],
)
def test_spreads_that_no_opinions_have_warn(sds: tuple[float, ...], told: str, platform: LabelPlatform) -> None:
    platform.features(key=["a", "b", "c"])
    platform.labels(*(corpus_row(src, 2.5 + i, mos_std_dev=sds[i]) for i, src in enumerate("abc")))
    found = checks(platform.join())["mos_features_labels"]
    assert found.severity == dg.AssetCheckSeverity.WARN
    assert found.passed == told.endswith("none")
    assert str(found.description).startswith(told[:60])
    names = [] if not any(sds) else ["SOS parameter of konvid-150k"]
    assert list(found.metadata) == names
    assert all(len(str(entry.value)) <= 9 for entry in found.metadata.values())


def test_a_table_broken_after_the_run_fails_its_schema_check(platform: LabelPlatform) -> None:
    from vqa_assets.errors import SchemaError
    from vqa_assets.labels.labelled import validate_labelled

    platform.features(key=["a.mp4"])
    platform.labels(corpus_row("a.mp4", 3.0))
    # each beside an audit of its own: that of another table is not replaced
    for name in ("t.parquet", "u.csv", "v.jsonl"):
        out = platform.root.path / "elsewhere" / name
        result = platform.join(out=str(out))
        assert result.success
        assert all(e.passed for e in checks(result).values())
        assert metadata(result, "mos_features")["manifest_path"] == f"elsewhere/{out.stem}.audit.json"
    out.write_text(out.read_text().replace('"ok"', '"maybe"'))
    with pytest.raises(SchemaError, match="mos_label_status: 1 break"):
        validate_labelled(out, "mos_label_status")


def test_a_pattern_that_only_python_reads_works_in_a_run(platform: LabelPlatform) -> None:
    platform.features(key=["clip_0123456_x"])
    platform.labels(corpus_row("0123456.mp4", 3.0))
    assert platform.join(feature_key_regex="(?<=_)[0-9]{6,}", label_key_regex=r"\d{6,}").success
    assert [r["mos"] for r in platform.table()] == [3.0]


def test_a_setting_out_of_bounds_is_told_with_what_is_expected(platform: LabelPlatform) -> None:
    message = "min_match_rate: 1.5, expected a number of at least 0 and at most 1; correct the run config"
    assert message in failure(platform.join(min_match_rate=1.5))
    message = "key_normalize: 'lower', expected one of auto, raw, basename, stem; correct the run config"
    assert message in failure(platform.join(key_normalize="lower"))
