"""The stage that gives one corpus's feature table its opinion scores."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from vqa_assets.corpora import Corpus
from vqa_assets.labels.settings import JoinSettings, LabelPaths
from vqa_assets.provenance import RunContext

if TYPE_CHECKING:
    from vqa_assets.labels.labelled import LabelledTable

MOS_FEATURES_VERSION = "3"
"""The code version of ``mos_features``."""


def label(corpus: Corpus, settings: JoinSettings, corpora: Mapping[str, Corpus], run: RunContext) -> "LabelledTable":
    """Join a corpus's features with its scores, or the files that the settings name, and publish the table."""
    from vqa_assets.ingest.layout import CorpusLayout
    from vqa_assets.labels.labelled import make_labelled_table

    root = run.root
    paths = settings.paths(
        LabelPaths(
            features=root.features(corpus),
            labels=(CorpusLayout.standing(corpus, root).output,),
            out=root.labelled(corpus),
            audit_json=root.labelled_audit(corpus),
        )
    )
    return make_labelled_table(paths, settings, run, corpora)
