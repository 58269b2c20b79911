"""``python -m vqa_assets.provenance verify <manifest>``: is everything still what it was, and how is it made again?"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from vqa_assets.errors import VqaError
from vqa_assets.provenance.verify import Verified, verify
from vqa_assets.tables.paths import DataRoot


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; exit status 0 when every file is as recorded, 1 otherwise."""
    parser = argparse.ArgumentParser(prog="python -m vqa_assets.provenance", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    verifying = verbs.add_parser("verify", help="compare what a replay manifest names with what is on disk")
    verifying.add_argument("manifest", type=Path, help="a replay manifest, e.g. x.manifest.json beside x.ext")
    verifying.add_argument("--root", help="data root (default: found from the manifest's place)")
    options = parser.parse_args(arguments)
    try:
        found = verify(options.manifest, DataRoot.resolve(options.root) if options.root else None)
    except VqaError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(_told(found))
    return 0 if found.holds else 1


def _told(found: Verified) -> str:
    width = max((len(one.path) for one in found.compared), default=0)
    lines = [f"  {one.role:<7}{one.path:<{width}}  {one.match}" for one in found.compared]
    verdict = "everything is as it was" if found.holds else "not everything is as it was"
    return "\n".join([*lines, "", f"{verdict}; to make it again:", f"  {found.command}"])


if __name__ == "__main__":
    sys.exit(main())
