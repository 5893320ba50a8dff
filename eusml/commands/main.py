"""Entry point `main`: the whole study, one child run per stage and model."""

from eusml.commands.augment import expanded_training_images
from eusml.commands.compare import all_evaluations, compare
from eusml.commands.cross_validate import cross_validated_study
from eusml.commands.data import study_data
from eusml.commands.job import open_job
from eusml.commands.promote import check_candidates, promote, say_next_steps
from eusml.commands.report import report
from eusml.config import Config


def run(config: Config) -> None:
    """Data, augmentation, training and evaluation of every arm, comparison, promotion, report.

    Raises:
        PromotionError: no arm can be a candidate, or the candidate was refused, after all else was done and recorded.
    """
    check_candidates(config)
    with open_job("main", config) as job:
        if config.protocol.kind == "nested_cv":
            study, evaluations = cross_validated_study(job)
        else:
            study = study_data(job)
            # Made and shown whether or not an arm trains on the copies.
            expanded_training_images(job, study, config.augment)
            evaluations = all_evaluations(job, study)
            compare(job, study, evaluations)
        promotion = promote(job, study, evaluations)
        report(job)
    say_next_steps(promotion)
    promotion.check()
