"""The ``Corpus`` declaration: everything that differs between corpora, as data. No corpus is declared here."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import Literal

from vqa_assets.corpora.raw_video import RawVideo
from vqa_assets.corpora.scales import MosScale

Spread = Literal["sd", "se", "ci95"]
IdFamily = Literal["flickr", "youtube"]
"""Where an id that stands in clip names comes from: the same id in two corpora is the same upload."""
ColumnRole = Literal["content", "rung", "bitrate", "orientation"]
"""What heads make of an extra column.

``content`` names what a clip shows. A table with a ``rung`` or a ``bitrate`` column holds a bitrate ladder, and the
latter is the rung's rate as a label (``0.2M``, ``500K``). ``orientation`` is ``portrait`` or another word.
"""

REDISTRIBUTION: Mapping[str, str] = MappingProxyType(
    {
        "attribution": "may be passed on if every corpus is named with its citation",
        "research-only": "is for research use only; every corpus must be cited",
        "non-commercial-share-alike": "is for non-commercial use only, passed on under the same licence or not at all",
        "unknown": "must not be passed on until the corpus's licence is clarified",
    }
)
"""What a corpus's licence lets one do with what is made from it (a head, a table), from the freest to the strictest."""

SUFFIX = re.compile(r"\.[A-Za-z0-9.]*[A-Za-z0-9]")
ADDRESS = re.compile(r"(?:https?://.*)?", re.DOTALL)
"""What a clip suffix and an address put before names must be, in a declaration and in a setting."""
LONGEST_TIME_S = 86_400.0
"""No single clip's transfer or probe may take longer."""


def strictest(words: Iterable[str]) -> str:
    """The strictest of these ``REDISTRIBUTION`` words; ``unknown`` of none."""
    order = list(REDISTRIBUTION)
    return max(words, key=order.index, default="unknown")


@dataclass(frozen=True)
class Spellings:
    """Column names of an annotation file per meaning, compared without case; the first non-empty one wins.

    ``content`` names what a clip shows, ``split`` its official part, ``reference`` holds 1 for the reference clip of
    its content, ``codec`` what encoded it.
    """

    clip: tuple[str, ...] = ()
    url: tuple[str, ...] = ()
    mos: tuple[str, ...] = ()
    sd: tuple[str, ...] = ()
    count: tuple[str, ...] = ()
    content: tuple[str, ...] = ()
    split: tuple[str, ...] = ()
    reference: tuple[str, ...] = ()
    codec: tuple[str, ...] = ()

    def of(self, role: str) -> tuple[str, ...]:
        """The column names of one meaning."""
        names: tuple[str, ...] = getattr(self, role)
        return names

    def before(self, others: "Spellings") -> "Spellings":
        """These spellings first, then ``others``, each name once."""
        return Spellings(**{role: tuple(dict.fromkeys(self.of(role) + others.of(role))) for role in ROLES})


ROLES = tuple(f.name for f in fields(Spellings))
GENERAL_SPELLINGS = Spellings(
    clip=("name", "video_name", "filename", "file_name"),
    url=("url", "download_url", "video_url", "flickr_url"),
    mos=("mos", "mos_score"),
    sd=("sd", "mos_std", "mos_std_dev", "sd_mos"),
    count=("n", "ratings", "num_ratings", "n_ratings"),
)

NAME_AND_SCORE = ("name", "mos")
NAME_FILLERS_SCORE = ("name", "", "", "mos")
"""Shapes of headerless files: the column names that a header would hold, empty for columns without meaning."""


@dataclass(frozen=True)
class Acquisition:
    """How a person comes by the corpus: the file to drop into its folder, and where it is had.

    ``other_files`` are the places, in order, where the annotation file may lie instead.
    """

    file: str
    where: str
    steps: str
    other_files: tuple[str, ...] = ()


@dataclass(frozen=True)
class Part:
    """One of several score files that together are the corpus's annotation file.

    Its rows carry ``field`` = ``value``; their clips lie in ``clips`` or where the other clips do. ``min_rows`` is the
    lower bound where such parts alone are there (None: the corpus's own).
    """

    file: str
    field: Literal["score_drop", "split"]
    value: str
    clips: tuple[str, ...] = ()
    min_rows: int | None = None


@dataclass(frozen=True)
class ExtraColumn:
    """A column that is carried into the corpus JSONL as ``field``, under the first of ``columns`` that is not empty."""

    field: str
    columns: tuple[str, ...]
    number: bool = False
    role: ColumnRole | None = None


@dataclass(frozen=True)
class Archive:
    """A zip file that holds a part of the corpus: unpacked into ``folder``, at least ``min_bytes`` large."""

    file: str
    folder: str
    min_bytes: int


@dataclass(frozen=True)
class Corpus:
    """One named, versioned body of clips with scores. Facts that can mislead have no default.

    Scores: ``scales`` are tried in order on the whole file; ``stored_scale`` is what scores are mapped to at ingest
    (None: they stay as published). ``spread`` says what the published spread is (None: none is).

    Annotation file: ``min_rows`` and ``max_rows`` bound it and refuse the wrong corpus; ``lookalike`` says which one it
    probably is. ``default_cap`` bounds an ordinary run. ``own_spellings`` go before the general ones;
    ``last_spellings`` count only where no other column of that meaning exists. ``headerless`` are the shapes of files
    without a header, told apart by their number of columns. ``parts`` are the score files that stand in for the one.

    Clips: ``clip_name`` makes a name of columns (``{video}_{crf}.yuv``) where no column holds one; where no column says
    what encoded a clip, a name made so does, if that is one of ``codecs``. On disk a clip may
    have a name of ``also_named``, or one that begins with one of ``also_starting``; they are made the same way, and
    ``{clip}`` is the name without suffix.
    ``clip_folders`` are searched after the ``clips_subdir`` setting. ``raw_video`` is what clips without a container
    are. ``bytes_per_clip`` estimates a download; ``bucket_prefix`` is put before names that have no URL; ``archives``
    are had from ``archive_base``. ``name_ids`` are the sites whose ids stand in clip names, which links related clips.
    """

    name: str
    title: str
    version: str
    scales: tuple[MosScale, ...]
    spread: Spread | None
    licence: str
    redistribution: str
    citation: str
    homepage: str
    acquisition: Acquisition
    expected_clips: int
    size: str
    bytes_per_clip: int
    min_rows: int
    max_rows: int | None = None
    lookalike: str = ""
    default_cap: int | None = None
    stored_scale: MosScale | None = None
    own_spellings: Spellings = field(default_factory=Spellings)
    last_spellings: Spellings = field(default_factory=Spellings)
    headerless: tuple[tuple[str, ...], ...] = ()
    parts: tuple[Part, ...] = ()
    extra_columns: tuple[ExtraColumn, ...] = ()
    clip_suffix: str = ".mp4"
    clip_name: str = ""
    codecs: tuple[str, ...] = ()
    also_named: tuple[str, ...] = ()
    also_starting: tuple[str, ...] = ()
    clip_folders: tuple[str, ...] = ()
    raw_video: RawVideo | None = None
    download_timeout_s: float = 120.0
    bucket_prefix: str = ""
    archives: tuple[Archive, ...] = ()
    archive_base: str = ""
    name_ids: tuple[IdFamily, ...] = ()

    @property
    def stem(self) -> str:
        """The name as it stands in file names: ``konvid_150k``."""
        return self.name.replace("-", "_")

    @property
    def spellings(self) -> Spellings:
        """The corpus's own column names, then the general ones."""
        return self.own_spellings.before(GENERAL_SPELLINGS)

    @property
    def row_scales(self) -> tuple[MosScale, ...]:
        """What the scores of its JSONL's rows may be on, in the order in which they are tried."""
        return (self.stored_scale,) if self.stored_scale else self.scales

    @property
    def annotation_files(self) -> tuple[str, ...]:
        """Where the one annotation file may lie inside the corpus's folder, in the order of preference."""
        return (self.acquisition.file, *self.acquisition.other_files)

    def part_of(self, file_name: str) -> Part | None:
        """The part that a score file of this name is, or None."""
        return next((part for part in self.parts if part.file == file_name), None)


def by_name(corpora: Iterable[Corpus]) -> Mapping[str, Corpus]:
    """The corpora under their names, in their order; not to be changed."""
    return MappingProxyType({corpus.name: corpus for corpus in corpora})
