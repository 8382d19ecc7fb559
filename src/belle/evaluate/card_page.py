"""A model's card as a page of Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

KINDS = {
    "scratch": "trained here from nothing, tokenizer included",
    "hub": "published weights, fetched as they are",
    "converted": "LLaMA as Meta hands it out, converted to Hugging Face's layout",
    "expanded": "a base with pieces added to its vocabulary; the new rows are not trained yet",
    "pretrained": "a base pretrained further on texts",
    "trained": "a base fine-tuned on instructions",
    "released": "weights published as XOR with a base, decrypted",
    "recovered": "weights published as their difference from a base, added to it again",
    "merged": "a base with LoRA adapters added to its weights",
    "preferred": "a model trained on pairs of answers by DPO",
    "reinforced": "a model trained with a reward model by PPO or GRPO",
}
NOT_FOR = (
    "It has not been tested for safety, truth or bias: do not let it decide or advise on health, law, money or people.",
    "It may repeat its training data, and make up names, numbers and sources.",
)


def page(card: Mapping[str, Any]) -> str:
    """The page of a card as ``belle.evaluate.card`` makes it."""
    lines: list[str] = []
    for title, body in (
        (None, _head(card)),
        ("Weights", _weights(card)),
        ("Rests on", _rests_on(card)),
        ("Data", _data(card)),
        ("Training", _training(card)),
        ("Scores", _scores(card)),
        ("Licence", _licence(card)),
        ("Not for", _not_for(card)),
    ):
        if found := list(body):
            lines += [*([f"## {title}", ""] if title else []), *found, ""]
    return "\n".join(lines)


def _head(card: Mapping[str, Any]) -> Iterator[str]:
    kind = card.get("entry", {}).get("kind", "")
    yield f"# {card['name']}"
    yield ""
    what = KINDS.get(kind, "a model")
    yield f"{what[0].upper()}{what[1:]}. Made by `snakemake {_target(card)}`."
    origin = {key: card["entry"][key] for key in ("hub", "revision", "release", "source", "key_sha256")
              if card.get("entry", {}).get(key)}  # fmt: skip
    if origin:
        yield ""
        yield "; ".join(f"{key}: `{value}`" for key, value in origin.items())


def _target(card: Mapping[str, Any]) -> str:
    return f"models/{card['name']}"


def _weights(card: Mapping[str, Any]) -> Iterator[str]:
    found = card["weights"]
    types = ", ".join(f"{count:,} {name}" for name, count in found["types"].items())
    yield f"{found['parameters']:,} parameters in {found['tensors']:,} tensors ({types}), {found['bytes']:,} bytes."
    yield ""
    yield f"Digest over the tensors (`belle digest {_target(card)}`): `{found['sha256']}`"
    if found["shape"]:
        yield ""
        yield from _settings(found["shape"])


def _rests_on(card: Mapping[str, Any]) -> Iterator[str]:
    def each(items: list[dict[str, Any]], depth: int) -> Iterator[str]:
        for item in items:
            origin = f" `{item['from']}`" if item["from"] else ""
            yield (
                f"{'  ' * depth}- **{item['name']}**{origin}: {KINDS.get(item['kind'], item['kind'])}; "
                f"{item['parameters']:,} parameters, `{item['sha256']}`"
            )
            for file in item["data"]:
                yield f"{'  ' * (depth + 1)}- data: {_file(file)}"
            yield from each(item["rests_on"], depth + 1)

    yield from each(card["rests_on"], 0)


def _file(file: Mapping[str, Any]) -> str:
    return f"`{file['path']}`, {file['lines']:,} lines, {file['bytes']:,} bytes, SHA-256 `{file['sha256']}`"


def _data(card: Mapping[str, Any]) -> Iterator[str]:
    for file in card["data"]:
        yield f"- {_file(file)}"
    entry = card.get("entry", {})
    if entry.get("kind") in ("released", "recovered", "merged") and card["data"]:
        yield "- for what was made elsewhere this is the set nearest to its own, which the 4-bit twin is calibrated on"
    if float(entry.get("data_fraction", 1)) < 1:
        yield f"- of its rows a share of {entry['data_fraction']}, chosen by their ids"
    if asked := card.get("asked"):
        yield f"- asked of `{asked.get('model', '')}` at `{asked.get('base_url', '')}`: {asked.get('rows', '?')} rows"
    if hub := card.get("dataset", {}).get("hub"):
        yield f"- published as `{hub}`, revision `{card['dataset'].get('revision', '')}`"
    cleaning = card["cleaning"]
    if cleaning:
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in cleaning["removed"].items()) or "none"
        yield f"- cleaning kept {cleaning['rows_out']:,} of {cleaning['rows_in']:,} rows; removed: {reasons}"
        for name in cleaning["checked_against"]:
            yield f"- {cleaning['contaminated'].get(name, 0):,} of them were removed for overlap with {name}"
        if not cleaning["checked_against"]:
            yield "- its rows were not checked against any evaluation set"
    if card["licences_of_data"]:
        yield f"- licence: {', '.join(card['licences_of_data'])}"


def _training(card: Mapping[str, Any]) -> Iterator[str]:
    training = card["training"]
    if training:
        yield (
            f"{training['steps']:,} steps; loss {training['first_loss']:.4f} at the first, "
            f"{training['mean_loss_of_last_steps']:.4f} as the mean of the last {training['last_steps']:,}."
        )
        yield ""
    recipe = card.get("recipe") or {}
    if hardware := _hardware(card.get("entry", {}), recipe):
        yield f"{hardware} On which machine and how long: `belle runs {card['name']}`, where it was trained."
        yield ""
    if recipe:
        yield from _settings(recipe)
    if card.get("gptq"):
        yield ""
        yield f"Its 4-bit twin, `snakemake {_target(card)}-gptq`:"
        yield ""
        yield from _settings(card["gptq"])
    for path, report in card["reports"].items():
        plain = {key: value for key, value in report.items() if isinstance(value, int | float | str)}
        yield ""
        yield f"`{path}`:"
        yield ""
        yield from _settings(plain)


def _hardware(entry: Mapping[str, Any], recipe: Mapping[str, Any]) -> str:
    """What a training asks for; empty where nothing was trained."""
    kind, gpus = entry.get("kind"), int(entry.get("gpus", 0))
    if kind not in ("scratch", "pretrained", "trained", "preferred", "reinforced"):
        return ""
    if gpus:
        return f"Hardware: {gpus} GPU(s)."
    processes, threads = int(recipe.get("devices", 1)), recipe.get("threads", 1)
    return f"Hardware: the CPU, {processes} process(es), {threads} thread(s) each."


def _scores(card: Mapping[str, Any]) -> Iterator[str]:
    if not card["scores"]:
        return
    yield "| model | evaluation set | Score | Score_w/o_others | n | unparsed | shown in |"
    yield "| --- | --- | --: | --: | --: | --: | --- |"
    for row in card["scores"]:
        error = "" if row["stderr"] is None else f" ± {row['stderr']:.3f}"
        yield (
            f"| {row['model']} | {row['evaluation']} | {_short(row['Score'])}{error} | "
            f"{_short(row['Score_w/o_others'])} | {row['n']} | {row['unparsed']} | {_pages(row['pages'])} |"
        )
    yield ""
    yield "From 0 to 1, by a judge; ± is the standard error over questions."


def _pages(paths: list[str]) -> str:
    return ", ".join(f"[{path}](../../{path})" for path in paths)


def _short(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _licence(card: Mapping[str, Any]) -> Iterator[str]:
    if not card["terms"]:
        yield "Nothing that it was made of names a licence."
        return
    yield "What its weights and data were made of asks for, all of it together:"
    yield ""
    for name, says in card["terms"].items():
        yield f"- **{name}**: {says}"


def _not_for(card: Mapping[str, Any]) -> Iterator[str]:
    if card["research_only"]:
        yield "- Anything but research: a licence above rules it out."
    if card["unknown"]:
        yield f"- Being handed on, before the licence is known of what is `{', '.join(card['unknown'])}` above."
    for text in NOT_FOR:
        yield f"- {text}"


def _settings(settings: Mapping[str, Any]) -> Iterator[str]:
    yield "| setting | value |"
    yield "| --- | --- |"
    for key, value in settings.items():
        text = ", ".join(map(str, value)) if isinstance(value, list) else "yes" if value is True else str(value)
        yield f"| {key} | {text.replace('|', chr(92) + '|') or '(empty)'} |"
