"""What the page on labels says is so: its example runs, its tables match the code, its failures are ones there are."""

import json
import re
from pathlib import Path

import pytest

from vqa_assets.corpora.contents import KEY_COLUMNS
from vqa_assets.doc_tables import settings_table
from vqa_assets.labels.batch import read_manifest, shipped_manifests
from vqa_assets.labels.joining import SCORES
from vqa_assets.labels.keys import LIMIT_S
from vqa_assets.labels.scores import CARRIED_COLUMNS, MOS_CANDIDATES
from vqa_assets.labels.settings import BatchSettings, LabelSettings

REPOSITORY = Path(__file__).parents[2]
PAGE = (REPOSITORY / "docs/labels.md").read_text(encoding="utf-8")
CODE = "".join(path.read_text(encoding="utf-8") for path in (REPOSITORY / "vqa_assets").rglob("*.py"))


def blocks(language: str) -> list[str]:
    found = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    return [content for of, content in found if of == language]


def test_the_table_of_settings_is_the_codes() -> None:
    assert settings_table(LabelSettings) in PAGE
    shown = {*re.findall(r"`([a-z_]+)`", PAGE)}
    assert {"features", "labels", "out", "audit_json"} <= shown
    assert set(BatchSettings.model_fields) <= shown


def test_the_columns_it_names_are_those_that_are_read_and_written() -> None:
    told = PAGE.split("### Which columns")[1].split("###")[0]
    assert ", ".join(f"`{name}`" for name in KEY_COLUMNS) in told.replace("\n", " ")
    assert ", ".join(f"`{name}`" for name in MOS_CANDIDATES) in told
    out = PAGE.split("## What comes out")[1].split("##")[0]
    for name in (*SCORES, *CARRIED_COLUMNS, "mos_label_status"):
        assert f"`{name}`" in out, name


def test_its_python_example_labels_a_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import polars as pl

    monkeypatch.chdir(tmp_path)
    for folder in ("runs", "labels"):
        Path(folder).mkdir()
    pl.DataFrame({"key": [f"frames_{i:06}.bin" for i in range(20)]}).write_parquet("runs/mine.parquet")
    Path("labels/mos.csv").write_text("key,mos\n" + "".join(f"{i:06},{1 + i / 6:.2f}\n" for i in range(19)))
    found: dict[str, object] = {}
    (example,) = blocks("python")
    exec(compile(example, "docs/labels.md", "exec"), found)
    assert pl.read_parquet("runs/mine_with_mos.parquet")["mos_label_status"].to_list() == ["ok"] * 19 + [
        "missing-label"
    ]


def test_the_python_example_has_the_settings_of_the_command_it_is_the_same_as() -> None:
    (config,) = [json.loads(c) for c in re.findall(r"--config-json '(.*)'", PAGE) if "runs/mine" in c]
    given = config["ops"]["mos_features"]["config"]
    (example,) = blocks("python")
    told = [given["features"], *given["labels"], given["out"]]
    told += [f'{name}="{value}"' for name, value in given.items() if name.endswith("_regex")]
    assert [one for one in told if one not in example] == []
    assert "min_match_rate" not in example


def test_its_manifest_is_one_and_the_shipped_ones_are_named(tmp_path: Path) -> None:
    (manifest,) = blocks("json")
    (tmp_path / "batch.json").write_text(manifest)
    (table,) = read_manifest(tmp_path / "batch.json").tables
    assert table.settings.feature_key_regex == "([0-9]{6,})"
    assert [path.name for path in shipped_manifests() if f"`{path.name}`" not in PAGE] == []


def test_every_failure_it_explains_is_told_by_the_code() -> None:
    rows = re.findall(r"^\| `([^`]+)` \|", PAGE.split("## When it fails")[1], re.MULTILINE)
    assert len(rows) > 10
    code = CODE.replace("{role}", "an input").replace('manifest",\n            found="found', "manifest: found")
    assert [row for row in rows if row not in code] == []


def test_the_limit_of_a_pattern_is_the_codes() -> None:
    assert LIMIT_S == 5.0
    assert "stopped after five seconds" in PAGE
