"""What a person types behind a command: how it is read, and what is said of a word that means nothing.

Every command's options are a ``CommandParser``'s; exit status 2 is for what was typed wrongly, and nothing was done.
"""

import argparse
import difflib
import json
import sys
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, NoReturn

from vqa_assets.errors import ArgumentError, SettingsError
from vqa_assets.printing import plain, tell_error
from vqa_assets.settings import Settings, core_type

WRONG_ARGUMENT = 2
"""The exit status for a word that names nothing there is."""


class CommandParser(argparse.ArgumentParser):
    """An argparse parser whose errors are one line, with the option that was probably meant.

    Options are never shortened: a script that says ``--max`` would mean another option tomorrow.
    """

    def __init__(self, **about: Any) -> None:
        self._options: list[str] = []
        super().__init__(**{"allow_abbrev": False, **about})

    def add_argument(self, *args: Any, **kwargs: Any) -> argparse.Action:
        """As argparse's; the options are remembered for near misses."""
        self._options += [name for name in args if name.startswith("--")]
        return super().add_argument(*args, **kwargs)

    def error(self, message: str) -> NoReturn:
        """Say what is wrong and what was probably meant, and exit with ``WRONG_ARGUMENT``."""
        wrong = [word for word in message.split() if word.startswith("--")] if "unrecognized" in message else []
        near = next((like for word in wrong if (like := nearest(word.partition("=")[0], self._options))), "")
        meant = f"did you mean {near}? " if near else ""
        tell_error(f"{plain(message)}; {meant}{self.prog} --help says what it takes")
        sys.exit(WRONG_ARGUMENT)


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
