"""What has no end one could wait for (a pipe, a device) in the place of a file is told, and nobody waits for it."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from vqa_assets.corpora.declarations import read_declaration
from vqa_assets.encode_grid.grid_files import list_inputs
from vqa_assets.errors import IngestError, SchemaError, SettingsError
from vqa_assets.heads.rows.display import read_profile
from vqa_assets.ingest.settings import read_toml
from vqa_assets.overview import status_of
from vqa_assets.tables.files import no_file_at, read_json_lines, read_json_object
from vqa_assets.tables.lock import LOCK_NAME, is_corpus_locked
from vqa_assets.tables.paths import DataRoot
from vqa_assets_tests.shared.fakes import KONVID, SmallCorpus


@pytest.fixture(autouse=True)
def no_waiting() -> Iterator[None]:
    """An error in place of a reader that waits for a pipe's other end."""

    def late(*_: object) -> None:
        raise AssertionError("it waits for the pipe")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(300)  # a loaded machine imports slowly; only a reader that waits takes it
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def corpus(root_path: Path) -> SmallCorpus:
    small = SmallCorpus(DataRoot(root_path))
    small.annotate([("a.mp4", "", 3, 0.5, 5)])
    small.stage("a.mp4", b"a")
    small.ingest()
    return small


def piped(path: Path) -> Path:
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    return path


@pytest.mark.parametrize("kind", ["a named pipe", "a device"])
def test_readers_say_what_stands_there(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "x.json"
    if kind == "a device":
        path.symlink_to("/dev/zero")
    else:
        os.mkfifo(path)
    assert no_file_at(path) == kind
    for read in (read_json_object, lambda one: list(read_json_lines(one))):
        with pytest.raises(SchemaError) as refused:
            read(path)
        assert refused.value.found == kind
    with pytest.raises(SettingsError) as not_read:
        read_profile(path)
    assert not_read.value.found == kind
    for read in (read_toml, read_declaration):
        with pytest.raises(SettingsError, match="no file is there"):
            read(path)
    assert list_inputs(tmp_path, tmp_path / "none.jsonl").unreadable == (path,)


def test_files_folders_nothing_and_an_empty_toml_are_left_to_their_readers(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert [no_file_at(tmp_path / name) for name in ("file", "", "none")] == ["", "", ""]
    assert read_toml(Path(os.devnull)) == {}


@pytest.mark.parametrize("name", ["konvid_150k.jsonl", ".download-progress.json", ".download-progress.log"])
def test_an_ingest_refuses_a_pipe_in_the_place_of_what_it_kept(corpus: SmallCorpus, name: str) -> None:
    path = piped(corpus.folder / name)
    with pytest.raises(IngestError) as refused:
        corpus.ingest()
    assert (refused.value.what, refused.value.found) == (str(path), "a named pipe")
    assert path.is_fifo()


@pytest.mark.parametrize("name", ["konvid_150k.manifest.json", ".konvid_150k.jsonl.published.json"])
def test_what_an_ingest_writes_anew_takes_the_place_of_a_pipe(corpus: SmallCorpus, name: str) -> None:
    path = piped(corpus.folder / name)
    status_of(KONVID, corpus.root)
    assert corpus.ingest().report.unchanged == 1
    assert path.is_file()


def test_a_lock_is_never_waited_for_and_a_link_in_its_place_is_told(corpus: SmallCorpus) -> None:
    lock = piped(corpus.folder / LOCK_NAME)
    assert not is_corpus_locked(corpus.folder)
    lock.unlink()
    lock.symlink_to("elsewhere")  # a tree of links, as cp -s makes it
    with pytest.raises(IngestError, match="move away what stands there"):
        corpus.ingest()
