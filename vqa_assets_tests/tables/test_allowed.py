"""Which paths a run config may name, for reading and for writing."""

import os

import pytest

from vqa_assets.errors import SettingsError
from vqa_assets.tables.allowed import ALLOW_NAME, AllowedPlaces
from vqa_assets.tables.paths import DataRoot


@pytest.fixture
def root(tmp_path):
    path = tmp_path / "data"
    (path / "lsvq").mkdir(parents=True)
    (tmp_path / "disk" / "inner").mkdir(parents=True)
    (tmp_path / "secrets").mkdir()
    return DataRoot(path)


def places(root, **environment):
    return AllowedPlaces.of(root, environment=environment)


def refused(places, path, *, written=False):
    with pytest.raises(SettingsError) as error:
        places.check("lsvq: output", path, written=written)
    return error.value


class TestReading:
    def test_a_path_in_the_root_is_allowed_whether_anything_is_there_or_not(self, root):
        for name in ("lsvq/scores.csv", "lsvq/../konvid-1k/x.csv", ".", "new/folder/x"):
            places(root).check("inputs", root.path / name)

    def test_the_refusal_names_path_root_and_variable(self, root, tmp_path):
        error = refused(places(root), tmp_path / "secrets" / "x.csv")
        assert error.what == "lsvq: output"
        assert f"{tmp_path}/secrets/x.csv, which lies outside the data root {root.path}" in str(error)
        assert f"set {ALLOW_NAME} to folders separated by ':'" in error.next_step

    def test_dots_lead_out_of_nothing(self, root):
        for name in ("../secrets/x", "lsvq/../../secrets/x", "../data-2/x", "../datax"):
            refused(places(root), root.path / name)

    def test_listed_folders_are_allowed_and_their_neighbours_are_not(self, root, tmp_path):
        both = places(root, **{ALLOW_NAME: f"{tmp_path}/disk{os.pathsep}{tmp_path}/other"})
        both.check("inputs", tmp_path / "disk" / "inner" / "x.csv")
        both.check("inputs", tmp_path / "other")
        refused(both, tmp_path / "disk2")
        refused(both, tmp_path / "disk" / ".." / "secrets")

    def test_an_empty_entry_is_not_the_working_folder(self, root, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        refused(places(root, **{ALLOW_NAME: os.pathsep}), tmp_path / "secrets")
        places(root, **{ALLOW_NAME: "~nobody-of-that-name/x"}).check("inputs", root.path)

    def test_relative_paths_are_from_the_working_folder(self, root, tmp_path, monkeypatch):
        from pathlib import Path

        monkeypatch.chdir(root.path)
        places(root).check("inputs", Path("lsvq/scores.csv"))
        monkeypatch.chdir(tmp_path)
        refused(places(root), Path("scores.csv"))

    def test_a_link_of_the_root_leads_where_it_leads_and_no_further(self, root, tmp_path):
        (root.path / "lsvq" / "clips").symlink_to(tmp_path / "disk")
        (tmp_path / "disk" / "away").symlink_to(tmp_path / "secrets")
        here = places(root)
        here.check("inputs", root.path / "lsvq" / "clips" / "inner" / "x.mp4")
        here.check("output", root.path / "lsvq" / "clips" / "x.jsonl", written=True)
        refused(here, root.path / "lsvq" / "clips" / "away" / "x")
        refused(here, root.path / "lsvq" / "clips" / ".." / "secrets" / "x")
        # The link allows what is reached through it; what it leads to is not allowed by its own name.
        refused(here, tmp_path / "disk" / "inner")

    def test_a_link_outside_the_root_allows_nothing(self, root, tmp_path):
        (tmp_path / "disk" / "in").symlink_to(root.path)
        (tmp_path / "disk" / "out").symlink_to(tmp_path / "secrets")
        here = places(root)
        here.check("inputs", tmp_path / "disk" / "in" / "lsvq")  # it lies in the root, however it is spelled
        refused(here, tmp_path / "disk" / "in" / ".." / "secrets")
        refused(places(root, **{ALLOW_NAME: f"{tmp_path}/disk"}), tmp_path / "disk" / "out" / "x")

    def test_a_root_that_is_a_link_is_the_root(self, root, tmp_path):
        (tmp_path / "link").symlink_to(root.path)
        there = places(DataRoot(tmp_path / "link"))
        there.check("output", tmp_path / "link" / "lsvq" / "x.jsonl", written=True)
        there.check("output", root.path / "lsvq" / "x.jsonl", written=True)
        refused(there, tmp_path / "link" / "corpora" / "x.json", written=True)

    def test_a_circle_of_links_is_refused_or_stays_inside(self, root, tmp_path):
        (root.path / "round").symlink_to(root.path / "round")
        (tmp_path / "round").symlink_to(tmp_path / "round")
        places(root).check("inputs", root.path / "round")
        refused(places(root), tmp_path / "round")


class TestWriting:
    @pytest.mark.parametrize(
        ("name", "why"),
        [
            ("lsvq/ingest.toml", "a .toml file"),
            ("x.TOML", "a .toml file"),
            ("lsvq/.ingest-cache.sqlite", "hidden"),
            (".dagster/dagster.yaml", "hidden"),
            ("lsvq/../.dagster/x", "hidden"),
            (".git/hooks/pre-commit", "hidden"),
            ("corpora/mine.json", "which only an operator writes to"),
            ("backbones/net.onnx", "which only an operator writes to"),
            ("", "the data root itself"),
        ],
    )
    def test_what_steers_the_platform_is_never_written(self, root, name, why):
        path = root.path / name
        assert why in refused(places(root), path, written=True).found
        places(root).check("inputs", path)

    def test_names_that_only_look_like_it_are_written(self, root):
        for name in ("lsvq/corpora/x.json", "my-backbones/x", ".workingdir2/x.jsonl", "lsvq/x.toml.json"):
            places(root).check("output", root.path / name, written=True)

    def test_a_link_hides_nothing(self, root, tmp_path):
        (root.path / "corpora").mkdir()
        (root.path / "plain").symlink_to(root.path / "corpora")
        (root.path / "plain.json").symlink_to(root.path / "lsvq" / "ingest.toml")
        (root.path / "backbones").symlink_to(tmp_path / "disk")
        for name in ("plain/x.json", "plain.json", "backbones/x.json"):
            refused(places(root), root.path / name, written=True)

    def test_the_folders_that_variables_name_are_kept_too(self, root, tmp_path):
        home, declared = root.path / "home", tmp_path / "disk" / "declared"
        here = places(
            root, DAGSTER_HOME=f"{home}", VQA_CORPORA_DIR=f"{declared}", **{ALLOW_NAME: str(tmp_path / "disk")}
        )
        refused(here, home / "x.json", written=True)
        refused(here, declared / "x.json", written=True)
        here.check("output", tmp_path / "disk" / "x.json", written=True)
        # A root that lies in such a folder is no part of it.
        places(root, DAGSTER_HOME=f"{tmp_path}").check("output", root.path / "lsvq" / "x.json", written=True)

    def test_hidden_folders_above_an_allowed_one_do_not_count(self, tmp_path):
        root = DataRoot(tmp_path / ".hidden" / "data")
        root.path.mkdir(parents=True)
        places(root).check("output", root.path / "lsvq" / "x.jsonl", written=True)


def test_a_wider_root_that_a_run_names_opens_no_folder_of_the_operators_root(root, tmp_path):
    wider = AllowedPlaces.of(
        DataRoot(tmp_path), environment={"VQA_DATA_ROOT": str(root.path), ALLOW_NAME: str(tmp_path)}
    )
    wider.check("output", tmp_path / "x.jsonl", written=True)
    for name in ("corpora", "backbones"):
        refused(wider, root.path / name / "x.jsonl", written=True)
        refused(wider, tmp_path / name / "x.jsonl", written=True)
