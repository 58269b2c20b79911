"""``python -m vqa_assets``: the command ``vqa-assets``."""

import sys

from vqa_assets.command import main

if __name__ == "__main__":
    sys.exit(main())
