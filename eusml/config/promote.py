"""Settings of promotion: who is a candidate, and the policy by which one becomes champion."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from eusml.config.base import Arch, Fraction, Section


def _not_mlflows_own(alias: str) -> str:
    if re.fullmatch(r"latest|v\d+", alias, re.IGNORECASE):
        raise ValueError(f"{alias!r} is a name that MLflow keeps for itself")
    return alias


Alias = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]*$"), AfterValidator(_not_mlflows_own)]


class PolicyConfig(Section):
    """What a model must show before it is served.

    The defaults keep out what is broken, and what is little better than a guess. They are no clinical demand, and a few
    dozen cases could not bear one out. Whoever uses a model writes floors of their own, before looking at results.
    """

    confidence: Annotated[float, Field(gt=0.5, lt=1.0)] = 0.95
    """Nominal coverage of the intervals that decide: two-sided for the floors, one-sided against the champion."""
    sensitivity_floor: Fraction = 0.4
    """The lower interval bound of sensitivity must be at least this; 0 asks nothing. Few cases have low bounds: of 29
    positive ones, 17 must be found for 0.4, 20 for 0.5 and 26 for 0.7."""
    auroc_floor: Fraction = 0.7
    """The lower interval bound of AUROC must be at least this; 0 asks nothing."""
    calibration_error_cap: Fraction = 0.2
    """The expected calibration error must be at most this; 1 asks nothing. A perfectly calibrated network shows about
    0.1 on 60 cases, by chance."""
    metric: Literal["auroc", "accuracy"] = "auroc"
    """In which a candidate must be better than the champion on the same cases, and must not be inferior."""
    margin: Fraction = 0.05
    """The lower one-sided bound of candidate minus champion must be above minus this. What few cases cannot show, they
    cannot decide: then the champion stays."""
    require_clean_audit: bool = True
    """Whether the audit must have kept nothing that makes a label doubtful: the same picture, or one patient, under two
    labels."""
    require_git: Literal["clean", "known", "any"] = "known"
    """`known`: the commit that the code ran from must be on record, and whether the code was changed since; `clean`: it
    must not have been; `any`: nothing is asked, as where there is no git."""


class PromoteConfig(Section):
    """Which registered model is served."""

    arch: Arch = "resnet34"
    """Only models of this architecture are candidates."""
    arm: str | None = None
    """The arm declared beforehand as the one to promote; needed only where several compete without `val` cases."""
    alias: Alias = "champion"
    """Registry alias that the promoted version gets; `latest` and `v1`, `v2`, … are MLflow's own."""
    challenger_alias: Alias = "challenger"
    """Registry alias of the candidate that was judged last, promoted or not."""
    dry_run: bool = False
    """Decide and record the decision, but register nothing and move no alias."""
    rollback_to: Annotated[int, Field(ge=1)] | None = None
    """The earlier champion, by its version, that `rollback` gives the alias back to; by default the one that the
    champion displaced."""
    policy: PolicyConfig = PolicyConfig()

    @model_validator(mode="after")
    def _aliases_differ(self) -> "PromoteConfig":
        if self.alias == self.challenger_alias:
            raise ValueError(f"alias and challenger_alias are both {self.alias!r}; they must differ")
        return self
