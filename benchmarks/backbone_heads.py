"""What a backbone adds on the demo's corpus: heads on nr-v1, on efficientnet-lite0, and on both, by content.

The demo's clips are procedural and its scores made up: what damages a clip there is coding, blur, grain and size. The
table that is printed is written into docs/backbones.md.
"""

import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any

import polars as pl

from benchmarks.plain import write_between
from vqa_assets.backbones.efficientnet_lite0 import FACTS, export_onnx
from vqa_assets.backbones.making import add_backbone
from vqa_assets.corpora import CORPORA
from vqa_assets.demo.demo_corpus import make_demo_corpus
from vqa_assets.features.backbone import backbone_family
from vqa_assets.features.extractor import ClipExtractor
from vqa_assets.heads.build import build_head
from vqa_assets.heads.members.training import TorchTrainer
from vqa_assets.heads.recipe import CorpusFacts, corpus_head_recipe
from vqa_assets.heads.rows.vectors import with_backbones
from vqa_assets.heads.settings import TrainingSettings
from vqa_assets.tables.networks import networks_mark
from vqa_assets.tables.paths import DataRoot

CLIPS, SPLITS, WORKERS = 120, 10, 2
CORPUS = CORPORA["konvid-150k"]
SCHEMAS = ("nr-v1", "backbone:efficientnet-lite0", "nr-v1+backbone:efficientnet-lite0")
PAGE, MARKS = Path("docs/backbones.md"), ("<!-- heads: begin -->", "<!-- heads: end -->")
BASELINES = {"ridge": "ridge", "svr": "RBF-SVR", "kernel_ridge": "kernel ridge"}


def main() -> None:
    """Print the table, and write it into the page."""
    with tempfile.TemporaryDirectory(prefix="vqa-bench-") as name:
        table = table_of(DataRoot(Path(name)))
    print(table)
    write_between(PAGE, *MARKS, table)


def table_of(root: DataRoot) -> str:
    """The table, of the demo's clips under ``<root>/.demo``, which are made where they are not there."""
    demo = make_demo_corpus(root.path / ".demo", clips=CLIPS, say=print)
    backbone = add_backbone(export_onnx(root.path / "efficientnet-lite0.onnx"), root.path / "backbones", FACTS)
    extractor = ClipExtractor(feature_sets=("nr-v1",), further=(backbone_family(backbone, "cpu"),))
    scores = {row.name: row for row in demo.rows if row.name not in demo.faults}
    with ThreadPoolExecutor(WORKERS) as pool:
        measured = list(pool.map(lambda name: extractor.extract(demo.served / name, stop=Event()), scores))
    rows = [
        {"key": row.name, "content_id": row.name, "mos": float(row.mos), "mos_std_dev": row.sd, "n_ratings": row.count}
        for row in scores.values()
    ]
    vectors = {
        column: pl.Series([one.pop(column) for one in measured], dtype=pl.Array(pl.Float32, 1280))
        for column in backbone.columns
    }
    path = root.path / "demo.parquet"
    frame = pl.DataFrame([{**row, **one} for row, one in zip(rows, measured, strict=True)]).with_columns(**vectors)
    frame.write_parquet(path, metadata=networks_mark({backbone.id: backbone.recorded}))
    lines = [
        f"| columns | numbers a clip | SROCC of the head | PLCC | {' | '.join(BASELINES.values())} |",
        f"|---|---|---|---|{'---|' * len(BASELINES)}",
        *(_line(schema, path, root) for schema in SCHEMAS),
    ]
    return "\n".join(lines)


def _line(schema: str, table: Path, root: DataRoot) -> str:
    settings = TrainingSettings(feature_schema=schema, protocol_splits=SPLITS, device="cpu", export=False)
    recipe = with_backbones(corpus_head_recipe(CORPUS.name), schema, root)
    facts = {
        CORPUS.name: CorpusFacts("Demo", licence="none", citation="", version="demo", redistribution="attribution")
    }
    built = build_head(recipe, {CORPUS.name: table}, facts, settings, TorchTrainer(), lambda _: None)
    protocol: Mapping[str, Any] = built.manifest["protocol"]
    median, interval = protocol["median"], protocol["interval_95"]["head"]["srocc"]
    numbers = len(built.manifest["feature_mean"])
    cells: Sequence[str] = (
        f"`{schema}`",
        f"{numbers:,}".replace(",", " "),
        f"{median['head']['srocc']:.3f} ({interval[0]:.3f} to {interval[1]:.3f})",
        f"{median['head']['plcc']:.3f}",
        *(f"{median[name]['srocc']:.3f}" for name in BASELINES),
    )
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
