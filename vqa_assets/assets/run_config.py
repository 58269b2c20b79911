"""A stage's settings as Dagster's run config: the form that the launchpad shows, and what a run states in it."""

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin

import dagster as dg
from pydantic import BaseModel

from vqa_assets.settings import Settings, core_type
from vqa_assets.tables.allowed import AllowedPlaces
from vqa_assets.tables.paths import DataRoot

_SCALARS: Mapping[Any, Any] = {
    int: dg.IntSource,
    bool: dg.BoolSource,
    float: dg.Float,
    Any: dg.Any,
}
Stage = TypeVar("Stage", bound=Settings)


class SettingsForm(dg.Field):
    """The config schema of an asset; ``stage`` are the settings it is the form of."""

    def __init__(self, stage: type[Settings], fields: Mapping[str, dg.Field]) -> None:
        shape = dg.Shape(dict(fields))  # type: ignore[no-untyped-call]
        super().__init__(shape, description=(stage.__doc__ or "").split("\n\n")[0])
        self.stage = stage


@cache  # the heads share one, and Dagster takes a millisecond or two to build it
def form(stage: type[Settings], *, decided_later: bool = False) -> SettingsForm:
    """The config schema of an asset whose settings these are: every field optional, with its sentence.

    ``decided_later`` where what a run leaves open is taken from a file or a table before it is the default: the form
    then shows no value of its own.
    """
    # Read off the fields: an instance would build the model, which waits until a run needs it.
    defaults = {
        n: list(f.default) if isinstance(f.default, tuple) else f.default for n, f in stage.model_fields.items()
    }
    sentences = stage.help()
    fields = {
        name: dg.Field(
            dg.Noneable(_config_type(field.annotation)),
            default_value=None if decided_later else defaults[name],
            is_required=False,
            description=str(sentences[name]),
        )
        for name, field in stage.of_a_run().items()
    }
    return SettingsForm(stage, fields)


def stated(
    stage: type[Stage],
    context: dg.AssetExecutionContext | dg.OpExecutionContext,
    root: DataRoot,
    trusted: Callable[[Path], bool] = lambda _: False,
) -> Stage:
    """The settings that a run states, the others by default; SettingsError for a value that cannot be used.

    So is a path that a run config may not name (``tables.allowed``), but for those that are ``trusted``.
    """
    values = run_config(context)
    # A path's field in which nothing is typed holds an empty text.
    paths = {name for name, field in stage.model_fields.items() if core_type(field.annotation) is Path}
    settings = stage.of({n: v for n, v in values.items() if v or n not in paths}, "", "correct the run config")
    places = AllowedPlaces.of(root)
    for one in settings.named_paths():
        if not trusted(one.path):
            places.check(one.name, one.path, written=one.written)
    return settings


def run_config(context: dg.AssetExecutionContext | dg.OpExecutionContext) -> dict[str, Any]:
    """A run's values as they stand in the form, unchecked."""
    op = context.op_execution_context if isinstance(context, dg.AssetExecutionContext) else context
    return dict(op.op_config or {})


def _config_type(annotation: Any) -> Any:
    kind = core_type(annotation)
    if get_origin(kind) is tuple:
        return dg.Array(_config_type(get_args(kind)[0]))
    if get_origin(kind) is Mapping:
        return dg.Map(str, _config_type(get_args(kind)[1]))  # type: ignore[no-untyped-call]
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return dg.Map(str, dg.Any)  # type: ignore[no-untyped-call]
    # Texts, paths, and one of several words: which words is said in the sentence, and judged by us, in our words.
    return _SCALARS.get(kind, dg.StringSource)
