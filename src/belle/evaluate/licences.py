"""What the licences of a model's data and bases ask of whoever has the model: a list to check, no lawyer's advice."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlparse

UNKNOWN, OURS = "unknown", "apache-2.0"
"""Nobody said; what this project wrote itself."""
OPENAI = "openai-terms"


@dataclass(frozen=True)
class Terms:
    """What a licence asks: one sentence, and whether it rules out all but research."""

    says: str
    research_only: bool = False


TERMS = {
    "apache-2.0": Terms("free to use; keep the notices"),
    "mit": Terms("free to use; keep the notices"),
    "cc0-1.0": Terms("free to use"),
    "cc-by-4.0": Terms("free to use; name the authors"),
    "cc-by-sa-4.0": Terms("name the authors; what is made of it carries the same licence"),
    "cc-by-nc-4.0": Terms("name the authors; no commercial use", research_only=True),
    "cc-by-nc-sa-4.0": Terms("name the authors; no commercial use; the same licence", research_only=True),
    "gpl-3.0": Terms(
        "what is made of it and handed on carries the same licence; BELLE, which publishes its data so, asks that they "
        "and what is made of them be used for research only",
        research_only=True,
    ),
    "llama": Terms(
        "LLaMA's first licence: research only, no commercial use, and the weights are not to be handed on",
        research_only=True,
    ),
    "llama2": Terms("Llama 2's community licence: its acceptable use policy holds; its licence goes along"),
    "bigscience-bloom-rail-1.0": Terms("the uses that its attachment A lists are forbidden, and so for what is made "
                                       "of it"),
    OPENAI: Terms("replies of OpenAI's models: not to be used for models that compete with OpenAI's"),
    UNKNOWN: Terms("nobody said: ask before it is used for anything but a trial, and before it is handed on"),
}  # fmt: skip

_OF_NAMES = {
    "bigscience/bloom": "bigscience-bloom-rail-1.0",
    "meta-llama/llama-2": "llama2",
    "tatsu-lab/alpaca": "cc-by-nc-4.0",
}
"""The licences of repositories of the hub, by how their names begin."""


def terms_of(licence: str) -> Terms:
    """What a licence asks; of one that is not in the table, that it is to be read."""
    return TERMS.get(licence.lower()) or Terms(f"read it: {licence} is not known here")


def of_weights(text: str) -> str:
    """The licence of weights by the repository or path that they come from."""
    name = text.lower()
    for begins, licence in _OF_NAMES.items():
        if name.startswith(begins):
            return licence
    if "llama-2" in name or "llama2" in name:
        return "llama2"
    return "llama" if "llama" in name else UNKNOWN


def of_base(entry: dict[str, Any]) -> list[str]:
    """The licences that a base or model brings of itself, beside those of its data and of what lies under it."""
    kind = entry.get("kind")
    if kind == "hub":
        return [of_weights(entry["hub"])]
    if kind == "converted":
        return [] if entry["source"].startswith("models/") else [of_weights(f"llama {entry['source']}")]
    if kind == "released":
        return [of_weights(entry["key"])] if "/" in entry["key"] else []
    if kind == "recovered":
        own = [of_weights(entry["hub"])] if entry.get("hub") else []
        return [*own, *([of_weights(entry["base"])] if "/" in entry["base"] else [])]
    if kind == "merged":
        return [UNKNOWN] if any("/" in name for name in entry["adapters"]) else []
    return []


def of_data(raw: dict[str, Any], asked: dict[str, Any]) -> list[str]:
    """The licences of a data set: as its report says, or by whom it was asked from."""
    if "sets" in raw:
        return list(dict.fromkeys(part.get("licence", UNKNOWN) for part in raw["sets"].values()))
    if "licence" in raw:
        return [raw["licence"]]
    url = asked.get("base_url", "")
    if url == "offline":
        return [OURS]
    host = urlparse(url).hostname or ""
    return [OPENAI if host == "api.openai.com" else UNKNOWN]


def together(licences: Iterable[str]) -> dict[str, Any]:
    """What follows from several licences: ``terms`` by licence, ``research_only``, and ``unknown``."""
    found = sorted(set(licences))
    return {
        "terms": {name: terms_of(name).says for name in found},
        "research_only": any(terms_of(name).research_only for name in found),
        "unknown": [name for name in found if name == UNKNOWN or name.lower() not in TERMS],
    }
