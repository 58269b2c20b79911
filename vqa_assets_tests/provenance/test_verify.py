"""``python -m vqa_assets.provenance verify``: what still matches, what changed, and the command that makes it again."""

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from vqa_assets.errors import ProvenanceError
from vqa_assets.provenance import Manifest, RunContext, write_manifest
from vqa_assets.provenance.verify import Match, main, manifest_of, verify
from vqa_assets.tables.paths import DataRoot
from vqa_assets.tables.publication import publishing
from vqa_assets_tests.shared.clips import tiny_clips
from vqa_assets_tests.shared.kills import KILLED, killed_at

REPOSITORY = Path(__file__).parents[2]


def run(*words: str, home: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **({"DAGSTER_HOME": str(home)} if home else {})}
    return subprocess.run(
        [sys.executable, *words], env=environment, capture_output=True, text=True, timeout=120, check=False
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root whose corpus was ingested by the command line, with a run config."""
    folder = tmp_path_factory.mktemp("verify")
    corpus, home = folder / "data" / "konvid-150k", folder / "home"
    home.mkdir()
    shutil.copy(REPOSITORY / "dagster.yaml", home)
    names = tiny_clips(corpus / "clips", 4)
    (corpus / "manifest.csv").write_text(
        "video_name,mos\n" + "".join(f"{name},{i + 1}\n" for i, name in enumerate(names))
    )
    config = json.dumps({"ops": {"corpus_jsonl": {"config": {"min_rows": 1, "max_rows": 3}}}})
    select = ("--select", "corpus_jsonl", "--partition", "konvid-150k", "--config-json", config)
    os.environ["VQA_DATA_ROOT"] = str(folder / "data")
    done = run("-m", "dagster", "asset", "materialize", "-m", "vqa_assets.definitions", *select, home=home)
    del os.environ["VQA_DATA_ROOT"]
    assert done.returncode == 0, done.stderr
    return folder


def rows(path: Path) -> list[dict[str, object]]:
    lines = path.read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k != "ingested_at_utc"} for line in lines]


def manifest(made: Path) -> Path:
    return made / "data" / "konvid-150k" / "konvid_150k.manifest.json"


def test_untouched_files_match_and_the_exit_code_is_0(made: Path) -> None:
    done = run("-m", "vqa_assets.provenance", "verify", str(manifest(made)))
    assert done.returncode == 0, done.stdout
    assert "konvid-150k/manifest.csv" in done.stdout
    assert "everything is as it was" in done.stdout


def test_the_artefact_may_be_named_instead_of_its_manifest(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows_of_corpus = manifest(made).with_name("konvid_150k.jsonl")
    assert main(["verify", str(manifest(made))]) == 0
    told = capsys.readouterr().out
    assert main(["verify", str(rows_of_corpus)]) == 0
    assert capsys.readouterr().out == told
    for name in ("head.json", "table.audit.json"):  # how those of heads and labelled tables are called
        (made / name).write_text("{}")
        artefact = (made / name.partition(".")[0]).with_suffix(".parquet")
        artefact.touch()
        assert manifest_of(artefact) == made / name
    (made / "head.predictions.parquet").touch()
    assert manifest_of(made / "head.predictions.parquet") == made / "head.json"
    alone = rows_of_corpus.with_name("manifest.csv")
    assert main(["verify", str(alone)]) == 1
    expected = "one of manifest.manifest.json, manifest.audit.json, manifest.json"
    assert f"manifest.csv: no replay manifest beside it, expected {expected}" in capsys.readouterr().err


def test_the_command_it_prints_makes_an_equal_artefact_again(made: Path) -> None:
    output = made / "data" / "konvid-150k" / "konvid_150k.jsonl"
    before = rows(output)
    assert len(before) == 3
    output.unlink()
    command = shlex.split(verify(manifest(made)).command)
    assert command[0] == f"VQA_DATA_ROOT={made / 'data'}"
    os.environ["VQA_DATA_ROOT"] = command[0].partition("=")[2]
    done = run("-m", *command[1:], home=made / "home")
    del os.environ["VQA_DATA_ROOT"]
    assert done.returncode == 0, done.stderr
    assert rows(output) == before


def test_a_changed_input_and_a_missing_output_are_named_and_the_exit_code_is_1(made: Path, tmp_path: Path) -> None:
    shutil.copytree(made / "data", tmp_path / "data")
    corpus = tmp_path / "data" / "konvid-150k"
    with (corpus / "manifest.csv").open("a") as lines:
        lines.write("more,3\n")
    (corpus / "konvid_150k.jsonl").unlink()
    found = {one.name: one.match for one in verify(corpus / "konvid_150k.manifest.json").compared}
    assert found == {
        "annotation_file": Match.CHANGED,
        "clips": Match.NOT_HASHED,
        "corpus_jsonl": Match.GONE,
        "losses": Match.SAME,
    }
    done = run("-m", "vqa_assets.provenance", "verify", str(corpus / "konvid_150k.manifest.json"))
    assert done.returncode == 1
    assert "not everything is as it was" in done.stdout


def recorded(root: Path, inputs: dict[str, object], dagster: dict[str, object], args: dict[str, object]) -> Path:
    provenance = {"schema": "ai-run-provenance-v1", "inputs": inputs, "outputs": {}, "dagster": dagster, "args": args}
    path = root / "x.manifest.json"
    path.write_text(json.dumps({"run_provenance": provenance}))
    return path


def test_an_input_that_was_absent_and_is_still_is_not_called_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    absent = {"lsvq": {"path": "lsvq/lsvq.jsonl", "kind": "file", "exists": False}}
    path = recorded(tmp_path, absent, {"asset_key": "unified_corpus"}, {})
    assert main(["verify", str(path), "--root", str(tmp_path)]) == 0
    assert "lsvq/lsvq.jsonl  absent, as recorded" in capsys.readouterr().out
    (tmp_path / "lsvq").mkdir()
    (tmp_path / "lsvq" / "lsvq.jsonl").write_text("")
    assert main(["verify", str(path), "--root", str(tmp_path)]) == 1
    assert "lsvq/lsvq.jsonl  appeared" in capsys.readouterr().out


def test_the_command_says_only_what_was_said(tmp_path: Path) -> None:
    args = {"epochs": {"value": 3, "from": "run config"}, "seed": {"value": 1, "from": "default"}}
    dagster = {"asset_key": "mos_head", "partition_key": "chug", "config": {"epochs": 3, "seed": 1}}
    command = verify(recorded(tmp_path, {}, dagster, args), DataRoot(tmp_path)).command
    assert command.endswith("""--config-json '{"ops": {"mos_head": {"config": {"epochs": 3}}}}'""")
    args["epochs"]["from"] = "default"
    assert "--config-json" not in verify(recorded(tmp_path, {}, dagster, args), DataRoot(tmp_path)).command


def test_the_command_names_the_folder_of_declarations_where_it_needs_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def command(partition: str | None, **inputs: object) -> str:
        dagster = {"asset_key": "unified_corpus", "partition_key": partition}
        return verify(recorded(tmp_path, inputs, dagster, {}), DataRoot(tmp_path)).command

    def read(path: str) -> dict[str, object]:
        return {"path": path, "kind": "file", "exists": False}

    monkeypatch.delenv("VQA_CORPORA_DIR", raising=False)
    asked = "VQA_CORPORA_DIR='<the folder that declares street-clips>' dagster asset materialize"
    assert asked in command("street-clips")
    assert asked in command(None, a=read("street-clips/street_clips.jsonl"), b=read("lsvq/lsvq.jsonl"))
    labelled = {"features_with_mos_street-clips": read("street-clips/features_with_mos.parquet")}
    assert asked in command(None, **labelled)
    assert "VQA_CORPORA_DIR" not in command(None, **{"features_with_mos_mine": read("runs/features_with_mos.parquet")})
    for partition, path in (("chug", "chug/chug.jsonl"), ("bvi-dvc", "x/y.jsonl"), (None, "lsvq/lsvq.jsonl")):
        assert "VQA_CORPORA_DIR" not in command(partition, a=read(path))
    monkeypatch.setenv("VQA_CORPORA_DIR", "/srv/my corpora")
    assert f"VQA_DATA_ROOT={tmp_path} VQA_CORPORA_DIR='/srv/my corpora' dagster" in command("street-clips")


def test_the_command_names_the_folder_of_backbones_where_it_needs_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def command(schema: str) -> str:
        dagster = {"asset_key": "mos_head", "partition_key": "lsvq", "config": {"feature_schema": schema}}
        return verify(recorded(tmp_path, {}, dagster, {}), DataRoot(tmp_path)).command

    monkeypatch.delenv("VQA_BACKBONES_DIR", raising=False)
    assert "VQA_BACKBONES_DIR='<the folder of the backbones tiny>' dagster" in command("nr-v1+backbone:tiny")
    assert "VQA_BACKBONES_DIR" not in command("nr-v1")
    (tmp_path / "backbones" / "tiny").mkdir(parents=True)
    assert "VQA_BACKBONES_DIR" not in command("nr-v1+backbone:tiny")
    monkeypatch.setenv("VQA_BACKBONES_DIR", "/srv/nets")
    assert f"VQA_DATA_ROOT={tmp_path} VQA_BACKBONES_DIR=/srv/nets dagster" in command("backbone:tiny")


def test_the_root_is_found_from_the_manifests_place_or_given(made: Path) -> None:
    assert verify(manifest(made)).root.path == made / "data"
    assert not verify(manifest(made), DataRoot(made)).holds


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "found nothing there, expected a replay manifest"),
        ("{}", "no run_provenance, expected a run_provenance of schema ai-run-provenance-v1"),
        ('{"run_provenance": {"schema": "other"}}', "other, expected"),
    ],
)
def test_what_is_no_replay_manifest_is_refused_by_name(tmp_path: Path, content: str | None, told: str) -> None:
    path = tmp_path / "x.manifest.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ProvenanceError, match="found a folder, expected a replay manifest"):
        verify(tmp_path)
    with pytest.raises(ProvenanceError, match=told):
        verify(path)
    assert run("-m", "vqa_assets.provenance", "verify", str(path)).returncode == 1


def test_a_publication_cut_short_outside_the_data_root_is_settled_before_it_is_compared(
    root_path: Path, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    output, manifest_file = outside / "x.jsonl", root_path / "x.manifest.json"

    def publish(word: bytes) -> None:
        with publishing("stage", output, "stage-v1") as publication:
            publication.write(output, word)
            described = Manifest("stage-v1", {"word": word.decode()}, {}, {}, {"x": output})
            write_manifest(publication, manifest_file, described, RunContext(DataRoot(root_path), {}, Path(__file__)))

    publish(b"earlier")
    assert killed_at("replace", 2, lambda: publish(b"new")) == KILLED
    assert json.loads(manifest_file.read_text())["word"] == "earlier"
    assert verify(manifest_file, DataRoot(root_path)).holds
    assert (output.read_bytes(), json.loads(manifest_file.read_text())["word"]) == (b"new", "new")
