"""What a run reads: hashed as it is read, and compared with what stands beside it about who wrote it.

A stage takes its inputs with ``read_now`` before it reads them, and asks ``refuse_changes`` when it has, before it
publishes anything. What became of the files since is asked by ``verify``.
"""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from vqa_assets.errors import ChangedInputError
from vqa_assets.printing import logger
from vqa_assets.provenance import ReadInput
from vqa_assets.tables.makers import recorded_otherwise
from vqa_assets.tables.publication import settle

_log = logger("vqa_assets.provenance")


def read_now(files: Mapping[str, Path]) -> dict[str, ReadInput]:
    """The files by their names in the manifest, as they are now; each is hashed once, and threads share the cores.

    What a killed run left half published beside them is settled first, inside the data root or outside.
    A file that is not what the record of its own making says is read all the same, with a warning; a manifest that
    names it as an input says so.
    """
    paths = list(dict.fromkeys(files.values()))
    settle(*(path.parent for path in paths))
    with ThreadPoolExecutor(thread_name_prefix="hash") as pool:
        inputs = dict(zip(paths, pool.map(ReadInput.of, paths), strict=True))
    for path, one in inputs.items():
        inputs[path] = compared(one)
    return {name: inputs[path] for name, path in files.items()}


def names_of_tables(what: str, files: Mapping[str, Sequence[Path]]) -> dict[str, dict[str, Path]]:
    """What a manifest calls the files of corpora, {corpus: {name: path}}: ``<what>_<corpus>``.

    Further ones of a corpus have a number behind, by which none is called what another corpus's first one is.
    """
    taken = {f"{what}_{corpus}" for corpus in files}
    named: dict[str, dict[str, Path]] = {}
    for corpus, paths in files.items():
        first = f"{what}_{corpus}"
        free = (name for number in itertools.count(1) if (name := f"{first}_{number}") not in taken)
        named[corpus] = dict(zip(itertools.chain([first], free), paths, strict=False))
        taken |= named[corpus].keys()
    return named


def compared(one: ReadInput) -> ReadInput:
    """The input, and with a warning that it is not what was published under its name, where something says so."""
    if told := why_not_as_published(one):
        _log.warning("%s", told)
        return one.as_changed()
    return one


def why_not_as_published(one: ReadInput) -> str:
    """That a file is not what was published under its name, in a sentence; empty where it is, or nothing says so."""
    sha256 = one.record.get("sha256")
    record = recorded_otherwise(one.path, sha256) if sha256 else None
    if record is None:
        return ""
    return (
        f"{one.path}: its bytes are not those that {record.name} names: it was changed since, or a run did not finish; "
        "it is read as it is"
    )


def refuse_changes(inputs: Iterable[ReadInput]) -> None:
    """ChangedInputError where a file is not the one that was hashed: what was read may be of two states of it."""
    for one in inputs:
        if not one.stands():
            raise changed_input(one.path)


def changed_input(path: Path) -> ChangedInputError:
    """The error of an input that somebody wrote to, or replaced, while a stage read it."""
    return ChangedInputError(
        f"{path}",
        found="it changed while it was read",
        expected="one state from the first byte to the last",
        next_step="run again when what writes it is done; the earlier output is kept",
    )
