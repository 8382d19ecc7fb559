"""What a chat completion costs: a dated table of prices, and what params.yaml adds to it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from belle.errors import InputError

TABLE_DATE = "2026-11-21"
TABLE_SOURCE = "OpenAI's published standard rates, as known in 2025; a retired version keeps its last rate"
TABLE = {
    "gpt-3.5-turbo": (0.50, 1.50),
    "gpt-3.5-turbo-0125": (0.50, 1.50),
    "gpt-3.5-turbo-1106": (1.00, 2.00),
    "gpt-3.5-turbo-0613": (1.50, 2.00),
    "gpt-3.5-turbo-0301": (1.50, 2.00),
    "gpt-3.5-turbo-16k": (3.00, 4.00),
    "gpt-3.5-turbo-16k-0613": (3.00, 4.00),
    "gpt-4": (30.00, 60.00),
    "gpt-4-0314": (30.00, 60.00),
    "gpt-4-0613": (30.00, 60.00),
    "gpt-4-32k": (60.00, 120.00),
    "gpt-4-1106-preview": (10.00, 30.00),
    "gpt-4-0125-preview": (10.00, 30.00),
    "gpt-4-turbo": (10.00, 30.00),
    "gpt-4-turbo-2024-04-09": (10.00, 30.00),
    "gpt-4o": (2.50, 10.00),
    "gpt-4o-2024-05-13": (5.00, 15.00),
    "gpt-4o-2024-08-06": (2.50, 10.00),
    "gpt-4o-2024-11-20": (2.50, 10.00),
    "gpt-4o-mini": (0.15, 0.60),
    "gpt-4o-mini-2024-07-18": (0.15, 0.60),
    "gpt-4.1": (2.00, 8.00),
    "gpt-4.1-2025-04-14": (2.00, 8.00),
    "gpt-4.1-mini": (0.40, 1.60),
    "gpt-4.1-mini-2025-04-14": (0.40, 1.60),
    "gpt-4.1-nano": (0.10, 0.40),
    "gpt-4.1-nano-2025-04-14": (0.10, 0.40),
}
"""USD per million prompt and completion tokens, of TABLE_DATE: no cached prompts. Your invoice decides.

No stage's code reaches this table, so that a new price reruns nothing.
"""

BATCH_SHARE = 0.5
"""What the table's models cost in OpenAI's Batch API, as a share of the rates above."""

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})

_MESSAGE_TOKENS = 8
"""More than the tokens that stand around one message, and around all of them, in any chat format we know."""


@dataclass(frozen=True)
class Price:
    """USD per million tokens."""

    prompt: float
    completion: float

    def usd(self, prompt_tokens: float, completion_tokens: float) -> float:
        """What so many tokens cost."""
        return (prompt_tokens * self.prompt + completion_tokens * self.completion) / 1e6


FREE = Price(0.0, 0.0)


@dataclass(frozen=True)
class Prices:
    """``own`` holds for every server and mode and goes before the table; in batches the table costs ``batch_share``."""

    own: Mapping[str, Price] = field(default_factory=dict)
    table: Mapping[str, Price] = field(default_factory=dict)
    batch_share: float = 1.0

    def of(self, endpoint: str, model: str, mode: str = "chat") -> Price | None:
        """The price of a model at an endpoint of the ledger, by ``chat`` or ``batch``; None if nobody named one.

        The offline teacher (an endpoint that is no URL) and servers on this machine cost nothing.
        """
        if model in self.own:
            return self.own[model]
        if not endpoint.startswith(("http://", "https://")) or urlsplit(endpoint).hostname in LOOPBACK:
            return FREE
        price = self.table.get(model)
        if price is None or mode != "batch":
            return price
        return Price(price.prompt * self.batch_share, price.completion * self.batch_share)

    def required(self, endpoint: str, model: str, mode: str = "chat") -> Price:
        """As ``of``.

        Raises:
            InputError: nobody named a price.
        """
        price = self.of(endpoint, model, mode)
        if price is None:
            raise InputError(
                f"the price of {model!r} at {endpoint} is not known, so no budget can be kept",
                where="budget.prices",
                cause="a model or server that the price table does not have",
                fix=f"add `{model}: {{prompt: …, completion: …}}` (USD per million tokens, 0 if it costs nothing) "
                "to budget.prices in params.yaml",
            )
        return price

    def as_json(self) -> dict[str, Any]:
        """For the sender's pipe; ``from_json`` reads it."""
        parts = {
            name: {model: [price.prompt, price.completion] for model, price in part.items()}
            for name, part in (("own", self.own), ("table", self.table))
        }
        return {**parts, "batch_share": self.batch_share}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Prices":
        """Undo ``as_json``."""
        own, table = ({model: Price(*pair) for model, pair in value[name].items()} for name in ("own", "table"))
        return cls(own, table, value["batch_share"])


def load(own: Mapping[str, tuple[float, float]] | None = None) -> Prices:
    """The price table, and above it the caller's own prices (model → USD per million prompt and completion tokens)."""
    own_prices = {model: Price(*pair) for model, pair in (own or {}).items()}
    return Prices(own_prices, {model: Price(*pair) for model, pair in TABLE.items()}, BATCH_SHARE)


def most_tokens(request: Mapping[str, Any]) -> tuple[int, int]:
    """Bounds of a request's prompt and completion tokens.

    No token of a byte-level vocabulary is shorter than a byte, so the bytes of the texts bound the prompt.

    Raises:
        InputError: nothing bounds the completion.
    """
    params = request["params"]
    longest = params.get("max_completion_tokens") or params.get("max_tokens")
    if not longest:
        raise InputError("a request without max_tokens has no bounded cost", where="max_tokens", fix="set max_tokens")
    prompt = sum(
        len(message["content"].encode("utf-8", "replace")) + _MESSAGE_TOKENS for message in request["messages"]
    )
    return prompt + _MESSAGE_TOKENS, int(longest) * int(params.get("n") or 1)
