"""Published artefacts copied to an object store: files before manifests, equal ones skipped, all verified."""

import json
from pathlib import Path
from typing import Any

import pytest

from vqa_assets import mirror as command
from vqa_assets.errors import ObjectStoreError
from vqa_assets.mirror import mirror
from vqa_assets.tables.paths import DataRoot
from vqa_assets_tests.shared.fakes import SmallCorpus
from vqa_assets_tests.shared.object_server import ACCESS_KEY, Bucket

JSONL, LOSSES = "konvid-150k/konvid_150k.jsonl", "konvid-150k/konvid_150k.losses.jsonl"
MANIFEST = "konvid-150k/konvid_150k.manifest.json"


@pytest.fixture
def corpus(root_path: Path) -> SmallCorpus:
    """One that was ingested: its JSONL, its losses, their manifest; clips, cache and progress beside them."""
    corpus = SmallCorpus(DataRoot(root_path))
    corpus.annotate([("a.mp4", "", 3, 0.5, 9), ("gone.mp4", "", 3, 0.5, 9)])
    corpus.stage("a.mp4", b"clip a")
    corpus.ingest()
    return corpus


def puts(bucket: Bucket) -> list[str]:
    return [path.partition("/vqa/")[2] for method, path in bucket.server.asked if method == "PUT"]


def test_files_go_before_the_manifest_that_names_them_and_nothing_else_goes(
    corpus: SmallCorpus, bucket: Bucket
) -> None:
    seen: list[bool] = []

    def look(method: str, path: str) -> None:
        there = bucket.keys()
        if f"vqa/{MANIFEST}" in there:
            seen.append({f"vqa/{JSONL}", f"vqa/{LOSSES}"} <= set(there))

    bucket.server.before = look
    result = mirror(corpus.root, bucket.open("vqa"))
    assert sorted(result.put) == bucket_keys(bucket) == [JSONL, LOSSES, MANIFEST]
    assert puts(bucket)[-1] == MANIFEST
    assert seen
    assert all(seen)
    for key in result.put:
        assert bucket.content(f"vqa/{key}") == (corpus.root.path / key).read_bytes()


def bucket_keys(bucket: Bucket) -> list[str]:
    return [key.removeprefix("vqa/") for key in sorted(bucket.keys())]


def test_what_is_equal_by_the_manifests_hashes_is_skipped(corpus: SmallCorpus, bucket: Bucket) -> None:
    mirror(corpus.root, bucket.open("vqa"))
    bucket.server.forget()
    again = mirror(corpus.root, bucket.open("vqa"))
    assert (again.put, sorted(again.equal)) == ([], [JSONL, LOSSES, MANIFEST])
    assert puts(bucket) == []
    # Another manifest of the same rows: the files stay, the manifest goes.
    corpus.ingest(rescan=True)
    assert mirror(corpus.root, bucket.open("vqa")).put == [MANIFEST]
    corpus.annotate([("a.mp4", "", 4, 0.5, 9), ("gone.mp4", "", 3, 0.5, 9)])
    corpus.ingest()
    assert mirror(corpus.root, bucket.open("vqa")).put == [JSONL, MANIFEST]


def test_an_object_of_the_same_size_that_somebody_replaced_is_found_by_reading(
    corpus: SmallCorpus, bucket: Bucket
) -> None:
    mirror(corpus.root, bucket.open("vqa"))
    bucket.put(f"vqa/{JSONL}", bytes(len(bucket.content(f"vqa/{JSONL}"))))
    assert mirror(corpus.root, bucket.open("vqa")).put == []
    assert mirror(corpus.root, bucket.open("vqa"), reread=True).put == [JSONL]
    bucket.put(f"vqa/{JSONL}", b"longer or shorter")
    assert mirror(corpus.root, bucket.open("vqa")).put == [JSONL]


def test_a_copy_that_was_cut_short_leaves_no_manifest_before_its_file_and_goes_on(
    corpus: SmallCorpus, bucket: Bucket
) -> None:
    bucket.server.fault = lambda _server, method, path: "403" if method == "PUT" and path.endswith(LOSSES) else ""
    with pytest.raises(ObjectStoreError, match="403 AccessDenied"):
        mirror(corpus.root, bucket.open("vqa"))
    assert MANIFEST not in bucket_keys(bucket)
    bucket.server.forget()
    assert mirror(corpus.root, bucket.open("vqa")).whole
    assert bucket_keys(bucket) == [JSONL, LOSSES, MANIFEST]


def test_a_file_that_is_not_what_its_manifest_says_is_not_copied(
    corpus: SmallCorpus, bucket: Bucket, capsys: pytest.CaptureFixture[str]
) -> None:
    with (corpus.root.path / JSONL).open("ab") as rows:
        rows.write(b"\n")
    assert command.main([f"s3://{bucket.name}/vqa", "--root", str(corpus.root.path)]) == 1
    said = capsys.readouterr()
    assert "and not its manifest's" in said.err
    assert "1 artefacts were not copied" in said.out
    assert MANIFEST not in bucket_keys(bucket)


def test_a_manifest_that_is_torn_is_told_and_the_others_are_copied(corpus: SmallCorpus, bucket: Bucket) -> None:
    torn = corpus.root.path / "aggregated" / "unified_corpus.manifest.json"
    torn.parent.mkdir()
    torn.write_text('{"run_provenance": ')
    (corpus.root.path / "notes.json").write_text("somebody's own")
    result = mirror(corpus.root, bucket.open("vqa"))
    assert list(result.failed) == ["aggregated/unified_corpus.manifest.json"]
    assert "not JSON" in result.failed["aggregated/unified_corpus.manifest.json"]
    assert not result.whole
    assert MANIFEST in result.put


def test_a_store_that_gives_other_bytes_is_found_out(corpus: SmallCorpus, bucket: Bucket) -> None:
    def damage(method: str, path: str) -> None:
        if method == "GET" and path.endswith(JSONL):
            bucket.put(f"vqa/{JSONL}", b"rotten")

    bucket.server.before = damage
    result = mirror(corpus.root, bucket.open("vqa"))
    assert "the store gives other bytes" in result.failed[MANIFEST]
    assert MANIFEST not in bucket_keys(bucket)


def test_a_heads_card_goes_with_its_manifest(root_path: Path, bucket: Bucket) -> None:
    models = root_path / "models"
    models.mkdir()
    (models / "h_card.md").write_text("# card")
    provenance: dict[str, Any] = {"schema": "ai-run-provenance-v1", "outputs": {}}
    (models / "h.json").write_text(json.dumps({"run_provenance": provenance}))
    (models / "notes.json").write_text("{}")
    for put in (["models/h_card.md", "models/h.json"], []):
        assert mirror(DataRoot(root_path), bucket.open("vqa")).put == put


def test_the_command_says_what_it_did_and_refuses_what_is_no_store(
    corpus: SmallCorpus, bucket: Bucket, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main([f"s3://{bucket.name}/vqa/", "--root", str(corpus.root.path)]) == 0
    said = capsys.readouterr()
    assert f"s3://{bucket.name}/vqa: 3 files put, 0 equal" in said.out
    assert ACCESS_KEY not in said.out + said.err
    with pytest.raises(SystemExit) as ended:
        command.main(["s3://key:secret@bucket/x", "--root", str(corpus.root.path)])
    assert ended.value.code == 2
    assert "secret" not in capsys.readouterr().err
    assert command.main(["s3://no-such-bucket-here/x", "--root", str(corpus.root.path)]) == 1
    assert "there is no such bucket" in capsys.readouterr().err
