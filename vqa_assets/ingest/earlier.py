"""The earlier corpus JSONL as it stands: its whole rows, what of it is damaged, and what the cache knows of the rest.

A damaged file is this asset's own to make again: whole lines stay, torn ones are made from cache and clip, and what
neither has is told as lost. What comes of the rows is judged in ``rows``.
"""

import hashlib
import os
import re
import weakref
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from vqa_assets.corpora import Corpus
from vqa_assets.errors import IngestError, SchemaError
from vqa_assets.ingest.cache import ReadClip
from vqa_assets.ingest.layout import CorpusLayout
from vqa_assets.provenance.reading import changed_input
from vqa_assets.tables.files import (
    LFS_POINTER,
    JsonLine,
    file_identity,
    no_file_at,
    parse_json_line,
    read_json_lines,
    read_json_object,
)
from vqa_assets.tables.specs import corpus_jsonl_of
from vqa_assets.tables.validation import why_no_clip

MENDED_BY_INGEST = "whole lines stay, the others are made again from cache and clips"
"""What another ingest does with a damaged corpus JSONL."""
_LENGTH_BITS = 32
_SRC_IN_TORN_LINE = re.compile(rb'"src":\s*("(?:[^"\\]|\\.)*")')


@dataclass(frozen=True, slots=True)
class DamagedLine:
    """A line that is no row: its number, the clip it is of (empty where it does not tell), what is wrong with it."""

    number: int
    src: str
    what: str


class _OpenedFile:
    """A file as it was when it was opened; it stays open for as long as somebody reads of it."""

    def __init__(self, path: Path) -> None:
        self.path, self.descriptor = path, os.open(path, os.O_RDONLY)
        weakref.finalize(self, os.close, self.descriptor)
        self.identity = file_identity(os.fstat(self.descriptor))


class EarlierLines(Mapping[str, JsonLine]):
    """The rows of the earlier JSONL by ``src``, each read from it when it is asked for; in memory is where they lie.

    The file stays open, whatever replaces it. ChangedInputError where a row does not lie any more where it was.
    """

    def __init__(self, file: _OpenedFile | None = None, places: dict[str, int] | None = None) -> None:
        self._file = file
        self._places = {} if places is None else places

    @classmethod
    def of(cls, path: Path) -> Self:
        """No row yet of the file there."""
        return cls(_OpenedFile(path))

    def put(self, src: str, offset: int, length: int) -> None:
        """Take in the line of so many bytes at an offset."""
        self._places[src] = offset << _LENGTH_BITS | length  # one number: a pair takes three times as much

    def without(self, names: Container[str]) -> "EarlierLines":
        """The same but for rows of these names."""
        return EarlierLines(self._file, {src: place for src, place in self._places.items() if src not in names})

    def renamed(self, names: Mapping[str, str]) -> "EarlierLines":
        """The same with some of the rows under other names, ``names`` by ``src``; what a row says stays."""
        return EarlierLines(self._file, {names.get(src, src): place for src, place in self._places.items()})

    def refuse_changes(self) -> None:
        """ChangedInputError where somebody wrote into the file since it was opened."""
        file = self._file
        if file is not None and file_identity(os.fstat(file.descriptor)) != file.identity:
            raise changed_input(file.path)

    def __getitem__(self, src: str) -> JsonLine:
        place, file = self._places[src], self._file
        assert file is not None
        raw = os.pread(file.descriptor, place & (1 << _LENGTH_BITS) - 1, place >> _LENGTH_BITS)
        try:
            row = parse_json_line(raw, file.path, 0)
        except SchemaError:
            raise changed_input(file.path) from None
        return JsonLine(0, raw if raw.endswith(b"\n") else raw + b"\n", row)

    def __contains__(self, src: object) -> bool:
        return src in self._places

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


class RowsOf(Mapping[str, Mapping[str, Any]]):
    """What some lines say, by ``src``: of each its row alone."""

    def __init__(self, lines: Mapping[str, JsonLine]) -> None:
        self._lines = lines

    def __getitem__(self, src: str) -> Mapping[str, Any]:
        return self._lines[src].row

    def __contains__(self, src: object) -> bool:
        return src in self._lines

    def __iter__(self) -> Iterator[str]:
        return iter(self._lines)

    def __len__(self) -> int:
        return len(self._lines)


@dataclass(frozen=True)
class EarlierRows:
    """The rows of the earlier JSONL by ``src``, and how its file differs from the one that was published.

    ``gone`` are the rows that the replay manifest counts and no line is left of; ``changed`` is true where the manifest
    names other bytes; ``never`` are the clips that gave no row when the file was made.
    """

    lines: EarlierLines = field(default_factory=EarlierLines)
    damaged: tuple[DamagedLine, ...] = ()
    gone: int = 0
    changed: bool = False
    never: frozenset[str] = frozenset()

    @property
    def lost(self) -> int:
        """How many rows the file has lost."""
        return len(self.damaged) + self.gone

    @property
    def named(self) -> set[str]:
        """The clips of damaged lines that tell which it is."""
        return {line.src for line in self.damaged if line.src}

    def known(self, cached: Mapping[str, ReadClip]) -> dict[str, ReadClip]:
        """What the cache has of clips whose rows may be made from it; nothing where the file is as it was published."""
        if not self.changed and not self.lost:
            return {}
        return {name: clip for name, clip in cached.items() if clip.geometry and name not in self.never}

    def in_words(self) -> str:
        """What is wrong with the file, with the first damaged line; empty where nothing is."""
        if not self.lost:
            return "it is not the file that its replay manifest names: changed since" if self.changed else ""
        first = f", the first in line {self.damaged[0].number}: {self.damaged[0].what}" if self.damaged else ""
        gone = f"{self.gone} rows are gone" if self.gone else ""
        torn = f"{len(self.damaged)} lines are no rows{first}" if self.damaged else ""
        return " and ".join(part for part in (gone, torn) if part)


@dataclass(frozen=True)
class _Published:
    """What the replay manifest says of the JSONL."""

    sha256: str
    rows: int


def read_earlier(corpus: Corpus, layout: CorpusLayout) -> EarlierRows:
    """The earlier JSONL; empty where there is none.

    IngestError for a file that no ingest of this corpus published and that holds none of its rows, or others too;
    SchemaError for a Git-LFS pointer.
    """
    if not layout.output.exists():
        return EarlierRows()
    if what := no_file_at(layout.output):
        raise _no_corpus_jsonl(f"{layout.output}", what)
    published = _published(layout.manifest, corpus)
    changed = published is not None and published.sha256 != _sha256_of(layout.output)
    columns = corpus_jsonl_of(corpus).columns if changed else ()
    lines = EarlierLines.of(layout.output)
    damaged: list[DamagedLine] = []
    count = offset = 0
    for length, line in _lines(layout.output):
        begins, offset = offset, offset + length
        if line is None:
            continue
        if isinstance(line, DamagedLine):
            damaged.append(line)
        elif wrong := why_no_clip(line.row, columns) or _why_of_another(line.row, corpus):
            if published is None:  # it may be anybody's
                raise _no_corpus_jsonl(f"{layout.output}:{line.number}", wrong)
            src = line.row.get("src")
            damaged.append(DamagedLine(line.number, src if isinstance(src, str) else "", wrong))
        else:
            lines.put(line.row["src"], begins, length)
            count += 1
    if damaged and not lines and published is None:
        raise _no_corpus_jsonl(f"{layout.output}:{damaged[0].number}", damaged[0].what)
    gone = max(0, published.rows - count - len(damaged)) if published and changed else 0
    never = _without_row(layout.losses) if damaged or changed else frozenset()
    return EarlierRows(lines, tuple(damaged), gone, changed, never)


def _no_corpus_jsonl(where: str, found: str) -> IngestError:
    return IngestError(
        where,
        found=found,
        expected="a corpus JSONL",
        next_step="move the file away; clips already read are not read again",
    )


def _lines(path: Path) -> Iterator[tuple[int, JsonLine | DamagedLine | None]]:
    """Each line's length in bytes, and what it is; None of a blank one."""
    with path.open("rb") as content:
        for number, raw in enumerate(content, 1):
            if not raw.strip():
                yield len(raw), None
                continue
            try:
                row = parse_json_line(raw, path, number)
            except SchemaError as error:
                if raw.startswith(LFS_POINTER):  # the content is somewhere, and not here
                    raise
                yield len(raw), DamagedLine(number, _src_of(raw), error.found)
            else:
                yield len(raw), JsonLine(number, raw, row)


def _src_of(raw: bytes) -> str:
    found = _SRC_IN_TORN_LINE.search(raw)
    try:
        return str(parse_json_line(b'{"src":' + found[1] + b"}", Path(), 0)["src"]) if found else ""
    except SchemaError:
        return ""


def _why_of_another(row: Mapping[str, Any], corpus: Corpus) -> str:
    """Why a row is not of this corpus; empty where it is."""
    name = row.get("corpus")
    return "" if name == corpus.name else f"a row of {name!r:.80}, not of {corpus.name}"


def _published(manifest: Path, corpus: Corpus) -> _Published | None:
    """What was published, by a replay manifest that says it; one that is damaged or another's says nothing."""
    try:
        document = read_json_object(manifest)
        if document["corpus"] != corpus.name:
            return None
        record = document["run_provenance"]["outputs"]["corpus_jsonl"]
        return _Published(str(record["sha256"]), int(document["counters"]["rows_out"]))
    except (OSError, SchemaError, KeyError, TypeError, ValueError):
        return None


def _without_row(losses: Path) -> frozenset[str]:
    """The clips that the last run lost, by its own list, as far as it can be read."""
    try:
        return frozenset(str(line.row.get("src")) for line in read_json_lines(losses))
    except (OSError, SchemaError):
        return frozenset()


def _sha256_of(path: Path) -> str:
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
