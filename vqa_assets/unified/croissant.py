"""The unified corpus as Croissant 1.0 (MLCommons, JSON-LD): files with hashes, columns, licences, citations.

Format: https://docs.mlcommons.org/croissant/docs/croissant-spec.html. Says what the files hold; makes none of them.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from vqa_assets.tables.parquet import open_parquet
from vqa_assets.tables.publication import Publication
from vqa_assets.tables.specs import UNIFIED_CORPUS
from vqa_assets.unified.description import CorpusLicence, Licences
from vqa_assets.unified.table import unified_columns

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


def croissant(
    publication: Publication, jsonl: Path, parquet: Path, data_version: str, licences: Licences
) -> dict[str, Any]:
    """The Croissant document of two files of the same rows as they will stand; equal files give an equal document."""
    import polars as pl

    corpora = licences.corpora
    clips = sum(one.clips for one in corpora)
    names = ", ".join(one.title for one in corpora)
    # when the newest row was made, not when this document was: rewritten, it stays equal
    table = publication.lies_at(parquet)
    newest = unified_columns(table, ["aggregated_at_utc"]).select(pl.all().max()).collect().item()
    return {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": CONFORMS_TO,
        "name": "unified_corpus",
        "description": f"{clips} video clips with mean opinion scores on 0–100, each clip once, from {names}. "
        f"Clips are named by SHA-256 and not included. {licences.consequence}",
        "url": "./",
        "version": f"{FORMAT_VERSION}+{data_version}",
        "datePublished": newest,
        # the document must not claim one licence for all: every corpus's stands here, and beside the corpus below
        "license": list(dict.fromkeys(one.licence for one in corpora)),
        "citeAs": " ".join(licences.citations),
        "creator": [{"@type": "sc:Organization", "name": one.title, "url": one.homepage} for one in corpora],
        "isBasedOn": [_part(one) for one in corpora],
        "isLiveDataset": False,
        "distribution": [
            _file(parquet, publication, "application/x-parquet", "The rows as a table, one row a clip."),
            _file(jsonl, publication, "application/jsonlines", "The same rows as JSON Lines."),
        ],
        "recordSet": [
            {
                "@type": "cr:RecordSet",
                "@id": RECORD_SET,
                "name": RECORD_SET,
                "description": UNIFIED_CORPUS.row,
                "key": {"@id": f"{RECORD_SET}/src_sha256"},
                "field": _fields(table, parquet.name),
            }
        ],
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


def _file(path: Path, publication: Publication, kind: str, description: str) -> dict[str, Any]:
    content = publication.content(path)
    return {
        "@type": "cr:FileObject",
        "@id": path.name,
        "name": path.name,
        "description": description,
        "contentUrl": path.name,
        "contentSize": f"{content.size_bytes} B",
        "encodingFormat": kind,
        "sha256": content.sha256,
    }


def _fields(parquet: Path, name: str) -> list[dict[str, Any]]:
    """Every column of the table; those without a column spec are the corpora's own."""
    specs = {column.name: column for column in UNIFIED_CORPUS.columns}
    kinds = {"int64": "integer", "double": "number", "bool": "boolean"}
    fields = []
    for column in open_parquet(parquet).schema_arrow:
        spec = specs.get(column.name)
        fields.append(
            {
                "@type": "cr:Field",
                "@id": f"{RECORD_SET}/{quote(column.name, safe='')}",
                "name": column.name,
                "description": spec.description if spec else "A field of some corpora's own, as published; else null",
                "dataType": _TYPES[spec.kind if spec else kinds.get(str(column.type), "string")],
                "source": {"fileObject": {"@id": name}, "extract": {"column": column.name}},
            }
        )
    return fields
