"""When help from other corpora is advised: where a corpus has few labels, and others have tables with its columns.

Reads no more than columns and counts. Who then helps is in ``sources``, how in ``assistance``.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from vqa_assets.errors import VqaError
from vqa_assets.heads.recipe import HeadRecipe
from vqa_assets.heads.rows.columns import sources_of
from vqa_assets.heads.settings import EVERY_CORPUS, TrainingSettings, schema_of
from vqa_assets.tables.content_errors import reading
from vqa_assets.tables.parquet import column_names
from vqa_assets.tables.specs import LABELLED, STATUS_COLUMN

LEAST_LABELS = 300
"""Labels below which other corpora are worth a try: with a hundred they gained heads of public corpora .04 to .06."""


def could_help(recipe: HeadRecipe, settings: TrainingSettings, labelled: Mapping[str, Path]) -> tuple[str, ...]:
    """The other corpora whose labelled tables are there and have the columns of a head; none where it takes no help.

    ``labelled`` holds the place of every corpus's labelled table, be it there or not. A table that cannot be read helps
    nobody; whoever reads it says why.
    """
    if not recipe.takes_help:
        return ()
    schema = schema_of(recipe, settings)
    sources = [set(sources_of(name)) for name in schema.scalars] + [{vector.name} for vector in schema.vectors]
    own = {*(settings.tables or recipe.corpora), *settings.extra_tables}
    able = []
    for name, path in labelled.items():
        if name in own or not path.is_file():
            continue
        try:
            have = set(column_names(path))
        except VqaError:
            continue
        if all(have & any_of for any_of in sources):
            able.append(name)
    return tuple(able)


def labels_in(table: Path) -> int:
    """How many rows of a labelled table have an opinion score."""
    import polars as pl

    with reading(table):
        scan = pl.scan_parquet(table, glob=False)
        have = scan.collect_schema().names()
        is_labelled = pl.col(STATUS_COLUMN) == LABELLED if STATUS_COLUMN in have else pl.col("mos").is_not_null()
        return int(scan.select(is_labelled.sum()).collect().item())


def advice_on(labels: int, others: Sequence[str]) -> str:
    """What is said of a head of few labels where others could help it; empty where there is nothing to say."""
    if labels >= LEAST_LABELS or not others:
        return ""
    return (
        f"{labels} labels are few: mos_head with help_from ({EVERY_CORPUS}, or some of {', '.join(others)}) learns "
        "from other corpora too"
    )
