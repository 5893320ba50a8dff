from typing import Any

import pytest

from eusml.data.images import encode_png
from eusml.evaluation.contact_sheet import contact_sheet
from tests.pictures import speckled

PNG = encode_png(speckled(0))
ANSWER: dict[str, Any] = {
    "label": "GIST", "probability": 0.91, "positive_class": "GIST", "prediction_set": ["GIST"], "refer": False,
    "quality": [], "error": None, "synthetic": False,
}  # fmt: skip


def page(name: str = "a.png", picture: bytes | None = PNG, **changed: Any) -> str:
    return contact_sheet([name], [{**ANSWER, **changed}], [picture], "model version 1")


@pytest.mark.parametrize(
    ("changed", "said", "kind"),
    [
        ({}, "only GIST is not ruled out", "told"),
        ({"prediction_set": [], "refer": True}, "neither class is like this: refer to an expert", "refer"),
        ({"prediction_set": ["leiomyoma", "GIST"], "refer": True}, "neither class is ruled out: refer", "refer"),
        ({"prediction_set": None, "refer": True}, "not calibrated", "refer"),
        ({"quality": ["blank: grey"], "refer": True}, "unusual for this model: refer to an expert", "refer"),
    ],
)
def test_what_is_not_told_apart_is_said_to_be_for_an_expert(changed: dict[str, Any], said: str, kind: str) -> None:
    found = page(**changed)
    assert said in found
    assert f"<figure class={kind}>" in found
    assert ("only GIST is not ruled out" in found) == (kind == "told")


def test_an_image_that_was_not_answered_says_why_and_shows_nothing() -> None:
    found = page(picture=None, label=None, probability=None, prediction_set=None, error="it is <torn>")
    assert "not answered: it is &lt;torn&gt;" in found
    assert "<img" not in found
    assert "<figure class=error>" in found


def test_names_and_texts_are_no_html_and_the_page_needs_no_network() -> None:
    found = page("<script>x</script>", quality=["<b>"])
    assert "<script>" not in found
    assert "<b>" not in found
    assert "http" not in found


def test_a_synthetic_model_is_marked_and_every_page_disclaims() -> None:
    assert "SYNTHETIC" in page(synthetic=True)
    assert "SYNTHETIC" not in page()
    assert "fit for diagnosis" in page()
