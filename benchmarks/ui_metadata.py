"""How much each asset puts into the event log: the workflow on corpora with thousands of losses, and a grid."""

import logging
from pathlib import Path
from tempfile import TemporaryDirectory

import dagster as dg

from vqa_assets.definitions import build_defs
from vqa_assets.resources.data_root import DataRootResource
from vqa_assets.tables.paths import DataRoot
from vqa_assets.workflow import Step, plan, run_steps
from vqa_assets_tests.shared.clips import tiny_clips
from vqa_assets_tests.shared.grids import small_report

TARGET_BYTES = 200_000
CLIPS, LOST, REPORTS = 80, 5_000, 300


def main() -> None:
    """Print the largest materialization of every asset that the workflow makes."""
    logging.disable(logging.WARNING)
    with TemporaryDirectory() as folder, dg.instance_for_test() as instance:
        root = DataRoot(Path(folder))
        for name in ("konvid-1k", "konvid-150k"):
            _corpus(root.path / name)
        _reports(root.path / "encode-grid" / "bvi-dvc")
        defs = build_defs(data_root=DataRootResource(path=folder))
        steps = [*plan(root, training=False), *_smoke(defs)]
        results = run_steps(steps, defs, instance, logging.getLogger("vqa_assets").debug, root)
        for result in (r for r in results if not r.succeeded):
            print(f"  (not made: {result.step.title}: {'; '.join(result.failures)[:120]})")
        for key in sorted(defs.resolve_asset_graph().get_all_asset_keys()):
            _tell(key, instance)
    logging.disable(logging.NOTSET)


def _smoke(defs: dg.Definitions) -> list[Step]:
    """Every head, from synthetic rows: tiny clips have nothing to learn from."""
    heads = [spec for spec in defs.resolve_all_asset_specs() if "onnx" in spec.kinds]
    return [
        Step((name,), "konvid-150k" if spec.partitions_def else None, {"ops": {name: {"config": {"smoke": True}}}})
        for spec in heads
        if (name := spec.key.to_user_string())
    ]


def _tell(key: dg.AssetKey, instance: dg.DagsterInstance) -> None:
    events = [r.asset_materialization for r in instance.fetch_materializations(key, limit=100).records]
    sizes = [len(dg.serialize_value(event)) for event in events if event is not None]
    if sizes:
        told = f"{max(sizes) / 1e3:.0f} KB at most a materialization"
        print(f"{key.to_user_string()}: {told}; target: under {TARGET_BYTES / 1e3:.0f} KB")


def _corpus(folder: Path) -> None:
    """A corpus of tiny clips, and thousands of rows whose clip is not there."""
    names = [
        *tiny_clips(folder / "clips", CLIPS),
        *(f"a/long/way/to/a/clip/that/is/absent-{i}.mp4" for i in range(LOST)),
    ]
    (folder / "ingest.toml").write_text("min_rows = 1\nmax_manifest_rows = 100000\nfull = true\n")
    rows = "".join(f"{name},{1 + i % 40 / 10},0.5,9\n" for i, name in enumerate(names))
    (folder / "manifest.csv").write_text("file_name,mos,sd,n\n" + rows)


def _reports(folder: Path) -> None:
    """Reports of the encode grid, every third one broken."""
    folder.mkdir(parents=True)
    for i in range(REPORTS):
        text = "{" if i % 3 == 0 else small_report(50.0 + i % 50)
        (folder / f"Clip{i}_64x48_25fps_{i}.json").write_text(text)
