"""One experiment's settings: YAML and dotted overrides, checked strictly, frozen.

Defaults live here and nowhere else; a file in `experiments/` lists what differs. Every problem is
reported as a `ConfigError` that names the key, the value found, what is allowed and, where there is
one, the nearest valid spelling.
"""

import difflib
import json
import re
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from eusml.errors import ConfigError

Arch = Literal["resnet34", "resnet50"]
Operation = Literal["rotation", "flip", "clahe", "log", "sigmoid"]
IntervalMethod = Literal["adjusted_wald", "wilson", "clopper_pearson", "wald"]

ARCHS: tuple[Arch, ...] = get_args(Arch)
OPERATIONS: tuple[Operation, ...] = get_args(Operation)

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]


class Section(BaseModel):
    """A group of settings: unknown keys and values of another type are errors, and nothing changes later."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)


class PhantomConfig(Section):
    """The synthetic cohort."""

    gist_cases: Annotated[int, Field(ge=0)] = 69
    """Number of synthetic GIST cases."""
    leiomyoma_cases: Annotated[int, Field(ge=0)] = 73
    """Number of synthetic leiomyoma cases."""
    cohort: Literal["quota", "independent"] = "quota"
    """`quota` reproduces the paper's Table 1 counts exactly; `independent` draws every case on its own."""
    view: Literal["roi", "frame"] = "roi"
    """`roi` shows the lesion; `frame` the whole radial scan with SYNTHETIC drawn in and a lesion box."""
    probe: Literal["by_size", "random"] = "by_size"
    """`by_size` chooses 7.5 or 20 MHz by lesion diameter as clinics do; `random` breaks that proxy of size."""
    seed: Seed = 0
    """Identity of the cohort; another seed is another set of synthetic patients."""
    selection_cases: Annotated[int, Field(ge=0)] = 200
    """Further independent cases on which choices between models are made (partition `val`)."""
    fresh_cases: Annotated[int, Field(ge=0)] = 400
    """Further independent cases, reported beside the small test partition (partition `fresh`)."""


class DataConfig(Section):
    """Where the images come from and how they are prepared."""

    source: Literal["phantom", "folder"] = "phantom"
    """`phantom`: the embedded synthetic cohort; `folder`: your images, see `path`."""
    path: Path | None = None
    """With `folder`: a folder holding `manifest.csv`, or one sub-folder of images per class."""
    positive_class: Annotated[str, Field(min_length=1)] = "GIST"
    """The class whose probability is reported; the other class found in the data is the negative one."""
    image_size_px: Annotated[int, Field(ge=32, le=1024)] = 224
    """Side of the prepared square grey image, pixels."""
    roi_margin_frac: Annotated[float, Field(ge=0.0, le=2.0)] = 0.15
    """Margin added on each side of a lesion box, as a fraction of the box's longer side."""
    phantom: PhantomConfig = PhantomConfig()


class SplitConfig(Section):
    """The hold-out: stratified per class, grouped by patient, made before any augmentation."""

    test_frac: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.2
    """Share of each class that is held out, when `folds` is not given."""
    folds: Annotated[int, Field(ge=2)] | None = None
    """Hold out one of this many folds instead of `test_frac`."""
    fold: Annotated[int, Field(ge=0)] = 0
    """Which fold is held out, from 0; only with `folds`."""
    seed: Seed = 0
    """Seed of the draw."""

    @model_validator(mode="after")
    def _fold_exists(self) -> "SplitConfig":
        if self.fold >= (self.folds or 1):
            raise ValueError(f"fold {self.fold} does not exist: folds is {self.folds}, folds count from 0")
        return self


class AugmentConfig(Section):
    """The study's off-line expansion: each operation adds one copy of every training image."""

    operations: tuple[Operation, ...] = OPERATIONS
    """Operations, one copy each, in this order."""
    rotation_limit_deg: Annotated[float, Field(ge=0.0, le=180.0)] = 180.0
    """Angles are drawn uniformly from ± this, degrees."""
    clahe_clip_limit: Annotated[float, Field(ge=1.0, le=40.0)] = 2.0
    """Contrast limit of CLAHE; 2 is nearest to scikit-image's default."""
    log_gain: Annotated[float, Field(gt=0.0, le=10.0)] = 1.0
    """Gain of the log contrast O = gain · log2(1 + I)."""
    sigmoid_cutoff: Fraction = 0.5
    """Grey level (0-1) that the sigmoid contrast maps to one half."""
    sigmoid_gain: Annotated[float, Field(gt=0.0, le=50.0)] = 10.0
    """Slope of the sigmoid contrast."""
    seed: Seed = 0
    """Seed of the drawn angles and flips."""


class OnlineConfig(Section):
    """On-line augmentation while training; a pure function of (seed, epoch, sample)."""

    enabled: bool = False
    rotation_limit_deg: Annotated[float, Field(ge=0.0, le=180.0)] = 180.0
    """Angles are drawn uniformly from ± this, degrees."""
    flip: bool = True
    """Mirror every second image, on average."""
    scale_frac: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.15
    """Zoom is drawn uniformly from 1 ± this."""
    shift_frac: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.10
    """Shift in x and y is drawn uniformly from ± this fraction of the side."""
    gamma_frac: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.25
    """Gamma is drawn log-uniformly from 1/(1 + this) to 1 + this."""


class TrainConfig(Section):
    """One network's training."""

    arch: Arch = "resnet34"
    """Network."""
    weights: Literal["none", "imagenet"] = "none"
    """Initial weights: random, or torchvision's ImageNet weights (downloaded by torchvision unless cached)."""
    offline: bool = True
    """Train on the off-line expanded images (the originals and one copy per operation)."""
    online: OnlineConfig = OnlineConfig()
    epochs: Annotated[int, Field(ge=1)] = 100
    """Passes over the training images; the last epoch's weights are the result, never the best on the test cases."""
    batch_size: Annotated[int, Field(ge=2)] = 32
    """Images per step; an epoch's last batches are evened out so that none is a single image."""
    optimizer: Literal["adamw", "sgd"] = "adamw"
    lr: Annotated[float, Field(gt=0.0, le=10.0)] = 1e-3
    """Peak learning rate."""
    weight_decay: Annotated[float, Field(ge=0.0, le=1.0)] = 0.02
    momentum: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.9
    """Momentum of SGD; AdamW ignores it."""
    schedule: Literal["onecycle", "cosine"] = "onecycle"
    """`onecycle` warms up over `warmup_frac` and then falls as a cosine; `cosine` falls from the start."""
    warmup_frac: Fraction = 0.25
    """Share of all steps spent warming up; only with `onecycle`."""
    label_smoothing: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    zero_init_residual: bool = True
    """Start every residual branch at zero, which steadies training from scratch."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """`auto` takes bf16 where the device computes it natively, fp32 elsewhere."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: Annotated[int, Field(ge=1)] | None = None
    """CPU threads; by default torch's choice, the number of cores. Weights are reproducible for one number."""
    checkpoint_every_s: Annotated[float, Field(ge=0.0)] = 30.0
    """Least time between two saved training states, seconds; 0 saves after every epoch."""
    seed: Seed = 0
    """Seed of initial weights, order and on-line augmentation."""


class EvaluateConfig(Section):
    """What is computed on the reported cases."""

    threshold: Fraction = 0.5
    """A case counts as positive when its probability is at least this; fixed beforehand, not tuned."""
    interval: IntervalMethod = "adjusted_wald"
    """Interval that goes with every proportion; the other three are tabled beside it."""
    confidence: Annotated[float, Field(gt=0.5, lt=1.0)] = 0.95
    """Nominal coverage of every interval."""
    bootstrap_samples: Annotated[int, Field(ge=100)] = 2000
    """Patient-wise resamples behind the intervals of measures that are neither proportions nor AUROC."""


class PromoteConfig(Section):
    """Which registered model is served."""

    arch: Arch = "resnet34"
    """Only models of this architecture are candidates."""
    arm: str | None = None
    """The arm declared beforehand as the one to promote; needed only where several compete without `val` cases."""
    alias: Annotated[str, Field(min_length=1)] = "champion"
    """Registry alias that the chosen version gets."""


class Arm(Section):
    """One network of the study; what is left out stands as in `train`."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    """Name under which the arm appears in runs, tables and figures."""
    arch: Arch | None = None
    offline: bool | None = None
    epochs: Annotated[int, Field(ge=1)] | None = None


class Config(Section):
    """A whole experiment."""

    name: Annotated[str, Field(min_length=1)] = "experiment"
    """Shown as the name of the pipeline run."""
    data: DataConfig = DataConfig()
    split: SplitConfig = SplitConfig()
    augment: AugmentConfig = AugmentConfig()
    train: TrainConfig = TrainConfig()
    arms: tuple[Arm, ...] = ()
    """Networks that `main`, `compare` and `promote` work on; none means the one that `train` describes."""
    evaluate: EvaluateConfig = EvaluateConfig()
    promote: PromoteConfig = PromoteConfig()
    work_dir: Path = Path("work")
    """Prepared images and training states; safe to delete, everything in it can be made again."""

    @model_validator(mode="after")
    def _arms_are_sound(self) -> "Config":
        names = [arm.name for arm in self.arms]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"arm names must differ: {', '.join(twice)} stands more than once")
        if self.promote.arm is not None and self.promote.arm not in names:
            raise ValueError(f"promote.arm {self.promote.arm!r} is no arm; arms are {', '.join(names) or 'not given'}")
        return self

    def arm_settings(self) -> dict[str, TrainConfig]:
        """The full training settings of every arm, by arm name, in the order of the file."""
        if not self.arms:
            return {self.train.arch: self.train}
        return {
            arm.name: self.train.model_copy(update=arm.model_dump(exclude={"name"}, exclude_none=True))
            for arm in self.arms
        }


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
        _set_dotted(tree, name, _override_value(name, text))
    where = "defaults" if path is None else str(path)
    try:
        # Through JSON, because pydantic's strict mode then takes lists for tuples and text for paths, and nothing else.
        return Config.model_validate_json(json.dumps(tree, default=str, allow_nan=True))
    except ValidationError as error:
        raise ConfigError(_describe(error, tree, where)) from None


def flatten(config: Section, prefix: str = "") -> dict[str, Any]:
    """Dotted name to JSON-ready value for every field: what is logged as `cfg.*` parameters."""
    flat: dict[str, Any] = {}
    for name, value in config.model_dump(mode="json").items():
        _flatten_into(flat, f"{prefix}{name}", value)
    return flat


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
            key = self.construct_object(key_node, deep=True)  # type: ignore[no-untyped-call]
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
    """The typed value of an override: JSON where the field takes it (`3e-4`, `true`, `[1, 2]`), else the text itself."""
    annotation = _annotation(name)
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        return None if text == "none" and annotation is not None and type(None) in get_args(annotation) else text
    if annotation is None:
        return value
    try:
        TypeAdapter(annotation).validate_json(json.dumps(value), strict=True)
    except ValidationError:
        # `-P data.positive_class=1` means the class called "1".
        return text if annotation is str or str in get_args(annotation) else value
    return value


def _set_dotted(tree: dict[str, Any], name: str, value: Any) -> None:
    *parents, last = name.split(".")
    for part in parents:
        inner = tree.setdefault(part, {})
        if not isinstance(inner, dict):
            raise ConfigError(f"cannot set {name}: {part} is not a group of settings")
        tree = inner
    tree[last] = value


def _describe(error: ValidationError, tree: Mapping[str, Any], where: str) -> str:
    lines = [_describe_one(detail, where) for detail in error.errors()]
    return "\n".join(dict.fromkeys(lines))


def _describe_one(detail: Any, where: str) -> str:
    key = ".".join(str(part) for part in detail["loc"]) or "settings"
    value = detail["input"]
    if detail["type"] == "extra_forbidden":
        near = nearest(key, known_names())
        return f"{where}: unknown setting {key!r}" + (f"; did you mean {near!r}?" if near else "")
    if detail["type"] == "value_error":
        return f"{where}: {key}: {detail['ctx']['error']}"
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
