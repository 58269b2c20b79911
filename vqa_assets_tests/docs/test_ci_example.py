"""The workflow file for a user's own repository: its steps, as they stand, in a repository that has only data."""

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from vqa_assets_tests.shared.clips import tiny_clips

REPOSITORY = Path(__file__).parents[2]
JOB = yaml.safe_load((REPOSITORY / "docs/examples/ci.yml").read_text())["jobs"]["corpora"]
STEPS = {step["name"]: step["run"] for step in JOB["steps"] if "run" in step and step["name"] != "install"}

PATTERNS = JOB["steps"][-1]["with"]["path"].split()
PAGE = (REPOSITORY / "docs/ci.md").read_text(encoding="utf-8")


@dataclass(frozen=True)
class Checkout:
    """A user's repository, checked out."""

    folder: Path

    @classmethod
    def made(cls, folder: Path) -> "Checkout":
        corpus = folder / "data" / "konvid-150k"
        names = list(tiny_clips(corpus / "clips", 6))
        (corpus / "ingest.toml").write_text("min_rows = 1\n")
        rows = "".join(f"{name},{2 + i / 4},0.5,9\n" for i, name in enumerate(names))
        (corpus / "manifest.csv").write_text("video_name,mos,sd,n\n" + rows)
        return cls(folder)

    def run(self, step: str, **changed: str) -> subprocess.CompletedProcess[str]:
        """One step, by the shell that a runner uses."""
        return self.shell(STEPS[step], **changed)

    def shell(self, command: str, **changed: str) -> subprocess.CompletedProcess[str]:
        """Any command, with what the workflow declares."""
        declared = {k: str(v).replace("${{ github.workspace }}", str(self.folder)) for k, v in JOB["env"].items()}
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        environment = {**os.environ, **declared, "PYTHONPATH": str(REPOSITORY), "PATH": path, **changed}
        return subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", command],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )


def test_every_step_succeeds_in_its_order_and_leaves_its_artefacts(tmp_path: Path) -> None:
    checkout = Checkout.made(tmp_path)
    results = {step: checkout.run(step) for step in STEPS}
    assert {step: done.stderr[-2000:] for step, done in results.items() if done.returncode} == {}
    data = tmp_path / "data"
    assert len((data / "konvid-150k/konvid_150k.jsonl").read_text().splitlines()) == 4
    manifest = json.loads((data / "konvid-150k/konvid_150k.manifest.json").read_text())
    assert manifest["run_provenance"]["args"]["max_rows"] == {"value": 4, "from": "run config"}
    assert (data / "konvid-150k/features_with_mos.parquet").is_file()
    assert (data / "aggregated/unified_corpus.parquet").is_file()
    assert (data / "models/konvid_mos_head_v1.smoke.onnx").is_file()
    assert not (data / "models/konvid_mos_head_v1.onnx").exists()
    assert "konvid-150k" in results["what is there"].stdout
    kept = {path for pattern in PATTERNS for path in tmp_path.glob(pattern.rstrip("/"))}
    assert [pattern for pattern in PATTERNS if not list(tmp_path.glob(pattern.rstrip("/")))] == []
    made = [path for suffix in ("jsonl", "parquet", "manifest.json") for path in data.glob(f"*/*.{suffix}")]
    assert [path.name for path in made if not {path, path.parent} & kept] == []


def test_a_score_file_that_is_spoilt_fails_its_step_and_leaves_the_rows(tmp_path: Path) -> None:
    checkout, corpus = Checkout.made(tmp_path), tmp_path / "data/konvid-150k"
    for step in ("a fresh instance", "the first rows of the corpus"):
        assert checkout.run(step).returncode == 0
    rows = (corpus / "konvid_150k.jsonl").read_bytes()
    (corpus / "manifest.csv").write_text("video_name,mos,sd,n\n0000.mp4,n/a,0.5,9\n")
    spoilt = checkout.run("the first rows of the corpus")
    assert spoilt.returncode == 1
    assert "unusable (line 2: no usable MOS: 'n/a')" in spoilt.stderr
    assert (corpus / "konvid_150k.jsonl").read_bytes() == rows
    (words,) = re.findall(r"^grep -m 1 -E '(.*)' log.txt$", PAGE, re.MULTILINE)
    told = next(line for line in spoilt.stderr.splitlines() if re.search(words, line))
    assert "Failure: konvid-150k:" in told
    assert "no usable MOS: 'n/a'" in told


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A checkout after its first step; a command line that is wrong changes nothing there."""
    checkout = Checkout.made(tmp_path_factory.mktemp("fresh"))
    assert checkout.run("a fresh instance").returncode == 0
    return checkout


@pytest.mark.parametrize(
    ("added", "code"), [("--partition konvid", 1), ("", 1), ("--select nothing", 1), ("--partitions konvid-150k", 2)]
)
def test_the_exit_codes_of_a_wrong_command_line_are_the_pages(fresh: Checkout, added: str, code: int) -> None:
    command = "dagster asset materialize -m vqa_assets.definitions --select corpus_annotations"
    assert fresh.shell(f"{command} {added}").returncode == code


def test_definitions_that_do_not_load_fail_their_step(tmp_path: Path) -> None:
    (tmp_path / ".dagster").mkdir()
    wrong = Checkout(tmp_path).run("the definitions load", VQA_REINGEST_CRON="every monday")
    assert wrong.returncode == 1
    assert "VQA_REINGEST_CRON='every monday'" in wrong.stdout + wrong.stderr
