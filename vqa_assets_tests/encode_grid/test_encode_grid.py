"""The encode grid: reports of every libvmaf, rows of vmaf-tune, one training corpus, the same bytes each time."""

import hashlib
import json
import logging
import math
import os
import sys
from pathlib import Path

import pytest

from vqa_assets.corpora import CORPORA, ENCODE_GRID_SOURCES
from vqa_assets.encode_grid import grid_files
from vqa_assets.encode_grid.grid import (
    GridJob,
    GridOutput,
    GridReport,
    Merge,
    MergeReport,
    choose_inputs,
    make_grid,
    make_training_corpus,
)
from vqa_assets.encode_grid.grid_files import list_inputs
from vqa_assets.encode_grid.grid_rows import DEFAULTS, ROW_KEYS, VERSION_2_KEYS, grid_line, read_grid
from vqa_assets.encode_grid.grid_sources import NamedGeometry, bvi_dvc_job, content_of_name, geometry_of, netflix_job
from vqa_assets.encode_grid.libvmaf_report import EmptyReportError, parse_report
from vqa_assets.encode_grid.settings import EncodeLabels
from vqa_assets.errors import AggregateError, EncodeGridError, SchemaError
from vqa_assets.feature_names import CANONICAL_6
from vqa_assets.provenance import RunContext
from vqa_assets.tables.paths import DataRoot
from vqa_assets.unified.aggregation import aggregate
from vqa_assets.unified.shards import Shard
from vqa_assets_tests.shared.grids import SIX, frames, real_report, small_report, tune_row, version_2, write_rows

SIZES = (("A", "3840x2176"), ("B", "1920x1088"), ("C", "960x544"), ("D", "480x272"))
CLIP = "DBookcaseBVITexture_480x272_120fps_10bit_420"


def parsed(report):
    return parse_report(json.dumps(report).encode())


class Place:
    """A data root with reports and rows of vmaf-tune."""

    def __init__(self, path: Path) -> None:
        self.root = DataRoot(path)
        self.reports = grid_files.reports_folder(self.root)
        self.reports.mkdir(parents=True)
        self.context = RunContext(self.root, {}, Path(__file__))

    def report(self, name, content):
        path = self.reports / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    def rows(self, *rows):
        return write_rows(grid_files.vmaf_tune_rows(self.root), *rows)

    def job(self, source: str, labels: EncodeLabels) -> GridJob:
        to = GridOutput(grid_files.grid_jsonl(self.root, ENCODE_GRID_SOURCES[source]))
        if source == "netflix":
            return netflix_job(grid_files.vmaf_tune_rows(self.root), self.root, to)
        return bvi_dvc_job(self.reports, labels, self.root, to)

    def make(self, source="bvi-dvc", **labels):
        return make_grid(self.job(source, EncodeLabels(**labels)), self.context)

    def merge(self, *inputs, named=()):
        present, absent = choose_inputs(named, inputs or grid_files.every_grid_jsonl(self.root))
        return make_training_corpus(Merge(present, grid_files.training_corpus(self.root), absent), self.context)

    def shard(self, name, *rows):
        return write_rows(grid_files.folder(self.root) / name, *rows)


@pytest.fixture
def place(root_path):
    return Place(root_path)


def rows_of(done):
    return [row for _, row in read_grid(done.jsonl)]


def refused(kind, action):
    with pytest.raises(kind) as caught:
        action()
    return str(caught.value)


def test_the_row_keys_are_those_of_the_contract_in_its_order():
    assert ROW_KEYS[:10] == (
        *("schema_version", "run_id", "timestamp", "src", "src_sha256", "width", "height", "pix_fmt"),
        *("framerate", "duration_s"),
    )
    assert ROW_KEYS[10:26] == (
        *("encoder", "encoder_version", "preset", "crf", "extra_params", "encode_path", "encode_size_bytes"),
        *("bitrate_kbps", "encode_time_ms", "vmaf_score", "vmaf_model", "score_time_ms", "ffmpeg_version"),
        *("vmaf_binary_version", "exit_status", "clip_mode"),
    )
    assert ROW_KEYS[26:32] == (
        *("hdr_transfer", "hdr_primaries", "hdr_forced", "shot_count"),
        *("shot_avg_duration_sec", "shot_duration_std_sec"),
    )
    assert ROW_KEYS[32:44] == tuple(f"{f}_{a}" for a in ("mean", "std") for f in CANONICAL_6)
    internal = "qp_mean qp_std bits_mean bits_std mv_mean mv_std itex_mean ptex_mean intra_ratio skip_ratio"
    assert ROW_KEYS[44:] == tuple(f"enc_internal_{name}" for name in internal.split())
    assert ROW_KEYS[:26] == VERSION_2_KEYS


def test_the_defaults_say_not_known():
    assert {k: v for k, v in DEFAULTS.items() if isinstance(v, str) and v} == {"clip_mode": "full"}
    assert {k for k, v in DEFAULTS.items() if isinstance(v, float) and math.isnan(v)} == {
        "vmaf_score",
        *(f"{f}_{a}" for f in CANONICAL_6 for a in ("mean", "std")),
    }
    assert DEFAULTS["hdr_forced"] is False
    assert DEFAULTS["shot_count"] == 0


class TestReports:
    """What one libvmaf report says, in every shape."""

    def test_a_report_of_the_real_libvmaf_agrees_with_its_own_pooled_means(self, tmp_path):
        path = real_report(tmp_path / "r.json")
        raw, found = json.loads(path.read_bytes()), parse_report(path.read_bytes())
        assert found.scores == {"": raw["pooled_metrics"]["vmaf"]["mean"]}
        assert found.frames == len(raw["frames"]) == 4
        assert found.version == raw["version"]
        for f in CANONICAL_6:
            values = [frame["metrics"][f"integer_{f}"] for frame in raw["frames"]]
            assert found.means[f] == raw["pooled_metrics"][f"integer_{f}"]["mean"]
            middle = sum(values) / 4
            assert found.deviations[f] == pytest.approx(math.sqrt(sum((v - middle) ** 2 for v in values) / 4))

    @pytest.mark.parametrize("model", ["vmaf_4k_v0.6.1", "vmaf_v0.6.1neg"])
    def test_a_report_of_the_real_libvmaf_names_the_model_that_was_given_its_name(self, model, tmp_path):
        path = real_report(tmp_path / "r.json", model=model)
        score = json.loads(path.read_bytes())["pooled_metrics"][model]["mean"]
        assert parse_report(path.read_bytes()).scores == {model: score}

    @pytest.mark.parametrize(
        ("shape", "vmaf", "adm2"),
        [
            # VMAF 1.x in C: frames, plain names, a total whose pooling nobody knows
            ({"version": "1.3.15", "frames": frames(70, 80), "VMAF score": 74.6}, 75.0, 0.905),
            ({"version": "0.6.1", "frames": frames(70, 80)}, 75.0, 0.905),
            ({"VMAF score": 88.25}, 88.25, math.nan),
            # 2.x and 3.x
            ({"version": "2.3.1", "frames": frames(70, 80, prefix="integer_")}, 75.0, 0.905),
            (
                {
                    "frames": frames(70, 80, prefix="integer_"),
                    "pooled_metrics": {"vmaf": {"mean": 74.9}, "integer_adm2": {"mean": 0.91}},
                },
                74.9,
                0.91,
            ),
            ({"pooled_metrics": {"vmaf": {"mean": 91.5}, "adm2": {"mean": 0.97, "stddev": 0.02}}}, 91.5, 0.97),
            # run_vmaf in Python
            ({"aggregate": {"VMAF_score": 76.5, "VMAF_feature_adm2_score": 0.93, "method": "mean"}}, 76.5, 0.93),
            ({"aggregate": {"VMAF_score": 76.5, "VMAF_integer_feature_adm2_score": 0.92}}, 76.5, 0.92),
            ({"frames": [{"frameNum": 0, "VMAF_score": 60.0, "VMAF_feature_adm2_score": 0.8}]}, 60.0, 0.8),
            (
                {"frames": frames(70, 80), "aggregate": {"VMAF_score": 74.0, "method": "harmonic_mean"}},
                75.0,
                0.905,
            ),
        ],
    )
    def test_every_shape_gives_its_vmaf_and_features(self, shape, vmaf, adm2):
        found = parsed(shape)
        assert found.scores == {"": pytest.approx(vmaf)}
        assert found.means["adm2"] == pytest.approx(adm2, nan_ok=True)

    def test_an_sd_stands_beside_the_pooled_mean_or_comes_from_the_frames(self):
        pooled = {"vmaf": {"mean": 75.0}, "adm2": {"mean": 0.97, "stddev": 0.02}}
        found = parsed({"frames": frames(70, 80), "pooled_metrics": pooled})
        assert found.deviations["adm2"] == 0.02
        assert found.deviations["motion2"] == pytest.approx(0.005)

    def test_features_that_are_absent_are_nan(self):
        found = parsed({"pooled_metrics": {"vmaf": {"mean": 75.0}}})
        assert all(math.isnan(v) for v in [*found.means.values(), *found.deviations.values()])
        assert found.frames == 0

    def test_only_the_exact_names_are_the_feature(self):
        other = {"integer_adm2_egl_1": 0.1, "float_adm2": 0.2, "adm2_x": 0.3, "ssimulacra_adm2": 0.4}
        found = parsed({"frames": [{"metrics": {**other, "vmaf": 50.0}}]})
        assert math.isnan(found.means["adm2"])

    def test_the_plain_name_wins_over_the_integer_one(self):
        found = parsed({"frames": [{"metrics": {"integer_adm2": 0.1, "adm2": 0.2, "vmaf": 50.0}}]})
        assert found.means["adm2"] == 0.2

    def test_a_frame_without_a_finite_value_does_not_count(self):
        given = [*frames(70, 80), {"frameNum": 2, "metrics": {"vmaf": None, "adm2": math.nan}}]
        found = parsed({"frames": given})
        assert found.scores == {"": 75.0}
        assert found.means["adm2"] == pytest.approx(0.905)
        assert found.frames == 3

    def test_a_subsampled_report_spans_the_frames_it_skipped(self):
        given = [{"frameNum": n, "metrics": {"vmaf": 50.0}} for n in (0, 5, 10)]
        assert parsed({"frames": given}).frames == 11

    @pytest.mark.parametrize(
        "unknown",
        [
            *("nan", "-nan", "NaN", "-nan(ind)", "nan(snan)", "inf", "-inf", "+inf", "Infinity", "-Infinity", "null"),
            *("1.#IND", "-1.#IND00", "1.#INF", "1.#QNAN0", "1e999"),
        ],
    )
    def test_what_a_c_library_prints_of_a_value_that_is_not_finite_is_unknown(self, unknown):
        given = json.dumps({"note": 'nan "-inf"', "frames": frames(70, 80), "pooled_metrics": {"vmaf": {"mean": "?"}}})
        given = given.replace('"?"', unknown).replace('"adm2": 0.91', f'"adm2": {unknown}')
        found = parse_report(given.encode())
        assert found.scores == {"": 75.0}
        assert (found.means["adm2"], found.deviations["adm2"]) == (0.9, 0.0)

    def test_a_report_whose_every_score_is_unknown_is_broken_and_says_so(self):
        told = refused(EncodeGridError, lambda: parse_report(b'{"frames": [{"metrics": {"vmaf": -nan(ind)}}]}'))
        assert told.startswith("no usable report: no known value of vmaf")

    @pytest.mark.parametrize(
        ("shape", "scores"),
        [
            ({"frames": [{"metrics": {"vmaf_4k_v0.6.1": 61.0}}]}, {"vmaf_4k_v0.6.1": 61.0}),
            ({"pooled_metrics": {"vmaf_v0.6.1neg": {"mean": 62.0}}}, {"vmaf_v0.6.1neg": 62.0}),
            ({"pooled_metrics": {"vmaf": {"mean": 60.0}, "vmaf_hd": {"mean": 62.0}}}, {"": 60.0, "vmaf_hd": 62.0}),
            # a collection's own figures are no scores of other models
            (
                {
                    "pooled_metrics": {
                        name: {"mean": 62.0}
                        for name in (
                            *("vmaf_b_v0.6.3", "vmaf_b_v0.6.3_bagging", "vmaf_b_v0.6.3_stddev", "vmaf_b_v0.6.3_0001"),
                            *("vmaf_b_v0.6.3_ci_p95_lo", "vmaf_b_v0.6.3_ci_p95_hi"),
                        )
                    }
                },
                {"vmaf_b_v0.6.3": 62.0},
            ),
            ({"params": {"model": "model/vmaf_v0.6.1.pkl"}, "VMAF score": 74.6}, {"vmaf_v0.6.1": 74.6}),
        ],
    )
    def test_a_score_is_of_the_model_that_the_report_names(self, shape, scores):
        assert parsed(shape).scores == scores

    def test_a_name_of_ones_own_is_found_where_it_is_stated(self):
        given = json.dumps({"pooled_metrics": {"ours": {"mean": 61.0}}}).encode()
        assert "no VMAF score among ours" in refused(EncodeGridError, lambda: parse_report(given))
        assert parse_report(given, "ours").scores == {"ours": 61.0}

    @pytest.mark.parametrize(
        ("content", "told"),
        [
            (b"{", "not JSON"),
            (b"<VMAF/>", "not JSON"),
            (b"\xff\xfe\x00", "not JSON"),
            (b"[" * 100_000, "not JSON"),
            (b"[]", "a JSON list"),
            (b"3", "a JSON int"),
            (json.dumps({"frames": [{"metrics": {"psnr_y": 40.0}}]}).encode(), "no VMAF score among psnr_y"),
            (json.dumps({"frames": [{"metrics": {"vmaf": "80"}}], "VMAF score": 104.2}).encode(), "104.2, outside 0"),
            (json.dumps({"frames": frames(-1.0)}).encode(), "a VMAF of -1, outside 0–100"),
            (json.dumps({"frames": frames(100.00002)}).encode(), "a VMAF of 100.00002, outside 0–100"),
            (b"version https://git-lfs.github.com/spec/v1\n", "Git-LFS pointer; run git lfs pull"),
        ],
    )
    def test_a_broken_report_says_why(self, content, told):
        with pytest.raises(EncodeGridError) as caught:
            parse_report(content)
        assert told in str(caught.value)
        assert not isinstance(caught.value, EmptyReportError)

    @pytest.mark.parametrize("content", [b"", b" \n", b"{}", b'{"frames": []}', b'{"frames": [{"metrics": {}}]}'])
    def test_a_report_without_byte_or_frame_is_empty(self, content):
        with pytest.raises(EmptyReportError, match=r"no byte|no frame"):
            parse_report(content)


@pytest.mark.parametrize(
    ("stem", "geometry"),
    [
        (CLIP, NamedGeometry(480, 272, 120.0)),
        ("A_B_c_3840x2176_60fps_8bit", NamedGeometry(3840, 2176, 60.0)),
        ("Clip_64x48_23.976fps", NamedGeometry(64, 48, 23.976)),
        ("Clip_64x48_25fpsX_10bit", NamedGeometry()),
        ("Clip_64x48_25", NamedGeometry()),
        ("Clip_64x48", NamedGeometry()),
        ("64x48_25fps_10bit", NamedGeometry()),
        ("Clip_64X48_25fps_", NamedGeometry()),
        ("_64x48_25fps_", NamedGeometry()),
        ("", NamedGeometry()),
    ],
)
def test_a_name_gives_geometry_and_rate_or_nothing(stem, geometry):
    assert geometry_of(stem) == geometry


@pytest.mark.parametrize(
    ("stem", "content"),
    [
        *((f"{a}BookcaseBVITexture_{size}_120fps_10bit_420", "BookcaseBVITexture") for a, size in SIZES),
        ("A4KBoat_3840x2160_60fps_8bit", "4KBoat"),
        # a letter of another size is the name's own, and so is one that begins a word
        ("ABookcaseBVITexture_480x272_120fps_10bit", "ABookcaseBVITexture"),
        ("Boat_1920x1088_60fps_10bit", "Boat"),
        ("D_480x272_60fps_10bit", "D"),
        ("Beach_64x48_25fps_crf22", "Beach"),
        ("DBoat_480x272", "DBoat_480x272"),
        ("plain", "plain"),
    ],
)
def test_the_names_of_four_sizes_are_one_content(stem, content):
    assert content_of_name(stem) == content


class TestBviDvc:
    """One row per cached report."""

    def test_a_row_holds_what_report_name_and_labels_say_and_defaults_for_the_rest(self, place):
        path = place.report(f"{CLIP}.json", small_report(81.5))
        (row,) = rows_of(place.make(crf=40, encoder="libx265"))
        assert set(row) == {*ROW_KEYS, "content_id"}
        assert (row["src"], row["content_id"]) == (f"bvi-dvc:{CLIP}", "BookcaseBVITexture")
        assert row["src_sha256"] == hashlib.sha256(CLIP.encode()).hexdigest()
        assert (row["width"], row["height"], row["framerate"]) == (480, 272, 120.0)
        assert row["duration_s"] == pytest.approx(2 / 120)
        assert (row["encoder"], row["preset"], row["crf"]) == ("libx265", "fast", 40)
        assert (row["pix_fmt"], row["vmaf_model"]) == ("yuv420p10le", "vmaf_v0.6.1")
        assert (row["schema_version"], row["vmaf_score"], row["clip_mode"]) == (3, 81.5, "full")
        assert row["adm2_mean"] == pytest.approx(SIX["adm2"] + 0.005)
        assert row["adm2_std"] == pytest.approx(0.005)
        named = {"src", "src_sha256", "content_id", "width", "height", "framerate"}
        told = {"run_id", "duration_s", "vmaf_score", *named, *labels()}
        rest = {k: v for k, v in row.items() if k not in told and not k.startswith(CANONICAL_6)}
        assert rest == {k: v for k, v in DEFAULTS.items() if k in rest}
        assert path.exists()

    def test_equal_inputs_give_equal_bytes_wherever_and_whenever_they_lie(self, place, tmp_path):
        place.report(f"{CLIP}.json", small_report())
        place.report("b.json", small_report(10.0))
        first = place.make()
        other = Place(tmp_path / "other")
        for name in ("b.json", f"{CLIP}.json"):
            os.utime(other.report(name, (place.reports / name).read_bytes()), (1, 1))
        second = other.make()
        assert second.jsonl.read_bytes() == first.jsonl.read_bytes()
        assert second.data_version == first.data_version

    def test_run_id_depends_on_name_bytes_and_labels(self, place):
        place.report("a.json", small_report())
        place.report("b.json", small_report())
        ids = [row["run_id"] for row in rows_of(place.make())]
        ids += [row["run_id"] for row in rows_of(place.make(crf=20))]
        place.report("a.json", small_report() + "\n")
        ids.append(rows_of(place.make())[0]["run_id"])
        assert len(set(ids)) == 5
        assert all(len(i) == 32 for i in ids)

    def test_an_unchanged_grid_is_left_alone(self, place):
        place.report("a.json", small_report())
        first = place.make()
        os.utime(first.jsonl, (1, 1))
        inode = first.jsonl.stat().st_ino
        again = place.make()
        assert (again.jsonl.stat().st_mtime, again.jsonl.stat().st_ino) == (1, inode)
        assert again.data_version == first.data_version
        place.report("a.json", small_report(11.0))
        assert place.make().data_version != first.data_version

    def test_several_reports_of_one_clip_are_told_since_all_bear_one_setting(self, place, caplog):
        for name in ("Beach_64x48_25fps_crf22", "Beach_64x48_25fps_crf47", "Boat_64x48_25fps_crf22", "plain"):
            place.report(f"{name}.json", small_report())
        with caplog.at_level(logging.WARNING, "vqa_assets"):
            done = place.make()
        assert done.report.counters()["repeated_clips"] == 1
        assert (done.report.rows_in, done.report.rows_out) == (4, 4)
        (told,) = caplog.messages
        assert told == (
            "Beach_64x48: 2 reports (Beach_64x48_25fps_crf22.json, Beach_64x48_25fps_crf47.json); all have one "
            "encoder, preset and CRF here: keep one report a clip"
        )

    @pytest.mark.parametrize("one_by_one", [1, 50])
    def test_broken_and_empty_reports_are_counted_and_named_and_the_rest_goes_on(
        self, one_by_one, place, caplog, monkeypatch
    ):
        monkeypatch.setattr("vqa_assets.encode_grid.grid.LOSSES_TOLD", one_by_one)
        place.report("good_64x48_25fps_x.json", small_report())
        place.report("cut.json", "{")
        place.report("empty.json", "")
        (place.reports / "dangling.json").symlink_to("nowhere")
        with caplog.at_level(logging.WARNING):
            done = place.make()
        counters = done.report.counters()
        assert {k: counters[k] for k in ("rows_in", "rows_out", "broken", "empty")} == {
            "rows_in": 4,
            "rows_out": 1,
            "broken": 2,
            "empty": 1,
        }
        told = {loss.name: loss.reason for loss in done.report.losses}
        assert set(told) == {"cut.json", "empty.json", "dangling.json"}
        assert "not JSON" in told["cut.json"]
        assert told["empty.json"] == "empty: no byte"
        assert "cannot be read: No such file" in told["dangling.json"]
        assert all(name in caplog.text for name in told)
        assert sum("left out" in message for message in caplog.messages) == min(len(told), one_by_one + 1)
        assert [loss["name"] for loss in done.manifest["losses"]] == sorted(told)

    @pytest.mark.skipif(sys.platform != "linux", reason="names of any bytes")
    def test_a_name_of_other_bytes_than_utf_8_costs_that_report_only(self, place):
        place.report("a.json", small_report())
        place.report("b.json", small_report()).rename(place.reports / os.fsdecode(b"\xff.json"))
        done = place.make()
        assert done.report.broken == 1
        (loss,) = done.report.losses
        assert (loss.name, loss.reason) == ("\\udcff.json", "a file name that is no UTF-8")

    def test_other_files_are_no_reports(self, place):
        place.report("a.json", small_report())
        place.report("._a.json", b"\x00")
        place.report("~$a.json", b"")
        place.report("notes.txt", b"")
        (place.reports / "folder.json").mkdir()
        assert place.make().report.rows_in == 1

    def test_what_rows_lack_is_counted(self, place):
        place.report("odd name.json", small_report(frames=[], pooled_metrics={"vmaf": {"mean": 50}}))
        place.report("a_64x48_25fps_x.json", small_report())
        counters = place.make().report.counters()
        assert (counters["without_geometry"], counters["without_features"]) == (1, 1)
        lacking = next(r for r in read_grid(grid_files.grid_jsonl(place.root, ENCODE_GRID_SOURCES["bvi-dvc"])))[1]
        assert (lacking["width"], lacking["height"], lacking["framerate"], lacking["duration_s"]) == (64, 48, 25, 0.08)

    def test_no_report_is_an_error_that_says_where_they_belong(self, place):
        told = refused(EncodeGridError, place.make)
        assert told.startswith("bvi-dvc: no libvmaf report: no *.json in ")
        assert "expected one JSON report per encode, named <clip>_<W>x<H>_<N>fps_….json; put" in told
        place.reports.rmdir()
        assert "no folder " in refused(EncodeGridError, place.make)

    def test_no_usable_report_is_an_error_and_the_earlier_grid_stands(self, place):
        path = place.report("a.json", small_report())
        before = place.make().jsonl.read_bytes()
        path.write_text("{")
        place.report("b.json", "")
        told = refused(EncodeGridError, place.make)
        assert "bvi-dvc: no usable row: 1 broken and 1 empty reports (a.json: no usable report: not JSON" in told
        assert "expected at least one scored encode; the earlier output is kept" in told
        grid = grid_files.grid_jsonl(place.root, ENCODE_GRID_SOURCES["bvi-dvc"])
        assert grid.read_bytes() == before
        assert [p.name for p in grid.parent.iterdir() if p.name.endswith(".tmp")] == []

    def test_a_label_that_breaks_the_column_specs_replaces_nothing(self, place):
        place.report("a.json", small_report())
        # past the settings' own bounds, as a change of theirs might let it
        wrong = EncodeLabels().model_copy(update={"crf": 64})
        assert "crf" in refused(SchemaError, lambda: make_grid(place.job("bvi-dvc", wrong), place.context))
        assert not grid_files.grid_jsonl(place.root, ENCODE_GRID_SOURCES["bvi-dvc"]).exists()

    def test_the_manifest_holds_every_input_with_its_hash_and_the_labels(self, place):
        path = place.report("a.json", small_report())
        manifest = place.make(preset="slow").manifest
        assert manifest["schema"] == "encode-grid-manifest-v1"
        assert manifest["row_schema_version"] == 3
        assert manifest["source"]["name"] == "bvi-dvc"
        assert manifest["source"]["licence"]
        (record,) = manifest["run_provenance"]["inputs"].values()
        assert record["path"] == "encode-grid/bvi-dvc/a.json"
        assert record["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
        assert manifest["run_provenance"]["args"] == {
            "cache_dir": {"value": "encode-grid/bvi-dvc", "from": "default"},
            "encoder": {"value": "libx264", "from": "default"},
            "preset": {"value": "slow", "from": "run config"},
            "crf": {"value": 35, "from": "default"},
            "pix_fmt": {"value": "yuv420p10le", "from": "default"},
            "vmaf_model": {"value": None, "from": "default"},
        }
        assert manifest["vmaf_models"] == {"vmaf_v0.6.1": 1}


def labels():
    return EncodeLabels().__dict__


def by(model):
    """A report of this model's score, as libvmaf writes it with a name; without one as it always does."""
    return json.dumps({"pooled_metrics": {model or "vmaf": {"mean": 60.0}}})


FOUR_K, HD = "vmaf_4k_v0.6.1", "vmaf_v0.6.1"


class TestModels:
    """Which model scored."""

    @pytest.mark.parametrize(
        ("reports", "stated", "models"),
        [
            (("", ""), None, [HD, HD]),
            (("", ""), FOUR_K, [FOUR_K, FOUR_K]),
            ((FOUR_K, FOUR_K), None, [FOUR_K, FOUR_K]),
            ((FOUR_K, FOUR_K), FOUR_K, [FOUR_K, FOUR_K]),
            ((FOUR_K, ""), FOUR_K, [FOUR_K, FOUR_K]),
            ((FOUR_K, HD), None, [FOUR_K, HD]),
        ],
    )
    def test_the_reports_name_it_else_the_setting_does(self, reports, stated, models, place):
        for number, model in enumerate(reports):
            place.report(f"{number}.json", by(model))
        assert [row["vmaf_model"] for row in rows_of(place.make(vmaf_model=stated))] == models

    @pytest.mark.parametrize(
        ("reports", "stated", "told"),
        [
            ((FOUR_K, ""), None, "bvi-dvc: vmaf_model is not known: reports of which 1 name no model (vmaf stands"),
            ((FOUR_K,), HD, f"bvi-dvc: vmaf_model {HD} contradicts 0.json: reports of which 1 name {FOUR_K}: 0.json"),
            (("", FOUR_K), HD, f"bvi-dvc: vmaf_model {HD} contradicts 1.json"),
            ((FOUR_K, HD), HD, f"bvi-dvc: vmaf_model {HD} contradicts 0.json"),
        ],
    )
    def test_it_is_asked_for_where_not_all_say_it_and_may_not_contradict_them(self, reports, stated, told, place):
        for number, model in enumerate(reports):
            place.report(f"{number}.json", by(model))
        assert refused(EncodeGridError, lambda: place.make(vmaf_model=stated)).startswith(told)
        assert not grid_files.grid_jsonl(place.root, ENCODE_GRID_SOURCES["bvi-dvc"]).exists()

    @pytest.mark.parametrize(("stated", "vmaf"), [(FOUR_K, 70.0), (HD, 60.0)])
    def test_a_report_with_the_scores_of_several_models_asks_which_one_counts(self, stated, vmaf, place):
        place.report("a.json", json.dumps({"pooled_metrics": {"vmaf": {"mean": 60.0}, FOUR_K: {"mean": 70.0}}}))
        assert "vmaf_model is not known" in refused(EncodeGridError, place.make)
        (row,) = rows_of(place.make(vmaf_model=stated))
        assert (row["vmaf_score"], row["vmaf_model"]) == (vmaf, stated)

    def test_two_models_do_not_mix_without_a_word(self, place, caplog):
        for number, model in enumerate((FOUR_K, FOUR_K, HD)):
            place.report(f"{number}.json", by(model))
        done = place.make()
        assert done.report.counters()["other_models"] == 1
        assert done.manifest["vmaf_models"] == {FOUR_K: 2, HD: 1}
        told = f"scores by 2 VMAF models: {FOUR_K} 2, {HD} 1"
        assert f"encode-grid/bvi_dvc_corpus.jsonl: {told}" in caplog.text
        assert place.merge().manifest["vmaf_models"] == {FOUR_K: 2, HD: 1}
        assert f"encode-grid/fr_v2_train_corpus.jsonl: {told}" in caplog.text


class TestNetflix:
    """vmaf-tune's rows, validated."""

    def test_a_row_of_version_3_passes_as_it_is_but_for_its_list_of_parameters(self, place):
        given = tune_row(extra_params=["-tune", "film grain"], note="kept")
        place.rows(given)
        (row,) = rows_of(place.make("netflix"))
        assert row == given | {"extra_params": "-tune 'film grain'"}

    def test_a_row_of_version_2_is_completed_and_counted(self, place):
        full = tune_row(1)
        place.rows(tune_row(), version_2(full))
        done = place.make("netflix")
        row = rows_of(done)[1]
        assert set(row) == set(ROW_KEYS)
        assert row["schema_version"] == 3
        assert math.isnan(row["adm2_mean"])
        assert (row["hdr_transfer"], row["hdr_forced"], row["shot_count"]) == ("", False, 0)
        assert (row["enc_internal_qp_mean"], row["vmaf_score"]) == (0.0, full["vmaf_score"])
        assert done.report.filled_version_2 == 1
        assert done.report.without_features == 1

    @pytest.mark.parametrize(
        ("version", "shown"), [(1, "version 1"), (4, "version 4"), ("3", "version '3'"), (True, "version True")]
    )
    def test_any_other_version_is_refused_by_name_and_line(self, version, shown, place):
        path = place.rows(tune_row(), tune_row(1, schema_version=version))
        told = refused(EncodeGridError, lambda: place.make("netflix"))
        assert told.startswith(f"{path}:2: schema_version: {shown}, expected version 2 or 3; write the rows again")

    def test_missing_keys_are_listed_with_file_and_line(self, place):
        path = place.rows(tune_row(), b"\n", tune_row(1, crf=..., hdr_forced=...))
        told = refused(EncodeGridError, lambda: place.make("netflix"))
        assert told.startswith(f"{path}:3: missing required keys: ['crf', 'hdr_forced']; ")
        place.rows({k: v for k, v in version_2(tune_row()).items() if k != "clip_mode"})
        assert ":1: missing required keys: ['clip_mode']" in refused(EncodeGridError, lambda: place.make("netflix"))
        place.rows({"src": "a"})
        assert "missing required keys: ['schema_version']" in refused(EncodeGridError, lambda: place.make("netflix"))

    @pytest.mark.parametrize(
        ("key", "value", "told"),
        [
            ("crf", "23", "'23', expected a number"),
            ("crf", math.nan, "nan, expected a number"),
            ("crf", True, "True, expected a number"),
            ("vmaf_score", math.inf, "inf, expected a number"),
            ("width", 64.5, "64.5, expected an integer"),
            ("width", None, "None, expected an integer"),
            ("preset", 5, "5, expected a string"),
            ("src", "\ud800", "expected a string"),
            ("extra_params", [1], "[1], expected a string"),
            ("hdr_forced", 0, "0, expected a boolean"),
        ],
    )
    def test_a_value_of_another_kind_is_named_with_file_and_line(self, key, value, told, place):
        path = place.rows(tune_row(), tune_row(1, **{key: value}))
        message = refused(EncodeGridError, lambda: place.make("netflix"))
        assert message.startswith(f"{path}:2: {key}: ")
        assert told in message

    @pytest.mark.parametrize(
        ("key", "value"), [("src_sha256", ""), ("vmaf_score", 100.5), ("crf", 64), ("width", -1), ("duration_s", -0.1)]
    )
    def test_a_value_out_of_its_range_replaces_nothing(self, key, value, place):
        place.rows(tune_row())
        before = place.make("netflix").jsonl.read_bytes()
        place.rows(tune_row(), tune_row(1, **{key: value}))
        assert key in refused(SchemaError, lambda: place.make("netflix"))
        assert grid_files.grid_jsonl(place.root, ENCODE_GRID_SOURCES["netflix"]).read_bytes() == before

    @pytest.mark.parametrize(
        ("line", "told"),
        [
            (b"[1]\n", ":2: a JSON list, expected one object a line"),
            (b'{"src": "a"\n', ":2: not JSON"),
            (b'{"src": "a", "cut', ":2: not JSON"),
            (b"version https://git-lfs.github.com/spec/v1\n", ":2: a Git-LFS pointer"),
        ],
    )
    def test_a_line_that_is_no_row_is_named(self, line, told, place):
        place.rows(tune_row(), line)
        assert told in refused(EncodeGridError, lambda: place.make("netflix"))

    def test_a_row_with_opinions_is_sent_to_unified_corpus(self, place):
        path = place.rows({"src": "a", "src_sha256": "b", "mos": 3.0, "corpus": "lsvq"})
        told = refused(EncodeGridError, lambda: place.make("netflix"))
        assert told.startswith(f"{path}:1: a row with opinions (mos), expected an encode-grid row")
        assert told.endswith("it belongs to unified_corpus")

    def test_a_byte_order_mark_and_crlf_are_read(self, place):
        line = json.dumps(tune_row()).encode()
        place.rows(b"\xef\xbb\xbf" + line + b"\r\n", json.dumps(tune_row(1)).encode() + b"\r\n")
        assert place.make("netflix").report.rows_out == 2

    def test_unscored_and_failed_encodes_stay_and_are_counted(self, place):
        place.rows(tune_row(vmaf_score=math.nan, exit_status=1), tune_row(1, vmaf_score=None))
        done = place.make("netflix")
        assert (done.report.unscored, done.report.failed_encodes, done.report.rows_out) == (2, 1, 2)
        assert all(math.isnan(row["vmaf_score"]) for row in rows_of(done))

    def test_no_file_and_no_row_are_errors(self, place):
        told = refused(EncodeGridError, lambda: place.make("netflix"))
        assert told.startswith("netflix: no rows of vmaf-tune: nothing at ")
        assert told.endswith("put the file there, or set input")
        place.rows(b"\n")
        told = refused(EncodeGridError, lambda: place.make("netflix"))
        assert told.startswith("netflix: no usable row: an input without rows, expected at least one scored encode")


class TestNaN:
    """How "not measured" is written and read."""

    def test_nan_is_written_as_such_with_sorted_keys(self):
        line = grid_line({"vmaf_score": math.nan, "crf": 23, "src": "ü", "note": "\ud800"})
        assert line == '{"crf":23,"note":"\\ud800","src":"ü","vmaf_score":NaN}\n'.encode()
        assert math.isnan(json.loads(line)["vmaf_score"])

    @pytest.mark.parametrize("spelling", [b"NaN", b"null"])
    def test_nan_and_null_are_both_read_as_nan(self, spelling, tmp_path):
        line = grid_line({**tune_row(extra_params=""), "adm2_mean": math.nan}).replace(b"NaN", spelling)
        ((number, row),) = read_grid(write_rows(tmp_path / "x.jsonl", line))
        assert number == 1
        assert math.isnan(row["adm2_mean"])
        assert grid_line(row).count(b"NaN") == 1


class TestTrainingCorpus:
    """The grids as one table."""

    def test_the_grids_are_merged_in_order_and_every_row_is_kept_once(self, place):
        place.report("a_64x48_25fps_x.json", small_report())
        place.rows(tune_row(), tune_row(crf=30), tune_row(1), tune_row())
        grids = [place.make(), place.make("netflix")]
        done = place.merge()
        assert done.report.counters() == {
            "rows_in": 5,
            "rows_out": 4,
            "duplicates": 1,
            "conflicts": 0,
            "unique_sources": 3,
        }
        lines = [line for grid in grids for line in grid.jsonl.read_bytes().splitlines(keepends=True)]
        assert done.jsonl.read_bytes() == b"".join(lines[:-1])
        assert done.report.rows_per_input == {
            "encode-grid/bvi_dvc_corpus.jsonl": 1,
            "encode-grid/netflix_corpus.jsonl": 3,
        }

    def test_sources_are_contents_where_rows_say_them(self, place):
        for letter, size in SIZES:
            place.report(f"{letter}Boat_{size}_60fps_x.json", small_report())
        place.report("DBeach_480x272_60fps_x.json", small_report())
        place.rows(tune_row(), tune_row(1, content_id="Boat"), tune_row(2, content_id=None), tune_row(3, content_id=""))
        place.make()
        place.make("netflix")
        done = place.merge()
        assert (done.report.rows_out, done.report.unique_sources) == (9, 5)
        assert [row.get("content_id", "-") for row in rows_of(done)] == [
            *("Boat", "Boat", "Boat", "Beach", "Boat"),
            *("-", "Boat", None, ""),
        ]

    def test_of_two_results_for_one_encode_the_first_wins_and_both_places_are_told(self, place, caplog):
        first = place.shard("a.jsonl", tune_row(), tune_row(1))
        second = place.shard("b.jsonl", tune_row(crf=23.0, vmaf_score=50.0), tune_row(1, timestamp="x", run_id="y"))
        done = place.merge(first, second)
        assert (done.report.duplicates, done.report.conflicts) == (2, 1)
        assert rows_of(done)[0]["vmaf_score"] == 90.0
        (example,) = done.manifest["conflict_examples"]
        assert (example["kept"], example["left_out"]) == ("encode-grid/a.jsonl:1", "encode-grid/b.jsonl:1")
        assert "encode-grid/b.jsonl:1: another result than encode-grid/a.jsonl:1" in caplog.text
        assert rows_of(place.merge(second, first))[0]["vmaf_score"] == 50.0

    @pytest.mark.parametrize(
        "change", [{"encoder": "libx265"}, {"preset": "slow"}, {"crf": 24}, {"src_sha256": "f" * 64}]
    )
    def test_each_part_of_the_natural_key_makes_another_encode(self, change, place):
        shard = place.shard("a.jsonl", tune_row(), tune_row(**change))
        assert place.merge(shard).report.rows_out == 2

    def test_the_manifest_says_how_the_merge_was_done(self, place):
        shard = place.shard("a.jsonl", tune_row())
        manifest = place.merge(shard).manifest
        assert manifest["schema"] == "fr-training-corpus-manifest-v1"
        assert manifest["natural_key"] == ["src_sha256", "encoder", "preset", "crf"]
        assert manifest["required_keys"] == list(ROW_KEYS)
        assert manifest["conflicting_rows"] == "the first row wins, in the order of the inputs"
        record = manifest["run_provenance"]["inputs"]["encode-grid/a.jsonl"]
        assert record["sha256"] == hashlib.sha256(shard.read_bytes()).hexdigest()

    def test_one_log_line_tells_the_counters(self, place, caplog):
        shard = place.shard("a.jsonl", tune_row(), tune_row())
        with caplog.at_level(logging.INFO, "vqa_assets.encode_grid"):
            place.merge(shard)
        (line,) = [r.getMessage() for r in caplog.records if r.levelno == logging.INFO]
        assert line == (
            "[fr-training-corpus] rows_in=2 rows_out=1 duplicates=1 conflicts=0 unique_sources=1 "
            "-> encode-grid/fr_v2_train_corpus.jsonl"
        )

    def test_absent_grids_are_listed_and_none_is_an_error(self, place):
        told = refused(EncodeGridError, place.merge)
        assert told.startswith("fr_training_corpus: no input is there: nothing at ")
        assert told.endswith("materialize encode_grid_jsonl for bvi-dvc or netflix first")
        place.rows(tune_row())
        place.make("netflix")
        assert place.merge().manifest["absent"] == ["encode-grid/bvi_dvc_corpus.jsonl"]

    def test_a_named_input_that_is_missing_is_an_error(self, place):
        here = place.shard("a.jsonl", tune_row())
        told = refused(EncodeGridError, lambda: place.merge(named=[here, here.with_name("b.jsonl")]))
        assert told.startswith("fr_training_corpus: a missing input: nothing at ")
        assert "b.jsonl, expected a JSON Lines file of encode-grid rows; correct inputs" in told

    @pytest.mark.parametrize(
        ("row", "told"),
        [
            (version_2(tune_row(1)), "2: missing required keys: ['hdr_transfer', "),
            (tune_row(1, vmaf_score=...), "2: missing required keys: ['vmaf_score']; materialize encode_grid_jsonl"),
            ({"src": "a", "mos": 3.0}, "2: a row with opinions (mos)"),
            (tune_row(1, mos=3.0), "2: a row with opinions (mos)"),
            (tune_row(1, preset=["slow"]), "2: preset: ['slow'], expected a string"),
            (b"[]\n", "2: a JSON list"),
        ],
    )
    def test_a_row_that_does_not_belong_is_named_and_the_earlier_corpus_stands(self, row, told, place):
        shard = place.shard("a.jsonl", tune_row())
        before = place.merge(shard).jsonl.read_bytes()
        place.shard("a.jsonl", tune_row(), row)
        assert f"{shard}:{told}" in refused(EncodeGridError, lambda: place.merge(shard))
        assert grid_files.training_corpus(place.root).read_bytes() == before

    def test_inputs_without_rows_are_an_error(self, place):
        shard = place.shard("a.jsonl")
        assert "fr_training_corpus: no row is left: 1 inputs without rows" in refused(
            EncodeGridError, lambda: place.merge(shard)
        )

    def test_equal_inputs_leave_the_corpus_alone_with_an_equal_data_version(self, place):
        shard = place.shard("a.jsonl", tune_row())
        first = place.merge(shard)
        os.utime(first.jsonl, (1, 1))
        again = place.merge(shard)
        assert again.jsonl.stat().st_mtime == 1
        assert again.data_version == first.data_version

    def test_another_run_of_the_same_scoring_is_no_other_data(self, place):
        first = place.merge(place.shard("a.jsonl", tune_row()))
        again = place.merge(place.shard("a.jsonl", tune_row(timestamp="later", run_id="other")))
        assert again.data_version == first.data_version
        assert rows_of(again)[0]["timestamp"] == "later"

    @pytest.mark.parametrize("report", [MergeReport(rows_in=2, rows_out=1), MergeReport(2, 2, 0, conflicts=1)])
    def test_rows_that_do_not_reconcile_fail(self, report):
        assert "fr_training_corpus: rows do not reconcile: 2 in" in refused(EncodeGridError, report.judge)


def test_grid_rows_that_do_not_reconcile_fail():
    message = refused(EncodeGridError, lambda: GridReport(rows_in=2, rows_out=1).judge("x"))
    assert "encode_grid_jsonl[x]: rows do not reconcile: 2 in, expected 1 out + 0 broken + 0 empty" in message


def test_a_grid_row_among_opinions_is_sent_here(place):
    shard = place.shard("a.jsonl", tune_row())
    told = refused(AggregateError, lambda: aggregate([Shard(shard)], CORPORA, "2026-05-08T12:00:00+00:00"))
    assert "an encode-grid row" in told
    assert "fr_training_corpus" in told


class TestInputs:
    """What ``libvmaf_reports`` lists."""

    def test_every_input_is_listed_and_hashed(self, place):
        path = place.report("a.json", small_report())
        rows = place.rows(tune_row())
        (place.reports / "z.json").symlink_to("nowhere")
        found = list_inputs(place.reports, rows)
        assert [f.path for f in found.files] == [path, rows]
        assert found.files[0].sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
        assert found.unreadable == (place.reports / "z.json",)
        assert found.counts == {"bvi-dvc": 2, "netflix": 1}

    def test_the_data_version_follows_names_and_bytes_only(self, place):
        rows = grid_files.vmaf_tune_rows(place.root)
        path = place.report("a.json", small_report())
        first = list_inputs(place.reports, rows).data_version
        os.utime(path, (1, 1))
        assert list_inputs(place.reports, rows).data_version == first
        path.rename(path.with_name("b.json"))
        assert list_inputs(place.reports, rows).data_version != first
        place.report("b.json", small_report(12.0))
        place.report("a.json", small_report())
        assert list_inputs(place.reports, rows).data_version != first

    def test_either_source_alone_will_do_and_neither_is_an_error(self, place):
        rows = grid_files.vmaf_tune_rows(place.root)
        assert "no libvmaf report" in refused(EncodeGridError, lambda: list_inputs(place.reports, rows))
        place.rows(tune_row())
        assert list_inputs(place.reports, rows).counts == {"bvi-dvc": 0, "netflix": 1}
