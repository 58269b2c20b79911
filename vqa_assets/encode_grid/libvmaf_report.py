"""What one libvmaf JSON report says: VMAF and canonical-6. Which clip and encode it is about is not here.

Shapes that are read:

- libvmaf 2.x and 3.x (the ``vmaf`` tool, FFmpeg's filter): ``frames`` of ``metrics`` and ``pooled_metrics``, names
  plain or with ``integer_`` before them;
- libvmaf 1.x (``vmafossexec``, FFmpeg's older filter): ``frames`` of ``metrics``, plain names, and ``VMAF score``;
- VMAF 1.x and later in Python (``run_vmaf``): ``frames`` and ``aggregate``, names as in ``VMAF_feature_adm2_score``.

A value that was not finite is ``null``, or what the C library prints, which is no JSON (``-nan(ind)``): unknown.
A score stands under its model's name where the model was given one (``vmaf_4k_v0.6.1``), else under ``vmaf``, whatever
the model was; 1.x says the model's file in ``params``.

Names are compared exactly: ``integer_adm2_egl_1`` is another feature than ``adm2``. Libvmaf pools no SD, so it is taken
from the frames unless a ``stddev`` stands beside the pooled mean.
"""

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from vqa_assets.errors import EncodeGridError
from vqa_assets.feature_names import CANONICAL_6
from vqa_assets.tables.files import LFS_POINTER

VMAF = "vmaf"
UNNAMED = ""
"""What stands for the model of a score that no model's name stands at."""
_NAMED_SCORE = re.compile(r"vmaf_[\w.]+")
# what libvmaf writes beside the score of a model that is a collection of models
_OF_COLLECTION = re.compile(r".*_(?:bagging|stddev|ci_p95_lo|ci_p95_hi|\d{4})")
# a text is matched so that nothing in it is replaced; then what C libraries print of values that are not finite
_NOT_FINITE = re.compile(
    r'"(?:[^"\\]|\\.)*"|[-+]?\b(?:nan(?:\([\w]*\))?|inf(?:inity)?\b|1\.#(?:ind|inf|qnan|snan)0*)', re.IGNORECASE
)
_OF_PYTHON = re.compile(r"^VMAF_(?:(integer_)?feature_(\w+)_)?score$")
_NEXT_STEP = "score the clip again"
_ROUNDING = 1e-6


class EmptyReportError(EncodeGridError):
    """A report without a single byte or frame: the scoring was cut short."""


@dataclass(frozen=True)
class VmafReport:
    """VMAF of one encode by each model, mean and SD of canonical-6 over its frames (NaN: absent), and how many frames.

    ``scores`` has at least one; what is not known to be of a model is of ``UNNAMED``.
    """

    scores: Mapping[str, float]
    means: Mapping[str, float]
    deviations: Mapping[str, float]
    frames: int
    version: str


def parse_report(content: bytes, model: str | None = None) -> VmafReport:
    """The report in these bytes. EncodeGridError says why there is none; EmptyReportError where nothing was written.

    A score under a name that is not ``vmaf_…`` is found where ``model`` says that name.
    """
    report = _object(content)
    frames, pooled = _frames(report), _pooled(report)
    if not (any(frames) or pooled or _top_score(report) is not None):
        raise EmptyReportError("empty", found="no frame", next_step=_NEXT_STEP)
    return VmafReport(
        scores=_scores(report, frames, pooled, model),
        means={f: _feature(f, "mean", frames, pooled) for f in CANONICAL_6},
        deviations={f: _feature(f, "stddev", frames, pooled) for f in CANONICAL_6},
        frames=_span(report),
        version=str(report.get("version", "")),
    )


def mean(values: Iterable[float]) -> float:
    """The mean of the values that are finite; NaN of none."""
    finite = [v for v in values if math.isfinite(v)]
    return math.fsum(finite) / len(finite) if finite else math.nan


def deviation(values: Iterable[float]) -> float:
    """The SD (divisor n) of the values that are finite; NaN of none."""
    finite = [v for v in values if math.isfinite(v)]
    middle = mean(finite)
    return math.sqrt(mean((v - middle) ** 2 for v in finite)) if finite else math.nan


def _refused(found: str) -> EncodeGridError:
    return EncodeGridError("no usable report", found=found, next_step=_NEXT_STEP)


def _object(content: bytes) -> Mapping[str, Any]:
    if not content.strip():
        raise EmptyReportError("empty", found="no byte", next_step=_NEXT_STEP)
    if content.startswith(LFS_POINTER):
        raise EncodeGridError("a Git-LFS pointer", next_step="run git lfs pull where it came from")
    try:
        try:
            report = json.loads(content)
        except json.JSONDecodeError:
            text = content.decode("utf-8-sig")
            report = json.loads(_NOT_FINITE.sub(lambda found: found[0] if found[0][0] == '"' else "null", text))
    except (ValueError, RecursionError) as error:
        raise _refused(f"not JSON ({error})") from error
    if not isinstance(report, dict):
        raise _refused(f"a JSON {type(report).__name__}")
    return report


def _entries(report: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    entries = report.get("frames")
    return [frame for frame in entries if isinstance(frame, dict)] if isinstance(entries, list) else []


def _frames(report: Mapping[str, Any]) -> list[Mapping[str, float]]:
    """Per frame, its metrics by libvmaf's names; NaN stands for what is no number."""
    frames: list[Mapping[str, float]] = []
    for entry in _entries(report):
        metrics = entry.get("metrics", entry)
        if isinstance(metrics, dict):
            values = {_name(key): _number(value) for key, value in metrics.items()}
            frames.append({name: math.nan if value is None else value for name, value in values.items()})
    return frames


def _pooled(report: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Metric → its pooled values by method (mean, stddev, …)."""
    metrics: dict[str, Mapping[str, Any]] = {}
    pooled, aggregate = report.get("pooled_metrics"), report.get("aggregate")
    if isinstance(pooled, dict):
        metrics |= {_name(key): value for key, value in pooled.items() if isinstance(value, dict)}
    # run_vmaf may pool by another method (harmonic_mean): that is no mean
    if isinstance(aggregate, dict) and aggregate.get("method", "mean") == "mean":
        metrics |= {_name(key): {"mean": value} for key, value in aggregate.items() if _number(value) is not None}
    return metrics


def _name(key: str) -> str:
    """libvmaf's name of a metric that ``run_vmaf`` calls after its feature extractor; any other name as it is."""
    match = _OF_PYTHON.match(key)
    return f"{match[1] or ''}{match[2] or VMAF}" if match else key


def _number(value: Any) -> float | None:
    finite = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if finite else None


def _top_score(report: Mapping[str, Any]) -> float | None:
    return _number(report.get("VMAF score"))


def _scores(
    report: Mapping[str, Any],
    frames: list[Mapping[str, float]],
    pooled: dict[str, Mapping[str, Any]],
    model: str | None,
) -> dict[str, float]:
    """VMAF by each model: the pooled mean, else the mean over frames, else the total of a report that has neither."""
    names = sorted({name for frame in frames for name in frame} | set(pooled))
    of_vmaf = [
        name
        for name in names
        if name in (VMAF, model) or (_NAMED_SCORE.fullmatch(name) and not _OF_COLLECTION.fullmatch(name))
    ]
    scores = {}
    for name in of_vmaf:
        known = (_number(pooled.get(name, {}).get("mean")), _over_frames(name, "mean", frames))
        score = next((value for value in known if value is not None), None)
        if score is not None:
            scores[UNNAMED if name == VMAF else name] = score
    if not scores and (total := _top_score(report)) is not None:
        scores[UNNAMED] = total
    if not scores:
        unknown = f"no known value of {', '.join(of_vmaf)}"
        raise _refused(unknown if of_vmaf else f"no VMAF score among {', '.join(names)}")
    for name, score in scores.items():
        # Another program's mean of hundreds may be a hair above 100. The message shows every digit, for 100 is inside.
        scores[name] = min(max(score, 0.0), 100.0)
        if abs(score - scores[name]) > _ROUNDING:
            raise _refused(f"a VMAF of {repr(score).removesuffix('.0')}, outside 0–100")
    params = report.get("params")
    file = params.get("model") if isinstance(params, dict) else None
    if isinstance(file, str) and file and UNNAMED in scores:  # model/vmaf_v0.6.1.pkl
        stem = re.split(r"[/\\]", file)[-1]
        scores[re.sub(r"\.(?:pkl|json)$", "", stem)] = scores.pop(UNNAMED)
    return scores


def _feature(
    feature: str, method: str, frames: list[Mapping[str, float]], pooled: dict[str, Mapping[str, Any]]
) -> float:
    """Mean or SD of a feature under its plain name, else its ``integer_`` name; NaN where neither stands."""
    for name in (feature, f"integer_{feature}"):
        for value in (_number(pooled.get(name, {}).get(method)), _over_frames(name, method, frames)):
            if value is not None:
                return value
    return math.nan


def _over_frames(name: str, method: str, frames: list[Mapping[str, float]]) -> float | None:
    values = [frame[name] for frame in frames if math.isfinite(frame.get(name, math.nan))]
    return (mean(values) if method == "mean" else deviation(values)) if values else None


def _span(report: Mapping[str, Any]) -> int:
    """Frames from the first to the last that was scored: with subsampling more than there are entries."""
    entries = _entries(report)
    numbers = [n for entry in entries if isinstance(n := entry.get("frameNum"), int)]
    return max(numbers) - min(numbers) + 1 if len(numbers) == len(entries) > 0 else len(entries)
