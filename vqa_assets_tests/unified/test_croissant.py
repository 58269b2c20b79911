"""The Croissant file: valid by MLCommons' own library, true to the files, and left alone when nothing changed."""

import hashlib
import json
import re
import warnings
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from vqa_assets.unified.aggregation import UnifiedCorpus
from vqa_assets_tests.shared.unified_corpora import clip, unify

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # what its dependencies warn of at import is not ours
    import mlcroissant

pytestmark = pytest.mark.filterwarnings("ignore:ConjunctiveGraph is deprecated:DeprecationWarning")  # inside rdflib


def rows() -> tuple[list[dict[str, Any]], ...]:
    konvid = [clip("a", 3.0, "konvid-1k", mos_std_dev=0.5), clip("b", 4.2, "konvid-1k")]
    chug = [clip("c", 3.0, "chug", mos_raw_0_100=50.0, mos_scale="1-5-acr", content_id="ü", chug_ref=1.0)]
    return konvid, chug


@pytest.fixture
def unified(root_path: Path) -> UnifiedCorpus:
    return unify(root_path, *rows())


def test_it_is_valid_by_mlcroissant_without_a_warning(unified: UnifiedCorpus) -> None:
    metadata = mlcroissant.Dataset(jsonld=str(unified.sidecars.croissant)).metadata
    assert (metadata.ctx.issues.errors, metadata.ctx.issues.warnings) == (set(), set())
    assert str(metadata.ctx.conforms_to.value) == "http://mlcommons.org/croissant/1.0"


@pytest.mark.filterwarnings("ignore")
def test_mlcroissant_reads_the_rows_through_it(unified: UnifiedCorpus) -> None:
    found = list(mlcroissant.Dataset(jsonld=str(unified.sidecars.croissant)).records("clips"))
    table = pq.read_table(unified.parquet).to_pylist()
    assert [one["clips/src"].decode() for one in found] == [row["src"] for row in table]
    assert [one["clips/mos"] for one in found] == [row["mos"] for row in table]


def test_it_names_files_with_their_hashes_columns_licences_and_citations(unified: UnifiedCorpus) -> None:
    document = json.loads(unified.sidecars.croissant.read_text())
    for file in document["distribution"]:
        content = (unified.jsonl.parent / file["contentUrl"]).read_bytes()
        assert (file["sha256"], file["contentSize"]) == (hashlib.sha256(content).hexdigest(), f"{len(content)} B")
    fields = [field["name"] for field in document["recordSet"][0]["field"]]
    assert fields == pq.read_schema(unified.parquet).names
    assert all(field["description"] for field in document["recordSet"][0]["field"])
    assert [part["alternateName"] for part in document["isBasedOn"]] == ["chug", "konvid-1k"]
    assert len(document["license"]) == 2
    assert "KoNViD-1k" in document["citeAs"]
    assert "ICIP 2025" in document["citeAs"]
    assert "non-commercial use only" in document["description"]
    assert document["version"] == f"1.0.0+{unified.data_version}"
    assert re.fullmatch(r"3 video clips with mean opinion scores .*", document["description"])


def test_equal_inputs_leave_it_alone_and_a_lost_one_comes_back_equal(unified: UnifiedCorpus, root_path: Path) -> None:
    path = unified.sidecars.croissant
    before, stamp = path.read_bytes(), path.stat().st_mtime_ns
    unify(root_path, *rows())
    assert (path.read_bytes(), path.stat().st_mtime_ns) == (before, stamp)
    path.unlink()
    unify(root_path, *rows())
    assert path.read_bytes() == before


@pytest.mark.parametrize("damage", ["{", "[]", "{}"])
def test_a_damaged_one_is_written_again(damage: str, unified: UnifiedCorpus, root_path: Path) -> None:
    path = unified.sidecars.croissant
    before = path.read_bytes()
    path.write_text(damage)
    unify(root_path, *rows())
    assert path.read_bytes() == before


def test_a_changed_row_changes_version_and_hashes(unified: UnifiedCorpus, root_path: Path) -> None:
    before = json.loads(unified.sidecars.croissant.read_text())
    konvid, chug = rows()
    unify(root_path, [konvid[0] | {"mos": 2.0}, konvid[1]], chug)
    after = json.loads(unified.sidecars.croissant.read_text())
    assert after["version"] != before["version"]
    assert all(a["sha256"] != b["sha256"] for a, b in zip(after["distribution"], before["distribution"], strict=True))
