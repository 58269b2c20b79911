"""Single votes that are published beside a score file: each clip's sample SD and count, in one pass over the file.

The score stays the published one; what the votes' mean says of it is told. A file of votes that cannot be used is told
and left out, and no row is lost for it. Votes of raters in a table of one's own are read in ``labels``.
"""

import csv
import logging
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TextIO

from vqa_assets.annotations.dialects import DELIMITERS, number, short
from vqa_assets.annotations.rows import AnnotationRow, ReadingSettings, src_of
from vqa_assets.annotations.score_files import MOST_BYTES, MOST_SECONDS
from vqa_assets.corpora import Corpus
from vqa_assets.corpora.corpus import VOTE_SPELLINGS
from vqa_assets.corpora.scales import MosScale
from vqa_assets.printing import logger
from vqa_assets.provenance import ReadInput
from vqa_assets.provenance.reading import refuse_changes

_APART = 0.0125
"""A mean further from the published score than this share of the scale (0.05 of 1–5) is more than rounding."""
_MOST_APART = 0.1
_LONGEST_HEADER_CHARACTERS = _LONGEST_LINE_CHARACTERS = 65_536
_SHOWN, _EXAMPLES = 20, 3
_MOST_KNOWN = 10_000
"""Votes are few words: each is made a number once."""
_log = logger("vqa_assets.annotations")


@dataclass
class _OfClip:
    """The votes of one clip so far: their number, sum, and sum of squares."""

    count: int = 0
    total: float = 0.0
    squares: float = 0.0

    @property
    def mean(self) -> float:
        return self.total / self.count

    @property
    def sd(self) -> float | None:
        """The sample SD; None of one vote, and of equal ones: 0 stands for unknown."""
        if self.count < 2:
            return None
        variance = (self.squares - self.total * self.mean) / (self.count - 1)
        # of equal votes that are no whole numbers the sums leave a rounding error
        return math.sqrt(variance) if variance > 1e-9 * max(1.0, self.mean**2) else None


@dataclass
class VotesFile:
    """One file of votes as it was read, and what its votes say; ``left_out`` says why it is not used."""

    as_read: ReadInput
    left_out: str = ""
    votes: int = 0
    unusable: int = 0
    of_no_row: int = 0
    examples: list[str] = field(default_factory=list)
    clips: dict[str, _OfClip] = field(default_factory=dict)
    without_votes: int = 0
    apart: int = 0
    mean_difference: float = 0.0
    largest: Mapping[str, object] = field(default_factory=dict)

    @property
    def path(self) -> Path:
        """Where it lies."""
        return self.as_read.path

    def described(self) -> dict[str, Any]:
        """What a manifest says of it."""
        told: dict[str, Any] = {"path": self.path, "sha256": self.as_read.sha256}
        if self.left_out:
            return {**told, "left_out": self.left_out}
        return {
            **told,
            "votes": self.votes,
            "unusable": self.unusable,
            "of_no_row": self.of_no_row,
            "clips": len(self.clips),
            "clips_without_votes": self.without_votes,
            "mean_minus_score": round(self.mean_difference, 6),
            "clips_apart": self.apart,
            "largest_difference": dict(self.largest),
        }


def with_votes(
    rows: Sequence[AnnotationRow],
    path: Path,
    corpus: Corpus,
    *,
    of_part: Mapping[str, object],
    scale: MosScale,
    settings: ReadingSettings,
) -> tuple[list[AnnotationRow], VotesFile]:
    """The rows, those with the fields ``of_part`` with SD and count of their votes, and the file that says them.

    ``scale`` is what scores and votes are on. More than ``bad_rows_limit`` of votes that cannot be used, and none is.
    """
    with path.open("rb") as content:
        file = VotesFile(ReadInput.of_opened(path, content))
    what = f"{corpus.name}: {path}"
    own = {row.src for row in rows if not row.problem and of_part.items() <= row.extra.items()}
    try:
        file.left_out = _read(file, own, corpus, scale, settings.clip_suffix)
    except (UnicodeDecodeError, csv.Error) as error:
        file.left_out = f"it cannot be read as CSV ({error})"
    except _TooMuchError as error:
        file.left_out = str(error)
    refuse_changes([file.as_read])
    seen = file.votes + file.of_no_row + file.unusable
    if not file.left_out and file.unusable > settings.bad_rows_limit * seen:
        file.left_out = f"{file.unusable} of {seen} votes cannot be used ({'; '.join(file.examples)})"
    if not file.left_out and not file.clips:
        file.left_out = f"none of its {seen} votes is of a clip in the score file"
    if file.left_out:
        _log.warning("%s is left out, and SD and count stay unknown: %s", what, file.left_out)
        return list(rows), file
    labelled = []
    for row in rows:
        votes = file.clips.get(row.src) if row.src in own else None
        labelled.append(replace(row, sd=votes.sd, count=votes.count) if votes else row)
    _compare(file, {row.src: row.mos for row in rows if row.src in own and not row.problem}, scale)
    _tell(file, what)
    return labelled, file


def _read(file: VotesFile, own: set[str], corpus: Corpus, scale: MosScale, suffix: str) -> str:
    """Add up the votes of the clips ``own``; why the file is of no use, empty where it is.

    Nothing is kept of a line, nor of a clip that no row has: the file may have millions of lines. _TooMuchError by the
    limits of score files, which hold here without a process apart: the file is streamed.
    """
    if (size_bytes := file.as_read.record["size_bytes"]) > MOST_BYTES:
        raise _TooMuchError(f"it has {size_bytes >> 20} MiB, at most {MOST_BYTES >> 20} are read")
    of_name: dict[str, _OfClip] = {}
    known: dict[str, float] = {}
    with file.path.open(encoding="utf-8-sig", newline="") as lines:
        first, above = lines.readline(_LONGEST_HEADER_CHARACTERS), 1
        while first and not first.strip():
            first, above = lines.readline(_LONGEST_HEADER_CHARACTERS), above + 1
        delimiter = max(DELIMITERS, key=first.count)
        header = [name.strip().lower() for name in next(csv.reader([first], delimiter=delimiter), [])]
        clip_at, vote_at = (_place(header, names) for names in (corpus.spellings.clip, VOTE_SPELLINGS))
        if clip_at is None or vote_at is None:
            return (
                f"it has the columns {', '.join(map(short, header[:_SHOWN])) or 'none'}; expected are a clip column "
                f"named one of {', '.join(corpus.spellings.clip)}, and a vote column named one of "
                f"{', '.join(VOTE_SPELLINGS)}"
            )
        reader = csv.reader(_bearable(lines), delimiter=delimiter, skipinitialspace=True)
        for record in reader:
            try:
                name, text = record[clip_at], record[vote_at]
            except IndexError:
                if not record:
                    continue
                name = text = ""
            vote = known.get(text)
            if vote is None:
                vote = number(text.strip(), decimal_comma=delimiter == ";")
                if not scale.holds(vote):
                    file.unusable += 1
                    if len(file.examples) < _EXAMPLES:
                        file.examples.append(f"line {reader.line_num + above}: {short(text)!r}")
                    continue
                if len(known) < _MOST_KNOWN:
                    known[text] = vote
            votes = of_name.get(name)
            if votes is None:
                src = src_of(name.strip(), suffix)
                if src not in own:
                    file.of_no_row += 1
                    continue
                votes = of_name[name] = file.clips.setdefault(src, _OfClip())
            votes.count += 1
            votes.total += vote
            votes.squares += vote * vote
    file.votes = sum(votes.count for votes in file.clips.values())
    return ""


class _TooMuchError(Exception):
    """A file of votes takes more than it may."""


def _bearable(lines: TextIO) -> Iterator[str]:
    """The lines of a file; _TooMuchError at one that does not end, and once ``MOST_SECONDS`` have passed."""
    ends = time.monotonic() + MOST_SECONDS
    while line := lines.readline(_LONGEST_LINE_CHARACTERS):
        if len(line) == _LONGEST_LINE_CHARACTERS:
            raise _TooMuchError(f"it has a line of more than {_LONGEST_LINE_CHARACTERS} characters")
        if time.monotonic() > ends:
            raise _TooMuchError(f"it takes more than {MOST_SECONDS:g} s to read")
        yield line


def _place(header: Sequence[str], names: Sequence[str]) -> int | None:
    return next((header.index(name) for name in names if name in header), None)


def _compare(file: VotesFile, scores: Mapping[str, float], scale: MosScale) -> None:
    """What the votes' means are beside the published scores."""
    apart = _APART * (scale.high - scale.low)
    differences = {src: votes.mean - scores[src] for src, votes in file.clips.items()}
    file.without_votes = len(scores) - len(differences)
    # a score is rounded, and a difference of two numbers too
    file.apart = sum(abs(difference) > apart + 1e-9 for difference in differences.values())
    file.mean_difference = sum(differences.values()) / len(differences)
    src = max(differences, key=lambda name: abs(differences[name]))
    file.largest = {"src": src, "votes_mean": round(file.clips[src].mean, 6), "score": scores[src]}


def _tell(file: VotesFile, what: str) -> None:
    _log.info("%s: SD and count of %d clips from %d votes", what, len(file.clips), file.votes)
    if file.unusable:
        _log.warning("%s: %d votes cannot be used (%s)", what, file.unusable, "; ".join(file.examples))
    if file.of_no_row or file.without_votes:
        _log.warning(
            "%s: %d votes are of clips that the score file has not, and %d of its clips have no vote",
            what,
            file.of_no_row,
            file.without_votes,
        )
    if file.apart:
        _log.log(
            logging.WARNING if file.apart > _MOST_APART * len(file.clips) else logging.INFO,
            "%s: the mean of the votes is another than the published score for %d of %d clips (by %+.3f on average; "
            "%s: %.3f, published %.3f); the score stays the published one",
            what,
            file.apart,
            len(file.clips),
            file.mean_difference,
            file.largest["src"],
            file.largest["votes_mean"],
            file.largest["score"],
        )
