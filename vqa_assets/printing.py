"""What is shown to people: names from outside cannot forge a line, turn a text around, or bring a secret along.

Control characters move a terminal's cursor and begin lines of a log; direction characters show ``gpj.exe`` as
``exe.jpg``. Both stand as ``\\u001b`` wherever a person reads, which JSON reads back as the same character. Errors, our
loggers, the commands' output, Markdown and reports pass through here; tables and rows keep their bytes.
"""

import logging
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any, TextIO

# Controls (C0, DEL, C1), soft hyphen, marks and overrides of direction, invisible and line separators, halves of
# surrogate pairs (names that are no UTF-8), tags. Spaces of any width stay.
_UNSEEN = (
    "\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff"
    "\U000e0000-\U000e007f"
)
_HOSTILE, _HOSTILE_IN_LINES = re.compile(f"[{_UNSEEN}]"), re.compile(f"(?!\n)[{_UNSEEN}]")
# A scheme of any length is found by its end: without the bound, and the anchor below, a long text takes minutes.
_SCHEME = r"[A-Za-z][A-Za-z0-9+.-]{0,30}:"
_SECRETS = re.compile(
    rf"(?P<scheme>{_SCHEME}/{{1,3}})(?P<user>[^\s/?#]*@)?(?P<rest>[^\s?#'\"<>]*)(?P<query>\?[^\s#'\"<>][^\s'\"<>]*)?"
)
_MOST_NAMED = 3
_OURS, _SHOWN = "vqa_assets", "vqa_assets: shown by a command"
LOSSES_TOLD = 50
"""How many losses of one kind have a message of their own in a run."""
_NAMES_IN_A_MESSAGE = 500
_LOGINS = re.compile(rf"(?P<scheme>{_SCHEME}/+).*@|(?<![^\s'\",])(?P<user>[^\s'\",]*)@", re.DOTALL)


def plain(text: str) -> str:
    """One line of text as a person may see it: whatever is not seen, line breaks too, is escaped (``\\u202e``)."""
    return text if text.isprintable() else _HOSTILE.sub(_escaped, text)


def plain_lines(text: str) -> str:
    """As ``plain``, for a text of lines; JSON in it stays the same JSON."""
    return text if text.isprintable() else _HOSTILE_IN_LINES.sub(_escaped, text)


def plain_values(value: Any) -> Any:
    """A JSON-like value with every text in it ``plain``, keys too; tuples become lists."""
    if isinstance(value, str):
        return plain(value)
    if isinstance(value, Mapping):
        return {plain_values(key): plain_values(item) for key, item in value.items()}
    return [plain_values(item) for item in value] if isinstance(value, (list, tuple)) else value


def cell(value: object) -> str:
    """A value as a cell of a Markdown table, or a part of a line: no sign in it begins a column, a tag or a link."""
    text = plain(str(value)).replace("&", "&amp;").replace("<", "&lt;")
    return text.replace("|", "\\|").replace("[", "\\[")


def markdown_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows of the same names, at least one, as a table of Markdown; every value is a ``cell``."""
    names = list(rows[0])
    lines = [[cell(name) for name in names], ["---"] * len(names), *([cell(row[n]) for n in names] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def named_or_counted(corpora: Sequence[str]) -> str:
    """Up to three corpora by name, of more their number: most data roots hold few of those that are declared."""
    return ", ".join(corpora) if len(corpora) <= _MOST_NAMED else f"{len(corpora)} corpora"


def size_in_words(count: float) -> str:
    """Bytes in the largest decimal unit of which there is one: ``7.8 MB``."""
    for unit, size in (("TB", 10**12), ("GB", 10**9), ("MB", 10**6)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count / 1e3:.0f} KB"


def without_secrets(text: str) -> str:
    """A text whose addresses have lost user name, password and query: those of a message may be read by anybody."""
    return _SECRETS.sub(_cut, text) if ":/" in text else text


def without_logins(text: str) -> str:
    """As ``without_secrets``, of what was refused as an address: wherever a password could stand in it, it is cut."""
    # Up to the last @ only: behind it each scheme would be tried to the end of the text.
    logins, at, rest = text.rpartition("@")
    return without_secrets(_LOGINS.sub(_cut_login, logins + at) + rest)


def public(text: str) -> str:
    """``plain`` and ``without_secrets``."""
    return plain(without_secrets(text))


def logger(name: str) -> logging.Logger:
    """The logger of that name, whose messages are ``public`` before anybody formats or keeps them."""
    found = logging.getLogger(name)
    if _public_record not in found.filters:
        found.addFilter(_public_record)
    return found


def show_log(form: logging.Formatter, others: Sequence[str] = ()) -> None:
    """Show our loggers' lines from INFO on on standard error, and of the ``others`` what went wrong; nowhere else.

    A command that runs again in the same process takes the place of the one before: no line is shown twice.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(form)
    handler.set_name(_SHOWN)
    for name in (_OURS, *others):
        found = logging.getLogger(name)
        for earlier in [one for one in found.handlers if one.get_name() == _SHOWN]:
            found.removeHandler(earlier)
        found.addHandler(handler)
        found.setLevel(logging.INFO if name == _OURS else logging.WARNING)
        found.propagate = False


def warn_of_others(log: logging.Logger, what: str, names: Sequence[object]) -> None:
    """Warn of the losses that got no message of their own: all their names, many of them in a message after ``what``.

    Dagster writes each message of a run to its database, which takes as long as hundreds of rows: what can befall every
    row of a corpus is told one by one only at first.
    """
    for start in range(0, len(names), _NAMES_IN_A_MESSAGE):
        named = names[start : start + _NAMES_IN_A_MESSAGE]
        log.warning("%s (%d): %s", what, len(named), ", ".join(map(str, named)))


def tell(text: str, *, file: TextIO | None = None, end: str = "\n", flush: bool = False) -> None:
    """Print lines for a person, to standard output unless said otherwise."""
    print(plain_lines(text), file=file or sys.stdout, end=end, flush=flush)  # the only place that prints


def hand_out(content: str) -> None:
    """Write a table to standard output: as it is where a program reads it, as a person may see it at a terminal."""
    text = plain_lines(content) if sys.stdout.isatty() else content
    print(text, end="", flush=True)  # noqa: T201


def tell_error(error: object) -> None:
    """Print why a command ends, to standard error."""
    tell(f"error: {public(str(error))}", file=sys.stderr)


def _public_record(record: logging.LogRecord) -> bool:
    message = record.getMessage()
    shown = public(message)
    if shown != message:
        record.msg, record.args = shown, None
    return True


def _escaped(match: re.Match[str]) -> str:
    # As JSON writes it: a character beyond the first 65 536 as two halves.
    halves = match[0].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{halves[i]:02x}{halves[i + 1]:02x}" for i in range(0, len(halves), 2))


def _cut_login(match: re.Match[str]) -> str:
    if match["scheme"]:
        return f"{match['scheme']}…@"
    return "…@" if ":" in match["user"] else match[0]


def _cut(match: re.Match[str]) -> str:
    user, query = "…@" if match["user"] else "", "?…" if match["query"] else ""
    return f"{match['scheme']}{user}{match['rest']}{query}"
