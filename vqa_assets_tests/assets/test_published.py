"""A published file as its asset and its checks see it: what is shown, where the latest one is, how a check counts."""

from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from vqa_assets.assets.metadata import EVENT_PAGE, OVERVIEW_TAB, records
from vqa_assets.assets.published import Latest, PublishedFile, shown_metadata
from vqa_assets.resources.data_root import DataRootResource
from vqa_assets.tables.files import write_bytes, write_json
from vqa_assets.tables.specs import Column, Table
from vqa_assets_tests.shared.platform import metadata

NUMBERS = Table("numbers", "One row per number.", (Column("number", "integer", "The number", unique=True),))
GOOD, BAD = b'{"number":1}\n{"number":2}\n', b'{"number":1}\n{"number":1}\n'


def definitions(root: Path, content: bytes = GOOD, output: str = "numbers.jsonl", **kind: Any) -> dg.Definitions:
    """An asset that writes its file (and the manifest beside it) to ``output``, and two checks of it."""
    file = PublishedFile("numbers", lambda root, _: root.path / "numbers.jsonl", NUMBERS, **kind)

    @dg.asset
    def numbers(data_root: DataRootResource) -> dg.MaterializeResult[Any]:
        path = data_root.root().path / output
        manifest_file = path.with_name(f"{path.stem}.manifest.json")
        write_bytes(path, content)
        write_json(manifest_file, {"of": output})
        return file.result(
            data_root.root(),
            path=path,
            rows=2,
            manifest={"of": output},
            manifest_file=manifest_file,
            data_version="v1",
            metadata={"own": 1},
        )

    @file.check("Which file is judged.")
    def numbers_judged(latest: Latest) -> dg.AssetCheckResult:
        return dg.AssetCheckResult(passed=False, description=f"{latest.path.name} {latest.manifest['of']}")

    @file.check("It counts as it says.", severity=dg.AssetCheckSeverity.ERROR)
    def numbers_severe(latest: Latest) -> dg.AssetCheckResult:
        return dg.AssetCheckResult(passed=False)

    checks = [file.schema_check("Every number stands once."), numbers_judged, numbers_severe]
    jobs = [
        dg.define_asset_job("make", dg.AssetSelection.assets("numbers")),
        dg.define_asset_job("judge", dg.AssetSelection.checks_for_assets(numbers)),
    ]
    resources = {"data_root": DataRootResource(path=str(root))}
    return dg.Definitions(assets=[numbers], asset_checks=checks, jobs=jobs, resources=resources)


def run(job: str, defs: dg.Definitions, instance: dg.DagsterInstance) -> tuple[Any, dict[str, dg.AssetCheckEvaluation]]:
    result = defs.resolve_job_def(job).execute_in_process(
        instance=instance,
        raise_on_error=False,
        run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
    )
    return result, {e.check_name: e for e in result.get_asset_check_evaluations()}


def test_a_table_is_shown_with_its_path_its_rows_its_columns_and_its_manifest(root_path: Path) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        result, _ = run("make", definitions(root_path), instance)
        entries = metadata(result, "numbers")
        assert (entries["path"], entries["manifest_path"]) == ("numbers.jsonl", "numbers.manifest.json")
        assert (entries["dagster/row_count"], entries["own"], entries["manifest"]) == (2, 1, {"of": "numbers.jsonl"})
        (column,) = entries["dagster/column_schema"].columns
        assert (column.name, column.type, column.constraints.unique) == ("number", "int", True)


def test_a_check_warns_but_for_one_that_blocks_or_says_otherwise(root_path: Path) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        result, found = run("make", definitions(root_path, BAD), instance)
    assert not result.success
    assert {name: (e.passed, e.severity.value) for name, e in found.items()} == {
        "numbers_schema": (False, "ERROR"),
        "numbers_judged": (False, "WARN"),
        "numbers_severe": (False, "ERROR"),
    }
    assert "repeated values [1]" in str(found["numbers_schema"].description)


def test_paths_are_texts_however_long_and_a_file_is_judged_where_it_lies(root_path: Path) -> None:
    output = f"elsewhere/{'of `a` run ' * 3}{'n' * 40}.jsonl"
    with dg.DagsterInstance.ephemeral() as instance:
        result, found = run("make", definitions(root_path, output=output), instance)
    assert found["numbers_judged"].description == f"{output.removeprefix('elsewhere/')} {output}"
    (event,) = result.asset_materializations_for_node("numbers")
    assert [event.metadata[name] for name in ("path", "manifest_path")] == [
        dg.MetadataValue.text(output),
        dg.MetadataValue.text(f"{output.removesuffix('.jsonl')}.manifest.json"),
    ]


def test_what_no_browser_breaks_to_fit_a_page_is_behind_a_click_and_a_long_address_a_link() -> None:
    word, wider = "n" * OVERVIEW_TAB.characters, "n" * (OVERVIEW_TAB.characters + 1)
    address = "https://videos.example.org/quality"
    shown = shown_metadata(
        {
            "fits": f"{word} {word[1:]}-{word}",
            "long": wider,
            "narrow": records([{"of": "n" * 10}]),
            "wide": records([{"of": word}]),
            "names": ["n" * 10],
            "long_names": [word],
            "homepage": dg.MetadataValue.url(address),
            "share": 1 / 3,
        }
    )
    assert shown["fits"] == f"{word} {word[1:]}-{word}"
    assert shown["long"].value.rstrip() == f"`{wider}`"
    assert (shown["names"], shown["share"]) == (["n" * 10], 0.3333)
    assert shown["homepage"].value == f"[open](<{address}>)"
    tables = [shown["narrow"], shown["wide"]]
    assert [type(one) for one in tables] == [dg.TableMetadataValue, dg.MarkdownMetadataValue]
    assert shown["long_names"].value.strip() == f"- `{word}`"
    # A short Markdown value is not behind a click, and as wide as a text.
    assert all(len(shown[name].value) >= 1000 for name in ("long", "wide", "long_names"))
    assert shown_metadata({"long": wider}, EVENT_PAGE) == {"long": wider}


@pytest.mark.parametrize(
    ("kind", "judged"),
    [({}, "other.jsonl other.jsonl"), ({"judged_in_its_run": True}, "numbers.jsonl numbers.jsonl")],
    ids=["any run", "its own run"],
)
def test_a_check_that_runs_alone_judges_the_latest_file_or_the_one_in_its_place(
    root_path: Path, kind: dict[str, Any], judged: str
) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        run("make", definitions(root_path), instance)
        elsewhere = definitions(root_path, output="other.jsonl", **kind)
        _, found = run("make", elsewhere, instance)
        assert found["numbers_judged"].description == "other.jsonl other.jsonl"
        assert run("judge", elsewhere, instance)[1]["numbers_judged"].description == judged


def test_a_file_that_no_run_recorded_is_judged_in_its_place_and_one_that_is_gone_is_missed(root_path: Path) -> None:
    (root_path / "numbers.jsonl").write_bytes(GOOD)
    with dg.DagsterInstance.ephemeral() as instance:
        assert run("judge", definitions(root_path), instance)[1]["numbers_schema"].passed
        (root_path / "numbers.jsonl").unlink()
        found = run("judge", definitions(root_path), instance)[1]["numbers_schema"]
    assert not found.passed
    assert str(found.description).endswith("found nothing there, expected the artefact; materialize the asset")
