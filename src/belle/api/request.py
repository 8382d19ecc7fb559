"""What a request is to the ledger: the fields that make it, and the digest that it is known by."""

from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from belle import jsonl

FIELDS = frozenset({"endpoint", "model", "messages", "params", "sample"})
"""What makes a request; nothing else of it is hashed or stored."""

SAMPLING = frozenset({
    "temperature", "top_p", "max_tokens", "max_completion_tokens", "stop", "seed", "n", "logit_bias",
    "presence_penalty", "frequency_penalty", "response_format", "reasoning_effort",
})  # fmt: skip
"""The parameters a request may carry. A list, so that no header or key can slip into the ledger among them."""


def request_digest(request: Mapping[str, Any]) -> str:
    """SHA-256 (64 hex digits) of the canonical ``{endpoint, model, messages, params, sample}``.

    Raises:
        ValueError: a field is missing or too many, or a parameter is not one of ``SAMPLING``.
    """
    if request.keys() != FIELDS:
        raise ValueError(f"a request has the fields {sorted(FIELDS)}, found {sorted(request)}")
    if unknown := request["params"].keys() - SAMPLING:
        raise ValueError(f"not sampling parameters: {sorted(unknown)}")
    return sha256(jsonl.canonical(dict(request))).hexdigest()
