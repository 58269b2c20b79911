"""The unified corpus's rows with their features: which table's row serves which clip, and the one table of them.

Scores, spreads and which of two equal clips stands are the unified corpus's decisions: nothing here repeats them. Of
the tables only names, hashes and states are in memory; their rows stream through.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import polars as pl

from vqa_assets.corpora import EXTERNAL_SHARDS, Corpus
from vqa_assets.corpora.contents import KEY_COLUMNS
from vqa_assets.corpora.corpus import is_further_score
from vqa_assets.corpora.opinions import histogram
from vqa_assets.corpora.scales import RAW_MOS, TRAINING, UNIFIED, VMAF_0_100
from vqa_assets.errors import AggregateError, Make, SettingsError, TableError
from vqa_assets.feature_names import MEASURED
from vqa_assets.printing import logger
from vqa_assets.provenance import Manifest, RunContext, write_manifest
from vqa_assets.provenance.reading import names_of_tables, read_now, refuse_changes
from vqa_assets.settings import with_origins
from vqa_assets.tables.content_errors import reading
from vqa_assets.tables.files import fault_of
from vqa_assets.tables.foreign_tables import ForeignTable, check_present, key_text, numbers_a_row, table_at
from vqa_assets.tables.makers import mark
from vqa_assets.tables.networks import Networks, RecordedNetwork, networks_mark, networks_of
from vqa_assets.tables.parquet import NO_VALUE, column_names, iterate_frames, rows_at_once, stands_as, table_version
from vqa_assets.tables.paths import manifest_path
from vqa_assets.tables.publication import publishing, settle
from vqa_assets.tables.specs import CLIP_FACTS, LABELLED, MOS_FEATURES, STATUS_COLUMN, UNIFIED_FEATURES
from vqa_assets.tables.validation import validate_frames
from vqa_assets.unified.settings import FeatureRowsSettings
from vqa_assets.unified.table import unified_columns

MANIFEST_SCHEMA = "unified-features-manifest-v1"
_NEEDED = ("src", "src_sha256", "corpus_source", "mos", "mos_native", "mos_native_scale", "mos_std_dev_unified")
_FACTS = tuple(column.name for column in CLIP_FACTS)
_IDENTITY = ("corpus_version", "content_id", "split")
_NOT_FEATURES = frozenset(c.name for table in (MOS_FEATURES, UNIFIED_FEATURES) for c in table.columns) - MEASURED.keys()
_CLIP, _TABLE = "clip", "table"
_ROW = "_unified_row"
"""Column of the rows' numbers, beside any column that a table may have."""
_OF_CLIP = "unified:"
"""Begins the names of the unified corpus's columns beside those of a table."""
_SAME_MOS = 1e-9
_TORN, _UNSHARED = "their types do not go together", "not in all tables, and declared by no family or corpus"
_OF_OTHERS = "vectors of different networks under one name"
_NO_NUMBER = ("", "-", *NO_VALUE)
_MEASURED_TYPES: Mapping[str, pl.DataType] = {"number": pl.Float64(), "string": pl.String()}
_CHUNK_ROWS = 10_000
_ROW_GROUP = 65_536
_log = logger("vqa_assets.unified")


@dataclass(frozen=True)
class FeatureFile:
    """A table with features, of any format: the corpus that its names are of, and where it lies.

    ``stated`` by a run's settings, which ``setting`` names; else found in its usual place.
    """

    corpus: str
    path: Path
    setting: str = ""


@dataclass(frozen=True)
class FeatureFiles:
    """The tables of one run in the order that breaks ties, and the corpora that have none."""

    files: tuple[FeatureFile, ...]
    absent: tuple[str, ...]

    @classmethod
    def of(cls, usual: Mapping[str, Path], settings: FeatureRowsSettings) -> "FeatureFiles":
        """Each corpus's usual table where it is there, ``tables`` in the place of some, and ``extra_tables``."""

        def stated(setting: str, corpus: str) -> list[FeatureFile]:
            return [FeatureFile(corpus, path, setting) for path in getattr(settings, setting).get(corpus, ())]

        files: list[FeatureFile] = []
        for corpus in dict.fromkeys((*usual, *settings.tables)):
            own = [FeatureFile(corpus, usual[corpus])] if corpus in usual and usual[corpus].is_file() else []
            files += stated("tables", corpus) or own
        files += [file for corpus in settings.extra_tables for file in stated("extra_tables", corpus)]
        served = {file.corpus for file in files}
        return cls(tuple(files), tuple(corpus for corpus in usual if corpus not in served))


@dataclass(frozen=True)
class TableCounts:
    """One table's rows: ``rows`` is the sum of the counts. ``left_out`` says why no row of it could be used.

    ``duplicates`` are rows of clips that another row serves; ``disagreeing`` the rows that serve a clip and say another
    content or split than the unified corpus, whose word counts.
    """

    corpus: str
    path: Path
    rows: int
    joined: int = 0
    unlabelled: int = 0
    not_in_unified: int = 0
    duplicates: int = 0
    rows_left_out: int = 0
    left_out: str = ""
    disagreeing: Mapping[str, int] = field(default_factory=dict)

    @property
    def reconciles(self) -> bool:
        """Whether every row is counted once."""
        lost = self.unlabelled + self.not_in_unified + self.duplicates + self.rows_left_out
        return self.rows == self.joined + lost


@dataclass(frozen=True)
class FeatureRowsReport:
    """What became of the unified corpus's rows and of the tables': both reconcile.

    ``no_opinions`` are rows whose score was computed, ``without_features`` are clips per corpus that no table has;
    ``left_out_columns`` {name: why} are columns of tables that are not in this one; ``histogram`` counts scores on 1–5,
    as ``corpora.opinions`` does. ``networks`` are those whose vectors every table that has some says it holds.
    """

    rows_in: int
    no_opinions: int
    without_features: Mapping[str, int]
    rows_per_corpus: Mapping[str, int]
    tables: tuple[TableCounts, ...]
    absent: tuple[str, ...]
    columns: tuple[str, ...]
    left_out_columns: Mapping[str, str]
    histogram: tuple[int, ...]
    networks: Networks = field(default_factory=dict)

    @property
    def rows_out(self) -> int:
        """Rows of the table."""
        return sum(self.rows_per_corpus.values())

    def counters(self) -> dict[str, int]:
        """``rows_in = rows_out + without_features + no_opinions``; the others count rows of tables."""
        return {
            "rows_in": self.rows_in,
            "rows_out": self.rows_out,
            "without_features": sum(self.without_features.values()),
            "no_opinions": self.no_opinions,
            "not_in_unified": sum(table.not_in_unified for table in self.tables),
            "unlabelled": sum(table.unlabelled for table in self.tables),
            "duplicates": sum(table.duplicates for table in self.tables),
            "rows_left_out": sum(table.rows_left_out for table in self.tables),
            "absent": len(self.absent),
        }

    def as_dict(self) -> dict[str, Any]:
        """The report as a manifest holds it."""
        return {
            "counters": self.counters(),
            "rows_per_corpus": dict(self.rows_per_corpus),
            "without_features": dict(self.without_features),
            "absent": list(self.absent),
            "tables": [vars(table) | {"disagreeing": dict(table.disagreeing)} for table in self.tables],
            "columns": list(self.columns),
            "left_out_columns": dict(self.left_out_columns),
            "mos_histogram": list(self.histogram),
            "look_at": report_lines(self),
        }


@dataclass(frozen=True)
class UnifiedFeatures:
    """A table that stands: its report, its manifest as written, its data version, and what ``look`` made of it."""

    path: Path
    report: FeatureRowsReport
    manifest: Mapping[str, Any]
    data_version: str
    seen: Mapping[str, Any]


@dataclass(frozen=True)
class FeatureColumns:
    """Which columns are taken although not all tables have them: those of families, and those that corpora declare.

    ``scores`` {column: corpora} are those of the latter that hold a further score.
    """

    families: tuple[str, ...] = tuple(MEASURED)
    of_corpora: tuple[str, ...] = ()
    scores: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @classmethod
    def declared(cls, corpora: Iterable[Corpus], families: Iterable[str] = ()) -> "FeatureColumns":
        """The shipped families' columns and those of ``families``, and corpora's further scores and extra columns."""
        fields: dict[str, None] = {}
        scores: dict[str, tuple[str, ...]] = {}
        for corpus in corpora:
            for score in corpus.scores:
                scores[score.field] = (*scores.get(score.field, ()), corpus.name)
            fields |= dict.fromkeys(score.field for score in corpus.scores)
            fields |= dict.fromkeys(column.field for column in corpus.extra_columns)
        return cls(tuple(dict.fromkeys((*MEASURED, *families))), tuple(fields), scores)


def make_unified_features(
    unified: Path,
    files: FeatureFiles,
    columns: FeatureColumns,
    settings: FeatureRowsSettings,
    context: RunContext,
    look: Callable[[Path], Mapping[str, Any]] = lambda _: {},
) -> UnifiedFeatures:
    """Join, validate and publish ``<root>/aggregated/unified_features.parquet`` with its replay manifest.

    A table whose content would stay the same is left alone; after an error the earlier one stands. Errors as
    ``join_features``. ``look`` reads the table as it will stand, before anything stands otherwise than it did: where
    it fails, the run has published nothing.
    """
    path = context.root.unified_features()
    settle(*(one.parent for one in (path, unified, *(file.path for file in files.files))))
    inputs = read_now(files_read(unified, files))
    usual = FeatureRowsSettings().values()
    with publishing("unified_features", path, MANIFEST_SCHEMA) as publication:
        draft = publication.draft(path)
        report = join_features(unified, files, columns, draft)
        refuse_changes(inputs.values())
        version = table_version(draft)
        if stands_as(path, version) and networks_of(path) == report.networks:
            publication.keep(path)
        seen = look(publication.lies_at(path))
        manifest = write_manifest(
            publication,
            manifest_path(path),
            Manifest(
                schema=MANIFEST_SCHEMA,
                body={**report.as_dict(), "data_version": version},
                args=with_origins(settings.values(), usual),
                inputs=inputs,
                outputs={"unified_features": path},
            ),
            context,
        )
    for line in report_lines(report):
        _log.warning("unified_features: %s", line)
    counts = ", ".join(f"{name} {value}" for name, value in report.counters().items())
    _log.info("[unified-features] %s", counts)
    return UnifiedFeatures(path, report, manifest, version, seen)


def files_read(unified: Path, files: FeatureFiles) -> dict[str, Path]:
    """What a manifest calls the unified corpus and the tables that were read."""
    tables: dict[str, list[Path]] = {}
    for file in files.files:
        tables.setdefault(file.corpus, []).append(file.path)
    named = names_of_tables("features_with_mos", tables).values()
    return {"unified_corpus": unified, **{name: path for own in named for name, path in own.items()}}


def report_lines(report: FeatureRowsReport) -> list[str]:
    """What somebody should look at, a sentence each: tables left out, clips without features, rows of no clip."""
    lines = []
    for table in report.tables:
        what = f"{table.corpus}: {table.path.name}"
        if table.left_out:
            lines.append(f"{what} is left out: {table.left_out}")
        elif table.duplicates and not table.joined:
            lines.append(f"{what} serves no clip: rows of other tables serve all of its clips")
        if table.not_in_unified:
            lines.append(f"{what}: of no clip of unified_corpus: {table.not_in_unified} of {table.rows} rows")
        for name, rows in table.disagreeing.items():
            lines.append(
                f"{what}: another {name} than unified_corpus, whose word counts: {rows} of {table.joined} rows"
            )
    for corpus, clips in report.without_features.items():
        opinions = clips + report.rows_per_corpus.get(corpus, 0)
        lines.append(f"{corpus}: without features: {clips} of {opinions} clips")
    for reason in (_TORN, _OF_OTHERS):
        if torn := [name for name, why in report.left_out_columns.items() if why == reason]:
            lines.append(f"columns left out, {reason}: {', '.join(torn)}")
    return lines


def join_features(unified: Path, files: FeatureFiles, columns: FeatureColumns, out: Path) -> FeatureRowsReport:
    """Write to ``out`` the opinion scores of the unified corpus that have features, with them, and count the others.

    A row of a table serves the clip of its ``src_sha256``; one without it that of its corpus and name. Of several rows
    that of the clip's own corpus does, then the first table's. Rows without a label (status not ``ok``) serve none, and
    a table with several rows a name is left out whole. AggregateError where nothing is there to join, SettingsError
    where a table that the settings name is of no clip, TableError where one cannot be read, SchemaError where the rows
    break the column specs.
    """
    clips, rows_in = _clips(unified, columns)
    _check_corpora(files, clips)
    tables = [_Opened.of(number, file, clips) for number, file in enumerate(files.files)]
    serving = (
        pl.concat([table.candidates for table in tables])
        .sort(_CLIP, "of_other_corpus", _TABLE, "misnamed", _ROW)
        .unique(_CLIP, keep="first", maintain_order=True)
        if tables
        else pl.DataFrame(schema=_CANDIDATES)
    )
    counts = tuple(_counted(table, serving, clips) for table in tables)
    _check_served(files, counts, clips)
    used = [table for table, count in zip(tables, counts, strict=True) if count.joined]
    layout, left_out = _layout(used, clips, columns)
    networks = _shared_networks(used)
    frames = [table.rows_out(serving, clips, layout) for table in used]
    try:
        rows = pl.concat(frames)
        numbers = numbers_a_row(rows)
        with pl.Config(streaming_chunk_size=rows_at_once(_CHUNK_ROWS, numbers)):
            marked = mark("unified_features") | networks_mark(networks)
            group = rows_at_once(_ROW_GROUP, numbers)
            rows.sink_parquet(out, compression="zstd", row_group_size=group, metadata=marked)
    except pl.exceptions.PolarsError as error:
        if fault_of(error) is not None:
            raise
        raise TableError(
            "the labelled tables",
            found=str(error).partition("\n")[0][:300],
            expected="tables that can be read to their end",
            next_step=Make("mos_features", " again, or mend the table that the run names"),
        ) from error
    specified = [column.name for column in UNIFIED_FEATURES.columns]
    validate_frames(iterate_frames(out, specified), UNIFIED_FEATURES, "unified_features")
    served = clips.join(serving, on=_CLIP, how="semi")
    return FeatureRowsReport(
        rows_in=rows_in,
        no_opinions=rows_in - len(clips),
        without_features=_per_corpus(clips.join(serving, on=_CLIP, how="anti")),
        rows_per_corpus=_per_corpus(served),
        tables=counts,
        absent=files.absent,
        columns=tuple(column_names(out)),
        left_out_columns=left_out,
        histogram=histogram(served["mos"], TRAINING),
        networks=networks,
    )


_CANDIDATES = {
    **{_CLIP: pl.UInt32, _TABLE: pl.UInt32, _ROW: pl.UInt32},
    **{"of_other_corpus": pl.Boolean, "misnamed": pl.Boolean},
    **dict.fromkeys(("content_id", "split"), pl.String),
}


def _clips(unified: Path, columns: FeatureColumns) -> tuple[pl.DataFrame, int]:
    """The opinion scores of the unified corpus, numbered, under the names of the table; and how many rows it has."""
    if not unified.is_file():
        raise AggregateError(
            "no unified corpus",
            found=f"nothing at {unified}",
            expected="the clips of all corpora, on one scale and each once",
            next_step=Make("unified_corpus", " first"),
        )
    have = column_names(unified)
    optional = [n for n in (*_IDENTITY, "n_ratings", *_FACTS, *columns.of_corpora) if n in have]
    with reading(unified):
        rows = unified_columns(unified, list(dict.fromkeys((*_NEEDED, *optional)))).collect()
    # A computed score is no opinion, whatever scale its rows say.
    computed = (pl.col("mos_native_scale") == VMAF_0_100.name) | pl.col("corpus_source").is_in(list(EXTERNAL_SHARDS))
    slope, intercept = UNIFIED.map_to(TRAINING)
    mos = pl.col("mos") * slope + intercept
    # A score published on 1–5 is taken as published, without the last digits of two conversions.
    as_published = (pl.col("mos_native") - mos).abs() < _SAME_MOS
    none = pl.lit(None, pl.String)
    clips = rows.filter(~computed).select(
        key="src",
        src_sha256="src_sha256",
        corpus="corpus_source",
        **{name: key_text(name, rows.schema[name]) if name in have else none for name in _IDENTITY},
        mos=pl.when(as_published).then("mos_native").otherwise(mos),
        **{RAW_MOS: pl.col("mos")},
        mos_std_dev=pl.col("mos_std_dev_unified") * slope,
        mos_n_ratings=pl.col("n_ratings") if "n_ratings" in have else pl.lit(None, pl.Int64),
        **{n: pl.col(n) for n in optional if n not in (*_IDENTITY, "n_ratings", *columns.scores)},
        # On 0–100 there, as mos is; of corpora that declare no such score the column means something else.
        **{
            n: pl.when(pl.col("corpus_source").is_in(corpora)).then(pl.col(n).cast(pl.Float64, strict=False)) * slope
            + intercept
            for n, corpora in columns.scores.items()
            if n in have
        },
    )
    return clips.with_row_index(_CLIP), len(rows)


def _name(text: pl.Expr) -> pl.Expr:
    """A clip's name as it is compared: without blanks at its ends, composed letters."""
    return text.str.strip_chars().str.normalize("NFC")


@dataclass(frozen=True)
class _Opened:
    """A table whose names, hashes and states are read: what each of its rows could serve."""

    number: int
    file: FeatureFile
    table: ForeignTable
    scan: pl.LazyFrame
    schema: Mapping[str, pl.DataType]
    key: str | None
    rows: int
    labelled: int
    candidates: pl.DataFrame
    left_out: str = ""

    @classmethod
    def of(cls, number: int, file: FeatureFile, clips: pl.DataFrame) -> "_Opened":
        role = f"{file.setting}.{file.corpus}" if file.setting else f"labelled table of {file.corpus}"
        check_present(file.path, role, Make("mos_features", " of that corpus, or correct the path"))
        table = table_at(file.path)
        key = next((name for name in KEY_COLUMNS if name in table.names), None)
        words = ("src_sha256", STATUS_COLUMN, *_IDENTITY)
        try:
            scan = table.rows((key or "", *words)).with_row_index(_ROW)
            schema = scan.collect_schema()
            rows = scan.select(_ROW, **_known(schema, key)).collect().sort(_ROW)
        except pl.exceptions.PolarsError as error:
            raise table.unreadable(error) from error
        labelled = rows.filter("labelled")
        named = rows["name"] if key else rows["src_sha256"]
        left_out = "no column names its clips" if key is None and not named.count() else ""
        several = len(named.drop_nulls()) - named.drop_nulls().n_unique()
        if several:
            left_out = f"several rows a {key or 'src_sha256'}: one row a clip is joined"
        nothing = pl.DataFrame(schema=_CANDIDATES)
        candidates = nothing if left_out else _candidates(labelled, number, file.corpus, clips)
        return cls(number, file, table, scan, schema, key, len(rows), len(labelled), candidates, left_out)

    @property
    def features(self) -> dict[str, pl.DataType]:
        """The table's columns that may be features, and their types."""
        own = {_ROW, self.key}
        return {n: kind for n, kind in self.schema.items() if n not in _NOT_FEATURES and n not in own}

    def rows_out(self, serving: pl.DataFrame, clips: pl.DataFrame, layout: Mapping[str, pl.DataType]) -> pl.LazyFrame:
        """The rows of the table that serve a clip, in their order, as rows of the table of all."""
        own = serving.filter(pl.col(_TABLE) == self.number).select(_ROW, _CLIP).join(clips, on=_CLIP).drop(_CLIP)
        beside = own.rename({name: _OF_CLIP + name for name in own.columns if name != _ROW})
        # without maintain_order the streaming engine emits rows in the order in which they meet their clips
        rows = self.scan.join(beside.lazy(), on=_ROW, how="inner", maintain_order="left")
        return rows.select(_column(name, kind, self, clips.columns) for name, kind in layout.items())


def _known(schema: Mapping[str, pl.DataType], key: str | None) -> dict[str, pl.Expr]:
    """What is known of each row of a table: its name, its hash, what it says of its clip, whether it has a label."""

    def words(name: str) -> pl.Expr:
        return key_text(name, schema[name]) if name in schema else pl.lit(None, pl.String)

    if STATUS_COLUMN in schema:
        labelled = words(STATUS_COLUMN) == LABELLED
    elif "mos" in schema:  # another name for the status: a row without a label has no score
        labelled = pl.col("mos").cast(pl.Float64, strict=False).is_not_nan()
    else:  # features as they were measured: the unified corpus has the score
        labelled = pl.lit(value=True)
    return {
        "name": _name(words(key)) if key else pl.lit(None, pl.String),
        "src_sha256": words("src_sha256").str.to_lowercase(),
        "labelled": labelled.fill_null(value=False),
        **{name: words(name) for name in ("content_id", "split")},
    }


def _candidates(labelled: pl.DataFrame, number: int, corpus: str, clips: pl.DataFrame) -> pl.DataFrame:
    """Which clip each row of a table could serve."""
    index = clips.select(_CLIP, "src_sha256", of_other_corpus=pl.col("corpus") != corpus, is_named=_name(pl.col("key")))
    by_hash = labelled.join(index, on="src_sha256")
    names = index.filter(~pl.col("of_other_corpus")).unique("is_named", keep="first", maintain_order=True)
    names = names.drop("src_sha256")
    # What says other bytes than the unified corpus was measured on another clip, whatever its name.
    unhashed = labelled.filter(pl.col("src_sha256").is_null())
    by_name = unhashed.join(names, left_on="name", right_on="is_named", coalesce=False)
    both = pl.concat([by_hash, by_name.select(by_hash.columns)])
    return both.select(
        _CLIP,
        pl.lit(number, pl.UInt32).alias(_TABLE),
        _ROW,
        "of_other_corpus",
        (pl.col("name") != pl.col("is_named")).fill_null(value=True).alias("misnamed"),
        "content_id",
        "split",
    )


def _counted(table: _Opened, serving: pl.DataFrame, clips: pl.DataFrame) -> TableCounts:
    if table.left_out:
        return TableCounts(
            table.file.corpus, table.file.path, table.rows, rows_left_out=table.rows, left_out=table.left_out
        )
    own = serving.filter(pl.col(_TABLE) == table.number)
    beside = own.join(clips.select(_CLIP, "content_id", "split"), on=_CLIP, suffix="_of_clip")
    apart = {
        name: len(beside.filter((pl.col(name) != pl.col(f"{name}_of_clip")) & ~pl.col("of_other_corpus")))
        for name in ("content_id", "split")
    }
    return TableCounts(
        corpus=table.file.corpus,
        path=table.file.path,
        rows=table.rows,
        joined=len(own),
        unlabelled=table.rows - table.labelled,
        not_in_unified=table.labelled - len(table.candidates),
        duplicates=len(table.candidates) - len(own),
        disagreeing={name: rows for name, rows in apart.items() if rows},
    )


def _check_corpora(files: FeatureFiles, clips: pl.DataFrame) -> None:
    """SettingsError where ``tables`` names what no corpus is: its table would stand in for nothing."""
    corpora = clips["corpus"].unique().sort().to_list()
    for file in files.files:
        if file.corpus in EXTERNAL_SHARDS:
            raise SettingsError(
                f"{file.setting}.{file.corpus}",
                found="a corpus of computed scores, which are no opinions",
                expected="a corpus of opinion scores",
                next_step="leave it out",
            )
        if file.setting == "tables" and file.corpus not in corpora:
            raise SettingsError(
                f"tables.{file.corpus}",
                found="a corpus of which unified_corpus has no row",
                expected=f"one of {', '.join(corpora)}",
                next_step=Make("unified_corpus", " with that corpus's JSONL among its inputs, or correct the name"),
            )


def _check_served(files: FeatureFiles, counts: Sequence[TableCounts], clips: pl.DataFrame) -> None:
    """Refuses a stated table whose rows are all of no clip, and a run in which no clip has features."""
    for file, count in zip(files.files, counts, strict=True):
        if file.setting and not (count.joined or count.duplicates or count.left_out):
            raise SettingsError(
                f"{file.setting}.{file.corpus}: {file.path}",
                found=f"of {count.rows} rows {count.unlabelled} have no label and {count.not_in_unified} are of no "
                "clip of unified_corpus",
                expected=f"rows of its {len(clips)} clips, by src_sha256, else by name within {file.corpus}",
                next_step=Make("unified_corpus", " with that corpus's JSONL among its inputs, or correct the path"),
            )
    if not any(count.joined for count in counts):
        tables = "; ".join(f"{c.corpus}: {c.rows} rows, {c.left_out or 'none of a clip of it'}" for c in counts)
        raise AggregateError(
            "unified_features: no clip has features",
            found=tables or f"no labelled table; absent: {', '.join(files.absent)}",
            expected=f"features of some of the {len(clips)} clips of unified_corpus that have opinion scores",
            next_step=Make("mos_features", " of a corpus that is in unified_corpus"),
        )


def _layout(
    tables: Sequence[_Opened], clips: pl.DataFrame, columns: FeatureColumns
) -> tuple[dict[str, pl.DataType], dict[str, str]]:
    """The columns of the table of all with their types, and why others are left out."""
    each = [table.features for table in tables]
    met = dict.fromkeys(chain.from_iterable(each))
    shared = [name for name in met if all(name in one for one in each)]
    # A vector is a family's, though the backbone that it is of is known to the run that measured it only.
    vectors = [name for name in met if any(isinstance(one.get(name), pl.Array) for one in each)]
    taken = dict.fromkeys(
        (*(n for n in columns.families if n in met), *shared, *vectors, *(n for n in columns.of_corpora if n in met))
    )
    of_clips = [n for n in clips.columns if n != _CLIP]
    layout: dict[str, pl.DataType] = {n: clips.schema[n] for n in of_clips if n not in taken}
    left_out = {name: _UNSHARED for name in met if name not in taken}
    torn_apart = {name for name, each in _said_networks(tables).items() if len(each - {None}) > 1}
    for name in taken:
        if name in vectors and name.partition(".")[0] in torn_apart:
            left_out[name] = _OF_OTHERS
            continue
        kinds = [one[name] for one in each if name in one]
        kinds += [clips.schema[name]] if name in columns.of_corpora and name in of_clips else []
        measured = MEASURED.get(name)
        if (measured is not None and measured.kind != "string") or name in columns.scores:
            _refuse_words(name, tables)
            kinds = [pl.Float64() if kind == pl.String else kind for kind in kinds]
        common = _common_type(kinds)
        if common is None:
            left_out[name] = _TORN
        else:
            kind = "number" if name in columns.scores else measured.kind if measured else ""
            layout[name] = _MEASURED_TYPES.get(kind, common)
    return layout, left_out


def _said_networks(tables: Sequence[_Opened]) -> dict[str, set[RecordedNetwork | None]]:
    """Per backbone of which tables hold vectors, the networks that they say these are of; None is one that does not."""
    said: dict[str, set[RecordedNetwork | None]] = {}
    for table in tables:
        held = {name.partition(".")[0] for name, kind in table.features.items() if isinstance(kind, pl.Array)}
        told = networks_of(table.file.path) if held else {}
        for name in held:
            said.setdefault(name, set()).add(told.get(name))
    return said


def _shared_networks(tables: Sequence[_Opened]) -> Networks:
    """The networks of which every table that holds vectors of the backbone says that they are."""
    said = ((name, each) for name, each in _said_networks(tables).items() if len(each) == 1)
    return {name: network for name, each in said for network in each if network is not None}


def _common_type(kinds: Iterable[pl.DataType]) -> pl.DataType | None:
    """A type that holds all values of these; None where there is none."""
    known = {pl.String() if isinstance(kind, pl.Categorical | pl.Enum) else kind for kind in kinds if kind != pl.Null}
    if len(known) <= 1:
        return next(iter(known), pl.String())
    if all(kind.is_integer() or kind == pl.Boolean for kind in known):
        return pl.Int64()
    if all(kind.is_numeric() or kind == pl.Boolean for kind in known):
        return pl.Float64()
    return None if any(kind.is_nested() or kind in (pl.Binary, pl.Object) for kind in known) else pl.String()


def _refuse_words(name: str, tables: Iterable[_Opened]) -> None:
    """TableError where a measured column of a table holds no numbers: words would become missing values."""
    for table in tables:
        kind = table.features.get(name, pl.Null())
        if kind.is_numeric() or kind in (pl.Boolean, pl.Null):
            continue
        found = f"values of type {kind}"
        if kind == pl.String:
            text = pl.col(name).str.strip_chars()
            wrong = text.cast(pl.Float64, strict=False).is_null() & ~text.str.to_lowercase().is_in(_NO_NUMBER)
            with reading(table.file.path):
                example = table.scan.select(pl.col(name).filter(wrong).first()).collect().item()
            found = "" if example is None else f"text ({example!r})"
        if found:
            raise TableError(
                f"{table.file.path}: {name}",
                found=found,
                expected="numbers, and nothing where there is none",
                next_step="correct the table",
            )


def _column(name: str, kind: pl.DataType, table: _Opened, of_clips: Collection[str]) -> pl.Expr:
    """One column of the table of all: the unified corpus's own, or the table's, or nothing where it has none."""
    schema, clip = table.schema, pl.col(_OF_CLIP + name)
    ways = []
    if name in schema and name not in ("mos", RAW_MOS, "key", "src_sha256", "corpus", "mos_std_dev", "mos_n_ratings"):
        own = pl.col(name)
        is_score = is_further_score(name) and kind.is_float()
        if (name in MEASURED and MEASURED[name].kind != "string") or is_score:
            own = own.str.strip_chars() if schema[name] == pl.String else own
            own = own.cast(kind, strict=schema[name] != pl.String)
            own = pl.when(own.is_finite()).then(own) if kind.is_float() else own
        else:
            own = key_text(name, schema[name]) if name in _IDENTITY else own.cast(kind)
        ways.append(own)
    if name in of_clips:
        if name in _IDENTITY or name in _FACTS or is_further_score(name):
            # What the unified corpus says of its clip counts; a table of another corpus knows it by other words.
            same = pl.col(f"{_OF_CLIP}corpus") == table.file.corpus
            ways = [clip.cast(kind), *(pl.when(same).then(own) for own in ways)]
        else:
            ways.append(clip.cast(kind))
    return pl.coalesce(*ways, pl.lit(None, kind)).alias(name)


def _per_corpus(clips: pl.DataFrame) -> dict[str, int]:
    return dict(clips.group_by("corpus").len().sort("corpus").iter_rows())
