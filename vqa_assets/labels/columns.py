"""Which columns of foreign tables hold keys and scores. What is in them is in ``reading`` and ``scores``."""

from collections.abc import Sequence
from fnmatch import fnmatchcase

from vqa_assets.corpora.contents import KEY_COLUMNS
from vqa_assets.corpora.scales import RAW_MOS
from vqa_assets.errors import LabelError

MOS_CANDIDATES = ("mos", "mean_mos", RAW_MOS, "raw_mos", "score", "quality")
"""Columns that may hold a clip's score, the first ones first."""
VOTE_CANDIDATES = ("vote", "rating", "opinion", *MOS_CANDIDATES)
"""Columns that may hold one rater's vote."""
ALWAYS_0_100 = (RAW_MOS, "raw_mos")
IDENTITY_COLUMNS = ("corpus", "corpus_version", "content_id", "split", "score_drop")
"""What a clip is: columns that features and labels may both have, and must then agree on."""
CARRIED_COLUMNS = ("src_sha256", *IDENTITY_COLUMNS)
SPREADS = ("mos_std_dev", "mos_std_dev_unified")
COUNTS = ("n_ratings", "mos_n_ratings")
_SHOWN = 20


def key_column(names: Sequence[str], chosen: str | None, what: str, setting: str) -> str:
    """The key column of a table: the chosen one, else the first of ``KEY_COLUMNS`` that it has, in any letter case.

    LabelError where it is absent, or where two columns differ in nothing but their case.
    """
    if chosen is not None:
        if chosen not in names:
            raise _absent(names, f"the key column {chosen!r}", what, setting)
        return chosen
    for candidate in KEY_COLUMNS:
        spelled = [name for name in names if name.lower() == candidate]
        if len(spelled) > 1:
            raise LabelError(
                f"{what}: the key column is ambiguous",
                found=f"columns {', '.join(spelled)}",
                expected=f"one column named {candidate!r}, in whatever case",
                next_step=f"set {setting} to the one that is meant",
            )
        if spelled:
            return spelled[0]
    raise _absent(names, f"a key column, one of {', '.join(KEY_COLUMNS)}", what, setting)


def mos_candidates(names: Sequence[str], chosen: str | None, what: str, *, votes: bool = False) -> tuple[str, ...]:
    """The columns that may hold the score, the first ones first; only the chosen one where there is one.

    LabelError where there is none.
    """
    if chosen is not None:
        if chosen not in names:
            raise _absent(names, f"the MOS column {chosen!r}", what, "label_mos_column")
        return (chosen,)
    known = VOTE_CANDIDATES if votes else MOS_CANDIDATES
    found = tuple(name for candidate in known for name in names if name.lower() == candidate)
    if not found:
        raise _absent(names, f"a MOS column, one of {', '.join(known)}", what, "label_mos_column")
    return found


def vote_columns(names: Sequence[str], patterns: Sequence[str], what: str) -> tuple[str, ...]:
    """The columns that the patterns name, in the table's order; LabelError where a pattern names none."""
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise _absent(names, f"a column of votes {pattern!r}", what, "vote_columns")
    return tuple(name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns))


def check_names(names: Sequence[str], what: str) -> None:
    """LabelError where two columns have one name."""
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise LabelError(
            f"{what}: ambiguous columns",
            found=f"more than one column named {', '.join(twice)}",
            expected="each column name once",
            next_step="rename or remove the one that is not meant",
        )


def _absent(names: Sequence[str], expected: str, what: str, setting: str) -> LabelError:
    shown = ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
    return LabelError(what, found=f"columns {shown or '(none)'}", expected=expected, next_step=f"set {setting}")
