"""How failures are told, and that they survive the way between processes."""

import pickle

import pytest

from vqa_assets import errors
from vqa_assets.errors import ChildDiedError, ClipError, DownloadError, IngestError, VqaError


def every_class(base=VqaError):
    return [base, *(found for child in base.__subclasses__() for found in every_class(child))]


TOLD_IN_FOUR_PARTS = [kind for kind in every_class() if kind is not DownloadError]


@pytest.mark.parametrize(
    ("parts", "told"),
    [
        ({}, "lsvq"),
        ({"found": "40 rows"}, "lsvq: 40 rows"),
        ({"expected": "at least 1000"}, "lsvq: expected at least 1000"),
        ({"next_step": "drop the file"}, "lsvq; drop the file"),
        ({"found": "40 rows", "expected": "at least 1000"}, "lsvq: 40 rows, expected at least 1000"),
        ({"found": "40 rows", "next_step": "drop the file"}, "lsvq: 40 rows; drop the file"),
        (
            {"next_step": "is this the right corpus?", "expected": "at least 1000", "found": "40 rows"},
            "lsvq: 40 rows, expected at least 1000; is this the right corpus?",
        ),
    ],
)
def test_a_message_says_what_then_found_then_expected_then_next(parts, told):
    assert str(VqaError("lsvq", **parts)) == told


@pytest.mark.parametrize("kind", TOLD_IN_FOUR_PARTS)
def test_every_error_comes_back_from_another_process_with_all_its_parts(kind):
    error = kind("what", found="found", expected="expected", next_step="next")
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind
    assert str(again) == str(error) == "what: found, expected expected; next"
    assert (again.what, again.found, again.expected, again.next_step) == ("what", "found", "expected", "next")


@pytest.mark.parametrize(("permanent", "unreachable"), [(True, False), (False, True), (False, False)])
def test_a_download_error_comes_back_with_what_the_caller_decides_by(permanent, unreachable):
    again = pickle.loads(pickle.dumps(DownloadError("curl-rc=22", permanent=permanent, unreachable=unreachable)))
    assert type(again) is DownloadError
    assert (again.reason, again.permanent, again.unreachable) == ("curl-rc=22", permanent, unreachable)
    assert str(again) == "curl-rc=22"


def test_the_death_of_a_child_comes_back_with_what_the_caller_decides_by():
    again = pickle.loads(pickle.dumps(ChildDiedError("killed", crashed=True, memory_bytes=7, next_step="wait")))
    assert (type(again), str(again), again.crashed, again.memory_bytes) == (ChildDiedError, "killed; wait", True, 7)


def test_the_docstring_draws_the_whole_tree_and_nothing_else():
    drawn = {word for word in errors.__doc__.split() if word.endswith("Error")}
    assert drawn == {kind.__name__ for kind in every_class() if kind.__module__ == errors.__name__}


@pytest.mark.parametrize(
    ("kind", "parent"),
    [
        (errors.LockedError, IngestError),
        (errors.ServerGoneError, IngestError),
        (errors.BrokenClipError, ClipError),
        (errors.TransientClipError, ClipError),
        (errors.DownloadError, ClipError),
    ],
)
def test_a_clip_never_takes_the_run_with_it_nor_the_run_pass_for_a_clip(kind, parent):
    assert issubclass(kind, parent)
    assert not issubclass(kind, ClipError if parent is IngestError else IngestError)
