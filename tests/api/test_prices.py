"""The price table and the bounds that worst cases are made of."""

import json
from datetime import date
from pathlib import Path

import pytest

from belle.api.client import Request, ask
from belle.api.ledger import Ledger
from belle.api.prices import FREE, TABLE_DATE, TABLE_SOURCE, Price, Prices, load, most_tokens
from belle.api.provider import provider
from belle.build.code import Code
from belle.errors import InputError

OPENAI = "https://api.openai.com/v1"


def test_the_table_names_its_date_and_source_and_both_rates_of_each_model() -> None:
    assert date.fromisoformat(TABLE_DATE)
    assert len(TABLE_SOURCE) > 20
    prices = load()
    assert {"gpt-3.5-turbo", "gpt-3.5-turbo-0301", "gpt-3.5-turbo-0613", "gpt-4o-mini"} <= set(prices.table)
    assert all(0 < price.prompt <= price.completion for price in prices.table.values())


def test_no_stage_reaches_the_table_so_a_new_price_reruns_nothing(project: Path) -> None:
    code = Code(project / "src", project / "requirements.lock")
    for stage in ("generate", "judge"):
        reached = code.reached(("belle.stages", stage))[0]["belle.api.prices"]
        assert "Prices" in reached
        assert not reached & {"TABLE", "load"}


def test_a_dollar_is_counted_per_million_tokens() -> None:
    assert Price(0.5, 1.5).usd(1_000_000, 2_000_000) == 3.5


def test_ones_own_price_goes_first_and_ones_own_server_is_free() -> None:
    prices = load({"gpt-4o": (1.0, 2.0), "offline-teacher": (3.0, 4.0)})
    assert prices.of(OPENAI, "gpt-4o") == Price(1.0, 2.0)
    assert prices.of("offline-teacher/1", "offline-teacher") == Price(3.0, 4.0)
    assert prices.of("offline-teacher/1", "any") == prices.of("http://127.0.0.1:8000/v1", "any") == FREE
    assert prices.of("https://elsewhere.example/v1", "any") is None
    with pytest.raises(InputError, match=r"budget\.prices"):
        prices.required("https://elsewhere.example/v1", "any")


def test_prices_pass_through_a_pipe() -> None:
    prices = load({"m": (1.0, 2.0)})
    assert Prices.from_json(json.loads(json.dumps(prices.as_json()))) == prices


def test_the_bounds_hold_for_a_byte_level_vocabulary_and_for_the_teacher(tmp_path: Path) -> None:
    """A vocabulary without a single merge has a token per byte; none can need more."""
    from tokenizers import Tokenizer
    from tokenizers.models import BPE
    from tokenizers.pre_tokenizers import ByteLevel

    letters = ByteLevel.alphabet()
    tokenizer = Tokenizer(BPE({letter: number for number, letter in enumerate(sorted(letters))}, []))
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)
    texts = ["把“你好”译成英文", "🀄️ emoji 👩‍👩‍👧", "plain ascii", ""]
    requests = [Request("m", [{"role": "user", "content": text}], {"max_tokens": 9}) for text in texts]
    for text, request in zip(texts, requests, strict=True):
        assert len(tokenizer.encode(text).ids) <= most_tokens(request.identity("e"))[0]
    with provider("offline", "") as api, Ledger(tmp_path) as ledger:
        replies = ask(
            requests, ledger=ledger, base_url=api.base_url, endpoint=api.endpoint, api_key=api.api_key, in_flight=4,
            timeout_s=30,
        )  # fmt: skip
    for reply, request in zip(replies, requests, strict=True):
        prompt, completion = most_tokens(request.identity("e"))
        assert reply.usage["prompt_tokens"] <= prompt
        assert reply.usage["completion_tokens"] <= completion == 9
