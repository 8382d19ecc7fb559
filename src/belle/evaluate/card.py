"""Stage ``card``: what a model is, in one page and as JSON, from what it was made of and what was measured of it.

Nothing in it depends on when, where or how fast anything ran: that is kept beside the results (``belle runs``).
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

from belle.errors import InputError
from belle.evaluate import licences
from belle.evaluate.card_page import page
from belle.files import atomic_file, open_input, read_text
from belle.weights.digest import digest_of

SHAPE = (
    "architectures", "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "n_layer",
    "num_attention_heads", "n_head", "num_key_value_heads", "max_position_embeddings", "tie_word_embeddings",
)  # fmt: skip
"""What a card says of config.json, where it has it."""

OVERRIDE = "override."
"""What flags of an entry begin with that go before its recipe's."""

LAST_SHARE = 0.1
"""The share of a training's last steps whose mean loss is given."""


def card(
    *,
    name: str,
    model: Path,
    out_md: Path,
    out_json: Path,
    described: list[str],
    cards: list[Path],
    data: list[Path],
    raw: list[Path],
    cleaned: list[Path],
    curve: list[Path],
    reports: list[Path],
    scores: list[Path],
) -> None:
    """Write a model's card: what it is and rests on, its data with digests, settings, loss, scores and licence.

    Args:
        model: The model's folder; its tensors are counted and hashed.
        described: Settings in groups, each after ``@entry``, ``@recipe``, ``@dataset``, ``@texts``, ``@asked``,
            ``@gptq`` or ``@pages``, as flags: ``@entry --kind trained --base tiny-base @recipe --lora_r 0 …``. The
            registry says the same. ``@pages`` names for each score file the pages that show it.
        cards: The JSON of the cards of what lies directly under it.
        data: The files that it was trained on.
        raw, cleaned: The reports of its data set before and after cleaning; at most one each.
        curve: ``step,loss`` of its training; at most one.
        reports: What the stages that made it report: JSON.
        scores: Its score files, and those of its 4-bit twin.

    Raises:
        InputError: a file is missing or is another than is meant.
    """
    groups = parse(described)
    pages = groups.pop("pages", {})
    if "recipe" in groups:  # an entry's own settings go before those of its recipe
        before = {key: value for key, value in groups.get("entry", {}).items() if key.startswith(OVERRIDE)}
        groups["recipe"] |= {key.removeprefix(OVERRIDE): value for key, value in before.items()}
    entry, asked = groups.get("entry", {}), groups.get("asked", {})
    raws = [_json(path, "report of raw rows") for path in raw]
    rests_on = [_under(_json(path, "card"), path) for path in cards]
    of_data = licences.of_data(raws[0], asked) if raws else []
    if entry.get("kind") == "scratch":
        of_data = [licences.OURS]  # its corpus is written by a stage
    own = [*licences.of_base(entry), *of_data]
    if entry.get("kind") in ("pretrained", "expanded"):
        own.append(licences.OURS if "ours" in groups.get("texts", {}) else licences.UNKNOWN)
    every = sorted({*own, *(licence for item in rests_on for licence in item["licences"])})
    found: dict[str, Any] = {
        "name": name,
        **groups,
        "weights": weights_of(model),
        "rests_on": rests_on,
        "data": [file_of(path) for path in data],
        "raw_report": raws[0] if raws else {},
        "cleaning": cleaning_of(cleaned[0]) if cleaned else {},
        "training": curve_of(curve[0]) if curve else {},
        "reports": {str(path): _json(path, "report") for path in reports},
        "scores": [{**_score(path), "pages": _several(pages.get(str(path), []))} for path in scores],
        "licences": every,
        "licences_of_data": of_data,
        **licences.together(every),
    }
    text = page(found)
    with atomic_file(out_json) as file:
        file.write(json.dumps(found, ensure_ascii=False, indent=2) + "\n")
    with atomic_file(out_md) as file:
        file.write(text)


def parse(words: list[str]) -> dict[str, dict[str, Any]]:
    """Groups of flags as mappings: no value is True, one is text, several are a list.

    Raises:
        InputError: a word outside of any group, or a value without a flag.
    """
    groups: dict[str, dict[str, Any]] = {}
    at: dict[str, Any] | None = None
    flag = ""
    for word in words:
        if word.startswith("@"):
            at, flag = groups.setdefault(word[1:], {}), ""
        elif at is None or not (flag or word.startswith("--")):
            raise InputError(f"{word!r} belongs to no flag of a group", where="card",
                             fix="write it as `@entry --kind trained …`")  # fmt: skip
        elif word.startswith("--"):
            flag = word[2:]
            at[flag] = True
        else:
            before = at[flag]
            at[flag] = word if before is True else [*(before if isinstance(before, list) else [before]), word]
    for group in groups.values():
        for key in ("adapters", "texts", "sets"):
            if isinstance(group.get(key), str):
                group[key] = [group[key]]
    return {name: group for name, group in groups.items() if group}


def _several(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else list(value)


def weights_of(model: Path) -> dict[str, Any]:
    """Tensors, parameters, bytes, types and digest of a model's weights, and its shape by config.json."""
    digest = digest_of(model)
    types = Counter[str]()
    for tensor in digest.tensors:
        types[str(tensor.spec.dtype).removeprefix("torch.")] += tensor.spec.numel
    config = _json(model / "config.json", "config of a model") if (model / "config.json").is_file() else {}
    return {
        "parameters": sum(types.values()),
        "tensors": len(digest.tensors),
        "bytes": digest.bytes,
        "types": dict(sorted(types.items())),
        "sha256": digest.sha256,
        "shape": {key: config[key] for key in SHAPE if key in config},
    }


def file_of(path: Path) -> dict[str, Any]:
    """A data file's lines, size and SHA-256."""
    sha256, lines, size = hashlib.sha256(), 0, 0
    with open_input(path, "training data") as file:
        while block := file.read(1 << 20):
            sha256.update(block)
            lines += block.count(b"\n")
            size += len(block)
    return {"path": str(path), "lines": lines, "bytes": size, "sha256": sha256.hexdigest()}


def cleaning_of(path: Path) -> dict[str, Any]:
    """What cleaning kept and removed, and what overlapped with evaluation sets."""
    report = _json(path, "report of clean rows")
    try:
        reasons = {reason: count for reason, count in report["reasons"].items() if count}
        checked = report.get("contamination", {})
        return {
            "rows_in": report["rows_in"],
            "rows_out": report["rows_out"],
            "removed": reasons,
            "checked_against": checked.get("checked", []),
            "contaminated": checked.get("evaluation_sets", {}),
        }
    except (KeyError, AttributeError) as error:
        raise _other(path, "report of `belle clean`", error) from None


def curve_of(path: Path) -> dict[str, Any]:
    """How many steps a training took, and its loss at the beginning and at the end."""
    lines = read_text(path, "loss curve", longest=1 << 28).splitlines()
    try:
        if lines[0] != "step,loss":
            raise ValueError(f"begins with {lines[0]!r}")
        losses = [float(line.split(",")[1]) for line in lines[1:]]
        last = losses[-max(1, round(len(losses) * LAST_SHARE)) :]
        return {
            "steps": len(losses),
            "first_loss": round(losses[0], 4),
            "mean_loss_of_last_steps": round(sum(last) / len(last), 4),
            "last_steps": len(last),
        }
    except (IndexError, ValueError) as error:
        raise _other(path, "loss curve", error) from None


def _score(path: Path) -> dict[str, Any]:
    found = _json(path, "scores")
    try:
        return {
            "model": found["model"],
            "evaluation": path.parent.name,
            "n": found["n"],
            "Score": found["Score"],
            "stderr": found["stderr"],
            "Score_w/o_others": found["Score_w/o_others"],
            "unparsed": found["unparsed"],
        }
    except KeyError as error:
        raise _other(path, "score file", error) from None


def _under(found: dict[str, Any], path: Path) -> dict[str, Any]:
    """What a card says of one that lies under it, and of what lies under that."""
    try:
        return {
            "name": found["name"],
            "kind": found.get("entry", {}).get("kind", ""),
            "from": found.get("entry", {}).get("hub", ""),
            "parameters": found["weights"]["parameters"],
            "sha256": found["weights"]["sha256"],
            "data": found["data"],
            "licences": found["licences"],
            "rests_on": found["rests_on"],
        }
    except (KeyError, TypeError) as error:
        raise _other(path, "card", error) from None


def _json(path: Path, what: str) -> dict[str, Any]:
    try:
        found = json.loads(read_text(path, what, longest=1 << 28))
        if not isinstance(found, dict):
            raise ValueError("no object")
        return found
    except ValueError as error:
        raise _other(path, what, error) from None


def _other(path: Path, what: str, error: Exception) -> InputError:
    return InputError(
        f"no {what}: {type(error).__name__}: {error}",
        where=str(path),
        cause="another file, or one of an older version",
        fix="build it again with `snakemake`",
    )
