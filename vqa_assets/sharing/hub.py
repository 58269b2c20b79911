"""What goes into a folder for the Hugging Face Hub: of a corpus its labelled table, of all corpora the unified ones, a
head.

Files are copied byte for byte, after it was seen that they are what their stage wrote. A head's predictions stay: they
hold the scores of single clips. How cards are written is in ``cards``.
"""

import shlex
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vqa_assets.corpora import ENCODE_GRID_SOURCES, EXTERNAL_SHARDS, Corpus, ExternalShard
from vqa_assets.corpora.corpus import REDISTRIBUTION, strictest
from vqa_assets.errors import HeadError, Make, SettingsError, SharingError
from vqa_assets.printing import cell
from vqa_assets.provenance.reading import changed_input
from vqa_assets.sharing.cards import as_object, card, dataset_metadata, dataset_text, model_metadata
from vqa_assets.sharing.folder import FolderDraft, publishing_folder
from vqa_assets.sharing.licences import LICENCE_FILE, LicensedSource, licence_text, refuse_forbidden
from vqa_assets.tables.content_errors import reading
from vqa_assets.tables.files import json_bytes, place_to_read, read_json_object
from vqa_assets.tables.makers import Sealed, Wrote, made_by, recorded_otherwise
from vqa_assets.tables.networks import networks_of
from vqa_assets.tables.parquet import column_names, table_version
from vqa_assets.tables.paths import DataRoot
from vqa_assets.tables.specs import CLIP_FEATURES, MOS_FEATURES, UNIFIED_CORPUS, UNIFIED_FEATURES, Table

CARD = "README.md"
UNIFIED = ("unified_corpus", "unified_features")
"""The tables over all corpora, by the names of their assets."""
OF_NO_CORPUS = "(no corpus named)"
"""What rows are of that name no corpus."""
_AGAIN = "train the head again, or put its files back"
_CROISSANT = "croissant.json"
_LABELLED = Table(
    "labelled",
    MOS_FEATURES.row,
    # what is measured is a matter of the families: the columns that say whose clip a row is, and its label
    (*(c for c in CLIP_FEATURES.columns if c.required), *MOS_FEATURES.columns),
)


@dataclass(frozen=True)
class SharedTable:
    """A table that may be passed on: where it lies, its title, its columns, the asset that makes it."""

    path: Path
    title: str
    table: Table
    asset: str
    corpus_column: str = "corpus"


def shareable(root: DataRoot, corpora: Mapping[str, Corpus]) -> list[str]:
    """Everything that has a name to be passed on by: corpora, the unified tables, the heads that are there."""
    return [*corpora, *UNIFIED, *heads_of(root)]


def heads_of(root: DataRoot) -> dict[str, Path]:
    """Name → ONNX of the heads under a data root, experiments last."""
    folders = (root.models(), root.experiments())
    return {path.stem: path for folder in folders for path in sorted(folder.glob("*.onnx"))}


def publish(
    what: str, target: Path, root: DataRoot, corpora: Mapping[str, Corpus], *, may: bool = False
) -> tuple[str, ...]:
    """Write the folder ``target`` of one of the ``shareable`` names, and say in lines what is in it.

    SharingError where a licence forbids it (``may`` is the operator's word that it is allowed all the same), where
    nothing is there to be passed on, and where ``target`` is no folder of ours; TableError, SchemaError or HeadError
    where a file is damaged.
    """
    if what in corpora or what in UNIFIED:
        lines = _publish_table(what, _table_of(what, root, corpora), target, root, corpora, may=may)
        return *lines, f"hf upload OWNER/NAME {shlex.quote(str(target))} --repo-type dataset takes it to the Hub"
    lines = _publish_head(what, heads_of(root)[what], target, corpora, may=may)
    return *lines, f"hf upload OWNER/NAME {shlex.quote(str(target))} takes it to the Hub"


def _table_of(what: str, root: DataRoot, corpora: Mapping[str, Corpus]) -> SharedTable:
    if what == "unified_corpus":
        path = root.unified_corpus().with_suffix(".parquet")
        return SharedTable(path, "Unified corpus of video quality", UNIFIED_CORPUS, what, "corpus_source")
    if what == "unified_features":
        title = "Features of the unified corpus of video quality"
        return SharedTable(root.unified_features(), title, UNIFIED_FEATURES, what)
    title = f"{corpora[what].title}: features with opinion scores"
    return SharedTable(root.labelled(corpora[what]), title, _LABELLED, "mos_features")


def _publish_table(
    what: str, shared: SharedTable, target: Path, root: DataRoot, corpora: Mapping[str, Corpus], *, may: bool
) -> tuple[str, ...]:
    if not place_to_read(shared.path).is_file():
        partition = "" if what in UNIFIED else f" --partition {what}"
        raise SharingError(
            f"{what}: nothing to publish yet",
            found=f"found no {shared.path}",
            expected=f"the table that {shared.asset} makes",
            next_step=f"vqa-assets materialize {shared.asset}{partition}",
        )
    sha256 = _whole_table(shared.path)
    rows, labelled, inside = _facts(shared)
    if not rows:
        raise SharingError(
            f"{what}: nothing to publish",
            found=f"no row in {shared.path}",
            expected="a table with rows",
            next_step=Make(shared.asset, " again, and look at what it left out"),
        )
    names = dict.fromkeys([*([] if what in UNIFIED else [what]), *inside])
    declared: dict[str, Corpus | ExternalShard] = {**corpora, **EXTERNAL_SHARDS}
    of_corpora = [LicensedSource.of(name, declared.get(name)) for name in names]
    sources = [*of_corpora, *_networks(shared.path, root)]
    at_word = refuse_forbidden(sources, what, scores=True, may=may)
    croissant = _croissant(shared.path, sha256) if what == "unified_corpus" else None
    # The Hub finds a table by this pattern; a Croissant document knows it by the name it has here.
    data_file = shared.path.name if croissant else "data/train-00000-of-00001.parquet"
    # Rows of a corpus's own table that name none are its own.
    counted = {name: inside.get(name, 0) for name in names}
    counted |= {} if what in UNIFIED else {what: counted[what] + rows - sum(inside.values())}
    lead = [
        f"{rows} rows, {labelled} of them with a score",
        *(f"{counted[one.name]} rows of {cell(one.title)} (`{cell(one.name)}`)" for one in of_corpora),
    ]
    strictest_word = strictest(source.redistribution for source in sources)
    text = dataset_text(
        shared.title,
        lead,
        shared.table,
        column_names(shared.path),
        data_file,
        f"The table {REDISTRIBUTION[strictest_word]}.",
    )
    with publishing_folder(target, what) as draft:
        _copy(draft, data_file, shared.path, sha256)
        if croissant:
            draft.write(_CROISSANT, json_bytes(croissant))
        draft.write(CARD, card(dataset_metadata(shared.title, sources, rows, data_file), text))
        draft.write(LICENCE_FILE, licence_text(sources, at_word).encode())
        draft.facts.update(rows=rows, labelled=labelled, corpora=counted, at_your_word=list(at_word))
    return (
        f"{what}: {rows} rows, {labelled} of them with a score, {len(column_names(shared.path))} columns"
        + (", with Croissant metadata" if croissant else ""),
        *_licence_lines(sources, at_word),
    )


def _networks(path: Path, root: DataRoot) -> list[LicensedSource]:
    """The pretrained networks whose vectors a table holds, by the declarations of the root's backbones.

    Of one that is not there, or is another one now, no licence is known.
    """
    from vqa_assets.backbones.folder import backbone_named

    sources = []
    for name, recorded in networks_of(path).items():
        known = None
        with suppress(SettingsError):
            known = backbone_named(name, root)
        if known is None or known.recorded != recorded:
            sources.append(LicensedSource.of(name, None))
        else:
            sources.append(LicensedSource(name, known.title, known.licence, known.redistribution, known.citation))
    return sources


def _whole_table(path: Path) -> str:
    """The SHA-256 of a table that can be read to its end and is what its stage wrote, where that is known."""
    made = made_by(path)
    if made is not None and made.content in (Wrote.CHANGED, Wrote.DAMAGED):
        raise SharingError(
            f"{path}",
            found=f"a table {made.content}",
            expected=f"what {made.stage} wrote",
            next_step=Make(made.stage),
        )
    if made is None or not made.is_ours:
        table_version(path)
    return (made.sha256 if made else "") or Sealed.of(place_to_read(path)).sha256


def _facts(shared: SharedTable) -> tuple[int, int, dict[str, int]]:
    """(rows, rows with a score, rows of each corpus that the table itself names, by name).

    Rows of a table over all corpora that name none are ``OF_NO_CORPUS``: nobody knows what their licence lets one do.
    """
    import polars as pl

    with reading(shared.path):
        table = pl.scan_parquet(place_to_read(shared.path), glob=False)
        have = table.collect_schema().names()
        scored = pl.col("mos").is_not_null() if "mos" in have else pl.lit(value=False)
        rows, labelled = table.select(pl.len(), scored.sum().alias("labelled")).collect().row(0)
        stated = (
            pl.col(shared.corpus_column).cast(pl.String) if shared.corpus_column in have else pl.lit(None, pl.String)
        )
        named = stated.fill_null(OF_NO_CORPUS) if shared.asset in UNIFIED else stated
        of = table.with_columns(named.alias("corpus")).select("corpus")
        counted = of.drop_nulls().group_by("corpus").len().sort("corpus").collect()
    return int(rows), int(labelled), dict(counted.iter_rows())


def _croissant(parquet: Path, sha256: str) -> dict[str, Any] | None:
    """The Croissant document beside the unified table, of the files that are passed on; None where there is none."""
    path = parquet.with_suffix(".croissant.json")
    if not path.is_file():
        return None
    document = read_json_object(path)
    files = document.get("distribution")
    kept = (
        [one for one in map(as_object, files) if one.get("contentUrl") == parquet.name]
        if isinstance(files, list)
        else []
    )
    if [one.get("sha256") for one in kept] != [sha256]:
        raise SharingError(
            f"{path}",
            found="a Croissant document of another table",
            expected=f"one that names {parquet.name} with SHA-256 {sha256}",
            next_step=Make("unified_corpus"),
        )
    return {**document, "distribution": kept}


def _publish_head(what: str, onnx: Path, target: Path, corpora: Mapping[str, Corpus], *, may: bool) -> tuple[str, ...]:
    from vqa_assets.heads.using import open_head

    opened = open_head(onnx)
    head = opened.manifest
    path = onnx.with_suffix(".json")
    manifest = read_json_object(path)
    if manifest.get("sha256") != head.sha256 or recorded_otherwise(path, Sealed.of(place_to_read(path)).sha256):
        raise HeadError(f"{path}", found="it changed since it was published", expected="as published", next_step=_AGAIN)
    if head.synthetic or manifest.get("smoke"):
        raise SharingError(
            f"{what} is not passed on",
            found="a head of made-up rows, which says nothing about any video",
            expected="a head of a corpus",
            next_step="train it on labelled clips",
        )
    sources = head_sources(manifest, corpora, path)
    _refuse_freer_than_the_file(sources, opened.session.get_modelmeta().custom_metadata_map, path)
    at_word = refuse_forbidden(sources, what, scores=False, may=may)
    beside = onnx.with_name(f"{onnx.stem}_card.md")
    picture = onnx.with_name(f"{onnx.stem}_card.png")
    edited = beside.is_file() and recorded_otherwise(beside, Sealed.of(beside).sha256)
    with reading(beside, expected="a card in UTF-8", next_step=_AGAIN):
        text = beside.read_text(encoding="utf-8").strip() if beside.is_file() else ""
    text = text or _rendered(manifest, path, picture).strip()
    hub_datasets = [one.hf.partition("@")[0] for s in sources if (one := corpora.get(s.name)) is not None and one.hf]
    metadata = model_metadata(manifest, sources, hub_datasets)
    with publishing_folder(target, what) as draft:
        _copy(draft, onnx.name, onnx, head.sha256)
        draft.copy(path.name, path)
        if read_json_object(draft.path / path.name) != manifest:
            raise changed_input(path)
        if picture.is_file():
            draft.copy(picture.name, picture)
        draft.write(CARD, card(metadata, f"{text}\n\nEvery licence, and whom to cite: [{LICENCE_FILE}](LICENSE.md)."))
        draft.write(LICENCE_FILE, licence_text(sources, at_word).encode())
        draft.facts.update(status=head.status, corpora=[one.name for one in sources], at_your_word=list(at_word))
    results = metadata.get("model-index", [{"results": []}])[0]["results"]
    figures = sum(len(result["metrics"]) for result in results)
    told = f"{figures} figures of {len(results)} judgements" if results else "no figures: its manifest holds none"
    by_hand = [f"{beside.name} was changed since it was published: it goes as it is"] if edited else []
    return f"{what}: {head.status}, {told}", *by_hand, *_licence_lines(sources, at_word)


def head_sources(manifest: Mapping[str, Any], corpora: Mapping[str, Corpus], path: Path) -> list[LicensedSource]:
    """Whose licences a head is under, by its manifest: corpora, those that helped, and networks whose vectors it reads.

    HeadError where the manifest names none, or not what one allows.
    """
    helped = as_object(manifest.get("help"))
    parts = [manifest.get("corpora"), helped.get("corpora") if helped.get("used") else None, manifest.get("backbones")]
    sources: dict[str, LicensedSource] = {}
    for part in parts:
        for name, one in as_object(part).items():
            known = {
                key: str(as_object(one).get(key, "")) for key in ("title", "licence", "redistribution", "citation")
            }
            if known["redistribution"] not in REDISTRIBUTION:
                raise HeadError(
                    f"{path}: redistribution of {name}",
                    found=repr(known["redistribution"]),
                    expected=", ".join(REDISTRIBUTION),
                    next_step=_AGAIN,
                )
            declared = {**ENCODE_GRID_SOURCES, **EXTERNAL_SHARDS, **corpora}.get(name)
            sources.setdefault(name, LicensedSource(name, **known, homepage=getattr(declared, "homepage", "")))
    if not sources:
        raise HeadError(
            f"{path}: corpora", found="none", expected="what the head was trained on, with licences", next_step=_AGAIN
        )
    return list(sources.values())


def _refuse_freer_than_the_file(sources: Sequence[LicensedSource], metadata: Mapping[str, str], path: Path) -> None:
    """HeadError where the ONNX says of itself that it may less than its manifest says: somebody edited that."""
    word, said = strictest(source.redistribution for source in sources), metadata.get("redistribution", "")
    of_file = next((known for known, sentence in REDISTRIBUTION.items() if sentence == said), word)
    if strictest([word, of_file]) != word:
        raise HeadError(
            f"{path}: redistribution",
            found=f"a head that {REDISTRIBUTION[word]}",
            expected=f"one that {said} (its ONNX)",
            next_step=_AGAIN,
        )


def _rendered(manifest: Mapping[str, Any], path: Path, picture: Path) -> str:
    """The card of a head whose own is gone."""
    from jinja2 import UndefinedError

    from vqa_assets.heads.card import render_card

    try:
        return render_card(manifest, picture.name if picture.is_file() else "")
    except (UndefinedError, KeyError, TypeError, StopIteration) as error:
        found = f"no card beside it, and none can be made of it ({error})"
        raise HeadError(f"{path}", found=found, expected="its card", next_step=_AGAIN) from error


def _copy(draft: FolderDraft, name: str, source: Path, sha256: str) -> None:
    """Copy a file that is known by its hash; ChangedInputError where other bytes came."""
    if draft.copy(name, source) != sha256:
        raise changed_input(source)


def _licence_lines(sources: Sequence[LicensedSource], at_word: Sequence[str]) -> tuple[str, ...]:
    word = strictest(source.redistribution for source in sources)
    told = f"licences of {', '.join(source.name for source in sources)}: it {REDISTRIBUTION[word]}"
    return told, *([f"at your word (--i-may): {', '.join(at_word)}"] if at_word else [])
