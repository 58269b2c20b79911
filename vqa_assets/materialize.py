"""Runs of chosen assets, as the commands ``ingest`` and ``materialize`` start them: what was typed, judged, then run.

A word that names nothing there is, ends the command before anything runs (``ArgumentError``, exit status 2); a run that
fails ends it with the run's own message (exit status 1).
"""

from collections.abc import Mapping, Sequence

import dagster as dg

from vqa_assets.arguments import known_word, stated_values
from vqa_assets.assets.run_config import SettingsForm
from vqa_assets.definitions import build_defs
from vqa_assets.errors import ArgumentError
from vqa_assets.features.settings import MeasuringSettings
from vqa_assets.home import instance_of
from vqa_assets.printing import logger, tell_error
from vqa_assets.resources.data_root import DataRootResource
from vqa_assets.settings import Settings
from vqa_assets.tables.paths import DataRoot
from vqa_assets.workflow import Step, run_step

_EXTRACTOR = "extractor"
_log = logger("vqa_assets.materialize")


def materialize(root: DataRoot, assets: Sequence[str], partitions: Sequence[str], stated: Sequence[str]) -> int:
    """Run the assets, for each of the partitions in turn; exit status 0 where every run succeeded, else 1.

    ``stated`` are settings as ``name=value``, for every one of the assets that has it, or ``asset.name=value``.
    ArgumentError where a word names nothing there is, or a value cannot be used; then nothing ran.
    """
    defs = build_defs(data_root=DataRootResource(path=str(root.path)))
    known = sorted(key.to_user_string() for key in defs.resolve_all_asset_keys())
    chosen = {name: defs.resolve_assets_def(known_word(name, known, "asset")) for name in assets}
    keys = _partitions_of(chosen, partitions)
    values = stated_values(stated, stages_of(chosen))
    # What measures clips is a resource; to whoever types it is a setting like any other.
    of_extractor = {_EXTRACTOR: {"config": values.pop(_EXTRACTOR)}} if _EXTRACTOR in values else {}
    config = {
        **({"ops": {asset: {"config": settings} for asset, settings in values.items()}} if values else {}),
        **({"resources": of_extractor} if of_extractor else {}),
    }
    job = defs.resolve_implicit_global_asset_job_def()
    succeeded = True
    with instance_of(root) as instance:
        for key in keys:
            step = Step(tuple(chosen), key, config)
            _log.info("→ %s", step.title)
            result = run_step(step, job, instance, root)
            _log.info("  %s", result.in_words())
            for line in result.warned:
                _log.warning("! %s", line)
            for line in result.failures:
                tell_error(line)
            succeeded = succeeded and result.succeeded
    return 0 if succeeded else 1


def stages_of(chosen: Mapping[str, dg.AssetsDefinition]) -> dict[str, type[Settings]]:
    """The settings of each asset that has some, and of what measures clips where one of them does."""
    stages = {name: form.stage for name, asset in chosen.items() if (form := _form_of(asset)) is not None}
    measures = any(_EXTRACTOR in asset.required_resource_keys for asset in chosen.values())
    return {**stages, _EXTRACTOR: MeasuringSettings} if measures else stages


def _partitions_of(chosen: Mapping[str, dg.AssetsDefinition], named: Sequence[str]) -> list[str | None]:
    """The partition of each run; None of assets that have none."""
    partitioned = {name: asset.partitions_def for name, asset in chosen.items() if asset.partitions_def is not None}
    if not partitioned:
        if named:
            raise ArgumentError(
                f"--partition {named[0]}",
                found=f"{', '.join(chosen)}, made once for all corpora",
                next_step="leave --partition out",
            )
        return [None]
    (first, definition), *others = partitioned.items()
    for other, its in others:
        if its != definition:
            raise ArgumentError(
                f"{first} and {other}",
                found="partitions of two kinds",
                next_step="materialize them one after the other",
            )
    known = definition.get_partition_keys()
    if not named:
        raise ArgumentError(
            f"{first} without --partition", found="an asset of many corpora", expected=f"one of {', '.join(known)}"
        )
    return [known_word(name, known, "partition", of_what=first) for name in dict.fromkeys(named)]


def _form_of(asset: dg.AssetsDefinition) -> SettingsForm | None:
    form = asset.op.config_schema.as_field()
    return form if isinstance(form, SettingsForm) else None
