"""BVI-DVC: one row per cached libvmaf report. How a report is read is in ``reports``.

The cache does not keep what was encoded, so its settings are declared for all of it, and the source's SHA-256 is that
of its name: a surrogate that is the same each time.
"""

import hashlib
import logging
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vqa_assets.corpora.external import BVI_DVC
from vqa_assets.encode_grid.grid import GridJob, GridOutput, GridReport, Loss
from vqa_assets.encode_grid.layout import reports_folder
from vqa_assets.encode_grid.reports import EmptyReportError, VmafReport, parse_report
from vqa_assets.encode_grid.rows import DEFAULTS, is_unicode, shown_name
from vqa_assets.errors import EncodeGridError
from vqa_assets.feature_names import CANONICAL_6
from vqa_assets.provenance import told_settings
from vqa_assets.tables.paths import DataRoot

_NAME = re.compile(r"^(?P<clip>.+?)_(?P<width>\d+)x(?P<height>\d+)_(?P<rate>\d+(?:\.\d+)?)fps(?:_|$)")
_NO_REPORT = (".", "~$")
_EXAMPLES = 3
_log = logging.getLogger("vqa_assets.encode_grid")


@dataclass(frozen=True)
class EncodeLabels:
    """How every clip of the cache was encoded and scored."""

    encoder: str = "libx264"
    preset: str = "fast"
    crf: int = 35
    pix_fmt: str = "yuv420p10le"
    vmaf_model: str = "vmaf_v0.6.1"


@dataclass(frozen=True)
class NamedGeometry:
    """Width and height in pixels and frames per second, as a clip's name tells them; 0 where it does not."""

    width: int = 0
    height: int = 0
    framerate: float = 0.0


def reports_in(folder: Path) -> tuple[Path, ...]:
    """The reports in a folder by name, dangling links included; hidden files and lock files are none."""
    return tuple(sorted(p for p in folder.glob("*.json") if not p.name.startswith(_NO_REPORT) and not p.is_dir()))


def list_reports(folder: Path) -> tuple[Path, ...]:
    """``reports_in`` a folder. EncodeGridError where there is none."""
    if found := reports_in(folder):
        return found
    raise EncodeGridError(
        f"{BVI_DVC.name}: no libvmaf report",
        found=f"no *.json in {folder}" if folder.is_dir() else f"no folder {folder}",
        expected="one JSON report per encode, named <clip>_<W>x<H>_<N>fps_….json",
        next_step="put the reports there, or set cache_dir",
    )


def bvi_dvc_job(folder: Path, labels: EncodeLabels, root: DataRoot, to: GridOutput) -> GridJob:
    """The grid of the reports in ``folder``. EncodeGridError where there is none."""
    reports = list_reports(folder)
    return GridJob(
        source=BVI_DVC,
        inputs={root.shown(path): path for path in reports if _can_be_told(path)},
        read=lambda report: _rows(reports, labels, report),
        to=to,
        args=told_settings(
            {"cache_dir": folder, **asdict(labels)}, {"cache_dir": reports_folder(root), **asdict(EncodeLabels())}
        ),
    )


def geometry_of(stem: str) -> NamedGeometry:
    """What ``<clip>_<W>x<H>_<N>fps_…`` says; all 0 for any other name."""
    match = _NAME.match(stem)
    return NamedGeometry(int(match["width"]), int(match["height"]), float(match["rate"])) if match else NamedGeometry()


def repeated_clips(reports: Iterable[Path]) -> dict[str, list[Path]]:
    """Clip → its reports, of every ``<clip>_<W>x<H>_<N>fps_…`` that has more than one: each becomes a source."""
    found: dict[str, list[Path]] = {}
    for path in reports:
        if match := _NAME.match(path.stem):
            found.setdefault(match["clip"], []).append(path)
    return {clip: paths for clip, paths in found.items() if len(paths) > 1}


def _rows(paths: tuple[Path, ...], labels: EncodeLabels, report: GridReport) -> Iterator[dict[str, Any]]:
    for clip, several in repeated_clips(paths).items():
        report.repeated_clips += 1
        told = ", ".join(shown_name(path) for path in several[:_EXAMPLES])
        _log.warning("%s: %d reports (%s); each counts as a source: keep one report a clip", clip, len(several), told)
    for path in paths:
        try:
            row = _row(path, labels)
        except EncodeGridError as error:
            reason = f"{error.what}: {error.found}" if error.found else error.what
            report.lose(Loss(shown_name(path), reason, isinstance(error, EmptyReportError)))
        else:
            yield row


def _row(path: Path, labels: EncodeLabels) -> dict[str, Any]:
    if not is_unicode(path.stem):
        raise EncodeGridError("a file name that is no UTF-8")
    content = _read(path)
    found, geometry = parse_report(content), geometry_of(path.stem)
    return {
        **DEFAULTS,
        **asdict(labels),
        **asdict(geometry),
        **_measured(found),
        "run_id": _run_id(path.stem, content, labels),
        "src": f"{BVI_DVC.name}:{path.stem}",
        "src_sha256": hashlib.sha256(path.stem.encode()).hexdigest(),
        "duration_s": found.frames / geometry.framerate if geometry.framerate else 0.0,
    }


def _can_be_told(path: Path) -> bool:
    """Whether a manifest can name the report and hash it; one that it cannot is among the losses."""
    return is_unicode(path.name) and (os.access(path, os.R_OK) or not path.exists())


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise EncodeGridError("it cannot be read", found=str(error.strerror)) from error


def _measured(report: VmafReport) -> dict[str, float]:
    means = {f"{f}_mean": report.means[f] for f in CANONICAL_6}
    return {"vmaf_score": report.vmaf, **means, **{f"{f}_std": report.deviations[f] for f in CANONICAL_6}}


def _run_id(stem: str, content: bytes, labels: EncodeLabels) -> str:
    """32 hex digits, as vmaf-tune's, of everything the row is made from: equal inputs give equal rows."""
    told = "\n".join([stem, hashlib.sha256(content).hexdigest(), *map(str, asdict(labels).values())])
    return hashlib.sha256(told.encode("utf-8", "surrogatepass")).hexdigest()[:32]
