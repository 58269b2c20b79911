"""``vqa-assets``: one command for everything a person does. It loads nothing that its subcommand does not need.

What a subcommand does is in the module of its name; here stand what is typed and the exit statuses: 0 done, 1 failed or
not as it should be, 2 typed wrongly (``judge`` has its own). Errors are lines of ours, never boxes.
"""

import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from vqa_assets.arguments import WRONG_ARGUMENT, known_word, stated_values, words_after
from vqa_assets.errors import ArgumentError, VqaError
from vqa_assets.printing import tell, tell_error

NAME = "vqa-assets"
_PASSED_ON = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}

INTERRUPTED = 130
"""The exit status after Ctrl-C, as shells have it."""


class _Subcommands(TyperGroup):
    """All subcommands. Typer makes an exit status of an interrupt, without a word."""

    def invoke(self, ctx: Any) -> Any:
        """Run the subcommand; its exit status."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            tell("stopped; the same command goes on from here", file=sys.stderr)
            return INTERRUPTED


app = typer.Typer(
    name=NAME,
    cls=_Subcommands,
    help="Video-quality corpora with opinion scores become labelled tables and ONNX quality heads.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

Root = Annotated[str | None, typer.Option("--root", help="Data root (default: $VQA_DATA_ROOT, else data).")]
Stated = Annotated[
    list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="A setting of the run; one each time.")
]


def _corpus_names(context: typer.Context, incomplete: str) -> Iterable[str]:
    """The corpora that a shell completes."""
    return [name for name in _corpora(_named_root(context)) if name.startswith(incomplete)]


def _named_root(context: typer.Context) -> Any:
    """The data root that was typed so far, else the environment's."""
    from vqa_assets.tables.paths import DataRoot

    named = context.params.get("root")
    return DataRoot(Path(named).absolute()) if named else DataRoot.named()


def _corpora(root: Any) -> Mapping[str, Any]:
    from vqa_assets.corpora.declarations import corpora_folder, with_declared

    return with_declared(corpora_folder(root.path, os.environ))


@app.command(name="init")
def make_root(
    folder: Annotated[str | None, typer.Argument(help="The data root (default: $VQA_DATA_ROOT, else data).")] = None,
) -> int:
    """Make a data root, with the home of its runs in it."""
    from vqa_assets.home import home_of, prepare_home
    from vqa_assets.settings import typed_path
    from vqa_assets.tables.paths import ENVIRONMENT_NAME, DataRoot

    path = typed_path(folder).absolute() if folder else DataRoot.named().path
    if path.exists() and not path.is_dir():
        raise ArgumentError(f"{path}", found="a file", expected="a folder, or nothing there yet")
    path.mkdir(parents=True, exist_ok=True)
    root = DataRoot(path)
    tell("\n".join(prepare_home(home_of(root)).lines()))
    tell(f"the data root is {path}; every command finds it after: export {ENVIRONMENT_NAME}={path}")
    return 0


@app.command(name="new-corpus")
def new_corpus(
    scores: Annotated[Path, typer.Argument(help="A score file: a clip's name and its score in each row.")],
    name: Annotated[str, typer.Option(help="The corpus's name (default: the file's or its folder's).")] = "",
    clips: Annotated[Path | None, typer.Option(help="A folder of its clips, which is linked.")] = None,
    clip: Annotated[str, typer.Option(metavar="COLUMN", help="The column that names clips.")] = "",
    mos: Annotated[str, typer.Option(metavar="COLUMN", help="The column of scores.")] = "",
    root: Root = None,
) -> int:
    """Declare a corpus of your own, proposed from its score file."""
    from vqa_assets.new_corpus import make_corpus

    tell("\n".join(make_corpus(_root(root), scores, name=name, clips=clips, clip=clip, mos=mos)))
    return 0


@app.command()
def ingest(
    corpus: Annotated[str, typer.Argument(help="A corpus's name.", autocompletion=_corpus_names)],
    max_rows: Annotated[int | None, typer.Option(help="Only the first rows of the score file.")] = None,
    stated: Stated = None,
    root: Root = None,
) -> int:
    """Read a corpus's score file and clips: its JSONL of rows."""
    from vqa_assets.clips.hub import HubAccess
    from vqa_assets.ingest.settings import IngestSettings, resolve
    from vqa_assets.ingest.unchanged import unchanged_corpus
    from vqa_assets.outcomes import note_outcome

    data = _root(root)
    corpora = _corpora(data)
    one = corpora[known_word(corpus, corpora, "corpus", otherwise="one of your own: vqa-assets new-corpus")]
    texts = [*(stated or []), *([f"max_rows={max_rows}"] if max_rows is not None else [])]
    values = stated_values(texts, {"corpus_jsonl": IngestSettings}).get("corpus_jsonl", {})
    try:
        resolved, hub = resolve(one, values, data.ingest_toml(one)), HubAccess.of(os.environ)
        found = unchanged_corpus(one, resolved, data, hub)
    except VqaError:
        found = None  # the run says what is wrong, and is recorded
    if found is not None:
        note_outcome(data, ["corpus_annotations", "corpus_jsonl"], one.name, {})  # an earlier failure is mended
        where = f"{found.rows} rows in {data.shown(found.layout.output)}"
        tell(f"{one.name}: nothing changed since the ingest of {found.ingested_at_utc}: {where}; no run is recorded")
        return 0
    return _materialize(data, ["corpus_annotations", "corpus_jsonl"], [one.name], texts)


@app.command()
def materialize(
    assets: Annotated[list[str], typer.Argument(help="Assets of one run, such as unified_corpus.")],
    partition: Annotated[
        list[str] | None, typer.Option(help="A corpus; several are run in turn.", autocompletion=_corpus_names)
    ] = None,
    stated: Stated = None,
    root: Root = None,
) -> int:
    """Make chosen assets, in a run of Dagster."""
    names = [name for text in assets for name in text.split(",") if name]
    return _materialize(_root(root), names, partition or [], stated or [])


def _shared_names(context: typer.Context, incomplete: str) -> Iterable[str]:
    """What a shell completes as something to be passed on."""
    from vqa_assets.sharing.hub import shareable

    root = _named_root(context)
    return [name for name in shareable(root, _corpora(root)) if name.startswith(incomplete)]


def _formats(incomplete: str) -> Iterable[str]:
    from vqa_assets.sharing.clip_lists import FORMATS

    return [name for name in FORMATS if name.startswith(incomplete)]


Target = Annotated[str, typer.Option("--to", metavar="FOLDER", help="Where; a folder of ours there is replaced.")]
AtYourWord = Annotated[bool, typer.Option("--i-may", help="Licences forbid it, and you may all the same.")]


def publish(
    what: Annotated[str, typer.Argument(help="A corpus, unified_corpus or a head.", autocompletion=_shared_names)],
    to: Target,
    i_may: AtYourWord = False,
    root: Root = None,
) -> int:
    """Write a table or a head as a folder for the Hugging Face Hub."""
    from vqa_assets.sharing import hub
    from vqa_assets.sharing.folder import held_by

    folder, data = _target(to), _root(root)
    corpora = _corpora(data)
    known_word(what, hub.shareable(data, corpora), "corpus, table or head")
    earlier, lines = held_by(folder), hub.publish(what, folder, data, corpora, may=i_may)
    tell("\n".join([*lines, f"{to}: written{_in_the_place_of(earlier)}"]))
    return 0


def export(
    reader: Annotated[
        str, typer.Option("--for", metavar="TRAINER", help="dover, q-align or csv.", autocompletion=_formats)
    ],
    to: Target,
    names: Annotated[
        list[str] | None, typer.Argument(help="Corpora (default: all.)", autocompletion=_corpus_names)
    ] = None,
    absolute: Annotated[
        bool, typer.Option("--absolute", help="Whole paths, not those below the clips folder.")
    ] = False,
    own_split: Annotated[
        bool, typer.Option("--own-split", help="The corpora's own splits, where they have any.")
    ] = False,
    seed: Annotated[int | None, typer.Option(help="Deals contents out (default: as that of a training).")] = None,
    i_may: AtYourWord = False,
    root: Root = None,
) -> int:
    """Write the lists of clips that other trainers read, split by content."""
    from vqa_assets.heads.settings import TrainingSettings
    from vqa_assets.sharing import clip_lists
    from vqa_assets.sharing.folder import held_by

    folder, data = _target(to), _root(root)
    corpora = _corpora(data)
    known_word(reader, clip_lists.FORMATS, "trainer")
    chosen = [known_word(name, corpora, "corpus") for name in dict.fromkeys(names or [])]
    dealt = TrainingSettings().seed if seed is None else seed
    settings = clip_lists.ListSettings(reader, dealt, absolute=absolute, own_split=own_split, may=i_may)
    earlier, lines = held_by(folder), clip_lists.export(chosen, folder, data, corpora, settings)
    tell("\n".join([*lines, f"{to}: written for {reader}{_in_the_place_of(earlier)}"]))
    return 0


def _target(typed: str) -> Path:
    """The folder that a person named: no address, nothing that no disk holds, no empty word for the working folder."""
    from vqa_assets.settings import fits_a_disk, typed_path

    kinds = {"nothing": not typed.strip(), "an address": "://" in typed, "a name that no disk holds": "\0" in typed}
    kinds["a name that no disk holds"] |= not fits_a_disk(typed_path(typed))
    if found := next((kind for kind, is_so in kinds.items() if is_so), ""):
        raise ArgumentError("--to", found=found, expected="a folder of this disk, or a name for one")
    return typed_path(typed)


def _in_the_place_of(earlier: str) -> str:
    """What a folder of ours held before, for the line that says what it holds now."""
    return f", in the place of {earlier}" if earlier else ""


def _materialize(root: Any, assets: Sequence[str], partitions: Sequence[str], stated: Sequence[str]) -> int:
    from vqa_assets import materialize as runs
    from vqa_assets.workflow import log_to_stderr

    log_to_stderr()
    return runs.materialize(root, assets, partitions, stated)


def _root(named: str | None) -> Any:
    from vqa_assets.tables.paths import DataRoot
    from vqa_assets.tables.publication import settle_root

    root = DataRoot.resolve(named)
    settle_root(root)
    return root


@dataclass(frozen=True)
class _Word:
    """What a shell may complete to, as Typer's classes for shells read it."""

    value: str
    help: str | None = None
    type: str = "plain"


class PassedOn(TyperCommand):
    """A subcommand whose words a module reads: a shell completes what that module's parser takes."""

    module, first = "", ()

    def shell_complete(self, ctx: Any, incomplete: str) -> Any:
        """The options, verbs and corpora that begin so; of files nothing, which the shell completes itself."""
        following = words_after(import_module(self.module).main, [*self.first, *ctx.args])
        names = _corpus_names(ctx, incomplete) if following.corpus and not incomplete.startswith("-") else ()
        # Without a letter only what is no option: there are many of those.
        words = [word for word in following.words if word.startswith(incomplete) and (incomplete or word[0] != "-")]
        return [_Word(word) for word in (*names, *words)]


def _passed_on(name: str, module: str, sentence: str, *first: str) -> None:
    """A subcommand whose words are read by the ``main`` of a module; ``first`` are words that come before them."""

    def command(context: typer.Context) -> int:
        main: Callable[[Sequence[str]], int] = import_module(module).main
        return main([*first, *context.args])

    command.__doc__ = sentence
    completed = type("PassedOn", (PassedOn,), {"module": module, "first": first})
    app.command(name=name, context_settings=_PASSED_ON, cls=completed)(command)


_passed_on("run", "vqa_assets.workflow", "Make everything, for every corpus that is there.")
_passed_on("rehearse", "vqa_assets.rehearse", "What an ingest would do; nothing is written.")
_passed_on("status", "vqa_assets.status", "What is there, what was lost, the next step.")
_passed_on("describe", "vqa_assets.describe", "What the unified corpus holds.")
_passed_on("verify", "vqa_assets.provenance.verify", "Is an artefact what its manifest says?", "verify")
_passed_on("mirror", "vqa_assets.mirror", "Copy what is published to an object store.")
app.command()(publish)
app.command()(export)
_passed_on("judge", "vqa_assets.judge", "How well a head or a column predicts opinions.")
_passed_on("predict", "vqa_assets.predict", "Score clips or tables with a head.")
_passed_on("backbones", "vqa_assets.backbones.__main__", "Networks that embed pictures: add, list.")
_passed_on("ui", "vqa_assets.ui", "The web UI, on the data of a root.")
_passed_on("demo", "vqa_assets.demo.__main__", "A small corpus, made on the spot, to a judged head.")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; its exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        return int(app(given or ["--help"], prog_name=NAME, standalone_mode=False) or 0)
    except typer.TyperException as error:  # whatever is wrong with the words that were typed
        context: typer.Context | None = getattr(error, "ctx", None)
        command = context.command_path if context else NAME
        message = " ".join(error.format_message().split())
        tell_error(f"{message.rstrip('.')}; {command} --help says what it takes")
        return WRONG_ARGUMENT
    except ArgumentError as error:
        tell_error(error)
        return WRONG_ARGUMENT
    except typer.Exit as ended:
        return ended.exit_code
    except (VqaError, OSError) as error:
        tell_error(error)
        return 1
    except (KeyboardInterrupt, typer.Abort):
        tell("stopped", file=sys.stderr)
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
