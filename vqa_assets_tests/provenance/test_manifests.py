"""Replay manifests: complete, the same each time, and silent about whoever ran them."""

import hashlib
import json
import math
from pathlib import Path

import pytest

from vqa_assets.provenance import (
    Manifest,
    RunContext,
    clean_url,
    content_version,
    file_record,
    packages,
    presentable,
    run_provenance,
    utc_text,
)
from vqa_assets.tables.paths import CODE, DataRoot
from vqa_assets.tables.publication import publishing
from vqa_assets_tests.shared.manifests import publish_manifest


@pytest.fixture
def home(tmp_path, monkeypatch):
    folder = tmp_path / "home" / "alice"
    folder.mkdir(parents=True)
    monkeypatch.setenv("HOME", str(folder))
    return folder


@pytest.fixture
def root(root_path, home):
    return DataRoot(root_path)


@pytest.fixture
def context(root):
    return RunContext(
        root=root,
        dagster={"run_id": "r1", "asset_key": "corpus_jsonl", "partition_key": None, "code_version": "1"},
        entrypoint=Path(__file__),
        argv=("dagster", f"--root={root.path}"),
        git={"commit": "abc", "dirty": False},
        devices=("a GPU",),
        started=1_700_000_000.7,
    )


@pytest.fixture
def manifest(root, home):
    (root.path / "in.csv").write_bytes(b"name,mos\n")
    (root.path / "out.jsonl").write_bytes(b"{}\n")
    (root.path / "clips").mkdir()
    return Manifest(
        schema="test-manifest-v1",
        body={"zebra": 1, "attrition": math.nan, "folder": root.path / "clips"},
        args={"output": {"value": root.path / "out.jsonl", "from": "default"}},
        inputs={
            "annotations": root.path / "in.csv",
            "clips": root.path / "clips",
            "gone": root.path / "gone",
            "outside": home / "x.csv",
        },
        outputs={"corpus": root.path / "out.jsonl"},
    )


class TestManifest:
    """The file beside the artefact."""

    def test_it_holds_everything_a_run_decided(self, manifest, context, root):
        shown = publish_manifest(root.path / "m.manifest.json", manifest, context)
        assert json.loads((root.path / "m.manifest.json").read_text()) == shown
        assert (shown["schema"], shown["zebra"], shown["attrition"]) == ("test-manifest-v1", 1, None)
        run = shown["run_provenance"]
        assert sorted(run) == [
            "args",
            "argv",
            "dagster",
            "duration_s",
            "entrypoint",
            "git",
            "host",
            "inputs",
            "outputs",
            "packages",
            "schema",
            "started_at_utc",
        ]
        assert run["schema"] == "ai-run-provenance-v1"
        assert run["entrypoint"]["path"] == "vqa_assets_tests/provenance/test_manifests.py"
        assert run["entrypoint"]["sha256"] == hashlib.sha256(Path(__file__).read_bytes()).hexdigest()
        assert run["started_at_utc"] == "2023-11-14T22:13:20+00:00"
        assert run["git"] == {"commit": "abc", "dirty": False}
        assert run["dagster"]["run_id"] == "r1"
        assert sorted(run["host"]) == ["cores", "devices", "processor"]
        assert run["duration_s"] > 0

    def test_inputs_and_outputs_are_told_by_path_hash_and_size(self, manifest, context):
        run = publish_manifest(context.root.path / "m.json", manifest, context)["run_provenance"]
        assert run["outputs"] == {
            "corpus": {
                "path": "out.jsonl",
                "kind": "file",
                "exists": True,
                "sha256": hashlib.sha256(b"{}\n").hexdigest(),
                "size_bytes": 3,
            }
        }
        assert run["inputs"]["clips"] == {"path": "clips", "kind": "dir", "exists": True}
        assert run["inputs"]["gone"] == {"path": "gone", "kind": "file", "exists": False}
        assert run["inputs"]["outside"]["path"] == "~/x.csv"

    def test_an_output_that_is_a_draft_yet_is_told_by_its_place_and_the_drafts_bytes(self, manifest, context, root):
        with publishing("test", root.path / "out.jsonl", "test-manifest-v1") as publication:
            publication.write(root.path / "out.jsonl", b"new")
            (told,) = presentable(run_provenance(publication, manifest, context), root)["outputs"].values()
        assert (told["path"], told["sha256"]) == ("out.jsonl", hashlib.sha256(b"new").hexdigest())

    def test_keys_are_sorted_at_every_depth(self, manifest, context, root):
        publish_manifest(root.path / "m.json", manifest, context)
        pairs = []
        json.loads((root.path / "m.json").read_text(), object_pairs_hook=lambda found: pairs.append(found) or 0)
        assert pairs
        assert all([k for k, _ in found] == sorted(k for k, _ in found) for found in pairs)

    def test_equal_runs_give_equal_bytes_but_for_the_duration(self, manifest, context, root):
        made = []
        for name in ("a.json", "b.json"):
            shown = publish_manifest(root.path / name, manifest, context)
            shown["run_provenance"].pop("duration_s")
            made.append(json.dumps(shown))
        assert made[0] == made[1]

    def test_neither_user_root_nor_environment_stands_in_it(self, manifest, context, root, home, monkeypatch):
        monkeypatch.setenv("SOME_TOKEN", "s3cr3t-value")
        monkeypatch.setenv("USER", "alice-the-user")
        publish_manifest(root.path / "m.json", manifest, context)
        text = (root.path / "m.json").read_text()
        for secret in ("s3cr3t-value", "alice", str(root.path), str(home), str(CODE)):
            assert secret not in text

    def test_a_manifest_that_cannot_be_written_leaves_the_earlier_one(self, manifest, context, root):
        path = root.path / "m.json"
        path.write_text("earlier")
        broken = Manifest("s", {"bad": object()}, {}, {}, {})
        with pytest.raises(TypeError):
            publish_manifest(path, broken, context)
        assert path.read_text() == "earlier"
        assert [p.name for p in root.path.iterdir() if p.name.endswith(".tmp")] == []


class TestPresentable:
    """What a manifest may show."""

    @pytest.mark.parametrize(
        ("given", "shown"),
        [
            ("{root}/konvid-150k/clips", "<root>/konvid-150k/clips"),
            ("--root={root}", "--root=<root>"),
            ("{root}: 3 rows", "<root>: 3 rows"),
            ("{root}-old/x", "{root}-old/x"),
            ("/mnt{root}/x", "/mnt{root}/x"),
            ("{home}/x and {home}", "~/x and ~"),
            ("'{home}'", "'~'"),
            ("{home}2/x", "{home}2/x"),
            ("{code}/vqa_assets/x.py", "<code>/vqa_assets/x.py"),
            ("file://{home}/x", "file://~/x"),
            ("plain words", "plain words"),
            ("1-5/acr", "1-5/acr"),
            ("https://user:pw@host.org:8080/a/b?token=1#frag", "https://host.org:8080/a/b"),
            ("from http://h/a?X-Amz-Signature=1 to https://t:k@h/b", "from http://h/a to https://h/b"),
            ("s3://key:secret@bucket/x?versionId=1", "s3://bucket/x"),
            ("postgresql://me:pw@db/x", "postgresql://db/x"),
            ("http://[bad/x?token=1", "http://…"),
        ],
    )
    def test_texts_show_no_private_folder_query_or_credential(self, given, shown, root, home):
        names = {"root": str(root.path), "home": str(home), "code": str(CODE)}
        assert presentable(given.format(**names), root) == shown.format(**names)

    def test_paths_are_relative_to_the_root_the_code_or_the_home_folder(self, root, home):
        given = [root.path / "a" / "b", CODE / "configs" / "x.json", home / "y", Path("/etc/x"), root.path, home]
        assert presentable(given, root) == ["a/b", "configs/x.json", "~/y", "/etc/x", ".", "~"]

    @pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
    def test_a_number_that_json_does_not_know_is_null(self, number, root):
        assert presentable({"a": [number, (1.5, number)]}, root) == {"a": [None, [1.5, None]]}

    def test_other_values_stay_as_they_are(self, root):
        assert presentable({1: True, "n": None, "i": 3, "f": 0.5}, root) == {"1": True, "n": None, "i": 3, "f": 0.5}

    def test_keys_are_shown_as_carefully_as_values(self, root, home):
        assert presentable({f"{home}/x": 1, root.path / "y": 2}, root) == {"~/x": 1, "<root>/y": 2}


def test_a_url_is_cut_to_scheme_host_and_path():
    assert clean_url("https://u:p@h:1/a/b;c?d=e#f") == "https://h:1/a/b;c"


def test_times_are_utc_in_whole_seconds():
    assert utc_text(0) == "1970-01-01T00:00:00+00:00"
    assert utc_text(1.9) == "1970-01-01T00:00:01+00:00"
    assert utc_text().endswith("+00:00")
    assert len(utc_text()) == 25


def test_a_data_version_is_the_hash_of_the_content_given():
    assert content_version([b"a\n", b"b\n"]) == hashlib.sha256(b"a\nb\n").hexdigest()[:32]
    assert content_version(iter([b"a\n", b"b\n"])) == content_version([b"a\n", b"b\n"])
    assert content_version([b"b\n", b"a\n"]) != content_version([b"a\n", b"b\n"])


def test_the_packages_that_decide_results_are_told_with_python():
    found = packages()
    assert {"python", "numpy", "pandas", "pyarrow"} <= set(found)
    assert all(found.values())


def test_a_link_is_told_by_what_it_leads_to(tmp_path):
    (tmp_path / "real").write_bytes(b"x")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (tmp_path / "dangling").symlink_to(tmp_path / "gone")
    assert file_record(tmp_path / "link")["sha256"] == hashlib.sha256(b"x").hexdigest()
    assert file_record(tmp_path / "dangling") == {"path": tmp_path / "dangling", "kind": "file", "exists": False}
