"""The registry's entries, as params.yaml declares them: data sets, base models, models, evaluation sets, tables."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from belle.settings import Count, PositiveFloat, PositiveInt, Section

HubName = Annotated[str, Field(pattern=r"^[\w./-]+$")]
"""A repository of the hub, a revision of one, or a local folder."""


class GeneratedDataset(Section):
    """Rows asked anew from a chat API by Self-Instruct."""

    kind: Literal["generated"]
    seeds: str
    generate: str
    clean: str


class AskedDataset(Section):
    """Rows of another kind asked anew from a chat API: dialogues, roles, problems, a crawl."""

    kind: Literal["asked"]
    seeds: str
    ask: str
    clean: str


RowFormat = Literal[
    "auto", "instruction", "input-target", "belle-multiturn", "role-dialogue", "sharegpt", "messages", "moss",
    "moss-text", "text", "text-lines", "text-files",
]  # fmt: skip
"""How the rows of a data set are laid out; ``auto`` tells it from the rows."""
Licence = Annotated[str, Field(pattern=r"^[\w.+-]+$")]
"""As the hub or SPDX names it: ``gpl-3.0``, ``cc-by-nc-4.0``; ``unknown`` where nobody said."""


class PublishedDataset(Section):
    """Rows published on the Hugging Face hub (or a local folder that ``datasets`` can load)."""

    kind: Literal["published"]
    hub: HubName
    revision: HubName
    split: Annotated[str, Field(pattern=r"^[\w\[\]:%.-]+$")]
    format: RowFormat
    licence: Licence
    clean: str


class LocalDataset(Section):
    """Rows in a file or folder here; ``categories`` is empty, or the file that has the category of each row's id."""

    kind: Literal["local"]
    path: Annotated[str, Field(min_length=1)]
    categories: Annotated[list[str], Field(max_length=1)]
    format: RowFormat
    licence: Licence
    clean: str


class Text(Section):
    """Documents for pretraining: raw ones, what good ones are like, and how they are cleaned."""

    documents: str
    reference: str
    clean_text: str


class ScratchBase(Section):
    """A tiny base model trained here from scratch."""

    kind: Literal["scratch"]
    corpus: str
    base: str


class HubBase(Section):
    """A published base model; its size is stated so that a plan can be checked without the weights."""

    kind: Literal["hub"]
    hub: HubName
    revision: HubName
    parameters: PositiveInt
    disk_gb: PositiveFloat


class TrainedModel(Section):
    """A model fine-tuned here; ``gpus`` is how many it trains on (0: the CPU will do)."""

    kind: Literal["trained"]
    base: str
    dataset: str
    data_fraction: Annotated[float, Field(gt=0, le=1)]
    sft: str
    gpus: Count


Published = Annotated[str, Field(pattern=r"^[\w./-]*$")]
"""A repository of the hub that a release can be had from, or empty."""
KeySha256 = Annotated[str, Field(pattern=r"^(any|[0-9a-f]{64})$")]


class ReleasedModel(Section):
    """A model published only as XOR with a base: ``release`` is the encrypted folder, ``key`` a name or a file.

    ``dataset`` is what it was trained on: GPTQ calibrates on it. ``parameters`` is 0 where the key's are its own.
    """

    kind: Literal["released"]
    release: str
    hub: Published
    key: str
    key_sha256: KeySha256
    parameters: Count
    dataset: str


class RecoveredModel(Section):
    """A model published only as its difference from a base: ``release`` is that folder, ``base`` a name or a folder.

    ``check_sum`` is the published sum of all values, or none; the others are as in ``ReleasedModel``.
    """

    kind: Literal["recovered"]
    release: str
    hub: Published
    base: str
    check_sum: float | Literal["none"]
    parameters: Count
    dataset: str


class Eval(Section):
    """An evaluation set, and how it is answered and judged."""

    path: str
    answer: str
    judge: str


class Table(Section):
    """Models side by side on one evaluation set."""

    title: Annotated[str, Field(pattern=r"^[^\"$`\\\n]+$")]
    eval: str
    models: Annotated[list[str], Field(min_length=1)]


class Categories(Section):
    """A classifier of rows: the data set whose rows are labelled for it, and how both is done."""

    dataset: str
    label: str
    classifier: str


Dataset = Annotated[GeneratedDataset | AskedDataset | PublishedDataset | LocalDataset, Field(discriminator="kind")]
BaseEntry = Annotated[ScratchBase | HubBase, Field(discriminator="kind")]
Model = Annotated[TrainedModel | ReleasedModel | RecoveredModel, Field(discriminator="kind")]
