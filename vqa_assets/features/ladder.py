"""Ladder corpora: which clip each clip is an encode of. What is compared, and how, is in ``libvmaf``."""

from collections.abc import Mapping, Sequence
from typing import Any

from vqa_assets.corpora import Corpus

Row = Mapping[str, Any]


def reference_field(corpus: Corpus) -> str:
    """The corpus-row field that holds 1 for the reference clip of its content; empty where there is no ladder."""
    names = set(corpus.own_spellings.reference)
    return next((column.field for column in corpus.extra_columns if names.intersection(column.columns)), "")


def references(corpus: Corpus, rows: Sequence[Row]) -> list[Row | None] | None:
    """Of each row the row of its reference (a reference's is itself), None where there is none; None without a ladder.

    Of several references of one content the first that is of the clip's orientation counts, else the first.
    """
    field = reference_field(corpus)
    if not field:
        return None
    of_content: dict[str, list[Row]] = {}
    for row in rows:
        if row.get(field) == 1 and row.get("content_id"):
            of_content.setdefault(row["content_id"], []).append(row)
    return [row if row.get(field) == 1 else _best(row, of_content.get(row.get("content_id", ""), [])) for row in rows]


def _best(row: Row, found: Sequence[Row]) -> Row | None:
    alike = (one for one in found if _is_portrait(one) == _is_portrait(row))
    return next(alike, found[0] if found else None)


def _is_portrait(row: Row) -> bool:
    return bool(row["height"] > row["width"])
