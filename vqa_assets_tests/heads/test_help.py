"""Help from other corpora: what it adds to a head of few labels, who may help, and what is said where nobody does."""

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import polars as pl
import pytest

from benchmarks import head_help
from vqa_assets.errors import HeadError, SettingsError, TrainingError
from vqa_assets.heads.build import BuiltHead, build_head
from vqa_assets.heads.card import render_card
from vqa_assets.heads.experiments import check_same_head
from vqa_assets.heads.help.advice import could_help
from vqa_assets.heads.help.assistance import Line, line_of
from vqa_assets.heads.help.sources import HelpSources, read_helper, shared_contents, sources_of_help
from vqa_assets.heads.judging.seen import KnownRows, training_of
from vqa_assets.heads.members.export import MEMBERS, check_operators, run_onnx
from vqa_assets.heads.members.training import TorchTrainer
from vqa_assets.heads.members.weights import encoder_onehot
from vqa_assets.heads.publish import HeadInputs, PublishedHead, publish_head
from vqa_assets.heads.recipe import KONVID_MOS_HEAD_V1, CorpusFacts, corpus_head_recipe
from vqa_assets.heads.rows.choosing import Chosen
from vqa_assets.heads.rows.reading import TrainingTable, read_training_table
from vqa_assets.heads.settings import TrainingSettings, schema_of
from vqa_assets.heads.using import open_head
from vqa_assets.provenance import RunContext
from vqa_assets.tables.paths import DataRoot
from vqa_assets_tests.shared.head_tables import quiet, written

COLUMNS = tuple(f"x{i}" for i in range(30))
QUICK = TrainingSettings(epochs=2, device="cpu", protocol_splits=0, k_folds=2, columns=COLUMNS)
OWN, OTHER = "konvid-1k", "live-vqc"
RECIPE = corpus_head_recipe(OWN)
FACTS = {
    OWN: CorpusFacts("KoNViD-1k", "research use", "Hosu et al. 2017", "1", "attribution", name_ids=("flickr",)),
    OTHER: CorpusFacts("LIVE-VQC", "for research", "Sinno and Bovik 2019", "1", "research-only"),
    "konvid-150k": CorpusFacts("KonViD-150k", "CC BY", "Götz-Hahn 2021", "1", "attribution", name_ids=("flickr",)),
}


def clips(rows: int, seed: int, slope: float = 1.0) -> pl.DataFrame:
    """Clips of one law, two to a content; another laboratory's scores are ``slope`` times as far apart."""
    rng = np.random.default_rng(seed)
    z = rng.standard_normal((rows, len(COLUMNS)))
    quality = np.tanh(z @ np.random.default_rng(0).standard_normal(len(COLUMNS)) / 3)
    mos = np.clip(3 + slope * quality + 0.2 * rng.standard_normal(rows), 1, 5)
    return pl.DataFrame(
        {
            "key": [f"{seed}-{i}.mp4" for i in range(rows)],
            "content_id": [f"content-{seed}-{i // 2}" for i in range(rows)],
            "src_sha256": [f"{seed:032x}{i:032x}" for i in range(rows)],
            **dict(zip(COLUMNS, z.T, strict=True)),
            "mos": mos,
        }
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("help")


@pytest.fixture(scope="module")
def own(folder) -> Path:
    return written(clips(48, 1), folder / "own.parquet")


def build(own: Path, help_from: HelpSources, say=quiet) -> BuiltHead:
    settings = QUICK.but(help_from=list(help_from.tables))
    return build_head(RECIPE, {OWN: own}, FACTS, settings, TorchTrainer(), say, help_from=help_from)


@pytest.fixture(scope="module")
def helped(folder, own) -> BuiltHead:
    return build(own, HelpSources({OTHER: written(clips(200, 2, slope=0.5), folder / "other.parquet")}))


@pytest.fixture(scope="module")
def without(own) -> BuiltHead:
    return build(own, HelpSources(able=(OTHER,)))


@pytest.fixture(scope="module")
def told() -> list[str]:
    return []


@pytest.fixture(scope="module")
def misled(folder, own, told) -> BuiltHead:
    reversed_scores = written(clips(200, 2, slope=-1), folder / "reversed.parquet")
    return build(own, HelpSources({OTHER: reversed_scores}), told.append)


def table(frame: pl.DataFrame, folder: Path, corpus: str = OWN) -> TrainingTable:
    return read_training_table({corpus: written(frame, folder / f"{corpus}.parquet")}, schema_of(RECIPE, QUICK))


def test_other_corpora_help_a_head_of_few_labels_on_the_same_splits(helped, without):
    help_ = helped.manifest["help"]
    same = help_["same_splits"]["folds"]
    assert (help_["from"], help_["used"], same["helped"], same["parts"]) == ([OTHER], True, 2, 2)
    assert same["metrics"]["without"]["srocc"] == pytest.approx(without.manifest["folds"]["mean"]["srocc"])
    assert same["metrics"]["with"]["srocc"] == pytest.approx(helped.manifest["folds"]["mean"]["srocc"])
    assert same["metrics"]["with"]["srocc"] > same["metrics"]["without"]["srocc"] + 0.05
    low, high = help_["same_splits"]["interval_95"]
    assert low <= help_["same_splits"]["srocc_difference"] <= high
    # the other laboratory's scores are half as far apart
    assert help_["line"]["slope"] > 1.2
    assert help_["corpora"][OTHER]["rows"] == 200


def test_the_helped_head_is_one_file_like_any_other(helped, own):
    assert (
        "the score of a head of other corpora, plus a second such head"
        in helped.manifest["training_recipe"]["architecture"]
    )
    assert check_operators(helped.onnx) == []
    assert helped.manifest["parity"]["max_abs_difference"] <= 1e-5
    features = pl.read_parquet(own).select(COLUMNS).to_numpy().astype(np.float32)
    features[0, 3] = np.nan
    onehot = encoder_onehot(len(features))
    mos = run_onnx(helped.onnx, features, onehot)
    assert np.isnan(mos[0])
    assert np.all((mos[1:] >= 1) & (mos[1:] <= 5))
    # its members, an inner tensor: its own, then those that learned what the helper leaves
    model = onnx.load_from_string(helped.onnx)
    assert [one.name for one in model.graph.output] == ["mos"]
    model.graph.output.append(onnx.helper.make_tensor_value_info(MEMBERS, onnx.TensorProto.FLOAT, ["batch", 12]))
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    members = session.run([MEMBERS], {"features": features, "encoder_onehot": onehot})[0]
    assert members.shape == (48, 12)
    shares = np.array([0.025] * 5 + [0.375] + [0.025] * 5 + [0.375])
    assert members[1:] @ shares == pytest.approx(mos[1:], abs=1e-5)


def test_licences_of_those_who_help_follow(helped, without):
    assert helped.manifest["redistribution"]["strictest"] == "research-only"
    assert without.manifest["redistribution"]["strictest"] == "attribution"
    said = {p.key: p.value for p in onnx.load_from_string(helped.onnx).metadata_props}
    assert said["licence"] == "konvid-1k: research use; live-vqc: for research"
    assert "Sinno and Bovik 2019" in said["citations"]
    card = render_card(helped.manifest)
    assert "| LIVE-VQC (live-vqc), help | 1 | 200 | for research | research-only |" in card
    assert "- Sinno and Bovik 2019\n" in card


def test_the_card_says_by_how_much_help_helped(helped):
    same = helped.manifest["help"]["same_splits"]
    ways = [same["folds"]["metrics"][way]["srocc"] for way in ("with", "without")]
    told = "- Help from live-vqc (200 rows of live-vqc). On the same splits, with and without: "
    assert f"{told}SROCC {ways[0]:.3f} and {ways[1]:.3f}, PLCC " in render_card(helped.manifest)
    assert f"that without {same['srocc_difference']:.3f} [" in render_card(helped.manifest)


def test_a_helper_that_is_worse_than_nothing_has_no_weight_and_that_is_told(misled, without, told):
    help_ = misled.manifest["help"]
    assert not help_["used"]
    assert help_["reason"] == "its scores fall where those of this corpus rise"
    assert help_["same_splits"]["folds"]["helped"] == 0
    assert "help_from: no weight in the shipped head: its scores fall where those of this corpus rise" in told
    assert "**has no weight in this head: its scores fall where those of this corpus rise**" in render_card(
        misled.manifest
    )
    # nothing of it is in the head, so its licence does not follow
    assert misled.onnx == without.onnx
    assert misled.manifest["redistribution"] == without.manifest["redistribution"]


def test_a_helper_that_tells_nothing_has_no_weight(folder):
    few = table(clips(60, 1), folder)
    rows = np.arange(60)
    assert line_of(few, rows, np.full(60, 3, dtype=np.float32), None, 0).reason == (
        "it tells hardly any clip of this corpus from another"
    )
    ramp = np.linspace(2, 4, 60, dtype=np.float32)  # of the order of rows, which means nothing
    line = line_of(few, rows, ramp if few.mos @ (ramp - 3) > 0 else ramp[::-1], None, 0)
    assert (line.slope > 0, line.reason) == (True, "contents left out are predicted no better with it")
    assert line_of(few, rows, few.mos, None, 0).gained > 0.5


def test_a_helper_counts_only_where_it_helps_by_more_than_chance_may(folder):
    few = table(clips(60, 1), folder)
    standardised = (few.mos - few.mos.mean()) / few.mos.std()

    def line_by(noise: float, seed: int) -> Line:
        of = noise * np.random.default_rng(seed).standard_normal(60)
        return line_of(few, np.arange(60), (standardised + of).astype(np.float32), None, 0)

    # of helpers whose scores hardly go with these, some seem to take an eighth of the error away
    barely = [line_by(3, seed) for seed in range(8)]
    assert max(line.gained for line in barely) > 0.05
    assert sum(not line.reason for line in barely) <= 1
    assert "contents left out are predicted better with it, but by no more than chance may do" in {
        line.reason for line in barely
    }
    good = line_by(0.6, 0)
    assert (good.reason, good.gained > good.gained_at_least > 0.2) == ("", True)


@pytest.mark.takes_long("a dozen heads with and without help")
@pytest.mark.parametrize(("helper", "least"), [("the same law", 0.02), ("half of it", 0.0), ("another law", 0.0)])
def test_over_many_tables_help_is_never_below_by_more_than_noise(helper, least):
    settings = head_help.SETTINGS.but(epochs=5)
    gains = [head_help.gain(head_help.help_of(draw, 40, head_help.HELPERS[helper], settings)) for draw in range(4)]
    assert np.mean(gains) >= least
    # of eight clips in a fold, two neighbours that change places move its SROCC by .024
    assert min(gains) > -0.02


def test_with_few_labels_the_card_advises_help_by_the_name_of_the_setting(helped, without, own):
    advice = "48 labels are few: mos_head with help_from (all, or some of live-vqc) learns from other corpora too"
    assert without.manifest["advice"] == advice
    assert f"**{advice}.**" in render_card(without.manifest)
    assert (without.manifest["help"], helped.manifest["advice"]) == (None, "")
    assert could_help(RECIPE, QUICK, {OWN: own, OTHER: own, "absent": own.with_name("absent.parquet")}) == (OTHER,)
    assert could_help(RECIPE, QUICK.but(columns=["x0", "y"]), {OTHER: own}) == ()
    assert could_help(KONVID_MOS_HEAD_V1, QUICK, {OTHER: own}) == ()


def test_rows_of_contents_that_both_have_are_left_out_of_the_helper_and_told(folder):
    ours = table(clips(20, 1).with_columns(key=pl.lit("v/77000") + pl.col("key")), folder)
    others = clips(20, 2).with_columns(
        key=pl.when(pl.int_range(pl.len()) == 5).then(pl.lit("orig_770001_540_5s.mp4")).otherwise(pl.col("key")),
        content_id=pl.when(pl.int_range(pl.len()) == 0).then(pl.lit("content-1-3")).otherwise(pl.col("content_id")),
        src_sha256=pl.when(pl.int_range(pl.len()) == 10)
        .then(pl.lit(ours.src_sha256[4]))
        .otherwise(pl.col("src_sha256")),
    )
    path = written(others, folder / "konvid-150k.parquet")
    said: list[str] = []
    helper = read_helper(HelpSources({"konvid-150k": path}), ours, Chosen({}, (), ()), QUICK, FACTS, said.append)
    # a content's id, an upload (of its whole content, two rows), and bytes (of its whole content)
    assert set(helper.source.rows) == set(range(20)) - {0, 4, 5, 10, 11}
    assert (helper.shared, helper.counts) == (5, {"konvid-150k": 15})
    assert said == [
        "help_from: 5 rows of contents of this corpus are left out, such as 2-0.mp4, 2-4.mp4, orig_770001_540_5s.mp4"
    ]
    same = written(clips(20, 1), folder / "same.parquet")
    given = table(clips(20, 1), folder), Chosen({}, (), ()), QUICK, FACTS
    with pytest.raises(TrainingError, match="0 rows of 0 contents that this corpus does not have, of 20"):
        read_helper(HelpSources({OTHER: same}), *given, quiet)
    assert shared_contents(ours, ours, FACTS).all()


def test_a_helper_with_other_columns_is_refused_by_their_names_or_left_out_of_all(folder):
    ours = table(clips(20, 1), folder)
    lacking = written(clips(20, 2).drop("x3", "x4"), folder / "lacking.parquet")
    given = ours, Chosen({}, (), ()), QUICK, FACTS
    with pytest.raises(TrainingError, match=r"help_from: .*: x3 \(absent or all missing\); .*name other corpora"):
        read_helper(HelpSources({OTHER: lacking}), *given, quiet)
    said: list[str] = []
    whole = written(clips(20, 3), folder / "whole.parquet")
    helper = read_helper(HelpSources({OTHER: lacking, "lsvq": whole}, every=True), *given, said.append)
    assert (list(helper.facts), list(helper.left_out)) == (["lsvq"], [OTHER])
    assert said[0].startswith("help_from: live-vqc is left out: features that cannot be trained on: live-vqc: x3")
    torn = folder / "torn.parquet"
    torn.write_bytes(whole.read_bytes()[:-40])
    helper = read_helper(HelpSources({OTHER: torn, "lsvq": whole}, every=True), *given, said.append)
    assert "torn.parquet: found no Parquet file" in helper.left_out[OTHER]
    with pytest.raises(TrainingError, match=r"help_from: all: live-vqc: .*expected a corpus with the 30 columns"):
        read_helper(HelpSources({OTHER: lacking}, every=True), *given, quiet)


def test_help_from_names_corpora_all_or_a_file(folder):
    def named(value: object) -> tuple[object, ...]:
        return tuple(TrainingSettings.of({"help_from": value}, "").help_from)

    assert named("") == named([]) == ()
    assert named("all") == ("all",)
    assert named(["lsvq", OTHER]) == ("lsvq", OTHER)
    assert named("models/a.onnx") == (Path("models/a.onnx"),)
    assert TrainingSettings(help_from=["x/a.onnx"]).public_values()["help_from"] == ["a.onnx"]
    for wrong in (["all", "lsvq"], ["a.onnx", "lsvq"], ["lsvq", "lsvq"], 3, [1]):
        with pytest.raises(SettingsError, match="help_from"):
            named(wrong)

    there = written(clips(4, 1), folder / "there.parquet")
    labelled = {OWN: there, OTHER: there, "lsvq": folder / "absent.parquet"}

    def sources(*names: str, recipe=RECIPE, **more) -> HelpSources:
        return sources_of_help(recipe, QUICK.but(help_from=names, **more), labelled)

    assert not sources()
    assert sources("all").tables == {OTHER: there}
    assert sources(OTHER).files == {"help_features_with_mos_live-vqc": there}
    for names, words in {
        ("konvid-1k",): "konvid-1k, whose rows this head is trained on",
        ("nonsense",): "help_from: nonsense, expected all, corpora",
        ("lsvq",): "help_from: lsvq: no labelled table",
    }.items():
        with pytest.raises((SettingsError, TrainingError), match=words):
            sources(*names)
    with pytest.raises(TrainingError, match="no other corpus with a labelled table"):
        sources("all", extra_tables={OTHER: str(there)})
    with pytest.raises(SettingsError, match="expected a head of one corpus"):
        sources("all", recipe=KONVID_MOS_HEAD_V1)


class Models:
    """A data root in which heads are published."""

    def __init__(self, folder: Path) -> None:
        self.root = DataRoot(folder)

    def publish(self, built: BuiltHead, corpus: str, help_from: object = ()) -> PublishedHead:
        settings = QUICK.but(help_from=help_from)
        inputs = HeadInputs(corpus_head_recipe(corpus).name, settings, {}, {})
        return publish_head(built, inputs, RunContext(self.root, {}, Path(__file__)))


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Models:
    """Where heads are published; its name is a pattern, too."""
    folder = tmp_path_factory.mktemp("data") / "data [1]"
    folder.mkdir()
    return Models(folder)


@pytest.fixture(scope="module")
def other_head(folder, models) -> Path:
    """The published head of another corpus."""
    tables = {OTHER: written(clips(60, 2, slope=0.5), folder / "of-the-other.parquet")}
    built = build_head(corpus_head_recipe(OTHER), tables, FACTS, QUICK, TorchTrainer(), quiet)
    path = models.publish(built, OTHER).onnx
    assert path is not None
    return path


@pytest.fixture(scope="module")
def helped_head(helped, models) -> Path:
    """The published head of this corpus, which the other helped."""
    path = models.publish(helped, OWN, [OTHER]).onnx
    assert path is not None
    return path


def test_another_heads_file_helps_and_its_corpora_and_licences_follow(other_head, own):
    built = build(own, HelpSources(onnx=other_head))
    help_ = built.manifest["help"]
    assert help_["used"]
    assert help_["head"] == {
        "id": "live_vqc_mos_head",
        "sha256": json.loads(other_head.with_suffix(".json").read_text())["sha256"],
    }
    assert help_["corpora"][OTHER]["rows"] == 60
    assert built.manifest["redistribution"]["strictest"] == "research-only"
    assert built.manifest["parity"]["max_abs_difference"] <= 1e-5
    assert check_operators(built.onnx) == []


def test_a_head_helps_only_where_it_is_told_that_it_has_seen_none_of_these_clips(other_head, helped_head, folder):
    def refused(path: Path, frame: pl.DataFrame, settings: TrainingSettings = QUICK) -> str:
        ours = read_training_table({OWN: written(frame, folder / "ours.parquet")}, schema_of(RECIPE, settings))
        with pytest.raises(HeadError) as error:
            read_helper(HelpSources(onnx=path), ours, Chosen({}, (), ()), settings, FACTS, quiet)
        return str(error.value)

    ours = clips(20, 1)
    shared = ours.with_columns(content_id=pl.col("content_id").replace("content-1-2", "content-2-7"))
    assert "a head that learned from 2 of these 20 clips or their contents (1-4.mp4, 1-5.mp4)" in refused(
        other_head, shared
    )
    # The other's clip 14 under a name and a content of ours, which shows what the next of ours shows.
    copied = ours.with_columns(src_sha256=pl.col("src_sha256").replace(f"{1:032x}{4:032x}", f"{2:032x}{14:032x}"))
    assert "a head that learned from 2 of these 20 clips or their contents (1-4.mp4, 1-5.mp4)" in refused(
        other_head, copied
    )
    fewer = QUICK.but(columns=[*COLUMNS[:-1]])
    assert "30 columns (x29), expected the 29 columns of own-columns, in the same order" in refused(
        other_head, ours, fewer
    )
    alone = folder / "alone"
    alone.mkdir()
    for suffix in (".onnx", ".json"):
        (alone / f"live_vqc_mos_head{suffix}").write_bytes(other_head.with_suffix(suffix).read_bytes())
    assert "no live_vqc_mos_head.predictions.parquet of this head beside it" in refused(alone / other_head.name, ours)
    assert "a head that was helped itself" in refused(helped_head, clips(20, 5))


def test_a_helper_whose_manifest_says_too_little_of_it_is_refused(other_head, folder):
    ours = read_training_table({OWN: written(clips(20, 1), folder / "ours.parquet")}, schema_of(RECIPE, QUICK))
    manifest = json.loads(other_head.with_suffix(".json").read_text())
    spoilt = folder / "spoilt"
    spoilt.mkdir()
    for suffix in (".onnx", ".predictions.parquet"):
        copied = spoilt / f"{other_head.stem}{suffix}"
        copied.write_bytes(other_head.with_name(copied.name).read_bytes())
    corpus = manifest["corpora"][OTHER]
    without_licence = {OTHER: {name: word for name, word in corpus.items() if name != "licence"}}
    for change, words in (
        ({"n_parameters": None}, "TypeError"),
        ({"help": "none"}, "TypeError"),
        ({"corpora": without_licence}, "KeyError: 'licence'"),
        ({"corpora": {OTHER: corpus | {"rows": "many"}}}, "ValueError"),
        ({"corpora": {OTHER: corpus | {"redistribution": "all"}}}, "redistribution of LIVE-VQC: 'all'"),
    ):
        (spoilt / f"{other_head.stem}.json").write_text(json.dumps(manifest | change))
        with pytest.raises((HeadError, TrainingError), match=words):
            read_helper(HelpSources(onnx=spoilt / other_head.name), ours, Chosen({}, (), ()), QUICK, FACTS, quiet)


def test_other_help_is_another_head_and_needs_a_name_or_replace(helped_head, models):
    assert helped_head.is_file()
    check_same_head(RECIPE, QUICK.but(help_from=[OTHER]), models.root, quiet)
    with pytest.raises(SettingsError, match="help_from: live-vqc there, none here"):
        check_same_head(RECIPE, QUICK, models.root, quiet)


@pytest.fixture(scope="module")
def of_two(folder, own) -> BuiltHead:
    """Helped by two laboratories whose scales are not one, on scores of known errors that are weighed or not."""
    strict = clips(200, 2).with_columns(mos=1 + 3.4 * ((pl.col("mos") - 1) / 4) ** 2)
    helpers = {
        OTHER: written(strict, folder / "strict.parquet"),
        "lsvq": written(clips(240, 3), folder / "lsvq.parquet"),
    }
    rng = np.random.default_rng(0)
    noisy = pl.read_parquet(own).with_columns(
        mos_std_dev=pl.Series(rng.uniform(0.4, 1.4, 48)), mos_n_ratings=pl.Series(rng.integers(4, 40, 48))
    )
    settings = QUICK.but(help_from=list(helpers), corpus_weights={OTHER: 3.0})
    tables = {OWN: written(noisy, folder / "noisy.parquet")}
    return build_head(RECIPE, tables, FACTS, settings, TorchTrainer(), quiet, help_from=HelpSources(helpers))


def test_a_helper_of_several_corpora_learns_their_scales(of_two, helped):
    assert of_two.manifest["help"]["used"]
    # of most rows, so its scale is the one that a line brings here
    assert of_two.manifest["help"]["reference"] == "lsvq"
    assert of_two.manifest["help"]["line"]["slope"] == pytest.approx(1, abs=0.35)
    assert "their scales were learned, the reference is lsvq" in render_card(of_two.manifest)
    assert helped.manifest["help"]["reference"] == ""


def test_weights_by_errors_help_and_learned_scales_go_together_in_one_head(of_two):
    noise, same = of_two.manifest["label_noise"], of_two.manifest["help"]["same_splits"]["folds"]
    assert set(noise["same_splits"]) == {"weighted", "unweighted"}
    # what help is compared with is the head that the trial of weights chose
    way = "weighted" if noise["weighted"] else "unweighted"
    assert same["metrics"]["without"]["srocc"] == pytest.approx(noise["same_splits"][way]["srocc"])
    assert same["metrics"]["with"]["srocc"] == pytest.approx(of_two.manifest["folds"]["mean"]["srocc"])
    assert of_two.manifest["parity"]["max_abs_difference"] <= 1e-5
    assert check_operators(of_two.onnx) == []


def test_corpus_weights_names_helpers_and_no_corpus_that_has_no_part(of_two, folder, own):
    settings = QUICK.but(corpus_weights={OTHER: 3.0}, export=False)
    with pytest.raises(SettingsError, match="corpus_weights: live-vqc, expected some of konvid-1k"):
        build_head(RECIPE, {OWN: own}, FACTS, settings, TorchTrainer(), quiet)
    assert of_two.manifest["training_recipe"]["settings"]["corpus_weights"] == {OTHER: 3.0}


def test_an_interval_of_a_helped_head_holds_nine_of_ten_clips_of_new_contents(helped_head):
    fresh = clips(400, 8)
    scored = open_head(helped_head).scored(fresh.lazy(), "fresh")
    mos = fresh["mos"].to_numpy()
    assert np.mean((mos >= scored.low) & (mos <= scored.high)) > 0.82
    assert (scored.high > scored.low).all()


def test_rows_of_those_who_helped_count_as_seen(helped_head):
    training = training_of(helped_head)
    assert training is not None
    seen = training.seen(KnownRows(["a", "b"], [OTHER, OWN], ["clip:a", "clip:b"], [None, None]))
    assert seen is not None
    assert seen.rows.tolist() == [True, False]
    assert seen.by.endswith("; it was helped by a head of this corpus")
