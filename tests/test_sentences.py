"""Catalogues of sentences, and recorded ones: English for all, and what another language needs to say them."""

import ast
import json
import pickle
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from eusml.evaluation.reporting.words import words
from eusml.sentences import Sentence, counted, record, recorded, sentence

ENGLISH, CHINESE = (
    yaml.safe_load(Path(f"eusml/evaluation/reporting/words/{name}.yaml").read_text()) for name in ("en", "zh")
)
GAP = re.compile(r"{(\w+)")


def _made() -> Iterator[tuple[str, str]]:
    """Key and English template of every sentence that some stage records."""
    for file in sorted(Path("eusml").rglob("*.py")):
        nodes = list(ast.walk(ast.parse(file.read_text())))
        named = {node.lineno: node.value for node in nodes
                 if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "template"}  # fmt: skip
        for node in nodes:
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "sentence":
                key, template = node.args[:2]
                if not isinstance(key, ast.Constant):  # another function of this name: a verdict's
                    continue
                if isinstance(template, ast.Name):
                    template = named[max(line for line in named if line < node.lineno)]
                yield ast.literal_eval(key), ast.literal_eval(template)


def test_every_sentence_that_is_recorded_can_be_said_in_chinese() -> None:
    made = list(_made())
    assert len({key for key, _ in made}) > 60
    for key, template in made:
        section, _, name = key.partition(".")
        assert name in CHINESE[section] or key == "lists.names", key
        if name in CHINESE[section]:
            assert set(GAP.findall(CHINESE[section][name])) <= set(GAP.findall(template)), key


def test_a_sentence_is_its_english_text_and_survives_json_and_other_processes() -> None:
    inner = sentence("whys.version", "version {version}", version="7")
    made = sentence("whys.champion_unsound", "{champion} is not sound: ", champion=inner, quoted="a {b} is lost")
    assert made == "version 7 is not sound: a {b} is lost"
    for again in (recorded(json.loads(json.dumps(record(made)))), pickle.loads(pickle.dumps(made))):
        assert again == made
        assert words("zh").told(again) == ("第 7 版的文件有误，请先将其撤回。程序报告：", "a {b} is lost")
        assert words("en").told(again) == (str(made), "")


def test_text_of_which_nothing_else_is_known_stays_english_and_is_told_apart() -> None:
    unknown = (Sentence("as it was"), "as it was", Sentence("as it was", "whys.of_a_later_version"))
    for said in unknown:
        assert words("zh").told(said) == ("", "as it was")
    assert record("as it was") == {"text": "as it was"}
    with pytest.raises(KeyError):
        recorded({})


def test_of_many_names_the_first_are_named_and_the_others_counted() -> None:
    few, many = (sentence("notes.alike", "{names}", names=counted(list("abc"), shown)) for shown in (3, 2))
    assert (few, many) == ("a, b, c", "a, b and 1 more")
    assert words("zh").told(many) == ("a、b等（另有 1 个）", "")


def _flat(tree: dict[str, object], above: str = "") -> Iterator[tuple[str, object]]:
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{above}{name}|")
        else:
            yield f"{above}{name}", value


def test_the_catalogues_have_the_same_keys_and_gaps() -> None:
    catalogues = [dict(_flat(catalogue)) for catalogue in (ENGLISH, CHINESE)]
    # Names that data bring, for which the English one is the recorded one.
    free = ("levels|", "kinds|", "decisions|", "methods|", "literature_data|", "paper_runs|", "states|", "rules|",
            "figure_labels|", "values|", "steps|", "findings|", "reasons|", "flips|", "notes|", "lists|", "named|",
            "whys|", "sources|", "literature_systems|")  # fmt: skip
    keys = [{key for key in catalogue if not key.startswith(free)} for catalogue in catalogues]
    assert keys[0] == keys[1]
    for key in keys[0]:
        gaps = [sorted(set(re.findall(r"{(\w+)}", str(catalogue[key])))) for catalogue in catalogues]
        assert gaps[0] == gaps[1], key
