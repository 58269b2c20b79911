"""``follow_inputs`` starts nothing that must fail: what each asset needs, and that a run without it does fail."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from vqa_assets.assets.catalog import Catalog
from vqa_assets.assets.startable import Startable
from vqa_assets.corpora import CORPORA
from vqa_assets.definitions import build_defs
from vqa_assets.resources.data_root import DataRootResource
from vqa_assets_tests.shared.clips import tiny_clips
from vqa_assets_tests.shared.head_tables import labelled, written
from vqa_assets_tests.shared.platform import Platform

NAME = "konvid-1k"
CORPUS = CORPORA[NAME]


class Followed(Platform):
    """The definitions on a data root, and what the sensor would start there."""

    def requested(self) -> set[str]:
        """What one look requests; ``asset[corpus]`` of a partition."""
        defs = build_defs(data_root=DataRootResource(path=str(self.root.path)))
        found = dg.evaluate_automation_conditions(defs, self.instance, asset_selection=dg.AssetSelection.all())
        return {
            f"{key.to_user_string()}[{part}]" if part else key.to_user_string()
            for key in defs.resolve_asset_graph().get_all_asset_keys()
            for part in found.get_requested_partitions(key)
        }

    def note(self, asset: str, partition: str | None = None) -> None:
        """Record that an asset was made, as if on another machine whose files are not here."""
        event = dg.AssetMaterialization(asset, partition=partition, tags={"dagster/data_version": "1"})
        self.instance.report_runless_asset_event(event)

    def why_not(self, asset: str, corpus: str | None = None) -> str:
        return Startable(Catalog(CORPORA), lambda: self.root).why_not(asset, corpus)

    def clips(self) -> None:
        folder = self.root.corpus_dir(CORPUS)
        names = tiny_clips(folder / "clips", 3)
        rows = "".join(f"{name},,{2 + i / 2},0.5,9\n" for i, name in enumerate(names))
        (folder / "manifest.csv").write_text("video_name,url,mos,sd,n\n" + rows)
        (folder / "ingest.toml").write_text("min_rows = 1\n")


@pytest.fixture
def followed(root_path: Path) -> Iterator[Followed]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield Followed(root_path, instance)


LACKING = [
    ("clip_features", NAME, "no corpus JSONL is there"),
    ("mos_features", NAME, "no corpus JSONL is there"),
    ("mos_head", NAME, "no labelled table is there"),
    ("unified_corpus", None, "no corpus JSONL is there"),
    ("unified_features", None, "no unified corpus is there"),
    ("konvid_mos_head_v1", None, "no labelled table is there"),
    ("unified_mos_head_v1", None, "no unified_features is there"),
    ("cross_corpus_evaluation", None, "unified_features holds 0 of at least 2 corpora"),
    ("fr_training_corpus", None, "no encode grid is there"),
    ("fr_regressor_v2", None, "no training corpus is there"),
]


def test_on_an_empty_root_every_follower_lacks_something_and_does_fail_without_it(followed):
    followers = {key.to_user_string() for key in followed.definitions().resolve_asset_graph().get_all_asset_keys()}
    starters = {"corpus_annotations", "corpus_jsonl", "libvmaf_reports", "encode_grid_jsonl", "mos_label_batch"}
    # The overview says where things stand, whatever is there.
    assert {asset for asset, _, _ in LACKING} | {"chug_hdr_mos_head_v1", "overview"} == followers - starters
    for asset, corpus, why in LACKING:
        assert followed.why_not(asset, corpus) == why
        assert not followed.run(asset, partition=corpus).success, asset


def test_what_was_made_elsewhere_starts_nothing_here(followed):
    for asset, corpus, _ in LACKING:
        followed.note(asset, corpus)
    followed.note("corpus_jsonl", NAME)
    followed.note("encode_grid_jsonl", "bvi-dvc")
    assert followed.requested() == {"overview"}


def test_rows_without_clips_start_the_unified_corpus_alone_and_clips_that_are_staged_then_start_their_features(
    followed,
):
    followed.clips()
    assert followed.run("corpus_jsonl", partition=NAME).success
    folder = followed.root.corpus_dir(CORPUS)
    (folder / "clips").rename(folder / "elsewhere")
    assert followed.why_not("clip_features", NAME) == ""  # clips are found below the corpus's folder
    (folder / "elsewhere").rename(followed.root.path.parent / "unmounted")
    assert followed.why_not("clip_features", NAME) == "no clip is there"
    assert followed.requested() == {"unified_corpus"}
    assert not followed.run("clip_features", partition=NAME).success
    assert followed.run("unified_corpus").success
    (followed.root.path.parent / "unmounted").rename(folder / "clips")
    # The run that was started by hand and failed counts as the answer; a change asks anew.
    followed.note("corpus_jsonl", NAME)
    assert f"mos_features[{NAME}]" not in followed.requested()


def test_a_head_starts_with_a_labelled_table_but_not_over_one_of_other_choices(followed):
    path = followed.root.labelled(CORPUS)
    path.parent.mkdir(parents=True)
    written(labelled(60), path)
    assert followed.why_not("mos_head", NAME) == followed.why_not("konvid_mos_head_v1") == ""
    defaults = {"epochs": 1, "device": "cpu", "protocol_splits": 0}
    assert followed.run("mos_head", partition=NAME, corpus_weights={NAME: 2.0}, **defaults).success
    assert "another head is there" in followed.why_not("mos_head", NAME)
    assert not followed.run("mos_head", partition=NAME, **defaults).success


def test_an_ingest_toml_that_cannot_be_read_starts_nothing_and_says_why(followed):
    followed.root.corpus_dir(CORPUS).mkdir(parents=True)
    followed.root.ingest_toml(CORPUS).write_text("min_rows = none\n")
    assert "ingest.toml" in followed.why_not("clip_features", NAME)
    assert "ingest.toml" in followed.why_not("unified_corpus")


def test_a_data_root_that_is_not_there_is_no_reason_of_its_own(tmp_path):
    nowhere = DataRootResource(path=str(tmp_path / "nowhere"))
    assert Startable(Catalog(CORPORA), nowhere.root).why_not("mos_head", NAME) == ""
