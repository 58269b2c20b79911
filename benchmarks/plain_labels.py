"""The baseline of the labels: what a script of a few lines of pandas does, with the same rows and the same counts."""

import json
from pathlib import Path
from typing import Any

import pandas as pd

IDENTITY = ("corpus", "corpus_version")
LEAST = 0.95


def plain_labels(features: Path, labels: Path, out: Path, audit: Path) -> None:
    """Read both tables, check them, merge, write the labelled table and its audit."""
    table = pd.read_parquet(features)
    scores = _scores(labels)
    keys = pd.Index(table["key"].unique())
    matched = keys.isin(scores["key"])
    rate = float(matched.mean())
    if rate < LEAST:
        raise ValueError(f"{matched.sum()} of {len(keys)} keys matched")
    merged = table.merge(scores, on="key", how="left", suffixes=("", "_of_label"), sort=False)
    merged["mos_label_status"] = merged["mos"].notna().map({True: "ok", False: "missing-label"})
    if len(merged) != len(table):
        raise ValueError("rows multiplied")
    _check(merged)
    merged.to_parquet(out, compression="zstd", index=False)
    counts: dict[str, Any] = {
        "input_rows": len(table),
        "output_rows": len(merged),
        "matched_rows": int((merged["mos_label_status"] == "ok").sum()),
        "match_rate": rate,
        "label_sources": merged["mos_label_source"].value_counts().to_dict(),
    }
    audit.write_text(json.dumps(counts))


def _scores(labels: Path) -> pd.DataFrame:
    """The labels on both scales, one row a key; ValueError for a conflict or a score off its scale."""
    rows = pd.read_json(labels, lines=True)
    if set(rows["mos_scale"]) != {"1-5-acr"} or not rows["mos"].between(0.95, 5.05).all():
        raise ValueError("scores off their scale")
    if (rows.groupby("src")["mos"].agg(lambda scores: scores.max() - scores.min()) > 4e-6).any():
        raise ValueError("conflicting MOS labels")
    first = rows.drop_duplicates("src")
    return pd.DataFrame(
        {
            "key": first["src"].astype(str),
            "mos": first["mos"],
            "mos_raw_0_100": (first["mos"] - 1) * 25,
            "mos_label_source": labels.name,
            "mos_std_dev": first["mos_std_dev"].fillna(0.0),
            "mos_n_ratings": first["n_ratings"].fillna(0).astype("int64"),
            "src_sha256": first["src_sha256"],
            **{name: first[name] for name in IDENTITY},
        }
    )


def _check(merged: pd.DataFrame) -> None:
    labelled = merged[merged["mos_label_status"] == "ok"]
    good = labelled["mos"].between(0.95, 5.05).all() and labelled["mos_raw_0_100"].between(-1.25, 101.25).all()
    if not (good and labelled["mos_label_source"].notna().all()):
        raise ValueError("the labelled table breaks its specs")
