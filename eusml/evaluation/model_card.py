"""The card of a model: what it is, what it is for, what it was made of, what it can do, and what nobody knows of it.

Source of the headings: Mitchell et al. 2019, doi:10.1145/3287560.3287596.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from eusml.evaluation.metrics import Metrics
from eusml.evaluation.report import CROSS_VALIDATED, DISCLAIMER, SYNTHETIC, evaluation_note, part_text

_NETWORKS: Mapping[str, str] = {"resnet34": "ResNet-34", "resnet50": "ResNet-50"}
_BRIEFLY = ("sensitivity", "specificity", "accuracy", "auroc")
_USE = (
    "Meant for research: comparing methods, and repeating or attacking the result below. Not meant for diagnosis, "
    "treatment, triage or screening, nor for images of other organs, other lesions or without a lesion, video or text."
)
_OPEN = (
    "- Images of other centres, devices and patients: nobody has measured it there.\n"
    "- Harm and benefit in care: no such study was made.\n"
    "- Fairness: sub-groups are in the report where their figures are known; they were not planned, and are small."
)
_LICENCE = (
    "The software is under the Apache License 2.0. Weights carry what their training images allow, which this software "
    "cannot know: whoever passes the model on has to say it."
)


@dataclass(frozen=True)
class CardFacts:
    """What a card tells beside the measures, as plain values."""

    name: str
    """Registered model."""
    arm: str
    arch: str
    positive_class: str
    negative_class: str
    size_px: int
    """Side of the image that the network sees."""
    threshold: float
    views: int
    """Orientations that an answer is the mean of."""
    weights_sha256: str
    synthetic: bool
    source: str
    """Where the training images come from."""
    trained_on: Mapping[str, int]
    """Class to number of training images."""
    patients: int
    """In training."""
    calibrated_on: str | None
    """Which cases, in words."""
    known_images: int | None
    """How many images it compares others with, to warn; None where it does not."""
    runs: Mapping[str, str]
    """What was done to the id of the run that recorded it."""
    protocol: str


def model_card(facts: CardFacts, metrics: Mapping[str, Metrics], *, brief: bool) -> str:
    """Markdown.

    Args:
        facts: what it is.
        metrics: partition to measures.
        brief: four measures instead of all: the registry's page holds 5,000 characters.
    """
    note = evaluation_note(metrics, synthetic=False, protocol=facts.protocol).removesuffix(DISCLAIMER)
    parts = {
        "What it is": _what(facts),
        "What it is for": _USE,
        "What it can do": _brief(metrics, facts.protocol) if brief else note,
        "What it was made of": _made_of(facts),
        "When it does not answer alone": _doubts(facts),
        "What nobody knows": _OPEN,
        "Licence": _LICENCE,
        "Where it is recorded": "\n".join(f"- {what}: run `{run_id}`" for what, run_id in facts.runs.items()),
    }
    head: Sequence[str] = [SYNTHETIC] if facts.synthetic else []
    body = [f"## {title}\n\n{text.strip()}" for title, text in parts.items()]
    return "\n\n".join([f"# {facts.name}, arm {facts.arm}", *head, *body, DISCLAIMER]) + "\n"


def model_page(arch: str, positive_class: str, negative_class: str, alias: str, *, synthetic: bool) -> str:
    """Markdown on top of all versions: what holds of each of them, and where a reader finds the rest."""
    story = (
        f"{_NETWORKS.get(arch, arch)} that tells {positive_class} from {negative_class} on ultrasound images. "
        f"Use the version that has the alias `{alias}`; where none has it, none was promoted. The page of each version "
        "holds its model card, with results and intervals, and the last decision about it, rule by rule; "
        "`mlflow run . -e history` prints all decisions."
    )
    return "\n\n".join([*([SYNTHETIC] if synthetic else []), story, DISCLAIMER])


def _what(facts: CardFacts) -> str:
    views = "" if facts.views == 1 else f", the mean over {facts.views} orientations"
    return (
        f"{_NETWORKS.get(facts.arch, facts.arch)} (torchvision) with two outputs. It takes the grey region of interest "
        f"around one lesion, {facts.size_px} × {facts.size_px} pixels, and answers with a probability of "
        f"{facts.positive_class} against {facts.negative_class}{views}; from {facts.threshold:g} on it says "
        f"{facts.positive_class}. SHA-256 of its weights: `{facts.weights_sha256}`."
    )


def _brief(metrics: Mapping[str, Metrics], protocol: str) -> str:
    lines = [f"| {' | '.join(['cases', *_BRIEFLY])} |", "|---" * (len(_BRIEFLY) + 1) + "|"]
    for part, measured in metrics.items():
        what = part_text(part, out_of_fold=protocol != "holdout")
        cells = [measured.estimates[name].text() for name in _BRIEFLY]
        lines.append(f"| {part}, {measured.cases}: {what} | {' | '.join(cells)} |")
    percent = round(100 * next(iter(metrics.values())).confidence)
    rest = f"In brackets {percent} % intervals; all measures stand in `model_card.md` of the run that registered it."
    remark = [] if protocol == "holdout" else ["", f"The figures are estimated by {protocol}: {CROSS_VALIDATED}"]
    return "\n".join([*lines, *remark, "", rest])


def _made_of(facts: CardFacts) -> str:
    counts = " and ".join(f"{count} of {name}" for name, count in facts.trained_on.items())
    apart = (
        "no patient stands in training and among the cases above"
        if facts.protocol == "holdout"
        else "the figures above are of networks made in the same way, each without the cases that it was asked about"
    )
    return (
        f"Images of: {facts.source}. Trained on {counts}, of {facts.patients} patients; {apart}. What the source does "
        "not say of devices, centres and selection is not known here either."
    )


def _doubts(facts: CardFacts) -> str:
    calibrated = (
        f"Its probabilities are calibrated on {facts.calibrated_on}; it refers a case to an expert when its prediction "
        "set does not hold exactly one label."
        if facts.calibrated_on
        else "Its probabilities are not calibrated, and it has no prediction sets."
    )
    warns = (
        f"It warns of images unlike the {facts.known_images} it was trained on in size, grey levels or texture."
        if facts.known_images
        else "It does not warn of images unlike those it was trained on."
    )
    return f"{calibrated} {warns}"
