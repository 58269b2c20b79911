"""Vectors from clips to the head over every corpus, as Dagster runs: which network measured them is known all along."""

import json
import shutil
from collections.abc import Iterator

import dagster as dg
import numpy as np
import pytest

from vqa_assets.backbones.folder import read_backbone
from vqa_assets.corpora import CORPORA
from vqa_assets.provenance.verify import main as verify
from vqa_assets.tables.networks import networks_of
from vqa_assets_tests.features.test_backbones import AS_THEY_ARE, lossless, plain_pictures
from vqa_assets_tests.features.test_corpora import Measurable
from vqa_assets_tests.shared.networks import backbone_folder, declared
from vqa_assets_tests.shared.platform import Platform, failure, metadata

TEXT = declared(input=AS_THEY_ARE)
MEAN = "tiny.resize.embedding_mean"
CLIPS = 14
HEAD = "unified_mos_head_v1"
QUICK = {"epochs": 2, "k_folds": 2, "device": "cpu", "protocol_splits": 0, "feature_schema": "backbone:tiny"}


class VectorPlatform(Platform):
    """Two corpora of tiny clips whose MOS is the brightness that the backbone ``tiny`` tells, and a run to the head."""

    def add_corpus(self, name: str, seed: int) -> None:
        made = Measurable(self.root.path, CORPORA[name])
        rng = np.random.default_rng(seed)
        for number, level in enumerate(rng.permutation(np.linspace(20, 235, CLIPS).astype(int))):
            mos = 1 + 4 * level / 255 + rng.uniform(-0.3, 0.3)
            path = made.add(f"{seed}{number}.mkv", mos=round(min(mos, 5), 3), mos_scale="1-5-acr")
            lossless(path, plain_pictures([int(level), int(level) + seed]))
        made.write_jsonl()

    def measure(self, corpus: str) -> dg.ExecuteInProcessResult:
        chosen = {"feature_sets": ["backbone:tiny"], "backbone_device": "cpu", "backbone_batch": 4}
        measured = self.run("clip_features", partition=corpus, resource_config={"extractor": chosen})
        assert measured.success, failure(measured)
        assert self.run("mos_features", partition=corpus).success
        return measured

    def train(self) -> dg.ExecuteInProcessResult:
        return self.run(HEAD, **QUICK)


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VectorPlatform]:
    with dg.DagsterInstance.ephemeral() as instance:
        made = VectorPlatform(tmp_path_factory.mktemp("root"), instance)
        backbone_folder(made.root.path / "backbones", TEXT)
        for seed, corpus in enumerate(("konvid-150k", "lsvq"), 1):
            made.add_corpus(corpus, seed)
            made.measure(corpus)
        assert made.run("unified_corpus", "unified_features").success
        yield made


@pytest.fixture(scope="module")
def trained(platform: VectorPlatform) -> dg.ExecuteInProcessResult:
    result = platform.train()
    assert result.success, failure(result)
    return result


def test_the_head_over_every_corpus_learns_from_the_vectors_of_all(
    platform: VectorPlatform, trained: dg.ExecuteInProcessResult
) -> None:
    manifest = json.loads((platform.root.models() / f"{HEAD}.json").read_text())
    assert manifest["feature_order"] == [f"{MEAN}[0:3]", "tiny.resize.embedding_sd[0:3]"]
    assert {name: of["rows"] for name, of in manifest["corpora"].items()} == {"konvid-150k": CLIPS, "lsvq": CLIPS}
    assert metadata(trained, HEAD)["mean_srocc"] > 0.7


def test_every_table_on_the_way_says_whose_vectors_it_holds(
    platform: VectorPlatform, trained: dg.ExecuteInProcessResult
) -> None:
    root, backbone = platform.root, read_backbone(platform.root.path / "backbones" / "tiny")
    konvid = CORPORA["konvid-150k"]
    for table in (root.features(konvid), root.labelled(konvid), root.unified_features()):
        assert networks_of(table) == {"tiny": backbone.recorded}
    told = json.loads((root.features(konvid).with_suffix(".manifest.json")).read_text())
    assert told["backbones"] == {"tiny": {"sha256": backbone.content, "declaration": backbone.numbers}}
    for manifest in (told, json.loads((root.models() / f"{HEAD}.json").read_text())):
        inputs = manifest["run_provenance"]["inputs"]
        assert inputs["backbone_tiny"]["path"] == "backbones/tiny/tiny.onnx"
        assert inputs["backbone_tiny_declaration"]["path"] == "backbones/tiny/backbone.toml"


def test_another_network_in_the_folder_is_told_by_verify_and_trains_no_head(
    platform: VectorPlatform, trained: dg.ExecuteInProcessResult, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, sidecar = platform.root.path / "backbones" / "tiny", str(platform.root.models() / f"{HEAD}.json")
    assert verify(["verify", sidecar]) == 0
    shutil.move(folder, folder.with_name("kept"))
    try:
        backbone_folder(folder.parent, TEXT, opset=16)
        capsys.readouterr()
        assert verify(["verify", sidecar]) == 1
        assert "backbones/tiny/tiny.onnx" in next(
            line for line in capsys.readouterr().out.splitlines() if "changed" in line
        )
        refused = platform.run(HEAD, **QUICK, name="other")
        told = failure(refused)
        measured_by = networks_of(platform.root.unified_features())["tiny"].sha256
        assert f"vectors of tiny by a network with SHA-256 {measured_by}" in told
        assert f"expected those of the network that is there, SHA-256 {read_backbone(folder).content}" in told
        assert "put back what measured them in" in told
        assert "measure the clips with it (clip_features, feature_sets), then label them again" in told
    finally:
        shutil.rmtree(folder)
        shutil.move(folder.with_name("kept"), folder)
