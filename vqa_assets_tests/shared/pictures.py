"""``make pictures``: the screenshots in ``docs/pictures``, made from the demo's data in a running web UI.

Needs Chromium, and what ``make demo`` left under ``$DAGSTER_HOME`` and ``$VQA_DATA_ROOT``.
"""

import io
import os
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from shutil import which

from PIL import Image
from playwright.sync_api import Page, expect

from vqa_assets_tests.shared.web_ui import REPOSITORY, browser_page, running_ui

FOLDER = REPOSITORY / "docs" / "pictures"
CORPUS, HEAD = "konvid-150k", "konvid_mos_head_v1"
_COLOURS = 240


def lineage(page: Page, address: str) -> None:
    """All assets in their groups."""
    page.goto(f"{address}/asset-groups/")
    expect(page.get_by_text("corpora", exact=True).first).to_be_visible()
    page.keyboard.press("Alt+e")
    expect(page.get_by_text("corpus_jsonl", exact=True).first).to_be_visible()
    page.get_by_text("Hide navigation").click()
    page.get_by_placeholder("Jump to").locator("xpath=following::button[1]").click()  # the list of groups
    page.reload()  # fits the graph into what the lists left
    expect(page.get_by_text("corpus_jsonl", exact=True).first).to_be_visible()
    settle(page)


def corpus(page: Page, address: str) -> None:
    """What one corpus's ingest left: counters, losses with reasons."""
    page.goto(f"{address}/assets/corpus_jsonl?view=partitions&partition={CORPUS}")
    expect(page.get_by_text("konvid_150k.losses.jsonl").first).to_be_visible()
    page.locator("tr", has_text="loss_reasons").last.scroll_into_view_if_needed()
    settle(page)


def head(page: Page, address: str) -> None:
    """A head's predictions against the opinions of people."""
    page.goto(f"{address}/assets/{HEAD}?view=events")
    row = page.locator("tr", has_text="predicted_against_mos").last
    row.scroll_into_view_if_needed()
    row.get_by_text("Show Markdown").click()
    expect(page.get_by_role("img", name="predicted against MOS")).to_be_visible()
    settle(page)


PICTURES: Mapping[str, Callable[[Page, str], None]] = {"lineage": lineage, "corpus": corpus, "head": head}


def settle(page: Page) -> None:
    """Until nothing is fetched any more, and what is animated has arrived."""
    page.wait_for_timeout(2_000)


def small(png: bytes) -> bytes:
    """The same picture with a palette."""
    content = io.BytesIO()
    Image.open(io.BytesIO(png)).convert("RGB").quantize(_COLOURS).save(content, "PNG", optimize=True)
    return content.getvalue()


def main() -> int:
    """Make every picture; exit status 1 where Chromium or the demo's data is not there."""
    missing = [name for name in ("DAGSTER_HOME", "VQA_DATA_ROOT") if not Path(os.environ.get(name, "/-")).is_dir()]
    if missing or which("chromium") is None:
        print(f"found no {', '.join(missing) or 'chromium'}: run make demo first, install chromium", file=sys.stderr)
        return 1
    FOLDER.mkdir(exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as folder,
        running_ui(os.environ, Path(folder) / "log.txt") as address,
        browser_page() as page,
    ):
        for name, show in PICTURES.items():
            show(page, address)
            content = small(page.screenshot())
            (FOLDER / f"{name}.png").write_bytes(content)
            print(f"{name}.png: {len(content) / 1000:.0f} KB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
