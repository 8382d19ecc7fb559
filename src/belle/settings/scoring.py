"""What the stages that ask a model and judge it can be told."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from belle.settings.section import BaseUrl, Count, PositiveInt, Section


class Answer(Section):
    """How a model answers an evaluation set."""

    max_new_tokens: PositiveInt
    batch_size: PositiveInt
    do_sample: bool
    temperature: Annotated[float, Field(ge=0, le=2)]
    top_p: Annotated[float, Field(gt=0, le=1)]
    prompt_format: str
    threads: PositiveInt
    seed: Count


class Judge(Section):
    """Whom to ask for verdicts, and how."""

    base_url: BaseUrl
    model: str
    temperature: Annotated[float, Field(ge=0, le=2)]
    max_tokens: PositiveInt


class Sample(Section):
    """How many answers a model draws to each of how many training prompts, for pairs to be made of."""

    rows: PositiveInt
    answers: Annotated[int, Field(ge=2)]
    max_new_tokens: PositiveInt
    batch_size: PositiveInt
    temperature: Annotated[float, Field(gt=0, le=2)]
    top_p: Annotated[float, Field(gt=0, le=1)]
    prompt_format: str
    threads: PositiveInt
    seed: Count


class Prefer(Judge):
    """Whom to ask for verdicts on drawn answers, and by which difference of scores one is better than another.

    ``judge_class`` is the judge's prompt for rows that name no class of their own.
    """

    judge_class: str
    margin: Annotated[float, Field(gt=0, le=1)]
