"""What the documents say is so: their commands are known, their settings exist, their example runs."""

import re
import tomllib
from pathlib import Path

from vqa_assets.corpora import CORPORA
from vqa_assets.definitions import defs
from vqa_assets.mos import SCALES
from vqa_assets.settings import INGEST_SETTINGS
from vqa_assets_tests.unified_corpora import clip, unify

REPOSITORY = Path(__file__).parents[1]
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
MAKEFILE = (REPOSITORY / "Makefile").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^ *```{language}\n(.*?)^ *```", README, re.DOTALL | re.MULTILINE)


def test_every_make_target_that_is_named_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", MAKEFILE, re.MULTILINE))
    documents = README + (REPOSITORY / "CONTRIBUTING.md").read_text(encoding="utf-8")
    named = set(re.findall(r"\bmake ([a-z]+)\b(?=[`\s,.]|$)", documents)) - {"and", "a", "it", "suffice"}
    assert named
    assert named <= targets


def test_the_settings_of_the_example_exist_with_their_types() -> None:
    types = {setting.name: setting.type for setting in INGEST_SETTINGS}
    (example,) = blocks("toml")
    found = tomllib.loads(example)
    assert {name: type(value) for name, value in found.items()} == {name: types[name] for name in found}


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
