"""Who made a file stands inside it, or beside it, and so does whether it still is what was written."""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import onnx
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from onnx import TensorProto, helper

from vqa_assets.errors import NewerFormatError, SchemaError
from vqa_assets.heads.experiments import check_same_head
from vqa_assets.heads.recipe import HEAD_RECIPES
from vqa_assets.heads.settings import TrainingSettings
from vqa_assets.tables import formats, makers
from vqa_assets.tables.files import read_json_object, write_json
from vqa_assets.tables.makers import Wrote, made_by, mark, published_path, seal, sealed
from vqa_assets.tables.parquet import open_parquet
from vqa_assets.tables.paths import DataRoot
from vqa_assets.tables.publication import publishing

TABLE = pa.table({"key": [f"{i}.mp4" for i in range(500)], "mos": [i / 100 for i in range(500)]})


def test_a_parquet_table_says_its_stage_its_format_and_that_it_is_as_it_was_written(tmp_path: Path) -> None:
    made = made_by(_parquet(tmp_path / "features.parquet"))
    assert made is not None
    assert (made.stage, made.format, made.content, made.is_ours) == ("clip_features", 1, Wrote.SAME, True)
    assert pq.read_table(tmp_path / "features.parquet").equals(TABLE)


def test_the_mark_is_ordinary_metadata_which_any_reader_of_parquet_shows(tmp_path: Path) -> None:
    said = json.loads(pq.read_metadata(_parquet(tmp_path / "features.parquet")).metadata[b"vqa_assets"])
    assert {name: said[name] for name in ("stage", "format", "schema")} == {
        "stage": "clip_features",
        "format": 1,
        "schema": "vqa-made-v1",
    }
    assert len(said["digest"]) == 64


def test_a_table_that_polars_streams_to_disk_is_marked_alike(tmp_path: Path) -> None:
    path = tmp_path / "features_with_mos.parquet"
    pl.from_arrow(TABLE).lazy().sink_parquet(path, metadata=mark("mos_features"))  # type: ignore[union-attr]
    seal(path)
    made = made_by(path)
    assert made is not None
    assert (made.stage, made.is_ours) == ("mos_features", True)
    assert pl.read_parquet(path).equals(pl.from_arrow(TABLE))


def test_sealing_tells_the_hash_that_the_file_has_then_and_changes_nothing_the_second_time(tmp_path: Path) -> None:
    path = _written(tmp_path / "features.parquet")
    once, again = seal(path), seal(path)
    assert once == again
    assert once.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert once.size_bytes == path.stat().st_size
    made = made_by(path)
    assert made is not None
    assert made.sha256 == once.sha256


def test_a_file_without_a_mark_is_only_hashed(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"a": 1}\n')
    assert seal(path).sha256 == hashlib.sha256(b'{"a": 1}\n').hexdigest()
    assert path.read_bytes() == b'{"a": 1}\n'
    assert made_by(path) is None


@pytest.mark.parametrize("writer", ["pyarrow", "polars", "pandas"])
def test_a_table_that_an_operator_wrote_again_is_his(tmp_path: Path, writer: str) -> None:
    path = _parquet(tmp_path / "features.parquet")
    edited = pq.read_table(path).slice(0, 499)
    if writer == "pyarrow":
        kept = dict(pq.read_metadata(path).metadata)  # the mark too, as careful tools do
        pq.write_table(edited.replace_schema_metadata({k: v for k, v in kept.items() if k == b"vqa_assets"}), path)
    elif writer == "polars":
        pl.from_arrow(edited).write_parquet(path)  # type: ignore[union-attr]
    else:
        edited.to_pandas().to_parquet(path)
    made = made_by(path)
    assert made is None or made.content is Wrote.CHANGED


@pytest.mark.parametrize("place", range(10, 4_000, 331))
def test_a_table_whose_disk_changed_a_bit_of_its_rows_is_damaged_and_no_edit(tmp_path: Path, place: int) -> None:
    path = _parquet(tmp_path / "features.parquet")
    content = bytearray(path.read_bytes())
    rows_end = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    content[4 + place % (rows_end - 4)] ^= 1
    path.write_bytes(content)
    made = made_by(path)
    assert made is not None
    assert (made.stage, made.content) == ("clip_features", Wrote.DAMAGED)


def test_an_onnx_says_who_made_it_and_an_edited_one_that_it_was_changed(tmp_path: Path) -> None:
    path = tmp_path / "head.onnx"
    content = sealed(_model(mark("mos_head", footer=False)))
    path.write_bytes(content)
    made = made_by(path)
    assert made is not None
    assert (made.stage, made.format, made.is_ours) == ("mos_head", 1, True)
    assert sealed(content) == content
    model = onnx.load(path)
    assert "vqa_assets" in {one.key for one in model.metadata_props}
    model.graph.name = "mine"
    onnx.save(model, path)
    made = made_by(path)
    assert made is not None
    assert (made.stage, made.content) == ("mos_head", Wrote.CHANGED)


def test_a_json_lines_file_is_whose_publication_stands_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "konvid_1k.jsonl"
    path.write_bytes(b'{"src": "a.mp4"}\n')
    _publish(path, "corpus_jsonl", "mos-corpus-manifest-v1")
    made = made_by(path)
    assert made is not None
    assert (made.stage, made.format, made.content) == ("corpus_jsonl", 1, Wrote.SAME)
    assert made.said_by == published_path(path)
    path.write_bytes(b'{"src": "b.mp4"}\n')
    made = made_by(path)
    assert made is not None
    assert made.content is Wrote.CHANGED


def test_a_file_is_found_in_the_record_of_the_publication_that_it_was_part_of(tmp_path: Path) -> None:
    main, beside = tmp_path / "unified_corpus.jsonl", tmp_path / "unified_corpus.croissant.json"
    beside.write_bytes(b'{"@type": "sc:Dataset"}')
    _publish(main, "unified_corpus", 1, beside)
    made = made_by(beside)
    assert made is not None
    assert (made.stage, made.is_ours) == ("unified_corpus", True)


def test_a_file_of_an_earlier_version_is_whose_replay_manifest_names_it(tmp_path: Path) -> None:
    path = tmp_path / "features.parquet"
    pq.write_table(TABLE, path)
    assert made_by(path) is None
    _manifest(tmp_path / "features.manifest.json", "clip-features-manifest-v1", path)
    made = made_by(path)
    assert made is not None
    assert (made.stage, made.format, made.content) == ("clip_features", 1, Wrote.SAME)
    pq.write_table(TABLE.slice(0, 3), path)
    made = made_by(path)
    assert made is not None
    assert made.content is Wrote.CHANGED
    path.write_bytes(path.read_bytes()[:-20])
    made = made_by(path)
    assert made is not None
    assert made.content is Wrote.DAMAGED


def test_a_document_of_ours_says_its_stage_by_its_schema(tmp_path: Path) -> None:
    path = tmp_path / "related_clips.json"
    path.write_text('{"schema": "related-clips-v1"}')
    made = made_by(path)
    assert made is not None
    assert (made.stage, made.format, made.content) == ("unified_corpus", 1, Wrote.UNKNOWN)


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b'{"schema": 3}', b'{"schema": "theirs-v7"}', b"\xff"])
def test_of_anybody_elses_document_nothing_is_said(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "theirs.json"
    path.write_bytes(content)
    assert made_by(path) is None
    makers.refuse_newer(path)


@pytest.mark.parametrize(
    "record",
    [b"", b"[]", b'{"stage": "x"}', b'{"files": {"rows.csv": {}}}', b'{"files": [], "format": "one"}', b"\xff"],
)
def test_a_damaged_record_says_nothing(tmp_path: Path, record: bytes) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(b"key,mos\n")
    published_path(path).write_bytes(record)
    (tmp_path / "rows.manifest.json").write_bytes(record)
    assert made_by(path) is None


def test_a_file_that_cannot_be_read_is_no_later_version_and_may_be_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = _parquet(tmp_path / "features.parquet")

    def refused(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(makers, "_marked", refused)
    makers.refuse_newer(path)
    with pytest.raises(PermissionError):
        made_by(path)


def test_nothing_and_a_folder_were_made_by_nobody(tmp_path: Path) -> None:
    assert made_by(tmp_path) is None
    assert made_by(tmp_path / "absent.parquet") is None


def test_a_table_of_a_later_version_is_refused_by_name_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as later:
        later.setattr(makers, "FORMATS", {**formats.FORMATS, "clip_features": 7})
        path = _parquet(tmp_path / "features.parquet")
    with pytest.raises(
        NewerFormatError,
        match=r"features\.parquet: format 7 \(clip_features\), which a later version of vqa-assets wrote, expected "
        r"format 1 or an earlier one; install that version .*or move the file away",
    ):
        open_parquet(path)
    with pytest.raises(NewerFormatError, match="format 7"):
        makers.refuse_newer(path)
    made = made_by(path)
    assert made is not None
    assert made.is_newer


def test_a_mark_of_a_form_that_only_a_later_version_knows_is_refused_too(tmp_path: Path) -> None:
    path = tmp_path / "features.parquet"
    with pq.ParquetWriter(path, TABLE.schema) as writer:
        writer.add_key_value_metadata({"vqa_assets": '{"maker":"clip_features","schema":"vqa-made-v2"}'})
    for opens in (makers.refuse_newer, open_parquet):
        with pytest.raises(NewerFormatError, match="format 2"):
            opens(path)


@pytest.mark.parametrize(
    "document",
    [
        {"schema": "mos-corpus-manifest-v2"},
        {"schema": "mos-corpus-manifest-v1", "run_provenance": {"schema": "ai-run-provenance-v9"}},
    ],
)
def test_a_document_of_a_later_version_is_refused_and_taken_for_no_damaged_one(
    tmp_path: Path, document: dict[str, Any]
) -> None:
    path = tmp_path / "konvid_1k.manifest.json"
    path.write_text(json.dumps(document))
    with pytest.raises(NewerFormatError, match=r"later version of vqa-assets .*neither read nor replaced") as refused:
        read_json_object(path)
    assert not isinstance(refused.value, SchemaError)


def test_json_lines_of_a_later_version_are_refused_by_their_manifest(tmp_path: Path) -> None:
    path = tmp_path / "konvid_1k.jsonl"
    path.write_bytes(b'{"src": "a.mp4"}\n')
    _manifest(tmp_path / "konvid_1k.manifest.json", "mos-corpus-manifest-v2", path)
    with pytest.raises(NewerFormatError, match=r"konvid_1k\.manifest\.json: format 2"):
        makers.refuse_newer(path)


def test_nothing_is_published_over_a_file_of_a_later_version(tmp_path: Path) -> None:
    path = tmp_path / "related_clips.json"
    path.write_text('{"schema": "related-clips-v2"}')
    with pytest.raises(NewerFormatError, match="neither read nor replaced"):
        write_json(path, {"schema": "related-clips-v1"})

    def publish() -> None:
        jsonl = tmp_path / "unified_corpus.jsonl"
        with publishing("unified_corpus", jsonl, "unified-corpus-manifest-v1") as publication:
            publication.write(jsonl, b'{"src": "a.mp4"}\n')
            publication.write_json(path, {"schema": "related-clips-v1"})

    with pytest.raises(NewerFormatError, match="neither read nor replaced"):
        publish()
    assert {one.name: one.read_text() for one in tmp_path.iterdir()} == {path.name: '{"schema": "related-clips-v2"}'}


def test_a_head_of_a_later_version_stops_its_successor_before_the_training(tmp_path: Path) -> None:
    root = DataRoot(tmp_path)
    root.models().mkdir()
    (root.models() / "konvid_mos_head_v1.json").write_text('{"schema": "mos-head-manifest-v2"}')
    with pytest.raises(NewerFormatError, match=r"konvid_mos_head_v1\.json: format 2"):
        check_same_head(HEAD_RECIPES["konvid_mos_head_v1"], TrainingSettings(), root, print)


def test_every_schema_that_this_version_writes_is_known_so_that_a_later_one_is_told() -> None:
    constant = re.compile(r"^[A-Z_, ]*(?:SCHEMA|VERSION)\b.*$", re.MULTILINE)
    sources = (path.read_text() for path in Path(formats.__file__).parents[1].rglob("*.py"))
    lines = [line for source in sources for line in constant.findall(source)]
    written = {name for line in lines for name in re.findall(r'"([a-z][a-z0-9-]+)-v1"', line)}
    assert written >= {"mos-corpus-manifest", "ai-run-provenance", "training-result", "predictions"}
    assert written <= formats.DOCUMENTS.keys()


def _written(path: Path) -> Path:
    with pq.ParquetWriter(path, TABLE.schema, compression="zstd") as writer:
        writer.write_table(TABLE)
        writer.add_key_value_metadata(mark("clip_features"))
    return path


def _parquet(path: Path) -> Path:
    seal(_written(path))
    return path


def _model(metadata: dict[str, str]) -> bytes:
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n"])
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n"])
    model = helper.make_model(helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", [value], [out]))
    helper.set_model_props(model, metadata)
    return bytes(model.SerializeToString(deterministic=True))


def _publish(path: Path, stage: str, version: object, *files: Path) -> None:
    named = {one.name: {"sha256": _sha256(one), "size_bytes": one.stat().st_size} for one in files or (path,)}
    record = {"schema": "vqa-published-v1", "stage": stage, "format": version, "files": named}
    published_path(path).write_text(json.dumps(record))


def _manifest(place: Path, schema: str, output: Path) -> None:
    outputs = {"output": {"path": f"somewhere/{output.name}", "sha256": _sha256(output)}}
    place.write_text(json.dumps({"schema": schema, "run_provenance": {"outputs": outputs}}))


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
