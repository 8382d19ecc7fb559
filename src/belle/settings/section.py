"""What all sections are, and what their values may be."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from belle.filter_names import checked

Name = Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", max_length=60)]
OneLine = Annotated[str, Field(pattern=r"^[^\n]*$")]
"""Text that can stand in a command; a line end is written as ``\\n``."""
Fraction = Annotated[float, Field(ge=0, le=1)]
PositiveInt = Annotated[int, Field(ge=1)]
Count = Annotated[int, Field(ge=0)]
PositiveFloat = Annotated[float, Field(gt=0)]
FilterName = Annotated[str, AfterValidator(checked)]
"""A filter, with its value where it takes one: see ``belle.filter_names``."""
Attention = Literal["sdpa", "flash_attention_2", "eager"]
"""Which attention a model is trained with."""
BaseUrl = Annotated[str, Field(pattern=r"^(offline|https?://\S+)$")]


class Section(BaseModel):
    """A mapping of params.yaml: strict types, frozen, no unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
