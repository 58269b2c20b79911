"""What a run says of itself in a replay manifest, how loud it is, and how what the disk refuses reads."""

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from vqa_assets.clips.processes import run
from vqa_assets.errors import VqaError
from vqa_assets.tables.content_errors import library_words
from vqa_assets.tables.files import fault_of, refusal_of
from vqa_assets.tables.paths import CODE
from vqa_assets.tables.publication import published_count, what_stands

WEBHOOK_NAME = "VQA_FAILURE_WEBHOOK"
_GIT_LIMIT_S = 10
# As JSON, YAML or a query has it; an escaped quote is part of a value.
_WEBHOOK = re.compile(r"""(?P<key>webhook\w*\\*["']?\s*[:=]\s*\\*["']?)[^"'\s,}\\]+""", re.IGNORECASE)


def public_arguments(arguments: Sequence[str], environment: Mapping[str, str]) -> tuple[str, ...]:
    """A command line without what is nobody's business.

    That are the objects that Dagster hands its own processes (they may hold a database's password), and addresses of
    webhooks, whose path is their secret, wherever a run config or the environment has them.
    """
    known = environment.get(WEBHOOK_NAME)

    def public_one(argument: str) -> str:
        if '"__class__"' in argument:
            return "<dagster object>"
        argument = argument.replace(known, "<webhook>") if known else argument
        return _WEBHOOK.sub(lambda match: f"{match['key']}<webhook>", argument)

    return tuple(map(public_one, arguments))


@cache
def git_state() -> Mapping[str, Any]:
    """{commit, dirty} of the checkout the code runs from; empty where it is no checkout, or git is not there."""
    commit = _git("rev-parse", "HEAD")
    # An installed package may lie below a checkout of something else, whose commit says nothing of this code.
    if commit is None or not (CODE / ".git").exists():
        return {}
    return {"commit": commit, "dirty": bool(_git("status", "--porcelain"))}


def _git(*arguments: str) -> str | None:
    try:
        done = run(["git", "-C", str(CODE), *arguments], limit_s=_GIT_LIMIT_S)
    except OSError:
        return None
    return done.output.decode("utf-8", "replace").strip() if done.status == 0 else None


@contextmanager
def faults_in_words() -> Iterator[None]:
    """Turn what a disk refuses, and content that a library cannot read, into a ``VqaError``; other errors pass."""
    before = published_count()
    try:
        with library_words():
            yield
    except OSError as error:
        code = fault_of(error)
        if code is None:
            raise
        refusal = refusal_of(code, Path(error.filename) if error.filename else None)
        raise VqaError(
            refusal.what,
            found=error.strerror or str(error),
            expected=refusal.expected,
            next_step=f"{refusal.remedy}, then run again: {what_stands(before)}",
        ) from error


@contextmanager
def log_level(level: str) -> Iterator[None]:
    """Log from ``level`` on while the block runs."""
    logger = logging.getLogger("vqa_assets")
    before = logger.level
    logger.setLevel(level)
    try:
        yield
    finally:
        logger.setLevel(before)
