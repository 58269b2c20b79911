"""The earlier corpus JSONL as it stands: its whole rows, what of it is damaged, and what the cache knows of the rest.

A damaged file is this asset's own to make again: whole lines stay, torn ones are made from cache and clip, and what
neither has is told as lost. What comes of the rows is judged in ``rows``.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vqa_assets.corpora import Corpus
from vqa_assets.errors import IngestError, SchemaError
from vqa_assets.ingest.cache import ReadClip
from vqa_assets.ingest.layout import CorpusLayout
from vqa_assets.tables.files import (
    LFS_POINTER,
    JsonLine,
    no_file_at,
    parse_json_line,
    read_json_lines,
    read_json_object,
)
from vqa_assets.tables.specs import corpus_jsonl_of
from vqa_assets.tables.validation import why_no_clip

MENDED_BY_INGEST = "whole lines stay, the others are made again from cache and clips"
"""What another ingest does with a damaged corpus JSONL."""
_SRC_IN_TORN_LINE = re.compile(rb'"src":\s*("(?:[^"\\]|\\.)*")')


@dataclass(frozen=True, slots=True)
class DamagedLine:
    """A line that is no row: its number, the clip it is of (empty where it does not tell), what is wrong with it."""

    number: int
    src: str
    what: str


@dataclass(frozen=True)
class EarlierRows:
    """The rows of the earlier JSONL by ``src``, and how its file differs from the one that was published.

    ``gone`` are the rows that the replay manifest counts and no line is left of; ``changed`` is true where the manifest
    names other bytes; ``never`` are the clips that gave no row when the file was made.
    """

    lines: Mapping[str, JsonLine] = field(default_factory=dict)
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
    lines: dict[str, JsonLine] = {}
    damaged: list[DamagedLine] = []
    count = 0
    for line in _lines(layout.output):
        if isinstance(line, DamagedLine):
            damaged.append(line)
        elif wrong := why_no_clip(line.row, columns) or _why_of_another(line.row, corpus):
            if published is None:  # it may be anybody's
                raise _no_corpus_jsonl(f"{layout.output}:{line.number}", wrong)
            src = line.row.get("src")
            damaged.append(DamagedLine(line.number, src if isinstance(src, str) else "", wrong))
        else:
            lines[line.row["src"]] = line
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


def _lines(path: Path) -> Iterator[JsonLine | DamagedLine]:
    with path.open("rb") as content:
        for number, raw in enumerate(content, 1):
            if not raw.strip():
                continue
            try:
                row = parse_json_line(raw, path, number)
            except SchemaError as error:
                if raw.startswith(LFS_POINTER):  # the content is somewhere, and not here
                    raise
                yield DamagedLine(number, _src_of(raw), error.found)
            else:
                yield JsonLine(number, raw if raw.endswith(b"\n") else raw + b"\n", row)


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
