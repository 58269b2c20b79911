"""The page on features says what is so: names, numbers, settings, checks."""

import re
from pathlib import Path
from typing import Any

import pytest

from vqa_assets.clips.caps import SHARE
from vqa_assets.definitions import defs
from vqa_assets.feature_names import CANONICAL_6, NO_REFERENCE, NO_REFERENCE_CLIP, NSS, SHOT_FEATURES, TRANSFERS
from vqa_assets.features.decoding import SMALLEST_SIDE as SMALLEST_MEASURED
from vqa_assets.features.decoding import Picture
from vqa_assets.features.extractor import FEATURE_SETS, MAX_FRAMES
from vqa_assets.features.family import FeatureExtractor
from vqa_assets.features.libvmaf import FRAMES_HELD, RECOMPRESSION, Comparison
from vqa_assets.features.libvmaf import SMALLEST_SIDE as SMALLEST_COMPARED
from vqa_assets.features.no_reference import SAMPLES_AT_LEAST, SAMPLES_PER_S
from vqa_assets.features.settings import ExtractionSettings
from vqa_assets.resources.extractor import ClipExtractorResource
from vqa_assets.tables.specs import CLIP_FEATURES
from vqa_assets_tests.shared.clips import tiny_clip

PAGE = (Path(__file__).parents[2] / "docs/features-and-heads.md").read_text(encoding="utf-8")
FEATURES = PAGE.split("## Features\n")[1].split("\n## ")[0]


def section(title: str) -> str:
    return FEATURES.split(f"### {title}\n")[1].split("\n### ")[0]


def named(text: str) -> set[str]:
    return set(re.findall(r"`([^`]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL)))


def test_every_feature_is_named_in_its_table() -> None:
    known = named(section("What is measured"))
    families = {*CANONICAL_6[:2], CANONICAL_6[4], CANONICAL_6[5], "saliency", "saliency_var", *SHOT_FEATURES}
    assert families | ({*NO_REFERENCE} - {*NSS}) | {*NO_REFERENCE_CLIP, NSS[0], NSS[-1]} <= known
    assert {*FEATURE_SETS} <= known


def test_every_described_column_exists() -> None:
    described = section("What is measured").split("The table also has")[1]
    columns = {column.name for column in CLIP_FEATURES.columns}
    assert named(described) <= columns
    stated = {c for c in columns if c.startswith(("clip_", "feature_")) and c != "clip_phash"}
    assert stated <= named(described)


def test_the_sampling_rule_is_the_codes() -> None:
    rule = section("Which frames")
    assert f"first {MAX_FRAMES} frames" in rule
    assert SAMPLES_PER_S == 2
    assert "two a\n  second" in rule
    assert f"so that there are {SAMPLES_AT_LEAST} if" in rule


def test_the_sizes_and_the_memory_are_the_codes() -> None:
    failures, settings = section("Failures"), section("Settings")
    assert f"under {SMALLEST_COMPARED} pixels" in failures
    assert f"under {SMALLEST_MEASURED} pixels" in failures
    assert f"about {FRAMES_HELD} frames" in settings
    assert f"{SHARE:.0%}".replace("%", " %") in settings
    sizes = (Picture(640, 360, 8), Picture(1920, 1080, 8), Picture(3840, 2160, 10))
    held = [Comparison("x", size, 1).memory_bytes / 1e6 for size in sizes]
    assert held == pytest.approx([80, 390, 2400], rel=0.2)
    assert "80 MB at 640 × 360, 390 MB at 1080p, 2.4 GB at 2160p" in settings


def test_the_re_encode_is_the_codes() -> None:
    assert "`veryfast`, CRF 35" in section("References")
    assert RECOMPRESSION[2:6] == ("-preset", "veryfast", "-crf", "35")


def test_the_settings_exist_with_their_defaults() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (.+?) \| (.+?) \|$", section("Settings"), re.MULTILINE)
    run = {name for name, where, _ in rows if "run config" in where}
    assert run == set(ExtractionSettings.model_fields)
    assert {name for name, where, _ in rows if "resource" in where} == set(ClipExtractorResource.model_fields)
    assert named({name: default for name, _, default in rows}["feature_sets"].split(";")[0]) == {*FEATURE_SETS}


def test_the_family_of_your_own_is_measured_with_the_shipped_ones(tmp_path: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", section("A family of your own"), re.DOTALL)
    example: dict[str, Any] = {"__name__": "example"}
    exec(code, example)
    extractor: FeatureExtractor = example["defs"].resources["extractor"]
    tiny_clip(tmp_path / "a.mp4", 1)
    measured = extractor.measure(tmp_path / "a.mp4")
    assert list(measured) == ["konvid-v1", "nr-v1", "clip", "brightest-luma"]
    brightest = measured["brightest-luma"]
    assert isinstance(brightest, dict)
    assert 16 < brightest["brightest"] <= 255  # type: ignore[operator]


def test_the_transfers_and_checks_exist() -> None:
    assert {*TRANSFERS} <= named(section("HDR"))
    checks = {key.name for key in defs.resolve_asset_graph().asset_check_keys}
    mentioned = {word for word in named(FEATURES) if word.startswith("clip_features_")}
    assert mentioned == {"clip_features_audit", "clip_features_coverage"}
    assert mentioned <= checks
