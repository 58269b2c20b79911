"""The commands of a page, typed in its order: tests run them as they stand there, pictures are taken between them.

A command of ours runs in this process, which saves the seconds of a start; any other is the shell's.
"""

import contextlib
import io
import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from vqa_assets.command import main

PROGRAM = ".venv/bin/vqa-assets"
_BLOCK = r"^ *```(?P<language>[^\n]*)\n(?P<block>.*?)^ *```$"
_PART = re.compile(_BLOCK + r"|^!\[[^\]]*\]\((?P<picture>[^)]+)\)", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Part:
    """What a reader comes to next: a command to type, or a picture."""

    command: str = ""
    picture: str = ""


def blocks_of(text: str, *languages: str) -> list[str]:
    """The fenced blocks of a page in one of these languages; the empty one is that of a block that names none."""
    found = re.findall(_BLOCK, text, re.DOTALL | re.MULTILINE)
    return [block for language, block in found if language in languages]


def parts_of(text: str) -> Iterator[Part]:
    """The commands of the blocks that name no language, line by line, and the pictures, in the page's order."""
    for found in _PART.finditer(text):
        if found["picture"]:
            yield Part(picture=Path(found["picture"]).stem)
        if found["picture"] or found["language"]:
            continue
        for line in re.sub(r"\\\n\s*", " ", found["block"]).splitlines():
            # The rest of a line is for the reader.
            command = re.sub(r"\s+#.*$", "", line).strip()
            if command:
                yield Part(command=command)


def commands_of(text: str) -> list[str]:
    """Only the commands."""
    return [part.command for part in parts_of(text) if part.command]


def type_here(command: str) -> str:
    """Run a command in the current folder; what it prints.

    AssertionError where it fails: the commands of a page end with 0. Its variables are exported to those that follow.
    """
    if command.startswith("export "):
        name, _, value = command.removeprefix("export ").partition("=")
        os.environ[name] = os.path.expandvars(value.replace("$PWD", str(Path.cwd())))
        return ""
    if not command.startswith(f"{PROGRAM} "):
        done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
        assert done.returncode == 0, (command, done.stderr)
        return done.stdout
    printed = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True)
    with contextlib.redirect_stdout(printed):
        try:
            status = main(shlex.split(command)[1:])
        except SystemExit as ended:  # argparse's way to end
            status = int(ended.code or 0)
    printed.seek(0)
    text = printed.read()
    assert status == 0, (command, text)
    return text
