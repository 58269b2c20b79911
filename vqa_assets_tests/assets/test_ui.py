"""The web UI's server, started for real: it knows the assets and checks, and shows what a run left as metadata."""

import json

from vqa_assets.definitions import defs
from vqa_assets_tests.shared.web_ui import WebUi


def test_it_shows_every_asset_with_its_group_and_partitions(web_ui: WebUi) -> None:
    nodes = web_ui.ask("{ assetNodes { assetKey { path } groupName isPartitioned kinds description } }")["assetNodes"]
    found = {node["assetKey"]["path"][0]: node for node in nodes}
    assert {name: (node["groupName"], node["isPartitioned"], set(node["kinds"])) for name, node in found.items()} == {
        spec.key.to_user_string(): (spec.group_name, spec.partitions_def is not None, spec.kinds)
        for spec in defs.resolve_all_asset_specs()
    }
    assert all(node["description"] for node in nodes)


def test_it_shows_the_checks_and_which_of_them_block(web_ui: WebUi) -> None:
    query = (
        "{ assetNodes { assetKey { path } assetChecksOrError { ... on AssetChecks { checks { name blocking } } } } }"
    )
    checks = {
        check["name"]: check["blocking"]
        for node in web_ui.ask(query)["assetNodes"]
        for check in node["assetChecksOrError"].get("checks", [])
    }
    tables = ("corpus_jsonl", "unified_corpus", "clip_features", "mos_features")
    assert {f"{table}_schema": True for table in tables}.items() <= checks.items()
    assert checks["corpus_jsonl_attrition"] is False
    assert checks["konvid_mos_head_v1_gate"] is False
    assert checks["konvid_mos_head_v1_runs_anywhere"] is True


def test_it_shows_counters_column_schema_and_manifest_as_metadata(web_ui: WebUi) -> None:
    entries = """metadataEntries { label
        ... on IntMetadataEntry { intValue } ... on JsonMetadataEntry { jsonString }
        ... on MarkdownMetadataEntry { mdStr } ... on TableMetadataEntry { table { records } }
        ... on TableSchemaMetadataEntry { schema { columns { name constraints { unique nullable other } } } } }"""
    query = f"""{{ assetOrError(assetKey: {{path: ["corpus_jsonl"]}}) {{ ... on Asset {{
        assetMaterializations(partitions: ["konvid-150k"], limit: 1) {{ partition {entries} }} }} }} }}"""
    (event,) = web_ui.ask(query)["assetOrError"]["assetMaterializations"]
    assert event["partition"] == "konvid-150k"
    told = {entry["label"]: entry for entry in event["metadataEntries"]}
    assert told["dagster/row_count"]["intValue"] == 6
    counters = [json.loads(record) for record in told["counters"]["table"]["records"]]
    assert {"counter": "rows_out", "rows": 6} in counters  # written, or unchanged where a schedule came by
    columns = {c["name"]: c["constraints"] for c in told["dagster/column_schema"]["schema"]["columns"]}
    assert columns["src_sha256"]["unique"] is True
    assert json.loads(told["manifest"]["jsonString"])["schema"] == "mos-corpus-manifest-v1"
    assert told["mos_histogram"]["mdStr"].startswith("![MOS histogram](data:image/png;base64,")


def test_it_shows_how_the_checks_of_a_partition_went(web_ui: WebUi) -> None:
    def told(check: str) -> list[tuple[bool, str]]:
        query = f"""{{ assetCheckExecutions(assetKey: {{path: ["corpus_jsonl"]}}, checkName: "{check}", limit: 50) {{
            evaluation {{ success description }} }} }}"""
        found = (one["evaluation"] for one in web_ui.ask(query)["assetCheckExecutions"])
        return [(one["success"], one["description"]) for one in found if one]

    assert (True, "6 rows keep the column specs") in told("corpus_jsonl_schema")
    assert (True, "6 rows in = 6 kept + 0 lost; 6 rows out, 6 in the file") in told("corpus_jsonl_reconciles")


def test_the_automation_is_evaluated_by_the_running_code_and_would_start_what_is_made_from_the_corpus(
    web_ui: WebUi,
) -> None:
    query = """mutation { sensorDryRun(selectorData: {repositoryLocationName: "vqa_assets",
        repositoryName: "__repository__", sensorName: "follow_inputs"}, cursor: null) { ... on DryRunInstigationTick {
        evaluationResult { error { message } runRequests { assetSelection { path } tags { key value } } } } } }"""
    result = web_ui.ask(query)["sensorDryRun"]["evaluationResult"]
    assert result["error"] is None
    assert ["unified_corpus"] in [key["path"] for request in result["runRequests"] for key in request["assetSelection"]]
