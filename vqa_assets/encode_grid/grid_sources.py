"""The two sources of the encode grid, each as a job for ``grid``: BVI-DVC's libvmaf reports, Netflix's rows.

BVI-DVC: one row per cached libvmaf report. The cache does not keep what was encoded, so its settings are declared for
all of it, and the source's SHA-256 is that of its name: a surrogate that is the same each time.

Netflix: rows that vmaf-tune wrote, validated, and completed where they are of version 2. Nothing is scored here.
"""

import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vqa_assets.corpora.external import BVI_DVC, NETFLIX
from vqa_assets.encode_grid.grid import GridJob, GridOutput, GridReport, ReportLoss
from vqa_assets.encode_grid.grid_files import list_reports, reports_folder, vmaf_tune_rows
from vqa_assets.encode_grid.grid_rows import (
    DEFAULTS,
    ROW_KEYS,
    SCHEMA_VERSION,
    VERSION_2_KEYS,
    checked_rows,
    is_unicode,
    require,
    shown_name,
)
from vqa_assets.encode_grid.libvmaf_report import UNNAMED, VMAF, EmptyReportError, VmafReport, parse_report
from vqa_assets.encode_grid.settings import USUAL_MODEL, EncodeLabels
from vqa_assets.errors import EncodeGridError
from vqa_assets.feature_names import CANONICAL_6
from vqa_assets.printing import logger
from vqa_assets.settings import with_origins
from vqa_assets.tables.files import no_file_at
from vqa_assets.tables.paths import DataRoot

_NAME = re.compile(r"^(?P<clip>.+?)_(?P<width>\d+)x(?P<height>\d+)_(?P<rate>\d+(?:\.\d+)?)fps(?:_|$)")
_OLDER_ROWS = "write the rows again with a vmaf-tune of schema version 3; nothing is guessed but what version 2 lacks"
_EXAMPLES = 3
_LETTER_OF_WIDTH = {3840: "A", 1920: "B", 960: "C", 480: "D"}
"""What BVI-DVC's names begin with, by the width in pixels: each content stands at four sizes."""
_log = logger("vqa_assets.encode_grid")


@dataclass(frozen=True)
class NamedGeometry:
    """Width and height in pixels and frames per second, as a clip's name says them; 0 where it does not."""

    width: int = 0
    height: int = 0
    framerate: float = 0.0


def bvi_dvc_job(folder: Path, labels: EncodeLabels, root: DataRoot, to: GridOutput) -> GridJob:
    """The grid of the reports in ``folder``. EncodeGridError where there is none."""
    reports = list_reports(folder)
    return GridJob(
        source=BVI_DVC,
        # a manifest cannot name or hash the others; they are among the losses
        inputs={
            root.shown(path): path
            for path in reports
            if is_unicode(path.name) and (os.access(path, os.R_OK) or not path.exists())
        },
        read=lambda report: _bvi_dvc_rows(reports, labels, report),
        to=to,
        args=with_origins(
            {"cache_dir": folder, **labels.values()}, {"cache_dir": reports_folder(root), **EncodeLabels().values()}
        ),
    )


def geometry_of(stem: str) -> NamedGeometry:
    """What ``<clip>_<W>x<H>_<N>fps_…`` says; all 0 for any other name."""
    match = _NAME.match(stem)
    return NamedGeometry(int(match["width"]), int(match["height"]), float(match["rate"])) if match else NamedGeometry()


def content_of_name(stem: str) -> str:
    """What a BVI-DVC clip shows: its name without size and rate, and without the letter that stands for that size.

    ``ABookcase_3840x2176_…`` to ``DBookcase_480x272_…`` show ``Bookcase``. A letter that is not that of the size is a
    part of the name, and a name of any other form is a content of its own.
    """
    match = _NAME.match(stem)
    if not match:
        return stem
    clip, letter = match["clip"], _LETTER_OF_WIDTH.get(int(match["width"]))
    # a small letter goes on a word: of Boat at 1920 pixels the B is its own
    return clip[1:] if clip[0] == letter and len(clip) > 1 and not clip[1].islower() else clip


def repeated_clips(reports: Iterable[Path]) -> dict[str, list[Path]]:
    """``<clip>_<W>x<H>`` → its reports, of every ``<clip>_<W>x<H>_<N>fps_…`` that has more than one.

    The settings say of all reports alike how they were encoded, which cannot be so of two of one clip.
    """
    of_clip: dict[str, list[Path]] = {}
    for path in reports:
        if match := _NAME.match(path.stem):
            of_clip.setdefault(f"{match['clip']}_{match['width']}x{match['height']}", []).append(path)
    return {clip: paths for clip, paths in of_clip.items() if len(paths) > 1}


def netflix_job(rows: Path, root: DataRoot, to: GridOutput) -> GridJob:
    """The grid of vmaf-tune's rows in a JSON Lines file. EncodeGridError where there is none."""
    if not rows.is_file():
        raise EncodeGridError(
            f"{NETFLIX.name}: no rows of vmaf-tune",
            found=f"a folder at {rows}" if rows.is_dir() else f"nothing at {rows}",
            expected="a JSON Lines file of encodes scored by vmaf-tune",
            next_step="put the file there, or set input",
        )
    return GridJob(
        source=NETFLIX,
        inputs={root.shown(rows): rows},
        read=lambda report: _netflix_rows(rows, report),
        to=to,
        args=with_origins({"input": rows}, {"input": vmaf_tune_rows(root)}),
    )


def _bvi_dvc_rows(reports: tuple[Path, ...], labels: EncodeLabels, report: GridReport) -> Iterator[dict[str, Any]]:
    for clip, several in repeated_clips(reports).items():
        report.repeated_clips += 1
        examples = ", ".join(shown_name(path) for path in several[:_EXAMPLES])
        message = "%s: %d reports (%s); all have one encoder, preset and CRF here: keep one report a clip"
        _log.warning(message, clip, len(several), examples)
    read: list[_ReadReport] = []
    for path in reports:
        try:
            read.append(_read_report(path, labels.vmaf_model))
        except EncodeGridError as error:
            reason = f"{error.what}: {error.found}" if error.found else error.what
            report.lose(ReportLoss(shown_name(path), reason, isinstance(error, EmptyReportError)))
    # every report is read before the first row is made: which model scored is decided for all of them together
    for one, scored in zip(read, _models(read, labels.vmaf_model), strict=True):
        yield _bvi_dvc_row(one, scored, labels)


@dataclass(frozen=True)
class _ReadReport:
    """A report that gives a row: its file, the SHA-256 of its bytes, what it says."""

    path: Path
    sha256: str
    report: VmafReport


@dataclass(frozen=True)
class _Scored:
    """The score that is taken of a report, and the model that it is of."""

    vmaf: float
    model: str


def _read_report(path: Path, model: str | None) -> _ReadReport:
    if not is_unicode(path.stem):
        raise EncodeGridError("a file name that is no UTF-8")
    if what := no_file_at(path):
        raise EncodeGridError("it cannot be read", found=what)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise EncodeGridError("it cannot be read", found=str(error.strerror)) from error
    return _ReadReport(path, hashlib.sha256(content).hexdigest(), parse_report(content, model))


def _models(read: Sequence[_ReadReport], stated: str | None) -> list[_Scored]:
    """Per report, the score that counts and its model: ``stated``, else the one it names, else libvmaf's default.

    EncodeGridError where a report names another model than is stated, and where nothing is stated and reports that name
    a model stand beside such as do not, or one report has the scores of several.
    """
    of_models: dict[str, list[str]] = {}
    for one in read:
        for name in one.report.scores:
            of_models.setdefault(name, []).append(shown_name(one.path))
    found = "; ".join(
        f"{len(files)} {f'name {name}' if name else f'name no model ({VMAF} stands there for any)'}: "
        f"{', '.join(files[:_EXAMPLES])}{', …' if len(files) > _EXAMPLES else ''}"
        for name, files in sorted(of_models.items())
    )
    several = any(len(one.report.scores) > 1 for one in read)
    if stated is None and (several or (UNNAMED in of_models and len(of_models) > 1)):
        raise EncodeGridError(
            f"{BVI_DVC.name}: vmaf_model is not known",
            found=f"reports of which {found}",
            expected="one model's score in each, and a name of it in all or in none",
            next_step="set vmaf_model to the model that scored them, or keep other models' reports in another folder",
        )
    scored = []
    for one in read:
        scores = one.report.scores
        name = UNNAMED if UNNAMED in scores else next(iter(scores))
        if stated is not None and stated in scores:
            name = stated
        if stated is not None and name not in (stated, UNNAMED):
            raise EncodeGridError(
                f"{BVI_DVC.name}: vmaf_model {stated} contradicts {shown_name(one.path)}",
                found=f"reports of which {found}",
                expected=f"scores by {stated}, or such as name no model",
                next_step="correct vmaf_model, leave it empty to take the reports' own names, or move reports of other "
                "models to another folder",
            )
        scored.append(_Scored(scores[name], name or stated or USUAL_MODEL))
    return scored


def _bvi_dvc_row(one: _ReadReport, scored: _Scored, labels: EncodeLabels) -> dict[str, Any]:
    path, report, geometry = one.path, one.report, geometry_of(one.path.stem)
    named = {**labels.values(), "vmaf_model": scored.model}
    # as vmaf-tune's: 32 hex digits of everything the row is made from, so that equal inputs give equal rows
    run = "\n".join([path.stem, one.sha256, *map(str, named.values())])
    return {
        **DEFAULTS,
        **named,
        **asdict(geometry),
        "vmaf_score": scored.vmaf,
        **{f"{f}_mean": report.means[f] for f in CANONICAL_6},
        **{f"{f}_std": report.deviations[f] for f in CANONICAL_6},
        "run_id": hashlib.sha256(run.encode("utf-8", "surrogatepass")).hexdigest()[:32],
        "src": f"{BVI_DVC.name}:{path.stem}",
        "src_sha256": hashlib.sha256(path.stem.encode()).hexdigest(),
        "content_id": content_of_name(path.stem),
        "duration_s": report.frames / geometry.framerate if geometry.framerate else 0.0,
    }


def _netflix_rows(path: Path, report: GridReport) -> Iterator[dict[str, Any]]:
    def complete(row: dict[str, Any], where: str) -> dict[str, Any]:
        require(row, ("schema_version",), where, _OLDER_ROWS)
        version = row["schema_version"]
        if type(version) is not int or version not in (2, SCHEMA_VERSION):
            raise EncodeGridError(
                f"{where}: schema_version",
                found=f"version {version!r}",
                expected="version 2 or 3",
                next_step=_OLDER_ROWS,
            )
        require(row, ROW_KEYS if version == SCHEMA_VERSION else VERSION_2_KEYS, where, _OLDER_ROWS)
        report.filled_version_2 += version != SCHEMA_VERSION
        return {**DEFAULTS, **row, "schema_version": SCHEMA_VERSION}

    for _, row in checked_rows(path, complete):
        yield row
