"""Families as units: joined over one decode, measured and kept each by itself; the cache of the first edition."""

import json
import sqlite3
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from vqa_assets.corpora import CORPORA
from vqa_assets.corpora.raw_video import RawVideo
from vqa_assets.errors import ClipError, FeatureError, SettingsError
from vqa_assets.feature_names import (
    CLIP_COLUMNS,
    KONVID_V1_COLUMNS,
    MEASURED,
    NR_V1_COLUMNS,
    PERCEPTUAL_HASH_COLUMNS,
    FeatureColumn,
)
from vqa_assets.features.cache import CacheKey, FeatureCache, family_key
from vqa_assets.features.decoding import DecodedClip, Frame
from vqa_assets.features.extractor import FIRST_EDITION_ALGORITHM, ClipExtractor
from vqa_assets.features.family import Family, FamilyVersion, FrameRequest, Measured
from vqa_assets.features.konvid_v1 import KonvidV1
from vqa_assets.features.measuring import ClipToMeasure, FeatureReport, MeasuringRun, extract_features
from vqa_assets.tables.parquet import open_parquet
from vqa_assets.tables.paths import DataRoot
from vqa_assets.tables.specs import CLIP_FEATURES
from vqa_assets_tests.shared.clips import tiny_clip, to_measure
from vqa_assets_tests.shared.platform import Platform, metadata


@dataclass(frozen=True)
class MeanLuma(Family):
    """The mean luma code of every frame it is handed, and which those were."""

    algorithm: int = 1
    frames: FrameRequest = field(default_factory=lambda: FrameRequest(every=True))
    broken: str = ""
    name = "mean-luma"
    columns = (
        FeatureColumn("mean_luma", "number", "Mean luma code"),
        FeatureColumn("mean_luma_of", "string", "Frames"),
    )

    @contextmanager
    def open(self, clip: DecodedClip) -> "Iterator[LumaSum]":
        if clip.name == self.broken:
            raise ClipError(f"{clip.name}: has no luma")
        yield LumaSum()


@dataclass
class LumaSum:
    means: list[float] = field(default_factory=list)
    indices: list[int] = field(default_factory=list)

    def add(self, frame: Frame) -> None:
        self.means.append(float(frame.planes[0].mean()))
        self.indices.append(frame.index)

    def columns(self) -> Measured:
        return {"mean_luma": float(np.mean(self.means)), "mean_luma_of": " ".join(map(str, self.indices))}


@dataclass
class Watched:
    """An extractor that notes which families it is asked to measure, of which clip."""

    extractor: ClipExtractor
    asked: list[tuple[str, ...]] = field(default_factory=list)

    @property
    def version(self) -> str:
        return self.extractor.version

    @property
    def families(self) -> Sequence[FamilyVersion]:
        return self.extractor.families

    def measure(
        self,
        clip: Path,
        *,
        families: Collection[str] | None = None,
        reference: Path | None = None,
        raw: RawVideo | None = None,
        stop: threading.Event | None = None,
    ) -> Mapping[str, Measured | ClipError]:
        self.asked.append(tuple(families or ()))
        return self.extractor.measure(clip, families=families, reference=reference, raw=raw, stop=stop)


BY_ITSELF = ClipExtractor(feature_sets=("nr-v1",))
ALL = ("konvid-v1", "nr-v1", "clip")


@pytest.fixture
def clips(tmp_path: Path) -> list[ClipToMeasure]:
    for number in range(2):
        tiny_clip(tmp_path / f"{number}.mp4", number)
    return [to_measure(tmp_path / f"{number}.mp4") for number in range(2)]


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[FeatureCache]:
    with FeatureCache(tmp_path / "cache.sqlite") as opened:
        yield opened


def measure(
    clips: Sequence[ClipToMeasure], extractor: ClipExtractor, cache: FeatureCache
) -> tuple[list[Measured | None], FeatureReport, list[tuple[str, ...]]]:
    """Rows, report, and which families had to be measured, clip by clip."""
    watched = Watched(extractor)
    with ThreadPoolExecutor(1) as executor:
        rows, report = extract_features(clips, watched, executor, cache, MeasuringRun(1, threading.Event()))
        return list(rows), report, watched.asked


def test_a_family_of_ones_own_is_joined_with_the_shipped_ones_over_one_decode(
    clips: list[ClipToMeasure], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    real = av.open
    monkeypatch.setattr(av, "open", lambda file, *args, **options: opened.append(file) or real(file, *args, **options))
    extractor = ClipExtractor(perceptual_hash=True, further=(MeanLuma(),))
    row = extractor.extract(clips[0].path)
    assert len(opened) == 1
    monkeypatch.undo()
    with av.open(str(clips[0].path)) as container:
        expected = [frame.to_ndarray(format="gray").mean() for frame in container.decode(video=0)]
    assert row["mean_luma_of"] == "0 1 2 3 4"
    assert row["mean_luma"] == pytest.approx(np.mean(expected) * 219 / 255 + 16, abs=1)
    alone = ClipExtractor(perceptual_hash=True).extract(clips[0].path)
    assert {name: value for name, value in row.items() if not name.startswith("mean_luma")} == alone
    assert "mean-luma.1" in extractor.version


@pytest.mark.parametrize(
    ("asked", "indices"),
    [
        (FrameRequest(every=True), "0 1 2 3 4 5 6 7 8 9"),
        (FrameRequest(per_s=5), "0 5"),
        (FrameRequest(per_s=5, and_next=True), "0 1 5 6"),
        (FrameRequest(per_s=5, at_least=4), "0 2 4 6 8"),
    ],
)
def test_a_family_is_handed_the_frames_it_asks_for_and_no_others(
    tmp_path: Path, asked: FrameRequest, indices: str
) -> None:
    tiny_clip(tmp_path / "ten.mp4", 1, frames=10)
    extractor = ClipExtractor(feature_sets=("nr-v1",), further=(MeanLuma(frames=asked),))
    measured = extractor.measure(tmp_path / "ten.mp4", families=["mean-luma"])
    assert list(measured) == ["mean-luma"]
    assert extractor.extract(tmp_path / "ten.mp4")["mean_luma_of"] == indices


def test_a_raised_version_measures_that_family_again_and_no_other(
    clips: list[ClipToMeasure], cache: FeatureCache
) -> None:
    first, _, asked = measure(clips, ClipExtractor(further=(MeanLuma(),)), cache)
    assert asked == [(*ALL, "mean-luma")] * 2
    rows, report, asked = measure(clips, ClipExtractor(further=(MeanLuma(algorithm=2),)), cache)
    assert asked == [("mean-luma",)] * 2
    assert rows == first
    assert (report.measured, report.cached, report.reconciles) == (2, 0, True)
    assert report.again == "2 clips are measured again: mean-luma.1 became mean-luma.2"


def test_a_family_that_is_added_is_the_only_one_measured(clips: list[ClipToMeasure], cache: FeatureCache) -> None:
    measure(clips, BY_ITSELF, cache)
    _, report, asked = measure(clips, ClipExtractor(perceptual_hash=True), cache)
    assert asked == [("konvid-v1", "perceptual-hash")] * 2
    assert report.again == ""
    _, report, asked = measure(clips, BY_ITSELF, cache)
    assert (asked, report.cached) == ([], 2)


def test_another_reference_measures_only_what_is_compared_with_it(
    clips: list[ClipToMeasure], cache: FeatureCache
) -> None:
    measure(clips[:1], ClipExtractor(), cache)
    ladder = replace(clips[0], reference=clips[1].path, reference_sha256=clips[1].sha256, ladder=True)
    _, _, asked = measure([ladder], ClipExtractor(), cache)
    assert asked == [("konvid-v1",)]


def test_a_clip_that_fails_in_one_family_is_named_and_what_the_others_measured_is_kept(
    clips: list[ClipToMeasure], cache: FeatureCache
) -> None:
    rows, report, _ = measure(clips, ClipExtractor(further=(MeanLuma(broken="1.mp4"),)), cache)
    assert report.failed == [("1.mp4", "1.mp4: has no luma")]
    assert (rows[0] is None, rows[1] is None, report.reconciles) == (False, True, True)
    rows, report, asked = measure(clips, ClipExtractor(further=(MeanLuma(broken="1.mp4"),)), cache)
    assert (asked, report.failed) == ([], [("1.mp4", "1.mp4: has no luma")])
    rows, report, asked = measure(clips, ClipExtractor(), cache)
    assert (asked, report.cached, rows[1] is None) == ([], 2, False)


def test_a_reference_that_does_not_pair_costs_the_clip_its_comparison_alone(
    clips: list[ClipToMeasure], cache: FeatureCache, tmp_path: Path
) -> None:
    tiny_clip(tmp_path / "short.mp4", 0, frames=3)
    short = to_measure(tmp_path / "short.mp4")
    ladder = replace(clips[0], reference=short.path, reference_sha256=short.sha256, ladder=True)
    _, report, _ = measure([ladder], ClipExtractor(), cache)
    ((_, reason),) = report.failed
    assert "the frames do not pair: 5 decoded, 3 on the reference's side" in reason
    mended = replace(ladder, reference=clips[0].path, reference_sha256=clips[0].sha256)
    _, report, asked = measure([mended], ClipExtractor(), cache)
    assert (report.measured, asked) == (1, [("konvid-v1",)])


def test_a_clip_that_does_not_decode_fails_in_every_family(cache: FeatureCache, tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("hello\n" * 40)
    text = to_measure(tmp_path / "text.mp4")
    _, report, asked = measure([text], ClipExtractor(), cache)
    assert asked == [ALL]
    for extractor in (ClipExtractor(), BY_ITSELF):
        _, again, asked = measure([text], extractor, cache)
        assert (asked, again.failed) == ([], report.failed)


def test_a_measurement_is_ended_whatever_happens(clips: list[ClipToMeasure], monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[str] = []

    @dataclass(frozen=True)
    class Unlucky(MeanLuma):
        @contextmanager
        def open(self, clip: DecodedClip) -> Iterator[LumaSum]:
            try:
                yield LumaSum()
            finally:
                ended.append(clip.name)

    monkeypatch.setattr(LumaSum, "columns", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        ClipExtractor(feature_sets=("nr-v1",), further=(Unlucky(),)).extract(clips[0].path)
    assert ended == ["0.mp4"]


@pytest.mark.parametrize("measurement_fails", [False, True])
def test_an_error_at_the_end_of_a_familys_block_is_that_familys_alone(
    measurement_fails: bool, clips: list[ClipToMeasure], cache: FeatureCache
) -> None:
    class Sum(LumaSum):
        def add(self, frame: Frame) -> None:
            if measurement_fails:
                raise ClipError("cannot add")
            super().add(frame)

    @dataclass(frozen=True)
    class Leaving(MeanLuma):
        @contextmanager
        def open(self, clip: DecodedClip) -> Iterator[LumaSum]:
            yield Sum()
            raise ClipError("cannot end")

    extractor = ClipExtractor(feature_sets=("nr-v1",), further=(Leaving(),))
    measured = extractor.measure(clips[0].path)
    reason = "cannot add" if measurement_fails else "cannot end"
    assert str(measured["mean-luma"]) == reason
    assert isinstance(measured["nr-v1"], dict)
    _, report, _ = measure(clips[:1], extractor, cache)
    assert [failed[1] for failed in report.failed] == [reason]
    rows, _, asked = measure(clips[:1], ClipExtractor(feature_sets=("nr-v1",), further=(MeanLuma(algorithm=2),)), cache)
    assert asked == [("mean-luma",)]
    assert rows[0] is not None


@pytest.mark.parametrize(
    ("value", "kept"), [(np.float32(1.5), 1.5), (np.int64(3), 3), (2, 2), (None, None), (float("nan"), float("nan"))]
)
def test_numpys_scalars_are_plain_numbers(
    value: Any, kept: Any, clips: list[ClipToMeasure], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LumaSum, "columns", lambda _: {"mean_luma": value})
    measured = ClipExtractor(feature_sets=("nr-v1",), further=(MeanLuma(),)).measure(clips[0].path)["mean-luma"]
    assert isinstance(measured, dict)
    assert type(measured["mean_luma"]) is type(kept)
    assert measured["mean_luma"] == pytest.approx(kept, nan_ok=True)


@pytest.mark.parametrize("value", ["bright", [1.0], True, np.bool_(False), {}])
def test_a_value_of_another_kind_than_declared_is_an_error_that_names_family_and_column(
    value: Any, clips: list[ClipToMeasure], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LumaSum, "columns", lambda _: {"mean_luma": value})
    with pytest.raises(FeatureError, match=r"mean-luma: mean_luma: .*expected number"):
        ClipExtractor(feature_sets=("nr-v1",), further=(MeanLuma(),)).measure(clips[0].path)


def test_a_column_that_a_family_does_not_declare_is_an_error(
    clips: list[ClipToMeasure], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LumaSum, "columns", lambda _: {"brightness": 1.0})
    with pytest.raises(FeatureError, match="mean-luma: measured what it does not declare: brightness"):
        ClipExtractor(feature_sets=("nr-v1",), further=(MeanLuma(),)).extract(clips[0].path)


def test_families_of_one_name_or_column_are_refused() -> None:
    with pytest.raises(SettingsError, match="mean-luma, mean_luma, mean_luma_of more than once"):
        ClipExtractor(further=(MeanLuma(), MeanLuma(algorithm=2)))


def test_the_shipped_families_measure_the_columns_of_the_table_and_each_once() -> None:
    columns = [*KONVID_V1_COLUMNS, *NR_V1_COLUMNS, *CLIP_COLUMNS, *PERCEPTUAL_HASH_COLUMNS]
    assert sorted(columns) == sorted(MEASURED)
    assert {*MEASURED} < {column.name for column in CLIP_FEATURES.columns}
    families = ClipExtractor(perceptual_hash=True).families
    assert sorted(name for family in families for name in family.columns) == sorted(columns)
    assert len({family.version for family in families}) == len(families)


def test_the_table_has_the_columns_of_a_family_of_ones_own(root_path: Path, platform: Platform) -> None:
    corpus, root = CORPORA["konvid-150k"], DataRoot(root_path)
    folder = root.corpus_dir(corpus) / "clips"
    folder.mkdir(parents=True)
    content = tiny_clip(folder / "a.mp4", 1)
    row = {"src": "a.mp4", "src_sha256": sha256(content).hexdigest(), "src_size_bytes": len(content), "mos": 3.0}
    row |= {"width": 64, "height": 48, "framerate": 25.0, "duration_s": 0.2, "pix_fmt": "yuv420p"}
    root.corpus_jsonl(corpus).write_text(json.dumps({**row, "encoder_upstream": "h264", "corpus": corpus.name}) + "\n")
    extractor = ClipExtractor(feature_sets=("nr-v1",), further=(MeanLuma(),))
    platform.resources["extractor"] = extractor
    written = metadata(platform.run("clip_features", partition=corpus.name), "clip_features")
    assert written["extractor"] == extractor.version
    (measured,) = open_parquet(root.features(corpus)).read().to_pylist()
    assert (measured["mean_luma_of"], measured["key"]) == ("0 1 2 3 4", "a.mp4")


@pytest.mark.parametrize("name", ["width", "key", "content_id", "split", "mos", "mos_label_status", "device"])
def test_a_family_cannot_take_a_column_that_comes_from_the_corpus_or_from_labels(
    name: str, clips: list[ClipToMeasure], cache: FeatureCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MeanLuma, "columns", (FeatureColumn(name, "integer", "Taken"),))
    extractor, run = ClipExtractor(further=(MeanLuma(),)), MeasuringRun(1, threading.Event())
    message = f"from the corpus JSONL or from labels: {name}, expected columns of its own"
    with ThreadPoolExecutor(1) as executor, pytest.raises(FeatureError, match=message):
        extract_features(clips, extractor, executor, cache, run, reserved=("device",))


FIRST_EDITION = """
CREATE TABLE measured (
    sha256 TEXT, reference_sha256 TEXT, version TEXT, row TEXT, reason TEXT,
    PRIMARY KEY (sha256, reference_sha256, version)) WITHOUT ROWID;
PRAGMA user_version = 1;
"""


@dataclass(frozen=True)
class FirstEdition:
    """A cache as the first edition wrote it: all families of a clip in one row, under one version."""

    path: Path

    def keep(self, clip: ClipToMeasure, version: str, row: Measured | None, reason: str = "") -> None:
        new = not self.path.exists()
        connection = sqlite3.connect(self.path)
        if new:
            connection.executescript(FIRST_EDITION)
        values = (clip.sha256, clip.reference_sha256 or "", version, None if row is None else json.dumps(row), reason)
        connection.execute("INSERT INTO measured VALUES (?, ?, ?, ?, ?)", values)
        connection.commit()
        connection.close()

    def measure(self, clips: Sequence[ClipToMeasure], extractor: ClipExtractor) -> Any:
        with FeatureCache(self.path) as cache:
            return measure(clips, extractor, cache)


@pytest.fixture
def first(tmp_path: Path) -> FirstEdition:
    return FirstEdition(tmp_path / ".feature-cache.sqlite")


def first_edition_version(extractor: ClipExtractor) -> str:
    """The text that the first edition made of these settings, in its own words."""
    from vqa_assets.features.ffmpeg import build_version, ffmpeg_binary

    tools = f"ffmpeg {build_version(ffmpeg_binary())}, av {av.__version__}"
    encode = "-c:v libx264 -preset veryfast -crf 35 -x264-params mbtree=0 -threads 1 at 25 fps"
    rest = f"2 samples a second, 8 at least; first {extractor.max_frames} frames; luma 64"
    hashed = "; perceptual hash" if extractor.perceptual_hash else ""
    return f"{' + '.join(extractor.feature_sets)}.5; {tools}; {encode}; {rest}{hashed}"


@pytest.fixture
def algorithms_as_then(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every shipped family measures what it measured in the first edition."""
    monkeypatch.setattr("vqa_assets.features.extractor.KonvidV1", lambda: KonvidV1(algorithm=FIRST_EDITION_ALGORITHM))


as_in_the_first_edition = pytest.mark.usefixtures("algorithms_as_then")
SETTINGS = [
    ClipExtractor(),
    ClipExtractor(feature_sets=("nr-v1",)),
    ClipExtractor(feature_sets=("konvid-v1",), max_frames=9),
    ClipExtractor(perceptual_hash=True),
]


@as_in_the_first_edition
@pytest.mark.parametrize("extractor", SETTINGS, ids=lambda one: "+".join(one.feature_sets))
def test_the_version_of_a_table_keeps_the_words_of_the_first_edition(extractor: ClipExtractor) -> None:
    assert extractor.version == first_edition_version(extractor)


@as_in_the_first_edition
@pytest.mark.parametrize("extractor", SETTINGS, ids=lambda one: "+".join(one.feature_sets))
def test_a_cache_of_the_first_edition_is_read_and_its_file_left_to_it(
    first: FirstEdition, clips: list[ClipToMeasure], extractor: ClipExtractor
) -> None:
    expected = [extractor.extract(clip.path) for clip in clips]
    for clip, row in zip(clips, expected, strict=True):
        first.keep(clip, first_edition_version(extractor), row)
    rows, report, asked = first.measure(clips, extractor)
    assert (asked, rows, report.cached, report.again) == ([], expected, 2, "")
    kept = sqlite3.connect(first.path)
    assert kept.execute("SELECT count(*) FROM measured").fetchone() == (2,)
    assert kept.execute("PRAGMA user_version").fetchone() == (1,)
    kept.close()


@as_in_the_first_edition
def test_of_a_first_edition_with_one_feature_set_only_the_other_is_measured(
    first: FirstEdition, clips: list[ClipToMeasure]
) -> None:
    first.keep(clips[0], first_edition_version(BY_ITSELF), BY_ITSELF.extract(clips[0].path))
    compared = ClipExtractor(feature_sets=("konvid-v1",))
    first.keep(clips[1], first_edition_version(compared), compared.extract(clips[1].path))
    rows, _, asked = first.measure(clips, ClipExtractor())
    assert asked == [("konvid-v1",), ("nr-v1",)]
    assert rows == [ClipExtractor().extract(clip.path) for clip in clips]


@as_in_the_first_edition
def test_both_sets_of_the_first_edition_serve_one_alone(first: FirstEdition, clips: list[ClipToMeasure]) -> None:
    first.keep(clips[0], first_edition_version(ClipExtractor()), ClipExtractor().extract(clips[0].path))
    rows, _, asked = first.measure(clips[:1], BY_ITSELF)
    assert (asked, rows) == ([], [BY_ITSELF.extract(clips[0].path)])


@as_in_the_first_edition
def test_a_first_edition_row_serves_beside_another_reference_what_is_the_clips_own(
    first: FirstEdition, clips: list[ClipToMeasure]
) -> None:
    first.keep(clips[0], first_edition_version(ClipExtractor()), ClipExtractor().extract(clips[0].path))
    ladder = replace(clips[0], reference=clips[1].path, reference_sha256=clips[1].sha256, ladder=True)
    _, _, asked = first.measure([ladder], ClipExtractor())
    assert asked == [("konvid-v1",)]


@as_in_the_first_edition
def test_other_tools_or_settings_of_the_first_edition_are_measured_again_and_it_is_said(
    first: FirstEdition, clips: list[ClipToMeasure]
) -> None:
    older = first_edition_version(ClipExtractor()).replace(f"av {av.__version__}", "av 1.0")
    first.keep(clips[0], older, {"adm2": 0.5})
    _, report, asked = first.measure(clips[:1], ClipExtractor())
    assert asked == [ALL]
    assert report.again.startswith("1 clips are measured again: ffmpeg ")
    assert ", av 1.0 became ffmpeg " in report.again


def test_a_raised_algorithm_leaves_the_rest_of_a_first_edition_row_in_use(
    first: FirstEdition, clips: list[ClipToMeasure]
) -> None:
    first.keep(clips[0], first_edition_version(ClipExtractor()), ClipExtractor().extract(clips[0].path))
    assert ClipExtractor().version.startswith("konvid-v1.6 + nr-v1.5; ")
    _, report, asked = first.measure(clips[:1], ClipExtractor())
    assert asked == [("konvid-v1",)]
    assert "became konvid-v1.6" in report.again


@as_in_the_first_edition
def test_raw_clips_of_the_first_edition_keep_their_declared_geometry(first: FirstEdition, tmp_path: Path) -> None:
    clip = ClipToMeasure(
        "x.yuv", tmp_path / "x.yuv", sha256="raw", raw=RawVideo(width=64, height=48, framerate=25.0, pix_fmt="yuv420p")
    )
    row: Measured = {"adm2": 0.5, "si": 1.0, "n_feature_frames": 3}
    first.keep(clip, f"{first_edition_version(ClipExtractor())}; raw 64x48 yuv420p 25", row)
    rows, report, _ = first.measure([clip], ClipExtractor())
    assert (rows, report.cached) == ([row], 1)


@as_in_the_first_edition
def test_a_failure_of_the_first_edition_is_that_of_the_comparison_where_there_was_one(
    first: FirstEdition, clips: list[ClipToMeasure]
) -> None:
    first.keep(clips[0], first_edition_version(ClipExtractor()), None, "0.mp4: the frames do not pair")
    _, report, asked = first.measure(clips[:1], ClipExtractor())
    assert (asked, report.failed) == ([], [("0.mp4", "0.mp4: the frames do not pair")])
    _, report, asked = first.measure(clips[:1], BY_ITSELF)
    assert (asked, report.measured) == ([("nr-v1", "clip")], 1)


def test_the_first_edition_finds_its_rows_in_a_file_that_this_one_has_written(
    first: FirstEdition, clips: list[ClipToMeasure]
) -> None:
    version = first_edition_version(ClipExtractor())
    first.keep(clips[0], version, {"adm2": 0.5})
    first.measure(clips, BY_ITSELF)
    select = "SELECT row FROM measured WHERE sha256 = ? AND reference_sha256 = '' AND version = ?"
    kept = sqlite3.connect(first.path)
    assert json.loads(kept.execute(select, (clips[0].sha256, version)).fetchone()[0]) == {"adm2": 0.5}
    kept.close()


def test_a_family_that_does_not_compare_is_kept_beside_no_reference() -> None:
    clip = CacheKey("a", "b", "; raw 8x8")
    compares, alone = FamilyVersion("x", "x.1", compares=True), FamilyVersion("x", "x.1", compares=False)
    assert family_key(compares, clip) == CacheKey("a", "b", "x.1; raw 8x8")
    assert family_key(alone, clip) == CacheKey("a", "", "x.1; raw 8x8")
