"""Where the encode grid lies below the data root. Opens no file."""

from pathlib import Path

from vqa_assets.corpora import ENCODE_GRID_SOURCES, EncodeGridSource
from vqa_assets.corpora.external import BVI_DVC, NETFLIX
from vqa_assets.tables.paths import DataRoot


def folder(root: DataRoot) -> Path:
    """``<root>/encode-grid``."""
    return root.path / "encode-grid"


def reports_folder(root: DataRoot) -> Path:
    """``<root>/encode-grid/bvi-dvc``: cached libvmaf reports, the default ``cache_dir``."""
    return folder(root) / BVI_DVC.name


def vmaf_tune_rows(root: DataRoot) -> Path:
    """``<root>/encode-grid/netflix_vmaf_tune.jsonl``: rows as vmaf-tune wrote them, the default ``input``."""
    return folder(root) / f"{NETFLIX.name}_vmaf_tune.jsonl"


def grid_jsonl(root: DataRoot, source: EncodeGridSource) -> Path:
    """``<root>/encode-grid/<source_>_corpus.jsonl``."""
    return folder(root) / f"{source.name.replace('-', '_')}_corpus.jsonl"


def every_grid_jsonl(root: DataRoot) -> tuple[Path, ...]:
    """The grid JSONL of every source, in the order in which they are merged."""
    return tuple(grid_jsonl(root, source) for source in ENCODE_GRID_SOURCES.values())


def training_corpus(root: DataRoot) -> Path:
    """``<root>/encode-grid/fr_v2_train_corpus.jsonl``."""
    return folder(root) / "fr_v2_train_corpus.jsonl"
