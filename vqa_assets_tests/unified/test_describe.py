"""What a unified corpus holds: golden numbers worked by hand, and agreement with the statistics of one file."""

import json
import random
from pathlib import Path

import pytest

from vqa_assets.corpora.opinions import Opinion, describe_labels
from vqa_assets.corpora.scales import ACR_1_5, CONTINUOUS_0_100
from vqa_assets.describe import main
from vqa_assets.errors import SchemaError
from vqa_assets.unified.description import VALUES_KEPT, Distribution, describe_clips, licences_of, summarize_labels
from vqa_assets.unified.table import TOTAL
from vqa_assets_tests.shared.unified_corpora import SOURCES, clip, unify


@pytest.fixture
def parquet(root_path: Path) -> Path:
    """Three clips of KonViD-1k, two of LIVE-VQC, one proxy."""
    konvid = [
        clip("a", 2.0, "konvid-1k", mos_std_dev=1.0, n_ratings=4),
        clip("b", 3.0, "konvid-1k", mos_std_dev=0.5, n_ratings=16, duration_s=10.0, framerate=30000 / 1001),
        clip("c", 5.0, "konvid-1k", width=540, height=960, duration_s=0.0),
    ]
    live = [
        clip("d", 50.0, "live-vqc", mos_std_dev=20.0, n_ratings=1, encoder_upstream="hevc", duration_s=9.0),
        clip("e", 100.0, "live-vqc", pix_fmt="yuv420p10le", duration_s=12.0),
    ]
    return unify(root_path, konvid, live, [clip("n", 93.5, "netflix-public")]).parquet


def test_clips_are_described_per_corpus_and_in_total(parquet: Path) -> None:
    konvid, live, proxy, total = describe_clips(parquet)
    assert [one.corpus for one in (konvid, live, proxy, total)] == ["konvid-1k", "live-vqc", "netflix-public", TOTAL]
    assert [one.clips for one in (konvid, live, proxy, total)] == [3, 2, 1, 6]
    assert konvid.resolutions.commonest == (("960×540", 2), ("540×960", 1))
    assert konvid.framerates.commonest == (("25", 2), ("29.97", 1))
    assert live.codecs.commonest == (("h264", 1), ("hevc", 1))
    assert total.pixel_formats.commonest == (("yuv420p", 5), ("yuv420p10le", 1))
    assert total.scales.commonest == (("1-5-acr", 3), ("0-100-continuous", 2), ("vmaf", 1))
    assert total.size_bytes == 6_000


def test_a_duration_that_no_one_states_is_unknown_and_not_zero(parquet: Path) -> None:
    konvid, *_, total = describe_clips(parquet)
    known = (konvid.durations.shortest_s, konvid.durations.median_s, konvid.durations.longest_s)
    assert known == (8.0, 9.0, 10.0)
    assert (konvid.durations.hours, konvid.durations.unknown) == (0.005, 1)
    assert (total.durations.median_s, total.durations.unknown) == (9.0, 1)
    assert konvid.durations.in_words() == "8–10 s, median 9 s, 18 s in all, 1 unknown"


def test_a_corpus_without_any_duration_says_so(root_path: Path) -> None:
    found, _ = describe_clips(unify(root_path, [clip("a", 3.0, "konvid-1k", duration_s=0.0)]).parquet)
    assert found.durations.in_words() == "unknown"


def test_a_long_tail_of_values_is_counted_together() -> None:
    found = Distribution.of({f"{i:02}": 1 for i in range(25)} | {"most": 7})
    assert (found.distinct, found.others) == (26, 26 - VALUES_KEPT)
    assert found.in_words() == "most (7), 00 (1), 01 (1), … 26 in all"


def test_labels_are_summarized_with_the_formulas_of_the_field(parquet: Path) -> None:
    konvid, live, proxy = summarize_labels(parquet)
    assert (konvid.mos_native_mean, konvid.mos_unified_mean) == pytest.approx((10 / 3, 175 / 3))
    assert konvid.share_unknown_sd == pytest.approx(1 / 3)
    # t(3) = 3.182446, t(15) = 2.131450: 3.182446 · 1 / 2 and 2.131450 · 0.5 / 4
    assert konvid.mean_ci95_native == pytest.approx((1.591223 + 0.266431) / 2, abs=1e-6)
    assert konvid.mean_ci95_unified == pytest.approx(25 * (1.591223 + 0.266431) / 2, abs=1e-4)
    # g = (2−1)(5−2) = 3 and (3−1)(5−3) = 4: (3 · 1 + 4 · 0.25) / (9 + 16)
    assert konvid.sos_parameter == pytest.approx(4 / 25)
    # one known SD of 20 at 50: 400 / 2500; a single rating has no interval
    assert (live.sos_parameter, live.mean_ci95_native, live.clips_with_ci95) == (pytest.approx(0.16), None, 0)
    assert (proxy.sos_parameter, proxy.share_unknown_sd, proxy.sos_is_ordinary) == (None, 1.0, True)


def test_histograms_are_native_and_unified(parquet: Path) -> None:
    konvid, live, _ = summarize_labels(parquet)
    assert {i: n for i, n in enumerate(konvid.histogram_native) if n} == {5: 1, 10: 1, 19: 1}
    assert konvid.histogram_unified == konvid.histogram_native
    assert {i: n for i, n in enumerate(live.histogram_native) if n} == {10: 1, 19: 1}


def test_columns_give_what_the_statistics_of_single_labels_give(root_path: Path) -> None:
    draw = random.Random(7)
    rows = [
        clip(f"{i}", draw.randint(5, 25) / 5, "konvid-1k", mos_std_dev=draw.choice([0, 0.3, 0.9]), n_ratings=i % 7)
        for i in range(300)
    ]
    (found,) = summarize_labels(unify(root_path, rows).parquet)
    opinions = [Opinion(r["mos"], r["mos_std_dev"] or None, r["n_ratings"]) for r in rows]
    expected = describe_labels(opinions, ACR_1_5)
    assert found.histogram_native == expected.histogram
    assert found.share_unknown_sd == pytest.approx(expected.share_unknown_sd)
    assert found.mean_ci95_native == pytest.approx(expected.mean_ci95)
    assert found.sos_parameter == pytest.approx(expected.sos_parameter)


def test_a_corpus_on_two_scales_has_two_summaries(root_path: Path) -> None:
    both = [clip("a", 3.0, "lsvq"), clip("b", 61.0, "lsvq", mos_scale=CONTINUOUS_0_100.name)]
    found = summarize_labels(unify(root_path, both).parquet)
    assert [(one.corpus, one.scale.name, one.clips) for one in found] == [
        ("lsvq", "0-100-continuous", 1),
        ("lsvq", "1-5-acr", 1),
    ]


@pytest.mark.parametrize(
    ("inside", "strictest"),
    [
        (["lsvq", "youtube-ugc"], "attribution"),
        (["lsvq", "konvid-1k"], "research-only"),
        (["chug", "konvid-1k", "lsvq"], "non-commercial-share-alike"),
        (["chug", "netflix-public"], "unknown"),
    ],
)
def test_the_strictest_licence_rules(inside: list[str], strictest: str) -> None:
    found = licences_of(dict.fromkeys(inside, 5), SOURCES)
    assert found.strictest == strictest
    assert [one.corpus for one in found.corpora] == sorted(inside)
    assert all(one.citation and one.licence for one in found.corpora)
    ruling = [name for name in sorted(inside) if SOURCES[name].redistribution == strictest]
    assert found.consequence.endswith(f"(the strictest licence: {', '.join(ruling)}).")


class TestCommand:
    """``python -m vqa_assets.describe``."""

    def test_it_prints_a_block_per_corpus(self, parquet: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert main([str(parquet)]) == 0
        told = capsys.readouterr().out
        assert [line for line in told.splitlines() if line and line[0] != " "] == [
            *("konvid-1k", "live-vqc", "netflix-public", "(total)")
        ]
        assert "  sos parameter       0.16\n" in told
        assert "  mean ci95 native    unknown\n" in told

    def test_it_prints_json_as_the_manifest_has_it(
        self, parquet: Path, root_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["--root", str(root_path), "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        manifest = json.loads(parquet.with_name("unified_corpus.manifest.json").read_text())
        assert found == {name: manifest[name] for name in ("describe", "labels")}

    def test_without_a_unified_corpus_it_says_what_to_do(
        self, root_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["--root", str(root_path)]) == 1
        told = capsys.readouterr().err
        assert "unified_corpus.parquet: found nothing there, expected the Parquet file of unified_corpus; " in told
        assert "materialize unified_corpus, or give its .parquet file" in told


def test_another_table_is_refused_by_its_columns(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"src": ["a"], "mos": [3.0]}), tmp_path / "other.parquet")
    with pytest.raises(SchemaError, match=r"no column corpus_source, .*materialize unified_corpus"):
        describe_clips(tmp_path / "other.parquet")
