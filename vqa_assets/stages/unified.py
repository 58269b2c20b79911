"""The stages over every corpus: the unified corpus, and its rows with features."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from vqa_assets.corpora import EXTERNAL_SHARDS, Corpus
from vqa_assets.corpora.scales import OPINION_SCALES, MosScale
from vqa_assets.errors import SettingsError
from vqa_assets.features.family import FeatureExtractor
from vqa_assets.provenance import ReadInput, RunContext
from vqa_assets.settings import typed_path
from vqa_assets.tables.paths import DataRoot
from vqa_assets.unified.settings import AggregationSettings, FeatureRowsSettings

if TYPE_CHECKING:
    from vqa_assets.unified.aggregation import UnifiedCorpus, UnifiedSettings
    from vqa_assets.unified.feature_rows import FeatureFiles, UnifiedFeatures
    from vqa_assets.unified.index import Source

UNIFIED_CORPUS_VERSION, UNIFIED_FEATURES_VERSION = "4", "1"
"""The code versions of ``unified_corpus`` and ``unified_features``."""


def unify(corpora: Mapping[str, Corpus], config: AggregationSettings, run: RunContext) -> "UnifiedCorpus":
    """Every corpus JSONL of the data root, or the inputs that are stated, as one corpus.

    SettingsError where a setting names what is not there, AggregateError where shards cannot become one corpus.
    """
    from vqa_assets.clips.processes import WorkerPool
    from vqa_assets.unified.aggregation import make_unified_corpus

    settings = unified_settings(config, corpora, run.root)
    sources: dict[str, Source] = {**corpora, **EXTERNAL_SHARDS}
    with WorkerPool() as workers:
        return make_unified_corpus(settings, sources, run, workers)


def join_with_features(
    corpora: Mapping[str, Corpus],
    settings: FeatureRowsSettings,
    extractor: FeatureExtractor,
    run: RunContext,
    look_at: Callable[[Path], Mapping[str, Any]] = lambda _: {},
) -> "UnifiedFeatures":
    """The unified corpus's opinion scores with the features of every labelled table of the data root.

    ``extractor`` says which columns are features. ``look_at`` sees the table before it is published.
    """
    from vqa_assets.unified.feature_rows import FeatureColumns, make_unified_features

    families = [name for family in extractor.families for name in family.columns]
    columns = FeatureColumns.declared(corpora.values(), families)
    files = _files(corpora, run.root, settings)
    return make_unified_features(unified_parquet(run.root), files, columns, settings, run, look_at)


def unified_settings(config: AggregationSettings, corpora: Mapping[str, Corpus], root: DataRoot) -> "UnifiedSettings":
    """What one aggregation reads and writes: the shards with their scales, and what a run that states nothing reads.

    SettingsError where the settings name a corpus, a scale or an input that there is not.
    """
    from vqa_assets.unified.aggregation import UnifiedSettings
    from vqa_assets.unified.shards import Shard

    names = [*corpora, *EXTERNAL_SHARDS]
    unknown = sorted(set(config.corpus_source_overrides.values()) - set(names))
    if unknown:
        raise SettingsError(
            "corpus_source_overrides",
            found=", ".join(unknown),
            expected=f"one of {', '.join(names)}",
            next_step="correct the name",
        )
    # Where inputs are stated nobody asks where the others lie: a broken ingest.toml does not stand in the way.
    usual = [] if config.inputs else _usual_inputs(corpora, root)
    paths = list(config.inputs) or usual
    overrides = _by_input("corpus_source_overrides", config.corpus_source_overrides, paths, root)
    of_corpora = {
        name: _scales_of((name,), scale, corpora, name)[name]
        for name, scale in config.mos_scales.items()
        if name in names
    }
    others = {name: scale for name, scale in config.mos_scales.items() if name not in names}
    of_inputs = _by_input("mos_scales", others, paths, root)

    def shard(path: Path) -> Shard:
        scale = of_inputs.get(path.resolve())
        # A scale that is stated of the file holds for all its rows, whatever corpora they name.
        scales = _scales_of(names, scale, corpora, str(path)) if scale else of_corpora
        return Shard(path, overrides.get(path.resolve()), scales)

    return UnifiedSettings(
        shards=tuple(map(shard, paths)),
        output=config.output or root.unified_corpus(),
        manifest_out=config.manifest_out,
        mos_scales=config.mos_scales,
        usual=UnifiedSettings(tuple(map(Shard, usual)), root.unified_corpus()),
    )


def _scales_of(names: Sequence[str], scale: str, corpora: Mapping[str, Corpus], where: str) -> dict[str, MosScale]:
    """Corpus → what a scale's name in ``mos_scales`` means of its rows, with the corpus's polarity.

    Of one corpus the name is its own or a known one, of a whole file that of any corpus; SettingsError otherwise.
    """
    where = f"mos_scales.{where}"
    if len(names) == 1 and names[0] in corpora:
        return {names[0]: corpora[names[0]].stated_scale(scale, where)}
    ranges = {one.directed("mos") for c in corpora.values() if (one := c.scale_named(scale)) is not None}
    if len(ranges) != 1:
        shown = ", ".join(sorted(f"{one.low:g} to {one.high:g}" for one in ranges))
        raise SettingsError(
            where,
            found=f"{scale!r}" + (f", which is {shown} in different corpora" if shown else ""),
            expected=f"one of {', '.join(OPINION_SCALES)}, or a scale that a corpus declares",
            next_step="correct the name, or say it of the corpus instead of the file",
        )
    (range_,) = ranges
    return {name: range_.directed(corpora[name].polarity if name in corpora else "mos") for name in names}


def _usual_inputs(corpora: Mapping[str, Corpus], root: DataRoot) -> list[Path]:
    """Every corpus's JSONL, whether it is there or not (absent ones are listed), and the external shards that are."""
    from vqa_assets.ingest.layout import CorpusLayout

    external = [root.path / shard.jsonl for shard in EXTERNAL_SHARDS.values()]
    jsonls = [CorpusLayout.standing(corpus, root).output for corpus in corpora.values()]
    return [*jsonls, *(path for path in external if path.is_file())]


def _by_input(setting: str, value_of: Mapping[str, str], paths: Sequence[Path], root: DataRoot) -> dict[Path, str]:
    """Input → value, however its path is spelled: absolute, through a link, from the working folder or the root."""
    inputs = {path.resolve() for path in paths}
    values: dict[Path, str] = {}
    for spelled, value in value_of.items():
        named = {typed_path(spelled).resolve(), root.located(spelled).resolve()} & inputs
        if not named:
            raise SettingsError(
                setting,
                found=spelled,
                expected=f"one of the inputs ({', '.join(map(str, paths))})",
                next_step="correct the path, or name the file in inputs",
            )
        values.update(dict.fromkeys(named, value))
    return values


def unified_parquet(root: DataRoot) -> Path:
    """The unified corpus's rows as Parquet."""
    return root.unified_corpus().with_suffix(".parquet")


def _files(corpora: Mapping[str, Corpus], root: DataRoot, settings: FeatureRowsSettings) -> "FeatureFiles":
    from vqa_assets.unified.feature_rows import FeatureFiles

    return FeatureFiles.of({name: root.labelled(corpus) for name, corpus in corpora.items()}, settings)


@contextmanager
def rows_of_run(
    corpora: Mapping[str, Corpus], root: DataRoot, settings: FeatureRowsSettings
) -> Iterator[tuple[Path, dict[str, ReadInput]]]:
    """The table that a head over every corpus reads, and its inputs by the names that manifests give them.

    That is the published one; where a run names tables of its own, one made of them by the same decisions, for as long
    as the block lasts.
    """
    from vqa_assets.provenance.reading import read_now
    from vqa_assets.tables.parquet import column_names
    from vqa_assets.unified.feature_rows import FeatureColumns, files_read, join_features

    published = root.unified_features()
    if not settings.tables and not settings.extra_tables:
        yield published, read_now({"unified_features": published})
        return
    # A family of one's own is known by the columns that the published table has.
    families = column_names(published) if published.is_file() else []
    files, columns = _files(corpora, root, settings), FeatureColumns.declared(corpora.values(), families)
    with TemporaryDirectory(prefix="vqa-unified-features-") as folder:
        table = Path(folder) / published.name
        inputs = read_now(files_read(unified_parquet(root), files))
        join_features(unified_parquet(root), files, columns, table)
        yield table, inputs
