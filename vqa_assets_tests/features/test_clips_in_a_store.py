"""Features of clips that are kept in an object store: the same table, each clip brought once."""

from pathlib import Path

from vqa_assets.clips.folders import ClipFolders, ClipStore
from vqa_assets.clips.work import ThreadClipPool
from vqa_assets.corpora import CORPORA
from vqa_assets.features.corpus_table import FeatureSettings, MeasuredTable, make_clip_features
from vqa_assets.features.extractor import ClipExtractor
from vqa_assets.provenance import RunContext
from vqa_assets_tests.features.test_corpora import Measurable, table
from vqa_assets_tests.shared.clips import tiny_clip
from vqa_assets_tests.shared.object_server import Bucket

CHUG = CORPORA["chug"]


def ladder(root: Path) -> Measurable:
    """A reference, two encodes of it, and one of a content without a reference."""
    corpus = Measurable(root, CHUG)
    for number, (name, content, reference) in enumerate(
        [("r.mp4", "x", 1), ("e1.mp4", "x", 0), ("e2.mp4", "x", 0), ("alone.mp4", "y", 0)]
    ):
        scored = {"mos": 2.0 + number / 2, "mos_scale": "1-5-acr"}
        tiny_clip(corpus.add(name, content_id=content, chug_ref=reference, **scored), number)
    return corpus


def in_store(corpus: Measurable, bucket: Bucket) -> MeasuredTable:
    store = ClipStore(f"s3://{bucket.name}/x", 10**7)
    clips = ClipFolders.of(corpus.corpus, "nowhere", corpus.clips.parent / "none", store)
    chosen = FeatureSettings(corpus.root.corpus_jsonl(corpus.corpus), clips, workers=2)
    return make_clip_features(
        corpus.corpus, chosen, ClipExtractor(), ThreadClipPool(), RunContext(corpus.root, {}, Path(__file__))
    )


def test_the_table_is_the_same_and_each_clip_is_brought_once_references_too(
    root_path: Path, bucket: Bucket, tmp_path: Path
) -> None:
    corpus = ladder(root_path)
    expected = corpus.measure()
    size = 0
    for path in corpus.clips.iterdir():
        size += path.stat().st_size
        bucket.put(f"x/{path.name}", path.read_bytes())
        path.unlink()
    corpus.root.feature_cache(CHUG).unlink()
    made = in_store(corpus, bucket)
    assert made.data_version == expected.data_version
    brought = {path: count for (method, path), count in bucket.server.asked.items() if method == "GET"}
    assert brought == {f"/{bucket.name}/x/{name}": 1 for name in table(made)}
    assert made.manifest is not None
    assert made.manifest["clips_url"] == f"s3://{bucket.name}/x"
    assert "clips" not in made.manifest["run_provenance"]["inputs"]
    assert made.sheet, "the worst and the best are shown"
    assert not list(tmp_path.glob("vqa-scratch-*/*/*")), "the scratch is empty after the run"


def test_an_object_that_changed_since_ingest_or_is_gone_fails_by_name_and_the_next_run_measures_it(
    root_path: Path, bucket: Bucket
) -> None:
    corpus = Measurable(root_path, CORPORA["konvid-150k"])
    for number, name in enumerate(["a.mp4", "b.mp4", "c.mp4"]):
        bucket.put(f"x/{name}", tiny_clip(corpus.add(name, mos=3.0, mos_scale="1-5-acr"), number))
    corpus.write_jsonl()
    changed = bucket.content("x/b.mp4")
    bucket.put("x/b.mp4", changed + b"more")
    bucket.remove("x/c.mp4")
    made = in_store(corpus, bucket)
    assert made.manifest is not None
    reasons = {one["key"]: one["reason"] for one in made.manifest["failures"]}
    assert reasons["b.mp4"].startswith("clip changed since ingest")
    assert reasons["c.mp4"] == "clip file absent"
    bucket.put("x/b.mp4", changed)
    assert in_store(corpus, bucket).rows == 2
