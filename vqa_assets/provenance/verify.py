"""Whether what a replay manifest names is still what it was, and the command that makes the artefact again.

It is a command, too: ``python -m vqa_assets.provenance verify <manifest>``. Writing manifests is in the package itself.
"""

import json
import os
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path, PurePosixPath
from typing import Any

from vqa_assets.arguments import CommandParser
from vqa_assets.corpora import CORPORA, ENCODE_GRID_SOURCES, EXTERNAL_SHARDS
from vqa_assets.corpora.declarations import corpora_folder, named_folder, with_declared
from vqa_assets.errors import ProvenanceError, SettingsError, VqaError
from vqa_assets.printing import plain, tell, tell_error
from vqa_assets.provenance import SCHEMA, file_record
from vqa_assets.tables.content_errors import read_document
from vqa_assets.tables.files import place_to_read
from vqa_assets.tables.paths import DataRoot, manifest_paths
from vqa_assets.tables.publication import settle, settle_root


class Match(StrEnum):
    """How one recorded file compares with the one on disk."""

    SAME = "same"
    CHANGED = "changed"
    GONE = "gone"
    APPEARED = "appeared"
    ABSENT = "absent, as recorded"
    NOT_HASHED = "a folder, not compared"

    @property
    def good(self) -> bool:
        """True where nothing speaks against the recorded state."""
        return self in (Match.SAME, Match.ABSENT, Match.NOT_HASHED)


_BACKBONE = re.compile(r"backbone:([a-z0-9]+(?:-[a-z0-9]+)*)")
"""A backbone in a run config: among a run's ``feature_sets``, or in a head's ``feature_schema``."""


@dataclass(frozen=True)
class Compared:
    """One recorded input or output: its role, its name, its path as recorded, and how it compares."""

    role: str
    name: str
    path: str
    match: Match


@dataclass(frozen=True)
class Verified:
    """What became of everything a manifest names; ``command`` materializes the artefact again."""

    root: DataRoot
    compared: tuple[Compared, ...]
    command: str

    @property
    def holds(self) -> bool:
        """True where every file is as it was."""
        return all(one.match.good for one in self.compared)


def verify(manifest_file: Path, root: DataRoot | None = None) -> Verified:
    """Compare every input and output that a replay manifest names with what is on disk now.

    Without ``root`` it is found from the manifest's own place. ProvenanceError where the file is no replay manifest.
    """
    settle(manifest_file.parent)
    provenance = _provenance(manifest_file)
    try:
        root = root or find_root(manifest_file, provenance)
        settle_root(root)
        records = [record for role in ("inputs", "outputs") for record in provenance[role].values()]
        settle(*(root.located(record["path"]).parent for record in records))
        provenance = _provenance(manifest_file)  # it may have been replaced by that
        return Verified(root, tuple(_compare_all(provenance, root)), replay_command(provenance, root))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ProvenanceError(
            f"{manifest_file}",
            found=f"entries of another shape ({error})",
            expected="a whole replay manifest",
            next_step="materialize the asset again",
        ) from error


def manifest_of(file: Path) -> Path:
    """The replay manifest that stands beside an artefact; a manifest is its own, and so is what is not there.

    ProvenanceError where none stands there.
    """
    beside = manifest_paths(file)
    if file.suffix == ".json" or not file.is_file():
        return file
    for manifest in beside:
        if manifest.is_file():
            return manifest
    raise ProvenanceError(
        f"{file}",
        found="no replay manifest beside it",
        expected=f"one of {', '.join(one.name for one in beside)}",
        next_step="name what an asset wrote, or its replay manifest",
    )


def find_root(manifest_file: Path, provenance: Mapping[str, Any]) -> DataRoot:
    """The folder above the manifest below which most of its relative paths exist; the nearest of equals."""
    paths = [record["path"] for role in ("inputs", "outputs") for record in provenance[role].values()]
    relative = [path for path in paths if not path.startswith(("/", "~"))]
    above = manifest_file.absolute().parents
    return DataRoot(max(above, key=lambda folder: sum((folder / path).exists() for path in relative)))


def replay_command(provenance: Mapping[str, Any], root: DataRoot) -> str:
    """The shell command that makes the artefact again; an asset with the run config it was made with, but defaults."""
    dagster = provenance["dagster"]
    asset = dagster.get("asset_key")
    if asset is None:  # a command's own output, such as a judgement
        return shlex.join(word.replace("<root>", str(root.path)) for word in provenance["argv"])
    words = ["dagster", "asset", "materialize", "-m", "vqa_assets.definitions", "--select", asset]
    if dagster.get("partition_key"):
        words += ["--partition", dagster["partition_key"]]
    # Settings that had their default are left out: what the defaults are is in the code that runs.
    args = provenance.get("args", {})
    defaults = {name for name, one in args.items() if isinstance(one, Mapping) and one.get("from") == "default"}
    config = {name: value for name, value in (dagster.get("config") or {}).items() if name not in defaults}
    if config:
        text = json.dumps({"ops": {asset: {"config": config}}}, sort_keys=True)
        words += ["--config-json", text.replace("<root>", str(root.path))]
    environment = {"VQA_DATA_ROOT": str(root.path)}
    declared, own = named_folder(os.environ), _corpora_not_shipped(provenance)
    if declared or not set(own) <= _declared_in(root):
        # A manifest holds no value of the environment, so whoever replays from another shell is asked for the folder.
        environment["VQA_CORPORA_DIR"] = str(declared or f"<the folder that declares {', '.join(own)}>")
    if read := sorted(set(_BACKBONE.findall(json.dumps(config)))):
        named = os.environ.get("VQA_BACKBONES_DIR")
        absent = [name for name in read if not (root.path / "backbones" / name).is_dir()]
        if named or absent:
            environment["VQA_BACKBONES_DIR"] = named or f"<the folder of the backbones {', '.join(absent)}>"
    return " ".join([*(f"{name}={shlex.quote(value)}" for name, value in environment.items()), shlex.join(words)])


def _corpora_not_shipped(provenance: Mapping[str, Any]) -> list[str]:
    """The corpora that a run was of, or read its rows of, which only a declaration of the user's own makes known."""
    names = {provenance["dagster"].get("partition_key")} - {None}
    for name, record in provenance["inputs"].items():
        path = PurePosixPath(record["path"])
        corpus = path.parts[0] if len(path.parts) == 2 else ""
        # a JSONL, or the labelled table that a manifest calls after its corpus
        if path.name == f"{corpus.replace('-', '_')}.jsonl" or f"{path.stem}_{corpus}" == name:
            names.add(corpus)
    return sorted(names - {*CORPORA, *EXTERNAL_SHARDS, *ENCODE_GRID_SOURCES})


def _declared_in(root: DataRoot) -> set[str]:
    """The corpora that the data root itself declares; none where its declarations cannot be read."""
    try:
        return set(with_declared(corpora_folder(root.path, {})))
    except SettingsError:
        return set()


def _provenance(manifest_file: Path) -> Mapping[str, Any]:
    if not place_to_read(manifest_file).is_file():
        raise ProvenanceError(
            f"{manifest_file}",
            found="found a folder" if manifest_file.is_dir() else "found nothing there",
            expected="a replay manifest",
            next_step="it stands beside its artefact: x.manifest.json beside x.ext",
        )
    provenance = read_document(manifest_file).get("run_provenance")
    if not isinstance(provenance, Mapping) or provenance.get("schema") != SCHEMA:
        schema = provenance.get("schema") if isinstance(provenance, Mapping) else "no run_provenance"
        raise ProvenanceError(
            f"{manifest_file}", found=f"{schema}", expected=f"a run_provenance of schema {SCHEMA}", next_step="re-run"
        )
    return provenance


def _compare_all(provenance: Mapping[str, Any], root: DataRoot) -> Iterator[Compared]:
    for role in ("inputs", "outputs"):
        for name, recorded in provenance[role].items():
            yield Compared(role[:-1], name, recorded["path"], _compare(recorded, root.located(recorded["path"])))


def _compare(recorded: Mapping[str, Any], path: Path) -> Match:
    if not recorded["exists"]:
        return Match.APPEARED if place_to_read(path).exists() else Match.ABSENT
    if not place_to_read(path).exists():
        return Match.GONE
    if recorded["kind"] == "dir":
        return Match.NOT_HASHED
    return Match.SAME if file_record(path).get("sha256") == recorded["sha256"] else Match.CHANGED


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; exit status 0 when every file is as recorded, 1 otherwise."""
    about = "Is everything that a replay manifest names still what it was, and how is it made again?"
    parser = CommandParser(prog="vqa-assets", description=about)
    verbs = parser.add_subparsers(dest="verb", required=True)
    verifying = verbs.add_parser(
        "verify", description=about, help="compare what a replay manifest names with what is on disk"
    )
    verifying.add_argument("manifest", type=Path, help="a replay manifest, or what it stands beside")
    verifying.add_argument("--root", help="data root (default: found from the manifest's place)")
    options = parser.parse_args(arguments)
    try:
        verified = verify(manifest_of(options.manifest), DataRoot.resolve(options.root) if options.root else None)
    except VqaError as error:
        tell_error(error)
        return 1
    width = max((len(one.path) for one in verified.compared), default=0)
    for one in verified.compared:
        tell(f"  {one.role:<7}{plain(one.path):<{width}}  {one.match}")
    verdict = "everything is as it was" if verified.holds else "not everything is as it was"
    tell(f"\n{verdict}; to make it again:\n  {verified.command}")
    return 0 if verified.holds else 1
