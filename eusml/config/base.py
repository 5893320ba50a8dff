"""What all sections of the settings share."""

from typing import Annotated, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

Arch = Literal["resnet34", "resnet50"]
ARCHS: tuple[Arch, ...] = get_args(Arch)

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]


class Section(BaseModel):
    """A group of settings: unknown keys and values of another type are errors, and nothing changes later."""

    model_config = ConfigDict(
        strict=True, frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True
    )
