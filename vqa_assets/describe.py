"""``python -m vqa_assets.describe``: what the unified corpus holds, per corpus and in total, as tables or as JSON."""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vqa_assets.errors import VqaError
from vqa_assets.tables.paths import DataRoot
from vqa_assets.unified.clip_statistics import ClipDescription, describe_clips
from vqa_assets.unified.label_statistics import LabelSummary, summarize_labels


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; exit status 1 where there is no unified corpus to describe."""
    parser = argparse.ArgumentParser(prog="python -m vqa_assets.describe", description=__doc__)
    parser.add_argument("parquet", nargs="?", type=Path, help="a unified corpus's .parquet (default: the root's)")
    parser.add_argument("--root", help="data root (default: $VQA_DATA_ROOT, else data)")
    parser.add_argument("--json", action="store_true", help="print JSON, as in the replay manifest")
    options = parser.parse_args(arguments)
    try:
        parquet = options.parquet or DataRoot.resolve(options.root).unified_corpus().with_suffix(".parquet")
        clips, labels = describe_clips(parquet), summarize_labels(parquet)
    except VqaError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(_as_json(clips, labels) if options.json else _as_tables(clips, labels))
    return 0


def _as_json(clips: Sequence[ClipDescription], labels: Sequence[LabelSummary]) -> str:
    document = {"describe": [one.as_dict() for one in clips], "labels": [one.as_dict() for one in labels]}
    return json.dumps(document, indent=2, ensure_ascii=False)


def _as_tables(clips: Sequence[ClipDescription], labels: Sequence[LabelSummary]) -> str:
    """Per corpus one block of lines: its clips, then its labels."""
    of_corpus: dict[str, list[LabelSummary]] = {}
    for summary in labels:
        of_corpus.setdefault(summary.corpus, []).append(summary)
    return "\n\n".join(_block(one, of_corpus.get(one.corpus, [])) for one in clips)


def _block(clips: ClipDescription, labels: Sequence[LabelSummary]) -> str:
    told = [*_lines(clips.as_row())]
    for summary in labels:
        told += _lines({k: v for k, v in summary.as_row().items() if k not in ("clips", "sos_is_ordinary")})
    return "\n".join([clips.corpus, *told])


def _lines(row: Mapping[str, Any]) -> list[str]:
    return [f"  {name.replace('_', ' '):<20}{_told(value)}" for name, value in row.items() if name != "corpus"]


def _told(value: Any) -> str:
    if value is None:
        return "unknown"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    sys.exit(main())
