"""What each stage can be told, as typed, frozen records: a section of params.yaml for each stage that has settings.

A field of a section is a flag of the stage's subcommand and a keyword of its function, under one name.
"""

from __future__ import annotations

from belle.settings.data import (
    Ask,
    Classifier,
    Clean,
    CleanText,
    Corpus,
    Evalset,
    Generate,
    Label,
    Sampling,
    Webtext,
    Weigh,
)
from belle.settings.scoring import Answer, Judge, Prefer, Sample
from belle.settings.section import (
    Attention,
    BaseUrl,
    Count,
    FilterName,
    Fraction,
    Name,
    OneLine,
    PositiveFloat,
    PositiveInt,
    Section,
)
from belle.settings.training import Adapters, Dpo, Language, Ppo, Preference, Pretrain, Reward, Sft, Training
from belle.settings.weights import Base, Convert, Gptq, Merge, Unconvert, Vocabulary
from belle.settings.work import Budget, Launch, Pace, Price

__all__ = [
    "SECTIONS",
    "Adapters",
    "Answer",
    "Ask",
    "Attention",
    "Base",
    "BaseUrl",
    "Budget",
    "Classifier",
    "Clean",
    "CleanText",
    "Convert",
    "Corpus",
    "Count",
    "Dpo",
    "Evalset",
    "FilterName",
    "Fraction",
    "Generate",
    "Gptq",
    "Judge",
    "Label",
    "Language",
    "Launch",
    "Merge",
    "Name",
    "OneLine",
    "Pace",
    "PositiveFloat",
    "PositiveInt",
    "Ppo",
    "Prefer",
    "Preference",
    "Pretrain",
    "Price",
    "Reward",
    "Sample",
    "Sampling",
    "Section",
    "Sft",
    "Training",
    "Unconvert",
    "Vocabulary",
    "Webtext",
    "Weigh",
]

SECTIONS: dict[str, type[Section]] = {
    "corpus": Corpus,
    "evalset": Evalset,
    "generate": Generate,
    "ask": Ask,
    "label": Label,
    "classifier": Classifier,
    "clean": Clean,
    "weigh": Weigh,
    "webtext": Webtext,
    "clean_text": CleanText,
    "base": Base,
    "convert": Convert,
    "unconvert": Unconvert,
    "merge": Merge,
    "vocabulary": Vocabulary,
    "sft": Sft,
    "pretrain": Pretrain,
    "gptq": Gptq,
    "answer": Answer,
    "judge": Judge,
    "sample": Sample,
    "prefer": Prefer,
    "reward": Reward,
    "dpo": Dpo,
    "ppo": Ppo,
}
"""The stages that read settings, and the type of a recipe of theirs."""
