"""The ``Corpus`` declaration: everything that differs between corpora, as data. No corpus is declared here."""

import math
import re
import string
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator, model_validator

from vqa_assets.corpora.contents import SPLIT_WORDS
from vqa_assets.corpora.external import ENCODE_GRID_SOURCES, EXTERNAL_SHARDS
from vqa_assets.corpora.raw_video import RawVideo
from vqa_assets.corpora.scales import CONTINUOUS_0_100, OPINION_SCALES, RAW_MOS, SCALES, MosScale, Polarity
from vqa_assets.errors import SettingsError
from vqa_assets.settings import NONE_WORD, Declared, Many, Shape, Unfit

Spread = Literal["sd", "se", "ci95"]
IdFamily = Literal["flickr", "youtube"]
"""Where an id that stands in clip names comes from: the same id in two corpora is the same upload."""
ColumnRole = Literal["content", "rung", "bitrate", "orientation"]
"""What heads make of an extra column.

``content`` names what a clip shows. A table with a ``rung`` or a ``bitrate`` column holds a bitrate ladder, and the
latter is the rung's rate as a label (``0.2M``, ``500K``). ``orientation`` is ``portrait`` or another word.
"""

Redistribution = Literal["attribution", "research-only", "non-commercial-share-alike", "unknown"]
REDISTRIBUTION: Mapping[str, str] = MappingProxyType(
    {
        "attribution": "may be passed on if every corpus is named with its citation",
        "research-only": "is for research use only; every corpus must be cited",
        "non-commercial-share-alike": "is for non-commercial use only, passed on under the same licence or not at all",
        "unknown": "must not be passed on until the corpus's licence is clarified",
    }
)
"""What a corpus's licence lets one do with what is made from it (a head, a table), from the freest to the strictest."""

LONGEST_TIME_S = 86_400.0
"""No single clip's transfer or probe may take longer."""

_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
NO_CORPUS_FOLDERS = frozenset(
    {*EXTERNAL_SHARDS, *ENCODE_GRID_SOURCES, "aggregated", "backbones", "corpora", "encode-grid", "models"}
)
"""Names that mean something else under the data root."""
_SUFFIX = re.compile(r"\.[A-Za-z0-9.]*[A-Za-z0-9]")
_NO_CLIP_SUFFIXES = (".toml", ".json", ".jsonl", ".csv", ".parquet", ".sqlite", ".onnx", ".log", ".lock")
_ADDRESS = re.compile(r"(?:https?://.*)?", re.DOTALL)
_HUB_DATASET = re.compile(r"(?:[\w.-]+/[\w.-]+(?:@[\w./-]+)?)?", re.ASCII)
_WORDS = re.compile(r"[a-z]+")
_WORDS_BY_CASE = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_SCALE_NAME = re.compile(r"[A-Za-z0-9.+_-]+")
_SCORE_NAME = re.compile(r"[a-z][a-z0-9_]*")
_SCORE_NAMES_TAKEN = "scale, polarity, std_dev, raw_0_100, native, score, label_…, …_scale, …_polarity, n_ratings, ci95"
_SCORE_NAME_TAKEN = re.compile(
    r"scale|polarity|std.*|raw.*|native.*|score|label_.*|.*_scale|.*_polarity|n_ratings|ci95"
)
_SCALE_FIELDS = ("name", "low", "high")
_A_SCALE = f"one of {', '.join(OPINION_SCALES)}, or a table of {', '.join(_SCALE_FIELDS)}"
_ROW_FIELDS = (
    *("src", "src_sha256", "src_size_bytes", "width", "height", "framerate", "duration_s", "pix_fmt"),
    *("encoder_upstream", "mos", "mos_scale", "mos_polarity", "mos_std_dev", "n_ratings", "corpus", "corpus_version"),
    *("ingested_at_utc", "annotated_as", "score_drop", "split", "content_id", RAW_MOS),
    *("vmaf_score", "encoder", "preset", "crf"),
)


def _scale_of(value: Any) -> Any:
    """A scale by its name, or one of the corpus's own by its name and range."""
    if isinstance(value, str) and value in OPINION_SCALES:
        return OPINION_SCALES[value]
    if isinstance(value, MosScale):
        if value.directed("mos") == SCALES.get(value.name):
            return SCALES[value.name]
        value = {name: getattr(value, name) for name in _SCALE_FIELDS}
    if not isinstance(value, Mapping) or set(value) != set(_SCALE_FIELDS):
        raise Unfit(repr(dict(value) if isinstance(value, Mapping) else value), _A_SCALE)
    name, low, high = (value[field] for field in _SCALE_FIELDS)
    for field in ("low", "high"):
        # true is a number to Python
        if (
            isinstance(value[field], bool)
            or not isinstance(value[field], int | float)
            or not math.isfinite(value[field])
        ):
            raise Unfit(repr(value[field]), "a number", field)
    if not low < high or not math.isfinite(high - low):
        raise Unfit(f"{high:g}", f"more than low ({low:g})", "high")
    if not isinstance(name, str) or not _SCALE_NAME.fullmatch(name) or name in SCALES:
        expected = f"a name of its own of letters, digits, ., +, _ and -, none of {', '.join(SCALES)}"
        raise Unfit(repr(name), expected, "name")
    return MosScale(name, float(low), float(high))


def _is_template(text: str) -> bool:
    """Whether a text can be formatted with named columns, and names nothing inside them."""
    try:
        parts = list(string.Formatter().parse(text))
    except ValueError:
        return False
    return all(
        name is None or bool(name and not name.isdigit() and not {".", "["} & set(name) and not spec and not kind)
        for _, name, spec, kind in parts
    )


def is_further_score(column: str) -> bool:
    """Whether a column's name is that of a further score, ``mos_<name>``, and means nothing else."""
    return column.startswith("mos_") and _is_score_name(column.removeprefix("mos_"))


def _columns_of(template: str) -> set[str]:
    """The columns that a template names, in lower case."""
    return {name.lower() for _, name, _, _ in string.Formatter().parse(template) if name}


def _is_score_name(name: str) -> bool:
    return bool(_SCORE_NAME.fullmatch(name)) and not _SCORE_NAME_TAKEN.fullmatch(name)


def _is_clip_suffix(suffix: str) -> bool:
    """Whether clips can have it: a clip that is fetched must never stand where a file of settings or rows is read."""
    return bool(_SUFFIX.fullmatch(suffix)) and not suffix.lower().endswith(_NO_CLIP_SUFFIXES)


def _is_inside(path: str) -> bool:
    parts = PurePosixPath(path)
    return bool(path) and not parts.is_absolute() and ".." not in parts.parts


CorpusName = Annotated[
    str,
    Shape(
        lambda name: _NAME.fullmatch(name) and name not in NO_CORPUS_FOLDERS,
        f"lower-case words joined by -, none of {', '.join(sorted(NO_CORPUS_FOLDERS))}",
    ),
]
Fact = Annotated[str, Shape(str.strip, "the fact as published")]
InnerPath = Annotated[str, Shape(_is_inside, "a path inside the corpus's folder")]
Template = Annotated[str, Shape(_is_template, "a template such as '{video}_{crf}.mp4'")]
ClipSuffix = Annotated[str, Shape(_is_clip_suffix, "a suffix such as .mp4")]
Address = Annotated[str, Shape(_ADDRESS.fullmatch, "an address that begins with https:// or http://")]
HubDataset = Annotated[
    str, Shape(_HUB_DATASET.fullmatch, "a dataset of the Hugging Face Hub, as owner/name or owner/name@revision")
]
OpinionScale = Annotated[MosScale, BeforeValidator(_scale_of)]
"""In a TOML file a name, or a table of name, low and high. A computed score (VMAF) is on none of them."""
AtLeastOne = Annotated[int, Field(ge=1)]


def says_dmos(column: str) -> bool:
    """Whether a column's name says that it holds differences, of which less is better: ``dmos``, ``AvgDMOS_1``."""
    # a word, also by its case: "adjustedmos" and "adjustedMOS" hold these letters too
    return "dmos" in _WORDS.findall(column.lower()) or "DMOS" in _WORDS_BY_CASE.findall(column)


def says_mos(column: str) -> bool:
    """Whether a column's name says that it is of mean opinion scores, of which more is better: ``mos``, ``mos_std``."""
    return "mos" in _WORDS.findall(column.lower())


def strictest(words: Iterable[str]) -> str:
    """The strictest of these ``REDISTRIBUTION`` words; ``unknown`` of none."""
    order = list(REDISTRIBUTION)
    return max(words, key=order.index, default="unknown")


class Spellings(Declared):
    """Column names of an annotation file per meaning, compared without case; the first non-empty one wins.

    ``content`` names what a clip shows, ``split`` its official part, ``is_test`` holds true or 1 for a clip of the
    official test part and false or 0 for one to train on, ``reference`` holds 1 for the reference clip of its content,
    ``codec`` what encoded it.
    """

    clip: Many[str] = ()
    url: Many[str] = ()
    mos: Many[str] = ()
    sd: Many[str] = ()
    count: Many[str] = ()
    content: Many[str] = ()
    split: Many[str] = ()
    is_test: Many[str] = ()
    reference: Many[str] = ()
    codec: Many[str] = ()

    def names(self, role: str) -> tuple[str, ...]:
        """The column names of one meaning."""
        names: tuple[str, ...] = getattr(self, role)
        return names

    def before(self, others: "Spellings") -> "Spellings":
        """These spellings first, then ``others``, each name once."""
        return Spellings(**{role: tuple(dict.fromkeys(self.names(role) + others.names(role))) for role in ROLES})


ROLES = tuple(Spellings.model_fields)
GENERAL_SPELLINGS = Spellings(
    clip=("name", "video_name", "filename", "file_name"),
    url=("url", "download_url", "video_url", "flickr_url"),
    mos=("mos", "mos_score"),
    sd=("sd", "mos_std", "mos_std_dev", "sd_mos", "stddev", "std_dev"),
    count=("n", "ratings", "num_ratings", "n_ratings", "rating_count"),
)
DMOS_SPELLINGS = Spellings(mos=("dmos", "dmos_score"), sd=("dmos_std", "dmos_std_dev", "sd_dmos"))
"""What stands before these where a corpus's polarity is ``dmos``."""

VOTE_SPELLINGS = ("vote", "rating", "score", "quality")
"""Column names of single votes, in files of votes beside a score file."""

NAME_AND_SCORE = ("name", "mos")
NAME_FILLERS_SCORE = ("name", "", "", "mos")
"""Shapes of headerless files: the column names that a header would hold, empty for columns without meaning."""


class Acquisition(Declared):
    """How a person comes by the corpus: the file to drop into its folder, and where it is published.

    ``other_files`` are the places, in order, where the annotation file may lie instead: paths, or patterns such as
    ``metadata/**/*.csv`` (in that folder or below it), which stand for the one table that matches.
    """

    file: InnerPath
    where: str
    steps: str
    other_files: Many[InnerPath] = ()


class ScorePart(Declared):
    """One of several score files that together are the corpus's annotation file.

    Its rows carry ``field`` = ``value``; a split may be left to a column of the file (``value`` empty), which counts
    before the file's name. Their clips lie in ``clips`` or where the other clips do; ``votes`` is a file of single
    votes beside it, of which SD and count are made. ``min_rows`` is the lower bound where such parts alone are there
    (None: the corpus's own).
    """

    file: InnerPath
    field: Literal["score_drop", "split"]
    value: str = ""
    clips: Many[InnerPath] = ()
    votes: Annotated[InnerPath | None, NONE_WORD] = None
    min_rows: Annotated[AtLeastOne | None, NONE_WORD] = None

    @model_validator(mode="after")
    def _is_a_split(self) -> Self:
        if self.field == "split" and self.value not in ("", *SPLIT_WORDS):
            raise Unfit(repr(self.value), f"one of {', '.join(SPLIT_WORDS)}, or nothing", "value")
        if self.field != "split" and not self.value:
            raise Unfit("nothing", f"what {self.field} is in these rows", "value")
        return self


class ExtraColumn(Declared):
    """A column that is carried into the corpus JSONL as ``field``, under the first of ``columns`` that is not empty."""

    field: str
    columns: Annotated[Many[str], Shape(bool, "a list of at least one column name")]
    number: bool = False
    role: Annotated[ColumnRole | None, NONE_WORD] = None


class RenamedColumn(Declared):
    """A column of another release's header, ``column``, that is read as if it were called ``name``."""

    column: str
    name: str


class ContentInName(Declared):
    """How clips' names say what they show: ``name`` is how names are made, ``content`` which of its parts are it.

    A ``name`` without a folder is of the last part of a path; both hold the suffix. Of ``numbers`` above 1, so many
    consecutive values of ``{number}``, from 1, show one content.
    """

    name: Template
    content: Template
    numbers: AtLeastOne = 1

    @model_validator(mode="after")
    def _parts_agree(self) -> Self:
        parts, wanted = _columns_of(self.name), _columns_of(self.content)
        if not wanted or not wanted <= parts:
            raise Unfit(
                repr(self.content), f"a template of one of {', '.join(sorted(parts)) or 'the parts'}", "content"
            )
        if self.numbers > 1 and "number" not in wanted:
            raise Unfit(repr(self.content), "a template with {number}, which is counted", "content")
        return self


class FurtherScore(Declared):
    """A further score of each clip, carried as ``mos_<name>``: technical, aesthetic, colour …

    Its scale and polarity are the corpus's where none are stated.
    """

    name: Annotated[str, Shape(_is_score_name, f"a word of small letters, digits and _, none of {_SCORE_NAMES_TAKEN}")]
    column: Fact
    scale: Annotated[OpinionScale | None, NONE_WORD] = None
    polarity: Annotated[Polarity | None, NONE_WORD] = None

    @property
    def field(self) -> str:
        """The rows' field that holds it."""
        return f"mos_{self.name}"

    @property
    def scale_field(self) -> str:
        """The rows' field that names its scale, where that is not ``mos_scale``."""
        return f"mos_{self.name}_scale"

    @property
    def polarity_field(self) -> str:
        """The rows' field that says its polarity, where that is not the one of ``mos``."""
        return f"mos_{self.name}_polarity"

    def scale_beside(self, mos: MosScale) -> MosScale:
        """The scale that it is on in rows whose ``mos`` is on ``mos``."""
        scale = self.scale or mos
        return scale.directed(self.polarity or mos.polarity)


def _scores_by_name(value: Any) -> Any:
    """A table of name → column (or column, scale, polarity) as the list that is kept."""
    if not isinstance(value, Mapping):
        return value
    return [{"name": name, **(one if isinstance(one, Mapping) else {"column": one})} for name, one in value.items()]


class Archive(Declared):
    """A file that can be fetched, at least ``min_bytes`` large.

    One with a ``folder`` is a zip file, unpacked into that; any other goes into the corpus's own folder as it is. What
    is not ``needed`` may be gone.
    """

    file: InnerPath
    folder: Annotated[InnerPath | None, NONE_WORD] = None
    min_bytes: int
    needed: bool = True


class Corpus(Declared):
    """One named, versioned body of clips with scores. Facts that can mislead have no default.

    Scores: ``scales`` are tried on the whole file, the narrowest first, a known one by its name, one of the corpus's
    own as name, low and high; ``stored_scale`` is what scores are mapped to at ingest (None: they stay as published).
    ``polarity`` is ``dmos`` where a high score means bad quality; with ``dmos_is_mos`` a column that is called dmos
    holds a mean opinion score all the same. ``scores`` are further scores of each clip, ``{technical = "T"}`` or with a
    scale and a polarity of their own. ``spread`` says what the published spread of the first is (None: none is).

    Annotation file: ``min_rows`` and ``max_rows`` bound it and refuse the wrong corpus; ``lookalike`` says which one it
    probably is. ``default_cap`` bounds an ordinary run. ``own_spellings`` go before the general ones;
    ``last_spellings`` count only where no other column of that meaning exists. ``renamed_columns`` are called otherwise
    in some headers than in the templates below. ``headerless`` are the shapes of files without a header, which differ
    in their number of columns. ``parts`` are the score files that stand in for the one.

    Clips: ``clip_name`` makes a name of columns (``{video}_{crf}.yuv``) where no column holds one; where no column says
    what encoded a clip, a name made so does, if that is one of ``codecs``. On disk a clip may
    have a name of ``also_named``, or one that begins with one of ``also_starting``; they are made the same way, and
    ``{clip}`` is the name without suffix, ``{leading_number}`` the number that it begins with. Where no column says
    what a clip shows, the first of ``contents_in_names`` that fits its name does; contents are in lower case then, so
    that corpora of the same sources share them.
    ``clip_folders`` are searched after the ``clips_subdir`` setting. ``raw_video`` is what clips without a container
    are. ``bytes_per_clip`` estimates a download; ``archives`` lie at ``archive_base``; ``hf`` is a dataset of the
    Hugging Face Hub, ``owner/name@revision``, whose files are fetched for clips that are absent and have no address.
    ``name_ids`` are the sites whose ids stand in clip names, which links related clips.

    Clips without a URL are fetched from below ``bucket_prefix``, at what the templates ``addresses`` make of columns:
    they are tried in order, the one that last worked first. In them ``{name}`` is the clip's name, ``{stem}`` its last
    part without suffix, and what the template ``name_parts`` reads off that goes before columns of the same name. A
    clip's suffix follows the address that it came from.
    """

    name: CorpusName
    title: Fact
    version: Fact
    polarity: Polarity = "mos"
    dmos_is_mos: bool = False
    scales: Annotated[Many[OpinionScale], Shape(bool, f"a list of at least one scale, each {_A_SCALE}")]
    spread: Annotated[Spread | None, NONE_WORD]
    licence: Fact
    redistribution: Redistribution
    citation: Fact
    homepage: Fact
    acquisition: Acquisition
    expected_clips: AtLeastOne
    size: Fact
    bytes_per_clip: AtLeastOne
    min_rows: AtLeastOne
    max_rows: Annotated[AtLeastOne | None, NONE_WORD] = None
    lookalike: str = ""
    default_cap: Annotated[AtLeastOne | None, NONE_WORD] = None
    stored_scale: Annotated[OpinionScale | None, NONE_WORD] = None
    scores: Annotated[Many[FurtherScore], BeforeValidator(_scores_by_name)] = ()
    own_spellings: Spellings = Spellings()
    last_spellings: Spellings = Spellings()
    headerless: Many[Many[str]] = ()
    parts: Many[ScorePart] = ()
    extra_columns: Many[ExtraColumn] = ()
    renamed_columns: Many[RenamedColumn] = ()
    clip_suffix: ClipSuffix = ".mp4"
    clip_name: Template = ""
    codecs: Many[str] = ()
    also_named: Many[Template] = ()
    also_starting: Many[Template] = ()
    contents_in_names: Many[ContentInName] = ()
    clip_folders: Many[InnerPath] = ()
    raw_video: Annotated[RawVideo | None, NONE_WORD] = None
    download_timeout_s: float = Field(default=120.0, ge=1, le=LONGEST_TIME_S)
    bucket_prefix: Address = ""
    addresses: Annotated[Many[Template], Shape(bool, "a list of at least one template such as '{name}'")] = ("{name}",)
    name_parts: Template = ""
    archives: Many[Archive] = ()
    archive_base: Address = ""
    hf: HubDataset = ""
    name_ids: Many[IdFamily] = ()

    @property
    def stem(self) -> str:
        """The name as it stands in file names: ``konvid_150k``."""
        return self.name.replace("-", "_")

    @property
    def spellings(self) -> Spellings:
        """The corpus's own column names, then the general ones."""
        general = GENERAL_SPELLINGS if self.polarity == "mos" else DMOS_SPELLINGS.before(GENERAL_SPELLINGS)
        return self.own_spellings.before(general)

    @property
    def row_scales(self) -> tuple[MosScale, ...]:
        """What the scores of its JSONL's rows may be on."""
        return (self.stored_scale,) if self.stored_scale else self.scales

    def scale_named(self, name: object) -> MosScale | None:
        """The scale of opinions that its rows mean by a name, with its polarity: one of its own, or a known one."""
        own = {scale.name: scale for scale in reversed(self._own_scales)}
        known = OPINION_SCALES.get(name) if isinstance(name, str) else None
        return own.get(str(name)) or (known.directed(self.polarity) if known else None)

    def stated_scale(self, name: str, where: str) -> MosScale:
        """The scale that a setting names; SettingsError (``where``) for one that the corpus does not have."""
        scale = self.scale_named(name)
        if scale is None:
            names = dict.fromkeys((*OPINION_SCALES, *(scale.name for scale in self.scales)))
            next_step = "correct the name, or declare the scale (scales) where it is the corpus's own"
            raise SettingsError(
                where, found=repr(name)[:200], expected=f"one of {', '.join(names)}", next_step=next_step
            )
        return scale

    def upward_score(self, row: Mapping[str, Any]) -> float:
        """A JSONL row's score on its own scale, turned round within it where less is better."""
        scale, polarity = self.scale_named(row.get("mos_scale")), row.get("mos_polarity") or self.polarity
        if scale is None or polarity == "mos":
            return float(row["mos"])
        return scale.directed("dmos").convert(float(row["mos"]), scale.directed("mos"))

    @property
    def annotation_files(self) -> tuple[str, ...]:
        """Where the one annotation file may lie inside the corpus's folder, in the order of preference."""
        return (self.acquisition.file, *self.acquisition.other_files)

    def part_of(self, file_name: str) -> ScorePart | None:
        """The part that a score file of this name is, or None."""
        return next((part for part in self.parts if part.file == file_name), None)

    @field_validator("scales")
    @classmethod
    def _directed(cls, scales: tuple[MosScale, ...], info: ValidationInfo) -> tuple[MosScale, ...]:
        """The scales with the corpus's polarity, so that whatever maps a score knows which end is the better one."""
        names = [scale.name for scale in scales]
        if len(set(names)) < len(names):
            raise Unfit(", ".join(names), "each scale once")
        return tuple(scale.directed(info.data.get("polarity", "mos")) for scale in scales)

    @model_validator(mode="after")
    def _facts_agree(self) -> Self:
        """Facts that are good one by one and not together."""
        if self.stored_scale is not None and self.scales != (CONTINUOUS_0_100,):
            # what is kept beside a stored score is called raw and is on 0–100, where more is better
            expected = f'scales = [{CONTINUOUS_0_100.name!r}] and polarity = "mos" beside it'
            raise Unfit(self.stored_scale.name, expected, "stored_scale")
        if self.max_rows is not None and self.max_rows < self.min_rows:
            raise Unfit(f"{self.max_rows}", f"min_rows ({self.min_rows}) or more", "max_rows")
        for shape in self.headerless:
            names = {name.lower() for name in shape if name}
            repeats = len(names) < sum(map(bool, shape))
            if "mos" not in names or repeats or not self._names_clips(names):
                expected = 'the column names in order, each once, "mos" among them, and one that names the clip'
                clip = ", ".join(self.spellings.clip)
                raise Unfit(f"{list(shape)}", f"{expected} ({clip})", "headerless")
        taken = {*_ROW_FIELDS, "", *(name for s in self.scores for name in (s.field, s.scale_field, s.polarity_field))}
        for column in self.extra_columns:
            if column.field in taken:
                raise Unfit(repr(column.field), "a field that rows do not have yet", "extra_columns")
            taken.add(column.field)
        meanings: dict[str, str] = dict.fromkeys(GENERAL_SPELLINGS.mos, "mos")
        for role in ROLES:
            for name in (*self.own_spellings.names(role), *self.last_spellings.names(role)):
                other = meanings.setdefault(name.lower(), role)
                if other != role and "content" not in (other, role):
                    found = f"{name!r} for {other} and {role}"
                    raise Unfit(found, "one meaning for each column name", "own_spellings")
        files = [name for part in self.parts for name in (part.file, part.votes) if name]
        if len(set(files)) < len(files):
            raise Unfit(f"files {', '.join(files)}", "each file once", "parts")
        return self

    @model_validator(mode="after")
    def _scores_are_told_apart(self) -> Self:
        """Further scores have names of their own, and a scale's name means one range."""
        ranges: dict[str, MosScale] = {}
        for scale in self._own_scales:
            if ranges.setdefault(scale.name, scale).directed("mos") != scale.directed("mos"):
                raise Unfit(repr(scale.name), "one range for each name of a scale", "scores")
        names = [score.name for score in self.scores]
        if len(set(names)) < len(names):
            raise Unfit(", ".join(names), "each further score once", "scores")
        return self

    @property
    def _own_scales(self) -> tuple[MosScale, ...]:
        """Its scales, then those of its further scores."""
        return (*self.scales, *(score.scale for score in self.scores if score.scale is not None))

    def _names_clips(self, columns: set[str]) -> bool:
        """Whether columns of these names, in lower case, hold a clip's name or what it is made of."""
        spelled = {name.lower() for name in self.spellings.clip + self.last_spellings.clip}
        parts = _columns_of(self.clip_name)
        return bool(columns & spelled) or bool(parts and parts <= columns)


def by_name(corpora: Iterable[Corpus]) -> Mapping[str, Corpus]:
    """The corpora under their names, in their order; not to be changed."""
    return MappingProxyType({corpus.name: corpus for corpus in corpora})
