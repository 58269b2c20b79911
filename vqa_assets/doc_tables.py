"""``python -m vqa_assets.doc_tables``: docs/corpora.md, the README's corpus table and the docs' tables of settings.

They are made from the declarations and the settings' models. ``--check`` writes nothing and fails where they differ.
No fact about a corpus stands here.
"""

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from vqa_assets.corpora import CORPORA, ENCODE_GRID_SOURCES, EXTERNAL_SHARDS, Corpus
from vqa_assets.corpora.corpus import GENERAL_SPELLINGS, REDISTRIBUTION, ROLES, VOTE_SPELLINGS
from vqa_assets.corpora.scales import OPINION_SCALES
from vqa_assets.heads.settings import TrainingSettings
from vqa_assets.ingest.settings import IngestSettings
from vqa_assets.labels.settings import LabelSettings
from vqa_assets.printing import tell
from vqa_assets.settings import Settings
from vqa_assets.tables.paths import CODE
from vqa_assets.unified.settings import AggregationSettings

BEGIN, END = "<!-- {}: made by vqa_assets.doc_tables -->", "<!-- /{} -->"
SETTINGS: Mapping[Path, type[Settings]] = {
    Path("docs/ingest.md"): IngestSettings,
    Path("docs/unified-corpus.md"): AggregationSettings,
    Path("docs/labels.md"): LabelSettings,
    Path("docs/features-and-heads.md"): TrainingSettings,
}
"""Pages that hold the table of a stage's settings."""
PAGE, README = Path("docs/corpora.md"), Path("README.md")

_INTRODUCTION = """\
# Corpora

Made from the declarations in `vqa_assets/corpora/` by `python -m vqa_assets.doc_tables`; a test keeps it so.
Put its annotation file into `<root>/<corpus>/` and run `vqa-assets ingest <corpus>`: absent clips that have an address
are downloaded. Each corpus is a partition of its own. No clip, label file or score is shipped with this package:
download them from where they are published, under their licences.
"""

_FORMATS = """\
## Annotation files

The content of a file decides its format, not its name: CSV, TSV, semicolons (`3,5` is then 3.5), values between blanks
or bars, JSON lists of objects or of lists, `.xlsx` (the sheet called MOS, else the first), MATLAB's `.mat` of version 5
to 7, with the extra `mat73` of 7.3 too (names in an array such as `video_names`, scores in `scores` or `mos`; arrays of
their length are further columns).
Comments (`#`, `%`, `//`) and Excel's `sep=;` may stand above the header. A byte order mark, CRLF, a missing
final newline, quoted commas and quoted numbers are ordinary. Column names are compared without case; a corpus's own
come before the general ones, and the first that is not empty wins:

{spellings}

A file without a header is understood where its corpus declares the shape. Rows that cannot be used are counted with
their line numbers; more than 5 % of them, or no usable row, is an error. Equal repetitions of a clip are kept once; a
clip with two scores is rejected by name. The whole file decides the scale of its scores, never a row: the narrowest of
the declared ones that holds them, and where some would fit and others not, none; `mos_scale` in the run config or
`ingest.toml` overrules it. Scores stay in the rows as published, on `mos_scale`; where the corpus is
declared with `polarity = "dmos"` the rows say `mos_polarity`, and every map onto 1–5 or 0–100 turns them round. A score
column called `dmos` is refused without that declaration. Further scores of a clip (`scores`) are `mos_<name>` in the
rows, with `mos_<name>_scale` and `mos_<name>_polarity` where these are not those of `mos`; one that is no number or off
its scale is counted and left out, and its row stays.
"""

_OWN = """\
## A corpus of your own

`vqa-assets new-corpus scores.csv` proposes one from a score file ([adding a corpus](adding-a-corpus.md)). It is a TOML
file in `<root>/corpora`, or in the folder that `VQA_CORPORA_DIR` names; it is read when the definitions load, and the
corpus is a partition with every check. A mistake is an error that names file, field and remedy.

```toml
{example}```

Its fields are those of `Corpus` (`vqa_assets/corpora/corpus.py`). Without a default: {required}. The others:
{optional}.
"""

EXAMPLE = """\
name = "my-clips"
title = "My clips"
version = "my-clips-1"
scales = ["0-100-continuous"]        # or "1-5-acr", or { name = "0-10", low = 0, high = 10 }; several: the file decides
polarity = "mos"                     # dmos where a high score means bad quality
spread = "sd"                        # sd, se, ci95, or none where none is published
licence = "as you have it"
redistribution = "research-only"     # attribution, research-only, non-commercial-share-alike, unknown
citation = "Who, what, where, when."
homepage = "https://example.org/"
expected_clips = 500
size = "3 GB"
bytes_per_clip = 6_000_000
min_rows = 400
max_rows = 600
scores = { technical = "T" }         # further scores: name = column, or { column = "T", scale = …, polarity = … }
own_spellings = { mos = ["quality"], content = ["scene"] }
headerless = [["name", "mos"]]
extra_columns = [{ field = "my_device", columns = ["device"] }]

[acquisition]
file = "manifest.csv"
where = "https://example.org/"
steps = "Drop the score file as manifest.csv and the clips into clips/."
"""


def corpus_table(corpora: Mapping[str, Corpus] = CORPORA) -> str:
    """The corpora as a Markdown table, one row each."""
    columns: dict[str, Callable[[Corpus], str]] = {
        "corpus": lambda c: f"[`{c.name}`]({PAGE}#{c.name})",
        "clips": lambda c: f"{c.expected_clips:,}".replace(",", " "),
        "size": lambda c: c.size,
        "scale": _scales,
        "clips come from": _source,
        "rows of an ordinary run": lambda c: "all" if c.default_cap is None else f"first {c.default_cap}",
        "licence": lambda c: c.licence,
    }
    return table(list(columns), [[shown(corpus) for shown in columns.values()] for corpus in corpora.values()])


def page(corpora: Mapping[str, Corpus] = CORPORA) -> str:
    """docs/corpora.md."""
    own = _OWN.format(
        example=EXAMPLE, required=", ".join(_fields(required=True)), optional=", ".join(_fields(required=False))
    )
    parts = [
        _INTRODUCTION,
        corpus_table(corpora).replace(f"({PAGE}#", "(#"),
        *(section(corpus) for corpus in corpora.values()),
        _others(),
        _FORMATS.format(spellings=_spellings_table()),
        own,
    ]
    return "\n".join(parts)


def section(corpus: Corpus) -> str:
    """One corpus: its facts, how to get it, and every layout that is understood."""
    facts = {
        "version": f"`{corpus.version}`",
        "clips": f"{corpus.expected_clips:,}".replace(",", " "),
        "size": corpus.size,
        "scale": _scales(corpus),
        "published spread": corpus.spread or "none",
        "rows accepted": _bounds(corpus),
        "licence": corpus.licence,
        "a head trained on it": REDISTRIBUTION[corpus.redistribution],
        "citation": corpus.citation,
        "homepage": f"<{corpus.homepage}>",
    }
    rows = table(["", ""], [[name, text] for name, text in facts.items()])
    layouts = "\n".join(f"- {line}" for line in _layouts(corpus))
    return f"## {corpus.name}\n\n{rows}\n{corpus.acquisition.steps} (<{corpus.acquisition.where}>)\n\n{layouts}\n"


def between_markers(text: str, what: str, inside: str) -> str:
    """The text with what stands between the markers of ``what`` replaced; the text itself where it has none."""
    before, begin, rest = text.partition(BEGIN.format(what))
    _, end, after = rest.partition(END.format(what))
    return f"{before}{begin}\n{inside}{end}{after}" if begin and end else text


def settings_table(stage: type[Settings]) -> str:
    """A stage's settings as a Markdown table, from the sentences that forms show."""
    rows = []
    for name, text in stage.help().items():
        # A placeholder such as <root> would be taken for HTML.
        default = f"`{text.default}`" if "<" in text.default else text.default
        rows.append([f"`{name}`", " ".join([text.sentence, *text.bounds]), default])
    return table(["setting", "what", "default"], rows)


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(text.replace('|', chr(92) + '|') for text in line)} |\n" for line in lines)


def _scales(corpus: Corpus) -> str:
    own = (
        one.title if one.name in OPINION_SCALES else f"{one.title} ({one.low:g} to {one.high:g})"
        for one in corpus.scales
    )
    names = " or ".join(own)
    return names if corpus.stored_scale is None else f"{names}, stored as {corpus.stored_scale.name}"


def _bounds(corpus: Corpus) -> str:
    most = "" if corpus.max_rows is None else f", at most {corpus.max_rows}"
    cap = "all of them" if corpus.default_cap is None else f"the first {corpus.default_cap} unless `full`"
    return f"at least {corpus.min_rows}{most}; an ordinary run takes {cap}"


def _source(corpus: Corpus) -> str:
    sources = ["archives (`fetch`)"] if corpus.archives else []
    sources += ["public bucket"] if corpus.bucket_prefix else []
    sources += ["Hugging Face Hub"] if corpus.hf else []
    return ", ".join([*sources, "URL column", "or staged by hand"])


def _layouts(corpus: Corpus) -> Iterator[str]:
    """What is understood of the corpus's files, a line each."""
    yield f"annotation file: {' or '.join(f'`{name}`' for name in corpus.annotation_files)}"
    if corpus.parts:
        yield "or in parts: " + ", ".join(
            f"`{p.file}` (`{p.field}` {f'= `{p.value}`' if p.value else 'by a column'}"
            + (f"; SD and count from the single votes in `{p.votes}`)" if p.votes else ")")
            for p in corpus.parts
        )
    own = [f"{role} {_quoted(names)}" for role in ROLES if (names := corpus.own_spellings.names(role))]
    if own:
        yield f"own column names: {'; '.join(own)}"
    last = [f"{role} {_quoted(names)}" for role in ROLES if (names := corpus.last_spellings.names(role))]
    if last:
        yield f"only where no other column says it: {'; '.join(last)}"
    if corpus.renamed_columns:
        yield "columns read as others: " + ", ".join(f"`{c.column}` as `{c.name}`" for c in corpus.renamed_columns)
    for shape in corpus.headerless:
        yield f"without a header: `{', '.join(name or '…' for name in shape)}`"
    if corpus.clip_name:
        yield f"clip names made of columns: `{corpus.clip_name}`"
    for one in corpus.contents_in_names:
        yield f"contents by name: `{one.name}` shows `{one.content}`" + _counted(one.numbers)
    if corpus.codecs:
        yield f"codecs, by a column or by such a name: {_quoted(corpus.codecs)}"
    folders = _quoted(f"{name}/" for name in ("clips", *corpus.clip_folders))
    yield f"clips: {folders}; suffix `{corpus.clip_suffix}`"
    if corpus.also_named or corpus.also_starting:
        yield f"on disk also: {_quoted([*corpus.also_named, *(f'{start}…' for start in corpus.also_starting)])}"
    yield from _places(corpus)
    if corpus.raw_video:
        raw = corpus.raw_video
        size = f"{raw.width}×{raw.height}, {raw.framerate:g} fps, {raw.pix_fmt}"
        yield f"raw clips: {size} unless `[raw_video]` in `ingest.toml` says otherwise"
    if carried := [score.field for score in corpus.scores] + [column.field for column in corpus.extra_columns]:
        yield f"carried into the rows: {_quoted(carried)}"


def _places(corpus: Corpus) -> Iterator[str]:
    """Where absent clips are fetched from, a line each."""
    if corpus.bucket_prefix:
        places = (template.replace("{name}", "<name>") for template in corpus.addresses)
        yield f"clips without a URL: {' or '.join(f'`{corpus.bucket_prefix}{place}`' for place in places)}"
    if corpus.hf:
        yield f"absent clips without a URL: from `{corpus.hf}` on the Hugging Face Hub"
    if corpus.archives:
        yield f"fetched on request: {_quoted([a.file for a in corpus.archives])} from <{corpus.archive_base}>"


def _counted(numbers: int) -> str:
    return f", of {numbers} consecutive numbers one" if numbers > 1 else ""


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _others() -> str:
    rows = [
        [f"`{s.name}`", f"a shard of yours at `<root>/{s.jsonl}`, read by `unified_corpus`", s.licence, s.citation]
        for s in EXTERNAL_SHARDS.values()
    ]
    rows += [
        [f"`{s.name}`", f"encode grid: {s.clips} clips, {s.size}".removesuffix(", "), s.licence, s.citation]
        for s in ENCODE_GRID_SOURCES.values()
    ]
    return "## Sources without opinions\n\n" + table(["name", "what", "licence", "citation"], rows)


def _spellings_table() -> str:
    rows = [[role, _quoted(names)] for role in ROLES if (names := GENERAL_SPELLINGS.names(role))]
    rows.append(["vote, in files of single votes", _quoted(VOTE_SPELLINGS)])
    return table(["meaning", "column names"], rows)


def _fields(*, required: bool) -> list[str]:
    return [f"`{name}`" for name, field in Corpus.model_fields.items() if field.is_required() is required]


def made(folder: Path) -> dict[Path, str]:
    """What the files under a checkout should hold: the page, and the README where there is one."""
    tables = {README: ("corpora", corpus_table())}
    tables |= {path: ("settings", settings_table(stage)) for path, stage in SETTINGS.items()}
    files = {folder / PAGE: page()}
    for path, (what, inside) in tables.items():
        if (folder / path).is_file():  # a package that is installed has no docs
            files[folder / path] = between_markers((folder / path).read_text(encoding="utf-8"), what, inside)
    return files


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; exit status 1 where ``--check`` finds a difference."""
    parser = argparse.ArgumentParser(prog="python -m vqa_assets.doc_tables", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail where a file differs")
    options = parser.parse_args(arguments)
    stale = [
        path for path, text in made(CODE).items() if not path.is_file() or path.read_text(encoding="utf-8") != text
    ]
    for path in stale:
        tell(f"{path.relative_to(CODE)} {'differs from the code' if options.check else 'written'}")
        if not options.check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(made(CODE)[path], encoding="utf-8")
    return 1 if options.check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
