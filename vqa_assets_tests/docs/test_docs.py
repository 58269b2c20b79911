"""What the documents say is so: their commands are known, their settings exist, their example runs."""

import json
import re
import tomllib
from pathlib import Path
from typing import Literal, get_origin

import pytest

from vqa_assets.corpora import CORPORA, ENCODE_GRID_SOURCES
from vqa_assets.corpora.opinions import SOS_ORDINARY
from vqa_assets.corpora.scales import SCALES
from vqa_assets.definitions import defs
from vqa_assets.encode_grid import grid_files
from vqa_assets.encode_grid.grid import GridReport
from vqa_assets.encode_grid.settings import EncodeLabels
from vqa_assets.feature_names import CANONICAL_6
from vqa_assets.heads.judging.evaluation import PRODUCTION, PROPOSED
from vqa_assets.heads.judging.intervals import LEVEL
from vqa_assets.heads.recipe import HOLDOUT_SHARE
from vqa_assets.ingest.settings import IngestSettings
from vqa_assets.provenance.verify import Match
from vqa_assets.provenance.verify import main as verify_command
from vqa_assets.settings import core_type
from vqa_assets.tables.paths import DataRoot, manifest_path
from vqa_assets_tests.shared.unified_corpora import clip, unify

REPOSITORY = Path(__file__).parents[2]
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
MAKEFILE = (REPOSITORY / "Makefile").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^ *```{language}\n(.*?)^ *```", README, re.DOTALL | re.MULTILINE)


def test_every_make_target_that_is_named_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))
    documents = README + (REPOSITORY / "CONTRIBUTING.md").read_text(encoding="utf-8")
    named = set(re.findall(r"\bmake ([a-z-]+)\b(?=[`\s,.]|$)", documents)) - {"and", "a", "it", "suffice"}
    assert named
    assert named <= targets
    assert "test-fast" in named


def test_the_glossary_says_what_the_code_means() -> None:
    page = (REPOSITORY / "docs/glossary.md").read_text(encoding="utf-8")
    meant = {word.strip(): text for word, text in re.findall(r"^\| ([^|]+) \| ([^|]+) \|$", page, re.MULTILINE)}
    assert len(meant) >= 20
    assert f"between {SOS_ORDINARY[0]:g} and {SOS_ORDINARY[1]:g}" in meant["SOS"]
    assert [name for name in CANONICAL_6 if name not in meant["canonical-6"] and "vif" not in name] == []
    assert f"a {({0.1: 'tenth'})[HOLDOUT_SHARE]} of them is held out" in meant["fold, hold-out"]
    assert LEVEL == 0.9
    assert "nine times out of ten" in meant["interval"]
    assert (PRODUCTION in meant["gate"], PROPOSED in meant["gate"]) == (True, True)


def test_the_fast_tests_are_those_of_rooms_that_are_there() -> None:
    (rooms,) = re.findall(r"^FAST := (.+)$", MAKEFILE, re.MULTILINE)
    (left_out,) = re.findall(r"^FAST_WITHOUT := --ignore=(.+)$", MAKEFILE, re.MULTILINE)
    assert [room for room in rooms.split() if not (REPOSITORY / "vqa_assets_tests" / room).is_dir()] == []
    assert (REPOSITORY / left_out).is_file()


def test_the_settings_of_the_example_exist_with_their_types() -> None:
    types = {name: core_type(field.annotation) for name, field in IngestSettings.model_fields.items()}
    (example,) = blocks("toml")
    found = tomllib.loads(example)
    # one of several words is a text in the file
    expected = {name: str if get_origin(types[name]) is Literal else types[name] for name in found}
    assert {name: type(value) for name, value in found.items()} == expected


def test_the_asset_table_names_the_assets() -> None:
    rows = [line for line in README.splitlines() if line.startswith("| `")]
    named = {name for row in rows for name in re.findall(r"`([a-z_0-9]+)`", row.split("|")[1])}
    assert named == {key.to_user_string() for key in defs.resolve_all_asset_keys()}


def test_the_python_example_is_valid_and_reads_the_heads_own_tensors() -> None:
    (example,) = blocks("python")
    compile(example, "README", "exec")
    assert 'session.run(["mos"], {"features":' in example


def test_the_page_on_the_unified_corpus_names_every_scale_every_file_and_who_shares_ids(root_path: Path) -> None:
    page = (REPOSITORY / "docs/unified-corpus.md").read_text(encoding="utf-8")
    assert [name for name in SCALES if f"| `{name}` |" not in page] == []
    jsonl = unify(root_path, [clip("a", 3.0, "konvid-1k")]).jsonl
    assert [path.name for path in jsonl.parent.iterdir() if f"`{path.name}`" not in page] == []
    related = page.split("## Related clips")[1].split("##")[0]
    assert [
        corpus.name for corpus in CORPORA.values() if bool(corpus.name_ids) != (f"`{corpus.name}`" in related)
    ] == []


def test_the_page_on_the_encode_grid_names_every_source_file_setting_counter_and_check(root_path: Path) -> None:
    page = (REPOSITORY / "docs/encode-grid.md").read_text(encoding="utf-8")
    root = DataRoot(root_path)
    assert [name for name in ENCODE_GRID_SOURCES if f"| `{name}` |" not in page] == []
    files = [*grid_files.every_grid_jsonl(root), grid_files.training_corpus(root), grid_files.vmaf_tune_rows(root)]
    assert [root.shown(path) for path in files if f"`{root.shown(path)}`" not in page] == []
    assert [name for name in EncodeLabels.model_fields if f"`{name}`" not in page] == []
    counters = set(GridReport().counters()) - {"rows_in", "rows_out"}
    assert [name for name in counters if f"`{name}`" not in page] == []
    checks = {key.name for key in defs.resolve_asset_graph().asset_check_keys}
    assert set(re.findall(r"`(\w+_(?:dropped|conflicts))`", page)) <= checks


def test_the_page_on_provenance_names_every_key_of_a_manifest_and_every_verdict(root_path: Path) -> None:
    page = (REPOSITORY / "docs/provenance.md").read_text(encoding="utf-8")
    done = unify(root_path, [clip("a", 3.0, "konvid-1k")])
    assert f"`{done.manifest['schema']}`" in page
    provenance = done.manifest["run_provenance"]
    assert f"`{provenance['schema']}`" in page
    assert [key for key in set(provenance) - {"schema"} if f"`{key}`" not in page] == []
    assert [match for match in Match if match is not Match.NOT_HASHED and f"`{match}`" not in page] == []


def test_the_page_on_provenance_shows_the_table_that_verify_prints(
    root_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (REPOSITORY / "docs/provenance.md").read_text(encoding="utf-8")
    done = unify(root_path, [clip("a", 3.0, "konvid-1k")])
    (root_path / "shard0.jsonl").write_text("edited")
    manifest = manifest_path(done.jsonl)
    content = json.loads(manifest.read_text())
    content["run_provenance"]["dagster"] = {"asset_key": "unified_corpus"}
    manifest.write_text(json.dumps(content))
    assert verify_command(["verify", str(manifest)]) == 1
    told = capsys.readouterr().out
    for shape in (r"^  input  \S+ +changed$", r"^  output aggregated/unified_corpus.jsonl +same$"):
        assert re.search(shape, told, re.MULTILINE), told
        assert re.search(shape, page, re.MULTILINE)
    verdict = "not everything is as it was; to make it again:"
    assert verdict in told
    assert verdict in page
    command = "dagster asset materialize -m vqa_assets.definitions --select unified_corpus"
    assert command in told
    assert command in page
