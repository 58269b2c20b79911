"""``python -m vqa_assets.mirror <url>``: published artefacts with their replay manifests, copied to an object store.

Clips are not copied, nor caches: what a manifest names as an output is, and the manifest itself, each under its path
below the data root. A file comes before the manifest that names it, and is equal where the store's own manifest says
its SHA-256.
"""

import hashlib
import json
import os
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vqa_assets.arguments import CommandParser
from vqa_assets.clips.folders import is_object_address, why_no_key
from vqa_assets.clips.hashing import hash_as_opened
from vqa_assets.clips.stores import OpenStore, open_store
from vqa_assets.errors import ObjectStoreError, ProvenanceError, SchemaError, VqaError
from vqa_assets.printing import tell, tell_error, without_logins
from vqa_assets.provenance import SCHEMA
from vqa_assets.tables.content_errors import read_document
from vqa_assets.tables.paths import DataRoot
from vqa_assets.tables.publication import settle_root

_COMPANION = "_card.md"
"""A head's card lies beside its manifest, which does not name it."""
_OURS = (".manifest.json", ".audit.json")
"""How the names of replay manifests end, but for those of heads."""


@dataclass(frozen=True)
class Artefact:
    """One replay manifest, and the files that it names or that lie with it: key in the store → file and SHA-256.

    The hash of a companion, which the manifest does not name, is empty.
    """

    manifest: Path
    key: str
    files: Mapping[str, tuple[Path, str]]


@dataclass
class Mirrored:
    """What came of a copy: the keys that were put, those that were equal, and why others were left."""

    put: list[str] = field(default_factory=list)
    equal: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)

    @property
    def whole(self) -> bool:
        """Whether the store holds everything that is published here."""
        return not self.failed


def _json_files(root: DataRoot) -> Iterator[Path]:
    """The JSON files below the root, of which some are replay manifests, in the order of their paths."""
    for folder, inner, names in os.walk(root.path):
        inner[:] = sorted(name for name in inner if not name.startswith("."))
        yield from (Path(folder) / name for name in sorted(names) if name.endswith(".json") and name[0] != ".")


def mirror(root: DataRoot, store: OpenStore, *, reread: bool = False) -> Mirrored:
    """Copy what is published below the root; what is equal in the store is left, with ``reread`` only once it was read.

    A file that is not what its manifest says, or that changes meanwhile, is not copied, nor is its manifest. What was
    put is read again. ObjectStoreError where the store cannot be used: what is there by then is whole, and the next
    copy goes on from it.
    """
    settle_root(root)
    there = {one.name: one.stamp.size_bytes for one in store.listed()}
    result = Mirrored()
    for path in _json_files(root):
        try:
            if (outputs := _outputs(path)) is not None:
                _mirror_one(_artefact(path, outputs, root), store, there, result, reread=reread)
        except ObjectStoreError:
            raise
        except (VqaError, OSError) as error:
            result.failed[path.relative_to(root.path).as_posix()] = str(error)
    return result


def _outputs(path: Path) -> Mapping[str, Any] | None:
    """The outputs that a replay manifest records; None for a file that is none.

    SchemaError where one of ours, by its name, is torn; OSError where a file cannot be read.
    """
    try:
        provenance = read_document(path).get("run_provenance")
    except SchemaError:
        if path.name.endswith(_OURS):
            raise
        return None
    if not isinstance(provenance, Mapping) or provenance.get("schema") != SCHEMA:
        return None
    outputs = provenance.get("outputs")
    return outputs if isinstance(outputs, Mapping) else {}


def _artefact(manifest: Path, outputs: Mapping[str, Any], root: DataRoot) -> Artefact:
    files: dict[str, tuple[Path, str]] = {}
    for record in outputs.values():
        path = root.located(str(record.get("path", "")))
        if record.get("exists") and record.get("sha256") and path.is_relative_to(root.path):
            files[path.relative_to(root.path).as_posix()] = path, str(record["sha256"])
    card = manifest.with_name(f"{manifest.stem}{_COMPANION}")
    if card.is_file():
        files[card.relative_to(root.path).as_posix()] = card, ""
    return Artefact(manifest, manifest.relative_to(root.path).as_posix(), files)


def _mirror_one(
    artefact: Artefact, store: OpenStore, there: Mapping[str, int], result: Mirrored, *, reread: bool
) -> None:
    """The files first, then the manifest: whoever reads the store finds none that names what is not there."""
    said = artefact.manifest.read_bytes()
    standing = store.read(artefact.key) if artefact.key in there else None
    vouched = _recorded_in(standing)
    for key, (path, sha256) in artefact.files.items():
        if not sha256:
            is_equal = key in there and store.read(key) == path.read_bytes()
        else:
            # The size beside it: somebody may have put another object there since.
            is_equal = vouched.get(key) == (sha256, there.get(key)) and (not reread or _hash_of(store, key) == sha256)
        if is_equal:
            result.equal.append(key)
        else:
            _put(store, key, path, sha256)
            result.put.append(key)
    if artefact.manifest.read_bytes() != said:
        raise _not_as_said(artefact.manifest, "a run replaced it meanwhile")
    if standing == said:
        result.equal.append(artefact.key)
    else:
        _put(store, artefact.key, artefact.manifest, hashlib.sha256(said).hexdigest())
        result.put.append(artefact.key)


def _recorded_in(manifest: bytes | None) -> dict[str, tuple[str, int]]:
    """Path → (SHA-256, size in bytes) of the outputs that the store's own manifest names; empty where it is none."""
    try:
        outputs = json.loads(manifest or b"{}")["run_provenance"]["outputs"].values()
        return {one["path"]: (one["sha256"], one["size_bytes"]) for one in outputs if one["exists"]}
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}


def _put(store: OpenStore, key: str, path: Path, sha256: str) -> None:
    """Put one state of a file, which is that of the hash where one is said, and read what the store has of it then."""
    stop = threading.Event()
    if why := why_no_key(key):
        raise _not_as_said(path, f"no object can have this name: {why}")
    hashed = hash_as_opened(path, stop)
    if sha256 and hashed.content.sha256 != sha256:
        raise _not_as_said(path, f"SHA-256 {hashed.content.sha256}, and not its manifest's {sha256}")
    store.put(key, path, stop, replace=True)
    if not hashed.stands_at(path):
        raise _not_as_said(path, "it changed while it was copied")
    if _hash_of(store, key) != hashed.content.sha256:
        raise _not_as_said(path, "the store gives other bytes than were put there")


def _hash_of(store: OpenStore, key: str) -> str:
    try:
        return store.bring(key, Path(os.devnull), threading.Event()).content.sha256
    except FileNotFoundError:
        return ""


def _not_as_said(path: Path, found: str) -> ProvenanceError:
    return ProvenanceError(
        f"{path}",
        found=found,
        expected="the file that was published",
        next_step="materialize it again, or wait for the run that writes it; then mirror again",
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; exit status 1 where something that is published here is not in the store afterwards."""
    parser = CommandParser(
        prog="vqa-assets mirror",
        description="Copy published artefacts with their replay manifests to an object store (docs/object-stores.md).",
    )
    parser.add_argument("url", help="a bucket, with a prefix where you like: s3://bucket/vqa, gs://…, az://…")
    parser.add_argument("--root", help="data root (default: $VQA_DATA_ROOT, else data)")
    parser.add_argument("--reread", action="store_true", help="read what is equal by the store's manifest, too")
    options = parser.parse_args(arguments)
    if not is_object_address(options.url):
        parser.error(f"url {without_logins(options.url)!r}: no bucket's address, expected s3://…, gs://… or az://…")
    try:
        url = options.url.rstrip("/")
        result = mirror(DataRoot.resolve(options.root), open_store(url), reread=options.reread)
    except VqaError as error:
        tell_error(error)
        return 1
    for key in result.put:
        tell(f"  put {key}")
    for key, why in result.failed.items():
        tell_error(f"{key} was not copied: {why}")
    left = f", {len(result.failed)} artefacts were not copied" if result.failed else ""
    tell(f"{url}: {len(result.put)} files put, {len(result.equal)} equal{left}")
    return 0 if result.whole else 1


if __name__ == "__main__":
    sys.exit(main())
