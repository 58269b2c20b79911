"""Labels of all files become one label a key: equal ones keep the first, different ones are refused."""

import logging
from collections.abc import Sequence

import polars as pl

from vqa_assets.corpora.scales import RAW_MOS, TRAINING
from vqa_assets.errors import LabelError
from vqa_assets.labels.columns import CARRIED_COLUMNS
from vqa_assets.labels.label_file import KEY, SAME_MOS, SOURCE, LabelFile
from vqa_assets.labels.reading import ROW
from vqa_assets.labels.votes import CI95

SCORES = ("mos", RAW_MOS, SOURCE, "mos_std_dev", "mos_n_ratings", CI95)
"""Columns that labels add about scores, in their order; the last three where the labels have them."""
_FILE, _TWIN = "_file", "_first"
_TOLD = 20
_log = logging.getLogger("vqa_assets.labels")


def one_per_key(files: Sequence[LabelFile]) -> pl.DataFrame:
    """One row per key: ``_key``, the scores, and what the labels carry. Later equal labels are left out.

    LabelError where one key has two scores; other differences of twins are warnings.
    """
    sources = _told_apart(files)
    frames = [
        one.frame.select(KEY, ROW, *(n for n in (*SCORES, *CARRIED_COLUMNS) if n in one.frame.columns)).with_columns(
            pl.lit(i).alias(_FILE), pl.lit(sources[i]).alias(SOURCE)
        )
        for i, one in enumerate(files)
    ]
    every = pl.concat(frames, how="diagonal").filter(pl.col(KEY).is_not_null())
    known = [name for name in (*SCORES, *CARRIED_COLUMNS) if name in every.columns]
    once = every.unique(KEY, keep="first", maintain_order=True)
    if once.height < every.height:
        _check_twins(every, once, known, files)
    unpublished = [pl.col(n).fill_null(0) for n in ("mos_std_dev", "mos_n_ratings") if n in known]
    return once.select(KEY, *known).with_columns(unpublished)


def _told_apart(files: Sequence[LabelFile]) -> list[str]:
    """The files' names; where two are equal, with as many folders as tell them apart."""
    longest = max(len(one.path.parts) for one in files)
    for count in range(1, longest + 1):
        names = ["/".join(one.path.parts[-count:]) for one in files]
        if len(set(names)) == len({one.path for one in files}):
            break
    return names


def _check_twins(every: pl.DataFrame, once: pl.DataFrame, known: Sequence[str], files: Sequence[LabelFile]) -> None:
    twins = every.join(once, on=KEY, how="inner", suffix=_TWIN, maintain_order="left").filter(
        (pl.col(ROW) != pl.col(f"{ROW}{_TWIN}")) | (pl.col(_FILE) != pl.col(f"{_FILE}{_TWIN}"))
    )
    apart = (pl.col("mos") - pl.col(f"mos{_TWIN}")).abs() > SAME_MOS * (TRAINING.high - TRAINING.low)
    wrong = twins.filter(apart)
    if wrong.height:
        first = wrong.row(0, named=True)
        sides = [
            f"{first[f'mos{suffix}']!r} in {files[first[f'{_FILE}{suffix}']].where(first[f'{ROW}{suffix}'])}"
            for suffix in (_TWIN, "")
        ]
        more = f", and {wrong.height - 1} more" if wrong.height > 1 else ""
        raise LabelError(
            f"conflicting MOS labels for {first[KEY]!r}",
            found=" and ".join(sides) + more,
            expected="one score a key (both are shown on 1–5)",
            next_step="were the wrong labels joined, or a stale file left in place? Where the tables hold several "
            "corpora set corpus, where folders tell clips apart set key_normalize to raw",
        )
    _tell_differences(twins, known)


def _tell_differences(twins: pl.DataFrame, known: Sequence[str]) -> None:
    """Warn of what else differs between labels of one key."""
    told = [name for name in known if name not in ("mos", RAW_MOS, SOURCE)]
    count = 0
    for name in told:
        differing = twins.filter(pl.col(name).ne_missing(pl.col(f"{name}{_TWIN}")))
        for row in differing.head(max(0, _TOLD - count)).iter_rows(named=True):
            sides = (row[f"{name}{_TWIN}"], row[f"{SOURCE}{_TWIN}"], row[name], row[SOURCE])
            _log.warning("%r: %s is %r in %s and %r in %s; the first is kept", row[KEY], name, *sides)
        count += differing.height
    if count > _TOLD:
        _log.warning("%d more differences between labels of one key; the first is kept each time", count - _TOLD)
