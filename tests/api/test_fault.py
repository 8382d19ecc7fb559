"""What a server's refusal means, read from statuses, bodies and headers as servers send them."""

import json
import time
from email.utils import formatdate

import pytest

from belle.api.fault import CONTENT_FILTER, CONTEXT_LENGTH, of_status, retry_after


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after": " 2 "}, 2.0),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after": "-3"}, 0.0),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "Sat, 99 Nov 2026"}, None),
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "6m0s"}, 360.0),
        ({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "20ms"}, 0.02),
        ({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "1h2m3.5s"}, 3723.5),
        ({"x-ratelimit-remaining-tokens": "12", "x-ratelimit-reset-tokens": "9s"}, None),
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "eternity"}, None),
        ({}, None),
    ],
)
def test_a_wait_is_read_in_every_form(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers) == (None if seconds is None else pytest.approx(seconds))


def test_a_date_to_wait_for_is_read_and_one_that_is_over_is_no_wait() -> None:
    assert retry_after({"retry-after": formatdate(time.time() + 90, usegmt=True)}) == pytest.approx(90, abs=2)
    assert retry_after({"retry-after": formatdate(time.time() - 90, usegmt=True)}) == 0.0


@pytest.mark.parametrize(
    ("status", "error", "reason"),
    [
        (400, {"code": "context_length_exceeded", "message": "too long"}, CONTEXT_LENGTH),
        (400, {"message": "This model's maximum context length is 4097 tokens, you asked for 5000"}, CONTEXT_LENGTH),
        (422, {"message": "the prompt is too long: 9000 tokens > 8192"}, CONTEXT_LENGTH),
        (413, "context window exceeded", CONTEXT_LENGTH),
        (400, {"code": "content_filter", "message": "filtered"}, CONTENT_FILTER),
        (400, {"code": "400", "innererror": {"code": "ResponsibleAIPolicyViolation"}, "message": "no"}, CONTENT_FILTER),
        (400, {"message": "'temperature' must be a number"}, ""),
        (401, {"message": "wrong key, see our content policy"}, ""),
        (500, {"message": "the context length of our patience is reached"}, ""),
    ],
)
def test_what_concerns_one_request_alone_is_told_from_the_rest(status: int, error: object, reason: str) -> None:
    found = of_status(status, json.dumps({"error": error}), {})
    assert found.reason == reason
    assert found.again is (status == 500)
    assert found.body is None


@pytest.mark.parametrize(
    ("status", "again", "slower", "paid"),
    [
        (408, True, False, "no"), (409, True, False, "no"), (429, True, True, "no"), (500, True, False, "possibly"),
        (503, True, True, "possibly"), (404, False, False, "no"), (307, False, False, "no"),
    ],
)  # fmt: skip
def test_a_status_says_whether_to_try_again_and_slower(status: int, again: bool, slower: bool, paid: str) -> None:
    found = of_status(status, "<html>no</html>", {"location": "https://elsewhere.example/v1"})
    assert (found.again, found.slower, found.paid) == (again, slower, paid)
    assert ("elsewhere.example" in found.what) is (status == 307)


@pytest.mark.parametrize("raw", ["", "null", "[]", "3", '"x"', '{"error": null}', '{"error": [1]}', '{"message": "m"}'])
def test_any_body_of_a_refusal_is_read(raw: str) -> None:
    assert of_status(400, raw, {}).what.startswith("HTTP 400: ")


@pytest.mark.parametrize("field", ["code", "type"])
def test_a_used_up_quota_is_not_waited_for(field: str) -> None:
    found = of_status(429, json.dumps({"error": {field: "insufficient_quota", "message": "pay"}}), {"retry-after": "9"})
    assert not found.again
