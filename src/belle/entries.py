"""The registry's entries, as params.yaml declares them: data sets, base models, models, evaluation sets, tables."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import Field

from belle.settings import Count, Name, PositiveFloat, PositiveInt, Section

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


class MixedDataset(Section):
    """Several data sets of the registry put end to end, in this order; of equal rows the first is kept."""

    kind: Literal["mixed"]
    sets: Annotated[list[str], Field(min_length=2)]
    clean: str


class Weigher(Section):
    """A model that weighs rows for cleaning; ``reference`` are seed tasks, on which it learns what is usual."""

    base: str
    reference: Annotated[str, Field(min_length=1)]
    weigh: str


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


class ConvertedBase(Section):
    """LLaMA as Meta publishes it, converted here; ``tokenizer`` is empty where it lies in the source's folder."""

    kind: Literal["converted"]
    source: Annotated[str, Field(min_length=1)]
    tokenizer: Annotated[list[str], Field(max_length=1)]
    convert: str
    parameters: Count
    disk_gb: Annotated[float, Field(ge=0)]


class ExpandedBase(Section):
    """A base with the pieces of a corpus added to its vocabulary: ``text`` is a file, JSON Lines or plain lines."""

    kind: Literal["expanded"]
    base: str
    text: Annotated[str, Field(min_length=1)]
    vocabulary: str


class PretrainedBase(Section):
    """A base or model pretrained further here, on one text or several; ``gpus`` is as a trained model's."""

    kind: Literal["pretrained"]
    base: str
    texts: Annotated[list[str], Field(min_length=1)]
    pretrain: str
    gpus: Count


class Override(Section):
    """Settings of one model that go before those of its recipe."""

    seed: Count


class TrainedModel(Section):
    """A model fine-tuned here; ``gpus`` is how many it trains on (0: the CPU will do).

    ``override`` may be left out: then the recipe holds as it stands.
    """

    kind: Literal["trained"]
    base: str
    dataset: str
    data_fraction: Annotated[float, Field(gt=0, le=1)]
    sft: str
    gpus: Count
    override: Override | None = None


Published = Annotated[str, Field(pattern=r"^[\w./-]*$")]
"""A repository of the hub that a release can be had from, or empty."""
KeySha256 = Annotated[str, Field(pattern=r"^(any|[0-9a-f]{64})$")]


class ReleasedModel(Section):
    """A model published only as XOR with a base: ``release`` is the encrypted folder, ``key`` a name or a file.

    ``dataset`` names what it was trained on: GPTQ calibrates on it. ``parameters`` is 0 where they are the key's.
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


class MergedModel(Section):
    """A base with LoRA adapters added in order: names of models that keep theirs, or paths of adapters' folders.

    ``dataset`` names what it was trained on last: GPTQ calibrates on it.
    """

    kind: Literal["merged"]
    base: str
    adapters: Annotated[list[str], Field(min_length=1)]
    merge: str
    dataset: str


class PreferredModel(Section):
    """A model trained by DPO on pairs of answers, from a model of this registry.

    ``dataset`` names rows like those that the pairs were made of: GPTQ calibrates on it.
    """

    kind: Literal["preferred"]
    base: str
    pairs: str
    dataset: str
    dpo: str
    gpus: Count


class ReinforcedModel(Section):
    """A model trained by PPO or GRPO on a data set's prompts with a reward model, from a model of this registry."""

    kind: Literal["reinforced"]
    base: str
    reward: str
    dataset: str
    ppo: str
    gpus: Annotated[int, Field(ge=0, le=1)]


class JudgedPairs(Section):
    """Pairs of answers that a model of this registry draws to a data set's prompts and a judge scores."""

    kind: Literal["judged"]
    model: str
    dataset: str
    sample: str
    prefer: str


class LocalPairs(Section):
    """Pairs that lie here: ``prompt, chosen, rejected`` as JSON Lines."""

    kind: Literal["local"]
    path: Annotated[str, Field(min_length=1)]


class RewardModel(Section):
    """A reward model trained here on pairs; ``gpus`` is how many it trains on (0: the CPU will do)."""

    base: str
    pairs: str
    reward: str
    gpus: Count


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


SCORE, OTHERS, TOKENS = "Score", "others", "tokens_a_character"
"""What a claim can be about besides one class: all of an evaluation set, its pooled classes, a vocabulary (less is
better)."""
Said = Annotated[str, Field(pattern=r"^[^\"$`\\|{}\n]+$", max_length=100)]
"""Words that a command and a cell of a table can hold."""
Seeds = Annotated[list[str], Field(min_length=3)]
"""A model for each seed."""


class Claim(Section):
    """That ``better`` is better than ``worse`` by ``measure``, seed by seed: bases and models of this registry.

    For ``tokens_a_character`` the better ones are expanded bases, and the worse the bases that they are made of.
    ``eval`` may be left out: then scores are of the evaluation set that the other claims beside it are about.
    """

    says: Said
    measure: str
    eval: str | None = None
    better: Seeds
    worse: Seeds


class Directions(Section):
    """Claims about which way a change goes, each over several seeds, on one evaluation set."""

    title: Said
    eval: str
    claims: Annotated[dict[Name, Claim], Field(min_length=1)]


class Categories(Section):
    """A classifier of rows: the data set whose rows are labelled for it, and how both is done."""

    dataset: str
    label: str
    classifier: str


Dataset = Annotated[
    GeneratedDataset | AskedDataset | PublishedDataset | LocalDataset | MixedDataset, Field(discriminator="kind")
]
BaseEntry = Annotated[
    ScratchBase | HubBase | ConvertedBase | ExpandedBase | PretrainedBase, Field(discriminator="kind")
]
Model = Annotated[
    TrainedModel | ReleasedModel | RecoveredModel | MergedModel | PreferredModel | ReinforcedModel,
    Field(discriminator="kind"),
]
Pairs = Annotated[JudgedPairs | LocalPairs, Field(discriminator="kind")]
BUILT_ON = (TrainedModel, MergedModel, PreferredModel, ReinforcedModel)
"""The kinds of model that name another as their ``base``."""
ENTRIES: dict[str, dict[str, type[Section]]] = {
    section: {kind: entry for entry in get_args(get_args(union)[0])
              for kind in get_args(entry.model_fields["kind"].annotation)}
    for section, union in (("datasets", Dataset), ("bases", BaseEntry), ("models", Model), ("pairs", Pairs))
}  # fmt: skip
"""The kinds of entry of each section that has several."""
