"""The audit as one HTML file that needs nothing else: flow of cases, findings, and every suspect pair side by side."""

import base64
import html
from collections.abc import Sequence
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pandas as pd

from eusml.data.duplicates import flipped
from eusml.data.findings import Audit, Finding

if TYPE_CHECKING:
    from numpy.typing import NDArray

_WIDTH_PX = 260
_SHOWN_CASES = 12
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; color: #222; }
table { border-collapse: collapse; margin: 1rem 0; }
th, td { border: 1px solid #ccc; padding: .3rem .6rem; text-align: left; vertical-align: top; }
th { background: #f3f3f3; } td.number { text-align: right; }
.stops { color: #a40000; font-weight: bold; }
.mark { background: #a40000; color: white; padding: .4rem .8rem; font-weight: bold; }
figure { display: inline-block; margin: .5rem; } figcaption { max-width: 540px; font-size: 13px; }
"""


def audit_page(
    audit: Audit, table: pd.DataFrame, source: str, *, synthetic: bool, sketches: "NDArray[np.uint8] | None" = None
) -> str:
    """The page.

    Args:
        audit: what was found.
        table: all cases, in the order of the audit: case_id, patient_id, label.
        source: where they come from.
        synthetic: whether the images are made up.
        sketches: uint8 [N, K, K], the pictures squeezed into squares; without them the page shows no picture.
    """
    classes = "".join(
        f"<tr><td>{html.escape(str(label))}</td><td class=number>{len(rows)}</td>"
        f"<td class=number>{rows['patient_id'].nunique()}</td></tr>"
        for label, rows in table.groupby("label", sort=True)
    )
    flow = "".join(
        f"<tr><td>{html.escape(str(step))}</td><td class=number>{cases}</td></tr>"
        for step, cases in audit.flow.itertuples(index=False)
    )
    findings = "".join(_finding(finding) for finding in audit.findings)
    mark = "<p class=mark>SYNTHETIC DATA - not patients</p>" if synthetic else ""
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Audit of {html.escape(source)}</title><style>{_STYLE}</style></head>
<body><h1>Audit of {html.escape(source)}</h1>{mark}
<p>What was found before anything was trained. Pictures that are the same are grouped, so that no split parts them;
an entry in red stops the run until the images are corrected or a setting says what is to be done.</p>
<h2>Flow of cases</h2><table><tr><th>step</th><th>cases</th></tr>{flow}</table>
<h2>Classes, as found</h2><table><tr><th>class</th><th>images</th><th>patients</th></tr>{classes}</table>
<h2>Findings ({len(audit.findings)})</h2>
<table><tr><th>what</th><th>decision</th><th>detail</th><th>cases</th></tr>{findings}</table>
<h2>Pairs that show the same recording ({len(audit.pairs)})</h2>
{_pairs(audit, table, sketches)}
</body></html>
"""


def _finding(finding: Finding) -> str:
    shown = ", ".join(html.escape(case) for case in finding.cases[:_SHOWN_CASES])
    more = f" and {len(finding.cases) - _SHOWN_CASES} more" if len(finding.cases) > _SHOWN_CASES else ""
    stops = " class=stops" if finding.decision == "stops the run" else ""
    return (
        f"<tr><td>{html.escape(finding.kind)}</td><td{stops}>{finding.decision}</td>"
        f"<td>{html.escape(finding.detail)}</td><td>{shown}{more}</td></tr>"
    )


def _pairs(audit: Audit, table: pd.DataFrame, sketches: "NDArray[np.uint8] | None") -> str:
    if not audit.pairs:
        return "<p>None.</p>"
    ids, labels = table["case_id"].astype(str).tolist(), table["label"].astype(str).tolist()
    if sketches is None:
        note = "<p>Without pictures: they stay in the work folder unless data.audit.log_images is set.</p>"
    else:
        note = "<p>Squeezed into squares as they were compared; the second as it lies over the first.</p>"
    figures = []
    # Those that need a decision first.
    for pair in sorted(audit.pairs, key=lambda pair: labels[pair.first] == labels[pair.second]):
        first, second = pair.first, pair.second
        conflict = labels[first] != labels[second]
        text = html.escape(f"{ids[first]} ({labels[first]}) and {ids[second]} ({labels[second]})")
        text += f": agreement {pair.agreement:.2f}" + (f", {pair.flip}" if pair.flip else "")
        image = "" if sketches is None else _image([sketches[first], flipped(sketches[second], pair.flip)], text)
        caption = f"<span class=stops>two labels</span> {text}" if conflict else text
        figures.append(f"<figure>{image}<figcaption>{caption}</figcaption></figure>")
    return note + "\n".join(figures)


def _image(pictures: "Sequence[NDArray[np.uint8]]", text: str) -> str:
    side = (_WIDTH_PX, _WIDTH_PX)
    row = np.hstack([cv2.resize(picture, side, interpolation=cv2.INTER_LINEAR) for picture in pictures])
    data = base64.b64encode(cv2.imencode(".jpg", row, [cv2.IMWRITE_JPEG_QUALITY, 88])[1].tobytes()).decode()
    return f'<img src="data:image/jpeg;base64,{data}" alt="{text}" loading="lazy">'
