"""Sections about what was done and found: summary, protocol, training."""

from pathlib import PurePath
from typing import Any

from eusml.evaluation.comparison import PAIRED_MEASURES
from eusml.evaluation.figures import course
from eusml.evaluation.figures.drawing import Frame
from eusml.evaluation.intervals import METHOD_NAMES
from eusml.evaluation.reporting.contents import Arm, Contents
from eusml.evaluation.reporting.document import (
    Block,
    Bullets,
    Cell,
    FigureBlock,
    Paragraph,
    Section,
    Table,
)
from eusml.evaluation.reporting.parts import BASELINE, part_name, part_title
from eusml.evaluation.reporting.sections_data import online_texts
from eusml.evaluation.reporting.words import Words, by_measure, estimate, number
from eusml.sentences import Sentence


def summary(contents: Contents, w: Words) -> Section:
    """The whole in sentences."""
    negative, positive = contents.classes
    kind = "eus" if contents.is_eus else "other"
    blocks: list[Block] = []
    if contents.synthetic:
        blocks.append(Paragraph(w("summary.synthetic"), "note"))
    text = w(f"summary.question_{kind}", positive=positive, negative=negative)
    if contents.manifest is not None:
        patients = contents.manifest["patient_id"].nunique()
        text += w("summary.cases", images=len(contents.manifest), patients=patients)
    blocks.append(Paragraph(text + w(f"summary.protocol_{'cv' if contents.cross_validated else 'holdout'}")))
    percent = f"{100 * contents.evaluate.confidence:.0f}"
    for part in contents.parts:
        items = [_result(arm, part, contents, w) for arm in contents.arms if part in arm.tables]
        blocks += [Paragraph(w("summary.on", part=part_title(part, contents, w), percent=percent)), Bullets(items)]
    blocks += [
        Paragraph(text)
        for text in (*_compared(contents, w), _without_image(contents, w), _decided(contents, w))
        if text
    ]
    blocks.append(Paragraph(w("summary.meaning_synthetic" if contents.synthetic else "summary.meaning")))
    return Section("summary", w("summary.title"), blocks)


def _result(arm: Arm, part: str, contents: Contents, w: Words) -> str:
    rows = by_measure(arm.tables[part])
    values = {name: estimate(rows[name]) for name in ("accuracy", "sensitivity", "specificity", "auroc")}
    return w(
        "summary.result",
        arm=arm.name,
        positive=contents.classes[1],
        negative=contents.classes[0],
        **values,
    )


def _compared(contents: Contents, w: Words) -> list[str]:
    """What the largest partition says of each pair of networks."""
    part = next((part for part in reversed(contents.parts) if contents.pairs.get(part)), None)
    if part is None:
        return []
    texts, alike = [], []
    where = part_name(part, contents, w)
    for pair in contents.pairs[part]:
        better = {measure: pair.better(measure) for measure in PAIRED_MEASURES}
        for arm, other in ((pair.arm_a, pair.arm_b), (pair.arm_b, pair.arm_a)):
            told = w.joined([w.measure(measure) for measure in PAIRED_MEASURES if better[measure] == arm])
            if told:
                texts.append(w("summary.better", better=arm, worse=other, measures=told, part=where))
        if not any(better.values()):
            alike.append(w("summary.pair", a=pair.arm_a, b=pair.arm_b))
    if alike:
        cases = contents.pairs[part][0].cases
        texts.append(w("summary.no_order", pairs=w.listed(alike), cases=cases, part=where))
    return texts


def _without_image(contents: Contents, w: Words) -> str:
    table = contents.comparison
    if table is None or not contents.parts:
        return ""
    part = contents.parts[-1]
    found = table[(table["part"] == part) & table["arm"].str.endswith(BASELINE)]
    texts = []
    for arm in found["arm"].unique():
        rows = by_measure(found[found["arm"] == arm])
        texts.append(
            w(
                "summary.baseline",
                name=w.get(f"baseline_names.{arm}", arm),
                accuracy=estimate(rows["accuracy"]),
                auroc=estimate(rows["auroc"]),
            )
        )
    return w("summary.without_image", part=part_name(part, contents, w), texts=w.listed(texts)) if texts else ""


def _decided(contents: Contents, w: Words) -> str:
    decision = contents.decision
    if decision is None:
        return ""
    outcome = w.get(f"outcomes.{decision['outcome']}", str(decision["outcome"]))
    return w("summary.decision", arm=decision["arm"], name=decision["name"], outcome=outcome)


def protocol(contents: Contents, w: Words) -> Section:
    """How everything was done, from the settings that were recorded."""
    s = contents.settings
    paragraphs = [
        w(
            "protocol.data",
            source=_source(contents, w),
            size=s.get("data.image_size_px", "?"),
            margin=f"{100 * float(s.get('data.roi_margin_frac', 0)):.0f}",
        )
    ]
    paragraphs.append(_split_text(contents, w))
    blocks: list[Block] = [Paragraph(" ".join(paragraphs))]
    online = online_texts(contents, w)
    if online is not None and online.items:
        blocks += [Paragraph(w("protocol.online")), online]
    blocks += [Table(w("protocol.arms"), *_arms_table(contents, w))]
    if s.get("tune.enabled"):
        blocks.append(
            Paragraph(
                w("protocol.tuned", trials=s.get("tune.trials"), folds=s.get("tune.folds"), metric=s.get("tune.metric"))
            )
        )
    else:
        blocks.append(Paragraph(w("protocol.untuned")))
    # A cross-validated model is calibrated on its outer folds, whatever was set.
    cases = str(s.get("calibrate.cases", "none"))
    key = "outer" if contents.cross_validated and cases != "none" else cases
    blocks.append(Paragraph(w(f"protocol.calibrate_{key}", folds=s.get("calibrate.folds"))))
    e = contents.evaluate
    blocks.append(
        Paragraph(
            w(
                "protocol.evaluate",
                threshold=e.threshold,
                views=e.views,
                interval=w.method(METHOD_NAMES[e.interval]),
                percent=f"{100 * e.confidence:.0f}",
                samples=e.bootstrap_samples,
            )
        )
    )
    return Section("protocol", w("protocol.title"), blocks)


def _source(contents: Contents, w: Words) -> str:
    """Where the images come from; in other languages by the settings that say so."""
    kind, path = (contents.settings.get(f"data.{name}") for name in ("source", "path"))
    said = Sentence(contents.source, f"sources.{kind}", {"name": PurePath(str(path)).name})
    return "".join(w.told(said))


def _split_text(contents: Contents, w: Words) -> str:
    s = contents.settings
    if contents.cross_validated:
        return w(
            "protocol.cv", folds=s.get("protocol.folds"), repeats=s.get("protocol.repeats"), seed=s.get("protocol.seed")
        )
    if s.get("split.published"):
        return w("protocol.published", fold=int(s.get("split.fold", 0)) + 1)
    if s.get("split.folds"):
        return w(
            "protocol.fold", fold=int(s.get("split.fold", 0)) + 1, folds=s.get("split.folds"), seed=s.get("split.seed")
        )
    return w("protocol.share", percent=f"{100 * float(s.get('split.test_frac', 0)):.0f}", seed=s.get("split.seed"))


_SHOWN_SETTINGS = (
    "arch",
    "weights",
    "offline",
    "epochs",
    "shallow_frac",
    "batch_size",
    "optimizer",
    "lr",
    "weight_decay",
    "schedule",
    "label_smoothing",
    "dropout",
    "seed",
)


def _arms_table(contents: Contents, w: Words) -> tuple[list[str], list[list[Cell]]]:
    rows = []
    for name in _SHOWN_SETTINGS:
        row = [Cell(w(f"settings.{name}"))]
        for arm in contents.arms:
            row.append(Cell(_setting(arm.train.get(name), w), f"{arm.train_run_id} cfg.train.{name}"))
        rows.append(row)
    return [w("protocol.setting"), *(arm.name for arm in contents.arms)], rows


def _setting(value: Any, w: Words) -> str:
    if isinstance(value, bool):
        return w("yes") if value else w("no")
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else w.get(f"values.{value}", str(value))


def learning(contents: Contents, w: Words) -> Section | None:
    """Loss and accuracy by epoch: all networks, and those that differ in one thing alone."""
    histories = {arm.name: arm.history for arm in contents.arms if len(arm.history)}
    if not histories:
        return None
    held_out = any(history["test_loss"].notna().any() for history in histories.values())
    ends = [
        w(
            "learning.end",
            arm=name,
            epochs=len(history),
            loss=number(float(history["train_loss"].iloc[-1]), 2),
            accuracy=number(float(history["train_accuracy"].iloc[-1]), 2),
        )
        + (
            w(
                "learning.end_test",
                loss=number(float(history["test_loss"].iloc[-1]), 2),
                accuracy=number(float(history["test_accuracy"].iloc[-1]), 2),
            )
            if history["test_loss"].notna().any()
            else ""
        )
        for name, history in histories.items()
    ]
    blocks: list[Block] = [Paragraph(w("learning.text" if held_out else "learning.text_all")), Bullets(ends)]
    labels = dict(w.labels())
    for arm in histories:
        for part, english in (("train", "training"), ("test", "held out")):
            labels[f"{arm}, {english}"] = f"{arm}, {w(f'parts_short.{part}')}"
    for name, shown in {"curves": list(histories), **_contrasts(contents)}.items():
        if not shown:
            continue
        drawn = course.learning_curves(
            name, {arm: histories[arm] for arm in shown}, Frame(contents.synthetic, labels=labels)
        )
        caption = w(f"learning.{name}", n=_trained_on(contents))
        blocks.append(FigureBlock(drawn, caption, w("learning.alt", arms=w.joined(shown))))
    return Section("learning", w("learning.title"), blocks)


def _trained_on(contents: Contents) -> str:
    split = contents.split
    if split is None or "partition" not in split.columns:
        return "–" if contents.manifest is None else str(len(contents.manifest))
    return str(int((split["partition"] == "train").sum()))


def _contrasts(contents: Contents) -> dict[str, list[str]]:
    """The study's figures 3 and 4: networks that differ in off-line augmentation, or architecture, and nothing else."""
    if len(contents.arms) < 3:
        return {}  # two networks stand in the first figure already
    found = {}
    for name, what, other in (("curves_augmentation", "offline", "arch"), ("curves_architecture", "arch", "offline")):
        shown = [
            arm.name
            for arm in contents.arms
            if any(
                arm.train.get(what) != peer.train.get(what)
                and arm.train.get(other) == peer.train.get(other)
                and arm.train.get("epochs") == peer.train.get("epochs")
                for peer in contents.arms
            )
        ]
        found[name] = shown
    return found
