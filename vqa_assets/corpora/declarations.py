"""Declarations of a user's own: TOML files with the fields of ``Corpus``, and what every declaration must keep.

Whether a file's rows belong to its corpus is judged at ingest (``annotations``).
"""

import math
import re
import string
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path, PurePosixPath
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from vqa_assets.corpora import CORPORA, ENCODE_GRID_SOURCES, EXTERNAL_SHARDS
from vqa_assets.corpora.contents import SPLIT_WORDS
from vqa_assets.corpora.corpus import (
    ADDRESS,
    GENERAL_SPELLINGS,
    LONGEST_TIME_S,
    REDISTRIBUTION,
    ROLES,
    SUFFIX,
    Corpus,
    by_name,
)
from vqa_assets.corpora.raw_video import RAW_FORMATS, RawVideo
from vqa_assets.corpora.scales import CONTINUOUS_0_100, RAW_MOS, SCALES, VMAF_0_100, MosScale
from vqa_assets.errors import SettingsError

_NONE = "none"
"""What a TOML file says where a fact is that there is none (TOML has no null)."""
_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_TAKEN = {*EXTERNAL_SHARDS, *ENCODE_GRID_SOURCES, "aggregated", "encode-grid", "models"}
"""Names that mean something else under the data root."""
_NOTES = ("._", ".#", "~$")
"""How names begin that macOS, Emacs and Excel give to what is no declaration."""
_OPINION_SCALES: Mapping[str, MosScale] = {name: scale for name, scale in SCALES.items() if scale != VMAF_0_100}
_ROW_FIELDS = (
    *("src", "src_sha256", "src_size_bytes", "width", "height", "framerate", "duration_s", "pix_fmt"),
    *("encoder_upstream", "mos", "mos_scale", "mos_std_dev", "n_ratings", "corpus", "corpus_version"),
    *("ingested_at_utc", "score_drop", "split", "content_id", RAW_MOS, "vmaf_score", "encoder", "preset", "crf"),
)


class _Wrong(Exception):  # noqa: N818
    """A field that cannot be used: its path, what was found, what was expected."""

    def __init__(self, path: str, found: str, expected: str) -> None:
        super().__init__(path)
        self.path, self.found, self.expected = path, found, expected


def with_declared(folder: Path | None) -> Mapping[str, Corpus]:
    """``CORPORA``, then the corpora of the ``.toml`` files in a folder, in the order of their file names.

    SettingsError names the file, the field and the remedy.
    """
    if folder is None:
        return CORPORA
    if not folder.is_dir():
        raise SettingsError(
            f"$VQA_CORPORA_DIR {folder}",
            found="found something that is no folder" if folder.exists() else "found nothing there",
            expected="a folder of .toml files, one a corpus",
            next_step="create it, or unset VQA_CORPORA_DIR",
        )
    corpora = dict(CORPORA)
    for path in sorted(path for path in folder.glob("*.toml") if not path.name.startswith(_NOTES)):
        corpus = read_declaration(path)
        if corpus.name in corpora:
            raise _error(path, _Wrong("name", f"{corpus.name!r}, which is declared already", "a name of its own"))
        corpora[corpus.name] = corpus
    return by_name(corpora.values())


def read_declaration(path: Path) -> Corpus:
    """One corpus from its TOML file; SettingsError names the file, the field and the remedy."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError, OSError) as error:
        raise SettingsError(
            f"{path}", found=f"not TOML ({error})", expected='lines such as name = "my-clips"', next_step="correct it"
        ) from error
    try:
        corpus: Corpus = _built(Corpus, table, "")
    except _Wrong as wrong:
        raise _error(path, wrong) from None
    first = next(complaints(corpus), None)
    if first is not None:
        raise _error(path, first)
    return corpus


def complaints(corpus: Corpus) -> "Iterator[_Wrong]":
    """What a declaration must not be, field by field; nothing for a good one."""
    yield from _about_identity(corpus)
    yield from _about_rows(corpus)
    yield from _about_templates(corpus)
    yield from _about_columns(corpus)
    yield from _about_files(corpus)


def _about_identity(corpus: Corpus) -> Iterator[_Wrong]:
    if not _NAME.fullmatch(corpus.name) or corpus.name in _TAKEN:
        yield _Wrong("name", repr(corpus.name), f"lower-case words joined by -, none of {', '.join(sorted(_TAKEN))}")
    for name in ("title", "version", "licence", "citation", "homepage", "size"):
        if not getattr(corpus, name).strip():
            yield _Wrong(name, "nothing", "the fact as published")
    if corpus.redistribution not in REDISTRIBUTION:
        yield _Wrong("redistribution", repr(corpus.redistribution), f"one of {', '.join(REDISTRIBUTION)}")


def _about_rows(corpus: Corpus) -> Iterator[_Wrong]:
    if not corpus.scales:
        yield _Wrong("scales", "an empty list", f"some of {', '.join(_OPINION_SCALES)}")
    if corpus.stored_scale is not None and corpus.scales != (CONTINUOUS_0_100,):
        yield _Wrong("stored_scale", corpus.stored_scale.name, f"scales = [{CONTINUOUS_0_100.name!r}] beside it")
    for name in ("expected_clips", "bytes_per_clip", "min_rows", "max_rows", "default_cap", "download_timeout_s"):
        value = getattr(corpus, name)
        if value is not None and not value >= 1:
            yield _Wrong(name, repr(value), "1 or more")
    if corpus.download_timeout_s > LONGEST_TIME_S:
        yield _Wrong("download_timeout_s", repr(corpus.download_timeout_s), f"at most {LONGEST_TIME_S:g}")
    if corpus.max_rows is not None and corpus.max_rows < corpus.min_rows:
        yield _Wrong("max_rows", str(corpus.max_rows), f"min_rows ({corpus.min_rows}) or more")


def _about_columns(corpus: Corpus) -> Iterator[_Wrong]:
    for shape in corpus.headerless:
        names = [name.lower() for name in shape if name]
        if "mos" not in names or len(set(names)) < len(names) or not _tells_clip(set(names), corpus):
            expected = 'the column names in order, each once, "mos" among them, and one that names the clip'
            yield _Wrong("headerless", str(list(shape)), f"{expected} ({', '.join(corpus.spellings.clip)})")
    taken = {*_ROW_FIELDS, ""}
    for column in corpus.extra_columns:
        if column.field in taken or not column.columns:
            yield _Wrong("extra_columns", repr(column.field), "a field that rows do not have yet, and its columns")
        taken.add(column.field)
    meanings: dict[str, str] = dict.fromkeys(GENERAL_SPELLINGS.mos, "mos")
    for role in ROLES:
        for name in (*corpus.own_spellings.of(role), *corpus.last_spellings.of(role)):
            other = meanings.setdefault(name.lower(), role)
            if other != role and "content" not in (other, role):
                yield _Wrong("own_spellings", f"{name!r} for {other} and {role}", "one meaning for each column name")


def _tells_clip(names: set[str], corpus: Corpus) -> bool:
    """Whether columns of these names, in lower case, hold a clip's name or what it is made of."""
    spelled = {name.lower() for name in corpus.spellings.clip + corpus.last_spellings.clip}
    parts = {name.lower() for _, name, _, _ in string.Formatter().parse(corpus.clip_name) if name}
    return bool(names & spelled) or bool(parts and parts <= names)


def _about_files(corpus: Corpus) -> Iterator[_Wrong]:
    inside = {
        "acquisition": corpus.annotation_files,
        "parts": tuple(name for part in corpus.parts for name in (part.file, *part.clips)),
        "clip_folders": corpus.clip_folders,
        "archives": tuple(name for archive in corpus.archives for name in (archive.file, archive.folder)),
    }
    for name, paths in inside.items():
        for path in paths:
            if not path or PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
                yield _Wrong(name, repr(path), "a path inside the corpus's folder")
    if not SUFFIX.fullmatch(corpus.clip_suffix):
        yield _Wrong("clip_suffix", repr(corpus.clip_suffix), "a suffix such as '.mp4'")
    for name in ("bucket_prefix", "archive_base"):
        if not ADDRESS.fullmatch(getattr(corpus, name)):
            yield _Wrong(name, repr(getattr(corpus, name)), "an address that begins with https:// or http://")
    for part in corpus.parts:
        if part.field == "split" and part.value not in SPLIT_WORDS:
            yield _Wrong("parts", f"split {part.value!r}", f"one of {', '.join(SPLIT_WORDS)}")
    files = [part.file for part in corpus.parts]
    if len(set(files)) < len(files):
        yield _Wrong("parts", f"files {', '.join(files)}", "each file once")
    raw = corpus.raw_video
    if raw is not None and not _is_raw_video(raw):
        found = f"{raw.width}×{raw.height}, {raw.framerate:g} frames/s, {raw.pix_fmt}"
        yield _Wrong("raw_video", found, f"numbers above 0, and one of {', '.join(RAW_FORMATS)}")


def _about_templates(corpus: Corpus) -> Iterator[_Wrong]:
    of_fields = {
        "clip_name": (corpus.clip_name,),
        "also_named": corpus.also_named,
        "also_starting": corpus.also_starting,
    }
    for name, templates in of_fields.items():
        for template in templates:
            if not _is_template(template):
                yield _Wrong(name, repr(template), "a template such as '{video}_{crf}.mp4'")


def _is_raw_video(raw: RawVideo) -> bool:
    numbers = all(value > 0 and math.isfinite(value) for value in (raw.width, raw.height, raw.framerate))
    return numbers and raw.pix_fmt in RAW_FORMATS


def _is_template(text: str) -> bool:
    try:
        fields_of = list(string.Formatter().parse(text))
    except ValueError:
        return False
    return all(
        name is None or bool(name and not name.isdigit() and not {".", "["} & set(name) and not spec and not kind)
        for _, name, spec, kind in fields_of
    )


def _built(kind: Any, table: Mapping[str, Any], path: str) -> Any:
    """A dataclass from a table of its fields."""
    hints = get_type_hints(kind)
    known = {f.name: f for f in fields(kind)}
    for name in table:
        if name not in known:
            raise _Wrong(f"{path}{name}", "an unknown field", f"some of {', '.join(known)}")
    for name, field in known.items():
        if name not in table and field.default is MISSING and field.default_factory is MISSING:
            raise _Wrong(f"{path}{name}", "nothing", "this fact, which has no default")
    return kind(**{name: _value(hints[name], value, f"{path}{name}") for name, value in table.items()})


def _value(kind: Any, value: Any, path: str) -> Any:
    """A TOML value as a field's type."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return _value_or_none(next(argument for argument in arguments if argument is not NoneType), value, path)
    if origin is Literal:
        return _one_of(value, {word: word for word in arguments}, path)
    if kind is MosScale:
        return _one_of(value, _OPINION_SCALES, path)
    if origin is tuple:
        return tuple(_value(arguments[0], one, f"{path}[{i}]") for i, one in enumerate(_typed(list, value, path)))
    if is_dataclass(kind):
        return _built(kind, _typed(dict, value, path), f"{path}.")
    return _typed(kind, value, path)


def _value_or_none(kind: Any, value: Any, path: str) -> Any:
    if get_origin(kind) is Literal:
        return _one_of(value, {**{word: word for word in get_args(kind)}, _NONE: None}, path)
    return None if value == _NONE else _value(kind, value, path)


def _one_of(value: Any, known: Mapping[str, Any], path: str) -> Any:
    if not isinstance(value, str) or value not in known:
        raise _Wrong(path, repr(value), f"one of {', '.join(known)}")
    return known[value]


_KINDS = {
    str: "a text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    list: "a list",
    dict: "a table",
}


def _typed(kind: Any, value: Any, path: str) -> Any:
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, kind) or (kind in (int, float) and isinstance(value, bool)):
        raise _Wrong(path, repr(value), _KINDS[kind])
    return value


def _error(path: Path, wrong: _Wrong) -> SettingsError:
    return SettingsError(
        f"{path}: {wrong.path}",
        found=wrong.found,
        expected=wrong.expected,
        next_step="correct the declaration; docs/corpora.md names every field",
    )
