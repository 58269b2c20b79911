"""``predict … --every 1s``: a head's score of each window of a clip, beside the score of the clip as a whole.

Tables of them, and a picture. What the command takes, and where it writes, is in ``predict``.
"""

import csv
import io
import json
import math
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

from vqa_assets.clips.work import ProgressLine, stopping
from vqa_assets.errors import ClipError, HeadError
from vqa_assets.predict import NamedClip, each_measured
from vqa_assets.printing import plain, tell

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from vqa_assets.features.extractor import ClipExtractor
    from vqa_assets.features.measuring import ClipByWindows
    from vqa_assets.heads.using import Head, ScoredRows

VERSION = "window-predictions-v1"
PICTURE_TITLE = "vqa_assets: scores by window"
"""Says in a picture's own bytes what it is, so that no other picture is ever replaced."""
UNKNOWN = "a feature is not known"
_PANELS = 12
_WINDOW = 2
"""Clips a worker that are waiting or measured."""


@dataclass(frozen=True)
class WindowScore:
    """The score of a stretch of a clip in seconds, NaN with the ``reason`` where there is none; else as ``Scored``."""

    start_s: float
    end_s: float
    score: float = math.nan
    low: float = math.nan
    high: float = math.nan
    out_of_range: tuple[str, ...] | None = None
    reason: str = ""

    def as_json(self, target: str) -> dict[str, Any]:
        """The same under the names of the CSV's columns, None for what is not known."""
        return {
            "start_s": _known(self.start_s),
            "end_s": _known(self.end_s),
            target: _known(self.score),
            f"{target}_low": _known(self.low),
            f"{target}_high": _known(self.high),
            "out_of_range": None if self.out_of_range is None else list(self.out_of_range),
            "reason": self.reason,
        }


@dataclass(frozen=True)
class ScoresByWindow:
    """A clip's score as a whole and those of its windows; no windows, and a reason, where it could not be measured."""

    source: str
    key: str
    whole: WindowScore
    windows: tuple[WindowScore, ...] = ()

    @property
    def mean_of_windows(self) -> float:
        """The mean of the windows that have a score, each by its seconds; NaN where none has."""
        known = [one for one in self.windows if not math.isnan(one.score)]
        seconds = math.fsum(one.end_s - one.start_s for one in known)
        return math.fsum(one.score * (one.end_s - one.start_s) for one in known) / seconds if known else math.nan

    @property
    def rows(self) -> tuple[WindowScore, ...]:
        """A row for each window; of a clip that could not be measured one, which says why."""
        return self.windows or (self.whole,)


def check_windows(head: "Head") -> None:
    """HeadError where the head reads what a window of a clip does not have."""
    from vqa_assets.feature_names import KONVID_V1_COLUMNS
    from vqa_assets.heads.rows.columns import number_sources

    of_whole_clips = set(KONVID_V1_COLUMNS)
    reads = [name for name in head.schema.columns if of_whole_clips.intersection(number_sources(name))]
    if reads:
        more = f" and {len(reads) - 3} more" if reads[3:] else ""
        raise HeadError(
            f"--every: {head.manifest.id} scores whole clips only",
            found=f"it reads {', '.join(reads[:3])}{more}, of the family konvid-v1: what a re-encode of the clip "
            "loses, and a second encoded by itself loses something else",
            expected="a head that reads nr-v1, backbones, or both",
            next_step="train one with feature_schema nr-v1, or leave --every out",
        )


def score_windows(
    head: "Head", clips: Sequence[NamedClip], every_s: Fraction, workers: int, extractor: "ClipExtractor"
) -> Iterator[ScoresByWindow]:
    """The windows of each clip, in the order given; a clip that fails has a reason and costs itself only."""
    from vqa_assets.features.measuring import one_clip_windows

    stop = Event()
    line = ProgressLine("predict", len(clips), lambda text: tell(text, file=sys.stderr))

    def work(clip: NamedClip) -> "ClipByWindows":
        return one_clip_windows(clip.path, extractor, every_s, raw=clip.raw, caps=clip.caps, stop=stop)

    scored: dict[NamedClip, ScoresByWindow] = {}
    with ThreadPoolExecutor(workers) as pool, stopping(stop, pool):
        for done, (clip, future) in enumerate(each_measured(pool, work, clips, _WINDOW * workers), 1):
            try:
                scored[clip] = _scores_of(head, clip.path, future.result())
            except ClipError as error:
                failed = WindowScore(math.nan, math.nan, reason=str(error))
                scored[clip] = ScoresByWindow(str(clip.path), clip.path.name, failed)
            line.update(done)
    yield from (scored[clip] for clip in clips)


def _scores_of(head: "Head", clip: Path, measured: "ClipByWindows") -> ScoresByWindow:
    """The clip and those of its windows that have a row, scored together."""
    import polars as pl

    rows = [measured.row, *(row for _, row in measured.windows if not isinstance(row, ClipError))]
    table = pl.DataFrame(rows, infer_schema_length=None)
    scored, place = head.scored(table.lazy(), str(clip)), 1
    windows = []
    for window, row in measured.windows:
        if isinstance(row, ClipError):
            windows.append(WindowScore(window.start_s, window.end_s, reason=str(row)))
        else:
            windows.append(_score(scored, place, window.start_s, window.end_s))
            place += 1
    whole = _score(scored, 0, 0.0, measured.windows[-1][0].end_s)
    return ScoresByWindow(str(clip), clip.name, whole, tuple(windows))


def _score(scored: "ScoredRows", row: int, start_s: float, end_s: float) -> WindowScore:
    score, low, high = (float(of[row]) for of in (scored.scores, scored.low, scored.high))
    beyond = None if scored.out_of_range is None else scored.out_of_range[row]
    return WindowScore(start_s, end_s, score, low, high, beyond, "" if math.isfinite(score) else UNKNOWN)


def as_csv(target: str, scored: Sequence[ScoresByWindow]) -> str:
    """One row per window: ``source,key,start_s,end_s,<target>,<target>_low,<target>_high,out_of_range,reason``.

    What is not known is an empty cell; columns out of range are joined by ``;``.
    """
    out = io.StringIO()
    ends = (f"{target}_low", f"{target}_high")
    columns = ("source", "key", "start_s", "end_s", target, *ends, "out_of_range", "reason")
    writer = csv.DictWriter(out, columns, lineterminator="\n")
    writer.writeheader()
    for clip in scored:
        named = {"source": clip.source, "key": clip.key}
        for one in clip.rows:
            writer.writerow({**named, **one.as_json(target), "out_of_range": ";".join(one.out_of_range or ())})
    return out.getvalue()


def as_table(target: str, scored: Sequence[ScoresByWindow]) -> str:
    """One aligned line per window, with the reason where there is no score."""
    keys = [plain(clip.key) for clip in scored]
    width = max(map(len, keys), default=0)
    names = ("start_s", "end_s", target, f"{target}_low", f"{target}_high")
    lines = ["  ".join([f"{'key':<{width}}", *(f"{name:>7}" for name in names)])]
    for key, clip in zip(keys, scored, strict=True):
        for one in clip.rows:
            numbers = (one.start_s, one.end_s, one.score, one.low, one.high)
            cells = [
                f"{'' if math.isnan(n) else f'{n:.3f}':>{max(len(name), 7)}}"
                for n, name in zip(numbers, names, strict=True)
            ]
            lines.append("  ".join([f"{key:<{width}}", *cells, plain(one.reason)]).rstrip())
    return "\n".join(lines) + "\n"


def as_json(head: "Head", scored: Sequence[ScoresByWindow]) -> str:
    """One object: the head, and per clip its score, the mean of its windows, and these in order."""
    document = {
        "schema": VERSION,
        **head.as_json(),
        "clips": [
            {
                "source": clip.source,
                "key": clip.key,
                **clip.whole.as_json(head.target),
                "mean_of_windows": _known(clip.mean_of_windows),
                "windows": [one.as_json(head.target) for one in clip.windows],
            }
            for clip in scored
        ],
    }
    return json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def picture_png(target: str, scored: Sequence[ScoresByWindow], ends: tuple[float, float]) -> bytes:
    """A panel a clip: the windows' scores over seconds within their intervals, and the clip's own score as a line.

    ``ends`` are those of the target's scale. Of more than 12 clips the first 12 are drawn. Equal scores give equal
    bytes.
    """
    from matplotlib.figure import Figure

    from vqa_assets.heads.judging.pictures import png_of

    drawn = scored[:_PANELS]
    figure = Figure(figsize=(7.2, 0.4 + 1.7 * max(len(drawn), 1)), dpi=80, layout="tight")
    for clip, axes in zip(drawn, figure.subplots(max(len(drawn), 1), 1, squeeze=False)[:, 0], strict=False):
        _draw(axes, clip, ends)
        axes.set_ylabel(target, fontsize=8)
    more = f"seconds; {len(scored) - _PANELS} clips more are not drawn" if scored[_PANELS:] else "seconds"
    figure.supxlabel(more, fontsize=8)
    return png_of(figure, PICTURE_TITLE)


def is_picture(path: Path) -> bool:
    """Whether a file is a picture of scores by window, by its first bytes."""
    with path.open("rb") as picture:
        return PICTURE_TITLE.encode() in picture.read(200)


def _draw(axes: "Axes", clip: ScoresByWindow, ends: tuple[float, float]) -> None:
    if clip.windows:
        # Windows follow each other without a gap in time; one without a score (NaN) is a gap in the picture.
        edges = [*(one.start_s for one in clip.windows), clip.windows[-1].end_s]
        low, high = ([*ends, ends[-1]] for ends in zip(*((one.low, one.high) for one in clip.windows), strict=True))
        axes.fill_between(edges, low, high, step="post", color="tab:blue", alpha=0.2, linewidth=0)
        axes.stairs([one.score for one in clip.windows], edges, baseline=None, color="tab:blue", linewidth=1.5)
    if not math.isnan(clip.whole.score):
        axes.axhline(clip.whole.score, color="0.4", linestyle="--", linewidth=1)
    axes.set_ylim(*ends)
    axes.tick_params(labelsize=7)
    axes.set_title(plain(summary(clip)), fontsize=8)


def summary(clip: ScoresByWindow) -> str:
    """A clip's score beside the mean of its windows, or why it has none."""
    if not clip.windows:
        return f"{clip.key}: no score"
    whole, mean = ("no score" if math.isnan(n) else f"{n:.3f}" for n in (clip.whole.score, clip.mean_of_windows))
    return f"{clip.key}: {whole} as a clip, {mean} the mean of {len(clip.windows)} windows"


def _known(number: float) -> float | None:
    return None if math.isnan(number) else round(number, 4)
