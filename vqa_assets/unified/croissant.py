"""The unified corpus as Croissant 1.0 (MLCommons, JSON-LD): files with hashes, columns, licences, citations.

Format: https://docs.mlcommons.org/croissant/docs/croissant-spec.html. Says what the files hold; makes none of them.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from vqa_assets.provenance import file_record
from vqa_assets.tables.parquet import open_parquet
from vqa_assets.tables.specs import UNIFIED_CORPUS
from vqa_assets.unified.columns import unified_columns
from vqa_assets.unified.licences import CorpusLicence, Licences, citations

CONFORMS_TO = "http://mlcommons.org/croissant/1.0"
RECORD_SET = "clips"
FORMAT_VERSION = "1.0.0"
"""Version of the unified corpus's columns; the data version follows it after a plus sign."""
_TYPES = {"string": "sc:Text", "integer": "sc:Integer", "number": "sc:Float", "boolean": "sc:Boolean"}
_CONTEXT: Mapping[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileProperty": "cr:fileProperty",
    "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
"""The context that the specification prescribes."""


@dataclass(frozen=True)
class Described:
    """What a Croissant file is made from: the two files of the same rows, their data version, their licences."""

    jsonl: Path
    parquet: Path
    data_version: str
    licences: Licences


def croissant(described: Described) -> dict[str, Any]:
    """The Croissant document; equal files give an equal document."""
    corpora = described.licences.corpora
    clips = sum(one.clips for one in corpora)
    names = ", ".join(one.title for one in corpora)
    return {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": CONFORMS_TO,
        "name": "unified_corpus",
        "description": f"{clips} video clips with mean opinion scores on 0–100, each clip once, from {names}. "
        f"Clips are named by SHA-256 and not included. {described.licences.consequence}",
        "url": "./",
        "version": f"{FORMAT_VERSION}+{described.data_version}",
        "datePublished": _made_at(described.parquet),
        "license": list(dict.fromkeys(one.licence for one in corpora)),
        "citeAs": " ".join(citations(corpora)),
        "creator": [{"@type": "sc:Organization", "name": one.title, "url": one.homepage} for one in corpora],
        "isBasedOn": [_part(one) for one in corpora],
        "isLiveDataset": False,
        "distribution": [
            _file(described.parquet, "application/x-parquet", "The rows as a table, one row a clip."),
            _file(described.jsonl, "application/jsonlines", "The same rows as JSON Lines."),
        ],
        "recordSet": [_record_set(described.parquet)],
    }


def _part(corpus: CorpusLicence) -> dict[str, Any]:
    return {
        "@type": "sc:Dataset",
        "name": corpus.title,
        "alternateName": corpus.corpus,
        "license": corpus.licence,
        "citeAs": corpus.citation,
        "url": corpus.homepage,
        "description": f"{corpus.clips} clips of it are in the unified corpus.",
    }


def _made_at(parquet: Path) -> str:
    """When the newest row was made, from the rows themselves: a rewritten document stays equal."""
    import polars as pl

    moment: str = unified_columns(parquet, ["aggregated_at_utc"]).select(pl.all().max()).collect().item()
    return moment


def _file(path: Path, kind: str, description: str) -> dict[str, Any]:
    record = file_record(path)
    return {
        "@type": "cr:FileObject",
        "@id": path.name,
        "name": path.name,
        "description": description,
        "contentUrl": path.name,
        "contentSize": f"{record['size_bytes']} B",
        "encodingFormat": kind,
        "sha256": record["sha256"],
    }


def _record_set(parquet: Path) -> dict[str, Any]:
    return {
        "@type": "cr:RecordSet",
        "@id": RECORD_SET,
        "name": RECORD_SET,
        "description": UNIFIED_CORPUS.row,
        "key": {"@id": f"{RECORD_SET}/src_sha256"},
        "field": [_field(*column, parquet.name) for column in _columns(parquet)],
    }


def _columns(parquet: Path) -> Iterator[tuple[str, str, str]]:
    """(name, Croissant type, description) of each column; those without a spec are the corpora's own."""
    specs = {column.name: column for column in UNIFIED_CORPUS.columns}
    for column in open_parquet(parquet).schema_arrow:
        spec = specs.get(column.name)
        if spec is None:
            yield column.name, _type_of(str(column.type)), "A field of some corpora's own, as published; else null"
        else:
            yield column.name, _TYPES[spec.kind], spec.description


def _type_of(arrow: str) -> str:
    kinds = {"int64": "integer", "double": "number", "bool": "boolean"}
    return _TYPES[kinds.get(arrow, "string")]


def _field(name: str, kind: str, description: str, file: str) -> dict[str, Any]:
    return {
        "@type": "cr:Field",
        "@id": f"{RECORD_SET}/{quote(name, safe='')}",
        "name": name,
        "description": description,
        "dataType": kind,
        "source": {"fileObject": {"@id": file}, "extract": {"column": name}},
    }
