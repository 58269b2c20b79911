"""Why an asset would fail for certain if it were made now by the defaults: what it reads is not there.

Automation asks before it starts anything. A person may start whatever they like, and read what the run says.
"""

from collections.abc import Callable
from dataclasses import dataclass

from vqa_assets.assets.catalog import Catalog
from vqa_assets.corpora import EXTERNAL_SHARDS
from vqa_assets.encode_grid.grid_files import every_grid_jsonl, training_corpus
from vqa_assets.errors import VqaError
from vqa_assets.heads.recipe import MOS_TARGET, HeadRecipe, corpus_head_recipe
from vqa_assets.stages.heads import corpora_in, named_recipes
from vqa_assets.stages.unified import unified_parquet
from vqa_assets.tables.paths import DataRoot

_LEAST_COMPARED = 2


@dataclass(frozen=True)
class Startable:
    """The assets of a catalog, on the data root that ``root`` finds when it is asked."""

    catalog: Catalog
    root: Callable[[], DataRoot]

    def why_not(self, asset: str, corpus: str | None) -> str:
        """Why a run of one asset (for one corpus) must fail; empty where nothing is known that speaks against it."""
        try:
            root = self.root()
        except VqaError:  # whoever needs the root says what is wrong with it
            return ""
        try:
            return self._why_not(asset, corpus, root)
        except (VqaError, OSError) as error:  # an ingest.toml, a table that nobody can read
            return str(error)

    def lacks(self, asset: str, corpus: str | None) -> str:
        """Which input of an asset (for one corpus) is not there; empty where it is, and where nothing can be said."""
        try:
            return self._lacks(asset, corpus, self.root())
        except (VqaError, OSError):  # the asset's own run says it
            return ""

    def _why_not(self, asset: str, corpus: str | None, root: DataRoot) -> str:
        from vqa_assets.heads.experiments import check_same_head
        from vqa_assets.heads.settings import TrainingSettings

        if (recipe := self._recipe(asset, corpus)) is not None:
            # Where a head of other choices stands, a run without a name is refused.
            check_same_head(recipe, TrainingSettings(), root, lambda _: None)
        return self._lacks(asset, corpus, root)

    def _recipe(self, asset: str, corpus: str | None) -> HeadRecipe | None:
        if asset == "mos_head" and corpus is not None and corpus in self.catalog.corpora:
            return corpus_head_recipe(corpus)
        return next((one for one in named_recipes(self.catalog.corpora) if one.name == asset), None)

    def _lacks(self, asset: str, corpus: str | None, root: DataRoot) -> str:
        if (recipe := self._recipe(asset, corpus)) is not None:
            return self._of_head(recipe, root)
        if corpus is not None and corpus in self.catalog.corpora:
            return self._of_corpus(asset, corpus, root)
        of_all = {
            "unified_corpus": self._of_unified_corpus,
            "unified_features": self._of_unified_features,
            "cross_corpus_evaluation": _of_evaluation,
            "fr_training_corpus": _of_training_corpus,
        }
        return of_all[asset](root) if asset in of_all else ""

    def _of_unified_corpus(self, root: DataRoot) -> str:
        shards = any((root.path / shard.jsonl).is_file() for shard in EXTERNAL_SHARDS.values())
        jsonls = (self.catalog.layout(root, name).output for name in self.catalog.corpora)
        return "" if shards or any(path.is_file() for path in jsonls) else "no corpus JSONL is there"

    def _of_unified_features(self, root: DataRoot) -> str:
        if not unified_parquet(root).is_file():
            return "no unified corpus is there"
        labelled = any(root.labelled(corpus).is_file() for corpus in self.catalog.corpora.values())
        return "" if labelled else "no labelled table is there"

    def _of_corpus(self, asset: str, name: str, root: DataRoot) -> str:
        corpus = self.catalog.corpora[name]
        layout = self.catalog.layout(root, name)
        if not layout.output.is_file():
            return "no corpus JSONL is there"
        if asset == "clip_features":
            return "" if layout.has_clips() else "no clip is there"
        if asset == "mos_features" and not root.features(corpus).is_file():
            return "no feature table is there"
        return ""

    def _of_head(self, recipe: HeadRecipe, root: DataRoot) -> str:
        if recipe.target != MOS_TARGET:
            return "" if training_corpus(root).is_file() else "no training corpus is there"
        if recipe.every_corpus:
            return "" if root.unified_features().is_file() else "no unified_features is there"
        declared = [self.catalog.corpora[name] for name in recipe.corpora if name in self.catalog.corpora]
        return "" if any(root.labelled(one).is_file() for one in declared) else "no labelled table is there"


def _of_evaluation(root: DataRoot) -> str:
    found = len(corpora_in(root.unified_features()))
    return "" if found >= _LEAST_COMPARED else f"unified_features holds {found} of at least {_LEAST_COMPARED} corpora"


def _of_training_corpus(root: DataRoot) -> str:
    return "" if any(path.is_file() for path in every_grid_jsonl(root)) else "no encode grid is there"
