"""`python -m eusml NAME`: what every line of MLproject calls.

Nothing heavy is imported before the command is known and its settings are sound, so that `--help` and a typing
error answer at once.
"""

import argparse
import difflib
import gc
import importlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from eusml.errors import ConfigError, EusmlError, full_disk

COMMANDS = {
    "main": "the whole study: data, augmentation, training, evaluation, comparison, promotion",
    "data": "read, audit, prepare and split the images",
    "augment": "expand the training partition by the study's operations, one copy each",
    "tune": "search for settings on inner folds of the training partition; any number of these at once",
    "train": "train the network that `train` describes; a killed training goes on where it was",
    "evaluate": "measure that network on the held-out cases, with intervals",
    "compare": "all arms side by side, on the same cases",
    "report": "one page of what the store holds: cases, protocol, results with intervals, figures, checklists",
    "promote": "register the arms and make the ResNet-34 champion if the policy allows it",
    "rollback": "give the champion's alias back to the champion before",
    "history": "print who was champion when, and by which decision",
    "predict": "ask a registered model about a folder or a table of images",
    "ui": "open MLflow's own UI on the runs, on this machine alone; Ctrl-C ends it",
}
"""Entry points: each is the function `run` of the module of its name in `eusml.commands`."""

DEFAULT_EXPERIMENT = Path("experiments/quick.yaml")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one entry point; returns the process's exit status."""
    try:
        name, experiment, overrides = parse(sys.argv[1:] if argv is None else argv)
        from eusml.config import load_config

        config = load_config(experiment, overrides)
        os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")  # it shows even through a pipe
        # Both libraries ask the network for news when they are imported, unless told not to.
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:  # as torchrun says to those that it starts together
            _imported("led").run_together(name, config)
        else:
            _imported(name).run(config)
    except EusmlError as error:
        print(f"eusml: error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("eusml: interrupted; the same command again goes on from here", file=sys.stderr)
        return 130
    except Exception as error:
        if (cause := full_disk(error)) is None:
            raise
        print(
            f"eusml: error: a disk is full: that of work_dir, of MLflow's store or of temporary files ({cause}). "
            "Make room; the same command again goes on from here",
            file=sys.stderr,
        )
        return EusmlError.exit_code
    return 0


def _imported(name: str) -> ModuleType:
    """A module of `eusml.commands`, and with it torch and MLflow.

    Nothing of what they bring is ever garbage, and looking for some among it took a tenth of a start.
    """
    module = f"eusml.commands.{name}"
    if module in sys.modules:  # a process that calls `main` again may have garbage by now
        return sys.modules[module]
    gc.disable()
    try:
        return importlib.import_module(module)
    finally:
        gc.freeze()
        gc.enable()


def parse(argv: Sequence[str]) -> tuple[str, Path, dict[str, str]]:
    """Command name, experiment file and dotted overrides (`--train.lr 3e-4` or `--train.lr=3e-4`).

    Raises:
        ConfigError: unknown command, an argument that is no setting, a setting without a value.
    """
    parser = argparse.ArgumentParser(
        prog="python -m eusml",
        usage="python -m eusml NAME [--experiment FILE] [--SETTING VALUE ...]",
        description="Tells GIST from leiomyoma on endoscopic-ultrasound images: research software, not for diagnosis.",
        epilog="entry points:\n"
        + "\n".join(f"  {name:<10}{text}" for name, text in COMMANDS.items())
        + "\n\nany setting by its dotted name: --train.lr 3e-4",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("name", metavar="NAME", help="one of the entry points below")
    parser.add_argument(
        "--experiment", metavar="FILE", type=Path, default=DEFAULT_EXPERIMENT, help="default: %(default)s"
    )
    known, rest = parser.parse_known_args(argv)
    if known.name not in COMMANDS:
        near = difflib.get_close_matches(known.name, COMMANDS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(COMMANDS)}"
        raise ConfigError(f"unknown entry point {known.name!r}; {hint}")
    return known.name, known.experiment, _overrides(rest)


def _overrides(words: Sequence[str]) -> dict[str, str]:
    overrides: dict[str, str] = {}
    waiting = list(words)
    while waiting:
        word = waiting.pop(0)
        if not word.startswith("--"):
            raise ConfigError(f"{word!r} is not understood; settings are written --train.lr 3e-4")
        name, equals, value = word[2:].partition("=")
        if not equals:
            if not waiting:
                raise ConfigError(f"--{name} needs a value")
            value = waiting.pop(0)
        overrides[name] = value
    return overrides


if __name__ == "__main__":
    sys.exit(main())
