"""``vqa-assets new-corpus scores.csv``: a declaration of one's own, proposed from a score file and from clips.

What a score file probably says is in ``annotations.proposal``; what every declaration keeps in ``corpora``. Here a
person's file becomes ``<root>/corpora/<name>.toml`` and a copy of it in the corpus's folder. It is read as an ingest
would read it before anything is written.
"""

import os
import re
import shlex
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from vqa_assets.annotations.proposal import OWN_SCALE, ScoreProposal, propose_scores
from vqa_assets.annotations.reading import Annotations, first_lines, read_annotations
from vqa_assets.annotations.rows import VIDEO_SUFFIXES
from vqa_assets.corpora import Corpus
from vqa_assets.corpora.declarations import DECLARATIONS, corpora_folder, named_folder, with_declared
from vqa_assets.corpora.scales import OPINION_SCALES, MosScale
from vqa_assets.errors import ArgumentError, SettingsError
from vqa_assets.ingest.settings import resolve
from vqa_assets.printing import plain, size_in_words
from vqa_assets.provenance.reading import refuse_changes
from vqa_assets.settings import toml_value
from vqa_assets.tables.files import write_bytes
from vqa_assets.tables.paths import DataRoot

_SAYS_NOTHING = {"scores", "score", "mos", "manifest", "ratings", "labels", "annotations", "data", "metadata"}
_USUAL_NAME = "my-clips"
_BYTES_PER_CLIP = 6_000_000
"""What a clip of a few seconds takes, where none is there to be looked at."""
_MOST_LISTED = 12


@dataclass(frozen=True)
class ClipsSeen:
    """Clips that lie in a folder: how many, their bytes, how most of their names end."""

    folder: Path
    clips: int
    size_bytes: int
    suffix: str

    @classmethod
    def in_folder(cls, folder: Path, names: Iterable[str], *, deep: bool) -> "ClipsSeen":
        """The files in a folder, with ``deep`` those below it too, that are called as a score file calls its clips."""
        wanted = {_stem(name) for name in names}
        files = folder.rglob("*") if deep else (*folder.glob("*"), *folder.glob("*/*"))
        clips = [path for path in files if path.suffix.lower() in VIDEO_SUFFIXES and _stem(path.name) in wanted]
        suffixes = [path.suffix for path in clips]
        suffix = max(sorted(set(suffixes)), key=suffixes.count, default="")
        if clips and not deep:  # the one folder of them all, which is what would be linked
            folder = Path(os.path.commonpath([path.parent for path in clips]))
        return cls(folder, len(clips), sum(path.stat().st_size for path in clips), suffix)


def make_corpus(
    root: DataRoot, scores: Path, *, name: str = "", clips: Path | None = None, clip: str = "", mos: str = ""
) -> list[str]:
    """Declare a corpus from a score file, and say in lines what was found, written and is to be looked up.

    ``clips`` is a folder of its clips, which is linked, not copied; ``clip`` and ``mos`` are the columns that name
    clips and hold scores, where the file does not say it. ArgumentError for words that cannot be used; VqaError where
    an ingest would refuse the file. Either way nothing is written.
    """
    if not scores.is_file():
        found = "a folder" if scores.is_dir() else "nothing there"
        raise ArgumentError(f"{scores}", found=found, expected="a file of names of clips and their opinion scores")
    if clips is not None and not clips.is_dir():
        raise ArgumentError(f"--clips {clips}", found="no folder there", expected="a folder of clips")
    folder = named_folder(os.environ) or root.path / DECLARATIONS
    name = name or _name_of(scores)
    known = with_declared(corpora_folder(root.path, os.environ))
    declaration, corpus_dir = folder / f"{name}.toml", root.path / name
    if name in known or declaration.exists():
        raise ArgumentError(
            f"corpus {name!r}",
            found=f"declared already, in {_shown(declaration)}" if declaration.exists() else "declared already",
            expected="a name of its own",
            next_step="name it: --name NAME, or edit the declaration that is there",
        )
    file, proposal = propose_scores(scores, clip=clip, mos=mos)
    # Beside a score file nobody looks deep: it may lie in a home folder.
    seen = ClipsSeen.in_folder(clips or scores.absolute().parent, proposal.names, deep=clips is not None)
    target = corpus_dir / f"manifest{scores.suffix.lower()}"
    text = "\n".join(_declaration(name, scores, target.name, proposal, seen)) + "\n"
    try:
        corpus = Corpus.of(tomllib.loads(text), f"--name {name}", "name it otherwise: --name NAME")
    except SettingsError as error:
        raise ArgumentError(
            error.what, found=error.found, expected=error.expected, next_step=error.next_step
        ) from error
    content = scores.read_bytes()
    refuse_changes([file.as_read])
    read = read_annotations(corpus, resolve(corpus, {}, Path(os.devnull)).values, scores)
    _refuse_another(target, content)
    link = corpus_dir / "clips"
    if clips is not None and os.path.lexists(link) and link.resolve() != clips.resolve():
        raise ArgumentError(
            f"--clips {clips}", found=f"{_shown(link)} is there already", expected="no folder of clips yet"
        )
    # The declaration comes last: with it the corpus is known, and all that it needs is there.
    corpus_dir.mkdir(parents=True, exist_ok=True)
    write_bytes(target, content)
    if clips is not None and not os.path.lexists(link):
        link.symlink_to(clips.resolve(), target_is_directory=True)
    folder.mkdir(parents=True, exist_ok=True)
    write_bytes(declaration, text.encode())
    wrote = {"scores": target, **({} if clips is None else {"link": link}), "declared in": declaration}
    return _lines(root, corpus, read, proposal, seen, wrote)


def _stem(name: str) -> str:
    """A clip's name without folders and suffix, in small letters."""
    last = name.rpartition("/")[2].lower()
    return last.rpartition(".")[0] if last.endswith(VIDEO_SUFFIXES) else last


def _shown(path: Path) -> str:
    """A path as a person in this folder would type it."""
    return os.path.relpath(path) if path.absolute().is_relative_to(Path.cwd()) else f"{path}"


def _name_of(scores: Path) -> str:
    """A corpus's name from a file's, from its folder's where that says nothing."""
    for text in (scores.stem, scores.absolute().parent.name):
        words = [word for word in re.findall(r"[a-z0-9]+", text.lower()) if word not in _SAYS_NOTHING]
        if words:
            return "-".join(words)
    return _USUAL_NAME


def _refuse_another(target: Path, content: bytes) -> None:
    if target.is_file() and target.read_bytes() == content:
        return
    if os.path.lexists(target):
        raise ArgumentError(
            f"{target}",
            found="another file",
            expected="no score file yet, or the same one",
            next_step="name the corpus otherwise: --name NAME",
        )


def _declaration(name: str, scores: Path, file: str, proposal: ScoreProposal, seen: ClipsSeen) -> Iterator[str]:
    """The lines of the TOML file."""
    columns = proposal.columns
    bytes_per_clip = seen.size_bytes // seen.clips if seen.clips else _BYTES_PER_CLIP
    basis = f"as {seen.clips} clips have" if seen.clips else "a guess: no clip was there"
    size = size_in_words(proposal.rows * bytes_per_clip)
    yield f"# Proposed by vqa-assets new-corpus from {plain(scores.name)}, {proposal.rows} rows. To look up:"
    yield from (f"# - {plain(line)}" for line in proposal.look_up)
    yield f"name = {toml_value(name)}"
    yield f"title = {toml_value(name)}"
    yield f"version = {toml_value(f'{name}-1')}"
    yield f"# {plain(proposal.evidence)}"
    yield f"scales = [{_scale(proposal.scale, name)}]"
    yield f"polarity = {toml_value(proposal.polarity)}"
    yield f"spread = {toml_value(proposal.spread or 'none')}"
    yield 'licence = "not looked up"'
    yield 'redistribution = "unknown"    # attribution, research-only, non-commercial-share-alike'
    yield 'citation = "not looked up"'
    yield 'homepage = "not looked up"'
    yield f"expected_clips = {proposal.rows}"
    yield f"size = {toml_value(size)}"
    yield f"bytes_per_clip = {max(1, bytes_per_clip)}    # {basis}"
    yield "# a file outside these bounds is another corpus's"
    yield f"min_rows = {proposal.least_rows}"
    yield f"max_rows = {proposal.most_rows}"
    if seen.suffix and seen.suffix.lower() != ".mp4":
        yield f"clip_suffix = {toml_value(seen.suffix)}"
    if columns.shape:
        yield f"headerless = {toml_value((tuple(columns.shape),))}"
    else:
        yield f"own_spellings = {toml_value({role: (column,) for role, column in columns.roles.items()})}"
    if columns.unused and not columns.shape:
        yield f"# columns that are not read: {plain(', '.join(columns.unused[:_MOST_LISTED]))}"
    yield ""
    yield "[acquisition]"
    yield f"file = {toml_value(file)}"
    yield 'where = "not looked up"'
    yield f"steps = {toml_value(f'Drop the score file as {file}, and the clips into clips/.')}"


def _lines(
    root: DataRoot,
    corpus: Corpus,
    read: Annotations,
    proposal: ScoreProposal,
    seen: ClipsSeen,
    wrote: Mapping[str, Path],
) -> list[str]:
    """What was found and done, for people."""
    roles = proposal.columns.roles
    repeats = sum(row.repeats for row in read.rows)
    counts = f"{len(read.rows)} rows, {len(read.usable)} clips with a score"
    counts += f", {repeats} repeated" if repeats else ""
    place = _shown(root.path / corpus.name / "clips")
    clips = f"{seen.clips} of {len(proposal.names)} in {_shown(seen.folder)}"
    if "link" not in wrote:
        link = f"ln -s {shlex.quote(str(seen.folder))} {shlex.quote(place)}"
        clips += f"; to have them found: {link}" if seen.clips else f": put them into {place}"
    facts = [
        ("columns", ", ".join(f"{role} = {name}" for role, name in roles.items())),
        ("not read", ", ".join(proposal.columns.unused[:_MOST_LISTED])),
        ("scale", f"{corpus.scales[0].title}: {proposal.evidence}"),
        ("bounds", f"{proposal.least_rows} to {proposal.most_rows} rows"),
        *([("unusable", first_lines(read.bad))] if read.bad else []),
        *(("look up", line) for line in proposal.look_up),
        ("clips", clips),
        *((what, _shown(path)) for what, path in wrote.items()),
        ("next", f"correct the declaration where it is wrong, then vqa-assets rehearse {corpus.name}"),
    ]
    return [f"{corpus.name}: {counts}", *(f"  {what + ':':<13}{fact}" for what, fact in facts if fact)]


def _scale(scale: MosScale, name: str) -> str:
    if scale.name in OPINION_SCALES:
        return toml_value(scale.name)
    own = name if scale.name == OWN_SCALE else scale.name
    return f"{{ name = {toml_value(own)}, low = {scale.low:g}, high = {scale.high:g} }}"
