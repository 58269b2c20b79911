"""``python -m vqa_assets.provenance``; the command is in ``verify``."""

import sys

from vqa_assets.provenance.verify import main

if __name__ == "__main__":
    sys.exit(main())
