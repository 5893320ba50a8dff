"""A card for each network: what it is, what it is for and not for, what it was made of, and how well it did.

After Mitchell et al. 2019 (doi:10.1145/3287560.3287596); from the same contents as the report.
"""

from eusml.evaluation.metrics import MEASURES
from eusml.evaluation.reporting.contents import Arm, Contents
from eusml.evaluation.reporting.document import Block, Bullets, Cell, Document, Paragraph, Section, Table, cells
from eusml.evaluation.reporting.parts import estimate_of, part_name, part_title
from eusml.evaluation.reporting.words import Words, number

_DETAILS = ("arch", "weights", "epochs", "offline", "seed")


def model_card(contents: Contents, arm: Arm, w: Words) -> Document:
    """The card of one network.

    Args:
        contents: what was read of the study.
        arm: the network.
        w: the language.
    """
    negative, positive = contents.classes
    sections = [
        Section("model", w("card.model"), _model(contents, arm, w)),
        Section("use", w("card.use"), [Paragraph(w("card.use_text", positive=positive, negative=negative)),
                                       Paragraph(w("card.not_for"), "note")]),
        Section("data", w("card.data"), _data(contents, w)),
        Section("results", w("card.results"), _results(contents, arm, w)),
        Section("limits", w("card.limits"), [Bullets(_limits(contents, w))]),
        Section("licence", w("card.licence"), [Paragraph(w("card.licence_text"))]),
    ]  # fmt: skip
    return Document(
        language=w.language,
        title=w("card.title", arm=arm.name, positive=positive, negative=negative),
        subtitle=w("card.subtitle", run=arm.train_run_id, commit=arm.commit),
        mark=w("mark") if contents.synthetic else "",
        disclaimer=w("disclaimer"),
        contents_title=w("contents"),
        sections=sections,
    )


def _model(contents: Contents, arm: Arm, w: Words) -> list[Block]:
    s = contents.settings
    rows = [cells(w(f"settings.{name}"), _setting(arm, name, w)) for name in _DETAILS]
    rows += [cells(w(f"digests.{name}"), value) for name, value in arm.digests.items()]
    size = s.get("data.image_size_px", "?")
    text = w("card.input", size=size, positive=contents.classes[1], threshold=contents.evaluate.threshold,
             views=contents.evaluate.views)  # fmt: skip
    heat = [] if arm.temperature is None else [w("calibration.temperature", arm=arm.name,
                                                 temperature=number(arm.temperature, 2))]  # fmt: skip
    decision = contents.decision
    if decision is not None and decision["arm"] == arm.name:
        outcome = w.get(f"outcomes.{decision['outcome']}", str(decision["outcome"]))
        heat.append(w("card.registered", name=decision["name"], version=decision["version"] or "–", outcome=outcome))
    head = [w("protocol.setting"), arm.name]
    return [Paragraph(text), *(Paragraph(one) for one in heat), Table(w("card.details"), head, rows)]


def _setting(arm: Arm, name: str, w: Words) -> str:
    value = arm.train.get(name)
    if isinstance(value, bool):
        return w("yes") if value else w("no")
    return "–" if value is None else w.get(f"values.{value}", str(value))


def _data(contents: Contents, w: Words) -> list[Block]:
    text = w("card.source", source=contents.source)
    if contents.manifest is not None:
        patients = contents.manifest["patient_id"].nunique()
        text += " " + w("summary.cases", images=len(contents.manifest), patients=patients).strip()
    protocol = w(f"summary.protocol_{'cv' if contents.cross_validated else 'holdout'}")
    return [Paragraph(text), Paragraph(protocol)]


def _results(contents: Contents, arm: Arm, w: Words) -> list[Block]:
    parts = [part for part in contents.parts if part in arm.tables]
    rows = [
        [
            Cell(w.measure(measure)),
            *(Cell(estimate_of(arm, part, measure), f"{arm.run_ids[part]} {part}/{measure}") for part in parts),
        ]
        for measure in MEASURES
    ]
    percent = f"{100 * contents.evaluate.confidence:.0f}"
    head = [w("results.measure"), *(part_name(part, contents, w, "short") for part in parts)]
    cases = w.joined([part_title(part, contents, w) for part in parts])
    blocks: list[Block] = [Table(w("card.measured", cases=cases, percent=percent), head, rows)]
    if arm.protocol != "holdout":
        blocks.insert(0, Paragraph(w("results.cross_validated", protocol=w.method(arm.protocol)), "note"))
    return blocks


def _limits(contents: Contents, w: Words) -> list[str]:
    limits = [w("summary.meaning_synthetic" if contents.synthetic else "summary.meaning"), w("card.external")]
    if contents.manifest is not None and not {"age_years", "sex"} & set(contents.manifest.columns):
        limits.append(w("card.unknown_patients"))
    return [*limits, w("card.subgroups")]
