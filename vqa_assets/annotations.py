"""A corpus's score file becomes annotation rows. Opens no clip, and drops nothing silently: a bad row says why."""

import codecs
import csv
import hashlib
import io
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from urllib.parse import quote, urlsplit

from vqa_assets.corpora import Corpus, Spellings
from vqa_assets.errors import AnnotationError
from vqa_assets.mos import SCALES, MosScale, detect_scale
from vqa_assets.settings import IngestSettings
from vqa_assets.statistics import LabelStatistics, Opinion, describe_labels, sd_from_spread
from vqa_assets.store.files import LFS_POINTER

VIDEO_SUFFIXES = (".mp4", ".webm", ".mkv", ".mov", ".avi", ".m4v", ".yuv", ".y4m", ".ts", ".mpg", ".mpeg", ".flv")
MOST_BAD_ROWS = 0.05
"""Share of bad rows above which the file as a whole is refused."""
_SAME_SCORE = 1e-6
_EXAMPLES = 5


@dataclass(frozen=True)
class AnnotationRow:
    """One row of the score file. ``problem`` says why it is unusable; ``repeats`` is true for a later equal row.

    ``mos`` is native and verbatim, ``sd`` in its unit (None: not published), ``count`` the number of opinions
    (0: not published). ``extra`` goes into the corpus JSONL as it is.
    """

    line: int
    src: str
    url: str
    mos: float
    sd: float | None
    count: int
    problem: str = ""
    repeats: bool = False
    extra: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Annotations:
    """A whole annotation file, read: rows in file order, and what was decided for all of them."""

    path: Path
    sha256: str
    columns: Mapping[str, tuple[str, ...]]
    scale: MosScale
    scale_from: str
    rows: tuple[AnnotationRow, ...]

    @property
    def usable(self) -> list[AnnotationRow]:
        """The rows that name a clip and score it, each clip once."""
        return [row for row in self.rows if not row.problem and not row.repeats]

    @property
    def bad(self) -> list[AnnotationRow]:
        """The rows that cannot be used."""
        return [row for row in self.rows if row.problem]

    def statistics(self) -> LabelStatistics:
        """What the usable labels look like."""
        return describe_labels([Opinion(r.mos, r.sd, r.count) for r in self.usable], self.scale)

    def problems(self) -> dict[str, int]:
        """Reason → number of bad rows."""
        return dict(Counter(row.problem.partition(":")[0] for row in self.bad))


def find_annotation_file(corpus: Corpus, corpus_dir: Path, explicit: Path | None) -> Path:
    """The annotation file. One that is named and missing is an error, never a fallback.

    AnnotationError says what to drop, and where it is had.
    """
    if explicit is not None:
        if not explicit.is_file():
            raise AnnotationError(
                f"{corpus.name}: manifest_csv {explicit}",
                found=f"found {_what_is_there(explicit)} there",
                expected="the annotation file that the setting names",
                next_step="correct the path; a file that is named is never replaced by another",
            )
        return explicit
    path = corpus_dir / corpus.acquisition.file
    if not path.is_file():
        raise AnnotationError(
            f"{corpus.name}: no annotation file",
            found=f"found {_what_is_there(path)} at {path}",
            expected=f"{corpus.acquisition.file} in {corpus_dir}",
            next_step=f"{corpus.acquisition.steps} It is had from {corpus.acquisition.where}",
        )
    return path


def read_annotations(corpus: Corpus, settings: IngestSettings, path: Path) -> Annotations:
    """Read, judge and profile a whole annotation file.

    AnnotationError where it is empty, of another corpus, without the needed columns, or with more than 5 % bad rows;
    ScaleError where its scores fit no declared scale.
    """
    content = path.read_bytes()
    header, records = _records(content, corpus, path)
    columns = _choose_columns(header, corpus.spellings, corpus, path)
    rows = [_row(record, line, columns, corpus, settings) for line, record in records]
    _check_row_count(len(rows), corpus, settings, path)
    scale, scale_from = _scale(rows, corpus, settings, path)
    judged = _judge_repeats([_judge_range(row, scale) for row in rows], scale)
    found = Annotations(path, hashlib.sha256(content).hexdigest(), columns, scale, scale_from, tuple(judged))
    _check_bad_rows(found, corpus)
    return found


def _what_is_there(path: Path) -> str:
    if path.exists():
        return "something that is no file"
    if path.is_symlink():
        return "a dangling link"
    return "nothing" if path.parent.is_dir() else "no folder"


def _records(content: bytes, corpus: Corpus, path: Path) -> tuple[list[str], Iterator[tuple[int, dict[str, str]]]]:
    lines = _lines(_decoded(content, corpus, path), corpus, path)
    header = next(lines, (0, []))[1]
    names = [name.lower() for name in header]
    return header, ((line, dict(zip(names, values, strict=False))) for line, values in lines)


def _lines(text: str, corpus: Corpus, path: Path) -> Iterator[tuple[int, list[str]]]:
    """The records that are not blank, each with the number of its first line; a quoted value may span several."""
    physical = list(io.StringIO(text, newline=""))
    reader = csv.reader(physical, delimiter=_delimiter(text), skipinitialspace=True)
    first = 1
    try:
        for record in reader:
            values = [value.strip() for value in record]
            _check_quotes(physical[first - 1 : reader.line_num])
            if any(values):
                yield first, values
            first = reader.line_num + 1
    except csv.Error as error:
        raise AnnotationError(
            f"{corpus.name}: {path}",
            found=f"line {first} cannot be read as CSV ({error})",
            expected="every quote closed",
            next_step="correct that line",
        ) from error


def _check_quotes(record: Sequence[str]) -> None:
    """csv.Error where a quote is never closed: it would swallow all later rows as one."""
    if len(record) > 1 and sum(line.count('"') for line in record) % 2:
        raise csv.Error("a quote that is not closed")


def _decoded(content: bytes, corpus: Corpus, path: Path) -> str:
    what = f"{corpus.name}: {path}"
    if content.startswith(LFS_POINTER):
        raise AnnotationError(
            what, found="a Git-LFS pointer", expected="the score file", next_step="run git lfs pull where it came from"
        )
    if not content.removeprefix(codecs.BOM_UTF8).strip():
        raise AnnotationError(
            what,
            found="an empty file",
            expected=f"a header and at least {corpus.min_rows} rows",
            next_step=f"download it again from {corpus.acquisition.where}",
        )
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise AnnotationError(
            what, found=f"bytes that are no UTF-8 text ({error})", expected="a CSV file", next_step="save it as UTF-8"
        ) from error


def _delimiter(text: str) -> str:
    header = text.lstrip().partition("\n")[0]
    return max(",;\t", key=header.count)


def _choose_columns(
    header: Sequence[str], spellings: Spellings, corpus: Corpus, path: Path
) -> Mapping[str, tuple[str, ...]]:
    present = {name.lower() for name in header}
    wanted = {
        "clip": spellings.clip,
        "url": spellings.url,
        "mos": spellings.mos,
        "sd": spellings.sd,
        "count": spellings.count,
    }
    chosen = {role: tuple(n.lower() for n in names if n.lower() in present) for role, names in wanted.items()}
    for role in ("clip", "mos"):
        if not chosen[role]:
            raise AnnotationError(
                f"{corpus.name}: {path}",
                found=f"columns {', '.join(header[:20]) or 'none'}",
                expected=f"a {role} column named one of {', '.join(wanted[role])}",
                next_step=f"is this the score file of {corpus.title}? Rename the column if it is",
            )
    return chosen


def _row(
    record: Mapping[str, str],
    line: int,
    columns: Mapping[str, tuple[str, ...]],
    corpus: Corpus,
    settings: IngestSettings,
) -> AnnotationRow:
    def first(role: str) -> str:
        return next((record[name] for name in columns[role] if record.get(name)), "")

    src = _clip_name(first("clip"), settings.clip_suffix)
    url = first("url") or (settings.bucket_prefix + quote(src) if settings.bucket_prefix and src else "")
    mos, sd, count = _number(first("mos")), _number(first("sd")), _number(first("count"))
    opinions = int(count) if math.isfinite(count) and count > 0 else 0
    return AnnotationRow(
        line=line,
        src=src,
        url=url,
        mos=mos,
        sd=sd_from_spread(sd, corpus.spread, opinions),
        count=opinions,
        problem=_problem(src, url, mos, first("mos")),
    )


def _clip_name(name: str, suffix: str) -> str:
    """The name on disk: a stem with dots is no suffix, so the suffix is added unless a video suffix is there."""
    return name if not name or name.lower().endswith(VIDEO_SUFFIXES) else name + suffix


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _problem(src: str, url: str, mos: float, mos_text: str) -> str:
    if not src:
        return "no clip name"
    parts = PurePosixPath(src)
    if parts.is_absolute() or ".." in parts.parts or "\0" in src or "\\" in src:
        return f"a name that leaves the folder: {src!r}"
    if not math.isfinite(mos):
        return f"no usable MOS: {mos_text!r}"
    if url and _scheme(url) not in ("http", "https"):
        return f"a URL that is neither http nor https: {_scheme(url)!r}"
    return ""


def _scheme(url: str) -> str:
    try:
        return urlsplit(url).scheme.lower()
    except ValueError:
        return "unreadable"


def _check_row_count(count: int, corpus: Corpus, settings: IngestSettings, path: Path) -> None:
    least, most = settings.min_rows, settings.max_manifest_rows
    if count >= least and (most is None or count <= most):
        return
    expected = f"at least {least}" if count < least else f"at most {most}"
    setting = "min_rows" if count < least else "max_manifest_rows"
    hint = f" {corpus.lookalike}." if corpus.lookalike else ""
    raise AnnotationError(
        f"{corpus.name}: {path}",
        found=f"{count} rows",
        expected=expected,
        next_step=f"is this the right corpus?{hint} If the file is right, set {setting} in the run config or "
        "ingest.toml",
    )


def _scale(rows: Sequence[AnnotationRow], corpus: Corpus, settings: IngestSettings, path: Path) -> tuple[MosScale, str]:
    if settings.mos_scale:
        return SCALES[settings.mos_scale], "set"
    scores = [row.mos for row in rows if math.isfinite(row.mos)]
    if not scores:
        _refuse_unusable([row for row in rows if row.problem], len(rows), corpus, path)
    return detect_scale(scores, corpus.scales, f"{corpus.name}: {path}"), "detected"


def _judge_range(row: AnnotationRow, scale: MosScale) -> AnnotationRow:
    if row.problem or scale.holds(row.mos):
        return row
    return replace(row, problem=f"MOS outside [{scale.low:g}, {scale.high:g}]: {row.mos:g}")


def _judge_repeats(rows: Sequence[AnnotationRow], scale: MosScale) -> list[AnnotationRow]:
    """Later rows of a name with an equal score repeat; where the whole file gives a name two scores, all are bad."""
    scores: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        if not row.problem:
            scores[row.src].append(row.mos)
    same = _SAME_SCORE * (scale.high - scale.low)
    conflicting = {src: values for src, values in scores.items() if max(values) - min(values) > same}
    seen: set[str] = set()
    return [_judge_repeat(row, conflicting.get(row.src), seen) for row in rows]


def _judge_repeat(row: AnnotationRow, conflict: list[float] | None, seen: set[str]) -> AnnotationRow:
    if row.problem:
        return row
    if conflict:
        return replace(row, problem=f"conflicting scores: {row.src} has {sorted(set(conflict))}")
    if row.src in seen:
        return replace(row, repeats=True)
    seen.add(row.src)
    return row


def _check_bad_rows(found: Annotations, corpus: Corpus) -> None:
    bad = found.bad
    if not found.usable or len(bad) > MOST_BAD_ROWS * len(found.rows):
        _refuse_unusable(bad, len(found.rows), corpus, found.path)


def _refuse_unusable(bad: Sequence[AnnotationRow], rows: int, corpus: Corpus, path: Path) -> None:
    raise AnnotationError(
        f"{corpus.name}: {path}",
        found=f"{len(bad)} of {rows} rows unusable ({first_lines(bad)})",
        expected=f"at most {MOST_BAD_ROWS:.0%} bad rows and at least one usable",
        next_step=f"is this the score file of {corpus.title}? Correct or remove those lines",
    )


def first_lines(bad: Iterable[AnnotationRow]) -> str:
    """The first bad rows with their line numbers, as a message shows them."""
    shown = list(bad)
    told = "; ".join(f"line {row.line}: {row.problem}" for row in shown[:_EXAMPLES])
    return told + (f"; and {len(shown) - _EXAMPLES} more" if len(shown) > _EXAMPLES else "")
