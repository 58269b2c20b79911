"""``make bench``: every benchmark, or those named."""

import os
import sys
from importlib import import_module

BENCHMARKS = (
    "load_definitions",
    "first_page",
    "sensor_ticks",
    "ui_metadata",
    "label_tables",
    "ingest_download",
    "ingest_local",
    "ingest_progress",
    "clip_workers",
    "features_clips",
    "backbones",
    "backbone_heads",
    "features_table",
    "head_training",
    "head_architecture",
    "head_members",
    "head_help",
    "head_sizes",
    "unified_corpus",
    "ingest_again",
    "ingest_unchanged",
    "scale",
    "object_listing",
)
"""In an order in which none suffers from the files that another has just deleted."""


def main() -> int:
    """Run the benchmarks named on the command line, or all."""
    chosen = sys.argv[1:] or BENCHMARKS
    unknown = sorted(set(chosen) - set(BENCHMARKS))
    if unknown:
        print(f"unknown: {', '.join(unknown)}, expected some of {', '.join(BENCHMARKS)}", file=sys.stderr)
        return 2
    # A container may ask for no bytecode; then every cold process would compile the package, which an installed one
    # never does, and the figure would be the compiler's.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    for name in chosen:
        print(f"— {name}", flush=True)
        import_module(f"benchmarks.{name}").main()
    return 0


if __name__ == "__main__":
    sys.exit(main())
