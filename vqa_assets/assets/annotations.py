"""``corpus_annotations``: each corpus's score file, parsed, profiled and hashed. Writes nothing, opens no clip."""

from typing import TYPE_CHECKING, Any

import dagster as dg

from vqa_assets.assets.catalog import Catalog
from vqa_assets.assets.pictures import histogram_png
from vqa_assets.assets.telling import counted, picture, records, shortened, told_failures
from vqa_assets.corpora import Corpus
from vqa_assets.resources.data_root import DataRootResource
from vqa_assets.settings import resolve

if TYPE_CHECKING:
    from vqa_assets.annotations import Annotations
    from vqa_assets.corpora.opinions import LabelStatistics

CODE_VERSION = "1"
_EXAMPLES = 50


def make_corpus_annotations(catalog: Catalog) -> dg.AssetsDefinition:
    """The asset over all corpora of the catalog."""

    @dg.asset(
        partitions_def=catalog.partitions,
        group_name="corpora",
        kinds={"csv"},
        code_version=CODE_VERSION,
        description="One row per line of a corpus's own score file, as the operator dropped it: parsed, judged and "
        "hashed. Its data version is the file's SHA-256.",
    )
    def corpus_annotations(context: dg.AssetExecutionContext, data_root: DataRootResource) -> dg.MaterializeResult[Any]:
        from vqa_assets.annotations import find_annotation_files, read_annotations
        from vqa_assets.ingest.layout import corpus_folder

        with told_failures():
            root, corpus = data_root.root(), catalog.corpora[context.partition_key]
            settings = resolve(corpus, {}, root.ingest_toml(corpus)).values
            folder = corpus_folder(corpus, settings, root)
            files = find_annotation_files(corpus, folder, settings.manifest_csv)
            found = read_annotations(corpus, settings, *files)
        return dg.MaterializeResult(
            metadata=_metadata(found, corpus) | {"path": root.shown(found.path)},
            data_version=dg.DataVersion(found.sha256),
        )

    return corpus_annotations


def _metadata(found: "Annotations", corpus: Corpus) -> dict[str, Any]:
    labels = found.statistics()
    bad = [{"line": row.line, "clip": row.src, "reason": row.problem} for row in found.bad[:_EXAMPLES]]
    return {
        "dagster/row_count": len(found.rows),
        "usable_rows": len(found.usable),
        "bad_rows": len(found.bad),
        "bad_row_reasons": counted(found.problems()),
        "bad_row_examples": records(bad),
        "mos_scale": f"{found.scale.name} ({found.scale_from})",
        "mos_mean": shortened(labels.mos_mean),
        "mos_histogram": picture(
            histogram_png(labels.histogram, found.scale, f"{corpus.title}: {labels.clips} clips"), "MOS histogram"
        ),
        "share_unknown_sd": shortened(labels.share_unknown_sd),
        "labels": records([_label_numbers(labels)]),
        "sha256": found.sha256,
        "licence": corpus.licence,
        "citation": corpus.citation,
        "homepage": dg.MetadataValue.url(corpus.homepage),
    }


def _label_numbers(labels: "LabelStatistics") -> dict[str, Any]:
    """The statistics as one row for people: the histogram is a picture, rating counts are told by their range."""
    row = {name: value for name, value in labels.as_dict().items() if name not in ("histogram", "ratings")}
    least, most = min(labels.ratings), max(labels.ratings)
    return {**row, "ratings_per_clip": f"{least}" if least == most else f"{least}–{most}"}
