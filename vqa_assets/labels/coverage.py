"""How many of the feature table's keys have a label, and whether both sides mean the same clip.

Works on one row per distinct key of the features, never on the table itself.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import polars as pl

from vqa_assets.corpora.opinions import LabelSummary, summarize_rows
from vqa_assets.corpora.scales import RAW_MOS, TRAINING
from vqa_assets.errors import LabelError
from vqa_assets.labels.scores import IDENTITY_COLUMNS, KEY, SOURCE

_EXAMPLES = 5
RAW_KEY, ROWS, LABEL = "_raw_key", "_rows", "_of_label"


@dataclass(frozen=True)
class LabelAudit:
    """What a join did. Coverage is matched unique keys over unique feature keys.

    ``split_leaks`` are contents in more than one split, with their splits.
    """

    input_rows: int
    output_rows: int
    total_feature_keys: int
    matched_feature_keys: int
    matched_rows: int
    missing_rows: int
    labels_loaded: int
    match_rate: float
    label_sources: dict[str, int]
    unmatched_features: tuple[str, ...]
    unmatched_labels: tuple[str, ...]
    split_leaks: dict[str, list[str]] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """The audit for a manifest."""
        return asdict(self)


def match(distinct: pl.DataFrame, labels: pl.DataFrame) -> pl.DataFrame:
    """The features' distinct keys with their labels, null where a key has none.

    ``distinct`` has ``_raw_key`` (as it stands), ``_key`` (as it is compared), ``_rows`` (how many) and the identity
    columns of the features; identity columns of the labels are named ``_of_label:<name>``.
    """
    renamed = labels.rename({n: f"{LABEL}:{n}" for n in IDENTITY_COLUMNS if n in labels.columns})
    return distinct.join(renamed, on=KEY, how="left", maintain_order="left")


def audit_of(matched: pl.DataFrame, labels: pl.DataFrame) -> LabelAudit:
    """The counts of a join. A key whose text is null, or in which the pattern finds nothing, counts by its raw text."""
    rows = int(matched[ROWS].sum())
    compared = matched.with_columns(pl.coalesce(KEY, pl.col(RAW_KEY).alias("_unread")).alias("_counted"))
    hit = compared.filter(pl.col(SOURCE).is_not_null())
    total, matched_keys = compared["_counted"].n_unique(), hit["_counted"].n_unique()
    matched_rows = int(hit[ROWS].sum())
    sources = hit.group_by(SOURCE).agg(pl.col(ROWS).sum()).sort(SOURCE)
    missed = compared.filter(pl.col(SOURCE).is_null())
    return LabelAudit(
        input_rows=rows,
        output_rows=rows,
        total_feature_keys=total,
        matched_feature_keys=matched_keys,
        matched_rows=matched_rows,
        missing_rows=rows - matched_rows,
        labels_loaded=labels.height,
        match_rate=matched_keys / total if total else 0.0,
        label_sources={str(name): int(n) for name, n in sources.iter_rows()},
        unmatched_features=_examples(missed["_counted"]),
        unmatched_labels=_examples(labels.join(matched, on=KEY, how="anti")[KEY]),
        split_leaks=_split_leaks(hit),
    )


def check_match_rate(audit: LabelAudit, least: float, what: str, hint: str) -> None:
    """LabelError with both numbers and examples where too few keys have a label, or there is no key at all."""
    if audit.total_feature_keys and audit.match_rate >= least:
        return
    raise LabelError(
        what,
        found=f"{audit.matched_feature_keys} of {audit.total_feature_keys} keys matched ({audit.match_rate:.1%}); "
        f"unmatched keys of features: {list(audit.unmatched_features)}, of labels: {list(audit.unmatched_labels)}",
        expected=f"at least {least:.1%}",
        next_step=f"{hint}Lower min_match_rate only to explore",
    )


def check_identity(matched: pl.DataFrame, columns: Sequence[str]) -> None:
    """LabelError where features and labels that share a key say different things of the clip."""
    for name in columns:
        if f"{LABEL}:{name}" not in matched.columns:
            continue
        # null is no statement: only two values can disagree
        wrong = matched.filter(pl.col(name) != pl.col(f"{LABEL}:{name}")).head(1)
        if wrong.height:
            first = wrong.row(0, named=True)
            raise LabelError(
                f"{name} of {first[RAW_KEY]!r}",
                found=f"{first[name]!r} in the features and {first[f'{LABEL}:{name}']!r} in the labels",
                expected="the same clip on both sides",
                next_step="are these the labels of this corpus?",
            )


def summaries_of(matched: pl.DataFrame) -> tuple[LabelSummary, ...]:
    """What the labels in use look like on 1–5, corpus by corpus, each label once."""
    once = matched.filter(pl.col(SOURCE).is_not_null()).unique(KEY, keep="first")
    corpus = pl.col(f"{LABEL}:corpus") if f"{LABEL}:corpus" in once.columns else pl.lit(None, pl.String)
    sd, count = ((pl.col(n) if n in once.columns else pl.lit(0.0)) for n in ("mos_std_dev", "mos_n_ratings"))
    rows = once.lazy().select(
        corpus.fill_null("(no corpus named)").alias("corpus_source"),
        pl.lit(TRAINING.name).alias("mos_native_scale"),
        pl.col("mos").alias("mos_native"),
        pl.col(RAW_MOS).alias("mos"),
        sd.alias("mos_std_dev"),
        count.cast(pl.Int64).alias("n_ratings"),
    )
    return summarize_rows(rows)


def _examples(keys: pl.Series) -> tuple[str, ...]:
    return tuple(str(key) for key in keys.drop_nulls().unique().sort().head(_EXAMPLES))


def _split_leaks(hit: pl.DataFrame) -> dict[str, list[str]]:
    """Contents of labelled rows that stand in more than one split; what the features say goes before the labels."""
    sides = {name: [c for c in (name, f"{LABEL}:{name}") if c in hit.columns] for name in ("content_id", "split")}
    if not all(sides.values()):
        return {}
    pairs = hit.select(*(pl.coalesce(columns).alias(name) for name, columns in sides.items())).drop_nulls().unique()
    leaks = pairs.group_by("content_id").agg("split").filter(pl.col("split").list.len() > 1).sort("content_id")
    return {content: sorted(splits) for content, splits in leaks.iter_rows()}
