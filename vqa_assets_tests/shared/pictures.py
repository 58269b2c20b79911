"""``make pictures``: the pictures in ``docs/pictures``, of a fresh demo and of the tutorials, in a running web UI.

Those of a tutorial are taken while its commands are typed, where the page shows them. Needs Chromium.
"""

import io
import os
import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from shutil import which

from PIL import Image
from playwright.sync_api import Locator, Page, expect

from vqa_assets_tests.shared import help_pictures
from vqa_assets_tests.shared.page_commands import PROGRAM, parts_of, type_here
from vqa_assets_tests.shared.web_ui import REPOSITORY, ask, browser_page, running_ui

FOLDER = REPOSITORY / "docs" / "pictures"
CORPUS, HEAD, OWN = "konvid-150k", "konvid_mos_head_v1", "my-clips"
TUTORIALS = ("lost-clip", "first-head")
_COLOURS, _SETTLES_MS = 240, 2_000
_FINE = {"lineage": 2}
"""Pictures whose letters are small, and how much finer they are drawn."""
_MAIN = {"x": 500, "y": 0, "width": 780, "height": 800}
"""Where an asset's page has what is told of one materialization; the list beside it says nothing here."""


def lineage(page: Page, address: str) -> bytes:
    """The assets in their groups, but for the one that reads all others, whose lines would hide theirs."""
    page.set_viewport_size({"width": 1280, "height": 1150})
    page.goto(f"{address}/asset-groups~not%20key%3A%22overview%22/")
    expect(page.get_by_text("corpora", exact=True).first).to_be_visible()
    page.get_by_text("Hide navigation").click()
    page.keyboard.press("Alt+e")
    expect(page.get_by_text("corpus_jsonl", exact=True).first).to_be_visible()
    page.reload()  # fits the graph into what is left
    expect(page.get_by_text("corpus_jsonl", exact=True).first).to_be_visible()
    return settled(page, {"x": 372, "y": 190, "width": 870, "height": 810})


def corpus(page: Page, address: str) -> bytes:
    """What one corpus's ingest left: counters, losses with reasons."""
    open_partition(page, address, "corpus_jsonl", CORPUS)
    page.locator("tr", has_text="loss_reasons").last.scroll_into_view_if_needed()
    return settled(page)


def head(page: Page, address: str) -> bytes:
    """A head's predictions against the opinions of people."""
    page.goto(f"{address}/assets/{HEAD}?view=events")
    row = page.locator("tr", has_text="scatter").last
    row.scroll_into_view_if_needed()
    row.get_by_text("Show Markdown").click()
    expect(page.get_by_role("img", name="predicted against MOS")).to_be_visible()
    return settled(page)


def lost_clip_warning(page: Page, address: str) -> bytes:
    """The warnings in the log of the run that lost the clip."""
    asked = f'{{ runsOrError(filter: {{tags: [{{key: "dagster/partition", value: "{CORPUS}"}}]}}) '
    runs = ask(f"{address}/graphql", asked + "{ ... on Runs { results { runId assetSelection { path } } } } }")
    found = [run["runId"] for run in runs["runsOrError"]["results"] if ["corpus_jsonl"] in paths(run)]
    page.goto(f"{address}/runs/{found[0]}?levels=warning&logs=skipped_download")
    expect(page.get_by_text("demo_0121.mp4", exact=False).first).to_be_visible()
    return settled(page, {"x": 240, "y": 333, "width": 1040, "height": 180})


def paths(run: Mapping[str, list[dict[str, list[str]]]]) -> list[list[str]]:
    """The assets of a run, as GraphQL names them."""
    return [asset["path"] for asset in run["assetSelection"]]


def lost_clip_overview(page: Page, address: str) -> bytes:
    """The first rows of the overview."""
    page.goto(f"{address}/assets/overview?view=events")
    expect(page.locator("tr", has_text="corpora").last).to_be_visible()
    return settled(page, {**_MAIN, "y": 168, "height": 413})


def lost_clip_reasons(page: Page, address: str) -> bytes:
    """The lost rows with their reasons."""
    open_partition(page, address, "corpus_jsonl", CORPUS)
    return settled_row(page, page.locator("tr", has=page.get_by_text("losses", exact=True)).last)


lost_clip_recovered = lost_clip_reasons


def first_head_rows(page: Page, address: str) -> bytes:
    """The scores of a corpus of one's own."""
    open_partition(page, address, "corpus_jsonl", OWN)
    row = page.locator("tr", has_text="mos_histogram").last
    row.get_by_text("Show Markdown").click()
    picture = page.get_by_role("img", name="MOS histogram")
    expect(picture).to_be_visible()
    page.wait_for_timeout(_SETTLES_MS)
    return picture.screenshot()


def first_head_verdict(page: Page, address: str) -> bytes:
    """A head's verdict, and why."""
    page.goto(f"{address}/assets/mos_head?view=partitions&partition={OWN}")
    expect(page.locator("tr", has_text="verdict").last).to_be_visible()
    return settled(page, {**_MAIN, "y": 154, "height": 592})


PICTURES: Mapping[str, Callable[[Page, str], bytes]] = {"lineage": lineage, "corpus": corpus, "head": head}
OF_TUTORIALS: Mapping[str, Callable[[Page, str], bytes]] = {
    "lost-clip-warning": lost_clip_warning,
    "lost-clip-overview": lost_clip_overview,
    "lost-clip-reasons": lost_clip_reasons,
    "lost-clip-recovered": lost_clip_recovered,
    "first-head-rows": first_head_rows,
    "first-head-verdict": first_head_verdict,
    "first-head-judged": lambda _, __: Path("judged/judgement.png").read_bytes(),
}


def open_partition(page: Page, address: str, asset: str, partition: str) -> None:
    """The page of what a corpus's latest run left."""
    page.goto(f"{address}/assets/{asset}?view=partitions&partition={partition}")
    expect(page.get_by_text(f"{partition.replace('-', '_')}.losses.jsonl").first).to_be_visible()


def settled(page: Page, clip: dict[str, int] | None = None) -> bytes:
    """The page, or a part of it, once nothing is fetched any more and what is animated has arrived."""
    page.wait_for_timeout(_SETTLES_MS)
    return page.screenshot(clip=clip)  # type: ignore[arg-type]


def settled_row(page: Page, row: Locator) -> bytes:
    """One row of a page's table."""
    row.scroll_into_view_if_needed()
    page.wait_for_timeout(_SETTLES_MS)
    return row.screenshot()


def write(name: str, png: bytes) -> None:
    """A picture with a palette, as small as it gets."""
    path = FOLDER / f"{name}.png"
    Image.open(io.BytesIO(png)).convert("RGB").quantize(_COLOURS).save(path, "PNG", optimize=True)
    print(f"{path.name}: {path.stat().st_size / 1000:.0f} KB")


def follow(tutorial: str, folder: Path) -> None:
    """Type a tutorial's commands in a folder that holds the demo's data, and take its pictures on the way."""
    text = (REPOSITORY / "docs" / f"{tutorial}.md").read_text(encoding="utf-8")
    root = folder / ("demo-data" if tutorial == "lost-clip" else "data")
    with ExitStack() as stack:
        address = ""
        for part in parts_of(text):
            if part.command:
                type_here(part.command)
                continue
            # Only now: of a root of one's own there is none before the first command.
            address = address or stack.enter_context(running_ui(environment_of(root), folder / "log.txt"))
            with browser_page() as page:  # whose event loop no run of Dagster can share a thread with
                write(part.picture, OF_TUTORIALS[part.picture](page, address))


def environment_of(root: Path) -> dict[str, str]:
    """Where a web UI finds a data root and its runs."""
    return {**os.environ, "VQA_DATA_ROOT": str(root), "DAGSTER_HOME": str(root / ".dagster")}


def main() -> int:
    """Make every picture; exit status 1 where there is no Chromium."""
    help_pictures.write()
    if which("chromium") is None:
        print("found no chromium: install it", file=sys.stderr)
        return 1
    for name in ("VQA_DATA_ROOT", "DAGSTER_HOME", "VQA_CORPORA_DIR"):
        os.environ.pop(name, None)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        os.chdir(folder)
        # Not one that somebody made: after three demos the clip that is always cut counts as broken.
        type_here(f"{PROGRAM} demo")
        with running_ui(environment_of(folder / "demo-data"), folder / "log.txt") as address:
            for name, show in PICTURES.items():
                with browser_page(device_scale_factor=_FINE.get(name, 1)) as page:
                    write(name, show(page, address))
        for tutorial in TUTORIALS:
            follow(tutorial, folder)
        os.chdir(REPOSITORY)
    return 0


if __name__ == "__main__":
    sys.exit(main())
