"""What a person sees of a feature table: ranges, correlations, silent columns, a contact sheet; in Dagster too."""

import base64
import hashlib
import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from vqa_assets.clips.caps import ClipCaps
from vqa_assets.features.measuring import ClipToMeasure
from vqa_assets.features.view import MOST_BYTES, TableView, contact_sheet, table_view
from vqa_assets.resources.extractor import ClipExtractorResource
from vqa_assets_tests.shared.clips import tiny_clip
from vqa_assets_tests.shared.fakes import KONVID
from vqa_assets_tests.shared.platform import Platform, metadata, shown_rows
from vqa_assets_tests.shared.tables import write_rows

ROWS = [
    {"key": f"{i}.mp4", "si": float(i), "si_mean": float(i), "adm2": 0.5, "ti": -float(i), "ti_mean": math.nan}
    for i in range(6)
]
MOS = {f"{i}.mp4": 1.0 + i / 2 for i in range(5)}


def view(folder: Path, rows: list[dict[str, Any]]) -> TableView:
    columns = list(dict.fromkeys(name for row in rows for name in row))
    write_rows(folder / "features.parquet", rows, columns)
    return table_view(folder / "features.parquet", MOS)


def test_features_are_listed_by_their_correlation_with_mos(tmp_path: Path) -> None:
    ranges = view(tmp_path, ROWS).ranges
    assert [(row["feature"], row["srocc_with_mos"]) for row in ranges] == [("si", 1.0), ("ti", -1.0), ("adm2", None)]
    assert ranges[0] == {"feature": "si", "clips": 6, "min": 0.0, "median": 2.5, "max": 5.0, "srocc_with_mos": 1.0}


def test_columns_that_say_nothing_are_named(tmp_path: Path) -> None:
    shown = view(tmp_path, [*ROWS, {"key": "x", "si_mean": None, "adm2": 0.5}])
    assert shown.missing == ["ti_mean"]
    assert shown.constant == ["adm2"]
    assert shown.patchy == {"si_mean": 1}


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[ClipToMeasure]:
    folder = tmp_path_factory.mktemp("sheet")
    found = [ClipToMeasure(f"{i}.mp4", folder / f"{i}.mp4", str(i)) for i in range(5)]
    for number, clip in enumerate(found):
        tiny_clip(clip.path, number)
    return found


def test_a_contact_sheet_is_small_and_shows_the_worst_above_the_best(clips: list[ClipToMeasure]) -> None:
    content = contact_sheet(ROWS[:5], MOS, clips, ClipCaps())
    assert len(content) <= MOST_BYTES
    sheet = Image.open(io.BytesIO(content))
    assert (sheet.format, sheet.size) == ("JPEG", (2 * 168, 2 * 142))
    upside_down = Image.open(io.BytesIO(contact_sheet(ROWS[:5], {k: -v for k, v in MOS.items()}, clips, ClipCaps())))
    worst, best = np.asarray(sheet)[:110].astype(float), np.asarray(sheet)[142:252].astype(float)
    assert np.abs(np.asarray(upside_down)[:110] - best).mean() < 8
    assert np.abs(worst - best).mean() > 20


def test_a_clip_that_does_not_decode_leaves_its_place_empty(clips: list[ClipToMeasure], tmp_path: Path) -> None:
    (tmp_path / "0.mp4").write_bytes(b"no clip")
    broken = [ClipToMeasure("0.mp4", tmp_path / "0.mp4", "0"), clips[1]]
    sheet = np.asarray(Image.open(io.BytesIO(contact_sheet(ROWS[:2], MOS, broken, ClipCaps()))))
    assert sheet[:110].min() > 240
    assert sheet[142:252].min() < 100


def test_a_clip_over_a_cap_is_not_decoded_for_its_picture(clips: list[ClipToMeasure]) -> None:
    shown, left_out = (contact_sheet(ROWS[:5], MOS, clips, caps) for caps in (ClipCaps(), ClipCaps(max_pixels=1)))
    assert len(left_out) < len(shown)


def test_without_scores_there_is_no_contact_sheet(clips: list[ClipToMeasure]) -> None:
    assert contact_sheet(ROWS[:5], {"0.mp4": 3.0}, clips, ClipCaps()) == b""


def test_the_asset_shows_coverage_ranges_transfers_and_clips(root_path, platform: Path) -> None:
    folder = root_path / "konvid-150k"
    (folder / "clips").mkdir(parents=True)
    rows = []
    for number in range(4):
        content = tiny_clip(folder / "clips" / f"{number}.mp4", number)
        row = {"src": f"{number}.mp4", "src_sha256": hashlib.sha256(content).hexdigest(), "mos": 1.5 + number}
        row |= {"width": 64, "height": 48, "framerate": 25.0, "duration_s": 0.2, "src_size_bytes": len(content)}
        rows.append({**row, "pix_fmt": "yuv420p", "encoder_upstream": "h264", "corpus": KONVID.name})
    (folder / "konvid_150k.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "clips" / "3.mp4").write_bytes(b"broken since")
    told = run(platform, ClipExtractorResource(feature_sets=["nr-v1"], perceptual_hash=True))
    assert (told["coverage"], told["no_reference"], told["malformed_hdr"], told["damaged_clips"]) == (0.75, 0, 0, 0)
    assert told["clips_per_s"] > 0
    assert told["copy_groups"] == 0
    ranges = {row["feature"]: row for row in shown_rows(told["feature_ranges"])}
    assert ranges["si"]["clips"] == "3"
    assert "adm2" not in ranges
    picture = base64.b64decode(told["worst_and_best"].partition("base64,")[2].rstrip(")"))
    assert Image.open(io.BytesIO(picture)).format == "JPEG"
    again = run(platform, ClipExtractorResource(feature_sets=["nr-v1"], perceptual_hash=True))
    assert "clips_per_s" not in again


def run(platform: Platform, extractor: ClipExtractorResource) -> dict[str, Any]:
    platform.resources["extractor"] = extractor
    return metadata(platform.run("clip_features", partition=KONVID.name), "clip_features")
