"""Entry point `train`: one network, its curves, and the model that is kept, whose probabilities are calibrated."""

from eusml.commands.calibrate import calibrator
from eusml.commands.data import StudyData, study_data
from eusml.commands.fitted import TrainedModel, fitted_model
from eusml.commands.job import Job, open_job
from eusml.commands.tune import settled
from eusml.config import Config


def run(config: Config) -> None:
    """Train what `train` describes, as an MLflow run of its own."""
    with open_job("train", config) as job:
        arm = config.train.arch
        study, config = settled(job, study_data(job), arm, config)
        trained_model(job, study, arm, config)


def trained_model(job: Job, study: StudyData, arm: str, config: Config) -> TrainedModel:
    """The model of one arm, to be measured, registered and served."""
    return fitted_model(job, study, arm, config, keep=True, calibrator=calibrator(job, study, arm, config))
