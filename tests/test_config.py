import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from eusml.config import Config, flatten, load_config, to_yaml, without_passwords
from eusml.config.loading import known_names
from eusml.errors import ConfigError

EXPERIMENTS = sorted(Path("experiments").glob("*.yaml"))


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "experiment.yaml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda p: p.stem)
def test_every_shipped_experiment_loads_and_says_how_it_is_run(path: Path) -> None:
    config = load_config(path)
    header = path.read_text().split("\nname:")[0]
    assert config.name == path.stem
    for word in ("command", "hardware", "time", "expected"):
        assert f"\n# {word} " in header


def test_there_are_these_experiments() -> None:
    assert [path.stem for path in EXPERIMENTS] == ["folder", "nested_cv", "paper", "quick"]


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda p: p.stem)
def test_resolved_settings_read_back_equal(path: Path, tmp_path: Path) -> None:
    config = load_config(path)
    assert load_config(write(tmp_path, to_yaml(config))) == config


def test_paper_experiment_is_the_study() -> None:
    config = load_config(Path("experiments/paper.yaml"))
    runs = [
        (s.arch, s.offline, s.epochs, s.batch_size, s.weights)
        for s in (arm.train for arm in config.arm_configs().values())
    ]
    assert config.data.image_size_px == 224
    assert runs == [
        ("resnet34", False, 100, 32, "imagenet"),
        ("resnet34", True, 100, 32, "imagenet"),
        ("resnet34", True, 200, 32, "imagenet"),
        ("resnet50", True, 200, 32, "imagenet"),
    ]


def test_overrides_win_over_the_file_and_leave_the_rest(tmp_path: Path) -> None:
    path = write(tmp_path, "train: {lr: 0.1, epochs: 7}")
    config = load_config(path, {"train.lr": "3e-4", "train.online.enabled": "true", "split.folds": "5"})
    assert (config.train.lr, config.train.epochs) == (3e-4, 7)
    assert config.train.online.enabled
    assert config.split.folds == 5


def test_override_of_a_text_field_stays_text() -> None:
    config = load_config(None, {"data.positive_class": "1", "data.path": "2024"})
    assert config.data.positive_class == "1"
    assert config.data.path == Path("2024")


@pytest.mark.parametrize(
    ("name", "text", "value"), [("lr", ".001", 0.001), ("lr", "1.", 1.0), ("offline", "True", True)]
)
def test_numbers_and_truth_may_be_typed_as_people_do(name: str, text: str, value: object) -> None:
    assert getattr(load_config(None, {f"train.{name}": text}).train, name) == value


def test_settings_cannot_be_changed_later() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load_config(None).train.lr = 1.0  # type: ignore[misc]


BAD = {
    "train: {lr: 1e-3}": ["train.lr", "'1e-3'", "text", "1.0e-3"],
    "train: {epochs: '10'}": ["train.epochs", "'10'", "integer", "write 10"],
    "trian: {lr: 0.1}": ["unknown setting 'trian'", "did you mean 'train'"],
    "train: {learning: 0.1}": ["unknown setting 'train.learning'"],
    "train: {weigth_decay: 0.1}": ["did you mean 'train.weight_decay'"],
    "train: {arch: resnet43}": ["train.arch", "resnet43", "'resnet34' or 'resnet50'", "did you mean 'resnet34'"],
    "train: {lr: .nan}": ["train.lr", "nan", "finite"],
    "train: {lr: -1.0}": ["train.lr", "-1.0", "greater than 0"],
    "train: {epochs: 1.5}": ["train.epochs", "1.5", "integer"],
    "train: {offline: 1}": ["train.offline", "boolean"],
    "train:\n  lr: 0.1\n  lr: 0.2": ["'lr' stands twice", "line 3"],
    "train: 3": ["train is 3"],
    "- a": ["key: value"],
    "train: {lr: [": ["not valid YAML"],
    "split: {folds: 3, fold: 3}": ["fold 3 does not exist"],
    "data: {positive_class: 1}": ["data.positive_class", "1 (int)", "string"],
    "data: {positive_class: no}": ["data.positive_class", "False (bool)", "string"],
    "arms: [{name: a}, {name: a}]": ["a stands more than once"],
    "arms: [{name: a b}]": ["arms.0.name"],
    "{arms: [{name: a}], promote: {arm: b}}": ["promote.arm 'b' is no arm"],
    "arms: [{arch: resnet34}]": ["arms.0.name must be given"],
    "{arms: [{name: a, arch: resnet50}], promote: {arm: a}}": ["'a' is not of the architecture promote.arch, resnet34"],
    "promote: {alias: latest}": ["promote.alias", "keeps for itself"],
    "promote: {alias: challenger}": ["promote", "'challenger'; they must differ"],
    "promote: {policy: {margins: 0.1}}": ["did you mean 'promote.policy.margin'?"],
    "promote: {policy: {auroc_floor: 1.2}}": ["promote.policy.auroc_floor", "less than or equal to 1"],
    "data: {phantom: {fresh_cases: 1}}": ["data.phantom.fresh_cases", "both classes"],
    "compare: {runs: [a1]}": ["compare.runs", "run a1 stands alone", "two or more"],
    "compare: {runs: [a1, b2, a1]}": ["compare.runs", "run a1 stands more than once"],
    "compare: {runs: [1, 2]}": ["compare.runs.0", "string"],
    "augment: {operations: [flip, flip]}": ["flip stands more than once"],
    "augment: {operations: [rotate]}": ["augment.operations.0", "did you mean 'rotation'"],
}


@pytest.mark.parametrize("text", BAD)
def test_bad_files_are_refused_by_name(text: str, tmp_path: Path) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert str(path) in str(caught.value)
    for part in BAD[text]:
        assert part in str(caught.value)


def test_bad_override_blames_the_command_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"command line: train\.lr is 'fast'"):
        load_config(write(tmp_path, "name: x"), {"train.lr": "fast"})
    with pytest.raises(ConfigError, match=r"command line: unknown setting 'train\.lrr'; did you mean 'train\.lr'"):
        load_config(None, {"train.lrr": "1"})
    with pytest.raises(ConfigError, match=r"command line: settings: promote\.arm 'x' is no arm"):
        load_config(Path("experiments/quick.yaml"), {"promote.arm": "x"})
    with pytest.raises(ConfigError, match="lr is not a group"):
        load_config(write(tmp_path, "train: {lr: 0.1}"), {"train.lr.x": "1"})


def test_runs_to_compare_come_from_the_command_line() -> None:
    assert load_config(None, {"compare.runs": '["0a", "1b"]'}).compare.runs == ("0a", "1b")
    with pytest.raises(ConfigError, match=r"command line: compare\.runs: run 0a stands alone"):
        load_config(None, {"compare.runs": '["0a"]'})


def test_missing_file_names_its_neighbours(tmp_path: Path) -> None:
    write(tmp_path, "name: x")
    with pytest.raises(ConfigError, match=r"quikc\.yaml does not exist; there is .*experiment\.yaml"):
        load_config(tmp_path / "quikc.yaml")


def test_two_candidates_need_a_declared_one_when_only_reported_cases_could_decide(tmp_path: Path) -> None:
    arms = "arms: [{name: short, epochs: 1}, {name: long, epochs: 2}]"
    with pytest.raises(ConfigError, match=r"promote\.arm must name .*short, long"):
        load_config(write(tmp_path, f"data: {{source: folder, path: x}}\n{arms}"))
    load_config(write(tmp_path, f"data: {{source: phantom}}\n{arms}"))
    load_config(write(tmp_path, f"data: {{source: folder, path: x}}\n{arms}\npromote: {{arm: long}}"))


numbers = st.floats(1e-9, 10.0, allow_nan=False)


@given(lr=numbers, epochs=st.integers(1, 10_000), flag=st.booleans(), name=st.text(min_size=1))
def test_any_valid_value_survives_yaml_and_the_command_line(
    lr: float, epochs: int, flag: bool, name: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    typed = {
        "train.lr": repr(lr),
        "train.epochs": str(epochs),
        "train.online.enabled": json.dumps(flag),
        "data.positive_class": name,
    }
    config = load_config(None, typed)
    assert config.train.lr == lr
    assert config.train.epochs == epochs
    assert config.train.online.enabled is flag
    assert config.data.positive_class == name
    again = yaml.safe_load(to_yaml(config))
    assert Config.model_validate_json(json.dumps(again)) == config


words = st.text("abcdefghijklmnopqrstuvwxyz_", min_size=1, max_size=12)


@given(path=st.lists(words, min_size=1, max_size=3), value=st.none() | st.integers() | st.text(max_size=5))
def test_unknown_names_are_always_errors(path: list[str], value: Any) -> None:
    name = ".".join(path)
    if name in known_names():
        return
    with pytest.raises(ConfigError):
        load_config(None, {name: json.dumps(value)})


def test_flatten_names_every_leaf_once() -> None:
    flat = flatten(Config())
    assert set(flat) <= set(known_names())
    assert flat["train.online.scale_frac"] == 0.15
    assert flat["data.phantom.gist_cases"] == 69


def test_a_password_in_an_address_is_not_recorded() -> None:
    config = load_config(None, {"tune.storage": "postgresql+psycopg://me:se:cr@et@host:5432/studies"})
    assert without_passwords(config).tune.storage == "postgresql+psycopg://me:***@host:5432/studies"
    for storage in ("postgresql+psycopg://me@host/studies", "postgresql+psycopg:///studies"):
        config = load_config(None, {"tune.storage": storage})
        assert without_passwords(config) == config
    assert without_passwords(Config()) == Config()
