"""Feature tables of whole corpora: ladders, raw video, HDR, near duplicates. Real clips, the real extractor."""

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vqa_assets.clips.caps import ClipCaps
from vqa_assets.clips.folders import ClipFolders
from vqa_assets.clips.work import ThreadClipPool
from vqa_assets.corpora import CORPORA, Corpus
from vqa_assets.corpora.raw_video import RawVideo
from vqa_assets.errors import FeatureError, SchemaError
from vqa_assets.feature_names import CANONICAL_6
from vqa_assets.features.corpus_table import (
    FeatureSettings,
    MeasuredTable,
    ladder_of,
    make_clip_features,
    reference_field,
)
from vqa_assets.features.extractor import ClipExtractor
from vqa_assets.features.ffmpeg import ffmpeg_binary
from vqa_assets.features.measuring import one_clip_row
from vqa_assets.features.near_duplicates import near_duplicate_groups, perceptual_hash
from vqa_assets.provenance import RunContext
from vqa_assets.tables.parquet import open_parquet
from vqa_assets.tables.paths import DataRoot
from vqa_assets.tables.specs import CLIP_FEATURES
from vqa_assets.tables.validation import validate_rows
from vqa_assets_tests.shared.clips import sha256_of, tiny_clip

CHUG, WATERLOO, KONVID = (CORPORA[name] for name in ("chug", "waterloo-ivc-4k", "konvid-150k"))
EMPTY_BOX = b"\0\0\0\x08free"
"""Behind a clip: other bytes, which show the same."""


class Measurable:
    """A corpus under a data root whose JSONL is written by hand, row by clip."""

    def __init__(self, root_path: Path, corpus: Corpus) -> None:
        self.corpus, self.root = corpus, DataRoot(root_path)
        self.clips = self.root.corpus_dir(corpus) / "clips"
        self.clips.mkdir(parents=True)
        self.rows: list[dict[str, Any]] = []

    def add(self, name: str, **fields: Any) -> Path:
        """A row of a clip that the caller puts at the path."""
        size = {"width": 64, "height": 48, "framerate": 25.0, "duration_s": 0.2}
        described = {"pix_fmt": "yuv420p", "encoder_upstream": "h264", "corpus": self.corpus.name}
        row = {"src": name, "src_sha256": f"{len(self.rows):064x}", "src_size_bytes": 99, **size, **described}
        self.rows.append({**row, **fields})
        return self.clips / name

    def write_jsonl(self) -> Path:
        """The corpus JSONL of the rows so far."""
        for row in self.rows:
            path = self.clips / row["src"]
            # As ingest writes it: of the bytes that lie there.
            row["src_sha256"] = sha256_of(path) if path.is_file() else row["src_sha256"]
        jsonl = self.root.corpus_jsonl(self.corpus)
        jsonl.write_text("".join(json.dumps(row) + "\n" for row in self.rows))
        return jsonl

    def measure(self, extractor: ClipExtractor | None = None, **settings: Any) -> MeasuredTable:
        jsonl = self.write_jsonl()
        chosen = FeatureSettings(jsonl, ClipFolders(self.clips), workers=2, **settings)
        context = RunContext(self.root, {}, Path(__file__))
        return make_clip_features(self.corpus, chosen, extractor or ClipExtractor(), ThreadClipPool(), context)


def table(made: MeasuredTable) -> dict[str, dict[str, Any]]:
    rows = open_parquet(made.path).read().to_pylist()
    validate_rows(rows, CLIP_FEATURES, "table")
    return {row["key"]: row for row in rows}


def encoded(source: Path, target: Path, *options: str) -> Path:
    tool = [ffmpeg_binary(), "-y", "-loglevel", "error", "-i", source]
    subprocess.run([*tool, *options, target], check=True)
    return target


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"src_shaA56": "0" * 64}, "a row without src or src_sha256"),
        ({"src": 7}, "a row without src or src_sha256"),
        ({"src": "b.mp4", "src_sha256": "0" * 63}, "src_sha256 is '000"),
        ({"src": "b.mp4", "src_sha256": "0" * 64, "mos": "3.5"}, "mos is '3.5'"),
        ({"src": "b.mp4", "src_sha256": "0" * 64, "content_id": ["a"]}, r"content_id is \['a'\]"),
    ],
)
def test_a_row_that_was_damaged_or_edited_is_named_before_anything_is_measured(
    change: dict[str, Any], why: str, root_path: Path
) -> None:
    corpus = Measurable(root_path, KONVID)
    tiny_clip(corpus.add("a.mp4"), 1)
    jsonl = corpus.write_jsonl()
    jsonl.write_text(jsonl.read_text() + json.dumps(change) + "\n")
    chosen = FeatureSettings(jsonl, ClipFolders(corpus.clips), workers=1)
    context = RunContext(corpus.root, {}, Path(__file__))
    with pytest.raises(SchemaError, match=rf"konvid_150k\.jsonl: row 2: {why}.*materialize corpus_jsonl"):
        make_clip_features(corpus.corpus, chosen, ClipExtractor(), ThreadClipPool(), context)


@pytest.fixture
def ladder(root_path: Path) -> Measurable:
    """Two contents: one with a reference and two rungs, one whose reference has a row and no file."""
    corpus = Measurable(root_path, CHUG)
    reference = corpus.add("a-ref.mp4", content_id="a", chug_ref=1)
    tiny_clip(reference, 1)
    encoded(reference, corpus.add("a-low.mp4", content_id="a", chug_ref=0), "-crf", "45", "-s", "32x24")
    corpus.add("a-same.mp4", content_id="a", chug_ref=0).write_bytes(reference.read_bytes() + EMPTY_BOX)
    corpus.add("b-ref.mp4", content_id="b", chug_ref=1)
    tiny_clip(corpus.add("b-low.mp4", content_id="b", chug_ref=0), 2)
    tiny_clip(corpus.add("c-low.mp4", content_id="c", chug_ref=0), 3)
    return corpus


def test_ladder_clips_are_compared_with_the_reference_of_their_content(ladder: Measurable) -> None:
    made = ladder.measure()
    rows = table(made)
    assert {row["feature_reference"] for row in rows.values()} == {"ladder"}
    assert rows["a-ref.mp4"]["adm2"] == rows["a-same.mp4"]["adm2"] == pytest.approx(1, abs=1e-4)
    assert rows["a-low.mp4"]["vif_scale0"] < 0.9
    assert rows["a-low.mp4"]["vmaf"] < rows["a-ref.mp4"]["vmaf"]
    assert rows["b-low.mp4"]["vmaf"] is None
    assert (rows["a-low.mp4"]["feature_width"], rows["a-low.mp4"]["nr_width"]) == (64, 32)


def test_a_missing_reference_is_counted_and_never_replaced_by_a_re_encode(ladder: Measurable) -> None:
    made = ladder.measure()
    assert made.manifest is not None
    counters = {name: count for name, count in made.manifest["counters"].items() if count}
    assert counters == {"rows_in": 6, "measured": 5, "failed": 1, "no_reference": 2}
    assert made.manifest["no_reference"] == ["b-low.mp4", "c-low.mp4"]
    assert made.manifest["failures"] == [{"key": "b-ref.mp4", "reason": "clip file absent"}]
    row = table(made)["b-low.mp4"]
    assert all(row[name] is None or math.isnan(row[name]) for name in CANONICAL_6)
    assert row["feature_width"] is None
    assert row["si"] > 0


def test_a_reference_that_comes_later_is_used(ladder: Measurable) -> None:
    ladder.measure()
    (ladder.clips / "b-ref.mp4").write_bytes(tiny_clip(ladder.clips / "b-ref.mp4", 2) + EMPTY_BOX)
    made = ladder.measure()
    assert made.manifest is not None
    counters = made.manifest["counters"]
    assert (counters["measured"], counters["cached"], counters["no_reference"]) == (2, 4, 1)
    assert table(made)["b-low.mp4"]["adm2"] == pytest.approx(1, abs=1e-4)


def test_a_reference_of_another_length_fails_the_clip_and_no_other(ladder: Measurable) -> None:
    tiny_clip(ladder.clips / "b-ref.mp4", 2, frames=4)
    made = ladder.measure()
    assert made.report is not None
    ((key, reason),) = made.report.failed
    assert key == "b-low.mp4"
    assert "the frames do not pair: 5 decoded, 4 on the reference's side" in reason


def test_only_corpora_that_mark_references_are_ladders() -> None:
    assert {name: reference_field(corpus) for name, corpus in CORPORA.items() if reference_field(corpus)} == {
        "chug": "chug_ref",
        "beyond8bits": "beyond8bits_ref",
    }
    assert ladder_of(KONVID, [{"src": "a"}]) is None


def test_of_several_references_the_one_of_the_same_orientation_counts() -> None:
    wide = {"content_id": "a", "width": 64, "height": 48, "chug_ref": 1}
    tall = {"content_id": "a", "width": 48, "height": 64, "chug_ref": 1}
    clip = {**tall, "chug_ref": 0}

    def references(*rows: dict[str, Any]) -> list[Any]:
        ladder = ladder_of(CHUG, rows)
        assert ladder is not None
        return [ladder.reference_of(row) for row in rows]

    assert references(wide, tall, clip) == [wide, tall, tall]
    assert references(wide, clip) == [wide, wide]
    assert references(clip) == [None]


@pytest.mark.parametrize("pixels", ["yuv420p", "yuv420p10le", "yuv422p"])
def test_raw_video_is_measured_with_the_declared_geometry(root_path: Path, pixels: str) -> None:
    corpus = Measurable(root_path, WATERLOO)
    clip = root_path / "clip.mkv"
    tiny_clip(root_path / "clip.mp4", 5)
    encoded(root_path / "clip.mp4", clip, "-c:v", "ffv1", "-pix_fmt", pixels)
    raw = encoded(clip, corpus.add("x.yuv"), "-f", "rawvideo", "-pix_fmt", pixels)
    declared = RawVideo(width=64, height=48, framerate=25.0, pix_fmt=pixels)
    (row,) = table(corpus.measure(raw=declared)).values()
    expected = ClipExtractor().extract(clip)
    measured = [*CANONICAL_6, "si_p90", "ti", "nss2_shape", "saliency", "n_feature_frames", "clip_bitdepth"]
    assert [row[name] for name in measured] == pytest.approx([expected[name] for name in measured], abs=1e-6)
    alone = one_clip_row(raw, ClipExtractor(), raw=declared)
    assert [alone[name] for name in measured] == [row[name] for name in measured]
    assert (alone["width"], alone["duration_s"]) == (64, 0.2)


HDR = {
    "pq.mp4": ("smpte2084", "bt2020"),
    "hlg.mp4": ("arib-std-b67", "bt2020"),
    "hlg709.mp4": ("arib-std-b67", "bt709"),
    "sdr.mp4": ("bt709", "bt709"),
    "untold.mp4": ("unknown", "unknown"),
}


def test_hdr_is_audited_and_malformed_hdr_is_named(root_path: Path) -> None:
    corpus = Measurable(root_path, KONVID)
    tiny_clip(root_path / "source.mp4", 6)
    for name, (transfer, primaries) in HDR.items():
        tags = [] if transfer == "unknown" else ["-color_trc", transfer, "-color_primaries", primaries]
        params = f"setparams=color_trc={transfer}:color_primaries={primaries}:colorspace=bt2020nc"
        shape = ["-vf", params, "-pix_fmt", "yuv420p10le", "-colorspace", "bt2020nc"]
        encoded(root_path / "source.mp4", corpus.add(name), *shape, *tags)
    made = corpus.measure(ClipExtractor(feature_sets=("nr-v1",)))
    assert made.manifest is not None
    assert made.manifest["audit"] == {
        "transfers": {"pq": 1, "hlg": 2, "sdr": 1, "unknown": 1},
        "primaries": {"bt2020": 2, "bt709": 2, "unknown": 1},
        "bit_depths": {"10": 5},
        "interlaced": 0,
        "malformed_hdr": 1,
        "malformed_hdr_clips": ["hlg709.mp4"],
        "damaged": 0,
        "damaged_clips": [],
    }


def test_one_feature_set_alone_leaves_the_others_columns_out(root_path: Path) -> None:
    corpus = Measurable(root_path, KONVID)
    tiny_clip(corpus.add("a.mp4"), 7)
    (row,) = table(corpus.measure(ClipExtractor(feature_sets=("nr-v1",)))).values()
    assert "adm2" not in row
    assert row["nss1_shape"] > 0
    (row,) = table(corpus.measure(ClipExtractor(feature_sets=("konvid-v1",)))).values()
    assert "si" not in row
    assert row["adm2"] > 0


def test_near_duplicates_are_reported_in_groups(root_path: Path) -> None:
    corpus = Measurable(root_path, KONVID)
    for seed in (1, 2, 3):
        tiny_clip(corpus.add(f"{seed}.mp4"), seed, frames=12)
    encoded(corpus.clips / "2.mp4", corpus.add("2-again.mp4"), "-crf", "38", "-s", "80x60")
    made = corpus.measure(ClipExtractor(feature_sets=("nr-v1",), perceptual_hash=True))
    assert made.manifest is not None
    assert made.manifest["near_duplicates"] == {"groups": 1, "clips": 2, "examples": [["2.mp4", "2-again.mp4"]]}
    without = corpus.measure(ClipExtractor(feature_sets=("nr-v1",)))
    assert without.manifest is not None
    assert without.manifest["near_duplicates"] is None


def test_clips_of_another_length_or_shape_are_no_near_duplicates() -> None:
    picture = np.random.default_rng(0).integers(0, 255, (10, 36, 64), dtype=np.uint8)
    row = {"clip_phash": perceptual_hash(picture), "width": 64, "height": 36, "duration_s": 10.0}
    rows = [row, {**row, "duration_s": 20.0}, {**row, "width": 48}, {**row, "duration_s": 10.2}, {"clip_phash": None}]
    assert near_duplicate_groups(rows) == [[0, 3]]
    assert near_duplicate_groups(rows[:1]) == []
    # A table of somebody's own may hold hashes of another kind, and say nothing of a clip's size.
    of_others = [{**row, "clip_phash": of} for of in ("0123456789abcdef", "a hash", 7)]
    sizeless = [{"clip_phash": row["clip_phash"], "duration_s": 10.0}] * 2
    assert near_duplicate_groups([*rows, *of_others, *sizeless]) == [[0, 3]]


def test_without_imagehash_the_next_step_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "imagehash", None)
    with pytest.raises(FeatureError, match=r"pip install 'vqa-assets\[perceptual-hash\]'"):
        perceptual_hash(np.zeros((1, 8, 8), np.uint8))


FULL = """
import resource, signal, sys
from pathlib import Path
from vqa_assets.corpora import CORPORA
from vqa_assets.errors import FeatureError, SchemaError
from vqa_assets.features.corpus_table import FeatureSettings, make_clip_features
from vqa_assets.features.extractor import ClipExtractor
from vqa_assets.clips.folders import ClipFolders
from vqa_assets.provenance import RunContext
from vqa_assets.clips.work import ThreadClipPool
from vqa_assets.tables.paths import DataRoot
root, most = DataRoot(Path(sys.argv[1])), int(sys.argv[2])
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
corpus = CORPORA["konvid-150k"]
settings = FeatureSettings(root.corpus_jsonl(corpus), ClipFolders(root.corpus_dir(corpus) / "clips"), 1)
try:
    make_clip_features(
        corpus, settings, ClipExtractor(feature_sets=("nr-v1",)), ThreadClipPool(),
        RunContext(root, {}, Path(sys.argv[1])),
    )
except FeatureError as error:
    print(error)
"""


def test_a_full_disk_leaves_the_earlier_table_whole_and_what_was_measured(root_path: Path) -> None:
    """No file may grow to the size of the earlier table: room for the cache of two clips, and not for the new table."""
    corpus = Measurable(root_path, KONVID)
    tiny_clip(corpus.add("a.mp4"), 1)
    extractor = ClipExtractor(feature_sets=("nr-v1",))
    before = table(corpus.measure(extractor))
    tiny_clip(corpus.add("b.mp4"), 2)
    corpus.write_jsonl()
    size = corpus.root.features(KONVID).stat().st_size
    full = [sys.executable, "-c", FULL, root_path, str(size * 9 // 10)]
    told = subprocess.run(full, check=True, capture_output=True, text=True).stdout
    assert "the feature table cannot be written: " in told
    assert "what was measured is kept" in told
    assert {row["key"]: row for row in open_parquet(corpus.root.features(KONVID)).read().to_pylist()} == before
    after = corpus.measure(extractor)
    assert after.report is not None
    assert (after.report.measured, after.report.cached) == (0, 2)


def test_a_clip_over_a_cap_is_counted_and_named_and_the_others_are_measured(root_path: Path) -> None:
    corpus = Measurable(root_path, KONVID)
    for name, frames in (("short.mp4", 5), ("long.mp4", 10)):
        tiny_clip(corpus.add(name), frames, frames)
    caps = ClipCaps(max_frames=5)
    made = corpus.measure(ClipExtractor(feature_sets=("nr-v1",)), caps=caps, stated_caps=frozenset(["max_frames"]))
    assert made.manifest is not None
    counters = {name: count for name, count in made.manifest["counters"].items() if count}
    assert counters == {"rows_in": 2, "measured": 1, "skipped_too_large": 1}
    reason = "too large: 10 frames, at most 5 (max_frames)"
    assert made.manifest["failures"] == [{"key": "long.mp4", "reason": reason}]
    args = made.manifest["run_provenance"]["args"]
    assert (args["max_frames"], args["max_pixels"]["from"]) == ({"value": 5, "from": "run config"}, "default")
    again = corpus.measure(ClipExtractor(feature_sets=("nr-v1",)), caps=ClipCaps(max_duration_s=9.0))
    assert again.manifest is not None
    assert (again.manifest["counters"]["measured"], again.manifest["counters"]["cached"]) == (1, 1)
    assert again.manifest["run_provenance"]["args"]["max_duration_s"] == {"value": 9.0, "from": "ingest.toml"}
