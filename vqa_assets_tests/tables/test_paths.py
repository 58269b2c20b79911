"""The data root: how it is found, and where everything in it lies."""

from pathlib import Path

import pytest

from vqa_assets.corpora.konvid_150k import KONVID_150K
from vqa_assets.errors import SettingsError
from vqa_assets.tables.paths import CODE, DataRoot, manifest_path


@pytest.fixture
def root(root_path):
    return DataRoot(root_path)


class TestResolve:
    """Given, else the environment's, else ``data`` here."""

    @pytest.fixture
    def folders(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        monkeypatch.delenv("VQA_DATA_ROOT", raising=False)
        for name in ("given", "environment", "data"):
            (tmp_path / name).mkdir()
        return tmp_path

    @pytest.mark.parametrize(
        ("given", "environment", "found"),
        [
            ("given", {"VQA_DATA_ROOT": "environment"}, "given"),
            (None, {"VQA_DATA_ROOT": "environment"}, "environment"),
            ("", {"VQA_DATA_ROOT": "environment"}, "environment"),
            (None, {"VQA_DATA_ROOT": ""}, "data"),
            (None, {}, "data"),
        ],
    )
    def test_the_first_that_is_said_wins(self, given, environment, found, folders):
        assert DataRoot.resolve(given, environment).path == folders / found

    def test_the_process_environment_is_read_when_none_is_given(self, folders, monkeypatch):
        monkeypatch.setenv("VQA_DATA_ROOT", str(folders / "environment"))
        assert DataRoot.resolve(None).path == folders / "environment"

    def test_the_home_folder_may_be_written_short(self, folders, monkeypatch):
        monkeypatch.setenv("HOME", str(folders))
        assert DataRoot.resolve("~/given", {}).path == folders / "given"

    def test_the_root_does_not_move_with_the_working_directory(self, folders, monkeypatch):
        root = DataRoot.resolve("given", {})
        monkeypatch.chdir("/")
        assert root.path == folders / "given"

    @pytest.mark.parametrize(
        ("given", "environment", "origin", "path"),
        [
            ("gone", {}, "data root", "gone"),
            (None, {"VQA_DATA_ROOT": "gone"}, "$VQA_DATA_ROOT", "gone"),
            (None, {}, "default data root", "data"),
        ],
    )
    def test_a_root_that_is_not_there_says_who_named_it_and_how_to_make_it(
        self, given, environment, origin, path, folders
    ):
        (folders / "data").rmdir()
        with pytest.raises(SettingsError) as caught:
            DataRoot.resolve(given, environment)
        assert str(caught.value) == (
            f"{origin} {folders / path}: found nothing there, expected an existing folder; "
            f"make it (vqa-assets init {folders / path}) or set VQA_DATA_ROOT to the folder that holds the corpora"
        )

    def test_a_file_is_no_root(self, folders):
        (folders / "file").write_text("")
        with pytest.raises(SettingsError, match="not a folder, expected an existing folder; set VQA_DATA_ROOT"):
            DataRoot.resolve("file", {})


@pytest.mark.parametrize(
    ("asked", "path"),
    [
        ("corpus_dir", "konvid-150k"),
        ("ingest_toml", "konvid-150k/ingest.toml"),
        ("corpus_jsonl", "konvid-150k/konvid_150k.jsonl"),
        ("features", "konvid-150k/features.parquet"),
        ("feature_cache", "konvid-150k/.feature-cache.sqlite"),
        ("labelled", "konvid-150k/features_with_mos.parquet"),
        ("labelled_audit", "konvid-150k/features_with_mos.audit.json"),
    ],
)
def test_a_corpuss_files_lie_where_the_contract_says(asked, path, root):
    assert getattr(root, asked)(KONVID_150K) == root.path / path


def test_the_shared_files_lie_where_the_contract_says(root):
    assert root.unified_corpus() == root.path / "aggregated/unified_corpus.jsonl"
    assert root.models() == root.path / "models"


def test_an_older_jsonl_is_found_where_only_it_exists(root):
    folder = root.path / "konvid-150k"
    folder.mkdir()
    (folder / "konvid-150k.jsonl").write_text("")
    assert root.corpus_jsonl(KONVID_150K).name == "konvid-150k.jsonl"
    (folder / "konvid_150k.jsonl").write_text("")
    assert root.corpus_jsonl(KONVID_150K).name == "konvid_150k.jsonl"


@pytest.mark.parametrize(
    ("artefact", "manifest"),
    [
        ("a/konvid_150k.jsonl", "a/konvid_150k.manifest.json"),
        ("features.parquet", "features.manifest.json"),
        ("x.y.jsonl", "x.y.manifest.json"),
    ],
)
def test_a_replay_manifest_lies_beside_its_artefact(artefact, manifest):
    assert manifest_path(Path(artefact)) == Path(manifest)


class TestShown:
    """Paths for people and manifests, there and back."""

    @pytest.fixture(autouse=True)
    def home(self, tmp_path, monkeypatch):
        (tmp_path / "home").mkdir()
        monkeypatch.setenv("HOME", str(tmp_path / "home"))
        return tmp_path / "home"

    def test_a_path_is_relative_to_the_root_then_the_code_then_home(self, root, home):
        assert root.shown(root.path / "a/b.jsonl") == "a/b.jsonl"
        assert root.shown(root.path) == "."
        assert root.shown(CODE / "vqa_assets/errors.py") == "vqa_assets/errors.py"
        assert root.shown(home / "x") == "~/x"
        assert root.shown(home) == "~"
        assert root.shown(Path("/etc/hosts")) == "/etc/hosts"

    def test_a_relative_path_is_taken_from_the_working_directory(self, root, monkeypatch):
        monkeypatch.chdir(root.path)
        assert root.shown(Path("a/b")) == "a/b"

    def test_what_was_shown_is_found_again(self, root, home):
        (root.path / "a").mkdir()
        for path in (
            root.path / "a",
            root.path / "gone",
            CODE / "vqa_assets" / "errors.py",
            home / "x",
            Path("/etc/x"),
        ):
            assert root.located(root.shown(path)) == path
