"""Every page a user reads: its commands are ones the programs take, its settings exist, its links lead somewhere."""

import json
import re
import shlex
import subprocess
import sys
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from typer.main import get_command

from vqa_assets.arguments import stated_values, words_after
from vqa_assets.command import PassedOn, app
from vqa_assets.definitions import defs
from vqa_assets.materialize import stages_of
from vqa_assets_tests.shared.page_commands import blocks_of

REPOSITORY = Path(__file__).parents[2]
PAGES = sorted(
    path.relative_to(REPOSITORY).as_posix()
    for path in [*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").glob("**/*.md")]
)
PROGRAMS = re.compile(r"(?:\S*/)?(python -m vqa_assets\S*|dagster |vqa-assets )")


def text_of(page: str) -> str:
    return (REPOSITORY / page).read_text(encoding="utf-8")


def commands(page: str) -> list[list[str]]:
    """Every command of ours that stands in a fenced block, as the shell splits it."""
    found = []
    for block in blocks_of(text_of(page), "", "sh", "bash", "console", "yaml"):
        for line in re.sub(r"\\\n\s*", " ", block).splitlines():
            start = PROGRAMS.search(line)
            if start and not line.strip().startswith("#"):
                found.append(shlex.split(line[start.start() :], comments=True))
    return found


CASES = [(page, command) for page in PAGES for command in commands(page)]


@cache
def help_of(module: str, *subcommand: str) -> str:
    asked = [sys.executable, "-m", module, *subcommand, "--help"]
    done = subprocess.run(asked, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(("page", "command"), [c for c in CASES if "-m" in c[1][:2]], ids=str)
def test_a_command_of_ours_has_the_flags_the_page_gives_it(page: str, command: list[str]) -> None:
    module, arguments = command[2], command[3:]
    assert find_spec(module), f"{page}: no module {module}"
    words = [word for word in arguments[:1] if re.fullmatch("[a-z]+", word)]
    known = help_of(module)
    if words and f"{{{words[0]}" in known:
        known += help_of(module, words[0])
    flags = [argument.partition("=")[0] for argument in arguments if argument.startswith("-")]
    assert [flag for flag in flags if not re.search(rf"(?<![\w-]){flag}(?![\w-])", known)] == []


@pytest.mark.parametrize(("page", "command"), [c for c in CASES if c[1][0].endswith("vqa-assets")], ids=str)
def test_a_subcommand_of_vqa_assets_has_the_flags_the_page_gives_it(page: str, command: list[str]) -> None:
    name, *arguments = command[1:]
    flags = [argument.partition("=")[0] for argument in arguments if argument.startswith("-")]
    assert set(flags) <= flags_of(name, *arguments), f"{page}: {' '.join(command)}"


def flags_of(name: str, *arguments: str) -> set[str]:
    """The options that a subcommand takes behind these words; those of its own help are every one's."""
    if name.startswith("-"):
        return {name}
    command = get_command(app).commands[name]  # type: ignore[attr-defined]
    known = {"--help", *(flag for one in command.params for flag in one.opts if flag.startswith("-"))}
    if isinstance(command, PassedOn):
        words = words_after(
            import_module(command.module).main, [*command.first, *(one for one in arguments[:1] if one[0] != "-")]
        )
        known |= {word for word in words.words if word.startswith("-")}
    return known


def option(command: list[str], name: str) -> str | None:
    return command[command.index(name) + 1] if name in command else None


@pytest.mark.parametrize(
    ("page", "command"), [c for c in CASES if [*c[1], "", ""][1:3] == ["asset", "materialize"]], ids=str
)
def test_a_materialization_names_assets_partitions_and_settings_that_exist(page: str, command: list[str]) -> None:
    assert option(command, "-m") == "vqa_assets.definitions"
    selection = dg.AssetSelection.from_string(str(option(command, "--select")))
    keys = selection.resolve(defs.resolve_asset_graph())
    assert keys
    partition = option(command, "--partition")
    assert {partition_is_known(key, partition) for key in keys} == {True}
    config = json.loads(option(command, "--config-json") or "{}")
    assert set(config) <= {"ops", "resources"}
    for op, given in config.get("ops", {}).items():
        assert set(given["config"]) <= set(settings_of(op)), f"{page}: {op}"


@pytest.mark.parametrize(
    ("page", "command"), [c for c in CASES if c[1][0].endswith("vqa-assets") and c[1][1] == "materialize"], ids=str
)
def test_what_vqa_assets_makes_and_is_told_exists(page: str, command: list[str]) -> None:
    words = iter(command[2:])
    given: dict[str, list[str]] = {"": []}
    for word in words:
        given.setdefault(word if word.startswith("--") else "", []).append(
            next(words) if word.startswith("--") else word
        )
    names = [name for text in given.pop("") for name in text.split(",")]
    chosen = {name: defs.resolve_assets_def(dg.AssetKey(name)) for name in names}
    partitions = given.get("--partition", [None])
    assert {partition_is_known(dg.AssetKey(name), one) for name in names for one in partitions} == {True}
    assert stated_values(given.get("--set", []), stages_of(chosen)) or "--set" not in given


def partition_is_known(key: dg.AssetKey, partition: str | None) -> bool:
    partitions = defs.resolve_asset_graph().get(key).partitions_def
    return partition is None if partitions is None else partition in partitions.get_partition_keys()


def settings_of(asset: str) -> dict[str, Any]:
    """The run config of an asset: name → field. KeyError for an asset that is none."""
    field = defs.resolve_assets_def(asset).op.config_schema.as_field()
    return dict(getattr(field.config_type, "fields", {}))


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_files_and_headings_that_are_there(page: str) -> None:
    folder = (REPOSITORY / page).parent
    for link, anchor in re.findall(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)", text_of(page)):
        target = (folder / link) if link else REPOSITORY / page
        assert target.exists(), f"{page}: {link}"
        if anchor:
            assert anchor in headings(target.read_text(encoding="utf-8")), f"{page}: {link}#{anchor}"


def headings(text: str) -> set[str]:
    """The anchors that a page's headings make, as code hosts write them."""
    return {
        re.sub(r"[^\w\- ]", "", line.lstrip("# ").lower()).replace(" ", "-")
        for line in text.splitlines()
        if line.startswith("#")
    }


@pytest.mark.parametrize("page", [*PAGES, "constraints.txt", "pyproject.toml"])
def test_no_registry_address_and_no_path_of_one_machine_is_committed(page: str) -> None:
    assert not re.search(r"pypi\.|/simple\b|files\.pythonhosted|/(?:root|home)/\w", text_of(page))


def test_every_page_is_reached_from_the_readme() -> None:
    seen, todo = set(), {"README.md"}
    while todo:
        page = todo.pop()
        seen.add(page)
        links = re.findall(r"\]\((?!https?:)([^)#\s]+\.md)", text_of(page))
        found = {((REPOSITORY / page).parent / link).resolve().relative_to(REPOSITORY).as_posix() for link in links}
        todo |= found - seen
    assert set(PAGES) - seen == set()


SOURCES = " ".join(
    re.sub(r'"\s+f?"', "", path.read_text(encoding="utf-8")) for path in (REPOSITORY / "vqa_assets").rglob("*.py")
)
MESSAGES = [
    message
    for line in text_of("docs/failures.md").splitlines()
    if line.startswith("| `")
    for message in re.findall(r"`([^`]+)`", line.split("|")[1])
]


@pytest.mark.parametrize("page", ["docs/threat-model.md", "docs/deploying.md"])
def test_a_variable_that_a_page_on_safety_names_is_one_that_the_code_reads(page: str) -> None:
    named = set(re.findall(r"`((?:VQA|IMAGEIO)_[A-Z_]+|[A-Z]+_BIN)`", text_of(page)))
    assert len(named) > 2
    assert [name for name in named if name not in SOURCES] == []


@pytest.mark.parametrize("message", MESSAGES)
def test_a_message_the_failures_page_explains_is_one_the_code_says(message: str) -> None:
    assert message.removeprefix("expected ") in SOURCES
