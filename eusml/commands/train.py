"""Entry point `train`: one network, its curves, and the model that is kept, whose probabilities are calibrated."""

from eusml.commands.calibrate import calibrator
from eusml.commands.data import StudyData, study_data
from eusml.commands.fitted import fitted_model
from eusml.commands.job import Job, open_job
from eusml.commands.terminal import say
from eusml.commands.trained import TrainedModel
from eusml.commands.tune import settled
from eusml.commands.turns import say_of_unlearnt_turns
from eusml.config import Config, flatten
from eusml.tracking import runs


def run(config: Config) -> None:
    """Train what `train` describes, as an MLflow run of its own."""
    with open_job("train", config) as job:
        arm = config.train.arch
        say_what_arms_have(config)
        say_of_unlearnt_turns({arm: config})
        study, config = settled(job, study_data(job), arm, config)
        trained_model(job, study, arm, config)


def say_what_arms_have(config: Config) -> None:
    """Say so where the experiment's arms are of the architecture that `train` asks for, and all of other settings."""
    asked = flatten(config.train, "train.")
    arms = {name: flatten(arm.train, "train.") for name, arm in config.arm_configs().items()}
    if asked in arms.values():
        return
    for name, has in arms.items():
        if has["train.arch"] == config.train.arch:
            other = [f"-P {key}={runs.param_text(value)}" for key, value in has.items() if value != asked[key]]
            say(f"  as `train` describes it; for the experiment's arm {name} give {' '.join(other)}")


def trained_model(job: Job, study: StudyData, arm: str, config: Config) -> TrainedModel:
    """The model of one arm, to be measured, registered and served."""
    return fitted_model(job, study, arm, config, keep=True, calibrator=calibrator(job, study, arm, config))
