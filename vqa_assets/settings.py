"""The one mechanism of settings: a field states its type, bounds, default and sentence, and everything follows.

A stage's model is in its own room (``ingest/settings``, ``labels/settings``, ``heads/settings`` …), a corpus's in
``corpora``. The form in the web UI, TOML files, the tables of the docs, the manifests' ``args`` and the messages about
values that cannot be used are made from it. No setting is named here, and nothing of Dagster is.
"""

import errno
import json
import os
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Generic, Literal, Self, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, GetCoreSchemaHandler, Strict, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import CoreSchema, core_schema

from vqa_assets.errors import SettingsError
from vqa_assets.printing import without_logins

RUN_CONFIG, DEFAULT, FROM_TABLES = "run config", "default", "tables"
"""Where a value came from, as manifests say it; ``tables`` decide what was left to them."""

_KINDS: Mapping[Any, str] = {
    str: "a text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    Path: "a path",
    tuple: "a list",
    Mapping: "a table",
}
_LONGEST_FOUND = 200
LONGEST_NAME_BYTES, LONGEST_PATH_BYTES = 255, 4095
"""What Linux, and every file system in use there, takes."""
_BOUNDS = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}


def toml_table(path: Path) -> dict[str, Any]:
    """What a TOML file holds; ValueError or RecursionError where it is none, OSError where it cannot be read."""
    # A pipe would be waited for; of what is no file, only the null device is an empty one.
    if path.exists() and not path.is_file() and not path.samefile(os.devnull):
        raise OSError(errno.ENXIO, "no file is there")
    return tomllib.loads(path.read_text(encoding="utf-8-sig"))


def toml_value(value: Any) -> str:
    """A value as TOML writes it: a text, number or truth value, a tuple of them, a mapping as an inline table."""
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{name} = {toml_value(one)}" for name, one in value.items()) + " }"
    if isinstance(value, tuple):
        return f"[{', '.join(map(toml_value, value))}]"
    # A basic string of TOML is written as one of JSON; DEL alone is JSON's and not TOML's.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


class Unfit(ValueError):  # noqa: N818  # it is no error until it is known where the value stands
    """Raised by a validator for a value that keeps its type and cannot be used; ``field`` where it is another's."""

    def __init__(self, found: str, expected: str, field: str = "") -> None:
        super().__init__(f"{found}, expected {expected}")
        self.found, self.expected, self.field = found, expected, field


@dataclass(frozen=True)
class Shape:
    """What a text must be beyond a text, for an annotation: a test, and the words for it."""

    fits: Callable[[Any], object]
    expected: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """The schema of the type, followed by the test."""
        return core_schema.no_info_after_validator_function(self._checked, handler(source))

    def _checked(self, value: Any) -> Any:
        if not self.fits(value):
            raise Unfit(repr(list(value) if isinstance(value, tuple) else value), self.expected)
        return value


def as_path(value: Any) -> Any:
    """A text as a path, where a disk can hold it; Unfit otherwise. What is no text stays as it is."""
    if not isinstance(value, str) or not value:
        return value  # an empty text would be the working folder, which nobody means: it is refused as no path
    if "\0" in value:
        raise Unfit(repr(value), "a path, which holds no null")
    if not fits_a_disk(value):
        raise Unfit(repr(value), "a path that a disk can hold")
    try:
        return Path(value).expanduser()
    except RuntimeError as error:  # ~somebody
        raise Unfit(f"{value!r} ({error})", "a path; ~ is the home folder of whoever runs this") from error


def fits_a_disk(path: str | Path) -> bool:
    """Whether a disk can hold such a path: its names have at most 255 bytes, all of it 4095, no half of a character."""
    try:
        name = os.fsencode(path)
    except UnicodeEncodeError:
        return False
    return len(name) <= LONGEST_PATH_BYTES and all(len(part) <= LONGEST_NAME_BYTES for part in name.split(b"/"))


def typed_path(text: str | Path) -> Path:
    """A path that a person typed: ``~`` is the home folder; that of nobody is a name like any other."""
    return Path(os.path.expanduser(text))  # noqa: PTH111  pathlib's raises for ~nobody


SettingPath = Annotated[Path, BeforeValidator(as_path)]
"""A path that a person writes: a home folder's ``~`` is expanded, an empty text is refused."""


def _as_files(value: Any) -> tuple[Path, ...]:
    several = [value] if isinstance(value, (str, Path)) else value
    files = tuple(as_path(one) for one in several) if isinstance(several, (list, tuple)) else ()
    if not files or not all(isinstance(one, Path) for one in files):
        raise Unfit(repr(value), "a path, or a list of paths")
    return files


TableFiles = Annotated[Any, BeforeValidator(_as_files)]
"""One file or several, kept as a tuple of paths. Any to pydantic and to forms: Dagster's have no such union."""

Item = TypeVar("Item")
Many = Annotated[tuple[Item, ...], Strict(False)]
"""A list as a form or a file states it, kept as a tuple."""

NONE_WORD = BeforeValidator(lambda value: None if value == "none" else value)
"""For facts that may be none: TOML has no null, so the word stands for it."""


class Declared(BaseModel):
    """Facts that are stated once, checked as they are stated, and not changed afterwards."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    @classmethod
    def of(cls, values: Mapping[str, Any], where: str, next_step: str = "correct it") -> Self:
        """The facts from a form or a file; a value that is None counts as not stated.

        SettingsError says which one cannot be used, what was found, and what is expected.
        """
        try:
            return cls.model_validate({name: value for name, value in values.items() if value is not None})
        except ValidationError as error:
            raise settings_error(error, cls, where, next_step) from error

    def but(self, **changes: Any) -> Self:
        """The same facts with some changed, checked again."""
        return type(self)(**{name: getattr(self, name) for name in type(self).model_fields} | changes)


@dataclass(frozen=True)
class StatedPath:
    """A path that a setting names, and whether something is written there."""

    name: str
    path: Path
    written: bool


@dataclass(frozen=True)
class Help:
    """What is said of a setting: what it does in a sentence, its default, its bounds in sentences of their own."""

    sentence: str
    default: str
    bounds: tuple[str, ...] = ()

    def __str__(self) -> str:
        return " ".join([self.sentence, f"Default: {self.default}.", *self.bounds])


class Settings(Declared):
    """What a person may decide about one stage; each field is made by ``setting``."""

    # pydantic builds a model when it is first used: the definitions need the fields only.
    model_config = ConfigDict(defer_build=True)

    @classmethod
    def help(cls) -> dict[str, "Help"]:
        """Setting → what forms and docs say of it."""
        return {name: _help(field) for name, field in cls.model_fields.items()}

    @classmethod
    def of_a_run(cls) -> dict[str, FieldInfo]:
        """The settings that a run config may state."""
        return {name: field for name, field in cls.model_fields.items() if not _extra(field, "operator")}

    def named_paths(self, names: Iterable[str] | None = None) -> list[StatedPath]:
        """Every path among the settings ``names``, else among those that were stated, lists and tables unfolded."""
        return [
            StatedPath(name, path, bool(_extra(type(self).model_fields[name], "written")))
            for name in (sorted(self.model_fields_set) if names is None else names)
            for path in _paths_in(getattr(self, name))
        ]

    def values(self) -> dict[str, Any]:
        """Setting → value, for a manifest: lists for tuples, tables for records; paths stay paths."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in self.model_dump().items()}


def setting(
    default: Any,
    sentence: str,
    *,
    shown: str = "",
    of_corpus: str = "",
    written: bool = False,
    operator: bool = False,
    **bounds: Any,
) -> Any:
    """A field of ``Settings``: its default, what it does in a sentence, pydantic's bounds (``ge``, ``lt`` …).

    ``shown`` is what is said of the default where the value does not say it; ``of_corpus`` the field of ``Corpus``
    that stands before it; ``written`` says of a path that the stage writes there. ``operator`` is what no run config
    states: only who owns the files and the environment.
    """
    extra: dict[str, Any] = {
        "shown": shown,
        "of_corpus": of_corpus,
        "written": "yes" if written else "",
        "operator": "yes" if operator else "",
    }
    return Field(default=default, description=sentence, json_schema_extra=extra, **bounds)


def _paths_in(value: object) -> list[Path]:
    if isinstance(value, Path):
        return [value]
    several = value.values() if isinstance(value, Mapping) else value if isinstance(value, (tuple, list)) else ()
    return [path for one in several for path in _paths_in(one)]


@dataclass(frozen=True)
class Level:
    """One place that states settings, such as ``ingest.toml``."""

    name: str
    values: Mapping[str, Any]


Stage = TypeVar("Stage", bound=Settings)


@dataclass(frozen=True)
class Resolved(Generic[Stage]):
    """Settings with the level each came from. ``toml`` is the ``ingest.toml`` that was read, if there was one."""

    values: Stage
    origins: Mapping[str, str]
    toml: Path | None = None

    def described(self) -> dict[str, dict[str, object]]:
        """Name → {value, from}, for the replay manifest, which shows paths in its own way."""
        return {name: {"value": value, "from": self.origins[name]} for name, value in self.values.values().items()}


def resolve_levels(stage: type[Stage], levels: Iterable[Level], corpus: BaseModel, where: str) -> Resolved[Stage]:
    """Each setting from the first level that states it, else from the corpus, else its default.

    Every level is checked by itself, so that a mistake in a file is reported though a run config outranks it.
    """
    stated: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for level in levels:
        checked = stage.of(level.values, f"{where}: {level.name}")
        for name in checked.model_fields_set - set(stated):
            stated[name], origins[name] = getattr(checked, name), level.name
    for name, field in stage.model_fields.items():
        fact = _extra(field, "of_corpus")
        if name not in stated and fact:
            stated[name], origins[name] = getattr(corpus, fact), "corpus"
    return Resolved(stage.of(stated, where), {name: origins.get(name, DEFAULT) for name in stage.model_fields})


def with_origins(values: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Name → {value, from}: ``default`` where a value is the one of a run that states nothing, else ``run config``."""
    return {
        name: {"value": value, "from": DEFAULT if name in defaults and defaults[name] == value else RUN_CONFIG}
        for name, value in values.items()
    }


def settings_error(error: ValidationError, model: type[BaseModel], where: str, next_step: str) -> SettingsError:
    """pydantic's first complaint in our four parts; a misspelt key goes first, since it explains the others."""
    complaints = error.errors(include_url=False)
    first = next((c for c in complaints if c["type"] == "extra_forbidden"), complaints[0])
    place, value = first["loc"], first.get("input")
    unfit = first.get("ctx", {}).get("error")
    if first["type"] == "extra_forbidden":
        key, place = place[-1], place[:-1]
        known = core_type(_annotation(model, place)[0]).model_fields
        found, expected = f"unknown key {key!r}", f"one of {', '.join(known)}"
    elif first["type"] == "missing":
        found, expected = "nothing", "this fact, which has no default"
    elif isinstance(unfit, Unfit):
        found, expected, place = unfit.found, unfit.expected, (*place, *filter(None, [unfit.field]))
    elif place[-1] == "[key]":  # a table's key, which stands before it in the path
        found, expected, place = repr(value), "a text", place[:-2]
    else:
        found, expected = repr(value), _expected(*_annotation(model, place))
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place).removeprefix(".")
    what = ": ".join(filter(None, [where, path])) or "settings"
    # Cut first, shortened after: half an address may show a password without the @ that tells it.
    return SettingsError(what, found=without_logins(found)[:_LONGEST_FOUND], expected=expected, next_step=next_step)


def core_type(annotation: Any) -> Any:
    """A field's type without ``None`` and without what stands beside it in ``Annotated``."""
    return _stripped(annotation, [])


def _help(field: FieldInfo) -> Help:
    metadata = list(field.metadata)
    kind = _stripped(field.annotation, metadata)
    bounds = [f"{words.capitalize()} {_number(bound)}." for words, bound in _bounds(metadata)]
    if get_origin(kind) is Literal:
        bounds.append(f"One of {', '.join(get_args(kind))}.")
    for shape in (one for one in metadata if isinstance(one, Shape)):
        bounds.append(f"{shape.expected[0].upper()}{shape.expected[1:]}.")
    return Help(field.description or "", _extra(field, "shown") or _default_text(field.default), tuple(bounds))


def _default_text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return _number(value)
    return str(value) if value or value == 0 else "none"


def _number(value: float) -> str:
    """A number as a person writes it: never ``1e-05``, nor ``60.0``."""
    return str(value) if isinstance(value, int) else f"{value:.10f}".rstrip("0").rstrip(".")


def _extra(field: FieldInfo, name: str) -> str:
    extra = field.json_schema_extra
    return str(extra.get(name) or "") if isinstance(extra, dict) else ""


def _expected(annotation: Any, metadata: list[Any]) -> str:
    """What a field's value has to be, in words: kind and bounds."""
    kind = _stripped(annotation, metadata)
    for one in metadata:
        if isinstance(one, Shape):
            return one.expected
    if get_origin(kind) is Literal:
        return f"one of {', '.join([*get_args(kind), *(['none'] if NONE_WORD in metadata else [])])}"
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return f"a table of {', '.join(kind.model_fields)}"
    words: str = _KINDS.get(get_origin(kind) or kind, str(kind))
    bounds = [f"{how} {_number(bound)}" for how, bound in _bounds(metadata)]
    if any(hasattr(one, "min_length") for one in metadata):
        return f"{words} that is not empty"
    if bounds:
        return f"{words}{' of' if bounds[0].startswith('at') else ''} {' and '.join(bounds)}"
    return words


def _bounds(metadata: Iterable[Any]) -> list[tuple[str, float]]:
    return [(words, getattr(one, name)) for one in metadata for name, words in _BOUNDS.items() if hasattr(one, name)]


def _stripped(annotation: Any, metadata: list[Any]) -> Any:
    """The type below ``Annotated`` and ``| None``; what stood beside it goes into ``metadata``."""
    while True:
        if get_origin(annotation) is Annotated:
            annotation, *beside = get_args(annotation)
            for one in beside:  # a Field inside a union is not unfolded by pydantic
                metadata.extend(one.metadata if isinstance(one, FieldInfo) else [one])
        elif get_origin(annotation) in (Union, UnionType):
            annotation = next(one for one in get_args(annotation) if one is not NoneType)
        else:
            return annotation


def _annotation(model: Any, place: Iterable[int | str]) -> tuple[Any, list[Any]]:
    """The annotation at pydantic's path to a value, and what stands beside it."""
    annotation: Any = model
    metadata: list[Any] = []
    for part in place:
        kind = _stripped(annotation, [])
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            field = kind.model_fields[str(part)]
            annotation, metadata = field.annotation, list(field.metadata)
        else:  # a list's element, or a table's value
            arguments = [one for one in get_args(kind) if one is not Ellipsis]
            annotation, metadata = arguments[-1], []
    return annotation, metadata
