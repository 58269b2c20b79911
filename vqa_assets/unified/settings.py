"""The settings of one aggregation, and of the table of its rows with features."""

from collections.abc import Mapping

from vqa_assets.settings import Many, SettingPath, Settings, TableFiles, setting


class AggregationSettings(Settings):
    """Settings of one aggregation."""

    inputs: Many[SettingPath] = setting(
        (), "Corpus JSONL files instead of every one present, in the order that breaks ties."
    )
    corpus_source_overrides: Mapping[str, str] = setting(
        {}, "Path → corpus, for a file whose rows name another corpus."
    )
    mos_scales: Mapping[str, str] = setting(
        {},
        "Corpus, or path of an input → the scale of its scores, for shards that come from elsewhere; one of "
        "1-5-acr, 0-100-continuous, or of the corpus's own.",
    )
    output: SettingPath | None = setting(
        None, "File to write.", shown="<root>/aggregated/unified_corpus.jsonl", written=True
    )
    manifest_out: SettingPath | None = setting(
        None, "Replay manifest to write.", shown="beside the output", written=True
    )


class FeatureRowsSettings(Settings):
    """Settings of the unified corpus's rows with features."""

    tables: Mapping[str, TableFiles] = setting(
        {}, "Corpus → table with features, or a list of them, in the place of that corpus's labelled table."
    )
    extra_tables: Mapping[str, TableFiles] = setting(
        {}, "Corpus → table with features, or a list of them, beside the labelled tables."
    )
