"""Backbones as families: vectors whose numbers are known, of the frames planned, whatever else is measured beside."""

import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray
from onnx import helper

from vqa_assets.backbones import folder
from vqa_assets.backbones.batching import BATCH_ON_CUDA, Batches, usual_batches
from vqa_assets.backbones.declaration import FragmentsView
from vqa_assets.backbones.folder import read_backbone
from vqa_assets.backbones.network import Network
from vqa_assets.corpora import CORPORA
from vqa_assets.errors import ClipError, FeatureError, LabelError, TransientClipError
from vqa_assets.features import backbone as family_of_backbones
from vqa_assets.features.backbone import SampledFrames, backbone_family, fragments, middle, pooled_vectors
from vqa_assets.features.cache import FeatureCache
from vqa_assets.features.decoding import ClipFile, Frame, Picture, Source, Timeline, opened
from vqa_assets.features.extractor import ClipExtractor
from vqa_assets.features.measuring import ClipToMeasure, FeatureReport, MeasuringRun, extract_features
from vqa_assets.labels.labelled import label_features
from vqa_assets.labels.settings import LabelSettings
from vqa_assets.tables.parquet import open_parquet, table_version
from vqa_assets.tables.paths import DataRoot
from vqa_assets_tests.features.test_corpora import Measurable
from vqa_assets_tests.shared.clips import to_measure
from vqa_assets_tests.shared.networks import backbone_folder, declared
from vqa_assets_tests.shared.platform import Platform, metadata

AS_THEY_ARE = {"mean": [0, 0, 0], "sd": [1, 1, 1]}
Pictures = NDArray[np.uint8]


def lossless(path: Path, pictures: Pictures) -> Path:
    """A clip of exactly these pictures, (frames, height, width, 3)."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.height, stream.width, stream.pix_fmt = pictures.shape[1], pictures.shape[2], "bgr0"
        stream.options = {"threads": "1"}
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def plain_pictures(levels: Sequence[int], side: int = 16) -> Pictures:
    """Grey pictures of these levels, one after another."""
    return np.array(levels, np.uint8)[:, None, None, None].repeat(side, 1).repeat(side, 2).repeat(3, 3)


def extractor(folder: Path, text: str = "", *, beside: tuple[str, ...] = (), batch: int = 0, **network: Any) -> Any:
    """The extractor of a backbone of channel means, and of shipped families ``beside`` it."""
    text = text or declared(input=AS_THEY_ARE)
    backbone = read_backbone(backbone_folder(folder, text, **network))
    return ClipExtractor(feature_sets=beside, further=(backbone_family(backbone, "cpu", batch),))


def vectors(measured: Mapping[str, Any], name: str = "backbone:tiny") -> dict[str, Any]:
    row = measured[name]
    assert isinstance(row, dict), row
    return {column.removeprefix("tiny."): value for column, value in row.items()}


def test_a_vector_holds_the_known_function_of_the_pictures_pooled_over_time(tmp_path: Path) -> None:
    levels = [0, 51, 102, 255]
    clip = lossless(tmp_path / "a.mkv", plain_pictures(levels))
    text = declared(
        input=AS_THEY_ARE,
        sampling={"pooling": ["mean", "sd", "p10", "p90"]},
        views={"resize": {}, "difference": {}},
    )
    found = vectors(extractor(tmp_path, text).measure(clip))
    values = np.array(levels) / 255
    assert list(found) == [
        f"{view}.embedding_{pooling}" for view in ("resize", "difference") for pooling in ("mean", "sd", "p10", "p90")
    ]
    assert {vector.dtype for vector in found.values()} == {np.dtype("float32")}
    pooled = {"mean": values.mean(), "sd": values.std(), "p10": np.percentile(values, 10)}
    for name, expected in pooled.items():
        assert found[f"resize.embedding_{name}"] == pytest.approx([expected] * 3, abs=1e-5)
    assert found["difference.embedding_mean"] == pytest.approx([0.5 + np.diff(values).mean() / 2] * 3, abs=1e-5)


@pytest.mark.parametrize(
    ("plan", "count", "positions"),
    [
        (SampledFrames(8, None, ((0,),)), 16, [1, 3, 5, 7, 9, 11, 13, 15]),
        (SampledFrames(8, None, ((0,),)), 5, [0, 1, 2, 3, 4]),
        (SampledFrames(8, None, ((0,),)), 1, [0]),
        (SampledFrames(3, None, ((0,),)), 100, [16, 50, 83]),
        (SampledFrames(None, 2.0, ((0,),)), 50, [6, 18, 31, 43]),
        (SampledFrames(None, 0.1, ((0,),)), 50, [25]),
        (SampledFrames(None, 5e-324, ((0,),)), 50, [25]),
        (SampledFrames(None, 1e300, ((0, 2),)), 5, [0, 1, 2, 3, 4]),
        (SampledFrames(2, None, ((0, 4), (0, 1, 2))), 9, [1, 2, 3, 4, 5, 7]),
        (SampledFrames(1, None, ((0, 4),)), 4, []),
    ],
)
def test_the_frames_that_are_looked_at(plan: SampledFrames, count: int, positions: list[int]) -> None:
    assert plan.positions(count, 25.0) == positions


def ladder_of_keys(path: Path, frames: int = 60, gop: int = 10) -> Path:
    """A clip with B frames and a key frame now and then, whose every frame differs."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.options = {"threads": "1", "g": str(gop), "bf": "2", "sc_threshold": "0"}
        for number in range(frames):
            picture = np.full((48, 64, 3), (4 * number, 255 - 4 * number, 2 * number), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts", ".avi"])
def test_frames_that_are_sought_are_those_of_the_clip_decoded_whole(
    tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = ladder_of_keys(tmp_path / f"a{suffix}")
    decoded: list[int] = []
    real = Source._decoded
    monkeypatch.setattr(Source, "_decoded", lambda self: (decoded.append(1) or one for one in real(self)))
    text = declared(input=AS_THEY_ARE, sampling={"frames": 3}, views={"resize": {}, "difference": {}})
    alone = extractor(tmp_path, text)
    assert [family.name for family in alone.families] == ["clip-sought", "backbone:tiny"]
    sought = alone.measure(clip)
    alone_frames = len(decoded)
    joined = extractor(tmp_path, text, beside=("nr-v1",)).measure(clip)
    assert len(decoded) - alone_frames == 60
    # The one has no times of frames, the other no index that leads to key frames: both are decoded whole.
    assert alone_frames < 40 or suffix in (".avi", ".ts")
    for name, vector in vectors(sought).items():
        assert vector == pytest.approx(vectors(joined)[name], rel=1e-5), name
    assert sought["clip-sought"] == joined["clip"]


def test_a_timeline_tells_frames_and_key_frames_in_the_order_shown(tmp_path: Path) -> None:
    clip = ClipFile(ladder_of_keys(tmp_path / "a.mp4"))
    timeline = Timeline.of(clip, 1800)
    with opened(clip) as source:
        times = [frame.coded.pts for frame in source.frames(1800)]
    assert list(timeline.times) == times
    assert list(timeline.keys) == times[::10]
    assert Timeline.of(clip, 7).count == 7


def test_the_frames_of_a_short_lossless_clip_in_another_order_change_nothing_but_differences(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 255, (7, 16, 16, 3), dtype=np.uint8)
    one, other = lossless(tmp_path / "a.mkv", pictures), lossless(tmp_path / "b.mkv", pictures[rng.permutation(7)])
    text = declared(input=AS_THEY_ARE, views={"resize": {}, "difference": {}})
    both = [vectors(extractor(tmp_path, text).measure(clip)) for clip in (one, other)]
    for name in both[0]:
        same = np.allclose(both[0][name], both[1][name], rtol=1e-5)
        assert same == name.startswith("resize"), name


def test_a_clip_of_one_frame_does_not_change(tmp_path: Path) -> None:
    clip = lossless(tmp_path / "a.mkv", plain_pictures([102]))
    text = declared(input=AS_THEY_ARE, views={"resize": {}, "difference": {}})
    found = vectors(extractor(tmp_path, text).measure(clip))
    assert found["resize.embedding_mean"] == pytest.approx([0.4] * 3, abs=1e-6)
    assert found["difference.embedding_mean"] == pytest.approx([0.5] * 3, abs=1e-6)
    assert list(found["resize.embedding_sd"]) == [0, 0, 0]


def test_pieces_of_video_and_a_clip_shorter_than_one(tmp_path: Path) -> None:
    text = declared(input={**AS_THEY_ARE, "stride": 2, "layout": "NCTHW"}, sampling={"frames": 2})
    measures = extractor(tmp_path, text, sides=("n", 3, 3, 8, 8))
    levels = [0, 10, 20, 30, 40, 50, 60, 70]
    found = vectors(measures.measure(lossless(tmp_path / "a.mkv", plain_pictures(levels))))
    # Pieces begin at frames 1 and 3 of the four places, and have every second frame.
    assert found["resize.embedding_mean"] == pytest.approx([40 / 255] * 3, abs=1e-5)
    assert found["resize.embedding_sd"] == pytest.approx([10 / 255] * 3, abs=1e-5)
    error = measures.measure(lossless(tmp_path / "b.mkv", plain_pictures(levels[:4])))["backbone:tiny"]
    assert isinstance(error, ClipError)
    assert "shorter than what tiny looks at: 4 frames, expected 5, a piece of video" in str(error)


def frame_of(picture: Pictures, turns: int = 0) -> Frame:
    height, width = picture.shape[:2]
    shown = (height, width) if turns % 2 else (width, height)
    return Frame(av.VideoFrame.from_ndarray(picture, format="rgb24"), turns, Picture(*shown, 8), 0)


def test_the_fragments_of_a_4k_frame_are_native_pixels_of_each_cell() -> None:
    rows, columns = np.ogrid[0:2160, 0:3840]
    whole_rows, whole_columns = np.broadcast_arrays(rows.astype(np.uint16), columns.astype(np.uint16))
    # Every pixel says where it stands.
    high = (whole_rows >> 8) * 16 + (whole_columns >> 8)
    native = np.stack([part.astype(np.uint8) for part in (whole_rows, whole_columns, high)], axis=-1)
    view = FragmentsView()
    picture = fragments(frame_of(native), view, seed=7, group=0)
    assert picture.shape == (224, 224, 3)
    whole = picture.astype(int)
    row, column = whole[..., 0] + 256 * (whole[..., 2] // 16), whole[..., 1] + 256 * (whole[..., 2] % 16)
    for down in range(7):
        for across in range(7):
            part = np.s_[down * 32 : down * 32 + 32, across * 32 : across * 32 + 32]
            top, left = row[part][0, 0], column[part][0, 0]
            assert (row[part] == top + np.arange(32)[:, None]).all()
            assert (column[part] == left + np.arange(32)).all()
            assert down * 308 <= top <= (down + 1) * 308 - 32
            assert across * 548 <= left <= (across + 1) * 548 - 32


def test_the_offsets_of_fragments_are_the_clips_own_and_stay_for_a_group_of_frames() -> None:
    frame, view = (
        frame_of(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)),
        FragmentsView(grid=2, patch=8),
    )
    picture = fragments(frame, view, seed=7, group=0)
    assert (fragments(frame, view, seed=7, group=0) == picture).all()
    assert (fragments(frame, view, seed=7, group=1) != picture).any()
    assert (fragments(frame, view, seed=8, group=0) != picture).any()


def test_a_frame_smaller_than_its_fragments_is_enlarged_and_a_turned_one_is_upright() -> None:
    small = np.random.default_rng(0).integers(0, 255, (10, 30, 3), dtype=np.uint8)
    assert fragments(frame_of(small), FragmentsView(grid=2, patch=8), 0, 0).shape == (16, 16, 3)
    wide = np.random.default_rng(0).integers(0, 255, (16, 24, 3), dtype=np.uint8)
    assert (middle(frame_of(wide), 16, 16, 16) == wide[:, 4:20]).all()
    assert (middle(frame_of(wide, turns=1), 16, 16, 16) == np.rot90(wide)[4:20]).all()


@pytest.mark.parametrize(
    ("height", "matrix", "red"),
    [(48, 2, (254, 0, 0)), (720, 2, (255, 24, 0)), (48, 1, (255, 24, 0)), (48, 9, (255, 10, 0))],
)
def test_colours_follow_the_matrix_that_a_frame_says_else_its_lines(
    height: int, matrix: int, red: tuple[int, int, int]
) -> None:
    coded = av.VideoFrame(height * 4 // 3, height, "yuv420p")
    for plane, value in zip(coded.planes, (81, 90, 240), strict=True):
        plane.update(bytes([value]) * plane.buffer_size)
    coded.colorspace = matrix
    frame = Frame(coded, 0, Picture(coded.width, coded.height, 8), 0)
    assert frame.rgb(16, 16)[8, 8].tolist() == pytest.approx(red, abs=0.5)


@pytest.mark.parametrize("width", [96, 93, 192], ids=["even", "odd", "as it is coded"])
def test_colours_are_each_pixels_own_and_no_darker_than_coded(width: int) -> None:
    across, down = 192, 64
    red_differences = np.where(np.arange(across // 2) // 3 % 2, 160, 100)  # stripes of three samples of chroma
    coded = av.VideoFrame(across, down, "yuv420p")
    for plane, value in zip(coded.planes, (150, 110, red_differences), strict=True):
        row = np.full(plane.line_size, 128, np.uint8)
        row[: plane.width] = value
        plane.update(row.tobytes() * plane.height)
    coded.colorspace = 1  # BT.709
    shown = Frame(coded, 0, Picture(across, down, 8), 0).rgb(width, down * width // across)[0]
    scale = width / (across // 2)
    for stripe in range(2, 30):
        found = shown[int((3 * stripe + 1.5) * scale)].astype(float)
        luma, blue, red = (
            (150 - 16) * 255 / 219,
            (110 - 128) * 255 / 224,
            (red_differences[3 * stripe] - 128) * 255 / 224,
        )
        exact = luma + 1.5748 * red, luma - 0.1873 * blue - 0.4681 * red, luma + 1.8556 * blue
        assert found == pytest.approx(np.clip(exact, 0, 255), abs=1), stripe


def measured(
    clips: Sequence[ClipToMeasure], extracting: ClipExtractor, folder: Path
) -> tuple[list[Any], FeatureReport]:
    with FeatureCache(folder / "cache.sqlite") as cache, ThreadPoolExecutor(2) as executor:
        rows, report = extract_features(clips, extracting, executor, cache, MeasuringRun(4, threading.Event()))
        return list(rows), report


def test_only_what_changes_numbers_measures_a_clip_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clips = [to_measure(lossless(tmp_path / f"{n}.mkv", plain_pictures([n, 50]))) for n in range(2)]

    def counts(**keys: Any) -> tuple[int, int]:
        extracting = extractor(tmp_path, declared(**{"input": AS_THEY_ARE, **keys}), **network)
        families = measured(clips, extracting, tmp_path)[1].families
        return families["backbone:tiny"].measured, families["backbone:tiny"].known

    network: dict[str, Any] = {}
    assert counts() == (2, 0)
    assert counts(title="Other", licence="MIT", version="9") == (0, 2)
    assert counts(sampling={"frames": 1}) == (2, 0)
    assert counts() == (0, 2)
    network["opset"] = 16
    assert counts() == (2, 0)
    monkeypatch.setattr(folder, "PICTURES", folder.PICTURES + 1)  # to tables and heads it is another network, too
    assert counts() == (2, 0)
    rows, _ = measured(clips, extractor(tmp_path, **network), tmp_path)
    assert rows[1]["tiny.resize.embedding_mean"] == pytest.approx([51 / 510] * 3)


def failing_on_black(folder: Path, beside: tuple[str, ...] = ()) -> Any:
    """A network that gives -inf for a black picture."""
    log = helper.make_node("Log", ["embedding"], ["answer"])
    return extractor(folder, declared(input=AS_THEY_ARE, outputs={"last": "answer"}), beside=beside, more=[log])


def test_an_embedding_that_is_not_finite_is_null_told_and_counted_and_costs_no_row(tmp_path: Path) -> None:
    clips = [to_measure(lossless(tmp_path / f"{n}.mkv", plain_pictures([n, n]))) for n in (0, 9)]
    for known in (False, True):
        rows, report = measured(clips, failing_on_black(tmp_path), tmp_path)
        assert (rows[0]["tiny.resize.last_mean"], rows[0]["n_feature_frames"]) == (None, 2)
        assert len(rows[1]["tiny.resize.last_mean"]) == 3
        ((key, reason),) = report.failed_alone
        assert key == "0.mkv"
        assert "backbone:tiny: 0.mkv: no embedding by tiny: numbers that are not finite in last" in reason
        counts = report.families["backbone:tiny"]
        assert (counts.measured, counts.known, counts.failed) == (1 - known, known, 1)
        assert (report.failed, report.reconciles, report.measured + report.cached) == ([], True, 2)


@pytest.fixture
def corpus(root_path: Path) -> Measurable:
    made = Measurable(root_path, CORPORA["konvid-150k"])
    for level in (0, 40, 80):
        lossless(made.add(f"{level}.mkv", mos=1.0 + level / 40, mos_scale="1-5-acr"), plain_pictures([level, 10]))
    return made


def test_the_table_has_fixed_size_lists_of_float32_and_the_manifest_counts_by_family(
    corpus: Measurable, tmp_path: Path
) -> None:
    made = corpus.measure(extractor(tmp_path, beside=("nr-v1",)))
    column = open_parquet(made.path).schema_arrow.field("tiny.resize.embedding_mean")
    assert str(column.type) == "fixed_size_list<element: float>[3]"
    assert made.manifest is not None
    assert made.manifest["families"]["backbone:tiny"] == {"measured": 3, "known": 0, "failed": 0, "device": "cpu"}
    assert made.manifest["families"]["nr-v1"] == {"measured": 3, "known": 0, "failed": 0}
    assert table_version(made.path) == made.data_version
    values = pl.read_parquet(made.path)["tiny.resize.embedding_mean"].to_list()
    assert values[2] == pytest.approx([45 / 255] * 3, abs=1e-6)
    again = corpus.measure(extractor(tmp_path, beside=("nr-v1",)))
    assert again.data_version == made.data_version
    assert again.manifest is not None
    assert again.manifest["families"]["backbone:tiny"] == {"measured": 0, "known": 3, "failed": 0}
    table = pl.read_parquet(made.path)
    changed = table.with_columns(pl.col("tiny.resize.embedding_mean").reverse())
    changed.write_parquet(tmp_path / "changed.parquet")
    assert table_version(tmp_path / "changed.parquet") != made.data_version


def test_a_run_in_which_a_backbone_fails_on_every_clip_is_an_error(corpus: Measurable, tmp_path: Path) -> None:
    for row in corpus.rows:
        lossless(corpus.clips / row["src"], plain_pictures([0]))
    corpus.rows = corpus.rows[:1]
    with pytest.raises(
        FeatureError, match=r"backbone:tiny could measure no clip: 1 of 1 failed \(0.mkv: backbone:tiny"
    ):
        corpus.measure(failing_on_black(tmp_path, beside=("nr-v1",)))


def test_vectors_pass_through_labels_and_the_table_of_all_corpora_and_csv_is_refused(
    corpus: Measurable, root_path: Path, platform: Platform
) -> None:
    backbone_folder(root_path / "backbones", declared(input=AS_THEY_ARE))
    corpus.write_jsonl()
    chosen = {"feature_sets": ["backbone:tiny"], "backbone_device": "cpu", "backbone_batch": 2}
    name = corpus.corpus.name
    run = platform.run("clip_features", partition=name, resource_config={"extractor": chosen})
    assert run.success
    told = metadata(run, "clip_features")
    assert told["extractor"].partition("; backbone:")[0] == f"av {av.__version__}; first 1800 frames"
    assert (told["device"], told["clips_per_s"] > 0) == ("cpu", True)
    shares = {dict(one.data)["part"]: dict(one.data)["share"] for one in told["time"].records}
    assert set(shares) == {"decode", "network", "other"}
    assert sum(shares.values()) == pytest.approx(1, abs=0.002)
    assert min(shares.values()) > 0
    root = DataRoot(root_path)
    joined = (root.features(corpus.corpus), [root.corpus_jsonl(corpus.corpus)])
    label_features(*joined, root.labelled(corpus.corpus), LabelSettings())
    labelled = pl.read_parquet(root.labelled(corpus.corpus))
    assert labelled.schema["tiny.resize.embedding_mean"] == pl.Array(pl.Float32, 3)
    assert platform.run("unified_corpus").success
    over_all = platform.run("unified_features")
    assert over_all.success
    for picture in (metadata(run, "clip_features"), metadata(over_all, "unified_features")):
        assert picture["embeddings"].startswith("![embeddings by MOS")
    unified = pl.read_parquet(root.unified_features())
    assert sorted(unified["tiny.resize.embedding_mean"].to_list()) == sorted(
        labelled["tiny.resize.embedding_mean"].to_list()
    )
    with pytest.raises(LabelError, match=r"columns that csv cannot hold .*; set out to a .parquet file"):
        label_features(*joined, root_path / "x.csv", LabelSettings())


def test_a_backbone_or_a_device_that_is_not_there_is_named(root_path: Path, platform: Platform) -> None:
    made = Measurable(root_path, CORPORA["konvid-150k"])
    lossless(made.add("a.mkv"), plain_pictures([1]))
    made.write_jsonl()
    for chosen, said in (
        ({"feature_sets": ["backbone:other"]}, "backbone other: no such folder in"),
        ({"feature_sets": ["nr-v2"]}, "feature_sets: nr-v2, expected some of"),
        (
            {"feature_sets": ["nr-v1"], "backbone_device": "gpu"},
            "backbone_device: 'gpu', expected one of auto, cpu, cuda",
        ),
    ):
        run = platform.run("clip_features", partition=made.corpus.name, resource_config={"extractor": chosen})
        (failure,) = [event for event in run.all_events if event.is_step_failure]
        assert said in str(failure.step_failure_data.error)


@contextmanager
def all_waiting(batches: Batches, requests: int) -> Iterator[None]:
    """The one lane is busy until so many requests wait."""
    busy = threading.Event()
    batches._lanes.submit(busy.wait)
    yield
    while len(batches._waiting) < requests:
        threading.Event().wait(0.001)
    busy.set()


def test_an_embedding_is_the_same_whatever_the_batch_and_its_neighbours(tmp_path: Path) -> None:
    backbone = read_backbone(backbone_folder(tmp_path, more=[]))
    network = Network(backbone, "cpu")
    rng = np.random.default_rng(0)
    clips = [rng.random((count, 1, 8, 8, 3), np.float32) for count in (1, 5, 8, 3)]
    alone = [Batches(network, 1).embed([clip]).vectors["embedding"] for clip in clips]
    batches = Batches(network, 6, lanes=1)
    sizes: list[int] = []
    run = network.embed
    network.embed = lambda batch: sizes.append(len(batch[0])) or run(batch)  # type: ignore[method-assign,func-returns-value]
    with ThreadPoolExecutor(4) as pool, all_waiting(batches, 4):
        waiting = [pool.submit(batches.embed, [clip]) for clip in clips]
    together = [one.result().vectors["embedding"] for one in waiting]
    assert sum(sizes) == 17
    assert sizes == [6, 6, 5]  # of several clips, though none has more than eight
    for one, other in zip(alone, together, strict=True):
        assert one == pytest.approx(other, rel=1e-5)


class Narrow:
    """A network that has memory for so many pictures, and fails on those that are darker than nothing."""

    def __init__(self, network: Network, most: int) -> None:
        self.backbone, self.device, self._network, self._most = network.backbone, "cpu", network, most

    def embed(self, batch: Any) -> Any:
        if len(batch[0]) > self._most:
            raise RuntimeError("[ONNXRuntimeError] : Failed to allocate memory for requested buffer of size 9")
        if batch[0].min() < -100:
            raise RuntimeError("bad picture")
        return self._network.embed(batch)


def test_out_of_memory_the_batch_is_halved_and_that_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    network = Network(read_backbone(backbone_folder(tmp_path)), "cpu")
    pictures = np.random.default_rng(0).random((17, 1, 8, 8, 3), np.float32)
    batches: Any = Batches(Narrow(network, 3), 16)  # type: ignore[arg-type]
    assert batches.embed([pictures]).vectors["embedding"] == pytest.approx(
        Batches(network, 17).embed([pictures]).vectors["embedding"], rel=1e-5
    )
    assert batches.most == 2
    assert [record.getMessage() for record in caplog.records] == [
        "backbone tiny: no memory for 16 pictures at once: the batch is halved"
    ]
    with pytest.raises(TransientClipError, match=r"no memory for one picture: .*Failed to allocate"):
        Batches(Narrow(network, 0), 4).embed([pictures])  # type: ignore[arg-type]


def test_a_gpu_on_a_machine_without_torch_takes_the_usual_batch_and_that_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = Network(read_backbone(backbone_folder(tmp_path)), "cpu")
    network.device = "cuda"  # there is none here
    monkeypatch.setitem(sys.modules, "torch", None)
    caplog.set_level("INFO", logger="vqa_assets")
    assert usual_batches(network) == (1, BATCH_ON_CUDA)
    (record,) = caplog.records
    assert "without torch nobody says what memory the GPU has free: 256 pictures at once" in record.getMessage()


def test_what_a_network_cannot_embed_costs_its_own_clip_only(tmp_path: Path) -> None:
    batches: Any = Batches(Narrow(Network(read_backbone(backbone_folder(tmp_path)), "cpu"), 99), 16, 1)  # type: ignore[arg-type]
    good = np.random.default_rng(0).random((2, 1, 8, 8, 3), np.float32)
    with ThreadPoolExecutor(2) as pool, all_waiting(batches, 2):
        waiting = [pool.submit(batches.embed, [clip]) for clip in (good, good - 1000)]
    assert len(waiting[0].result().vectors["embedding"]) == 2
    with pytest.raises(ClipError, match="backbone tiny: cannot embed this clip: bad picture"):
        waiting[1].result()


def test_a_network_is_opened_once_a_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    count: list[str] = []
    real = family_of_backbones.Network
    monkeypatch.setattr(family_of_backbones, "Network", lambda *args: count.append("opened") or real(*args))
    clip = lossless(tmp_path / "a.mkv", plain_pictures([5]))
    text = declared(input={**AS_THEY_ARE, "range": [0.0, 7.0]})
    for _ in range(2):
        extractor(tmp_path, text).measure(clip)
    assert count == ["opened"]


def test_percentiles_are_linear_and_sds_by_n() -> None:
    values = np.array([[0.0], [1.0], [4.0]], np.float32)
    assert pooled_vectors(values, "p10") == pytest.approx([0.2])
    assert pooled_vectors(values, "sd") == pytest.approx([np.std([0, 1, 4])])
