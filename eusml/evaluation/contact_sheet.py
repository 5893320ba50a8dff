"""Answers to many images as one HTML file that needs nothing else: picture, answer, warnings."""

import base64
import html
from collections.abc import Mapping, Sequence
from typing import Any

from eusml.evaluation.report import DISCLAIMER

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 80rem; margin: 2rem auto; padding: 0 1rem; color: #222; }
.mark { background: #a40000; color: white; padding: .4rem .8rem; font-weight: bold; }
.sheet { display: grid; grid-template-columns: repeat(auto-fill, minmax(260px, 1fr)); gap: 1rem; }
figure { margin: 0; border: 1px solid #ccc; padding: .6rem; }
figure.refer { border-color: #b06000; } figure.error { border-color: #a40000; }
img { width: 100%; image-rendering: auto; }
.warning { color: #8a4b00; } .error p { color: #a40000; }
.name { overflow-wrap: anywhere; font-weight: bold; }
"""


def contact_sheet(
    names: Sequence[str], answers: Sequence[Mapping[str, Any]], pictures: Sequence[bytes | None], title: str
) -> str:
    """The page.

    Args:
        names: what each image is called.
        answers: fields of `tracking.asking.Asked.answer`, an image each.
        pictures: PNG files to show, None where there is nothing to be seen.
        title: heading: which model was asked.
    """
    synthetic = any(answer["synthetic"] for answer in answers)
    mark = "<p class=mark>The model was trained on SYNTHETIC images: it says nothing about patients.</p>" * synthetic
    figures = "\n".join(_figure(*row) for row in zip(names, answers, pictures, strict=True))
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title><style>{_STYLE}</style></head>
<body><h1>{html.escape(title)}</h1>{mark}<p>{html.escape(DISCLAIMER)}</p>
<p>Colours show where the network looked (Grad-CAM), which explains no diagnosis. "Refer to an expert": at the error
rate that was asked for, the image does not tell the classes apart, is like neither, or is no image of the kind that the
model knows.</p>
<div class=sheet>
{figures}
</div></body></html>
"""


def _figure(name: str, answer: Mapping[str, Any], picture: bytes | None) -> str:
    heading = f"<div class=name>{html.escape(name)}</div>"
    if answer["error"] is not None:
        return f"<figure class=error>{heading}<p>not answered: {html.escape(answer['error'])}</p></figure>"
    shown = f'<img alt="" src="data:image/png;base64,{base64.b64encode(picture).decode()}">' if picture else ""
    said = f"{answer['label']}, probability of {answer['positive_class']} {answer['probability']:.2f}"
    labels = answer["prediction_set"]
    if answer["quality"]:
        tells = "unusual for this model: refer to an expert"
    elif labels is None:
        tells = "not calibrated: no set of labels can be given"
    elif len(labels) == 1:
        tells = f"only {labels[0]} is not ruled out"
    else:
        tells = ("neither class is like this" if not labels else "neither class is ruled out") + ": refer to an expert"
    warnings = "".join(f"<div class=warning>{html.escape(text)}</div>" for text in answer["quality"])
    kind = "refer" if answer["refer"] else "told"
    return (
        f"<figure class={kind}>{heading}{shown}<div>{html.escape(said)}</div><div>{html.escape(tells)}</div>"
        f"{warnings}</figure>"
    )
