"""The number in flight follows what the server bears."""

import asyncio
import time
from pathlib import Path

import pytest
from aiohttp import web
from stub_api import StubApi
from test_client import sent, some

from belle.api.pace import Pace
from belle.errors import BelleError


def test_a_429_halves_the_number_once_and_replies_bring_it_back() -> None:
    async def run() -> None:
        pace = Pace(64, lambda: None, asyncio.Event())
        sent_at = [await pace.enter() for _ in range(64)]
        assert pace.room == 0
        for moment in sent_at:
            pace.leave(moment, slower=True, replied=False)  # all were sent before the first was refused
        assert pace.limit == 32
        rounds = 0
        while pace.limit < 64:
            rounds += 1
            moments = [await pace.enter() for _ in range(pace.limit)]
            for moment in moments:
                pace.leave(moment, slower=False, replied=True)
        assert 14 <= rounds <= 18  # two more in flight with every round
        for _ in range(20):
            pace.leave(await pace.enter(), slower=True, replied=False)
        assert pace.limit == 1
        assert pace.room == 1

    asyncio.run(run())


def test_who_waits_for_a_turn_gets_it_in_order_also_when_another_gives_up() -> None:
    async def run() -> None:
        pace = Pace(1, lambda: None, asyncio.Event())
        order: list[int] = []

        async def work(number: int) -> None:
            moment = await pace.enter()
            order.append(number)
            await asyncio.sleep(0)
            pace.leave(moment, slower=False, replied=True)

        first = await pace.enter()
        tasks = [asyncio.create_task(work(number)) for number in range(5)]
        await asyncio.sleep(0)
        tasks[1].cancel()
        pace.leave(first, slower=False, replied=True)
        tasks[0].cancel()  # its turn has come, and it gives it on
        await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 5)
        assert order == [2, 3, 4]
        assert pace.room == 1

    asyncio.run(run())


def test_a_hold_ends_when_the_sender_is_told_to_stop() -> None:
    async def run() -> None:
        stop = asyncio.Event()
        pace = Pace(4, lambda: None, stop)
        pace.hold(60)
        assert pace.room == 0
        entering = asyncio.create_task(pace.enter())
        await asyncio.sleep(0.05)
        assert not entering.done()
        stop.set()
        await asyncio.wait_for(entering, 5)

    asyncio.run(run())


class Narrow(StubApi):
    """Bears eight requests at a time, and refuses the ninth."""

    refused = 0

    async def _post(self, request: web.Request) -> web.StreamResponse:
        if self.under_way >= 8:
            self.refused += 1
            return web.Response(status=429)
        return await super()._post(request)


def test_a_server_that_bears_eight_at_a_time_gets_few_more(tmp_path: Path) -> None:
    with Narrow(delay_s=0.02) as stub:
        assert len(sent(stub, tmp_path, some(400), in_flight=64, max_retries=30)) == 400
        assert set(stub.answered.values()) == {1}
        # without giving way, all 64 would go on asking: thousands of refusals for 400 replies
        assert stub.refused < 400


def test_a_rate_limit_that_names_its_wait_uses_up_no_attempt(tmp_path: Path) -> None:
    def fault(earlier: int) -> web.Response | None:
        return web.Response(status=429, headers={"retry-after-ms": "30"}) if earlier < 6 else None

    with StubApi(fault=fault) as stub:
        assert sent(stub, tmp_path, some(2), max_retries=1) == ["答:第0问", "答:第1问"]
        assert set(stub.posts.values()) == {7}


def test_a_wait_after_which_much_may_have_been_paid_uses_up_attempts(tmp_path: Path) -> None:
    with StubApi(fault=lambda n: web.Response(status=503, headers={"retry-after-ms": "20"})) as stub:
        with pytest.raises(BelleError, match=r"HTTP 503.*\(4 attempts\)"):
            sent(stub, tmp_path, some(1), max_retries=3)
        assert stub.posts.total() == 4


def test_patience_has_an_end(tmp_path: Path) -> None:
    with StubApi(fault=lambda n: web.Response(status=429, headers={"retry-after": "86400"})) as stub:
        begin = time.monotonic()
        with pytest.raises(BelleError, match="asks to wait 86400 s, which is longer than we do"):
            sent(stub, tmp_path, some(1), patience_s=2)
        assert time.monotonic() - begin < 5
    with StubApi(fault=lambda n: web.Response(status=429, headers={"retry-after-ms": "50"})) as stub:
        begin = time.monotonic()
        with pytest.raises(BelleError, match="HTTP 429"):
            sent(stub, tmp_path, some(1), patience_s=0.5)
        assert 0.3 < time.monotonic() - begin < 5


def test_a_server_that_points_elsewhere_is_not_followed_with_the_key(tmp_path: Path) -> None:
    with StubApi() as other:
        away = {"Location": f"{other.url}/chat/completions"}
        moved = StubApi(fault=lambda n: web.Response(status=307, headers=away))
        with moved as stub, pytest.raises(BelleError, match="HTTP 307: the server points to"):
            sent(stub, tmp_path, some(1))
        assert not other.posts
