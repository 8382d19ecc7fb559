"""What has come since the last look: requests that ended, their tokens, what they cost, and why some were refused."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Came:
    """So many ``requests`` ended (as replies or refusals); ``refused`` counts reasons; ``usd`` by known prices."""

    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    usd: float = 0.0
    refused: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, usage: Mapping[str, Any], price: Sequence[float]) -> "Came":
        """One reply with its usage, at a price (USD per million tokens; empty where nobody knows one)."""
        tokens = [usage.get(f"{kind}_tokens") for kind in ("prompt", "completion")]
        prompt, completion = (count if isinstance(count, int) else 0 for count in tokens)
        usd = (prompt * price[0] + completion * price[1]) / 1e6 if price else 0.0
        return cls(1, prompt, completion, usd)

    def __add__(self, other: "Came") -> "Came":
        return Came(
            self.requests + other.requests,
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            self.usd + other.usd,
            dict(Counter(self.refused) + Counter(other.refused)),
        )

    def told(self) -> str:
        """Tokens, dollars and refusals, for a progress bar."""
        parts = [f"{self.prompt_tokens + self.completion_tokens:,} tokens"]
        if self.usd:
            parts.append(f"${self.usd:.4g}")
        if self.refused:
            parts.append(f"{sum(self.refused.values())} refused")
        return ", ".join(parts)
