"""What the stages of data can be told: what is made, asked for, labelled, cleaned and weighed."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from belle.filter_names import no_name_twice
from belle.settings.section import BaseUrl, Count, FilterName, Fraction, Name, OneLine, PositiveInt, Section


class Corpus(Section):
    """How much of the tiny world's text is written."""

    sentences: PositiveInt
    seed: Count


class Evalset(Section):
    """Which questions an evaluation set of the tiny world has, and how many in each split; no classes: all."""

    rows_per_split: PositiveInt
    splits: Annotated[list[Literal["entities", "phrasings", "reworded"]], Field(min_length=1)]
    classes: list[OneLine]
    seed: Count


class Sampling(Section):
    """Whom to ask for rows, how many, and how replies are drawn."""

    base_url: BaseUrl
    model: str
    rows: PositiveInt
    temperature: Annotated[float, Field(ge=0, le=2)]
    top_p: Annotated[float, Field(gt=0, le=1)]
    max_tokens: PositiveInt
    stop: Annotated[list[OneLine], Field(max_length=4)]
    seed: Count


class Generate(Sampling):
    """Self-Instruct: a request shows ``shots`` seed tasks and asks for ``tasks`` in all."""

    shots: PositiveInt
    tasks: Annotated[int, Field(ge=2, le=40)]


class Ask(Sampling):
    """Any other kind of set: a request asks for ``tasks`` items, a conversation has at most so many ``exchanges``."""

    kind: Literal["multiturn", "roles", "school_math", "conversations", "crawl"]
    tasks: Annotated[int, Field(ge=1, le=40)]
    exchanges: Annotated[int, Field(ge=1, le=20)]


class Label(Section):
    """Whom to ask for the categories of rows that a classifier learns from, and of how many."""

    base_url: BaseUrl
    model: str
    rows: PositiveInt
    temperature: Annotated[float, Field(ge=0, le=2)]
    max_tokens: PositiveInt
    seed: Count


class Classifier(Section):
    """A linear classifier of texts over hashed runs of 1 to ``ngrams`` characters, in 2 to the ``bits`` places.

    A text is learnt from until its category is ahead by ``margin`` for each of its runs; learning once gives 2.
    """

    ngrams: Annotated[int, Field(ge=1, le=5)]
    bits: Annotated[int, Field(ge=8, le=22)]
    margin: Count
    epochs: PositiveInt
    held_out: Annotated[float, Field(gt=0, lt=1)]
    seed: Count


class Clean(Section):
    """Which filters a raw row must pass, what it must not overlap with, how new it must be, and how it must weigh.

    ``weigher`` names an entry of the registry, or is empty: then nothing that asks a model is asked for.
    """

    filters: Annotated[list[FilterName], AfterValidator(no_name_twice)]
    decontaminate: list[Name]
    contamination_share: Fraction
    contamination_text_share: Fraction
    contamination_run: Count
    compare: Literal["instruction", "instruction+input"]
    near_duplicate_threshold: Annotated[float, Field(gt=0, le=2)]
    novelty_threshold: Annotated[float, Field(gt=0, le=2)]
    min_output_chars: Count
    max_output_chars: PositiveInt
    weigher: Annotated[str, Field(pattern=r"^([a-z0-9]+(-[a-z0-9]+)*)?$")]
    max_perplexity: Annotated[float, Field(ge=0)]
    max_answer_perplexity: Annotated[float, Field(ge=0)]
    perplexity_cut: Annotated[float, Field(ge=0, lt=1)]
    semantic_threshold: Annotated[float, Field(gt=0, le=2)]


class Weigh(Section):
    """How a base model weighs rows: how much of one it reads at a time, and what a row's vector is made of.

    Of a row's vector ``answer_weight`` is the answer's share, and ``layer`` the layer whose states it is the mean of
    (0: the embeddings).
    """

    max_length: Annotated[int, Field(ge=2)]
    layer: Count
    answer_weight: Fraction
    dimensions: Annotated[int, Field(ge=8, le=1024)]
    bf16: bool
    threads: PositiveInt


class Webtext(Section):
    """How many raw web documents the tiny world has, and which share has a fault as a whole."""

    documents: PositiveInt
    fault_share: Fraction
    seed: Count


class CleanText(Section):
    """What a document for pretraining must be; a 0 as the least, or where it says so, switches a filter off."""

    languages: Annotated[list[str], Field(min_length=1)]
    line_filters: list[str]
    min_line_chars: Count
    min_letter_share: Fraction
    max_documents_of_line: Count
    min_chars: Count
    max_chars: PositiveInt
    min_ideograph_share: Fraction
    max_symbol_share: Fraction
    max_repetition: Fraction
    min_stop_share: Fraction
    min_sentence_ends: Fraction
    max_perplexity: Annotated[float, Field(ge=0)]
    min_quality: Fraction
    training_documents: PositiveInt
    max_rejects: Count
