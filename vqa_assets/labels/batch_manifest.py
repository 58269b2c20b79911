"""The manifest of a batch: several feature tables that are labelled by one policy. Reads and judges it, joins nothing.

``{"defaults": {…}, "tables": [{"id", "features", "labels", "out", "audit_json", …}]}``; keys that begin with ``_`` are
comments. Every mistake is told with the path of the entry: ``tables[1].min_match_rate``.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vqa_assets.errors import LabelError, SettingsError, VqaError
from vqa_assets.labels.formats import format_of
from vqa_assets.labels.settings import LABEL_SETTINGS, LabelPaths, LabelSettings, label_settings
from vqa_assets.tables.files import read_json_object
from vqa_assets.tables.paths import CODE

SHIPPED = (CODE / "configs", Path(sys.prefix) / "share" / "vqa-assets" / "configs")
"""Where the manifests that come with the code lie: in a checkout, and where a wheel puts them."""
_PATTERN = "mos-label-batch-*.json"
_OPTIONS = tuple(setting.name for setting in LABEL_SETTINGS)
_TABLE_KEYS = ("id", "features", "labels", "out", "audit_json")
_NEXT = "correct the manifest; keys that begin with _ are comments"


@dataclass(frozen=True)
class BatchTable:
    """One table of a batch: its name, its files, its settings."""

    id: str
    paths: LabelPaths
    settings: LabelSettings


@dataclass(frozen=True)
class BatchManifest:
    """A manifest that was read, and its tables with absolute paths."""

    path: Path
    base_dir: Path
    tables: tuple[BatchTable, ...]


def read_manifest(path: Path, base_dir: Path | None = None) -> BatchManifest:
    """The manifest at a path; relative paths in it are from its own folder, or from ``base_dir``.

    LabelError names the entry that cannot be used.
    """
    if not path.is_file():
        raise LabelError(
            f"batch manifest {path}",
            found="found nothing there",
            expected="a JSON file with tables",
            next_step=f"set manifest to a file of your own, or to {' or '.join(p.name for p in shipped_manifests())}",
        )
    base = (path.parent if base_dir is None else base_dir).absolute()
    content = _without_comments(read_json_object(path))
    _check_keys(content, ("defaults", "tables"), "", f"{path}")
    defaults = _object(content.get("defaults", {}), "defaults", f"{path}")
    _check_keys(defaults, _OPTIONS, "defaults", f"{path}")
    _settings(defaults, "defaults", f"{path}")
    listed = content.get("tables")
    if not isinstance(listed, list) or not listed:
        raise _wrong(f"{path}", "tables", listed, "a list of at least one table")
    tables = [_table(entry, i, defaults, base, f"{path}") for i, entry in enumerate(listed)]
    _check_once(tables, f"{path}")
    return BatchManifest(path, base, tuple(tables))


def shipped_manifests() -> tuple[Path, ...]:
    """The manifests that come with the code."""
    return tuple(sorted(next((found for folder in SHIPPED if (found := [*folder.glob(_PATTERN)])), [])))


def is_shipped(path: Path) -> bool:
    """Whether a manifest is one of those that come with the code."""
    return path.resolve() in [one.resolve() for one in shipped_manifests()]


def find_manifest(given: str) -> Path:
    """The manifest at a path, or the shipped one of that name where no such file is."""
    path = Path(given).expanduser()
    named = [one for one in shipped_manifests() if given in (one.name, one.stem)]
    return named[0] if named and not path.is_file() else path


def _table(entry: object, number: int, defaults: Mapping[str, Any], base: Path, what: str) -> BatchTable:
    where = f"tables[{number}]"
    own = _object(entry, where, what)
    _check_keys(own, (*_TABLE_KEYS, *_OPTIONS), where, what)
    for name in ("id", "features", "out"):
        _text(own.get(name), f"{where}.{name}", what)
    labels = own.get("labels")
    labels = [labels] if isinstance(labels, str) else labels
    if not isinstance(labels, list) or not labels:
        raise _wrong(what, f"{where}.labels", own.get("labels"), "a list of at least one label file")
    files = [_text(one, f"{where}.labels[{i}]", what) for i, one in enumerate(labels)]
    out = base / own["out"]
    audit = own.get("audit_json")
    beside = out.with_name(f"{out.stem}.audit.json")
    paths = LabelPaths(
        features=_one_path(base / own["features"], f"{where}.features", what),
        labels=tuple(_one_path(base / file, f"{where}.labels[{i}]", what) for i, file in enumerate(files)),
        out=_one_path(out, f"{where}.out", what),
        audit_json=beside if audit is None else base / _text(audit, f"{where}.audit_json", what),
        unsaid=frozenset(["audit_json"] if audit is None else []),
    )
    _settings({k: v for k, v in own.items() if k in _OPTIONS}, where, what)
    options = {**defaults, **{k: v for k, v in own.items() if k in _OPTIONS}}
    return BatchTable(own["id"], paths, _settings(options, where, what))


def _settings(values: Mapping[str, Any], where: str, what: str) -> LabelSettings:
    for name, value in values.items():
        if value is None:
            raise _wrong(what, f"{where}.{name}", value, "a value, or no such key")
    try:
        return label_settings(values, where)
    except SettingsError as error:
        entry = error.what.replace(": ", ".", 1)
        raise LabelError(f"{what}: {entry}", found=error.found, expected=error.expected, next_step=_NEXT) from error


def _one_path(path: Path, where: str, what: str) -> Path:
    """The path, where it names one table of a known format: never a glob."""
    if any(sign in path.name for sign in "*?[") and not path.exists():
        raise _wrong(what, where, path.name, "one path, no pattern")
    try:
        format_of(path)
    except VqaError as error:
        raise LabelError(f"{what}: {where}", found=error.found, expected=error.expected, next_step=_NEXT) from error
    return path


def _check_once(tables: Sequence[BatchTable], what: str) -> None:
    """LabelError where two tables have one id, or write one file."""
    seen: dict[object, int] = {}
    for i, table in enumerate(tables):
        for name, value in (("id", table.id), ("out", table.paths.out), ("audit_json", table.paths.audit_json)):
            first = seen.setdefault(value, i)
            if first != i:
                raise _wrong(what, f"tables[{i}].{name}", str(value), f"another one than tables[{first}] has")


def _without_comments(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_comments(v) for k, v in value.items() if not k.startswith("_")}
    return [_without_comments(v) for v in value] if isinstance(value, list) else value


def _check_keys(value: Mapping[str, Any], known: Sequence[str], where: str, what: str) -> None:
    unknown = sorted(set(value) - set(known))
    if unknown:
        entry = f"{where}.{unknown[0]}" if where else unknown[0]
        raise LabelError(
            f"{what}: {entry}", found="unknown key", expected=f"one of {', '.join(known)}", next_step=_NEXT
        )


def _object(value: object, where: str, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _wrong(what, where, value, "an object")
    return value


def _text(value: object, where: str, what: str) -> str:
    if not isinstance(value, str) or not value:
        raise _wrong(what, where, value, "a text")
    return value


def _wrong(what: str, where: str, value: object, expected: str) -> LabelError:
    found = "found nothing" if value is None else repr(value)
    return LabelError(f"{what}: {where}", found=found, expected=expected, next_step=_NEXT)
