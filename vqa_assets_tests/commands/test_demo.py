"""The main job, from procedural clips to a judged head: by an installed wheel, then again in the checkout.

So the wheel is seen to hold all that it needs, and both to make the same bytes.
"""

import hashlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import onnxruntime
import polars as pl
import pytest

from vqa_assets.assets.metadata import LONGEST_NAME
from vqa_assets.definitions import defs
from vqa_assets_tests.shared.installed import Installed
from vqa_assets_tests.shared.page_commands import commands_of, type_here

REPOSITORY = Path(__file__).parents[2]
CLIPS = 24
METADATA_LIMIT = 200_000


@dataclass(frozen=True)
class Demo:
    root: Path
    first: str
    second: str
    before: dict[str, str]
    after: dict[str, str]


def run(command: Sequence[str | Path], folder: Path, port: int, variables: Mapping[str, str], place: Path) -> str:
    options = ("--root", str(folder / "data"), "--clips", str(CLIPS), "--port", str(port))
    done = subprocess.run(
        [*command, *options],
        env={**variables, "DAGSTER_HOME": str(folder / "home")},
        cwd=place,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def free_port() -> int:
    """A port that nobody has: the same one in both runs, or the annotation file's URLs change."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def hashes(root: Path) -> dict[str, str]:
    """Every artefact but the replay manifests and caches, which say what the last run did."""
    found = (p for p in sorted(root.rglob("*")) if p.suffix in (".jsonl", ".parquet", ".onnx", ".csv", ".mp4", ".webm"))
    return {str(p.relative_to(root)): hashlib.sha256(p.read_bytes()).hexdigest() for p in found}


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory, installed: Installed) -> Demo:
    folder = tmp_path_factory.mktemp("demo")
    (folder / "home").mkdir()
    root = folder / "data"
    port = free_port()
    by_wheel = [installed.program("vqa-assets"), "demo"]
    first, before = run(by_wheel, folder, port, installed.variables(), installed.work), hashes(root)
    in_checkout = [sys.executable, "-m", "vqa_assets.demo"]
    return Demo(root, first, run(in_checkout, folder, port, os.environ, REPOSITORY), before, hashes(root))


def test_it_tells_rows_losses_features_folds_and_the_verdict(demo: Demo) -> None:
    told = " ".join(demo.first.split())
    for part in (
        f"rows in {CLIPS + 4}",
        f"skipped_download demo_{CLIPS + 1:04d}.mp4: curl-rc=22: HTTP 404 Not Found",
        f"skipped_download demo_{CLIPS:04d}.mp4: no whole video came: truncated",
        f"skipped_bad_row demo_{CLIPS + 2:04d}.mp4: no usable MOS: 'n/a'",
        "dedups twin_of_demo_0000.mp4: the same bytes as demo_0000.mp4",
        f"rows out {CLIPS} = {CLIPS + 4} in − 4 lost",
        f"unified rows {CLIPS}",
        f"features {CLIPS} clips ({CLIPS} measured now, 0 known), 0 failed",
        f"unified with features {CLIPS}",
        "gate missed: the head is Proposed",
        "scores are made up",
        "make ui",
    ):
        assert part in told


def test_a_second_run_measures_nothing_and_changes_nothing(demo: Demo) -> None:
    assert f"({0} measured now, {CLIPS} known)" in demo.second
    assert demo.after == demo.before
    assert {"models/konvid_mos_head_v1.onnx", "aggregated/unified_features.parquet"} <= demo.before.keys()


def test_its_rows_and_manifest_claim_no_release_of_konvid_150k(demo: Demo) -> None:
    rows = (demo.root / "konvid-150k/konvid_150k.jsonl").read_text().splitlines()
    assert {json.loads(row)["corpus_version"] for row in rows} == {"demo"}
    assert json.loads((demo.root / "konvid-150k/konvid_150k.manifest.json").read_text())["corpus_version"] == "demo"


def test_the_head_scores_the_demo_in_onnxruntime_as_its_rows_say(demo: Demo) -> None:
    manifest = json.loads((demo.root / "models/konvid_mos_head_v1.json").read_text())
    table = pl.read_parquet(demo.root / "konvid-150k/features_with_mos.parquet")
    features = table.select(manifest["feature_order"]).to_numpy().astype(np.float32)
    session = onnxruntime.InferenceSession(
        str(demo.root / "models/konvid_mos_head_v1.onnx"), providers=["CPUExecutionProvider"]
    )
    (mos,) = session.run(["mos"], {"features": features, "encoder_onehot": np.ones((len(features), 1), np.float32)})
    assert mos.shape == (CLIPS,)
    assert ((mos >= 1) & (mos <= 5)).all()
    assert np.corrcoef(mos, table["mos"].to_numpy())[0, 1] > 0.5


@pytest.mark.takes_long("a command in an installed wheel")
def test_the_wheel_predicts_with_the_demos_head(demo: Demo, installed: Installed) -> None:
    clip = next((demo.root / "konvid-150k" / "clips").glob("demo_*.mp4"))
    head = demo.root / "models/konvid_mos_head_v1.onnx"
    done = installed.run(["vqa-assets", "predict", str(head), str(clip), "--json"])
    assert done.returncode == 0, done.stderr
    assert clip.name in done.stdout


def test_the_readmes_example_runs_on_the_demos_head(demo: Demo) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", (REPOSITORY / "README.md").read_text(), re.DOTALL)
    names: dict[str, Any] = {}
    exec(example.replace("demo-data", str(demo.root)), names)
    (mos,) = names["mos"]
    opinions = pl.read_parquet(demo.root / "konvid-150k" / "features_with_mos.parquet")["mos"]
    assert abs(mos - opinions.mean()) < opinions.std()  # an average clip has no extreme score


def test_every_artefact_has_its_replay_manifest_and_card(demo: Demo) -> None:
    for name in (
        "konvid-150k/konvid_150k.manifest.json",
        "konvid-150k/features.manifest.json",
        "konvid-150k/features_with_mos.audit.json",
        "aggregated/unified_corpus.manifest.json",
        "aggregated/unified_features.manifest.json",
        "models/konvid_mos_head_v1.json",
        "models/konvid_150k_mos_head.json",
    ):
        manifest = json.loads((demo.root / name).read_text())
        provenance = manifest["run_provenance"]
        assert provenance["schema"] == "ai-run-provenance-v1"
        assert all(output["exists"] for output in provenance["outputs"].values())
        assert str(demo.root) not in (demo.root / name).read_text()
    card = (demo.root / "models/konvid_mos_head_v1_card.md").read_text()
    assert "Proposed" in card
    assert "research use, citation required" in card


def test_the_tutorial_on_a_lost_clip_brings_its_row_back(
    demo: Demo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (REPOSITORY / "docs/lost-clip.md").read_text(encoding="utf-8")
    lost = f"demo_{CLIPS:04d}.mp4"  # of 120 clips it is the page's
    shutil.copytree(demo.root, tmp_path / "demo-data")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    monkeypatch.setattr("vqa_assets.workflow.log_to_stderr", lambda: None)
    commands = commands_of(page.replace("demo_0120.mp4", lost))
    assert commands.pop().startswith(".venv/bin/vqa-assets run ")  # training, which was seen above
    status, losses, _, _, row, after = map(type_here, commands)
    assert "2 skipped_download" in status
    assert f'"src":"{lost}"' in losses
    assert json.loads(row)["src"] == lost
    assert "1 skipped_download" in after
    next_step = "vqa-assets materialize clip_features mos_features --partition konvid-150k, or vqa-assets run"
    assert next_step in after.splitlines()[0]
    assert next_step in page
    assert commands[0] == commands[-1]


@pytest.fixture(scope="module")
def told(demo: Demo) -> dict[str, dict[str, dg.MetadataValue]]:  # type: ignore[type-arg]
    """Asset → the metadata of its last materialization, as the web UI reads it."""
    with dg.DagsterInstance.from_config(str(demo.root.parent / "home")) as instance:
        found = {
            key.to_user_string(): instance.get_latest_materialization_event(key)
            for key in defs.resolve_asset_graph().get_all_asset_keys()
        }
    return {
        name: dict(event.asset_materialization.metadata)
        for name, event in found.items()
        if event is not None and event.asset_materialization is not None
    }


def test_the_web_ui_tells_rows_columns_headline_numbers_pictures_and_sidecars_of_every_asset(
    demo: Demo, told: dict[str, dict[str, Any]]
) -> None:
    tables = {"corpus_jsonl", "unified_corpus", "clip_features", "mos_features", "unified_features"}
    heads = {"konvid_mos_head_v1", "mos_head"}
    assert tables | heads | {"corpus_annotations"} <= told.keys()
    for asset, metadata in told.items():
        values = {name: entry.value for name, entry in metadata.items()}
        assert len(dg.serialize_value(metadata)) < METADATA_LIMIT, asset
        if asset == "overview":  # a page, which writes no file
            assert "`vqa-assets status` reads afresh" in str(values)
            continue
        numbers = [name for name, value in values.items() if isinstance(value, (int, float))]
        assert len(numbers) >= (1 if asset == "clip_features" else 2), f"{asset}: nothing to plot but {numbers}"
        assert (demo.root / str(values["path"])).is_file(), asset
        names = [name for name in metadata if not name.startswith("dagster/")]
        assert max(map(len, names)) <= LONGEST_NAME, f"{asset}: {max(names, key=len)} leaves its values less room"
        if asset != "corpus_annotations":
            assert (demo.root / str(values["manifest_path"])).is_file(), asset
            assert values["manifest"]["run_provenance"]["dagster"]["asset_key"] == asset
        if asset in tables:
            columns = values["dagster/column_schema"].columns
            assert values["dagster/row_count"] == CLIPS, asset
            assert all(column.description for column in columns), asset
            assert any(column.constraints.other or not column.constraints.nullable for column in columns), asset
        if asset not in ("clip_features", "mos_features"):
            assert any("data:image/png;base64," in str(value) for value in values.values()), f"{asset}: no picture"


def test_a_person_finds_why_a_clip_was_lost_and_whether_a_head_may_be_passed_on(
    told: dict[str, dict[str, Any]],
) -> None:
    corpus = {name: entry.value for name, entry in told["corpus_jsonl"].items()}
    assert 0 < corpus["attrition"] < 0.1
    assert "HTTP 404" in str(corpus["losses"])
    head = {name: entry.value for name, entry in told["konvid_mos_head_v1"].items()}
    assert "research" in head["redistribution"]
    assert "konvid-150k" in str(head["trained_on"])
    assert head["status"] == "Proposed"
