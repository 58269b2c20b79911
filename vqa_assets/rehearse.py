"""``vqa-assets rehearse``: what an ingest of a corpus would do, before it is done. Nothing is written.

It reads the score file, names the clips, looks at what earlier runs left, and asks for the headers of the first three
clips at their addresses; the Hugging Face Hub is asked for its listing. Exit status 0 where an ingest would publish, 1
where it would not, 2 for a corpus that there is not.
"""

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from vqa_assets.arguments import WRONG_ARGUMENT, CommandParser, known_word
from vqa_assets.clips.work import ThreadClipPool
from vqa_assets.corpora import Corpus
from vqa_assets.corpora.declarations import corpora_folder, with_declared
from vqa_assets.errors import ArgumentError, SettingsError, VqaError
from vqa_assets.ingest.fetching import LINE_BYTES_PER_S
from vqa_assets.ingest.gather import Services
from vqa_assets.ingest.rehearsal import PROBE_RATE, Pace, Rehearsal, rehearse
from vqa_assets.ingest.settings import resolve
from vqa_assets.printing import plain, tell, tell_error
from vqa_assets.stages.corpora import downloader_named, prober_named
from vqa_assets.tables.paths import DataRoot
from vqa_assets.tables.publication import settle_root

_MEGABYTE = 1e6


def rehearse_command(
    root: DataRoot, corpus: Corpus, run_config: Mapping[str, Any], pace: Pace, *, read: bool
) -> Rehearsal:
    """The rehearsal of one corpus with the tools that an asset's run has; settings that cannot be used block it."""
    from vqa_assets.clips.hub import HubAccess

    try:
        resolved, hub = resolve(corpus, run_config, root.ingest_toml(corpus)), HubAccess.of(os.environ)
    except SettingsError as error:
        return Rehearsal(corpus.name, blocks=[str(error)])
    services = Services(prober_named(), downloader_named(), ThreadClipPool(), hub=hub)
    return rehearse(corpus, resolved, services, root, pace, read=read)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; exit status 0 where an ingest would publish, 1 where it would not, or nothing can be said."""
    options = parser().parse_args(arguments)
    try:
        root = DataRoot.resolve(options.root)
        settle_root(root, may_write=False)
        corpora = with_declared(corpora_folder(root.path, os.environ))
        corpus = corpora[
            known_word(options.corpus, corpora, "corpus", otherwise="one of your own: vqa-assets new-corpus")
        ]
        run_config = _run_config(options.config_json)
        pace = Pace(options.probe_rate, options.download_rate * _MEGABYTE)
        rehearsal = rehearse_command(root, corpus, run_config, pace, read=options.read)
    except VqaError as error:
        tell_error(error)
        return WRONG_ARGUMENT if isinstance(error, ArgumentError) else 1
    except KeyboardInterrupt:
        tell("stopped; nothing was written", file=sys.stderr)
        return 130
    text = json.dumps(rehearsal.as_dict(), indent=2, ensure_ascii=False)
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        tell(text if options.json else "\n".join(map(plain, rehearsal.lines())), flush=True)
    except BrokenPipeError:  # whoever reads has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0 if rehearsal.would_publish else 1


def parser() -> argparse.ArgumentParser:
    """What the command takes."""
    command = CommandParser(prog="vqa-assets rehearse", description=__doc__)
    command.add_argument("corpus", help="a corpus's name, such as konvid-150k")
    command.add_argument("--root", help="data root (default: $VQA_DATA_ROOT, else data)")
    command.add_argument("--config-json", default="{}", help="settings of the run, such as '{\"max_rows\": 50}'")
    command.add_argument("--read", action="store_true", help="hash and probe the clips that are there, as a run would")
    command.add_argument(
        "--probe-rate",
        type=_positive,
        default=PROBE_RATE,
        metavar="CLIPS_PER_S",
        help=f"clips read a second (default: {PROBE_RATE:g}, what two ordinary cores do with clips of a few megabytes)",
    )
    command.add_argument(
        "--download-rate",
        type=_positive,
        default=LINE_BYTES_PER_S / _MEGABYTE,
        metavar="MB_PER_S",
        help=f"megabytes fetched a second (default: {LINE_BYTES_PER_S / _MEGABYTE:g}, a line of 100 Mbit/s)",
    )
    command.add_argument("--json", action="store_true", help="print one JSON object")
    return command


def _run_config(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError as error:
        value, found = None, f"not JSON ({error})"
    else:
        found = f"a JSON {type(value).__name__}"
    if isinstance(value, dict):
        return value
    raise ArgumentError(
        "--config-json", found=found, expected='an object such as {"max_rows": 50}', next_step="correct it"
    )


def _positive(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text}, expected a number above 0")
    return number


if __name__ == "__main__":
    sys.exit(main())
