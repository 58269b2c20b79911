"""Column specs of every table that crosses a boundary; the UI's column descriptions are made from them.

Judging rows by them is in ``validation``.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, cast

from vqa_assets.corpora.contents import SPLIT_WORDS
from vqa_assets.corpora.corpus import REDISTRIBUTION, Corpus
from vqa_assets.corpora.scales import POLARITIES, SCALES, SLACK, TRAINING, UNIFIED
from vqa_assets.feature_names import CANONICAL_6, MEASURED

Kind = Literal["string", "integer", "number", "boolean"]
"""Of a column of one value a row: vectors, which no shipped family measures, are not judged by specs."""
SHA256_PATTERN = r"^[0-9a-f]{64}$"
STATUS_COLUMN, LABELLED = "mos_label_status", "ok"
"""The column that says whether a row of a labelled table has a label, and its word for yes."""
UTC_PATTERN = r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\+00:00$"
_PATTERNS_IN_WORDS = {SHA256_PATTERN: "64 hex digits", UTC_PATTERN: "UTC to the second", r"\S": "not blank"}
"""The web UI cuts constraints of more than 30 characters, and breaks none to fit its page."""


@dataclass(frozen=True)
class Column:
    """One column: name, kind, what it means, and what holds for every value of it."""

    name: str
    kind: Kind
    description: str
    required: bool = True
    nullable: bool = False
    unique: bool = False
    low: float | None = None
    high: float | None = None
    pattern: str = ""
    choices: tuple[str, ...] = ()

    @property
    def constraints(self) -> list[str]:
        """The constraints in a few words each, as the column schema in the web UI shows them; choices are not short."""
        words = [
            f"≥ {self.low:g}" if self.low is not None else "",
            f"≤ {self.high:g}" if self.high is not None else "",
            _PATTERNS_IN_WORDS.get(self.pattern, f"matches {self.pattern}") if self.pattern else "",
        ]
        return [text for text in words if text]

    @property
    def meaning(self) -> str:
        """What it means, and which values there are where they are chosen from a few."""
        return f"{self.description}: one of {', '.join(self.choices)}" if self.choices else self.description


@dataclass(frozen=True)
class Table:
    """A table: what one row is, and its columns. Other columns may stand beside them and are not judged.

    ``natural_key`` are columns whose values together do not repeat.
    """

    name: str
    row: str
    columns: tuple[Column, ...]
    natural_key: tuple[str, ...] = ()

    @property
    def unique(self) -> tuple[str, ...]:
        """The columns whose values do not repeat."""
        return tuple(c.name for c in self.columns if c.unique)

    @property
    def keys(self) -> tuple[tuple[str, ...], ...]:
        """Every set of columns whose values together do not repeat."""
        return (*((name,) for name in self.unique), *((self.natural_key,) if self.natural_key else ()))


CLIP_FACTS = (
    Column("src_size_bytes", "integer", "Size of the clip in bytes", low=1),
    Column("width", "integer", "Coded width in pixels", low=1),
    Column("height", "integer", "Coded height in pixels", low=1),
    Column("framerate", "number", "Frames per second", low=0),
    Column("duration_s", "number", "Length in seconds; 0 where no one states it", low=0),
    Column("pix_fmt", "string", "Pixel format, FFmpeg's name"),
    Column("encoder_upstream", "string", "Codec, FFmpeg's name"),
)

CORPUS_JSONL = Table(
    "corpus_jsonl",
    "One row per clip of the corpus whose bytes and score are known.",
    (
        Column("src", "string", "Name of the clip within the corpus, folders kept", unique=True),
        Column("src_sha256", "string", "SHA-256 of the clip's bytes", unique=True, pattern=SHA256_PATTERN),
        *CLIP_FACTS,
        # Scales reach from 0 to 100, and rounded scores a little beyond their ends.
        Column("mos", "number", "Mean opinion score, native, on mos_scale", low=-SLACK, high=100 + SLACK),
        Column("mos_scale", "string", "Scale that mos is on", choices=tuple(SCALES)),
        Column(
            "mos_polarity",
            "string",
            "What a high mos means; mos, where nothing is said: good quality",
            required=False,
            nullable=True,
            choices=POLARITIES,
        ),
        Column("mos_std_dev", "number", "SD of the opinions in the unit of mos; 0 = not published", low=0),
        Column("n_ratings", "integer", "Opinions per clip; 0 = not published", low=0),
        Column("corpus", "string", "Name of the corpus"),
        Column("corpus_version", "string", "Release of the corpus"),
        Column("ingested_at_utc", "string", "When the row last changed", pattern=UTC_PATTERN),
        Column(
            "annotated_as",
            "string",
            "What the score file calls the clip, where the file has another name",
            required=False,
            nullable=True,
        ),
    ),
)


_UNIFIED_NEEDS = ("src", "src_sha256", "mos", "mos_scale", "mos_std_dev", "corpus")
"""What a shard's row must have, and what is made of that; a shard from elsewhere may lack all else."""


def _unified_column(column: Column) -> Column:
    changes: dict[str, dict[str, Any]] = {
        "src": {"unique": False},
        "mos": {"description": "Mean opinion score on 0–100", "low": UNIFIED.low - 1.25, "high": UNIFIED.high + 1.25},
        "mos_scale": {"description": "Scale that mos is on", "choices": (UNIFIED.name,)},
        "mos_polarity": {"description": "What a high mos means: good quality", "choices": (UNIFIED.polarity,)},
        "mos_std_dev": {"description": "SD of the opinions in the unit of mos_native; 0 = not published"},
    }
    others = {} if column.name in _UNIFIED_NEEDS else {"required": False, "nullable": True}
    return replace(column, **{**others, **changes.get(column.name, {})})


UNIFIED_CORPUS = Table(
    "unified_corpus",
    "One row per distinct clip of all corpora, its score on 0–100.",
    (
        *(_unified_column(c) for c in CORPUS_JSONL.columns),
        Column("mos_native", "number", "Score as published"),
        Column("mos_native_scale", "string", "Scale that mos_native is on", choices=tuple(SCALES)),
        Column(
            "mos_native_polarity",
            "string",
            "What a high mos_native means; mos, where nothing is said: good quality",
            required=False,
            nullable=True,
            choices=POLARITIES,
        ),
        Column("mos_std_dev_unified", "number", "SD of the opinions on 0–100; 0 = not published", low=0),
        Column("corpus_source", "string", "Corpus the row was taken from"),
        Column("aggregated_at_utc", "string", "When the unified corpus was made", pattern=UTC_PATTERN),
    ),
)


def corpus_jsonl_of(corpus: Corpus) -> Table:
    """``CORPUS_JSONL`` of one corpus: scales of its own reach further and have other names; further scores."""
    names = tuple(dict.fromkeys((*SCALES, *(scale.name for scale in corpus.scales))))
    changes: dict[str, dict[str, Any]] = {
        "mos": {
            "low": min([-SLACK, *(scale.low - scale.slack for scale in corpus.scales)]),
            "high": max([100 + SLACK, *(scale.high + scale.slack for scale in corpus.scales)]),
        },
        "mos_scale": {"choices": names},
    }
    columns = [replace(column, **changes.get(column.name, {})) for column in CORPUS_JSONL.columns]
    columns += further_columns((one.field for one in corpus.scores), "on mos_scale, or on its own")
    return replace(CORPUS_JSONL, columns=tuple(columns))


def further_columns(
    names: Iterable[str], scale: str, low: float | None = None, high: float | None = None
) -> list[Column]:
    """Columns of further scores, which rows may lack."""
    return [
        Column(name, "number", f"A further score, {scale}", required=False, nullable=True, low=low, high=high)
        for name in names
    ]


def unified_corpus_of(scales: Iterable[str]) -> Table:
    """``UNIFIED_CORPUS`` of corpora that have scales of their own beside the known ones, by their names."""
    names = tuple(dict.fromkeys((*SCALES, *scales)))
    columns = (replace(c, choices=names) if c.name == "mos_native_scale" else c for c in UNIFIED_CORPUS.columns)
    return replace(UNIFIED_CORPUS, columns=tuple(columns))


CLIP_FEATURES = Table(
    "clip_features",
    "One row per clip whose features could be measured.",
    (
        Column("key", "string", "src of the corpus JSONL", unique=True),
        Column("src_sha256", "string", "SHA-256 of the clip's bytes", unique=True, pattern=SHA256_PATTERN),
        # A table holds what its families measure; only how many frames that was is in every one.
        *(Column(**vars(c), required=c.name == "n_feature_frames") for c in MEASURED.values()),
        *CLIP_FACTS,
        Column("corpus", "string", "Name of the corpus"),
    ),
)

MOS_FEATURES = Table(
    "mos_features",
    "One row per row of the feature table, with its clip's opinion score where it has one.",
    (
        Column(
            "mos",
            "number",
            "Mean opinion score on 1–5",
            nullable=True,
            low=TRAINING.low - SLACK,
            high=TRAINING.high + SLACK,
        ),
        Column("mos_raw_0_100", "number", "The same score on 0–100", nullable=True, low=-1.25, high=101.25),
        Column(STATUS_COLUMN, "string", "Whether the clip has a label", choices=(LABELLED, "missing-label")),
        Column("mos_label_source", "string", "Label file the score came from", nullable=True),
        *(
            Column(name, "number", description, required=False, nullable=True, low=0)
            for name, description in (
                ("mos_std_dev", "SD of the opinions on 1–5; 0 = not published"),
                ("mos_n_ratings", "Opinions per clip; 0 = not published"),
                ("mos_ci95", "Half width of the 95 % confidence interval on 1–5, of labels made of votes"),
            )
        ),
    ),
)

UNIFIED_FEATURES = Table(
    "unified_features",
    "One row per distinct clip of all corpora that has an opinion score and features.",
    (
        Column("key", "string", "src of the unified corpus"),
        Column("src_sha256", "string", "SHA-256 of the clip's bytes", unique=True, pattern=SHA256_PATTERN),
        Column("corpus", "string", "Corpus whose score the clip has"),
        Column("corpus_version", "string", "Release of the corpus", nullable=True),
        Column("content_id", "string", "What the clip shows; null where nothing says it", nullable=True),
        Column("split", "string", "The corpus's own split; null where it has none", nullable=True),
        Column("mos", "number", "Mean opinion score on 1–5", low=TRAINING.low - SLACK, high=TRAINING.high + SLACK),
        Column("mos_raw_0_100", "number", "The same score on 0–100", low=UNIFIED.low - 1.25, high=UNIFIED.high + 1.25),
        Column("mos_std_dev", "number", "SD of the opinions on 1–5; 0 = not published", low=0),
        Column("mos_n_ratings", "integer", "Opinions per clip; 0 = not published", nullable=True, low=0),
        *(replace(c, required=False, nullable=True, low=None) for c in CLIP_FACTS),
        # Tables of anybody's are in it: a column's kind is judged, what its values may be is not.
        *(Column(c.name, cast(Kind, c.kind), c.description, required=False, nullable=True) for c in MEASURED.values()),
    ),
)

_ENCODER_STATISTICS = (
    ("qp_mean", "Mean quantizer"),
    ("qp_std", "SD of the quantizer"),
    ("bits_mean", "Mean bits a frame"),
    ("bits_std", "SD of the bits a frame"),
    ("mv_mean", "Mean bits a frame for motion vectors"),
    ("mv_std", "SD of the bits a frame for motion vectors"),
    ("itex_mean", "Mean texture bits of intra frames"),
    ("ptex_mean", "Mean texture bits of inter frames"),
    ("intra_ratio", "Share of intra macroblocks"),
    ("skip_ratio", "Share of skipped macroblocks"),
)

ENCODE_GRID_JSONL = Table(
    "encode_grid_jsonl",
    "One row per encode of a source clip, scored by VMAF: vmaf-tune's Phase A keys, schema version 3.",
    (
        Column("schema_version", "integer", "Version of these keys", low=3, high=3),
        Column("run_id", "string", "Which scoring the row is from"),
        Column("timestamp", "string", "When it was scored; empty where the source does not say"),
        Column("src", "string", "Source clip"),
        Column("src_sha256", "string", "SHA-256 of the source, or a declared surrogate", pattern=SHA256_PATTERN),
        Column("width", "integer", "Width in pixels; 0 = not known", low=0),
        Column("height", "integer", "Height in pixels; 0 = not known", low=0),
        Column("pix_fmt", "string", "Pixel format, FFmpeg's name"),
        Column("framerate", "number", "Frames per second; 0 = not known", low=0),
        Column("duration_s", "number", "Length in seconds; 0 = not known", low=0),
        Column("encoder", "string", "Encoder, FFmpeg's name"),
        Column("encoder_version", "string", "Version of the encoder; empty = not known"),
        Column("preset", "string", "The encoder's preset"),
        Column("crf", "number", "Constant rate factor", low=0, high=63),
        Column("extra_params", "string", "Further options of the encode, as text"),
        Column("encode_path", "string", "Where the encode lay; empty = not kept"),
        Column("encode_size_bytes", "integer", "Size of the encode in bytes; 0 = not known", low=0),
        Column("bitrate_kbps", "number", "Bit rate of the encode in kbit/s; 0 = not known", low=0),
        Column("encode_time_ms", "number", "Time the encode took, in ms; 0 = not known", low=0),
        Column("vmaf_score", "number", "VMAF; NaN = not scored", nullable=True, low=0, high=100),
        Column("vmaf_model", "string", "Model that scored"),
        Column("score_time_ms", "number", "Time the scoring took, in ms; 0 = not known", low=0),
        Column("ffmpeg_version", "string", "FFmpeg that encoded; empty = not known"),
        Column("vmaf_binary_version", "string", "libvmaf that scored; empty = not known"),
        Column("exit_status", "integer", "Exit status of encode and scoring; 0 = both went well"),
        Column("clip_mode", "string", "full, or which sample of the source was encoded"),
        Column("hdr_transfer", "string", "HDR transfer function; empty = SDR or not known"),
        Column("hdr_primaries", "string", "HDR primaries; empty = SDR or not known"),
        Column("hdr_forced", "boolean", "Whether HDR was asked for against what the source says"),
        Column("shot_count", "integer", "Shots of the source; 0 = not known", low=0),
        Column("shot_avg_duration_sec", "number", "Mean shot length in seconds; 0 = not known", low=0),
        Column("shot_duration_std_sec", "number", "SD of the shot lengths in seconds; 0 = not known", low=0),
        *(Column(f"{f}_mean", "number", f"Mean of {f} over frames; NaN = absent", nullable=True) for f in CANONICAL_6),
        *(
            Column(f"{f}_std", "number", f"SD of {f} over frames; NaN = absent", nullable=True, low=0)
            for f in CANONICAL_6
        ),
        *(Column(f"enc_internal_{n}", "number", f"{d}; 0 = not known") for n, d in _ENCODER_STATISTICS),
        # beside vmaf-tune's keys, where a source has it
        Column("content_id", "string", "What the source shows; else each source is a content", False, nullable=True),
    ),
)

FR_TRAINING_CORPUS = replace(
    ENCODE_GRID_JSONL,
    name="fr_training_corpus",
    row="One row per distinct encode of all encode-grid sources, with its VMAF.",
    natural_key=("src_sha256", "encoder", "preset", "crf"),
)


_BEYOND = SLACK * 1.001
"""As far as a score may lie outside its range, where it was kept as a float32 since."""
_JUDGED = (
    Column("key", "string", "Name of the clip in its table", pattern=r"\S"),
    Column("corpus", "string", "Corpus whose table the row is from", pattern=r"\S"),
    Column("content_id", "string", "What the clip shows, else corpus/key: folds keep equal ones together"),
)
_OPINION = Column(
    "mos", "number", "Mean opinion score on 1–5", low=TRAINING.low - _BEYOND, high=TRAINING.high + _BEYOND
)
_ONE = 1 + 1e-9
"""What a correlation is at most, with what binary fractions add."""
_METRICS = ("plcc", "srocc", "krocc", "plcc_fitted")
_ERRORS = ("rmse", "rmse_fitted", "rmse_over_sd")

HEAD_TRAINING_ROWS = Table(
    "head_training_rows",
    "One row per clip that a head learns from or is judged by; beside these its features, each a finite number.",
    (
        *_JUDGED,
        Column("split", "string", "The corpus's own split", required=False, nullable=True, choices=SPLIT_WORDS),
        _OPINION,
        Column("vmaf", "number", "VMAF on 0–100; NaN = not known", required=False, nullable=True),
    ),
)

HEAD_PREDICTIONS = Table(
    "head_predictions",
    "One row per clip that judged a head in its folds, with what a head said that never saw it.",
    (
        *_JUDGED,
        Column("fold", "integer", "Which fold it judged, from 0", low=0),
        _OPINION,
        Column("predicted", "number", "The same as predicted", low=TRAINING.low, high=TRAINING.high),
    ),
)

HEAD_MANIFEST = Table(
    "head_manifest",
    "One row per head: what its manifest says of it in one word or number.",
    (
        Column("id", "string", "Name of the head; <head>.<name> of an experiment", pattern=r"\S"),
        Column("kind", "string", "What kind of head it is", pattern=r"\S"),
        Column("status", "string", "Production where it passed its gate", choices=("Production", "Proposed")),
        Column("smoke", "boolean", "Whether it is a rehearsal on synthetic rows"),
        Column("synthetic", "boolean", "Whether it was trained on synthetic rows"),
        Column("onnx", "string", "Name of its file; null where nothing was exported", nullable=True),
        Column("sha256", "string", "SHA-256 of that file", nullable=True, pattern=SHA256_PATTERN),
        Column("predictions", "string", "Name of the table of its predictions out of fold", pattern=r"\S"),
        Column("opset", "integer", "ONNX operator set", low=1),
        Column("ir_version", "integer", "ONNX IR version", low=1),
        Column("feature_schema", "string", "Name of the columns it reads", pattern=r"\S"),
        Column("encoder_vocab_version", "integer", "Version of the encoders' vocabulary", low=1),
        Column("n_parameters", "integer", "Weights of all its members", low=1),
        Column("beats_ridge", "boolean", "Whether it is better than a ridge regression on the same folds"),
    ),
)

HEAD_FOLDS = Table(
    "head_folds",
    "One row per fold, or given test part, that judged a head.",
    (
        Column("name", "string", "Name of the fold", unique=True),
        Column("train_rows", "integer", "Rows that its head learned from", low=1),
        Column("rows", "integer", "Rows that judged it", low=1),
        Column("groups", "integer", "Contents among them", low=1),
        *(Column(name, "number", f"{name} on those rows", nullable=True, low=-_ONE, high=_ONE) for name in _METRICS),
        *(Column(name, "number", f"{name} on those rows", nullable=True, low=0) for name in _ERRORS),
    ),
)

HEAD_CORPORA = Table(
    "head_corpora",
    "One row per corpus that a head was trained on.",
    (
        Column("corpus", "string", "Name of the corpus", unique=True),
        Column("title", "string", "Its title"),
        Column("version", "string", "Releases that its rows are of"),
        Column("rows", "integer", "Rows used", low=1),
        Column("licence", "string", "Its licence", pattern=r"\S"),
        Column("citation", "string", "How it is cited", pattern=r"\S"),
        Column("redistribution", "string", "What the licence allows", choices=tuple(REDISTRIBUTION)),
    ),
)


def on_range(table: Table, low: float, high: float) -> Table:
    """A table of rows that judge a head, for another target than opinions, whose range is ``low`` to ``high``."""
    ranges = {"mos": (low - _BEYOND, high + _BEYOND), "predicted": (low, high)}
    columns = (
        replace(c, low=ranges[c.name][0], high=ranges[c.name][1]) if c.name in ranges else c for c in table.columns
    )
    return replace(table, columns=tuple(columns))


def with_features(table: Table, features: Iterable[str]) -> Table:
    """The table with a column of finite numbers per feature."""
    return replace(table, columns=(*table.columns, *(Column(name, "number", "A feature") for name in features)))


def labelled_table(status_column: str, further: Iterable[str] = ()) -> Table:
    """``MOS_FEATURES`` with another name for its status column, and with columns of further scores."""
    named = (replace(c, name=status_column) if c.name == STATUS_COLUMN else c for c in MOS_FEATURES.columns)
    scores = further_columns(further, "on 1–5", low=TRAINING.low - SLACK, high=TRAINING.high + SLACK)
    return replace(MOS_FEATURES, columns=(*named, *scores))


TABLES: Mapping[str, Table] = {
    t.name: t
    for t in (
        CORPUS_JSONL,
        UNIFIED_CORPUS,
        CLIP_FEATURES,
        MOS_FEATURES,
        UNIFIED_FEATURES,
        ENCODE_GRID_JSONL,
        FR_TRAINING_CORPUS,
        HEAD_TRAINING_ROWS,
        HEAD_PREDICTIONS,
        HEAD_MANIFEST,
        HEAD_FOLDS,
        HEAD_CORPORA,
    )
}
