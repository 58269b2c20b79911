"""One line of a score file as an annotation row: its clip's name and address, its score, and what is carried along.

Says what makes a row unusable by itself; what is wrong with rows beside each other is judged in ``reading``.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Protocol
from urllib.parse import quote, urlsplit

from vqa_assets.annotations.columns import ScoreColumns, filled, read_by
from vqa_assets.annotations.dialects import number, short
from vqa_assets.corpora import Corpus
from vqa_assets.corpora.contents import SPLIT_SYNONYMS
from vqa_assets.corpora.corpus import ScorePart
from vqa_assets.corpora.opinions import sd_from_spread
from vqa_assets.corpora.scales import RAW_MOS, MosScale
from vqa_assets.tables.parquet import NO_VALUE

VIDEO_SUFFIXES = (
    *(".mp4", ".webm", ".mkv", ".mov", ".avi", ".m4v", ".yuv", ".y4m", ".ts", ".mpg", ".mpeg", ".flv"),
    *(".3gp", ".3g2", ".wmv", ".asf", ".ogv", ".ogm", ".m2ts", ".m2t", ".mts", ".mxf", ".vob", ".ivf", ".f4v"),
    *(".m1v", ".m2v", ".mpv", ".rm", ".rmvb", ".divx", ".dv", ".qt", ".nut", ".wtv", ".mjpg", ".mjpeg", ".obu"),
    *(".h264", ".h265", ".hevc"),
)
"""What a clip's name may end in: the suffixes of containers and streams that FFmpeg reads, in lower case."""
CONTENT_ID = "content_id"
ANNOTATED_AS = "annotated_as"
"""The row field that keeps the score file's own name of a clip that has another on disk."""
LEADING_NUMBER = "leading_number"
_LEADING_NUMBER = re.compile(r"\d+")
_MOST_WHOLE = 2**53
"""Beyond it not every whole number is a float, and none counts opinions."""
_NOTHING: Mapping[str, Any] = MappingProxyType({})
"""One for all rows: of a million empty ones each would take as much as a name."""
_NOT_UTF8 = "no text: half a surrogate pair"
_TEST_WORDS: Mapping[str, str] = MappingProxyType(
    {
        **dict.fromkeys(("true", "1", "1.0", "yes"), "test"),
        **dict.fromkeys(("false", "0", "0.0", "no"), "train"),
    }
)
"""What a column ``is_test`` may hold → the split."""


class ReadingSettings(Protocol):
    """What reading a score file needs of an ingest's settings."""

    @property
    def clip_suffix(self) -> str:
        """Added to names without a video suffix."""

    @property
    def bucket_prefix(self) -> str:
        """Put before the name of a clip that has no URL."""

    @property
    def mos_scale(self) -> str | None:
        """The scale of the file's scores, where it is not to be detected."""

    @property
    def min_rows(self) -> int:
        """The fewest rows that the file may have."""

    @property
    def max_manifest_rows(self) -> int | None:
        """The most rows that the file may have."""

    @property
    def bad_rows_limit(self) -> float:
        """The share of bad rows above which the file is refused."""


@dataclass(frozen=True, slots=True)
class ClipAddress:
    """An address made by a corpus's ``template``, and the name of a clip that comes from there."""

    url: str
    template: str
    src: str


@dataclass(frozen=True, slots=True)
class AnnotationRow:
    """One row of the score file. ``problem`` says why it is unusable; ``repeats`` is true for a later equal row.

    ``named`` is the clip as the score file names it, ``src`` that with a video suffix. ``mos`` is native and verbatim
    until a corpus's ``stored_scale`` maps it, ``sd`` in its unit (None: not published),
    ``count`` the number of opinions (0: not published). ``scores`` are the further scores that the row has, by their
    field, NaN for a text that is no number. ``extra`` goes into the corpus JSONL as it is. On disk the clip
    may have a name of ``also`` instead of ``src``, or one that begins with one of ``also_starting``. ``reference``
    marks the reference clip of its content; ``codec`` is what the annotation says encoded it; ``file`` is set where
    the annotation is of several files. ``addresses`` are those that the corpus's templates make, where the score file
    has no ``url``; the first of them is ``url`` then.
    """

    line: int
    src: str
    url: str
    mos: float
    sd: float | None
    count: int
    problem: str = ""
    repeats: bool = False
    scores: Mapping[str, float] = field(default_factory=dict)
    extra: Mapping[str, object] = field(default_factory=dict)
    also: tuple[str, ...] = ()
    also_starting: tuple[str, ...] = ()
    reference: bool = False
    codec: str = ""
    file: str = ""
    named: str = ""
    addresses: tuple[ClipAddress, ...] = ()

    @property
    def where(self) -> str:
        """The row's place, as a message names it."""
        return f"{self.file} line {self.line}" if self.file else f"line {self.line}"


@dataclass(frozen=True)
class RowReader:
    """Reads the lines of one file. ``part`` is which of the corpus's parts the file is, if any."""

    corpus: Corpus
    settings: ReadingSettings
    columns: ScoreColumns
    part: ScorePart | None
    decimal_comma: bool
    file: str = ""

    def row(self, line: int, values: list[str]) -> AnnotationRow:
        """One line as an annotation row, its problem named."""
        not_utf8 = not _is_utf8(values)
        if not_utf8:  # the row is bad; its values must still go into messages and files
            values = [value.encode("utf-8", "backslashreplace").decode() for value in values]
        record = self.columns.record(values)
        name = _one_spelling(self._text("clip", record) or filled(self.corpus.clip_name, record))
        src = with_suffix(name, self.settings.clip_suffix)
        # a corpus with a bucket needs no addresses in its score file
        url = self._word("url", record)
        addresses = self._addresses(src, record) if not url and src and self.settings.bucket_prefix else ()
        if addresses:
            url = addresses[0].url
        mos_text = self._text("mos", record)
        mos = self._number(mos_text)
        count = self._number(self._text("count", record))
        # 12.5 opinions are none: the column means something else
        opinions = int(count) if 0 < count <= _MOST_WHOLE and count.is_integer() else 0
        return AnnotationRow(
            line=line,
            src=src,
            url=url,
            mos=mos,
            sd=sd_from_spread(self._number(self._text("sd", record)), self.corpus.spread, opinions),
            count=opinions,
            problem=_NOT_UTF8 if not_utf8 else _problem(src, url, mos, mos_text),
            scores=self._scores(record) or _NOTHING,
            extra=self._extra(src, record) or _NOTHING,
            also=self._other_names(self.corpus.also_named, src, record),
            also_starting=self._other_names(self.corpus.also_starting, src, record),
            reference=self._number(self._text("reference", record)) == 1,
            codec=self._word("codec", record).lower() or self._codec_in_name(src),
            file=self.file,
            named=name,
            addresses=addresses,
        )

    def _text(self, role: str, record: Mapping[str, str]) -> str:
        """The first text in a column of this meaning."""
        # Loops, here and below: they are run six times a row, and generators take three times as long.
        for name in self.columns.roles.get(role, ()):
            if text := record.get(name):
                return text
        return ""

    def _word(self, role: str, record: Mapping[str, str]) -> str:
        """As ``_text``, where a word for nothing is nothing: no address, content or codec is called NaN."""
        for name in self.columns.roles.get(role, ()):
            if (text := record.get(name)) and text.lower() not in NO_VALUE:
                return text
        return ""

    def _number(self, text: str) -> float:
        return number(text, decimal_comma=self.decimal_comma)

    def _codec_in_name(self, src: str) -> str:
        """The codec that a clip's name says encoded it, where the name is as the corpus makes its names."""
        if not self.corpus.codecs:
            return ""
        in_name = read_by(self.corpus.clip_name, src.rpartition("/")[2])
        # a word in a name is a codec only if the corpus declares it
        words = (in_name.get(name.lower(), "").lower() for name in self.corpus.own_spellings.codec)
        codecs = {codec.lower() for codec in self.corpus.codecs}
        return next((word for word in words if word in codecs), "")

    def _content_in_name(self, src: str) -> str:
        """What a clip shows, where its name is as the corpus makes its names and says it; else empty."""
        for declared in self.corpus.contents_in_names:
            parts = read_by(declared.name, src if "/" in declared.name else src.rpartition("/")[2])
            if declared.numbers > 1:
                number = parts.get("number", "")
                if not (number.isascii() and number.isdigit()):
                    continue
                parts["number"] = str((int(number) - 1) // declared.numbers + 1)
            if content := filled(declared.content, parts):
                return content.lower()
        return ""

    def _other_names(self, templates: tuple[str, ...], src: str, record: Mapping[str, str]) -> tuple[str, ...]:
        """Names other than ``src`` that the clip may have on disk."""
        if not templates:
            return ()
        stem, _ = self._parted(src)
        number_in_name = _LEADING_NUMBER.match(stem.rpartition("/")[2])
        parts = {"clip": stem, LEADING_NUMBER: number_in_name.group() if number_in_name else ""}
        names = (filled(template, {**record, **parts}) for template in templates)
        return tuple(name for name in names if name and name != src and not leaves_folder(name))

    def _addresses(self, src: str, record: Mapping[str, str]) -> tuple[ClipAddress, ...]:
        """Where a clip without a URL may be, each address once; a template that lacks a value makes none."""
        stem, suffix = self._parted(src)
        last = stem.rpartition("/")[2]
        # What stands in the clip's own name is as the bucket spells it; a column may say it in another way.
        values = {**record, **read_by(self.corpus.name_parts, last), "name": src, "stem": last}
        quoted = {name: quote(value) for name, value in values.items()}
        addresses: dict[str, ClipAddress] = {}
        for template in self.corpus.addresses:
            if place := filled(template, quoted):
                url, of_place = self.settings.bucket_prefix + place, self._parted(place.partition("?")[0])[1]
                kept = src if of_place.lower() in ("", suffix.lower()) else stem + of_place
                addresses.setdefault(url, ClipAddress(url, template, kept))
        return tuple(addresses.values())

    def _parted(self, name: str) -> tuple[str, str]:
        """A name's stem and its suffix, which is empty where it is none of a video."""
        suffixes, lower = (self.settings.clip_suffix.lower(), *VIDEO_SUFFIXES), name.lower()
        at = len(name) - next((len(suffix) for suffix in suffixes if lower.endswith(suffix)), 0)
        return name[:at], name[at:]

    def _scores(self, record: Mapping[str, str]) -> dict[str, float]:
        """The further scores that the corpus declares, of those that the row has."""
        texts = ((one.field, record.get(one.column.lower(), "")) for one in self.corpus.scores)
        return {name: self._number(text) for name, text in texts if text and text.lower() not in NO_VALUE}

    def _extra(self, src: str, record: Mapping[str, str]) -> dict[str, object]:
        """What goes into the corpus JSONL as it is: the part, content and split, and the declared extra columns."""
        extra: dict[str, object] = {}
        if self.part is not None and self.part.value:
            extra[self.part.field] = self.part.value
        if content := self._word("content", record) or self._content_in_name(src):
            extra[CONTENT_ID] = content
        if split := self._text("split", record):
            extra["split"] = SPLIT_SYNONYMS.get(split.lower(), split)
        elif is_test := self._text("is_test", record):
            # a word of neither kind stays, and is refused as an unknown split
            extra["split"] = _TEST_WORDS.get(is_test.lower(), is_test)
        for column in self.corpus.extra_columns:
            text = next((text for name in column.columns if (text := record.get(name.lower()))), "")
            value = self._number(text)
            if text and not column.number:
                extra[column.field] = text
            elif column.number and math.isfinite(value):
                # 3.0 is written as 3; beyond 2**53 a float no longer says which whole number was meant
                whole = value.is_integer() and abs(value) <= _MOST_WHOLE
                extra[column.field] = int(value) if whole else value
        return extra


def stored(row: AnnotationRow, native: MosScale, scale: MosScale) -> AnnotationRow:
    """The row with its score and SD on ``scale`` and the native score beside it; bad rows stay as they are."""
    if row.problem:
        return row
    sd = None if row.sd is None else native.convert_spread(row.sd, scale)
    return replace(row, mos=native.convert(row.mos, scale), sd=sd, extra={**row.extra, RAW_MOS: row.mos})


def with_suffix(name: str, suffix: str) -> str:
    """The name on disk: a stem with dots is no suffix, so the suffix is added unless it or a video suffix is there."""
    return name if not name or name.lower().endswith((*VIDEO_SUFFIXES, suffix.lower())) else name + suffix


def src_of(name: str, suffix: str) -> str:
    """The clip that a score file means by a name."""
    return with_suffix(_one_spelling(name), suffix)


def leaves_folder(name: str) -> bool:
    """Whether a name would lead out of the folder of the clips, or means another file elsewhere."""
    return name.startswith("/") or ".." in name.split("/") or "\0" in name or "\\" in name


def _one_spelling(name: str) -> str:
    """``x/a`` for ``./x//a``: two names of one file would be two clips."""
    if not name or name.startswith("/"):
        return name
    return "/".join(part for part in name.split("/") if part not in ("", "."))


def _is_utf8(values: list[str]) -> bool:
    """False where JSON escapes smuggled in half a surrogate pair, which no file name and no UTF-8 can hold."""
    try:
        "".join(values).encode()
    except UnicodeEncodeError:
        return False
    return True


def _problem(src: str, url: str, mos: float, mos_text: str) -> str:
    if not src:
        return "no clip name"
    if "\n" in src or "\r" in src:
        return f"a name with a line break: {short(src)!r}"
    if leaves_folder(src):
        hint = " (folders are divided by /, not by a backslash)" if "\\" in src else ""
        return f"a name that leaves the folder: {short(src)!r}{hint}"
    if not math.isfinite(mos):
        return f"no usable MOS: {short(mos_text)!r}"
    if url and _scheme(url) not in ("http", "https"):
        return f"a URL that is neither http nor https: {short(_scheme(url))!r}"
    return ""


def _scheme(url: str) -> str:
    try:
        return urlsplit(url).scheme.lower()
    except ValueError:
        return "unreadable"
