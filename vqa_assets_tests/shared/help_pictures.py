"""What ``--help`` of each command prints, as pictures for the README's tour: ``make pictures`` writes them.

An SVG holds its text as text, so that a test can tell whether it is still what the command prints.
"""

import contextlib
import io
import os
from pathlib import Path
from unittest import mock
from xml.etree import ElementTree

from rich.console import Console
from rich.text import Text
from typer.main import get_command

from vqa_assets.command import NAME, app, main
from vqa_assets_tests.shared.web_ui import REPOSITORY

FOLDER = REPOSITORY / "docs" / "pictures" / "help"
COMMANDS = tuple(get_command(app).commands)  # type: ignore[attr-defined]
_COLUMNS, _LINE_HEIGHT = 80, 24.4
# Rich's own form names fonts on the network, which a page with the picture would fetch, and draws a window around it.
_FORM = """\
<svg width="720" viewBox="0 0 {width} HEIGHT" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{ font-family: Menlo, Consolas, "DejaVu Sans Mono", monospace; font-size: {char_height}px; \
line-height: {line_height}px }}
{styles}
</style>
<defs>{lines}</defs>
<rect fill="#1f2328" width="100%" height="100%" rx="8"/>
<g transform="translate({terminal_x}, 10)">{backgrounds}<g class="{unique_id}-matrix">{matrix}</g></g>
</svg>
"""


def help_of(command: str) -> str:
    """What ``vqa-assets COMMAND --help`` prints in a terminal of 80 columns."""
    printed = io.StringIO()
    with (
        mock.patch.dict(os.environ, {"COLUMNS": f"{_COLUMNS}"}),
        contextlib.redirect_stdout(printed),
        contextlib.suppress(SystemExit),
    ):
        main([command, "--help"])
    return printed.getvalue().strip()


def help_picture(command: str) -> str:
    """The command as it is typed and what it prints, as SVG."""
    lines = [f"$ {NAME} {command} --help", *help_of(command).splitlines()]
    console = Console(record=True, file=io.StringIO(), width=_COLUMNS)
    console.print(Text(lines[0], style="bold"))
    console.print(Text("\n".join(lines[1:])))
    form = _FORM.replace("HEIGHT", f"{_LINE_HEIGHT * len(lines) + 24:.0f}")
    return console.export_svg(title="", code_format=form, unique_id="help")


def words_of(svg: str) -> list[str]:
    """The words that such a picture shows, line by line."""
    drawn = [one.text or "" for one in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]
    return " ".join(drawn).replace("\N{NO-BREAK SPACE}", " ").split()


def write() -> None:
    """Write the picture of every command, and remove those of commands that are gone."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for path in FOLDER.glob("*.svg"):
        if path.stem not in COMMANDS:
            path.unlink()
    for command in COMMANDS:
        Path(FOLDER, f"{command}.svg").write_text(help_picture(command), encoding="utf-8")


if __name__ == "__main__":
    write()
