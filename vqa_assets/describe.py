"""``vqa-assets describe``: what the unified corpus holds, per corpus and in total, as tables or as JSON."""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vqa_assets.arguments import CommandParser
from vqa_assets.corpora import EXTERNAL_SHARDS, Corpus, ExternalShard
from vqa_assets.corpora.declarations import corpora_folder, with_declared
from vqa_assets.errors import VqaError
from vqa_assets.printing import tell, tell_error
from vqa_assets.tables.content_errors import reading
from vqa_assets.tables.paths import DataRoot
from vqa_assets.tables.publication import settle
from vqa_assets.unified.description import describe_clips, summarize_labels


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; exit status 1 where there is no unified corpus to describe."""
    parser = CommandParser(prog="vqa-assets describe", description=__doc__)
    parser.add_argument("parquet", nargs="?", type=Path, help="a unified corpus's .parquet (default: the root's)")
    parser.add_argument("--root", help="data root (default: $VQA_DATA_ROOT, else data)")
    parser.add_argument("--json", action="store_true", help="print JSON, as in the replay manifest")
    options = parser.parse_args(arguments)
    try:
        # A table that lies elsewhere needs no data root.
        root = DataRoot.named() if options.parquet and not options.root else DataRoot.resolve(options.root)
        parquet = options.parquet or root.unified_corpus().with_suffix(".parquet")
        settle(parquet.parent)
        declared = with_declared(corpora_folder(root.path, os.environ))
        corpora: dict[str, Corpus | ExternalShard] = {**declared, **EXTERNAL_SHARDS}
        with reading(parquet):
            clips, labels = describe_clips(parquet), summarize_labels(parquet, corpora)
    except VqaError as error:
        tell_error(error)
        return 1
    if options.json:
        document = {"describe": [one.as_dict() for one in clips], "labels": [one.as_dict() for one in labels]}
        tell(json.dumps(document, indent=2, ensure_ascii=False))
        return 0
    blocks = []
    for one in clips:
        lines = [one.corpus, *_lines(one.as_row())]
        for summary in labels:
            if summary.corpus == one.corpus:
                row = summary.as_row()
                # the clips are counted above, and the check unified_corpus_spread judges the spread
                lines += _lines({k: v for k, v in row.items() if k not in ("clips", "sos_is_ordinary")})
        blocks.append("\n".join(lines))
    tell("\n\n".join(blocks))
    return 0


def _lines(row: Mapping[str, Any]) -> list[str]:
    """A row as lines of name and value."""
    lines = []
    for name, value in row.items():
        if name != "corpus":
            text = "unknown" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
            lines.append(f"  {name.replace('_', ' '):<20}{text}")
    return lines


if __name__ == "__main__":
    sys.exit(main())
