"""Tables and rows that a head must not be trained on, each refused by name. Reads no table itself."""

from collections.abc import Collection, Mapping

import numpy as np
import polars as pl

from vqa_assets.corpora.scales import MosScale
from vqa_assets.errors import TrainingError
from vqa_assets.feature_names import FeatureSchema
from vqa_assets.heads.columns import nested_among, no_numbers_among, number_sources, texts_among
from vqa_assets.heads.recipe import MOS_TARGET, Target
from vqa_assets.heads.training_table import TrainingTable

_ENOUGH_TO_TELL, _THE_SAME, _THE_SAME_SCORE = 20, 0.999, 1 - 1e-7
"""Correlations with the target that no measurement has: of opinions, also rounded ones, and of a computed score."""


def check_allowed(allow_missing: Collection[str], schema: FeatureSchema) -> None:
    unknown = sorted(set(allow_missing) - set(schema.columns))
    if unknown:
        raise TrainingError(
            "allow_missing_features names no feature of the head",
            found=", ".join(unknown),
            expected=f"columns of {schema.name}: {', '.join(schema.columns)}",
            next_step="correct the setting",
        )


def check_types(corpus: str, scan: pl.LazyFrame, numbers: Collection[str], words: Collection[str]) -> None:
    """Refuses columns of a type without numbers or words, and text for a MOS."""
    texts = {n: repr(text) for n, text in texts_among(scan, ("mos",)).items()}
    wrong = {**no_numbers_among(scan, numbers), **texts}
    for wanted, columns in (("numbers", wrong), ("words", nested_among(scan, words))):
        if columns:
            raise TrainingError(
                f"labelled table of {corpus}: columns that hold no {wanted}",
                found=", ".join(f"{name}: {what}" for name, what in columns.items()),
                expected=f"one {wanted.removesuffix('s')} a row, and null where there is none",
                next_step="correct the table; mos_features makes one",
            )


def check_mos(corpus: str, labelled: pl.DataFrame, target: Target) -> None:
    scale = MosScale(target.name, target.low, target.low + target.span)
    wrong = [(key, mos) for key, mos in labelled.select("key", "mos").iter_rows() if not scale.holds(mos)]
    if wrong:
        told = ", ".join(f"{key} ({mos:g})" for key, mos in wrong[:5])
        raise TrainingError(
            f"{corpus}: {len(wrong)} of {len(labelled)} {scale.name.upper()} off the training scale",
            found=told,
            expected=f"{scale.low:g} to {scale.high:g}",
            next_step="make the table with mos_features, which converts scores"
            if target == MOS_TARGET
            else "make the encode grid again",
        )


def check_contents(corpus: str, rows: pl.DataFrame) -> None:
    """A ladder's rungs must be known as one content: folded by clip they would stand on both sides of a split."""
    unknown = rows["content_id"].null_count()
    if unknown:
        raise TrainingError(
            f"{corpus}: a bitrate ladder whose contents are not known",
            found=f"{unknown} of {len(rows)} rows without content_id",
            expected="a content_id (or chug_content_name) in every row, or a split column",
            next_step="label the features with the corpus JSONL, which has it",
        )


def check_measured(
    frames: Mapping[str, pl.DataFrame], schema: FeatureSchema, allowed: Collection[str], texts: Mapping[str, str]
) -> None:
    """Refuses text, what is known in no row of a corpus, and measured features of one value in all rows of a corpus."""
    wrong = []
    for corpus, frame in frames.items():
        for name in schema.columns if len(frame) else ():
            values = frame[f"feature:{name}"].drop_nulls()
            if text := [(s, texts[at]) for s in number_sources(name) if (at := f"{corpus}: {s}") in texts]:
                source, example = text[0]
                wrong.append(f"{corpus}: {name} (text{'' if source == name else f' in {source}'}: {example!r})")
            elif name in allowed:
                continue
            elif not len(values):
                wrong.append(f"{corpus}: {name} (absent or all missing)")
            elif name in schema.measured and len(values) > 1 and values.min() == values.max():
                wrong.append(f"{corpus}: {name} (constant {values[0]:g})")
    if wrong:
        raise TrainingError(
            "features that cannot be trained on",
            found="; ".join(wrong),
            expected=f"varying values of all {len(schema.columns)} columns of {schema.name}",
            next_step="extract them, or name them in allow_missing_features",
        )


def check_labels_vary(table: TrainingTable) -> None:
    if len(table.mos) > 1 and np.ptp(table.mos) == 0:
        raise TrainingError(
            f"all {len(table.mos)} labels are equal",
            found=f"{table.mos[0]:g}",
            expected="scores that differ",
            next_step="check the score column that labelled the table",
        )


def check_still(table: TrainingTable, allowed: Collection[str]) -> None:
    """Refuses measured features that are constant in what is left to train on."""
    still = [name for name in table.constant if name in table.schema.measured and name not in allowed]
    if still and len(table.mos) > 1:
        raise TrainingError(
            "features that cannot be trained on",
            found=f"{', '.join(still)}: constant in the {len(table.mos)} rows that have all features",
            expected=f"varying values of all measured columns of {table.schema.name}",
            next_step="extract the features of the other rows, or name them in allow_missing_features",
        )


def check_no_label_among_features(table: TrainingTable) -> None:
    """Refuses a feature that is the label on another scale, rounded maybe: no measurement agrees so well."""
    if len(table.mos) < _ENOUGH_TO_TELL:
        return
    with np.errstate(invalid="ignore", divide="ignore"):
        x, y = (a - a.mean(0) for a in (table.features.astype(np.float64), table.mos.astype(np.float64)))
        likeness = np.abs(y @ x) / np.sqrt((x * x).sum(0) * (y * y).sum())
    limit = _THE_SAME if table.target == MOS_TARGET else _THE_SAME_SCORE
    found = [name for name, like in zip(table.schema.columns, likeness, strict=True) if like > limit]
    if found:
        raise TrainingError(
            "features that are the label",
            found=f"{', '.join(found)}: a straight line of {table.target.name}",
            expected="features measured without the scores",
            next_step="leave those columns out",
        )
