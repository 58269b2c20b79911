"""``vqa_assets.api``: what a call refuses and in which words, whose settings hold, what an interrupt leaves.

The calls one after the other, from clips to a head, are in ``docs/test_python``.
"""

import inspect
import pickle
import re
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vqa_assets import api
from vqa_assets.errors import (
    AggregateError,
    AnnotationError,
    ArgumentError,
    FeatureError,
    HeadError,
    LockedError,
    Make,
    SettingsError,
    TableError,
    TrainingError,
    TransientClipError,
    VqaError,
)
from vqa_assets.features.extractor import ClipExtractor
from vqa_assets.ingest.fakes import FakeProber
from vqa_assets.tables.lock import corpus_lock
from vqa_assets_tests.shared.fakes import SmallCorpus

PACKAGE = Path(api.__file__).parent
NAME = "konvid-150k"


@pytest.mark.parametrize(
    ("call", "error", "said"),
    [
        (lambda root: api.ingest("konvid150k", root=root), ArgumentError, "did you mean konvid-150k?"),
        (lambda root: api.train("konvid_mos_head", root=root), ArgumentError, "did you mean konvid_mos_head_v1?"),
        (lambda root: api.train("mos_head", root=root), ArgumentError, "expected a corpus's name, for its head"),
        (lambda root: api.ingest(NAME, root=root, max_row=5), ArgumentError, "setting 'max_row' of ingest: no setting"),
        (lambda root: api.measure(NAME, root=root, feature_set=[]), ArgumentError, "did you mean feature_sets?"),
        (lambda root: api.judge("mos", "t.csv", root=root, gates="x"), ArgumentError, "did you mean gate?"),
        (
            lambda root: api.ingest(NAME, root=root, max_rows="5"),
            SettingsError,
            "ingest: max_rows: '5', expected a whole",
        ),
        (lambda root: api.ingest(NAME, root=root / "no"), SettingsError, "data root"),
        (lambda root: api.ingest(NAME, root=root), AnnotationError, "score file"),
        (lambda root: api.unify(root=root), AggregateError, "call ingest (corpus_jsonl) for a corpus first"),
        (lambda root: api.measure(NAME, root=root), FeatureError, "call ingest (corpus_jsonl) for this corpus first"),
        (lambda root: api.label(NAME, root=root), TableError, "call measure (clip_features) for this corpus"),
        (lambda root: api.unify_features(root=root), VqaError, "call unify (unified_corpus) first"),
        (lambda root: api.train(NAME, root=root), TrainingError, "call label (mos_features) of one of them"),
        (
            lambda root: api.train("unified_mos_head_v1", root=root),
            TrainingError,
            "call unify_features (unified_features)",
        ),
        (
            lambda root: api.train("fr_regressor_v2", root=root),
            TrainingError,
            "run vqa-assets materialize fr_training_corpus",
        ),
        (lambda root: api.predict("no_head", root, root=root), HeadError, "no clip in this folder"),
        (lambda root: api.predict("no_head", [], root=root), HeadError, "nothing to score"),
        (lambda root: api.predict("no_head", PACKAGE, root=root, workers=0), SettingsError, "predict: workers"),
        (lambda root: api.predict("h", PACKAGE, root=root, max_frames=0), SettingsError, "predict: max_frames: 0, exp"),
        (lambda root: api.predict("h", PACKAGE, root=root, max_frame=9), ArgumentError, "did you mean max_frames"),
        (lambda root: api.judge("mos", root / "no.csv", root=root, gate="x"), HeadError, "gate x: no recipe"),
        (lambda root: api.judge("mos", root / "no.csv", root=root, resamples=0), SettingsError, "resamples"),
        (
            lambda root: api.measure(NAME, root=root, extractor=ClipExtractor(), feature_sets=["nr-v1"]),
            SettingsError,
            "measure: feature_sets: an extractor beside it",
        ),
        # What is no setting is looked at as one is, before anything is read.
        (lambda root: api.ingest(Path(NAME), root=root), SettingsError, "ingest: corpus: PosixPath("),
        (lambda root: api.unify(root=5), SettingsError, "unify: root: 5, expected a path"),
        (lambda root: api.measure(NAME, root=root, pool=4), SettingsError, "pool: 4, expected an object with open()"),
        (lambda root: api.ingest(NAME, root=root, prober=FakeProber), SettingsError, "expected an object with probe()"),
        (lambda root: api.measure(NAME, root=root, progress="x"), SettingsError, "progress: 'x', expected a function"),
        (
            lambda root: api.train(NAME, root=root, trainer="torch"),
            SettingsError,
            "trainer: 'torch', expected an object",
        ),
        (lambda root: api.judge("mos", "t.csv", lower_is_better="no"), SettingsError, "'no', expected true or false"),
        (
            lambda root: api.judge("mos", "t.csv", columns=[1]),
            SettingsError,
            "columns: [1], expected a list of columns",
        ),
        (lambda root: api.judge("mos", None, root=root), SettingsError, "table: None, expected a path"),
        (lambda root: api.predict("h", "a" * 300, root=root), SettingsError, "sources: 'aaaa"),
        (
            lambda root: api.predict("h", PACKAGE, root=root, workers="4"),
            SettingsError,
            "workers: '4', expected a whole",
        ),
    ],
)
def test_what_cannot_be_done_names_the_call_or_the_word_that_helps(
    root_path: Path, call: Callable[[Path], Any], error: type[VqaError], said: str
) -> None:
    with pytest.raises(error) as raised:
        call(root_path)
    assert said in str(raised.value)
    assert not re.search(r"(?<!vqa-assets )materialize|run config|--", str(raised.value))
    assert not [path for path in root_path.rglob("*") if path.is_file() and not path.name.startswith(".")]


def test_of_a_message_only_the_next_step_is_put_in_words_of_calls(tmp_path: Path) -> None:
    place = tmp_path / "my run config --old"
    place.mkdir()
    with pytest.raises(TableError) as raised:
        api.judge("mos", place / "materialize demo.csv", root=place)
    assert f"labelled table {place}/materialize demo.csv: found nothing there" in str(raised.value)
    with pytest.raises(AggregateError, match=r"; call ingest \(corpus_jsonl\) for a corpus first"):
        api.unify(root=place)


def test_every_asset_that_an_error_names_has_a_call_or_a_command() -> None:
    sources = [path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py")]
    named = {name for source in sources for name in re.findall(r"\bMake\(\s*\"(\w+)\"", source)}
    of_grid = {"fr_training_corpus", "encode_grid_jsonl"}
    assert named >= of_grid
    assert named - of_grid <= set(api._CALLS)
    assert all(hasattr(api, call) for call in api._CALLS.values())
    # Said in a sentence of its own, an asset would be told in Dagster's words to who asked in Python.
    rooms = [path for path in PACKAGE.rglob("*.py") if path.parent.name not in ("assets", "sensors")]
    assert [path for path in rooms if re.search(r"[\"; ]materialize [a-z]+_[a-z_]+", path.read_text())] == []


def test_an_error_that_names_an_asset_stays_whole_on_its_way_between_processes() -> None:
    error = TransientClipError("clip changed", found="other bytes", next_step=Make("corpus_jsonl", " again"))
    assert str(error) == "clip changed: other bytes; materialize corpus_jsonl again"
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.make, type(again)) == (str(error), error.make, TransientClipError)


def test_every_public_name_says_what_it_is_and_every_call_stands_on_the_page() -> None:
    page = (PACKAGE.parent / "docs" / "python.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`(\w+)\([^`]*\)`", page.partition("```python")[0]))
    assert named == {name for name in api.__all__ if inspect.isfunction(getattr(api, name))}
    assert [name for name in api.__all__ if not (getattr(api, name).__doc__ or "").strip()] == []


def test_settings_come_from_the_call_then_ingest_toml_and_the_manifest_says_which(corpus: SmallCorpus) -> None:
    corpus.annotate([(f"{number}.mp4", "", 3, 0.5, 5) for number in range(3)])
    for number in range(3):
        corpus.stage(f"{number}.mp4", bytes([number]))
    corpus.drop("ingest.toml", "max_rows = 1\nmin_rows = 2\n")
    made = api.ingest(NAME, root=corpus.root.path, prober=FakeProber(), max_rows=2, probe_timeout_s=None)
    assert made.rows == len(corpus.rows()) == 2
    assert made.counters["rows_in"] == 2
    told = made.manifest["run_provenance"]
    assert told["args"]["max_rows"] == {"value": 2, "from": "run config"}
    assert told["args"]["min_rows"] == {"value": 2, "from": "ingest.toml"}
    assert told["args"]["probe_timeout_s"]["from"] == "default"
    assert told["dagster"] == {
        "run_id": None,
        "asset_key": "corpus_jsonl",
        "partition_key": NAME,
        "code_version": "1",
        "config": {"max_rows": 2},
    }
    assert told["entrypoint"]["path"] == "vqa_assets/api.py"


def test_threads_that_make_the_same_take_turns_and_numbers_and_arrays_of_numpy_are_settings(
    corpus: SmallCorpus,
) -> None:
    corpus.annotate([(f"{number}.mp4", "", 3, 0.5, 5) for number in range(3)])
    for number in range(3):
        corpus.stage(f"{number}.mp4", bytes([number]))
    made = api.ingest(NAME, root=corpus.root.path, prober=FakeProber(), max_rows=np.int64(3), min_rows=np.int32(1))
    assert made.manifest["run_provenance"]["args"]["max_rows"] == {"value": 3, "from": "run config"}
    inputs = np.array([str(made.path)])
    with ThreadPoolExecutor(4) as pool:
        unified = [pool.submit(api.unify, root=corpus.root.path, inputs=inputs) for _ in range(4)]
    assert [(one.result().rows, one.result().data_version) for one in unified] == [
        (3, unified[0].result().data_version)
    ] * 4
    config = unified[0].result().manifest["run_provenance"]["dagster"]["config"]
    assert config == {"inputs": ["<root>/konvid-150k/konvid_150k.jsonl"]}
    assert not list(corpus.root.path.rglob("*.tmp"))


def test_a_corpus_that_another_run_is_at_work_on_is_left_to_it(corpus: SmallCorpus) -> None:
    corpus.annotate([("a.mp4", "", 3, 0.5, 5)])
    corpus.stage("a.mp4", b"a")
    with corpus_lock(corpus.folder, 0), pytest.raises(LockedError, match="another run holds"):
        api.ingest(NAME, root=corpus.root.path, prober=FakeProber(), min_rows=1, lock_wait_s=0)
    assert not corpus.root.corpus_jsonl(corpus.corpus).exists()


def test_ctrl_c_publishes_nothing_and_keeps_what_was_read(corpus: SmallCorpus) -> None:
    prober, counts = FakeProber(), []

    def interrupt(done: api.PassCounts) -> None:
        counts.append((done.done, done.total))
        signal.raise_signal(signal.SIGINT)

    corpus.annotate([(name, "", 3, 0.5, 5) for name in ("a.mp4", "b.mp4")])
    for name in ("a.mp4", "b.mp4"):
        corpus.stage(name, name.encode())
    with pytest.raises(KeyboardInterrupt):
        api.ingest(NAME, root=corpus.root.path, prober=prober, progress=interrupt, min_rows=1)
    assert counts == [(2, 2)]
    assert not corpus.root.corpus_jsonl(corpus.corpus).exists()
    assert api.ingest(NAME, root=corpus.root.path, prober=prober, min_rows=1).rows == 2
    assert prober.probed == {"a.mp4": 1, "b.mp4": 1}
