"""Which head a run makes: the one that stands under a name, or another that would take its place without a word.

A head is what was chosen for it: columns, tables, weights, excluded corpora, display, help. A run that chooses
otherwise is an experiment and needs a name of its own, or says that it replaces. Nothing is trained here.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vqa_assets.errors import SchemaError, SettingsError
from vqa_assets.feature_names import DISPLAY_COLUMNS, schema_in_order
from vqa_assets.heads.manifest import SCHEMA
from vqa_assets.heads.recipe import MOS_TARGET, HeadRecipe
from vqa_assets.heads.rows.choosing import Say
from vqa_assets.heads.rows.display import read_profile
from vqa_assets.heads.settings import TrainingSettings, schema_of
from vqa_assets.tables.files import read_json_object
from vqa_assets.tables.makers import Wrote, made_by
from vqa_assets.tables.paths import DataRoot

_NAMED_IN_DIFFERENCES = 5
_SHA256_SHOWN = 12


def folder_of(root: DataRoot, settings: TrainingSettings) -> Path:
    """Where a run's head lies: beside the other heads, or among the experiments."""
    return root.experiments() if settings.name else root.models()


def chosen_by(settings: TrainingSettings, root: DataRoot) -> dict[str, Any]:
    """What a run's settings choose, as the manifest keeps it (``choices``) for a later run to compare with.

    Columns and display are not among it: the manifest says them anyway. Paths are as ``DataRoot.shown`` gives them.
    """
    return {
        "tables": _shown_files(settings.tables, root),
        "extra_tables": _shown_files(settings.extra_tables, root),
        "corpus_weights": dict(sorted(settings.corpus_weights.items())),
        "exclude_corpora": sorted(set(settings.exclude_corpora)),
        "target": settings.target,
        "help_from": [root.shown(one) if isinstance(one, Path) else one for one in settings.help_from],
    }


def standing_head(root: DataRoot, head_id: str, folder: Path | None = None) -> Mapping[str, Any] | None:
    """The manifest of the head of this id that stands; None without one.

    A manifest that cannot be read makes no head: nobody can use its ONNX, and the next run makes both anew.
    """
    try:
        manifest = read_json_object((folder or root.models()) / f"{head_id}.json")
    except (FileNotFoundError, SchemaError):
        return None
    return manifest if manifest.get("schema") == SCHEMA else None


def check_same_head(recipe: HeadRecipe, settings: TrainingSettings, root: DataRoot, say: Say) -> None:
    """SettingsError, with the differences, where a head of other choices stands in the place of this run's.

    A run on synthetic rows, or one that exports nothing, takes nobody's place. With ``replace`` the differences are
    only said.
    """
    head_id = settings.head_id(recipe.name)
    folder = folder_of(root, settings)
    standing = standing_head(root, head_id, folder)
    if settings.smoke or not settings.export:
        return
    sidecar = (folder or root.models()) / f"{head_id}.json"
    made = made_by(sidecar)
    if standing is None and sidecar.is_file():
        say(f"{head_id}: {sidecar.name} is damaged: the head is made again")
    elif made is not None and made.content in (Wrote.CHANGED, Wrote.DAMAGED):
        # What it says of the choices is not what was published: it is nothing to hold a run against.
        say(f"{head_id}: {sidecar.name} was changed since it was published: the head is made again")
        return
    if standing is None:
        return
    differences = _differences(standing, recipe, settings, root)
    if not differences:
        return
    if settings.replace:
        say(f"{head_id}: the head that is there is replaced by another: {'; '.join(differences)}")
        return
    place = root.shown(root.experiments() / f"{recipe.name}.<name>.onnx")
    raise SettingsError(
        f"{head_id}: another head is there",
        found="; ".join(differences),
        expected="the choices of the head that is there",
        next_step=f"give this run {'another' if settings.name else 'a'} name ({place}), or state replace: true",
    )


def _differences(
    standing: Mapping[str, Any], recipe: HeadRecipe, settings: TrainingSettings, root: DataRoot
) -> list[str]:
    """A sentence per choice that is not the standing head's."""
    schema = schema_of(recipe, settings)
    differences = []
    if standing.get("feature_schema") != schema.name:
        differences.append(_difference("feature_schema", standing.get("feature_schema"), schema.name))
    there = schema_in_order("", standing.get("feature_order") or ())
    # How long vectors are, only the tables of this run say.
    before, now = ([*one.scalars, *(vector.name for vector in one.vectors)] for one in (there, schema))
    if before != now:
        differences.append(_columns_difference(before, now))
    for name, recorded in (standing.get("backbones") or {}).items():
        here = recipe.backbones.get(name)
        if here and (recorded.get("sha256"), recorded.get("declaration")) != (here.content, here.numbers):
            differences.append(f"backbone {name}: another network, or one that is shown other pictures")
    # A head of an earlier edition kept no choices; then what its settings say of them has to do.
    recorded = standing.get("choices") or standing.get("training_recipe", {}).get("settings", {})
    # Neither did it say the usual target.
    recorded = {**recorded, "target": recorded.get("target") or MOS_TARGET.name}
    for name, choice in chosen_by(settings, root).items():
        if (recorded.get(name) or None) != (choice or None):
            differences.append(_difference(name, recorded.get(name), choice))
    shown = _display_of(settings) if set(schema.columns) & set(DISPLAY_COLUMNS) else None
    display = standing.get("display_profile")
    # A profile's file may be written anew with the same values in it.
    if (display or {}).get("values") != (shown or {}).get("values"):
        differences.append(_difference("display_profile_json", _display_text(display), _display_text(shown)))
    return differences


def _columns_difference(before: list[str], now: list[str]) -> str:
    gone, new = ([n for n in one if n not in other] for one, other in ((before, now), (now, before)))
    words = [f"{what} {_listed(names)}" for what, names in (("without", gone), ("with", new)) if names]
    return f"columns: {' and '.join(words) or 'in another order'}"


def _listed(names: list[str]) -> str:
    more = len(names) - _NAMED_IN_DIFFERENCES
    return ", ".join(names[:_NAMED_IN_DIFFERENCES]) + (f" and {more} more" if more > 0 else "")


def _difference(name: str, before: Any, now: Any) -> str:
    return f"{name}: {_text(before)} there, {_text(now)} here"


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        value = [f"{key} = {', '.join(one) if isinstance(one, list) else one}" for key, one in value.items()]
    return (_listed(value) if isinstance(value, list) else value) or "none"


def _display_of(settings: TrainingSettings) -> dict[str, Any] | None:
    """The display that a run names, as a manifest has it."""
    if settings.display_profile_json is None:
        return None
    return read_profile(settings.display_profile_json).as_json()


def _display_text(display: Mapping[str, Any] | None) -> str:
    return f"{display.get('file')} (SHA-256 {str(display.get('sha256'))[:_SHA256_SHOWN]}…)" if display else ""


def _shown_files(tables: Mapping[str, Sequence[Path]], root: DataRoot) -> dict[str, list[str]]:
    return {name: [root.shown(one) for one in tables[name]] for name in sorted(tables)}
