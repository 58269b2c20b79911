"""A shared folder is replaced as a whole or not at all, and never one that is not ours as we wrote it."""

import errno
import os
from pathlib import Path

import pytest

from vqa_assets.errors import SchemaError, SharingError
from vqa_assets.sharing import folder
from vqa_assets.sharing.folder import RECORD, publishing_folder
from vqa_assets_tests.shared.kills import KILLED, killed_at


def made(place: Path, *, exchange: bool = True, **files: str) -> None:
    """Publish a folder of these files, with a folder inside."""
    with pytest.MonkeyPatch.context() as patch:
        if not exchange:
            patch.setattr(folder, "_exchanged", lambda *_: False)
        with publishing_folder(place, "a test") as draft:
            for name, content in files.items():
                draft.write(f"data/{name}.txt", content.encode())


def held(place: Path) -> dict[str, str]:
    return {path.stem: path.read_text() for path in sorted(place.rglob("*.txt"))}


@pytest.mark.parametrize("exchange", [True, False], ids=["exchanged", "in two steps"])
def test_a_folder_of_ours_is_replaced_whole_and_nothing_is_left_beside_it(exchange: bool, tmp_path: Path) -> None:
    place = tmp_path / "deep" / "shared"
    made(place, exchange=exchange, a="1", b="2")
    link = tmp_path / "link"
    link.symlink_to(place)
    made(link, exchange=exchange, b="3")
    assert held(place) == {"b": "3"}
    assert sorted(path.name for path in place.iterdir()) == ["data", RECORD]
    assert [path.name for path in place.parent.iterdir()] == ["shared"]


@pytest.mark.parametrize("exchange", [True, False], ids=["exchanged", "in two steps"])
def test_after_an_error_or_a_kill_the_earlier_folder_stands(exchange: bool, tmp_path: Path) -> None:
    place = tmp_path / "shared"
    made(place, a="1")
    with pytest.raises(NotADirectoryError), publishing_folder(place, "a test") as draft:
        draft.copy("a.txt", tmp_path / "shared" / RECORD / "x")
    assert held(place) == {"a": "1"}
    # In two steps the second call has the new folder at its place: a kill before it leaves nothing there.
    assert (
        killed_at(*(("fsync", 3) if exchange else ("replace", 2)), lambda: made(place, exchange=exchange, a="2"))
        == KILLED
    )
    assert place.exists() == exchange
    with pytest.raises(NotADirectoryError), publishing_folder(place, "a test") as draft:
        draft.copy("a.txt", tmp_path / "shared" / RECORD / "x")
    assert held(place) == {"a": "1"}
    assert [path.name for path in tmp_path.iterdir()] == ["shared"]


def test_what_a_disk_refuses_names_the_folder_and_what_helps(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("a file")
    with pytest.raises(SharingError, match=r"file/below cannot be written: File exists.*free space, mend the"):
        made(tmp_path / "file" / "below", a="1")
    with (
        pytest.raises(SharingError, match="shared cannot be written: No space left"),
        publishing_folder(tmp_path / "shared", "a test") as draft,
    ):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(draft.path / "a.txt"))
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_what_is_not_ours_or_was_changed_is_refused_by_name_and_stays(tmp_path: Path) -> None:
    def refused(place: Path, found: str) -> None:
        before = held(place) if place.is_dir() else place.read_text()
        with pytest.raises((SharingError, SchemaError), match=found):
            made(place, a="2")
        assert (held(place) if place.is_dir() else place.read_text()) == before

    foreign, ours, file, empty = (tmp_path / name for name in ("foreign", "ours", "file", "empty"))
    foreign.mkdir()
    (foreign / "thesis.txt").write_text("years of work")
    refused(foreign, r"a folder of something else \(thesis.txt\)")
    file.write_text("a file")
    refused(file, "no folder")
    empty.mkdir()
    made(empty, a="1")
    assert held(empty) == {"a": "1"}
    made(ours, a="1", b="1")
    (ours / "notes.txt").write_text("mine")
    refused(ours, "our folder with notes.txt added since")
    (ours / "notes.txt").unlink()
    (ours / "data" / "link").symlink_to(foreign)
    refused(ours, "our folder with data/link added since")
    (ours / "data" / "link").unlink()
    (ours / "data" / "a.txt").write_text("2")
    refused(ours, "our folder with data/a.txt changed since")
    (ours / "data" / "a.txt").unlink()
    made(ours, a="3")  # what somebody removed is no loss
    assert held(ours) == {"a": "3"}
    (ours / RECORD).write_text("{")
    refused(ours, "not JSON")
