import json
import math
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from vqa_assets.corpora import CORPORA
from vqa_assets.errors import SettingsError, TrainingError
from vqa_assets.feature_names import CANONICAL_6, DISPLAY_COLUMNS, KONVID_V1, FeatureSchema
from vqa_assets.heads.recipe import (
    CHUG_HDR_DISPLAY_V1,
    CHUG_HDR_MOS_HEAD_V1,
    CHUG_HDR_WIDE_V1,
    CHUG_METADATA,
    KONVID_MOS_HEAD_V1,
    corpus_head_recipe,
)
from vqa_assets.heads.rows.columns import feature_columns, word_sources
from vqa_assets.heads.rows.display import read_profile
from vqa_assets.heads.settings import TrainingSettings, schema_of

FULL = {
    "peak_luminance_nits": 1000,
    "black_luminance_nits": 0.0005,
    "ambient_lux": 5,
    "bt2020_coverage": "72%",
    "p3_coverage": 0.98,
    "panel_type": "QD-OLED",
    "local_dimming": False,
    "tone_mapping": "dynamic",
}
OLED = dict(zip(DISPLAY_COLUMNS, (0.1, 0.0005, math.log10(2e6) / 7, 0.005, 0.72, 0.98, 1, 0, 0, 0, 1), strict=True))


def profile(tmp_path: Path, told: Any) -> Any:
    path = tmp_path / "display.json"
    path.write_text(told if isinstance(told, str) else json.dumps(told))
    return read_profile(path)


def read(frame: pl.DataFrame, columns: tuple[str, ...], display: Any = None) -> dict[str, list[Any]]:
    """The frame's features by name, as training and prediction read them."""
    schema = FeatureSchema("some", columns, frozenset())
    found = frame.select(**feature_columns(frame.lazy(), schema, display)).to_dict(as_series=False)
    return {name.removeprefix("feature:"): values for name, values in found.items()}


def test_the_chug_schemas_have_the_columns_of_the_contract_in_order():
    assert len(CHUG_HDR_WIDE_V1.columns) == 34
    assert CHUG_HDR_WIDE_V1.columns[:9] == (*CANONICAL_6, "adm2_p10", "adm2_p90", "adm2_std")
    assert CHUG_HDR_WIDE_V1.columns[24:] == CHUG_METADATA
    assert CHUG_METADATA[:3] == ("chug_bitrate_mbps", "chug_orientation_portrait", "chug_ref")
    assert CHUG_METADATA[-1] == "feature_bitdepth_norm"
    assert len(CHUG_HDR_DISPLAY_V1.columns) == 45
    assert CHUG_HDR_DISPLAY_V1.columns[34:] == DISPLAY_COLUMNS


def test_ladder_metadata_is_normalised_from_the_tables_columns():
    frame = pl.DataFrame(
        {
            "chug_bitrate_label": ["0.2M", "500K", "2Mbps", None, ""],
            "chug_orientation": ["Portrait", "landscape", " portrait", None, ""],
            "chug_ref": [0, 0, 0, 1, 1],
            "width": [1920] * 5,
            "height": [1080] * 5,
            "feature_width": [3840.0] * 4 + [math.nan],
            "feature_height": [2160] * 5,
            "duration_s": [6.0] * 5,
            "n_feature_frames": [180] * 5,
            "feature_bitdepth": [10] * 5,
            "src_size_bytes": [7_500_000] * 5,
        }
    )
    found = read(frame, CHUG_METADATA)
    assert found["chug_bitrate_mbps"] == pytest.approx([0.2, 0.5, 2.0, 10.0, 10.0])
    assert found["chug_orientation_portrait"] == [1, 0, 1, None, None]
    assert [found[name][0] for name in CHUG_METADATA[3:]] == pytest.approx([0.5, 0.5, 1, 1, 0.1, 0.1, 0.5])
    assert found["reference_width_norm"][4] is None


def test_the_words_of_a_ladder_are_the_columns_that_its_corpus_declares():
    declared = {column.role: column.field for column in CORPORA["chug"].extra_columns}
    assert word_sources(CHUG_HDR_WIDE_V1) == (declared["bitrate"], declared["orientation"])


def test_a_column_of_the_heads_own_name_wins_over_what_it_is_made_from():
    frame = pl.DataFrame({"duration_s_norm": [0.7, None], "duration_s": [6.0, 6.0]})
    assert read(frame, ("duration_s_norm",))["duration_s_norm"] == pytest.approx([0.7, 0.1])


@pytest.mark.parametrize(
    "told",
    [
        FULL,
        {f"display_{name}": value for name, value in FULL.items()},
        {"display": {k: v for k, v in FULL.items() if k != "panel_type"}, "panel": {"panel_type": "OLED"}},
        {"profile": {"panel": FULL}},
        {**FULL, "peak_luminance_nits": None, "peak_nits": "1000", "bt2020_coverage": 72, "tone_mapping": True},
        {**FULL, "contrast_ratio": "2000000:1", "panel_type": "woled", "local_dimming": "none"},
    ],
    ids=["plain", "prefixed", "nested", "nested twice", "other spellings", "other words"],
)
def test_every_spelling_of_a_profile_says_the_same(tmp_path, told):
    found = profile(tmp_path, told)
    assert found.values == pytest.approx(OLED)
    assert (found.lacking, found.ignored) == ((), ())


def test_what_a_profile_lacks_is_0_and_listed_and_so_are_keys_that_mean_nothing(tmp_path):
    found = profile(tmp_path, {"black_nits": 0, "peak_nits": 800, "maker": "X", "panel": {"type": "?"}})
    assert found.values["display_contrast_ratio_log_norm"] == 1
    assert found.lacking == DISPLAY_COLUMNS[3:]
    assert {found.values[name] for name in found.lacking} == {0.0}
    assert found.ignored == ("maker", "type")


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({"maker": "X", "panel": {}}, "no known field among maker, expected some of peak_luminance_nits"),
        ({}, "no known field among no fields"),
        ([1], "list, expected a JSON object"),
        ("{", "no JSON"),
        ({"peak_nits": math.nan}, "peak_luminance_nits: nan, expected a finite number"),
        ({"peak_nits": "bright"}, "peak_luminance_nits: 'bright', expected a finite number"),
        ({"peak_nits": -1}, "expected a finite number of 0 or more"),
        ({"peak_nits": True}, "expected a finite number"),
        ({"peak_nits": 100, "display": {"peak_luminance_nits": 200}}, r"\[100, 200\], expected one value"),
        ({"p3_coverage": 1.2}, "p3_coverage: 1.2, expected a fraction of at most 1 or a percentage of 2 to 100"),
        ({"p3_coverage": 180}, "at most 100"),
        ({"panel_type": "plasma"}, "'plasma', expected an OLED, QLED or LCD panel"),
        ({"tone_mapping": "artistic"}, "'artistic', expected one of dynamic"),
        ({"local_dimming": 3}, "expected one of true"),
    ],
    ids=str,
)
def test_a_profile_that_cannot_be_read_says_why(tmp_path, told, message):
    with pytest.raises(SettingsError, match=message) as failure:
        profile(tmp_path, told)
    assert str(failure.value).startswith("display_profile_json: display.json")


def test_a_profile_that_is_not_there_is_named(tmp_path):
    with pytest.raises(SettingsError, match=r"gone\.json: it cannot be read"):
        read_profile(tmp_path / "gone.json")


@pytest.mark.parametrize(
    ("panel", "column"),
    [("OLED", 0), ("QLED", 1), ("quantum dot", 1), ("IPS LCD", 2), ("VA", 2), ("mini-LED", 2), ("QD-OLED", 0)],
)
def test_a_panel_is_one_of_three(tmp_path, panel, column):
    values = profile(tmp_path, {"panel_type": panel}).values
    assert [values[name] for name in DISPLAY_COLUMNS[6:9]] == [float(i == column) for i in range(3)]


def test_a_rows_own_display_wins_over_the_profile(tmp_path):
    frame = pl.DataFrame(
        {
            "display_peak_nits": [400.0, None],
            "display_black_nits": [0.4, None],
            "display_panel_type": ["LCD", None],
            "display_p3_coverage": [80.0, None],
            "display_local_dimming": [True, None],
            "display_ambient_lux_norm": [0.5, math.nan],
        }
    )
    found = read(frame, DISPLAY_COLUMNS, profile(tmp_path, FULL))
    first, second = ([found[name][row] for name in DISPLAY_COLUMNS] for row in (0, 1))
    assert first == pytest.approx([0.04, 0.4, 3 / 7, 0.5, 0.72, 0.8, 0, 0, 1, 1, 1])
    assert second == pytest.approx(list(OLED.values()))


@pytest.mark.parametrize(
    ("contrast", "expected"),
    [
        ({}, [math.log10(500 / 0.1) / 7, math.log10(1000 / 0.1) / 7, math.log10(1000 / 0.1) / 7]),
        ({"contrast_ratio": 100}, [2 / 7, 2 / 7, 2 / 7]),
    ],
    ids=["of the two luminances", "a profile's own"],
)
def test_a_rows_own_peak_counts_in_its_contrast(tmp_path, contrast, expected):
    display = profile(tmp_path, {"peak_nits": 1000, "black_nits": 0.1, **contrast})
    frame = pl.DataFrame({"display_peak_nits": [500.0, 1000.0, None]})
    found = read(frame, DISPLAY_COLUMNS, display)
    assert found["display_peak_luminance_nits_norm"] == pytest.approx([0.05, 0.1, 0.1])
    assert found["display_contrast_ratio_log_norm"] == pytest.approx(expected)


def test_without_a_profile_what_no_row_says_is_missing():
    found = read(pl.DataFrame({"display_ambient_lux": [5, 10]}), DISPLAY_COLUMNS)
    assert found["display_ambient_lux_norm"] == pytest.approx([0.005, 0.01])
    assert found["display_panel_oled"] == [None, None]


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("display_p3_coverage", [0.9, 95.0], "column display_p3_coverage: fractions and percentages"),
        ("display_bt2020_coverage", [0.9, 130.0], "expected a fraction of at most 1 or a percentage of at most 100"),
        ("display_panel_type", ["OLED", "plasma"], "column display_panel_type: 'plasma', expected an OLED"),
        ("display_peak_nits", [100.0, -5.0], "column display_peak_nits: -5.0, expected a finite number of 0 or more"),
    ],
)
def test_display_columns_that_cannot_be_read_are_named(column, values, message):
    with pytest.raises(TrainingError, match=message):
        read(pl.DataFrame({column: values}), DISPLAY_COLUMNS)


def test_an_explicit_schema_wins_over_the_one_a_profile_implies():
    named = TrainingSettings(display_profile_json="d.json")
    assert schema_of(CHUG_HDR_MOS_HEAD_V1, TrainingSettings()) is CHUG_HDR_WIDE_V1
    assert schema_of(CHUG_HDR_MOS_HEAD_V1, named) is CHUG_HDR_DISPLAY_V1
    ablation = TrainingSettings(display_profile_json="d.json", feature_schema="konvid-v1")
    assert schema_of(CHUG_HDR_MOS_HEAD_V1, ablation) is KONVID_V1
    assert schema_of(corpus_head_recipe("chug"), named) is CHUG_HDR_DISPLAY_V1
    assert schema_of(corpus_head_recipe("lsvq"), TrainingSettings()) is KONVID_V1


def test_a_profile_for_a_head_that_reads_no_display_is_refused():
    with pytest.raises(SettingsError, match="konvid_mos_head_v1, which reads no display"):
        schema_of(KONVID_MOS_HEAD_V1, TrainingSettings(display_profile_json="d.json"))
