"""The web UI as a person uses it: Chromium on a running one, through its guard."""

import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from fnmatch import fnmatchcase

import dagster as dg
import pytest
from playwright.sync_api import Page, expect

from vqa_assets.corpora import CORPORA
from vqa_assets.definitions import build_defs, defs
from vqa_assets.outcomes import note_outcome
from vqa_assets.resources.data_root import DataRootResource
from vqa_assets.tables.paths import DataRoot
from vqa_assets_tests.shared.fakes import KONVID
from vqa_assets_tests.shared.head_tables import labelled
from vqa_assets_tests.shared.web_ui import WebUi, browser_page

pytestmark = pytest.mark.needs_tool("chromium")
HEAD = "konvid_mos_head_v1"
"""A head without partitions."""


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    """One tab."""
    with browser_page() as found:
        yield found


@pytest.fixture(scope="module")
def launched(page: Page, web_ui: WebUi) -> str:
    """``konvid-1k``, whose partition was launched by clicks and has succeeded."""
    page.goto(f"{web_ui.address}/assets/corpus_jsonl?view=partitions&partition=konvid-1k")
    page.get_by_role("button", name="Materialize…").click()
    page.get_by_role("button", name="Launch 1 run").click()
    until(lambda: len(runs(web_ui, "konvid-1k")) == 1, "the run is launched")
    watch(page, web_ui, "konvid-1k")
    return "konvid-1k"


def runs(web_ui: WebUi, partition: str, **tags: str) -> list[str]:
    """The ids of the runs of a partition."""
    wanted = {"dagster/partition": partition, **tags}
    told = ", ".join(f'{{key: "{key}", value: "{value}"}}' for key, value in wanted.items())
    query = f"{{ runsOrError(filter: {{tags: [{told}]}}) {{ ... on Runs {{ results {{ runId }} }} }} }}"
    return [run["runId"] for run in web_ui.ask(query)["runsOrError"]["results"]]


def watch(page: Page, web_ui: WebUi, partition: str, **tags: str) -> None:
    """Stay on the page of the partition's only run until it shows the success."""
    (run,) = runs(web_ui, partition, **tags)
    page.goto(f"{web_ui.address}/runs/{run}")
    expect(page.get_by_text("Success", exact=True).first).to_be_visible()


def until(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 120
    while not holds():
        assert time.monotonic() < deadline, f"waited in vain: {what}"
        time.sleep(0.5)


def test_the_lineage_shows_the_assets_in_their_groups(page: Page, web_ui: WebUi) -> None:
    page.set_viewport_size({"width": 1280, "height": 1800})  # what lies outside of it is not drawn
    page.goto(f"{web_ui.address}/asset-groups/")
    specs = defs.resolve_all_asset_specs()
    for group in {spec.group_name for spec in specs}:
        expect(page.get_by_text(str(group), exact=True).first).to_be_visible()
    page.keyboard.press("Alt+e")  # expands all groups
    expect(page.get_by_text("corpus_jsonl", exact=True).first).to_be_visible()
    names = [spec.key.to_user_string() for spec in specs]

    def missing() -> list[str]:
        shown = [text.replace("…", "*") for text in page.locator("body").inner_text().split()]
        return [name for name in names if not any(fnmatchcase(name, text) for text in shown if text.strip("*"))]

    until = time.monotonic() + 20
    while missing() and time.monotonic() < until:  # groups open one after the other
        page.wait_for_timeout(200)
    assert missing() == []


def test_a_partition_that_is_launched_by_clicks_succeeds_and_is_listed_so(
    page: Page, web_ui: WebUi, launched: str
) -> None:
    page.goto(f"{web_ui.address}/assets/corpus_jsonl?view=partitions&partition={launched}")
    expect(page.get_by_text("Failed (0)")).to_be_visible()
    # One or two are there, as this test or the sensor's comes first.
    left = [f"Missing ({len(CORPORA) - there})" for there in (2, 3)]
    expect(page.get_by_text(left[0]).or_(page.get_by_text(left[1]))).to_be_visible()
    expect(page.get_by_text("konvid-1k/konvid_1k.jsonl")).to_be_visible()


def test_metadata_tables_and_pictures_render(page: Page, web_ui: WebUi, launched: str) -> None:
    page.goto(f"{web_ui.address}/assets/corpus_jsonl?view=partitions&partition={launched}")
    losses = page.locator("tr", has_text="gone.mp4").last
    expect(losses).to_contain_text("HTTP 404")
    expect(page.get_by_text("konvid-1k/konvid_1k.losses.jsonl")).to_be_visible()
    page.locator("tr", has_text="mos_histogram").get_by_text("Show Markdown").click()
    picture = page.get_by_role("img", name="MOS histogram")
    expect(picture).to_be_visible()
    assert picture.evaluate("image => image.naturalWidth") > 200


def test_the_page_of_an_asset_tells_what_a_row_is_and_what_its_columns_may_hold(
    page: Page, web_ui: WebUi, launched: str
) -> None:
    page.goto(f"{web_ui.address}/assets/corpus_jsonl?view=overview")
    expect(page.get_by_text("One row per clip of the corpus whose bytes and score are known")).to_be_visible()
    column = page.locator("tr", has_text="src_sha256")
    for told in ("string", "non-nullable", "unique", "64 hex digits", "SHA-256 of the clip's bytes"):
        expect(column).to_contain_text(told)


def test_a_check_that_warns_and_one_that_fails_are_seen_as_such(page: Page, web_ui: WebUi, launched: str) -> None:
    path = web_ui.place.data / launched / "konvid_1k.jsonl"
    whole = path.read_text()
    path.write_text(whole.replace('"mos_scale":"1-5-acr"', '"mos_scale":"1-6"'))
    with ThreadPoolExecutor(1) as beside:  # the browser's event loop runs in this thread
        beside.submit(run_schema_check, web_ui, launched).result()
    path.write_text(whole)
    page.goto(f"{web_ui.address}/assets/corpus_jsonl?view=checks&checkDetail=corpus_jsonl_schema")
    expect(page.get_by_text("1-6").first).to_be_visible()
    expect(page.get_by_text(re.compile("^Failed$")).first).to_be_visible()
    page.goto(f"{web_ui.address}/assets/corpus_jsonl?view=checks&checkDetail=corpus_jsonl_attrition")
    expect(page.get_by_text("20.0% of the rows were lost to downloads", exact=False).first).to_be_visible()
    expect(page.get_by_text(re.compile("^(Warning|Failed)$")).first).to_be_visible()


def run_schema_check(web_ui: WebUi, partition: str) -> None:
    """The check alone."""
    key = dg.AssetCheckKey(dg.AssetKey("corpus_jsonl"), "corpus_jsonl_schema")
    run_beside(web_ui, dg.AssetSelection.checks(key), partition)


def run_beside(web_ui: WebUi, chosen: dg.AssetSelection, partition: str | None, **config: object) -> str:
    """A run in the UI's own instance, and its id."""
    platform = build_defs(data_root=DataRootResource(path=str(web_ui.place.data)))
    job = dg.define_asset_job("chosen", chosen)
    only = dg.Definitions(
        assets=platform.assets, asset_checks=platform.asset_checks, jobs=[job], resources=platform.resources
    )
    with dg.DagsterInstance.from_config(str(web_ui.place.folder / "home")) as instance:
        result = only.resolve_job_def("chosen").execute_in_process(
            tags={"dagster/partition": partition} if partition else {},
            instance=instance,
            raise_on_error=False,
            run_config={
                "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
                **({"ops": {name: {"config": of} for name, of in config.items()}} if config else {}),
            },
        )
    return result.run_id


CUT = """() => {
    const cut = [], dagsters = "nav, button, svg, .CodeMirror, [class*=Gantt], [class*=MiddleTruncate], [class*=Logs]";
    const seen = box => box.width > 0 && box.top < innerHeight && box.bottom > 0;
    const scrolls = e => ["auto", "scroll", "hidden"].includes(getComputedStyle(e).overflowX);
    const within = document.querySelector("[role=dialog]") || document.body;
    const walker = document.createTreeWalker(within, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
        const text = walker.currentNode, element = text.parentElement;
        // Of a run's log the messages are ours, and stand in tables.
        if (!text.textContent.trim() || element.closest(dagsters) && !element.closest("table")) continue;
        const range = document.createRange();
        range.selectNodeContents(text);
        const box = range.getBoundingClientRect();
        if (!seen(box)) continue;
        let right = innerWidth;
        for (let e = element; e; e = e.parentElement)
            if (scrolls(e)) right = Math.min(right, e.getBoundingClientRect().right);
        if (box.right > right + 1) cut.push(text.textContent.slice(0, 60) + ` (${Math.round(box.right - right)} px)`);
    }
    for (const e of within.querySelectorAll("*"))
        if (scrolls(e) && seen(e.getBoundingClientRect()) && (e.querySelector(":scope > table") || e.closest("table"))
            && !e.closest(dagsters) && e.scrollWidth > e.clientWidth + 2)
            cut.push(`${e.className} scrolls ${e.scrollWidth - e.clientWidth} px: ` + e.innerText.slice(0, 60));
    return cut;
}"""
"""What is cut in the window: texts that end right of it or of whatever they scroll in, tables that scroll sideways.

Dagster's own controls are left out: buttons, its list of checks, a run's chart of steps, the frame of a run's log.
"""


def cut_in(page: Page) -> list[str]:
    """What is cut once the page has settled: plots take their width late."""
    until = time.monotonic() + 5
    while (found := page.evaluate(CUT)) and time.monotonic() < until:
        page.wait_for_timeout(200)
    return list(found)


@pytest.fixture(scope="module")
def standing(web_ui: WebUi, launched: str) -> str:
    """Of the first corpus two heads, of all a unified corpus and an overview; the id of another's run that failed."""
    root = DataRoot(web_ui.place.data)
    labelled(40).write_parquet(root.labelled(KONVID))
    (root.path / "lsvq").mkdir()
    settings = {"epochs": 1, "k_folds": 2, "label_noise": "never", "protocol_splits": 2}

    def run() -> str:
        run_beside(web_ui, dg.AssetSelection.assets("mos_head"), KONVID.name, mos_head=settings)
        run_beside(web_ui, dg.AssetSelection.assets(HEAD), None, **{HEAD: settings})
        run_beside(web_ui, dg.AssetSelection.assets("unified_corpus"), None)
        failed = run_beside(web_ui, dg.AssetSelection.assets("corpus_annotations"), "lsvq")
        note_outcome(root, ["corpus_annotations"], "lsvq", {"corpus_annotations": f"{root.path}/lsvq: no score file"})
        run_beside(web_ui, dg.AssetSelection.assets("overview"), None)
        return failed

    with ThreadPoolExecutor(1) as beside:
        return beside.submit(run).result()


@pytest.mark.parametrize(("width", "height"), [(1440, 900), (1024, 768)])
def test_nothing_is_cut_in_the_first_screen_of_heads_corpora_tables_the_overview_and_a_failed_run(
    page: Page, web_ui: WebUi, launched: str, standing: str, width: int, height: int
) -> None:
    page.set_viewport_size({"width": width, "height": height})
    first_values = {
        "assets/overview": "then vqa-assets ingest lsvq",
        f"assets/{HEAD}": "Proposed. It missed its gate",
        f"assets/{HEAD}?view=events": "Do not ship it",
        "assets/mos_head": "Proposed. It missed its gate",
        f"assets/mos_head?view=partitions&partition={KONVID.name}": "Do not ship it",
        f"assets/{HEAD}?view=checks&checkDetail={HEAD}_gate": "Proposed: mean PLCC",
        "assets/corpus_annotations": "usable_rows",
        "assets/corpus_jsonl": "Name of the clip within",
        f"assets/corpus_jsonl?view=partitions&partition={launched}": "HTTP 404",
        "assets/unified_corpus": "Name of the clip within",
        "assets/unified_corpus?view=events": "inputs_",
        f"runs/{standing}": "no annotation file",
    }
    if width < 1440:
        # A path is a text, for programs too, and no browser breaks it: these pages leave it no room.
        for path in (f"assets/{HEAD}", "assets/mos_head", "assets/unified_corpus?view=events"):
            del first_values[path]
    cut = {}
    for path, value in first_values.items():
        page.goto(f"{web_ui.address}/{path}")
        # Of a run the first line that has it may be out of sight: its page shows the last ones.
        shown = page.get_by_text(value)
        expect(shown.last if path.startswith("runs") else shown.first).to_be_in_viewport()
        if found := cut_in(page):
            cut[path] = found
    page.goto(f"{web_ui.address}/assets/overview")
    page.locator("tr", has_text="page").get_by_text("Show Markdown").click()
    expect(page.get_by_role("dialog").get_by_text("reads afresh")).to_be_in_viewport()
    if found := cut_in(page):
        cut["the overview's dialog"] = found
    assert cut == {}


def test_a_sensor_that_is_switched_on_picks_up_a_dropped_file(page: Page, web_ui: WebUi) -> None:
    page.goto(f"{web_ui.address}/locations/vqa_assets/sensors/changed_annotation_files")
    page.locator("label", has=page.get_by_role("checkbox")).first.click()
    expect(page.get_by_role("checkbox").first).to_be_checked()
    web_ui.place.corpus("live-vqc", 3)
    by = {"dagster/sensor_name": "changed_annotation_files"}
    until(lambda: len(runs(web_ui, "live-vqc", **by)) == 1, "the dropped file starts a run")
    watch(page, web_ui, "live-vqc", **by)
    assert (web_ui.place.data / "live-vqc" / "live_vqc.jsonl").is_file()


def test_a_schedule_tick_launches_the_partitions_that_are_present(page: Page, web_ui: WebUi) -> None:
    page.goto(f"{web_ui.address}/locations/vqa_assets/schedules/weekly_reingest")
    present = [path.parent.name for path in web_ui.place.data.glob("*/manifest.csv")]
    page.get_by_role("button", name="Preview tick result").click()
    page.get_by_role("button", name="Continue").click()
    expect(page.get_by_text(f"{len(present)} run requests")).to_be_visible()
    page.get_by_role("button", name="Launch all & commit tick result").click()
    by = {"dagster/schedule_name": "weekly_reingest"}
    until(lambda: all(len(runs(web_ui, one, **by)) == 1 for one in present), "each present corpus has a run")
    absent = set(CORPORA) - set(present)
    assert not any(runs(web_ui, one, **by) for one in absent)
