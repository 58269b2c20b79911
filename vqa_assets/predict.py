"""``python -m vqa_assets.predict <head> <clips or tables…>``: scores by a trained head.

A clip is measured first, as ``clip_features`` measures it; a feature table is read as it is. With ``--every 1s`` clips
are scored window by window (``window_scores``), with ``--from LIST`` those of a list of any length (``list_scores``).
A head that wants a reference (``fr_regressor_v2``) scores tables only. No Dagster, no network.
"""

import argparse
import csv
import io
import json
import math
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import groupby
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any, TypeVar

from vqa_assets.annotations.rows import VIDEO_SUFFIXES
from vqa_assets.arguments import CommandParser, add_settings, nearest
from vqa_assets.clips.cap_settings import StatedCaps
from vqa_assets.clips.caps import CAP_NAMES, ClipCaps
from vqa_assets.clips.geometry import is_raw
from vqa_assets.clips.work import ProgressLine, completed, stopping
from vqa_assets.corpora.contents import KEY_COLUMNS
from vqa_assets.corpora.raw_video import RawVideo
from vqa_assets.errors import ClipError, HeadError, TableError, VqaError
from vqa_assets.printing import hand_out, plain, public, tell, tell_error
from vqa_assets.settings import fits_a_disk, typed_path
from vqa_assets.stages.run import faults_in_words
from vqa_assets.tables.files import write_bytes
from vqa_assets.tables.makers import made_by
from vqa_assets.tables.paths import DataRoot
from vqa_assets.tables.publication import settle
from vqa_assets.tables.targets import OwnTarget, check_targets

if TYPE_CHECKING:
    from vqa_assets.features.extractor import ClipExtractor
    from vqa_assets.heads.using import Head, ScoredRows
    from vqa_assets.ingest.settings import IngestSettings

Result = TypeVar("Result")
VERSION = "predictions-v1"
STAGE = "predict"
_HEADER = re.compile(
    rb"source,key,(?:\w+,reason(?:,\w+_low,\w+_high,out_of_range)?|start_s,end_s,\w+,\w+_low,\w+_high,out_of_range,reason)"
    rb"\r?\n|key +(?:start_s +end_s +)?\w+(?: +\w+_low +\w+_high)?\n"
)
"""The first line of a table of scores, as CSV and as aligned text; earlier ones had no intervals."""
_COLUMNS_SHOWN = 3
_LONGEST_HEADER = 10_000
_OTHER_TABLES = (".txt", ".xlsx", ".xls", ".feather", ".arrow", ".avro")
_WINDOW = 4
"""Clips a worker that are waiting or measured, so that a long list is not all in memory."""
_DURATION = re.compile(r"(?P<number>[0-9]{1,6}(?:\.[0-9]{1,6})?) *(?P<unit>ms|s)?")
_SHORTEST_WINDOW_S = Fraction(1, 10)
"""Under it a window holds two or three frames: too few for what changes over time."""
_CLIPS_TOLD = 10
_ENCODE = ("encoder", "preset", "crf")
"""The columns that tell the encodes of one source apart."""


@dataclass(frozen=True)
class NamedClip:
    """A clip's file that somebody named, the caps on it, and what it is where it has no container."""

    path: Path
    caps: ClipCaps = field(default_factory=ClipCaps)
    raw: RawVideo | None = None


@dataclass(frozen=True)
class Scored:
    """One clip's score by a head, NaN with the ``reason`` where there is none.

    ``low`` and ``high`` are the ends of its interval, NaN where the head has none. ``out_of_range`` are the columns
    that lie beyond what the head was trained on, None where that is not known.
    """

    source: str
    key: str
    score: float
    reason: str = ""
    low: float = math.nan
    high: float = math.nan
    out_of_range: tuple[str, ...] | None = None

    def as_json(self, target: str) -> dict[str, Any]:
        """The same under the name of the head's target, with None for what is not known."""

        def known(number: float) -> float | None:
            return None if math.isnan(number) else round(number, 4)

        return {
            "source": self.source,
            "key": self.key,
            target: known(self.score),
            "reason": self.reason,
            # After what earlier versions wrote, for whoever reads columns by their place.
            f"{target}_low": known(self.low),
            f"{target}_high": known(self.high),
            "out_of_range": None if self.out_of_range is None else list(self.out_of_range),
        }


def _to_stderr(text: str) -> None:
    # A line, whatever a name in it holds; a list may hold addresses with a password in them.
    tell(public(text), file=sys.stderr)


def find_head(name: str, root: str | None) -> Path:
    """A head by its file (``.onnx`` or ``.json``), else by its name under the data root's ``models``.

    An experiment's name is ``<head>.<name>``.
    """
    path = typed_path(name)
    if path.suffix in (".onnx", ".json"):
        return path
    data_root = DataRoot.resolve(root)
    settle(data_root.models(), data_root.experiments())
    folders = (data_root.models(), data_root.experiments())
    for folder in folders:
        if any((folder / f"{name}{suffix}").is_file() for suffix in (".json", ".onnx")):  # what lacks is told later
            return folder / f"{name}.onnx"
    heads = sorted(p.stem for folder in folders for p in folder.glob("*.onnx"))
    near = nearest(name, heads)
    raise HeadError(
        f"head {name}",
        found=f"no such head under {folders[0]}",
        expected="" if near else f"an .onnx file, or one of: {', '.join(heads) or 'none'}",
        next_step=f"did you mean {near}?" if near else "",
    )


def _of_corpus(
    name: str, root: str | None, say: Callable[[str], None], *, clips_only: bool
) -> tuple[list[Path], "IngestSettings | None"]:
    """What a corpus's name stands for where no file is called so: its feature table, else its folders of clips.

    With the settings of its ingest where these are the clips; what is no corpus's name stands for itself.
    """
    from vqa_assets.corpora.declarations import corpora_folder, with_declared
    from vqa_assets.ingest.layout import CorpusLayout

    path = Path(name)
    if path.exists() or path.name != name:
        return [path], None
    data_root = DataRoot(typed_path(root).absolute()) if root else DataRoot.named()
    corpus = with_declared(corpora_folder(data_root.path, os.environ)).get(name)
    if corpus is None:
        return [path], None
    features = data_root.features(corpus)
    if features.is_file() and not clips_only:
        say(f"{name}: its feature table {features}")
        return [features], None
    layout = CorpusLayout.standing(corpus, data_root)
    folders = [folder for folder in layout.clips.every if folder.is_dir()]
    return folders or [data_root.corpus_dir(corpus)], layout.settings


def sources_of(
    names: Iterable[str],
    root: str | None = None,
    *,
    clips_only: bool = False,
    stated: StatedCaps | None = None,
    by_options: bool = False,
    say: Callable[[str], None] = _to_stderr,
) -> tuple[list[Path], list[NamedClip]]:
    """(tables, clips) of what was named: files by their suffix, and of folders the clips inside, in order.

    A corpus of the data root may be named, too: its feature table, with ``clips_only`` its clips. The caps on clips are
    those ``stated``, in a command ``by_options``, then those of the ``ingest.toml`` of a corpus that is named.
    """
    from vqa_assets.tables.foreign_tables import TABLE_SUFFIXES

    tables: list[Path] = []
    clips: list[NamedClip] = []
    standing = [_of_corpus(name, root, say, clips_only=clips_only) for name in names]
    for path, of_corpus in ((path, of_corpus) for paths, of_corpus in standing for path in paths):
        inside = sorted(p for p in path.rglob("*") if _is_clip(p)) if path.is_dir() else [path]
        if not path.exists() or not inside:
            reason = "no clip in this folder" if path.exists() else "found nothing there"
            raise HeadError(
                f"{path}", found=reason, expected="a clip, a folder of clips, a feature table, or a corpus's name"
            )
        if path.is_file() and path.suffix.lower() in _OTHER_TABLES:
            raise HeadError(
                f"{path}",
                found=f"a {path.suffix} file",
                expected=f"a clip, or a feature table as one of {', '.join(TABLE_SUFFIXES)}",
                next_step="save the table in one of these formats",
            )
        is_table = path.suffix.lower() in TABLE_SUFFIXES and path.is_file()
        if is_table:
            tables.append(path)
            continue
        caps = (stated or StatedCaps()).over(of_corpus.caps() if of_corpus else ClipCaps(), by_options=by_options)
        raw = of_corpus.raw_video if of_corpus else None
        clips += [NamedClip(one, caps, raw if is_raw(one.name) else None) for one in inside]
    return tables, clips


def _is_clip(path: Path) -> bool:
    return path.name.lower().endswith(VIDEO_SUFFIXES) and not path.name.startswith(".") and path.is_file()


def score_table(head: "Head", path: Path, say: Callable[[str], None] = _to_stderr) -> list[Scored]:
    """Every row of a feature table, in its order; HeadError where the head cannot read it."""
    import polars as pl

    from vqa_assets.heads.rows.vectors import refuse_other_vectors
    from vqa_assets.labels.scores import IDENTITY_COLUMNS
    from vqa_assets.provenance import ReadInput
    from vqa_assets.provenance.reading import why_not_as_published
    from vqa_assets.tables.foreign_tables import check_present, table_at

    check_present(path, "feature table", "name a feature table, such as features.parquet")
    if told := why_not_as_published(ReadInput.of(path)):
        say(told)
    table = table_at(path)
    if unknown := refuse_other_vectors(head.manifest.id, head.manifest.backbones, path):
        say(f"{path}: nothing says which network measured its vectors of {', '.join(unknown)}")
    key = next((name for name in KEY_COLUMNS if name in table.names), None)
    rows = table.rows((key or "", *IDENTITY_COLUMNS))
    # A head that tells encoders apart scores encodes, many of one source, whose name alone would say too little.
    naming = [key, *(column for column in _ENCODE if head.encoders and column in table.names)] if key else []
    try:
        scored = head.scored(rows, str(path))
        keys = [""] * len(scored.scores)
        if naming:
            words = [pl.col(column).cast(pl.String) for column in naming]
            keys = rows.select(pl.concat_str(words, separator=" ", ignore_nulls=True)).collect().to_series().to_list()
    except pl.exceptions.PolarsError as error:
        raise TableError(f"{path}", found=str(error).partition("\n")[0], expected="a whole table") from error
    return [scored_row(head, str(path), name or f"row {row + 1}", scored, row) for row, name in enumerate(keys)]


def extractor_of(head: "Head", named_root: str | None, *, by_windows: bool = False) -> "ClipExtractor":
    """What measures of a clip, or of its windows, all that a head reads.

    Backbones are those of the data root, which need not be there for a head that is named by its file.
    SettingsError where one is not there, HeadError where it is not the one that the head learned from.
    """
    from vqa_assets.feature_names import NR_V1
    from vqa_assets.features.backbone import backbone_family
    from vqa_assets.features.extractor import FEATURE_SETS, ClipExtractor
    from vqa_assets.heads.rows.vectors import backbones_of, families_in, refuse_other_network

    root = DataRoot.resolve(named_root) if named_root else DataRoot.named()
    backbones = backbones_of(head.schema.name, root)
    for name, backbone in backbones.items():
        refuse_other_network(head.manifest.id, head.manifest.backbones.get(name), backbone)
    shipped = families_in(head.schema.name)
    # Of columns that a run named itself nobody says whose they are.
    own = (NR_V1.name,) if by_windows else FEATURE_SETS
    sets = shipped if set(shipped) <= set(FEATURE_SETS) else own
    return ClipExtractor(feature_sets=sets, further=tuple(map(backbone_family, backbones.values())))


def score_clips(
    head: "Head",
    clips: Sequence[NamedClip],
    workers: int,
    extractor: "ClipExtractor",
    say: Callable[[str], None] = _to_stderr,
) -> Iterator[Scored]:
    """Each clip measured and scored, in the order given; one that fails has a reason and costs itself only."""
    import polars as pl

    from vqa_assets.features.measuring import one_clip_row

    stop = Event()
    line = ProgressLine("predict", len(clips), say)

    def work(clip: NamedClip) -> dict[str, Any]:
        return one_clip_row(clip.path, extractor, raw=clip.raw, caps=clip.caps, stop=stop)

    scored: dict[NamedClip, Scored] = {}
    with ThreadPoolExecutor(workers) as pool, stopping(stop, pool):
        for done, (clip, future) in enumerate(each_measured(pool, work, clips, _WINDOW * workers), 1):
            source, key = str(clip.path), clip.path.name
            try:
                row = future.result()
            except ClipError as error:
                scored[clip] = Scored(source, key, math.nan, str(error))
            else:
                of_clip = head.scored(pl.DataFrame([row]).lazy(), source)
                scored[clip] = scored_row(head, source, key, of_clip, 0)
            line.update(done)
    yield from (scored[clip] for clip in clips)


def each_measured(
    pool: Executor, work: Callable[[NamedClip], Result], clips: Iterable[NamedClip], window: int
) -> Iterator[tuple[NamedClip, Future[Result]]]:
    """Each clip with what came of ``work``, as they complete; those under other caps come after one another.

    The memory that clips may take is one number for all that are measured at once.
    """
    for _, together in groupby(clips, lambda clip: clip.caps):
        yield from completed(pool, work, together, window)


def score_all(
    head: "Head",
    tables: Sequence[Path],
    clips: Sequence[NamedClip],
    workers: int,
    root: str | None,
    say: Callable[[str], None] = _to_stderr,
) -> list[Scored]:
    """Every row of the tables, then every clip, in their order; HeadError where the head cannot read them."""
    if clips:
        _refuse_clips_alone(head, f"{clips[0].path}")
    scored = [one for table in tables for one in score_table(head, table, say)]
    if clips:
        scored += score_clips(head, clips, workers, extractor_of(head, root), say)
    return scored


def scored_row(head: "Head", source: str, key: str, rows: "ScoredRows", row: int) -> Scored:
    """The score of one of the rows, with the reason where it is not known."""
    unknown = "a feature or the encoder is not known" if head.encoders else "a feature is not known"
    score, low, high = (float(of[row]) for of in (rows.scores, rows.low, rows.high))
    beyond = None if rows.out_of_range is None else rows.out_of_range[row]
    return Scored(source, key, score, "" if math.isfinite(score) else unknown, low, high, beyond)


def as_table(target: str, scored: Sequence[Scored]) -> str:
    """Keys, scores and the ends of their intervals, with the reason where there is no score, and what is out of range.

    A head without an interval leaves both ends blank.
    """
    keys = [plain(one.key) for one in scored]
    ends = (f"{target}_low", f"{target}_high")
    width = max(map(len, keys), default=0)
    lines = [f"{'key':<{width}}  {target:>6}  {ends[0]}  {ends[1]}"]
    for key, one in zip(keys, scored, strict=True):
        cells = [("" if math.isnan(v) else f"{v:.3f}", len(n)) for v, n in zip((one.low, one.high), ends, strict=True)]
        of_ends = "  ".join(f"{cell:>{size}}" for cell, size in cells)
        beyond = one.out_of_range or ()
        more = f" and {len(beyond) - _COLUMNS_SHOWN} more" if beyond[_COLUMNS_SHOWN:] else ""
        outside = f"out of range: {', '.join(beyond[:_COLUMNS_SHOWN])}{more}" if beyond else ""
        told = "; ".join(text for text in (one.reason, outside) if text)
        lines.append(f"{key:<{width}}  {one.score:6.3f}  {of_ends}  {plain(told)}".rstrip())
    return "\n".join(lines) + "\n"


def as_csv(target: str, scored: Sequence[Scored]) -> str:
    """``source,key,<target>,reason,<target>_low,<target>_high,out_of_range``; what is not known is an empty cell.

    Columns out of range are joined by ``;``.
    """
    out = io.StringIO()
    writer = csv.DictWriter(out, csv_columns(target), lineterminator="\n")
    writer.writeheader()
    writer.writerows(csv_row(target, one) for one in scored)
    return out.getvalue()


def csv_columns(target: str) -> tuple[str, ...]:
    """The columns of a table of scores, in their order."""
    return ("source", "key", target, "reason", f"{target}_low", f"{target}_high", "out_of_range")


def csv_row(target: str, one: Scored) -> dict[str, Any]:
    """A score as a row of that table's CSV."""
    return one.as_json(target) | {"out_of_range": ";".join(one.out_of_range or ())}


def as_json(head: "Head", scored: Sequence[Scored]) -> str:
    """One object: the head, its gate's verdict, and ``scores`` in order."""
    document = {
        "schema": VERSION,
        **head.as_json(),
        "scores": [one.as_json(head.target) for one in scored],
    }
    return json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _format_of(options: argparse.Namespace) -> str:
    """What is written: as a flag says, else as the suffix of ``--out`` does. HeadError where the two differ."""
    from vqa_assets.tables.foreign_tables import TABLE_SUFFIXES

    asked = "json" if options.json else "csv" if options.csv else ""
    suffix = options.out.suffix.lower().removeprefix(".") if options.out else ""
    other_table = suffix not in ("json", "csv", "") and f".{suffix}" in TABLE_SUFFIXES
    if other_table or (suffix in ("json", "csv") and asked not in ("", suffix)):
        raise HeadError(
            f"--out {options.out}",
            found=f"a .{suffix} file" + (f" and --{asked}" if asked else ""),
            expected=".json for a JSON object, .csv for CSV, any other name for aligned text",
            next_step="name another file",
        )
    return asked or (suffix if suffix in ("json", "csv") else "table")


def _refuse_endless_names(options: argparse.Namespace) -> None:
    """HeadError for a path that no disk can hold: whatever looks at it is refused in words of the system's."""
    of_files = {"the head": options.head, "--from": options.listed, "--out": options.out}
    for what, path in (*of_files.items(), *(("the clips", one) for one in options.sources)):
        if path is not None and not fits_a_disk(path):
            raise HeadError(
                f"{what}: {path!s:.80}…",
                found="a name that no disk can hold",
                expected="names of at most 255 bytes, and 4 095 in all",
                next_step="correct it",
            )


def _refuse_own_input(out: Path | None, inputs: Sequence[Path], every_s: Fraction | None) -> None:
    """HeadError where the scores would be written over what they are made from, or over a folder.

    SettingsError where they, or the picture of windows, would replace what this command did not write.
    """
    if out is not None and (out.is_dir() or not out.name):
        raise HeadError(f"--out {out}", found="a folder", expected="a file", next_step="name a file in it")
    if out is not None and out.resolve() in {path.resolve() for path in inputs}:
        raise HeadError(
            f"--out {out}", found="a file that is read", expected="a new one", next_step="name another file"
        )
    if out is None:
        return
    targets = [OwnTarget("--out", out, STAGE, is_own=_has_scores, why_not=_why_of_list)]
    if every_s is not None:
        from vqa_assets.window_scores import is_picture

        targets.append(OwnTarget("the picture beside --out", _picture(out), STAGE, is_own=is_picture))
    check_targets(STAGE, targets, {})


def _picture(out: Path) -> Path:
    """The picture of scores by window, beside their table."""
    return out.with_suffix(".png")


def _why_of_list(path: Path) -> str:
    # What is written here has no manifest: the one beside the table would speak of scores that are gone.
    # JSON says by itself what it is, and no list's scores are written so.
    if path.suffix.lower() == ".json" or made_by(path) is None:
        return ""
    return "which has the scores of a list (--from), with a manifest beside them"


def _has_scores(path: Path) -> bool:
    """Whether a file is a table of scores that this command wrote, by its first line."""
    with path.open("rb") as table:
        return _HEADER.fullmatch(table.readline(_LONGEST_HEADER)) is not None


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; exit status 0 where all was scored, 1 for an error or a clip that could not be measured."""
    command = parser()
    options = command.parse_intermixed_args(arguments)  # clips may stand behind options, too
    if bool(options.sources) == bool(options.listed):
        command.error("clips, tables or --from: one of them is needed" + (", not both" if options.sources else ""))
    try:
        with faults_in_words():
            _refuse_endless_names(options)
            if options.listed is not None:
                return _by_list(options, [*(sys.argv[1:] if arguments is None else arguments)])
            tables, clips = sources_of(
                options.sources,
                options.root,
                clips_only=options.every is not None,
                stated=_stated_caps(options),
                by_options=True,
            )
            kind, onnx = _format_of(options), find_head(options.head, options.root)
            settle(onnx.parent, *(table.parent for table in tables))
            paths = (clip.path for clip in clips)
            _refuse_own_input(options.out, (*tables, *paths, onnx, onnx.with_suffix(".json")), options.every)
            from vqa_assets.heads.using import open_head

            head = open_head(onnx)
            for warning in head.warnings:
                _to_stderr(f"warning: {head.manifest.id} is {warning}")
            if options.every is not None:
                return _by_windows(head, tables, clips, options, kind)
            scored = score_all(head, tables, clips, options.workers, options.root)
            if kind == "json":
                text = as_json(head, scored)
            else:
                text = as_csv(head.target, scored) if kind == "csv" else as_table(head.target, scored)
            if options.out:
                _write(options.out, text)
                _to_stderr(f"{len(scored)} scores written to {options.out}")
            else:
                hand_out(text)
    except BrokenPipeError:  # who reads the scores has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (VqaError, OSError) as error:
        tell_error(error)
        return 1
    _tell_of(scored, head, kind)
    missing = [one for one in scored if math.isnan(one.score)]
    # A table's rows may well lack a feature; a clip without a score is a clip that could not be measured.
    of_clips = {str(clip.path) for clip in clips}
    return int(len(missing) == len(scored) or any(one.source in of_clips for one in missing))


def _refuse_clips_alone(head: "Head", clip: str) -> None:
    """HeadError for a head that wants a reference beside a clip."""
    if head.encoders:
        raise HeadError(
            clip,
            found=f"a clip by itself, and {head.manifest.id}, which compares an encode with its source",
            expected=f"a table with the columns {', '.join(head.schema.columns)} (or crf and preset) and encoder",
            next_step="score the rows of fr_training_corpus, or use a head of opinion scores",
        )


def _by_list(options: argparse.Namespace, words: Sequence[str]) -> int:
    """The scores of a list's clips as one table; exit status 1 where a clip has none."""
    from vqa_assets.clip_list import open_list

    root = DataRoot.resolve(options.root) if options.root else DataRoot.named()
    if options.every is not None or options.json or options.csv:
        raise HeadError(
            "--from",
            found="--every, --json or --csv beside it",
            expected="--out alone, whose suffix says the format",
            next_step="leave them out; windows are for clips that are named one by one",
        )
    onnx = find_head(options.head, options.root)
    settle(onnx.parent, options.listed.absolute().parent)
    clips = open_list(
        options.listed,
        root,
        clip_column=options.clip_column,
        key_column=options.key_column,
        clips_url=options.clips_url,
        scratch_bytes=options.scratch_bytes,
    )
    from vqa_assets.heads.using import open_head
    from vqa_assets.ingest.tools import ClipTools, DownloaderDescription, ProberDescription
    from vqa_assets.list_scores import ListServices, PoolOfEnvironment, caches_of, check_out, score_list
    from vqa_assets.provenance import RunContext

    inputs = {"the list": options.listed, "the head": onnx, "the head's manifest": onnx.with_suffix(".json")}
    out = check_out(options.out, inputs, root, _has_scores)
    settle(out.absolute().parent)
    head = open_head(onnx)
    for warning in head.warnings:
        _to_stderr(f"warning: {head.manifest.id} is {warning}")
    _refuse_clips_alone(head, f"{options.listed}")

    stated = _stated_caps(options)
    caps = stated.over(clips.caps, by_options=True)
    report = score_list(
        head,
        onnx,
        clips,
        out,
        ListServices(
            extractor_of(head, options.root),
            ClipTools(ProberDescription(caps=caps), DownloaderDescription()),
            PoolOfEnvironment(),
            *caches_of(clips, root, out),
            _to_stderr,
            options.workers,
            caps,
            stated.stated_caps,
        ),
        RunContext(root, {}, Path(__file__), ("vqa-assets", "predict", *words)),
    )
    _to_stderr(f"{report.rows} rows of {options.listed}: {report.scored} scored, in {out}; its manifest lies beside it")
    _to_stderr(f"{report.measured} clips measured, {report.known} known before")
    if report.out_of_range:
        _to_stderr(f"{report.out_of_range} rows out of the range that {head.manifest.id} was trained on")
    if report.without:
        key, reason = report.first[0]
        _to_stderr(f"{report.in_words()}; the first, {key}: {reason}")
        _to_stderr(
            "next: the column reason says why of each row; once it is mended, the same command reads only those again"
        )
    return int(bool(report.without))


def _tell_of(scored: Sequence[Scored], head: "Head", kind: str) -> None:
    """What a person should know of the scores beside themselves."""
    if not scored:
        _to_stderr("no row to score: the tables are empty")
    elif kind == "csv" and head.manifest.interval is None:
        _to_stderr(
            f"{head.target}_low and {head.target}_high are empty: {head.manifest.id} has no interval, as its card says"
        )
    missing = [one for one in scored if math.isnan(one.score)]
    if missing:
        _to_stderr(f"{len(missing)} of {len(scored)} without a score; first: {missing[0].key}")
    if beyond := [one for one in scored if one.out_of_range]:
        columns = ", ".join((beyond[0].out_of_range or ())[:_COLUMNS_SHOWN])
        _to_stderr(
            f"{len(beyond)} of {len(scored)} out of the range that {head.manifest.id} was trained on; "
            f"first: {beyond[0].key} ({columns})"
        )


def _by_windows(
    head: "Head", tables: Sequence[Path], clips: Sequence[NamedClip], options: argparse.Namespace, kind: str
) -> int:
    """The scores of windows as asked for, with a picture beside a file; exit status 1 for a clip without any."""
    from vqa_assets import window_scores as by_windows

    if clips:
        _refuse_clips_alone(head, f"{clips[0].path}")
    if tables:
        raise HeadError(
            f"--every: {tables[0]}",
            found="a feature table, whose rows are of whole clips",
            expected="clips, or folders of clips",
            next_step="name the clips themselves",
        )
    by_windows.check_windows(head)
    extractor = extractor_of(head, options.root, by_windows=True)
    scored = list(by_windows.score_windows(head, clips, options.every, options.workers, extractor))
    if kind == "json":
        text = by_windows.as_json(head, scored)
    else:
        text = (by_windows.as_csv if kind == "csv" else by_windows.as_table)(head.target, scored)
    if options.out:
        _write(options.out, text)
        ends = (head.scale.low, head.scale.low + head.scale.span)
        _write(_picture(options.out), by_windows.picture_png(head.target, scored, ends))
        _to_stderr(f"windows of {len(scored)} clips written to {options.out}, {_picture(options.out)}")
    else:
        hand_out(text)
    for clip in scored[:_CLIPS_TOLD]:
        _to_stderr(by_windows.summary(clip))
    windows = [one for clip in scored for one in clip.rows]
    if missing := sum(math.isnan(one.score) for one in windows):
        _to_stderr(f"{missing} of {len(windows)} windows without a score; each says why")
    if beyond := sum(bool(one.out_of_range) for one in windows):
        range_of = f"the range that {head.manifest.id} was trained on"
        _to_stderr(f"{beyond} of {len(windows)} windows out of {range_of}: it saw whole clips")
    return int(any(math.isnan(clip.mean_of_windows) for clip in scored))


def _write(path: Path, content: str | bytes) -> None:
    try:
        write_bytes(path, content if isinstance(content, bytes) else content.encode())
    except OSError as error:
        raise HeadError(
            f"{path}: the scores cannot be written",
            found=error.strerror or str(error),
            next_step="free space, mend the folder's permissions, or name another file",
        ) from error


def parser() -> argparse.ArgumentParser:
    """What the command takes."""
    command = CommandParser(prog="vqa-assets predict", description=__doc__)
    command.add_argument("head", help="a head's .onnx, with its .json beside it, or its name under <root>/models")
    command.add_argument("sources", nargs="*", help="clips, folders, feature tables (Parquet, JSON, CSV), corpora")
    command.add_argument(
        "--from",
        dest="listed",
        type=Path,
        metavar="LIST",
        help="instead: a table that lists clips (Parquet, CSV, TSV, JSON Lines), of any length; goes to --out, on "
        "threads or the Dask workers that the environment names, and goes on where it was cut short",
    )
    command.add_argument("--clip-column", default="", metavar="NAME", help="the list's column of paths or addresses")
    command.add_argument("--key-column", default="", metavar="NAME", help="the list's column that names rows")
    command.add_argument(
        "--clips-url", default="", metavar="URL", help="what the list's names lie below: a folder, s3://, gs://, az://"
    )
    command.add_argument(
        "--scratch-bytes", type=_positive, help="of a store's clips at once on this machine (default: 20 GB)"
    )
    command.add_argument("--root", help="data root (default: $VQA_DATA_ROOT, else data)")
    form = command.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print one JSON object")
    form.add_argument("--csv", action="store_true", help="print CSV")
    command.add_argument(
        "--out", type=Path, help="write there instead of printing; .json, .csv and (with --from) .parquet say how"
    )
    command.add_argument(
        "--every", type=_seconds, metavar="1s", help="a score per window of a clip; with --out a picture beside, too"
    )
    command.add_argument("--workers", type=_positive, default=os.cpu_count() or 1, help="clips measured at once")
    caps = command.add_argument_group(
        "caps",
        "Over one of them a clip is not decoded, and has no score. Of a corpus that is named, or whose JSONL is the "
        "list, its ingest.toml says what no option does.",
    )
    from vqa_assets.ingest.settings import IngestSettings

    add_settings(caps, IngestSettings, CAP_NAMES)
    return command


def _stated_caps(options: argparse.Namespace) -> StatedCaps:
    return StatedCaps(**{name: getattr(options, name) for name in CAP_NAMES})


def _seconds(text: str) -> Fraction:
    found = _DURATION.fullmatch(text.strip())
    seconds = Fraction(found["number"]) / (1000 if found["unit"] == "ms" else 1) if found else Fraction(0)
    if seconds < _SHORTEST_WINDOW_S:
        raise argparse.ArgumentTypeError(
            f"{text}, expected a time such as 1s, 0.5s or 500ms, a tenth of a second or more"
        )
    return seconds


def _positive(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text}, expected a whole number of 1 or more")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
