"""Heads of a handful of contents, and of clips that stand twice: what is still measured, and what is only told."""

import math
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import polars as pl
import pytest
from sklearn.linear_model import Ridge

from vqa_assets.corpora.contents import content_of_group
from vqa_assets.feature_names import KONVID_V1, NR_V1, FeatureSchema
from vqa_assets.features.extractor import ClipExtractor
from vqa_assets.heads.build import BuiltHead, build_head
from vqa_assets.heads.card import render_card
from vqa_assets.heads.help.assistance import Line, report_of
from vqa_assets.heads.help.sources import Helper, HelpingRows
from vqa_assets.heads.judging.evaluation import protocol_parts, run_protocol
from vqa_assets.heads.judging.judged_table import read_judged
from vqa_assets.heads.judging.seen import KnownRows, training_of
from vqa_assets.heads.members.closed_form import PENALTIES, RidgeRows
from vqa_assets.heads.members.method import SHIPPED, HeadRows, TrainingRows
from vqa_assets.heads.members.random_features import RIDGE_PENALTIES
from vqa_assets.heads.members.training import Learner, TorchTrainer, members_of
from vqa_assets.heads.part_training import train_parts
from vqa_assets.heads.publish import HeadInputs, publish_head
from vqa_assets.heads.recipe import KONVID_MOS_HEAD_V1, Gate
from vqa_assets.heads.rows.near_copies import LOOKS, near_copies
from vqa_assets.heads.rows.reading import TrainingTable, read_training_table
from vqa_assets.heads.rows.splitting import plan_splits
from vqa_assets.heads.rows.synthetic import synthetic_table
from vqa_assets.heads.settings import TrainingSettings
from vqa_assets.provenance import RunContext
from vqa_assets.tables.paths import DataRoot
from vqa_assets_tests.shared.head_tables import FACTS, labelled, quiet, written

XS = KONVID_V1.columns
QUICK = TrainingSettings(epochs=2, device="cpu", protocol_splits=2)
EASY = Gate(mean_plcc=-1.0, mean_srocc=None, mean_rmse=None, plcc_spread=None)
"""A gate that every head passes of which anything is measured."""


@pytest.fixture(scope="module")
def told() -> list[str]:
    return []


@pytest.fixture(scope="module")
def seven(told, tmp_path_factory) -> BuiltHead:
    """A head of seven contents of three clips."""
    path = written(of_contents(21, 7), tmp_path_factory.mktemp("few") / "t.parquet")
    return build_head(KONVID_MOS_HEAD_V1, {"konvid-1k": path}, FACTS, QUICK, TorchTrainer(), told.append)


def of_contents(rows: int, contents: int) -> pl.DataFrame:
    return labelled(rows).with_columns(content_id=pl.format("scene {}", pl.int_range(rows) % contents))


def read(frame: pl.DataFrame, tmp_path) -> TrainingTable:
    return read_training_table({"mine": written(frame, tmp_path / "t.parquet")}, KONVID_V1)


def test_where_folds_cannot_be_filled_the_gate_is_not_measured_and_says_the_number_of_contents(seven, told):
    gate, folds = seven.manifest["gate"], seven.manifest["folds"]
    assert (seven.manifest["status"], gate["passed"], gate["measured"]) == ("Proposed", False, False)
    assert gate["reasons"] == ["not measured: 7 contents fill 3 folds, not 5"]
    assert set(gate["numbers"].values()) == {None}
    assert (len(folds["each"]), folds["asked"]) == (3, 5)
    assert all(fold["groups"] >= 2 and fold["srocc"] is not None for fold in folds["each"])
    assert "warning: 7 contents fill 3 folds, not 5: the gate is not measured" in told
    card = render_card(seven.manifest)
    assert "**Proposed**. Its gate is not measured: 7 contents fill 3 folds, not 5." in card
    assert "| mean_plcc | not measured | 0.85 |" in card
    assert "- stopped and chosen by 7 contents one by one\n" in card
    assert "(no interval)" in card
    assert "[–" not in card


def test_under_ten_contents_nothing_is_held_out_and_nothing_has_an_interval(seven, told):
    manifest = seven.manifest
    assert (manifest["holdout"]["share"], manifest["holdout"]["rows"]) == (0.0, 0)
    assert manifest["training_recipe"]["rows"] == 21
    of_protocol = manifest["protocol"]
    intervals = [*manifest["folds"]["pooled"]["interval_95"].values(), of_protocol["head_minus"]["ridge"]["interval"]]
    intervals += [one for of in of_protocol["interval_95"].values() for one in of.values()]
    assert {tuple(interval) for interval in intervals} == {(None, None)}
    assert of_protocol["median"]["head"]["srocc"] is not None
    line = "7 contents: nothing is held out, and nothing has an interval (10 are needed)"
    assert f"warning: {line}" in told
    assert f"- **{line}.**" in render_card(manifest)


def test_of_clips_that_stand_twice_only_the_predictions_tell_which_were_held_out(tmp_path):
    frame = labelled(60).drop("content_id")
    copies = frame.with_columns(key=pl.format("copy of {}", "key"), mos=pl.col("mos") * 0.9 + 0.3, src_sha256=None)
    path = written(pl.concat([frame, copies], how="vertical_relaxed"), tmp_path / "twice.parquet")
    settings = QUICK.but(protocol_splits=0)
    built = build_head(KONVID_MOS_HEAD_V1, {"konvid-1k": path}, FACTS, settings, TorchTrainer(), quiet)
    inputs = HeadInputs("a_head", settings, {"features_with_mos_konvid-1k": path}, {"konvid-1k": [path]})
    head = publish_head(built, inputs, RunContext(DataRoot(tmp_path), {}, path))
    table = read_judged(path, "mos").of_corpus("konvid-1k")
    rows = KnownRows(table.keys, table.corpora, table.groups, table.splits)
    named = training_of(head.onnx).seen(rows)
    assert 0 < named.rows.sum() == built.manifest["training_recipe"]["rows"] < 120
    # A head that is passed on goes without its predictions: they hold the scores of single clips.
    head.predictions.unlink()
    alone = training_of(head.onnx).seen(rows)
    assert alone.rows.all()
    assert (
        alone.by == "it was trained on this corpus, whose clips stand twice: which of them were held out is not known"
    )


def test_intervals_go_by_the_contents_that_judge_not_by_those_of_the_table():
    many = synthetic_table(KONVID_V1, rows=90, seed=1)
    # A corpus's own test rows judge once: of thirty contents eight are left to fold, and to draw splits from.
    given = [group not in sorted(set(many.groups))[:8] for group in many.groups]
    few = replace(
        many,
        split=tuple("test" if own else None for own in given),
        corpora=tuple("lsvq" if own else "konvid-1k" for own in given),
        synthetic=False,
    )
    settings = QUICK.but(protocol_splits=2)
    for table, has_interval in ((many, True), (few, False)):
        plan = plan_splits(table, settings)
        parts = protocol_parts(table, plan, settings.but(protocol_splits=6))
        (head,) = train_parts(table, parts[:1], settings, TorchTrainer(), quiet).heads
        protocol = run_protocol(table, parts, [head] * len(parts), 0, quiet)
        intervals = [protocol.predictors["head"].interval["srocc"], protocol.head_minus["ridge"].interval]
        help_ = Helper(HelpingRows(table, plan.final), {}, {})
        lines, heads = ({part.name: one for part in plan.parts} for one in (Line(1.0, 0.0), head))
        report = report_of(table, help_, lines, heads, plan.parts[0], plan.parts, (), 0)
        intervals.append(report.interval)
        assert {math.isfinite(end) for ends in intervals for end in ends} == {has_interval}


@pytest.mark.parametrize("mark", ["bytes", "features"])
def test_copies_that_no_content_id_joins_are_one_content_and_never_production(tmp_path, mark):
    frame = labelled(24).drop("content_id")
    again = frame.with_columns(key=pl.format("copy of {}", "key"))
    if mark == "features":  # what shows the same, packed anew
        again = again.with_columns(src_sha256=pl.lit(None, pl.String), mos=pl.col("mos") * 0.9 + 0.3)
    twice = pl.concat([frame, again])
    table = read(twice, tmp_path)
    assert table.groups[:24] == table.groups[24:]
    assert (len(set(table.groups)), table.copies.rows) == (24, 48)
    for part in plan_splits(table, QUICK).parts:
        assert not {table.groups[row] for row in part.train} & {table.groups[row] for row in part.test}
    if mark == "bytes":
        return
    easy = replace(KONVID_MOS_HEAD_V1, gate=EASY)
    settings = QUICK.but(protocol_splits=0, export=False)
    of_both = (
        {"konvid-1k": written(one, tmp_path / name)} for one, name in ((twice, "2.parquet"), (frame, "1.parquet"))
    )
    manifest, honest = (build_head(easy, tables, FACTS, settings, TorchTrainer(), quiet).manifest for tables in of_both)
    assert (manifest["status"], manifest["gate"]["passed"]) == ("Proposed", False)
    told = "48 rows are copies (clip-0-0.mp4 and copy of clip-0-0.mp4), and no content_id says what is the same"
    assert manifest["gate"]["reasons"] == [told]
    assert manifest["folds"]["copies_without_content_id"] == 48
    assert f"**Proposed**. It missed its gate: {told}." in render_card(manifest)
    assert honest["status"] == "Production"


def test_clips_of_which_content_ids_say_what_they_show_are_no_copies(tmp_path):
    frame = labelled(24)
    again = frame.with_columns(key=pl.format("copy of {}", "key"), src_sha256=pl.lit(None, pl.String))
    table = read(pl.concat([frame, again]), tmp_path)
    assert (table.copies, len(set(table.groups))) == (None, 12)
    apart = read(pl.concat([frame, again.with_columns(content_id=pl.format("other {}", "content_id"))]), tmp_path)
    assert (apart.copies, len(set(apart.groups))) == (None, 24)


def test_counts_that_agree_by_chance_make_no_copies(tmp_path):
    counts = [(pl.int_range(40) % (2 + i)).cast(pl.Float64).alias(name) for i, name in enumerate(KONVID_V1.columns)]
    whole = labelled(80).drop("content_id").with_columns(*pl.concat([pl.select(counts)] * 2))
    table = read(whole, tmp_path)
    assert (table.copies, len(set(table.groups))) == (None, 80)


def test_a_clip_without_a_content_id_joins_the_content_that_it_is_a_copy_of(tmp_path):
    frame = labelled(24)
    copy = frame[:1].with_columns(key=pl.lit("z.mp4"), content_id=pl.lit(None, pl.String), src_sha256=pl.lit("f" * 64))
    table = read(pl.concat([frame, copy]), tmp_path)
    assert content_of_group(table.groups[0]) == content_of_group(table.groups[-1])
    assert table.copies.rows == 3


def nameless(rows: int) -> pl.DataFrame:
    return labelled(rows).drop("content_id")


def near_copies_of(frame: pl.DataFrame, count: int, apart: float) -> pl.DataFrame:
    """The first clips once more, each column ``apart`` SDs off: re-encoded, say."""
    rng = np.random.default_rng(5)
    moved = {name: frame[name] + apart * frame[name].std() * pl.Series(rng.standard_normal(len(frame))) for name in XS}
    again = frame.with_columns(**moved, key=pl.format("again {}", "key"), src_sha256=pl.lit(None, pl.String))
    return again[:count]


def test_clips_that_measure_nearly_as_others_are_told_where_no_content_id_joins_them(tmp_path):
    frame = nameless(150)
    twice = pl.concat([frame, near_copies_of(frame, 12, 0.02)])
    said: list[str] = []
    settings = QUICK.but(protocol_splits=0, export=False, epochs=1, k_folds=2)
    tables = {"konvid-1k": written(twice, tmp_path / "twice.parquet")}
    manifest = build_head(KONVID_MOS_HEAD_V1, tables, FACTS, settings, TorchTrainer(), said.append).manifest
    near = manifest["folds"]["near_copies"]
    assert 20 <= near["rows"] <= 26
    assert near["asked"] == 162
    first, second = sorted(near["examples"])
    assert first == f"again {second}"
    line = f"{near['rows']} of 162 clips without a content_id measure nearly the same as another one, such as"
    assert any(told.startswith(f"warning: {line}") for told in said)
    assert f"- **{line}" in render_card(manifest)


def test_clips_of_other_contents_are_no_near_copies(tmp_path):
    assert near_copies(read(nameless(150), tmp_path), 0) is None
    # whose contents are known, whose number says nothing, and who are copied to a distance like that of others
    named = pl.concat([labelled(150), near_copies_of(labelled(150), 12, 0.02)])
    assert near_copies(read(named, tmp_path), 0) is None
    few = pl.concat([nameless(10), near_copies_of(nameless(10), 10, 0.02)])
    assert near_copies(read(few, tmp_path), 0) is None
    of_one_clip = nameless(30).with_columns(key=pl.when(pl.int_range(30) < 22).then(pl.lit("a")).otherwise("key"))
    assert near_copies(read(of_one_clip, tmp_path), 0) is None
    far = pl.concat([nameless(150), near_copies_of(nameless(150), 12, 1.0)])
    assert near_copies(read(far, tmp_path), 0) is None


def measured(tmp_path, rows: int, copies: int = 0, grey: int = 0, seed: int = 0) -> TrainingTable:
    """Clips with nr-v1's columns, the first of them once more as a coarse encode leaves them: the same to look at, and
    other in every measure of distortion. Of the last ones, which are grey, every colour is 0."""
    rng = np.random.default_rng(seed)
    values = {name: rng.standard_normal(rows) for name in NR_V1.columns}
    for name in (name for name in values if name in LOOKS and not name.endswith("_mean")):
        # A clip's pictures look much alike, so that its percentiles lie near its mean.
        values[name] = values[f"{name.removesuffix('_p10').removesuffix('_p90')}_mean"] + 0.1 * values[name]
    for name in (name for name in values if name.startswith(("satur", "colourf"))):
        values[name][rows - grey :] = 0
    moved = {name: (0.02 if name in LOOKS else 1.0) * rng.standard_normal(copies) for name in values}
    again = {name: of[:copies] + moved[name] for name, of in values.items()}
    frame = pl.DataFrame({name: np.concatenate([of, again[name]]) for name, of in values.items()})
    keys, mos = pl.format("{}.mp4", pl.int_range(pl.len())), 1 + pl.int_range(pl.len()) * 7 % 40 / 10
    path = written(frame.with_columns(key=keys, mos=mos), tmp_path / "measured.parquet")
    return read_training_table({"mine": path}, NR_V1)


def test_a_copy_whose_distortion_is_another_is_near_by_what_it_shows(tmp_path):
    near = near_copies(measured(tmp_path, 150, copies=12), 0)
    assert near is not None
    assert 20 <= near.rows <= 26
    first, second = sorted(int(key.removesuffix(".mp4")) for key in near.examples)
    assert second == first + 150


def test_grey_clips_which_are_alike_in_all_colours_are_no_near_copies(tmp_path):
    assert near_copies(measured(tmp_path, 400, grey=120, seed=6), 0) is None


@pytest.mark.takes_long("measures 42 clips")
def test_encodes_of_one_clip_at_crf_12_and_20_are_near_copies_and_other_clips_are_not(tmp_path):
    clips = [textured_clip(tmp_path / f"{seed}.mp4", seed) for seed in range(30)]
    again = [
        encoded(tmp_path / f"{clip.stem} again.mp4", decoded(clip), crf=12 + 8 * (number % 2))
        for number, clip in enumerate(clips[:12])
    ]
    extractor = ClipExtractor(feature_sets=("nr-v1",))
    rows = [
        {**extractor.extract(clip), "key": clip.name, "mos": 1 + number % 5}
        for number, clip in enumerate((*clips, *again))
    ]
    frame = pl.DataFrame(rows, infer_schema_length=None)
    varies = [name for name in NR_V1.columns if frame[name].n_unique() > 1]
    schema = FeatureSchema("varying", tuple(varies), frozenset(varies))
    apart = read_training_table({"mine": written(frame[:30], tmp_path / "apart.parquet")}, schema)
    assert near_copies(apart, 0) is None
    both = read_training_table({"mine": written(frame, tmp_path / "both.parquet")}, schema)
    near = near_copies(both, 0)
    assert near is not None
    assert near.rows >= 8
    first, second = sorted(near.examples)
    assert first.removesuffix(" again.mp4") == second.removesuffix(".mp4")


def textured_clip(path: Path, seed: int) -> Path:
    """Twelve frames of a moving texture whose grain, brightness, contrast and colour no other seed has."""
    rng = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(144)[:, None], np.fft.fftfreq(192)[None, :])
    frequency[0, 0] = 1
    grain, level, contrast, colour = (rng.uniform(*ends) for ends in ((0.6, 1.6), (70, 170), (15, 50), (0.1, 1)))
    waves = [np.exp(2j * np.pi * rng.uniform(size=frequency.shape)) / frequency**grain for _ in range(4)]
    grey, *tints = ((of - of.mean()) / of.std() for of in (np.fft.ifft2(wave).real for wave in waves))
    step = rng.integers(-4, 5, 2)
    frames = [
        np.stack([level + contrast * (np.roll(grey, step * t, (0, 1)) + colour * tint) for tint in tints], axis=-1)
        for t in range(12)
    ]
    return encoded(path, [np.clip(frame, 0, 255).astype(np.uint8) for frame in frames], crf=18)


def encoded(path: Path, frames: list[np.ndarray], crf: int) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=24, options={"crf": str(crf), "preset": "veryfast"})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for frame in (*(av.VideoFrame.from_ndarray(one, "rgb24") for one in frames), None):
            container.mux(stream.encode(frame))
    return path


def decoded(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def learner_of(tmp_path, contents: int) -> Learner:
    """A head of so many contents of three clips each, before its first step."""
    table = read(of_contents(3 * contents, contents), tmp_path)
    rows = TrainingRows(table.features, table.onehot, table.mos, table.groups)
    _, numbers = np.unique(np.asarray(table.groups), return_inverse=True)
    return Learner.of(rows, numbers, HeadRows("a", np.arange(3 * contents)), QUICK, SHIPPED)


@pytest.mark.parametrize("contents", [3, 7, 9])
def test_under_ten_contents_what_is_chosen_inside_leaves_out_one_at_a_time(tmp_path, contents):
    learner = learner_of(tmp_path, contents)
    assert len({*zip(learner.part, learner.contents, strict=True)}) == len({*learner.part}) == contents
    stops = [learner.contents[member.stop] for member in members_of(learner, 0, QUICK, SHIPPED)]
    assert all(len(set(of_member)) == 1 for of_member in stops)
    assert len(set(map(tuple, stops))) == min(contents, SHIPPED.members)


def test_from_ten_contents_on_they_are_cut_into_five_parts(tmp_path):
    assert len({*learner_of(tmp_path, 10).part}) == SHIPPED.parts
    assert SHIPPED.chooses_by(10) == "5 parts of the contents"


@pytest.mark.parametrize("columns", [11, 4])
def test_two_contents_choose_nothing_gain_1_the_middle_penalty_and_all_epochs(tmp_path, columns):
    table = read(of_contents(10, 2), tmp_path)
    rows = TrainingRows(table.features[:, :columns], table.onehot, table.mos, table.groups)
    (head,) = TorchTrainer().train(rows, [HeadRows("a", np.arange(10))], QUICK, lambda *_: None).heads
    assert head.best_epochs == (QUICK.epochs,) * SHIPPED.members
    assert (head.ridge.gain, head.ridge.penalty) == (1.0, RIDGE_PENALTIES[len(RIDGE_PENALTIES) // 2])
    assert SHIPPED.chooses_by(2) == "nothing, of so few contents: gain 1, the middle penalty, all epochs"
    learner = Learner.of(rows, np.arange(10) % 2, HeadRows("a", np.arange(10)), QUICK, SHIPPED)
    z = learner.inputs[:, :-1].astype(np.float64)
    logit = RidgeRows(z, table.mos).logit
    expected = Ridge(alpha=PENALTIES[len(PENALTIES) // 2]).fit(z, logit)
    for member in members_of(learner, 0, QUICK, SHIPPED):
        assert list(member.fit) == list(range(10))
        np.testing.assert_allclose(member.start.skip[:-1, 0], expected.coef_, atol=1e-5)
        np.testing.assert_allclose(member.start.skip_bias, expected.intercept_, atol=1e-5)
