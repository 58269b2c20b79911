"""What a person types behind a command: how it is read, and what is said of a word that means nothing.

Every command's options are a ``CommandParser``'s; exit status 2 is for what was typed wrongly, and nothing was done.
"""

import argparse
import difflib
import json
import re
import sys
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from vqa_assets.errors import ArgumentError, SettingsError
from vqa_assets.printing import plain, tell_error
from vqa_assets.settings import Settings, core_type

_DESCRIBING: ContextVar[bool] = ContextVar("describing", default=False)
WRONG_ARGUMENT = 2
"""The exit status for a word that names nothing there is."""


class _DescribedError(Exception):
    """A command was asked what it takes, and not to do anything: here is its parser."""

    def __init__(self, parser: "CommandParser") -> None:
        super().__init__()
        self.parser = parser


class CommandParser(argparse.ArgumentParser):
    """An argparse parser whose errors are one line, with the option that was probably meant.

    Options are never shortened: a script that says ``--max`` would mean another option tomorrow. The description may be
    a module's docstring.
    """

    def __init__(self, **about: Any) -> None:
        self._options: list[str] = []
        about["description"] = _of_docstring(about.get("description") or "") or None
        super().__init__(**{"allow_abbrev": False, **about})

    def add_argument(self, *args: Any, **kwargs: Any) -> argparse.Action:
        """As argparse's; the options are remembered for near misses."""
        self._options += [name for name in args if name.startswith("--")]
        return super().add_argument(*args, **kwargs)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse's; a command that is only described (``words_after``) ends here, before it does anything."""
        if _DESCRIBING.get():
            raise _DescribedError(self)
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        """Say what is wrong and what was probably meant, and exit with ``WRONG_ARGUMENT``."""
        wrong = [word for word in message.split() if word.startswith("--")] if "unrecognized" in message else []
        near = next((like for word in wrong if (like := nearest(word.partition("=")[0], self._options))), "")
        meant = f"did you mean {near}? " if near else ""
        tell_error(f"{plain(message)}; {meant}{self.prog} --help says what it takes")
        sys.exit(WRONG_ARGUMENT)


def _of_docstring(text: str) -> str:
    """A docstring as a terminal shows it: without the command's own name before it, and without marks of code."""
    text = re.sub(r"\A``[^`]+``: (\w?)", lambda found: found[1].upper(), text)
    return text.replace("``", "")


@dataclass(frozen=True)
class NextWords:
    """What may be typed next: words that are known, and whether the name of a corpus is one."""

    words: tuple[str, ...] = ()
    corpus: bool = False


def add_settings(options: argparse._ActionsContainer, stage: type[Settings], names: Iterable[str]) -> None:
    """An option for each of these settings of a stage, read and explained as the setting is; None by default."""
    for name in names:
        about = stage.help()[name]
        options.add_argument(
            f"--{name.replace('_', '-')}",
            type=_reader(stage, name),
            metavar="N",
            help=f"{about.sentence[0].lower()}{about.sentence[1:-1]} (default: {about.default})".replace("%", "%%"),
        )


def _reader(stage: type[Settings], name: str) -> Callable[[str], Any]:
    """What reads the setting's value as it is typed; argparse's own error for one that cannot be used."""

    def read(text: str) -> Any:
        try:
            return getattr(stage.of({name: _value(text, stage, name)}, ""), name)
        except SettingsError as error:
            raise argparse.ArgumentTypeError(f"{text}, expected {error.expected}") from error

    return read


def words_after(main: Callable[[Sequence[str]], int], typed: Sequence[str]) -> NextWords:
    """What a command takes behind the words ``typed``: its options, the choices of one, its verbs; of files nothing.

    ``main`` reads its words by a ``CommandParser`` before it does anything; nothing is done here.
    """
    token = _DESCRIBING.set(True)
    try:
        main([])
    except _DescribedError as described:
        parser: argparse.ArgumentParser = described.parser
    else:
        return NextWords()
    finally:
        _DESCRIBING.reset(token)
    last: argparse.Action | None = None
    for word in typed:
        verbs = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
        parser = next((verb.choices[word] for verb in verbs if word in verb.choices), parser)
        last = parser._option_string_actions.get(word)
    if last is not None and last.nargs != 0:  # an option that waits for its value
        return NextWords(tuple(map(str, last.choices or ())))
    places = [action for action in parser._actions if not action.option_strings]
    verbs_here = [name for place in places if isinstance(place.choices, Mapping) for name in place.choices]
    options = [name for name in parser._option_string_actions if name.startswith("--")]
    return NextWords((*verbs_here, *options), corpus=any(place.dest == "corpus" for place in places))


def nearest(word: str, known: Iterable[str]) -> str:
    """The known word that is most like another; empty where none is."""
    return next(iter(difflib.get_close_matches(word, list(known), n=1)), "")


def known_word(word: str, known: Collection[str], kind: str, *, of_what: str = "", otherwise: str = "") -> str:
    """The word, where it is known.

    ArgumentError names the nearest one, else all that are known; ``kind`` says what the word is (``asset``),
    ``of_what`` what knows it, ``otherwise`` what else may be done.
    """
    if word in known:
        return word
    near = nearest(word, known)
    raise ArgumentError(
        f"{kind} {word!r}" + (f" of {of_what}" if of_what else ""),
        found=f"no {kind} of that name",
        expected="" if near else f"one of {', '.join(known)}" if known else "none",
        next_step=f"did you mean {near}?" if near else otherwise,
    )


def stated_values(stated: Iterable[str], stages: Mapping[str, type[Settings]]) -> dict[str, dict[str, Any]]:
    """Asset → setting → value of texts ``name=value`` or ``asset.name=value``; ``stages`` are each asset's settings.

    Without an asset's name the setting is every asset's that has it. ArgumentError for a name that none has, and for a
    value that a run would refuse.
    """
    values: dict[str, dict[str, Any]] = {}
    for text in stated:
        name, equals, value = text.partition("=")
        if not equals:
            raise ArgumentError(f"--set {text}", found="no value", expected="name=value, such as max_rows=50")
        asset, dot, own = name.rpartition(".")
        asked = {known_word(asset, stages, "asset with settings"): stages[asset]} if dot else stages
        fields = dict.fromkeys(field for stage in asked.values() for field in stage.model_fields)
        field = known_word(own, fields, "setting", of_what=" and ".join(asked))
        if not any(field in stage.of_a_run() for stage in asked.values()):
            raise ArgumentError(
                f"--set {field}",
                found="a setting that no run states",
                expected="ingest.toml, or the environment, to say it",
            )
        for taker, stage in asked.items():
            if field in stage.model_fields:
                values.setdefault(taker, {})[field] = _value(value, stage, field)
    for asset, settings in values.items():
        try:
            stages[asset].of(settings, "--set", "")
        except SettingsError as error:
            raise ArgumentError(error.what, found=error.found, expected=error.expected) from error
    return values


def _value(text: str, stage: type[Settings], field: str) -> Any:
    """A typed value: what JSON reads in it, else the text; a setting that is a text or a path takes the text."""
    if core_type(stage.model_fields[field].annotation) in (str, Path):
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text
