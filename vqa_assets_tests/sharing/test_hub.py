"""Folders for the Hugging Face Hub: its own library reads the cards back as they were written, files are the root's."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq
import pytest
import yaml
from huggingface_hub import DatasetCard, ModelCard

from vqa_assets.command import main
from vqa_assets.corpora import CORPORA
from vqa_assets.errors import HeadError, SharingError, VqaError
from vqa_assets.heads.using import open_head
from vqa_assets.sharing.cards import card, model_metadata, size_category
from vqa_assets.sharing.hub import publish
from vqa_assets.sharing.licences import LicensedSource, hub_licence, refuse_forbidden
from vqa_assets.tables.makers import Sealed
from vqa_assets.tables.networks import RecordedNetwork, networks_mark
from vqa_assets.tables.paths import DataRoot
from vqa_assets.tables.publication import publishing
from vqa_assets_tests.shared.released_formats import unpack

CORPUS, HEAD = "konvid-150k", "konvid_150k_mos_head"
# The Hub's words, for its own validation asks the network: https://huggingface.co/docs/hub/repositories-licenses and
# https://github.com/huggingface/huggingface.js/blob/main/packages/tasks/src/pipelines.ts
_LICENCES = """
apache-2.0 mit openrail bigscience-openrail-m creativeml-openrail-m bigscience-bloom-rail-1.0 bigcode-openrail-m
afl-3.0 artistic-2.0 bsl-1.0 bsd bsd-2-clause bsd-3-clause bsd-3-clause-clear c-uda cc cc0-1.0 cc-by-2.0 cc-by-2.5
cc-by-3.0 cc-by-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nd-4.0 cc-by-nc-nd-3.0
cc-by-nc-nd-4.0 cc-by-nc-sa-2.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cdla-sharing-1.0 cdla-permissive-1.0
cdla-permissive-2.0 wtfpl ecl-2.0 epl-1.0 epl-2.0 etalab-2.0 eupl-1.1 eupl-1.2 agpl-3.0 gfdl gpl gpl-2.0 gpl-3.0 lgpl
lgpl-2.1 lgpl-3.0 isc lppl-1.3c ms-pl apple-ascl mpl-2.0 odc-by odbl openrail++ osl-3.0 postgresql ofl-1.1 ncsa
unlicense zlib pddl lgpl-lr deepfloyd-if-license llama2 llama3 gemma unknown other
"""
LICENCES = set(_LICENCES.split())
TASKS = {"tabular-regression", "tabular-classification", "video-classification", "image-classification", "other"}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> DataRoot:
    """A data root with everything in it that is passed on; no test writes there, and its name is a pattern, too."""
    archive = Path(__file__).parents[1] / "shared" / "released" / "second.tar.gz"
    return DataRoot(unpack(archive, tmp_path_factory.mktemp("released") / "data [1]"))


@pytest.fixture
def spoilt(root: DataRoot, tmp_path: Path) -> DataRoot:
    """A copy of it that a test may spoil."""
    shutil.copytree(root.path, tmp_path / "data", ignore=shutil.ignore_patterns("clips", "encode-grid"))
    return DataRoot(tmp_path / "data")


def metadata(folder: Path) -> dict[str, Any]:
    """What stands between the first two lines of dashes."""
    found = yaml.safe_load((folder / "README.md").read_text(encoding="utf-8").split("---\n")[1])
    assert isinstance(found, dict)
    return found


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def sha256(path: Path) -> str:
    return Sealed.of(path).sha256


def test_a_labelled_table_is_a_dataset_that_the_hubs_library_reads_back(
    root: DataRoot, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "dataset"
    assert main(["publish", CORPUS, "--to", str(folder), "--root", str(root.path), "--i-may"]) == 0
    told = capsys.readouterr().out
    assert "konvid-150k: 12 rows, 12 of them with a score" in told
    assert "at your word (--i-may): konvid-150k" in told
    read = DatasetCard.load(folder / "README.md")
    assert read.data.to_dict() == metadata(folder)
    assert read.data.license in LICENCES
    assert set(read.data.task_categories) <= TASKS
    assert read.data.size_categories == ["n<1K"]
    assert "Götz-Hahn" in (folder / read.data.license_link).read_text(encoding="utf-8")
    (data_file,) = read.data.configs[0]["data_files"]
    assert (folder / data_file["path"]).read_bytes() == root.labelled(CORPORA[CORPUS]).read_bytes()
    assert files(folder) == {"README.md", "LICENSE.md", "vqa-shared.json", data_file["path"]}


def test_a_head_is_a_model_whose_results_are_its_manifests(root: DataRoot, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    publish(HEAD, folder, root, CORPORA)
    read = ModelCard.load(folder / "README.md")
    assert read.data.to_dict() == metadata(folder)
    assert read.data.license in LICENCES
    assert read.data.pipeline_tag in TASKS
    manifest = json.loads((root.models() / f"{HEAD}.json").read_text())
    results = {(one.dataset_split, one.metric_name): one.metric_value for one in read.data.eval_results}
    mean = manifest["folds"]["mean"]
    names = {"SROCC": "srocc", "PLCC": "plcc", "KROCC": "krocc", "RMSE": "rmse"}
    assert {name: results["folds by content: mean", name] for name in names} == {n: mean[f] for n, f in names.items()}
    # Of the one row that was held out there is no correlation.
    held = {name: value for (split, name), value in results.items() if split == "held out by content"}
    assert held == {"RMSE": manifest["holdout"]["rmse"]}
    assert read.text.strip().startswith((root.models() / f"{HEAD}_card.md").read_text(encoding="utf-8").strip()[:200])
    # Predictions are scores of single clips; everything else of a head goes, and is the head.
    assert files(folder) == {
        "README.md",
        "LICENSE.md",
        "vqa-shared.json",
        *(f"{HEAD}{end}" for end in (".onnx", ".json", "_card.png")),
    }
    assert open_head(folder / f"{HEAD}.onnx").manifest.sha256 == manifest["sha256"]


def test_the_unified_corpus_goes_with_its_croissant_of_the_file_that_goes(root: DataRoot, tmp_path: Path) -> None:
    folder = tmp_path / "dataset"
    publish("unified_corpus", folder, root, CORPORA, may=True)
    document = json.loads((folder / "croissant.json").read_text())
    assert {one["contentUrl"]: one["sha256"] for one in document["distribution"]} == {
        "unified_corpus.parquet": sha256(folder / "unified_corpus.parquet")
    }
    assert DatasetCard.load(folder / "README.md").data.to_dict() == metadata(folder)
    assert len(pl.read_parquet(folder / "unified_corpus.parquet")) == 12
    publish("unified_features", folder, root, CORPORA, may=True)
    assert not (folder / "croissant.json").exists()


def test_what_a_licence_forbids_is_refused_by_name_and_nothing_is_written(root: DataRoot, tmp_path: Path) -> None:
    folder = tmp_path / "shared"
    with pytest.raises(SharingError, match=r"konvid-150k: research use, citation required \(research-only\).*--i-may"):
        publish(CORPUS, folder, root, CORPORA)
    # A corpus that is declared nowhere may stand in the unified one: of its licence nothing is known.
    others = {name: one for name, one in CORPORA.items() if name != CORPUS}
    with pytest.raises(SharingError, match=r"konvid-150k: unknown \(unknown\)"):
        publish("unified_features", folder, root, others)
    assert not folder.exists()
    unknown, free = LicensedSource.of("kvq", CORPORA["kvq"]), LicensedSource.of("youtube-ugc", CORPORA["youtube-ugc"])
    with pytest.raises(SharingError, match=r"a-head is not passed on: kvq: unknown"):
        refuse_forbidden([free, unknown], "a-head", scores=False, may=False)
    own = replace(unknown, name="my-clips")
    with pytest.raises(SharingError, match=r"of what you declared yourself, state licence and redistribution there"):
        refuse_forbidden([own], "a-head", scores=False, may=False)
    assert refuse_forbidden([free], "a-table", scores=True, may=False) == ()


def test_rows_that_name_no_corpus_are_under_a_licence_that_nobody_knows(spoilt: DataRoot, tmp_path: Path) -> None:
    path, folder = spoilt.unified_features(), tmp_path / "to be shared"
    path.with_suffix(".manifest.json").unlink()  # then it is a table of the operator's own
    rows = pl.read_parquet(path).with_columns(pl.lit("lsvq").alias("corpus"))
    for table in (rows.drop("corpus"), rows.with_columns(pl.when(pl.col("mos") > 2).then("corpus").alias("corpus"))):
        table.write_parquet(path)
        with pytest.raises(SharingError, match=r"\(no corpus named\): unknown \(unknown\), expected licences"):
            publish("unified_features", folder, spoilt, CORPORA)
    rows.clear().write_parquet(path)
    with pytest.raises(SharingError, match="unified_features: nothing to publish: no row in"):
        publish("unified_features", folder, spoilt, CORPORA)
    labelled = spoilt.labelled(CORPORA["lsvq"])
    labelled.parent.mkdir()
    some = pl.when(pl.col("mos") > 2).then(pl.lit("youtube-ugc")).alias("corpus")  # the others are of their folder's
    rows.with_columns(some).write_parquet(labelled)
    publish("lsvq", folder, spoilt, CORPORA)
    counted = json.loads((folder / "vqa-shared.json").read_text())["corpora"]
    assert counted == {"lsvq": 12 - (others := len(rows.filter(pl.col("mos") > 2))), "youtube-ugc": others}
    rows.write_parquet(path)
    assert f"hf upload OWNER/NAME '{folder}' --repo-type" in publish("unified_features", folder, spoilt, CORPORA)[-1]


def test_a_manifest_that_somebody_edited_is_refused_and_an_edited_card_is_told(
    spoilt: DataRoot, tmp_path: Path
) -> None:
    onnx, manifest, beside = (spoilt.models() / f"{HEAD}{end}" for end in (".onnx", ".json", "_card.md"))
    with publishing(HEAD, onnx, "mos-head-manifest-v1") as publication:
        for path in (onnx, manifest, beside):
            publication.write(path, path.read_bytes())
    assert "changed" not in " ".join(publish(HEAD, tmp_path / "model", spoilt, CORPORA))
    beside.write_text(f"{beside.read_text(encoding='utf-8')}\nOur own remark.\n", encoding="utf-8")
    assert (
        "_card.md was changed since it was published: it goes as it is"
        in publish(HEAD, tmp_path / "model", spoilt, CORPORA)[1]
    )
    assert "Our own remark." in (tmp_path / "model" / "README.md").read_text(encoding="utf-8")
    beside.unlink()  # today's card says more than the manifest of that version holds
    with pytest.raises(HeadError, match="no card beside it, and none can be made of it"):
        publish(HEAD, tmp_path / "model", spoilt, CORPORA)
    manifest.write_text(manifest.read_text().replace("0.6071428571428571", "0.9071428571428571"))
    with pytest.raises(HeadError, match="it changed since it was published"):
        publish(HEAD, tmp_path / "model", spoilt, CORPORA)


def test_a_network_whose_vectors_a_table_holds_binds_it_too(spoilt: DataRoot, tmp_path: Path) -> None:
    path = spoilt.labelled(CORPORA[CORPUS])
    spoilt.labelled_audit(CORPORA[CORPUS]).unlink()  # then it is a table of the operator's own
    mark = networks_mark({"clip-b": RecordedNetwork("0" * 64, "{}")})
    pq.write_table(pq.read_table(path).replace_schema_metadata(mark), path)
    with pytest.raises(SharingError, match=r"konvid-150k: research use.*; clip-b: unknown \(unknown\)"):
        publish(CORPUS, tmp_path / "shared", spoilt, CORPORA)
    told = publish(CORPUS, tmp_path / "shared", spoilt, CORPORA, may=True)
    assert "at your word (--i-may): konvid-150k, clip-b" in told


def test_the_hub_is_told_the_licence_that_all_share_else_the_strictest_word() -> None:
    of = {name: LicensedSource.of(name, one) for name, one in CORPORA.items()}
    assert {one.hub_licence for one in of.values()} <= LICENCES
    cc_by = LicensedSource("mine", "Mine", "CC BY 4.0", "attribution", "Me")
    assert hub_licence([cc_by]) == hub_licence([cc_by, cc_by]) == {"license": "cc-by-4.0"}
    assert hub_licence([of["youtube-ugc"]]) == {"license": "cc"}
    assert hub_licence([of["kvq"]]) == {"license": "unknown"}
    other = {"license": "other", "license_name": "research-only", "license_link": "LICENSE.md"}
    assert hub_licence([cc_by, of["konvid-1k"]]) == hub_licence([of["konvid-1k"]]) == other


def test_a_damaged_or_edited_file_is_named_and_not_passed_on(spoilt: DataRoot, tmp_path: Path) -> None:
    def refused(what: str, error: type[VqaError], found: str) -> None:
        with pytest.raises(error, match=found):
            publish(what, tmp_path / "shared", spoilt, CORPORA, may=True)
        assert not (tmp_path / "shared").exists()

    table, manifest = spoilt.labelled(CORPORA[CORPUS]), spoilt.models() / f"{HEAD}.json"
    content = bytearray(table.read_bytes())
    content[len(content) // 3] ^= 1
    table.write_bytes(content)
    refused(CORPUS, SharingError, "a table (damaged|changed) since it was written.*materialize mos_features again")
    pl.read_parquet(spoilt.features(CORPORA[CORPUS])).write_parquet(table)
    table.write_bytes(table.read_bytes()[:-40])
    refused(CORPUS, VqaError, "features_with_mos.parquet")
    croissant = spoilt.unified_corpus().with_suffix(".croissant.json")
    croissant.write_text(croissant.read_text().replace('"sha256": "', '"sha256": "0'))
    refused("unified_corpus", SharingError, "a Croissant document of another table")
    manifest.write_text(manifest.read_text().replace('"research-only"', '"attribution"'))
    refused(HEAD, HeadError, r"may be passed on .*, expected one that is for research use only.* \(its ONNX\)")
    manifest.write_text("{")
    refused(HEAD, VqaError, "not JSON")
    table.unlink()
    refused(CORPUS, SharingError, "nothing to publish yet.*vqa-assets materialize mos_features --partition konvid-150k")


def test_a_head_without_figures_has_no_results_and_its_card_is_read_all_the_same(tmp_path: Path) -> None:
    for folds in (
        {"each": [], "mean": {"srocc": None}},
        [],
        {"each": [1], "mean": {"srocc": float("nan"), "plcc": True}},
    ):
        manifest = {"id": "a-head", "corpora": {"lsvq": {"title": "LSVQ"}}, "folds": folds, "holdout": {"rows": 0}}
        found = model_metadata(manifest, [LicensedSource.of("lsvq", CORPORA["lsvq"])], [])
        assert "model-index" not in found
        (tmp_path / "README.md").write_bytes(card(found, "A head."))
        assert ModelCard.load(tmp_path / "README.md").data.to_dict() == found


def test_a_head_whose_manifest_lost_its_figures_goes_and_the_command_says_so(spoilt: DataRoot, tmp_path: Path) -> None:
    path = spoilt.models() / f"{HEAD}.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "folds": {}, "holdout": None}))
    told = publish(HEAD, tmp_path / "model", spoilt, CORPORA)
    assert told[0] == f"{HEAD}: Proposed, no figures: its manifest holds none"
    assert ModelCard.load(tmp_path / "model" / "README.md").data.eval_results is None
    path.write_text(json.dumps({**json.loads(path.read_text()), "corpora": {CORPUS: ["research-only"]}}))
    with pytest.raises(HeadError, match="redistribution of konvid-150k: '', expected attribution"):
        publish(HEAD, tmp_path / "model", spoilt, CORPORA)
    path.write_text(json.dumps({**json.loads(path.read_text()), "synthetic": True}))
    with pytest.raises(SharingError, match="a head of made-up rows"):
        publish(HEAD, tmp_path / "model", spoilt, CORPORA)


@pytest.mark.parametrize("name", ["publish", "export"])
def test_what_they_take_fits_a_screen(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 80


def test_metadata_survives_whatever_a_name_holds(tmp_path: Path) -> None:
    title = "no: [x] # 'quoted' \x1b[2J \u202e \n---\n ü 2026-01-01 {{"
    (tmp_path / "README.md").write_bytes(card({"pretty_name": title, "tags": ["on", "1e3", "- a"]}, "Text."))
    read = DatasetCard.load(tmp_path / "README.md")
    assert read.data.to_dict() == metadata(tmp_path)
    assert read.data.tags == ["on", "1e3", "- a"]
    assert "\\u001b[2J \\u202e \\u000a---" in read.data.pretty_name
    assert read.text.strip() == "Text."


def test_sizes_are_the_hubs_words() -> None:
    sizes = {
        999: "n<1K",
        1_000: "1K<n<10K",
        99_999: "10K<n<100K",
        150_000: "100K<n<1M",
        10**6: "1M<n<10M",
        10**12: "n>1T",
    }
    assert {rows: size_category(rows) for rows in sizes} == sizes
