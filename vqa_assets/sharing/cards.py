"""The card of a folder for the Hugging Face Hub: metadata as YAML between two lines ``---``, then Markdown.

Formats: https://github.com/huggingface/hub-docs/blob/main/datasetcard.md and modelcard.md. What is in a folder is
chosen in ``hub``.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import yaml

from vqa_assets.printing import cell, plain_values
from vqa_assets.sharing.licences import LicensedSource, hub_licence
from vqa_assets.tables.specs import Table

TASK = "tabular-regression"
"""The Hub's name of what our tables are for and our heads do: numbers of a clip in, a score out."""
TAGS = ("video-quality-assessment", "vqa-assets")
_OPINIONS = "mean-opinion-score"
_METRICS = {
    "srocc": ("spearmanr", "SROCC"),
    "plcc": ("pearsonr", "PLCC"),
    "krocc": ("kendalltau", "KROCC"),
    "rmse": ("rmse", "RMSE"),
}
"""A manifest's figure → the Hub's name of the metric, and the field's."""
_FOLDS = {"folds": "folds by content", "split": "the corpora's own split", "sources": "folds by source content"}
_UNITS = "KMBT"
_COLUMNS_NAMED = 6


def card(metadata: Mapping[str, Any], text: str) -> bytes:
    """The card's file, UTF-8. What a person would not see in the metadata is escaped."""
    block = yaml.safe_dump(plain_values(dict(metadata)), sort_keys=False, allow_unicode=True, width=120)
    return f"---\n{block}---\n\n{text.strip()}\n".encode()


def size_category(rows: int) -> str:
    """The Hub's word for a number of rows: ``n<1K``, ``1K<n<10K``, … ``n>1T``."""
    if rows < 1_000:
        return "n<1K"
    power = int(math.log10(rows + 0.5))
    if power >= 12:
        return "n>1T"
    low, high = (f"{10 ** (p % 3)}{_UNITS[p // 3 - 1]}" for p in (power, power + 1))
    return f"{low}<n<{high}"


def dataset_metadata(title: str, sources: Sequence[LicensedSource], rows: int, data_file: str) -> dict[str, Any]:
    """The metadata of a table of ``rows`` in one Parquet file, ``data_file`` inside the folder.

    The Hub calls a table's only part ``train``; which rows train is for a column to say.
    """
    return {
        **hub_licence(sources),
        "pretty_name": title,
        "task_categories": [TASK],
        "size_categories": [size_category(rows)],
        "tags": [*TAGS, _OPINIONS, *(source.name for source in sources)],
        "configs": [{"config_name": "default", "data_files": [{"split": "train", "path": data_file}]}],
    }


def dataset_text(
    title: str,
    lead: Sequence[str],
    table: Table,
    names: Sequence[str],
    data_file: str,
    consequence: str,
) -> str:
    """The text of a dataset's card: what a row is, how to read it, its columns.

    Columns of ``table`` are described, others named; ``consequence`` says what the licences let one do.
    """
    described = {column.name: column.description for column in table.columns}
    known = [name for name in names if name in described]
    others = [name for name in names if name not in described]
    shown = ", ".join(f"`{cell(name)}`" for name in others[:_COLUMNS_NAMED])
    more = f" and {len(others) - _COLUMNS_NAMED} more" if len(others) > _COLUMNS_NAMED else ""
    rest = [f"{len(others)} further columns, as measured or as their corpus published them: {shown}{more}.", ""]
    return "\n".join(
        [
            f"# {cell(title)}",
            "",
            table.row,
            "",
            *(f"- {line}" for line in lead),
            "",
            f"{consequence} [Every licence, and whom to cite](LICENSE.md). Clips are named and not included.",
            "",
            "```python",
            "import polars as pl",
            "",
            f'rows = pl.read_parquet("{data_file}")',
            "```",
            "",
            "| column | what |",
            "| --- | --- |",
            *(f"| `{name}` | {cell(described[name])} |" for name in known),
            "",
            *(rest if others else []),
        ]
    )


def model_metadata(
    manifest: Mapping[str, Any], sources: Sequence[LicensedSource], hub_datasets: Sequence[str]
) -> dict[str, Any]:
    """The metadata of a head, with the results that its manifest holds; without any there is no ``model-index``."""
    results = model_results(manifest)
    measured = dict.fromkeys(metric["type"] for result in results for metric in result["metrics"])
    index = [{"name": str(manifest["id"]), "results": results}]
    return {
        **hub_licence(sources),
        "library_name": "onnx",
        "pipeline_tag": TASK,
        "tags": [*TAGS, *([] if manifest.get("target") == "vmaf" else [_OPINIONS]), "onnx"],
        **({"datasets": list(hub_datasets)} if hub_datasets else {}),
        **({"metrics": list(measured), "model-index": index} if results else {}),
    }


def model_results(manifest: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The results of a head as a ``model-index`` holds them: one entry for each set of rows that judged it.

    Mean over the folds, then per corpus where there are several, then rows held out, then test rows of given splits.
    Figures that are not defined are left out, and entries without any.
    """
    corpora = as_object(manifest.get("corpora"))
    whole = ("+".join(corpora), ", ".join(str(as_object(one).get("title", name)) for name, one in corpora.items()))
    folds = as_object(manifest.get("folds"))
    how = _FOLDS.get(str(folds.get("kind")), "folds")
    each = as_object(folds.get("per_corpus")) if len(corpora) > 1 else {}
    given = as_object(manifest.get("given_tests"))

    def of_corpus(name: str) -> tuple[str, str]:
        return name, str(as_object(corpora.get(name)).get("title", name))

    judged: list[tuple[tuple[str, str], str, Any]] = [
        (whole, f"{how}: mean", folds.get("mean") if folds.get("each") else None),
        *((of_corpus(name), f"{how}: all of this corpus", figures) for name, figures in each.items()),
        (whole, "held out by content", manifest.get("holdout")),
        *((of_corpus(name), "test rows of its own split", figures) for name, figures in given.items()),
    ]
    task = {"type": TASK, "name": "video quality assessment"}
    return [
        {"task": dict(task), "dataset": {"name": title, "type": name, "split": split}, "metrics": metrics}
        for (name, title), split, figures in judged
        if (metrics := list(_metrics(figures)))
    ]


def _metrics(figures: Any) -> Iterable[dict[str, Any]]:
    for figure, (kind, name) in _METRICS.items():
        value = as_object(figures).get(figure)
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            yield {"type": kind, "value": float(value), "name": name}


def as_object(value: Any) -> Mapping[str, Any]:
    """A JSON object; of anything else, as an edited manifest may hold it, nothing is read."""
    return value if isinstance(value, Mapping) else {}
