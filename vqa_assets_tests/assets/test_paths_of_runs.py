"""What a run config may read and write: every path of every stage, the data root itself, and what the operator says."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from vqa_assets.assets.run_config import stated
from vqa_assets.corpora import CORPORA
from vqa_assets.errors import SettingsError
from vqa_assets.ingest.layout import check_paths_of_run
from vqa_assets.ingest.settings import IngestSettings, resolve
from vqa_assets.settings import Settings
from vqa_assets.tables.allowed import ALLOW_NAME
from vqa_assets.tables.paths import DataRoot
from vqa_assets_tests.assets.test_launchpad import STAGES
from vqa_assets_tests.shared.fakes import SmallCorpus
from vqa_assets_tests.shared.platform import Platform, failure

LSVQ = CORPORA["lsvq"]
WRITTEN = {"corpus_dir", "output", "manifest_out", "progress_path", "out", "audit_json", "report_json", "report_md"}
NO_PATHS = {"clips_subdir", "corpus_source_overrides", "mos_scales"}
"""A name below the corpus folder, judged with it; and tables whose keys are compared with paths that are stated."""


@pytest.fixture
def root(root_path: Path, monkeypatch: pytest.MonkeyPatch) -> DataRoot:
    """A data root beside which nothing is allowed."""
    monkeypatch.delenv(ALLOW_NAME)
    return DataRoot(root_path)


def as_stated(stage: type[Settings], name: str, path: str) -> object:
    """The setting's value that names the path, in the shape that the setting has; None where it takes no path."""
    for value in (path, [path], {"lsvq": path}):
        try:
            settings = stage.of({name: value}, "")
        except (SettingsError, AttributeError):
            continue
        if settings.named_paths():
            return value
    return None


def named(stage: type[Settings]) -> Iterator[tuple[str, object]]:
    for name in stage.model_fields:
        if (value := as_stated(stage, name, "/somewhere/x.parquet")) is not None:
            yield name, value


PATHS = [(stage, name) for stage in dict.fromkeys(STAGES.values()) for name, _ in named(stage)]


def judged(stage: type[Settings], root: DataRoot, values: Mapping[str, Any]) -> None:
    """What a run with these values is told before it begins."""
    if stage is IngestSettings:
        check_paths_of_run(resolve(LSVQ, values, root.ingest_toml(LSVQ)), LSVQ, root)
    else:
        stated(stage, dg.build_op_context(op_config=dict(values)), root)  # type: ignore[arg-type]


@pytest.mark.parametrize(("stage", "name"), PATHS, ids=lambda one: one if isinstance(one, str) else one.__name__)
def test_every_path_of_every_stage_is_judged(stage: type[Settings], name: str, root: DataRoot) -> None:
    def refused(path: Path) -> str:
        with pytest.raises(SettingsError) as error:
            judged(stage, root, {name: as_stated(stage, name, str(path))})
        return str(error.value)

    message = refused(root.path.parent / "x.parquet")
    assert name in message.partition(": found")[0]
    assert f"outside the data root {root.path}" in message
    assert f"set {ALLOW_NAME}" in message
    judged(stage, root, {name: as_stated(stage, name, str(root.path / "lsvq" / "x.parquet"))})
    kept = root.path / "corpora" / "x.parquet"
    if name in WRITTEN:
        assert "only an operator writes to" in refused(kept)
    else:
        judged(stage, root, {name: as_stated(stage, name, str(kept))})


def test_no_setting_takes_a_path_that_is_not_known_to_be_one() -> None:
    words = ("Folder", "File", "file", "JSON", "Path", "path", "table", "Table", "Report", "Audit")
    known = {(stage, name) for stage, name in PATHS}
    for stage in set(STAGES.values()):
        for name, told in stage.help().items():
            kind = str(stage.model_fields[name].annotation)
            if "str" in kind and any(word in told.sentence for word in words):
                of_columns = "olumn" in told.sentence or "label" in told.sentence or name == "mos_scale"
                assert (stage, name) in known or name in NO_PATHS or of_columns, f"{stage.__name__}.{name}: {told}"


def test_a_refused_run_fails_and_reads_and_writes_nothing(root: DataRoot) -> None:
    outside = root.path.parent / "corpus"
    SmallCorpus(DataRoot(root.path.parent)).annotate([("a.mp4", "", 3, 0.5, 5)])
    with dg.DagsterInstance.ephemeral() as instance:
        platform = Platform(root.path, instance)
        told = failure(platform.run("corpus_jsonl", partition="konvid-150k", corpus_dir=str(outside)))
        assert told.startswith(f"konvid-150k: corpus_dir: {outside}, which lies outside the data root {root.path}, ")
        assert "a folder that VQA_ALLOW_PATHS lists; set VQA_ALLOW_PATHS to folders separated by ':'" in told
        assert not outside.exists()
        told = failure(platform.run("unified_corpus", output=str(root.path / "lsvq" / "ingest.toml")))
        assert "a .toml file, which holds settings or a declaration" in told
        assert list(root.path.rglob("ingest.toml")) == []


def test_a_run_config_names_no_other_data_root(root: DataRoot, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VQA_DATA_ROOT", str(root.path))
    monkeypatch.setenv("DAGSTER_HOME", str(root.path / "home"))
    other = root.path.parent / "other"
    other.mkdir()
    with dg.DagsterInstance.ephemeral() as instance:
        platform = Platform(root.path, instance)

        def run_on(path: Path) -> str:
            return failure(platform.run("unified_corpus", resource_config={"data_root": {"path": str(path)}}))

        told = run_on(other)
        assert told.startswith(f"resources: data_root: path: {other}, which lies outside the data root {root.path}")
        assert list(other.iterdir()) == []
        assert "no input JSONL files exist" in run_on(root.path)
        for name, why in ((".dagster", "hidden"), ("corpora", "in "), ("backbones/x", "in "), ("home", "in ")):
            (root.path / name).mkdir(parents=True)
            assert f"{root.path / name}, which is {why}" in run_on(root.path / name)
        for missing in ("~nobody-of-that-name/x", "x" * 300, "a\0b"):
            assert ": found nothing there, expected an existing folder" in run_on(Path(missing))
        monkeypatch.setenv(ALLOW_NAME, str(other))
        assert "no input JSONL files exist" in run_on(other)


class TestIngest:
    def test_what_ingest_toml_names_is_the_operators_and_its_folder_is_open_to_runs(self, root: DataRoot) -> None:
        disk = root.path.parent / "disk"
        root.corpus_dir(LSVQ).mkdir()
        root.ingest_toml(LSVQ).write_text(f'corpus_dir = "{disk}"\noutput = "{disk}/.hidden/rows.jsonl"\n')
        judged(IngestSettings, root, {})
        judged(IngestSettings, root, {"manifest_csv": f"{disk}/other.csv", "output": f"{disk}/mine.jsonl"})
        with pytest.raises(SettingsError, match="lies outside the data root"):
            judged(IngestSettings, root, {"manifest_csv": f"{disk}-2/other.csv"})

    def test_the_progress_file_may_be_named_where_it_lies_and_no_other_hidden_file(self, root: DataRoot) -> None:
        folder = root.corpus_dir(LSVQ)
        judged(IngestSettings, root, {"progress_path": f"{folder}/.download-progress.json"})
        for name in (".ingest-cache.sqlite", "../konvid-1k/.download-progress.json"):
            with pytest.raises(SettingsError, match="hidden"):
                judged(IngestSettings, root, {"progress_path": f"{folder}/{name}"})

    @pytest.mark.parametrize(
        "values",
        [
            {"clips_subdir": "/etc"},
            {"corpus_dir": "<root>", "clips_subdir": "corpora"},
            {"corpus_dir": "<root>/x", "clips_subdir": ".git"},
            {"corpus_dir": "<root>"},
            {"corpus_dir": "<root>/.dagster"},
        ],
    )
    def test_clips_are_fetched_into_no_folder_that_steers_the_platform(
        self, root: DataRoot, values: dict[str, str]
    ) -> None:
        with pytest.raises(SettingsError):
            judged(IngestSettings, root, {n: v.replace("<root>", str(root.path)) for n, v in values.items()})

    @pytest.mark.parametrize("suffix", [".toml", ".TOML", ".mp4.toml", ".jsonl", ".sqlite"])
    def test_no_clip_is_called_like_a_file_of_settings(self, root: DataRoot, suffix: str) -> None:
        with pytest.raises(SettingsError, match=r"a suffix such as \.mp4"):
            judged(IngestSettings, root, {"clip_suffix": suffix})


class TestBatch:
    def run(self, root: DataRoot, **config: object) -> str:
        with dg.DagsterInstance.ephemeral() as instance:
            return failure(Platform(root.path, instance).run("mos_label_batch", **config))

    def test_a_shipped_manifest_may_be_read_by_name_and_its_base_lies_in_the_root(self, root: DataRoot) -> None:
        name = "mos-label-batch-chug.json"
        assert "tables could not be labelled" in self.run(root, manifest=name, base_dir=str(root.path))
        assert "base_dir: " in self.run(root, manifest=name, base_dir=str(root.path.parent))
        assert "manifest: " in self.run(root, manifest=str(root.path.parent / name))

    def test_a_report_is_written_into_no_folder_that_steers_the_platform(self, root: DataRoot) -> None:
        (root.path / "corpora").mkdir()
        manifest = root.path / "corpora" / "batch.json"
        manifest.write_text('{"tables": [{"id": "a", "features": "a.csv", "labels": "b.csv", "out": "../c.parquet"}]}')
        told = self.run(root, manifest=str(manifest), base_dir=str(root.path / "lsvq"))
        assert "only an operator writes to" in told
        assert [path.name for path in (root.path / "corpora").iterdir()] == ["batch.json"]
