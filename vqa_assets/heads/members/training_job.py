"""A training as files, for a process that is elsewhere: a job goes out, trained heads or a failure come back.

What is in the files is what a ``Trainer`` is given and gives. Who starts the process is the resource's.
"""

import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from vqa_assets import errors
from vqa_assets.errors import TrainingError, VqaError
from vqa_assets.heads.members.corpus_scales import KNOTS as SCALE_KNOTS
from vqa_assets.heads.members.corpus_scales import CorpusScales
from vqa_assets.heads.members.feature_map import KNOTS, FeatureMap
from vqa_assets.heads.members.method import HeadRows, TrainedHeads, TrainingProgress, TrainingRows
from vqa_assets.heads.members.random_features import FEATURES, RandomFeatureRidge
from vqa_assets.heads.members.weights import F32, HIDDEN, HeadWeights, NetworkWeights
from vqa_assets.heads.settings import TrainingSettings
from vqa_assets.tables.files import read_json_object, write_json

JOB_SCHEMA, RESULT_SCHEMA, FAILURE_SCHEMA = "training-job-v1", "training-result-v1", "training-failure-v1"
_JOB, _RESULT, _FAILURE = "job.json", "result.json", "failure.json"
_ROWS, _WEIGHTS = "rows.npz", "weights.npz"
_FILES = ("tables", "extra_tables", "help_from", "display_profile_json")
_OF_COLUMNS = ("mean", "std", "centre", "scale")
_REASON = ("what", "found", "expected", "next_step")


@dataclass(frozen=True)
class Job:
    """What is to be trained, and on which device."""

    data: TrainingRows
    heads: Sequence[HeadRows]
    settings: TrainingSettings
    device: str = "auto"


def write_job(folder: Path, job: Job) -> None:
    """The job as ``job.json`` and ``rows.npz`` in an existing folder. Names of tables are not among it."""
    data = job.data
    names, codes = np.unique(np.asarray(data.groups), return_inverse=True)
    arrays: dict[str, Any] = {
        "features": data.features,
        "onehot": data.onehot,
        "mos": data.mos,
        "groups": codes,
        "group_names": names,
    }
    arrays |= {name: of for name in ("weights", "corpora") if (of := getattr(data, name)) is not None}
    arrays |= {f"head{i}": head.rows for i, head in enumerate(job.heads)}
    arrays |= {f"head{i}.mos": head.mos for i, head in enumerate(job.heads) if head.mos is not None}
    arrays |= {f"head{i}.weights": head.weights for i, head in enumerate(job.heads) if head.weights is not None}
    np.savez(folder / _ROWS, **arrays)
    settings = {name: value for name, value in job.settings.values().items() if name not in _FILES}
    heads = [head.name for head in job.heads]
    content = {"schema": JOB_SCHEMA, "heads": heads, "settings": settings, "device": job.device}
    write_json(folder / _JOB, content)


def read_job(folder: Path) -> Job:
    """The job of ``write_job``; TrainingError where the folder holds none of this version."""
    content = _content(folder / _JOB, JOB_SCHEMA)
    with np.load(folder / _ROWS, allow_pickle=False) as held:
        arrays: dict[str, Any] = dict(held)
    groups = tuple(str(name) for name in arrays["group_names"][arrays["groups"]])
    of_rows = {name: arrays.get(name) for name in ("weights", "corpora")}
    data = TrainingRows(arrays["features"], arrays["onehot"], arrays["mos"], groups, **of_rows)
    heads = [
        HeadRows(name, arrays[f"head{i}"], arrays.get(f"head{i}.mos"), arrays.get(f"head{i}.weights"))
        for i, name in enumerate(content["heads"])
    ]
    settings = TrainingSettings.of(content["settings"], f"{folder / _JOB}: settings")
    return Job(data, heads, settings, content["device"])


def run_job(folder: Path, progress: TrainingProgress) -> TrainedHeads:
    """Trains a folder's job and leaves the result in it; a failure is left there and raised."""
    from vqa_assets.heads.members.training import TorchTrainer  # torch; the process that asks does not need it

    try:
        job = read_job(folder)
        trained = TorchTrainer(job.device).train(job.data, job.heads, job.settings, progress)
    except VqaError as failure:
        kind = {"schema": FAILURE_SCHEMA, "kind": type(failure).__name__}
        write_json(folder / _FAILURE, {**kind, **{name: getattr(failure, name) for name in _REASON}})
        raise
    write_result(folder, trained)
    return trained


def write_result(folder: Path, trained: TrainedHeads) -> None:
    """The heads as ``weights.npz``, then ``result.json``, which says that they are whole."""
    arrays: dict[str, Any] = {}
    for h, head in enumerate(trained.heads):
        arrays |= {f"{h}.map.{name}": array for name, array in vars(head.map).items() if array is not None}
        for m, network in enumerate(head.networks):
            arrays |= {f"{h}.{m}.{name}": array for name, array in network.named()}
        if head.scales is not None:
            arrays[f"{h}.scales"] = head.scales.values
        if head.ridge is not None:
            of_ridge = {name: value for name, value in vars(head.ridge).items() if value is not None}
            arrays |= {f"{h}.ridge.{name}": np.asarray(value) for name, value in of_ridge.items()}
    np.savez(folder / _WEIGHTS, **arrays)
    heads = [{"best_epochs": head.best_epochs, "ridge": head.ridge is not None} for head in trained.heads]
    write_json(folder / _RESULT, {"schema": RESULT_SCHEMA, "device": trained.device, "heads": heads})


def read_result(folder: Path, job: Job) -> TrainedHeads:
    """The heads of ``write_result``; the failure that the job left, or a TrainingError where no whole one is there."""
    if (folder / _FAILURE).is_file():
        raise _failure(_content(folder / _FAILURE, FAILURE_SCHEMA))
    content = _content(folder / _RESULT, RESULT_SCHEMA)
    try:
        with (folder / _WEIGHTS).open("rb") as file, np.load(file, allow_pickle=False) as held:
            arrays = dict(held)
        heads = tuple(_head(arrays, h, one) for h, one in enumerate(content["heads"]))
        device = str(content["device"])
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise _no_result(f"{_RESULT} and {_WEIGHTS} that cannot be read ({type(error).__name__}: {error})") from error
    _check_whole(heads, job)
    return TrainedHeads(heads, device)


def _check_whole(heads: Sequence[HeadWeights], job: Job) -> None:
    """TrainingError where heads are missing, of another shape, or hold numbers that are none."""
    if len(heads) != len(job.heads):
        raise _no_result(f"{len(heads)} heads of {len(job.heads)}")
    columns, encoders = job.data.features.shape[1], job.data.onehot.shape[1]
    for head, asked in zip(heads, job.heads, strict=True):
        inputs = head.map.outputs + encoders
        arrays: list[tuple[F32, tuple[int, ...]]] = [(getattr(head.map, name), (columns,)) for name in _OF_COLUMNS]
        arrays += [(array, (columns, KNOTS)) for array in (head.map.knots, head.map.scores)]
        if head.map.projection is not None:
            arrays.append((head.map.projection, (columns, head.map.outputs)))
        matrices = (inputs, HIDDEN), (HIDDEN,), (HIDDEN, HIDDEN), (HIDDEN,), (HIDDEN, 1), (1,), (inputs, 1), (1,)
        arrays += [pair for network in head.networks for pair in zip(network.arrays(), matrices, strict=True)]
        if head.ridge is not None:
            drawn = (inputs, FEATURES), (FEATURES,), (FEATURES,)
            arrays += zip(head.ridge.arrays(), drawn, strict=True)
            arrays.append((np.array([head.ridge.gain, head.ridge.bias, head.ridge.penalty]), (3,)))
            if head.ridge.relevance is not None:
                arrays.append((head.ridge.relevance, (inputs,)))
        broken = any(a.shape != shape or not np.isfinite(a).all() for a, shape in arrays)
        if not head.networks or broken or not _has_scales(head, job):
            raise _no_result(f"weights of {asked.name} that are of another shape, or no numbers")


def _has_scales(head: HeadWeights, job: Job) -> bool:
    """Whether a head learned scales where it was asked to, and only there; a corpus that it never saw has none."""
    if head.scales is None or job.data.corpora is None:
        return head.scales is None and job.data.corpora is None
    values = head.scales.values
    known = values[np.isfinite(values).any(axis=1)] if values.ndim == 2 else values
    whole = values.shape == (int(job.data.corpora.max()) + 1, len(SCALE_KNOTS)) and len(known) > 0
    return whole and bool((np.diff(known, axis=1) > 0).all())


def _no_result(found: str) -> TrainingError:
    return TrainingError(
        "training in another process",
        found=found,
        expected=f"{RESULT_SCHEMA}: every head that was asked for, whole",
        next_step="read its output above, use one version on both sides, and train again",
    )


def _head(arrays: Mapping[str, Any], number: int, said: Mapping[str, Any]) -> HeadWeights:
    of_map: dict[str, Any] = {f.name: arrays.get(f"{number}.map.{f.name}") for f in fields(FeatureMap)}
    if missing := [name for name, array in of_map.items() if array is None and name != "projection"]:
        raise KeyError(missing[0])
    best_epochs = tuple(said["best_epochs"])
    networks = (
        NetworkWeights(*(arrays[f"{number}.{m}.{f.name}"] for f in fields(NetworkWeights)))
        for m in range(len(best_epochs))
    )
    ridge = None
    if said["ridge"]:
        names = [f.name for f in fields(RandomFeatureRidge) if f.name != "relevance"]
        of_ridge = {name: arrays[f"{number}.ridge.{name}"] for name in names}
        numbers: dict[str, Any] = {name: array if array.ndim else float(array) for name, array in of_ridge.items()}
        ridge = RandomFeatureRidge(**numbers, relevance=arrays.get(f"{number}.ridge.relevance"))
    scales = CorpusScales(arrays[f"{number}.scales"]) if f"{number}.scales" in arrays else None
    return HeadWeights(FeatureMap(**of_map), tuple(networks), ridge, best_epochs, scales=scales)


def _failure(content: Mapping[str, Any]) -> VqaError:
    """The failure that another process met, as it was."""
    kind = getattr(errors, content["kind"], TrainingError)
    what, *parts = (content[name] for name in _REASON)
    error = kind if isinstance(kind, type) and issubclass(kind, VqaError) else TrainingError
    failure: VqaError = error(what, **dict(zip(_REASON[1:], parts, strict=True)))
    return failure


def _content(path: Path, schema: str) -> dict[str, Any]:
    if not path.is_file():
        raise TrainingError(
            "training in another process",
            found=f"no {path.name} in its folder",
            expected=f"{schema}, which that process leaves",
            next_step="read its output above; it ended early, or does not see the same folder",
        )
    content = read_json_object(path)
    if content.get("schema") != schema:
        found = f"{path.name} of schema {content.get('schema')!r}"
        raise TrainingError("training in another process", found=found, expected=schema, next_step="use one version")
    return content
