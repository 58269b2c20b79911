"""The script of docs/python.md, in a Python of its own: clips to a judged head without Dagster, whose run agrees."""

import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from vqa_assets import api
from vqa_assets.features.ffmpeg import ffmpeg_binary
from vqa_assets.ingest.rows import without_stamp
from vqa_assets_tests.shared.platform import Platform

REPOSITORY = Path(__file__).parents[2]
PAGE = (REPOSITORY / "docs" / "python.md").read_text(encoding="utf-8")
((SCRIPT),) = re.findall(r"^```python script\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
NAME, CLIPS = "my-clips", 10
HEAD = "models/experiments/my_clips_mos_head.quick"
SOURCES = ("testsrc2", "mandelbrot", "cellauto=rule=110", "life=mold=10:death_color=#c83232:life_color=#00ff00")
DECLARATION = """
name = "my-clips"
title = "My clips"
version = "2026"
scales = ["1-5-acr"]
spread = "sd"
licence = "CC BY 4.0"
redistribution = "attribution"
citation = "A. Author. My clips. 2026."
homepage = "https://example.org/my-clips"
expected_clips = 10
size = "1 MB"
bytes_per_clip = 10_000
min_rows = 1

[acquisition]
file = "scores.csv"
where = "https://example.org/my-clips"
steps = "Drop scores.csv."
"""


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``data``: a declaration, a score file, and clips that differ in all that ``nr-v1`` measures."""
    work = tmp_path_factory.mktemp("python")
    folder = work / "data" / NAME
    (folder / "clips").mkdir(parents=True)
    (work / "data" / "corpora").mkdir()
    (work / "data" / "corpora" / f"{NAME}.toml").write_text(DECLARATION)
    rows = [f"{number}.mp4,{4.5 - 0.3 * number:.1f},0.5,10\n" for number in range(CLIPS)]
    (folder / "scores.csv").write_text("video_name,mos,sd,n\n" + "".join(rows))
    command, graph = [ffmpeg_binary(), "-y", "-loglevel", "error"], []
    for number in range(CLIPS):
        name = SOURCES[number % len(SOURCES)]
        source = f"{name}{':' if '=' in name else '='}size=160x96:rate=25,trim=end_frame={14 + number % 4}"
        graph.append(f"{source},noise=alls={3 * number}:allf=t,format=yuv420p[{number}]")
    command += ["-filter_complex", ";".join(graph)]
    for number in range(CLIPS):
        options = ["-preset", "ultrafast", "-crf", str(18 + 3 * number)]
        command += ["-map", f"[{number}]", *options, str(folder / "clips" / f"{number}.mp4")]
    subprocess.run(command, check=True)
    return work


@pytest.fixture(scope="module")
def said(work: Path) -> list[str]:
    """What the script printed, and which modules it had loaded that it must not."""
    watched = f"{SCRIPT}\nimport sys\nprint([name for name in sys.modules if name.startswith('dagster')])\n"
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(
        [sys.executable, "-c", watched], cwd=work, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_the_script_has_at_most_twenty_lines_and_makes_a_judged_head_without_dagster(said: list[str]) -> None:
    assert len(SCRIPT.splitlines()) <= 20
    assert said[0] == f"{CLIPS} clips, 0 rows without one"
    assert said[1].startswith("Proposed. ")
    assert re.fullmatch(r"SROCC 0\.\d+ on 10 rows", said[2])
    scores = dict(line.split()[:2] for line in said[3:-1])
    assert sorted(scores) == [f"{number}.mp4" for number in range(CLIPS)]
    assert all(1 <= float(score) <= 5 for score in scores.values())
    assert said[-1] == "[]"


def described(path: Path) -> dict[str, Any]:
    """What a manifest says, and where each setting of the run came from."""
    manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return {"says": sorted(manifest), "of the run": manifest["run_provenance"]["args"], "gate": manifest.get("gate")}


def test_a_run_of_dagster_makes_the_same_files_byte_by_byte_and_the_same_manifests(
    work: Path, said: list[str], root_path: Path, platform: Platform
) -> None:
    assert said
    by_calls = work / "data"
    for name in ("corpora", f"{NAME}/clips"):
        (root_path / name).parent.mkdir(exist_ok=True)
        (root_path / name).symlink_to(by_calls / name)
    (root_path / NAME / "scores.csv").write_bytes((by_calls / NAME / "scores.csv").read_bytes())
    assert platform.run("corpus_jsonl", partition=NAME).success
    assert platform.run("clip_features", partition=NAME).success
    assert platform.run("mos_features", partition=NAME).success
    stated = {"name": "quick", "feature_schema": "nr-v1", "epochs": 10, "protocol_splits": 0}
    assert platform.run("mos_head", partition=NAME, **stated).success
    assert platform.run("unified_corpus", "unified_features").success
    assert api.unify(root=by_calls).rows == api.unify_features(root=by_calls).rows == CLIPS
    unified = "aggregated/unified_features"
    tables = [f"{NAME}/features.parquet", f"{NAME}/features_with_mos.parquet", f"{unified}.parquet"]
    heads = [f"{HEAD}{end}" for end in (".onnx", ".predictions.parquet", "_card.png")]
    for name in (*tables, *heads):
        one, other = ((root / name).read_bytes() for root in (by_calls, root_path))
        assert hashlib.sha256(one).hexdigest() == hashlib.sha256(other).hexdigest(), name
    rows = [
        [without_stamp(json.loads(line)) for line in (root / NAME / "my_clips.jsonl").read_text().splitlines()]
        for root in (by_calls, root_path)
    ]
    assert len(rows[0]) == CLIPS
    assert rows[0] == rows[1]
    manifests = ("my_clips.manifest.json", "features.manifest.json", "features_with_mos.audit.json")
    of_all = ("aggregated/unified_corpus.manifest.json", f"{unified}.manifest.json", f"{HEAD}.json")
    for name in (*(f"{NAME}/{one}" for one in manifests), *of_all):
        assert described(by_calls / name) == described(root_path / name)
