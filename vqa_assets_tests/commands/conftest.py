"""What several tests of commands use: a data root with a head that was trained once."""

from pathlib import Path

import pytest

from vqa_assets.heads.build import build_head
from vqa_assets.heads.members.training import TorchTrainer
from vqa_assets.heads.publish import HeadInputs, publish_head
from vqa_assets.heads.recipe import KONVID_MOS_HEAD_V1
from vqa_assets.heads.settings import TrainingSettings
from vqa_assets.provenance import RunContext
from vqa_assets.tables.paths import DataRoot
from vqa_assets_tests.shared.head_tables import FACTS, labelled, quiet, written


@pytest.fixture(scope="session")
def head_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root with ``konvid_mos_head_v1``, which tests read and leave as it is."""
    settings = TrainingSettings(epochs=2, device="cpu", protocol_splits=0)
    root = DataRoot(tmp_path_factory.mktemp("data"))
    table = {"konvid-1k": written(labelled(80), root.path / "train.parquet")}
    built = build_head(KONVID_MOS_HEAD_V1, table, FACTS, settings, TorchTrainer(), quiet)
    inputs = HeadInputs(KONVID_MOS_HEAD_V1.name, settings, table, {"konvid-1k": [table["konvid-1k"]]})
    publish_head(built, inputs, RunContext(root, {}, Path(__file__)))
    return root.path
