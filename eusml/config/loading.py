"""YAML and dotted overrides to a checked `Config`.

Every problem is a `ConfigError` that names the key, the value found, what is allowed and, where there is one, the
nearest valid spelling.
"""

import difflib
import json
import re
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from types import UnionType
from typing import Any, get_args

import yaml
from pydantic import TypeAdapter, ValidationError

from eusml.config.base import Section
from eusml.config.sections import Config
from eusml.errors import ConfigError


def load_config(path: Path | None, overrides: Mapping[str, str] | None = None) -> Config:
    """Read an experiment file and lay dotted overrides over it.

    Args:
        path: YAML file of settings that differ from the defaults; None for defaults alone.
        overrides: dotted name to text, as typed on the command line: `{"train.lr": "3e-4"}`.

    Raises:
        ConfigError: file unreadable or not YAML, unknown key, wrong type or range.
    """
    tree = {} if path is None else _read_yaml(path)
    for name, text in (overrides or {}).items():
        set_dotted(tree, name, _override_value(name, text))
    try:
        # Through JSON, because pydantic's strict mode then takes lists for tuples and text for paths, and nothing else.
        return Config.model_validate_json(json.dumps(tree, default=str, allow_nan=True))
    except ValidationError as error:
        raise ConfigError(describe(error, str(path), overrides or {})) from None


def flatten(config: Section, prefix: str = "") -> dict[str, Any]:
    """Dotted name to JSON-ready value for every field: what is logged as `cfg.*` parameters."""
    flat: dict[str, Any] = {}
    for name, value in config.model_dump(mode="json").items():
        _flatten_into(flat, f"{prefix}{name}", value)
    return flat


def without_passwords(config: Config) -> Config:
    """The same settings to be shown and recorded: an address without its password."""
    if config.tune.storage is None:
        return config
    storage = re.sub(r"(://[^:/@]*):.*@", r"\1:***@", config.tune.storage)
    return config.model_copy(update={"tune": config.tune.model_copy(update={"storage": storage})})


def to_yaml(config: Section) -> str:
    """The resolved settings as YAML that `load_config` reads back to an equal object."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)


def _flatten_into(flat: dict[str, Any], name: str, value: Any) -> None:
    if isinstance(value, dict):
        for key, inner in value.items():
            _flatten_into(flat, f"{name}.{key}", inner)
    else:
        flat[name] = value


class _UniqueKeyLoader(yaml.SafeLoader):
    """PyYAML keeps the last of two equal keys without a word; here that is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} stands twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        near = sorted(str(p) for p in path.parent.glob("*.yaml")) if path.parent.is_dir() else []
        hint = f"; there is {', '.join(near)}" if near else ""
        raise ConfigError(f"experiment file {path} does not exist{hint}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"experiment file {path} cannot be read: {error}") from None
    try:
        tree = yaml.load(text, Loader=_UniqueKeyLoader)
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not valid YAML: {error}") from None
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise ConfigError(f"{path} must hold `key: value` lines, found {type(tree).__name__}")
    return tree


def _annotation(name: str) -> Any:
    """Type of the field with this dotted name, or None when there is no such field."""
    model: Any = Config
    for part in name.split("."):
        if not (isinstance(model, type) and issubclass(model, Section)) or part not in model.model_fields:
            return None
        model = model.model_fields[part].annotation
    return model


def _override_value(name: str, text: str) -> Any:
    """The typed value of an override: JSON where the field takes it (`3e-4`, `true`, `[1, 2]`), else the text."""
    annotation = _annotation(name)
    kinds = {*get_args(annotation)} if isinstance(annotation, UnionType) else {annotation}
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        if text == "none" and type(None) in kinds:
            return None
        if bool in kinds and text.lower() in ("true", "false"):
            return text.lower() == "true"
        # `.001` and `1.` are numbers on any command line, though not in JSON.
        return float(text) if float in kinds and re.fullmatch(r"[+-]?(\d+\.|\.\d+)([eE][+-]?\d+)?", text) else text
    if annotation is None:
        return value
    try:
        TypeAdapter(annotation).validate_json(json.dumps(value), strict=True)
    except ValidationError:
        # `-P data.positive_class=1` means the class called "1".
        return text if kinds & {str, Path} else value
    return value


def set_dotted(tree: dict[str, Any], name: str, value: Any) -> None:
    """Put a value where its dotted name says, making the groups on the way."""
    *parents, last = name.split(".")
    for part in parents:
        inner = tree.setdefault(part, {})
        if not isinstance(inner, dict):
            raise ConfigError(f"cannot set {name}: {part} is not a group of settings")
        tree = inner
    tree[last] = value


def describe(error: ValidationError, file: str, overrides: Mapping[str, str]) -> str:
    """What is wrong, a line for each problem, in words for the person who wrote the settings."""
    lines = []
    for detail in error.errors():
        key = ".".join(str(part) for part in detail["loc"]) or "settings"
        typed = any(_concerns(name, key, detail["msg"]) for name in overrides)
        lines.append(_describe_one(detail, key, "command line" if typed else file))
    return "\n".join(dict.fromkeys(lines))


def _concerns(name: str, key: str, message: str) -> bool:
    """Whether an override caused an error at `key`, or one of the whole, whose text names what does not go together."""
    same_branch = key == name or name.startswith(f"{key}.") or key.startswith(f"{name}.")
    return same_branch or ("." in name and name in message)


def _describe_one(detail: Any, key: str, where: str) -> str:
    value = detail["input"]
    if detail["type"] == "extra_forbidden":
        near = nearest(key, known_names())
        return f"{where}: unknown setting {key!r}" + (f"; did you mean {near!r}?" if near else "")
    if detail["type"] == "value_error":
        return f"{where}: {key}: {detail['ctx']['error']}"
    if detail["type"] == "missing":
        return f"{where}: {key} must be given; it has no default"
    message = detail["msg"].removeprefix("Input should be ")
    hint = ""
    if isinstance(value, str) and detail["type"] in {"float_type", "int_type", "bool_type"}:
        spelling = _number_spelling(value)
        hint = f"; YAML reads it as text, write {spelling}" if spelling else ""
    elif detail["type"] == "literal_error" and isinstance(value, str):
        near = nearest(value, re.findall(r"'([^']+)'", detail["msg"]))
        hint = f"; did you mean {near!r}?" if near else ""
    return f"{where}: {key} is {value!r} ({type(value).__name__}), expected {message}{hint}"


def _number_spelling(text: str) -> str | None:
    """How to write a number so that YAML reads it as one: `1e-3` needs a point, `1.0e-3`."""
    try:
        number = float(text)
    except ValueError:
        return None
    match = re.fullmatch(r"([+-]?\d+)[eE]([+-]?)(\d+)", text.strip())
    if match:
        return f"{match[1]}.0e{match[2] or '+'}{match[3]}"
    return text.strip() if re.fullmatch(r"[+-]?[\d.]+([eE][+-]\d+)?", text.strip()) else repr(number)


def nearest(word: str, candidates: Sequence[str]) -> str | None:
    """The candidate most like `word`, or None when nothing is near."""
    found = difflib.get_close_matches(word, candidates, n=1, cutoff=0.6)
    return found[0] if found else None


def known_names() -> list[str]:
    """Every dotted name that a file or an override may set."""
    return _names(Config, "")


def _names(model: type[Section], prefix: str) -> list[str]:
    names: list[str] = []
    for name, field in model.model_fields.items():
        names.append(f"{prefix}{name}")
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            names += _names(field.annotation, f"{prefix}{name}.")
    return names
