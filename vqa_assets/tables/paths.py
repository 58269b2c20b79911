"""The data root: where every artefact lies. Opens no file."""

import hashlib
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

from vqa_assets.corpora import Corpus
from vqa_assets.errors import SettingsError
from vqa_assets.settings import LONGEST_NAME_BYTES, typed_path

ENVIRONMENT_NAME = "VQA_DATA_ROOT"
DEFAULT_ROOT = "data"
CODE = Path(__file__).parents[2]
"""The folder that holds the package: a checkout of the repository, or where packages are installed."""
_SHARE = "share/vqa-assets"


def shipped(name: str) -> Path:
    """A file or folder that comes with the package, by its path in the repository; nothing may be there.

    In a checkout it is the checkout's own, of an installed wheel one of its data files.
    """
    if (CODE / "pyproject.toml").is_file():
        return CODE / name
    # Where an installer puts data files (a virtual environment, a user's folder, a tool's), only its record knows.
    own = None
    with suppress(PackageNotFoundError):  # of a copy that no installer put there
        recorded = (file for file in files("vqa-assets") or () if file.as_posix().endswith(f"{_SHARE}/dagster.yaml"))
        own = next(recorded, None)
    folder = Path(str(own.locate())).resolve().parent if own else Path(sys.prefix) / _SHARE
    return folder / name


def manifest_path(artefact: Path) -> Path:
    """The replay manifest beside an artefact: ``x.ext`` → ``x.manifest.json``."""
    return artefact.with_name(f"{artefact.stem}.manifest.json")


def manifest_paths(artefact: Path) -> tuple[Path, ...]:
    """Where a replay manifest may stand beside an artefact.

    A labelled table's and a head's have names of their own, and further files of a stage are named after the first.
    """
    first = artefact.name.partition(".")[0]
    beside = (manifest_path(artefact), artefact.with_suffix(".audit.json"), artefact.with_suffix(".json"))
    of_name = (artefact.with_name(f"{first}.manifest.json"), artefact.with_name(f"{first}.json"))
    return tuple(dict.fromkeys((*beside, *of_name)))


def sibling(target: Path, suffix: str) -> Path:
    """A hidden file beside the target, named after it; after a hash of a name that leaves no room for the suffix."""
    name = f".{target.name}{suffix}"
    if len(os.fsencode(name)) > LONGEST_NAME_BYTES:
        name = f".{hashlib.sha256(os.fsencode(target.name)).hexdigest()}{suffix}"
    return target.with_name(name)


@dataclass(frozen=True)
class DataRoot:
    """One data root and the paths inside it, as the contract lays them out."""

    path: Path

    @classmethod
    def resolve(cls, folder: str | None, environment: Mapping[str, str] | None = None) -> "DataRoot":
        """``folder``, else ``$VQA_DATA_ROOT``, else ``data`` under the working directory.

        SettingsError where that is no folder.
        """
        env = os.environ if environment is None else environment
        named = env.get(ENVIRONMENT_NAME)
        origin = "data root" if folder else f"${ENVIRONMENT_NAME}" if named else "default data root"
        path = typed_path(folder or named or DEFAULT_ROOT).absolute()
        if not os.path.isdir(path):  # noqa: PTH112  pathlib's raises for a name that no disk can hold
            set_it = f"set {ENVIRONMENT_NAME} to the folder that holds the corpora"
            raise SettingsError(
                f"{origin} {path}",
                found="found something that is not a folder" if os.path.lexists(path) else "found nothing there",
                expected="an existing folder",
                next_step=set_it if os.path.lexists(path) else f"make it (vqa-assets init {path}) or {set_it}",
            )
        return cls(path)

    @classmethod
    def named(cls, environment: Mapping[str, str] | None = None) -> "DataRoot":
        """The root that the environment names, whether it is there or not."""
        env = os.environ if environment is None else environment
        return cls(typed_path(env.get(ENVIRONMENT_NAME) or DEFAULT_ROOT).absolute())

    def corpus_dir(self, corpus: Corpus) -> Path:
        """``<root>/<c>``."""
        return self.path / corpus.name

    def ingest_toml(self, corpus: Corpus) -> Path:
        """``<root>/<c>/ingest.toml``, optional."""
        return self.corpus_dir(corpus) / "ingest.toml"

    def corpus_jsonl(self, corpus: Corpus) -> Path:
        """``<root>/<c>/<c_>.jsonl``, or an older ``<c>.jsonl`` where only that exists."""
        current = self.corpus_dir(corpus) / f"{corpus.stem}.jsonl"
        older = self.corpus_dir(corpus) / f"{corpus.name}.jsonl"
        return older if older.exists() and not current.exists() else current

    def features(self, corpus: Corpus) -> Path:
        """``<root>/<c>/features.parquet``."""
        return self.corpus_dir(corpus) / "features.parquet"

    def feature_cache(self, corpus: Corpus) -> Path:
        """``<root>/<c>/.feature-cache.sqlite``."""
        return self.corpus_dir(corpus) / ".feature-cache.sqlite"

    def labelled(self, corpus: Corpus) -> Path:
        """``<root>/<c>/features_with_mos.parquet``."""
        return self.corpus_dir(corpus) / "features_with_mos.parquet"

    def labelled_audit(self, corpus: Corpus) -> Path:
        """``<root>/<c>/features_with_mos.audit.json``, the labelled table's replay manifest."""
        return self.corpus_dir(corpus) / "features_with_mos.audit.json"

    def unified_corpus(self) -> Path:
        """``<root>/aggregated/unified_corpus.jsonl``; the Parquet of the same rows lies beside it."""
        return self.path / "aggregated" / "unified_corpus.jsonl"

    def unified_features(self) -> Path:
        """``<root>/aggregated/unified_features.parquet``."""
        return self.path / "aggregated" / "unified_features.parquet"

    def models(self) -> Path:
        """``<root>/models``."""
        return self.path / "models"

    def experiments(self) -> Path:
        """``<root>/models/experiments``: heads that nothing else uses."""
        return self.models() / "experiments"

    def shown(self, path: Path) -> str:
        """A path for people and manifests: relative to the root or the code where inside it, else to ``~``."""
        absolute = path.absolute()
        if absolute.is_relative_to(self.path):
            return absolute.relative_to(self.path).as_posix() or "."
        if absolute.is_relative_to(CODE):
            return absolute.relative_to(CODE).as_posix()
        home = Path.home()
        if absolute.is_relative_to(home):
            return (Path("~") / absolute.relative_to(home)).as_posix()
        return absolute.as_posix()

    def located(self, shown: str) -> Path:
        """The path that ``shown`` gave."""
        path = typed_path(shown)
        if path.is_absolute():
            return path
        # A relative path is from the root or from the code; a file that is gone was most likely in the root.
        inside = self.path / path
        return inside if inside.exists() or not (CODE / path).exists() else CODE / path
