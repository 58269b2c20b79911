"""``predict … --every 1s``: a score for each window of a clip, and a picture of them."""

import csv
import io
import json
import math
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from vqa_assets.feature_names import KONVID_V1
from vqa_assets.features.extractor import ClipExtractor
from vqa_assets.features.measuring import one_clip_row
from vqa_assets.heads.build import build_head
from vqa_assets.heads.members.export import run_onnx
from vqa_assets.heads.members.training import TorchTrainer
from vqa_assets.heads.members.weights import encoder_onehot
from vqa_assets.heads.publish import HeadInputs, publish_head
from vqa_assets.heads.recipe import KONVID_MOS_HEAD_V1
from vqa_assets.heads.settings import TrainingSettings
from vqa_assets.predict import main
from vqa_assets.provenance import RunContext
from vqa_assets.tables.paths import DataRoot
from vqa_assets.window_scores import ScoresByWindow, WindowScore, picture_png
from vqa_assets_tests.shared.clips import tiny_clip
from vqa_assets_tests.shared.head_tables import FACTS, labelled, quiet, written

NAME = KONVID_MOS_HEAD_V1.name
READ = ("si_mean", "ti_mean", "contrast_p90", "nr_duration_s")
COLUMNS = ["source", "key", "start_s", "end_s", "mos", "mos_low", "mos_high", "out_of_range", "reason"]


def trained(folder: Path, *columns: str) -> Path:
    """The ONNX of a head that reads these columns, whatever they say of its rows."""
    root = DataRoot(folder)
    frame = labelled(40).rename(dict(zip(KONVID_V1.columns, columns, strict=False)))
    table = written(frame, root.path / "train.parquet")
    settings = TrainingSettings(epochs=1, device="cpu", protocol_splits=0, columns=columns)
    built = build_head(KONVID_MOS_HEAD_V1, {"konvid-1k": table}, FACTS, settings, TorchTrainer(), quiet)
    inputs = HeadInputs(NAME, settings, {"konvid-1k": table}, {"konvid-1k": [table]})
    publish_head(built, inputs, RunContext(root, {}, Path(__file__)))
    return root.models() / f"{NAME}.onnx"


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A head that reads what nr-v1 measures."""
    return trained(tmp_path_factory.mktemp("data"), *READ)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clip of 2.4 seconds, one of 0.2, and a file that is none."""
    folder = tmp_path_factory.mktemp("clips")
    tiny_clip(folder / "long.mp4", 1, frames=60)
    tiny_clip(folder / "short.mp4", 2)
    (folder / "broken.mp4").write_bytes(b"no video" * 100)
    return folder


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_every_window_has_a_row_and_a_picture_of_the_same_stem_shows_them(head, clips, tmp_path, capsys):
    out = tmp_path / "scores.csv"
    arguments = [str(head), str(clips), "--every", "1s", "--out", str(out)]
    assert main(arguments) == 1  # of the clip that is none
    told = capsys.readouterr()
    assert told.out == ""
    assert out.read_text().splitlines()[0] == ",".join(COLUMNS)
    rows = rows_of(out.read_text())
    assert [(row["key"], row["start_s"], row["end_s"]) for row in rows] == [
        ("broken.mp4", "", ""),
        ("long.mp4", "0.0", "1.0"),
        ("long.mp4", "1.0", "2.4"),
        ("short.mp4", "0.0", "0.2"),
    ]
    assert (rows[0]["mos"], rows[0]["reason"][:12]) == ("", "broken.mp4: ")
    for row in rows[1:]:
        assert 1 <= float(row["mos_low"]) <= float(row["mos"]) <= float(row["mos_high"]) <= 5
        assert "si_mean" in row["out_of_range"].split(";")
    # A clip shorter than a window is one, with the score that the clip has by itself.
    row = pl.DataFrame([one_clip_row(clips / "short.mp4", ClipExtractor(feature_sets=("nr-v1",)))])
    features = row.select(READ).to_numpy().astype(np.float32)
    whole = float(run_onnx(head.read_bytes(), features, encoder_onehot(1))[0])
    assert float(rows[3]["mos"]) == pytest.approx(whole, abs=1e-3)
    mean = (float(rows[1]["mos"]) + 1.4 * float(rows[2]["mos"])) / 2.4
    assert f"as a clip, {mean:.2f}"[:-1] in told.err
    assert "broken.mp4: no score" in told.err
    assert "1 of 4 windows without a score; each says why" in told.err
    picture = tmp_path / "scores.png"
    assert picture.read_bytes().startswith(b"\x89PNG")
    # Once more: equal scores, equal bytes, and what this command wrote it replaces.
    before = out.read_bytes(), picture.read_bytes()
    assert main(arguments) == 1
    assert (out.read_bytes(), picture.read_bytes()) == before


def test_a_clip_over_a_cap_has_no_windows_and_says_which_option_raises_it(head, clips, capsys):
    arguments = [str(head), str(clips / "long.mp4"), "--every", "1s", "--csv"]
    assert main([*arguments, "--max-duration-s", "2"]) == 1
    (row,) = rows_of(capsys.readouterr().out)
    assert row["reason"] == "long.mp4: too large: 2.4 s, at most 2 (--max-duration-s raises it)"
    assert main([*arguments, "--max-duration-s", "2.4"]) == 0


def test_a_corpus_s_clips_without_a_container_are_what_its_ingest_toml_says(head, tmp_path, capsys):
    clips = tmp_path / "lsvq" / "clips"
    clips.mkdir(parents=True)
    frames = np.random.default_rng(1).integers(0, 255, (10, 64 * 48 * 3 // 2), dtype=np.uint8)
    (clips / "a.yuv").write_bytes(frames.tobytes())
    (clips.parent / "ingest.toml").write_text("raw_video = { width = 64, height = 48, framerate = 25 }\n")
    arguments = [str(head), "lsvq", "--root", str(tmp_path)]
    assert main([*arguments, "--json"]) == 0
    (whole,) = json.loads(capsys.readouterr().out)["scores"]
    assert main([*arguments, "--every", "200ms", "--json"]) == 0
    (clip,) = json.loads(capsys.readouterr().out)["clips"]
    assert clip["mos"] == whole["mos"]
    assert [(one["start_s"], one["end_s"]) for one in clip["windows"]] == [(0, 0.2), (0.2, 0.4)]
    assert main([*arguments, "--max-frames=9", "--csv"]) == 1
    assert "a.yuv: too large: 10 frames, at most 9 (--max-frames raises it)" in capsys.readouterr().out


def test_windows_come_as_json_and_as_a_table_too(head, clips, tmp_path, capsys):
    arguments = [str(head), str(clips / "long.mp4"), "--every", "500ms"]
    assert main([*arguments, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    (clip,) = document["clips"]
    assert document["schema"] == "window-predictions-v1"
    assert [(one["start_s"], one["end_s"]) for one in clip["windows"]] == [
        (0, 0.5), (0.5, 1), (1, 1.5), (1.5, 2), (2, 2.4),
    ]  # fmt: skip
    mean = np.average([one["mos"] for one in clip["windows"]], weights=[0.5] * 4 + [0.4])
    assert clip["mean_of_windows"] == pytest.approx(mean, abs=1e-3)
    assert main([*arguments[:2], "--json"]) == 0
    assert clip["mos"] == json.loads(capsys.readouterr().out)["scores"][0]["mos"]
    assert main([*arguments, "--out", str(tmp_path / "scores.txt")]) == 0
    header, first, *others = (tmp_path / "scores.txt").read_text().splitlines()
    assert header.split() == ["key", "start_s", "end_s", "mos", "mos_low", "mos_high"]
    assert first.split()[:3] == ["long.mp4", "0.000", "0.500"]
    assert len(others) == 4
    assert (tmp_path / "scores.png").is_file()
    # What stands there by this command is replaced in either form.
    for name in ("scores.txt", "scores.json", "scores.json"):
        assert main([str(head), str(clips / "short.mp4"), "--every", "1", "--out", str(tmp_path / name)]) == 0


@pytest.mark.parametrize("name", ["scores.csv", "scores.png"])
def test_no_table_and_no_picture_of_somebody_else_is_replaced(head, clips, tmp_path, capsys, name):
    (tmp_path / name).write_bytes(b"years of work")
    arguments = [str(head), str(clips / "short.mp4"), "--every", "1s", "--out", str(tmp_path / "scores.csv")]
    assert main(arguments) == 1
    assert f"{name}, of which nothing says that predict wrote it" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert main([*arguments[:-1], str(tmp_path / "new.png")]) == 1
    assert "new.png, which is --out, too" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["", "s", "0s", "-1s", "50ms", "1h", "nan", "1e9", "1;2"])
def test_a_time_that_is_none_is_refused(head, clips, capsys, text):
    with pytest.raises(SystemExit) as ended:
        main([str(head), str(clips / "short.mp4"), f"--every={text}"])
    assert ended.value.code == 2
    assert "expected a time such as 1s, 0.5s or 500ms, a tenth of a second or more" in capsys.readouterr().err


def test_a_feature_table_has_no_windows(head, tmp_path, capsys):
    table = written(labelled(3), tmp_path / "f.parquet")
    assert main([str(head), str(table), "--every", "1s"]) == 1
    assert "a feature table, whose rows are of whole clips, expected clips" in capsys.readouterr().err


def test_a_head_of_konvid_v1_says_why_it_scores_no_windows(clips, tmp_path, capsys):
    trained(tmp_path, "saliency_p90", "si_mean")
    assert main([NAME, str(clips / "short.mp4"), "--root", str(tmp_path), "--every", "1s"]) == 1
    told = capsys.readouterr().err
    assert f"--every: {NAME} scores whole clips only: it reads saliency_p90, of the" in told
    assert "train one with feature_schema nr-v1, or leave --every out" in told


def test_a_clips_name_is_drawn_as_it_is_and_only_the_first_clips_are(recwarn):
    def clip(name: str) -> ScoresByWindow:
        whole = WindowScore(0, 2, 3.0, 2.5, 3.5)
        gap = WindowScore(1, 2, reason="no frame begins between 1 s and 2 s")
        return ScoresByWindow(name, name, whole, (WindowScore(0, 1, 3.0, 2.5, 3.5), gap))

    few, many = ([clip(f"$\\frac{{{i}$ 影片.mp4") for i in range(count)] for count in (2, 13))
    assert math.isclose(few[0].mean_of_windows, 3.0)
    assert len(picture_png("mos", few, (1, 5))) < len(picture_png("mos", many, (1, 5))) < 200_000
    assert picture_png("mos", [], (1, 5)).startswith(b"\x89PNG")
    assert not [one for one in recwarn if "Glyph" in str(one.message)]


def test_a_head_without_an_interval_draws_and_writes_no_ends(head, clips, tmp_path):
    for suffix in (".onnx", ".json"):
        shutil.copy(head.with_suffix(suffix), tmp_path)
    sidecar = (tmp_path / head.name).with_suffix(".json")
    manifest = json.loads(sidecar.read_text())
    sidecar.write_text(json.dumps({name: value for name, value in manifest.items() if name != "interval"}))
    out = tmp_path / "o.csv"
    assert main([str(tmp_path / head.name), str(clips / "short.mp4"), "--every", "1", "--out", str(out)]) == 0
    assert [(row["mos_low"], row["mos_high"]) for row in rows_of(out.read_text())] == [("", "")]
