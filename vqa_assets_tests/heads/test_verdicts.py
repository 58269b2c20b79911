"""What is said of a head in a line."""

import pytest

from vqa_assets.heads.verdicts import beside_ridge, verdict_in_a_line

Two = tuple[float | None, float | None]


@pytest.mark.parametrize(
    ("head", "ridge", "words"),
    [
        ((0.81, 0.80), (0.78, 0.76), "The head beats a ridge regression: "),
        ((0.809, 0.755), (0.780, 0.784), "**The head beats a ridge regression in PLCC only**: "),
        ((0.70, 0.72), (0.71, 0.70), "**The head beats a ridge regression in SROCC only**: "),
        ((0.70, 0.70), (0.70, 0.71), "**The head does not beat a ridge regression**: "),
        ((None, 0.70), (0.70, 0.71), "**The head does not beat a ridge regression**: "),
    ],
)
def test_plcc_and_srocc_both_say_how_a_head_stands_beside_ridge(head: Two, ridge: Two, words: str) -> None:
    means = [dict(zip(("plcc", "srocc"), of, strict=True)) for of in (head, ridge)]
    said = beside_ridge({"folds": {"mean": means[0], "baselines": {"ridge": {"mean": means[1]}}}})
    assert said.startswith(words + "the means over folds differ by ")


def test_the_differences_are_told_as_numbers() -> None:
    means = {"mean": {"plcc": 0.809, "srocc": 0.755}}
    ridge = {"mean": {"plcc": 0.780, "srocc": 0.784}}
    assert beside_ridge({"folds": {**means, "baselines": {"ridge": ridge}}}).endswith("PLCC +0.029, SROCC -0.029.")


def test_a_head_of_synthetic_rows_may_not_be_shipped_though_it_passed_its_gate() -> None:
    gate = {"passed": True, "reasons": ["trained on synthetic rows"]}
    said = verdict_in_a_line({"status": "Proposed", "gate": gate, "synthetic": True, "corpora": {}})
    assert said.startswith("Proposed. It passed its gate. Do not ship it.")
    assert "Trained on synthetic rows only" in said
    assert "It may be shipped." in verdict_in_a_line({"status": "Production", "gate": gate, "corpora": {}})
