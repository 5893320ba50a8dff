from dataclasses import replace

import pytest

from eusml.config import EvaluateConfig
from eusml.evaluation.metrics import Metrics, evaluate_answers
from eusml.evaluation.model_card import CardFacts, model_card, model_page
from eusml.evaluation.report import DISCLAIMER
from tests.conftest import answers

FACTS = CardFacts(
    name="eusml-phantom-resnet34", arm="resnet34", arch="resnet34", positive_class="GIST",
    negative_class="leiomyoma", size_px=64, threshold=0.5, views=4, weights_sha256="ab12", synthetic=True,
    source="phantom study", trained_on={"GIST": 55, "leiomyoma": 58}, patients=110, calibrated_on="200 val cases",
    known_images=113, runs={"trained": "t1", "measured": "e1", "registered": "p1"}, protocol="holdout",
)  # fmt: skip


@pytest.fixture
def metrics() -> dict[str, Metrics]:
    settings = EvaluateConfig(bootstrap_samples=100)
    return {part: evaluate_answers(answers(seed), settings) for seed, part in enumerate(("test", "val", "fresh"))}


@pytest.mark.parametrize("brief", [True, False])
def test_the_card_says_what_it_is_made_of_and_how_well_it_does(metrics: dict[str, Metrics], brief: bool) -> None:
    card = model_card(FACTS, metrics, brief=brief)
    for text in ("ResNet-34", "64 × 64 pixels", "the mean over 4 orientations", "from 0.5 on", "ab12", "55 of GIST",
                 "58 of leiomyoma", "of 110 patients", "200 val cases", "unlike the 113", "run `e1`"):  # fmt: skip
        assert text in card
    for part in metrics.values():
        for name in ("sensitivity", "specificity", "accuracy", "auroc"):
            assert part.estimates[name].text() in card
        assert (part.estimates["mcc"].text() in card) is not brief
    assert "Not meant for diagnosis" in card
    assert "none claims clinical validity" in card
    assert "SYNTHETIC" in card
    assert "nan" not in card.lower()


def test_a_brief_card_and_a_decision_fit_the_registrys_page(metrics: dict[str, Metrics]) -> None:
    assert len(model_card(FACTS, metrics, brief=True)) < 3600


def test_what_a_model_lacks_is_said(metrics: dict[str, Metrics]) -> None:
    plain = replace(FACTS, synthetic=False, views=1, calibrated_on=None, known_images=None)
    card = model_card(plain, metrics, brief=True)
    assert "not calibrated" in card
    assert "does not warn" in card
    assert "orientations" not in card
    assert "SYNTHETIC" not in card


def test_the_network_of_a_cross_validation_is_not_said_to_be_measured(metrics: dict[str, Metrics]) -> None:
    card = model_card(replace(FACTS, protocol="nested_cv"), {"test": metrics["test"]}, brief=True)
    assert "networks made in the same way" in card
    assert "no case is left to measure it on" in card
    assert "no patient stands" not in card


@pytest.mark.parametrize("synthetic", [True, False])
def test_the_page_above_all_versions_says_which_one_to_use(synthetic: bool) -> None:
    page = model_page("resnet50", "benign", "malignant", "leader", synthetic=synthetic)
    assert "ResNet-50 that tells benign from malignant" in page
    assert "alias `leader`" in page
    assert page.startswith("**SYNTHETIC") is synthetic
    assert page.endswith(DISCLAIMER)
