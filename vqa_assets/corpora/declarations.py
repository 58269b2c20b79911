"""Declarations of a user's own: TOML files with the fields of ``Corpus``.

What every declaration must keep is in ``corpus``; whether a file's rows belong to its corpus is judged at ingest
(``annotations``).
"""

from collections.abc import Mapping
from pathlib import Path

from vqa_assets.corpora import CORPORA
from vqa_assets.corpora.corpus import Corpus, by_name
from vqa_assets.errors import SettingsError
from vqa_assets.settings import toml_table, typed_path

_NEXT = "correct the declaration; docs/corpora.md names every field"
_NOTES = ("._", ".#", "~$")
"""How names begin that macOS, Emacs and Excel give to what is no declaration."""


DECLARATIONS = "corpora"
"""The folder of the data root that declarations are read from, unless the environment names another."""


def named_folder(environment: Mapping[str, str]) -> Path | None:
    """The folder that ``$VQA_CORPORA_DIR`` names, or None."""
    folder = environment.get("VQA_CORPORA_DIR")
    return typed_path(folder) if folder else None


def corpora_folder(root: Path, environment: Mapping[str, str]) -> Path | None:
    """Where the declarations for the data root ``root`` lie: ``$VQA_CORPORA_DIR``, else ``<root>/corpora``.

    None where neither is named or there.
    """
    return named_folder(environment) or (root / DECLARATIONS if (root / DECLARATIONS).exists() else None)


def with_declared(folder: Path | None) -> Mapping[str, Corpus]:
    """``CORPORA``, then the corpora of the ``.toml`` files in a folder, in the order of their file names.

    SettingsError names the file, the field and the remedy.
    """
    if folder is None:
        return CORPORA
    if not folder.is_dir():
        raise SettingsError(
            f"the declarations of corpora {folder}",
            found="found something that is no folder" if folder.exists() else "found nothing there",
            expected="a folder of .toml files, one a corpus",
            next_step="make that folder, or let VQA_CORPORA_DIR name another",
        )
    corpora = dict(CORPORA)
    for path in sorted(path for path in folder.glob("*.toml") if not path.name.startswith(_NOTES)):
        corpus = read_declaration(path)
        if corpus.name in corpora:
            raise SettingsError(
                f"{path}: name",
                found=f"{corpus.name!r}, which is declared already",
                expected="a name of its own",
                next_step=_NEXT,
            )
        corpora[corpus.name] = corpus
    return by_name(corpora.values())


def read_declaration(path: Path) -> Corpus:
    """One corpus from its TOML file; SettingsError names the file, the field and the remedy."""
    try:
        table = toml_table(path)
    except (ValueError, RecursionError, OSError) as error:
        raise SettingsError(
            f"{path}", found=f"not TOML ({error})", expected='lines such as name = "my-clips"', next_step="correct it"
        ) from error
    return Corpus.of(table, f"{path}", _NEXT)
