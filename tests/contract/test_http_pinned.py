"""Requests to hosts that strangers choose: the address that is connected to is the one checked."""

from collections.abc import AsyncIterator, Awaitable
from ipaddress import ip_address

import pytest

from sandbox.http_server import HttpServer, Request, Response
from sinks.http import NoConnectionError, NotSentError
from sinks.http_pinned import (
    AGAIN_S,
    FRESH_S,
    ForbiddenAddressError,
    PinnedPools,
    address_fault,
)
from sinks.webpush_endpoint import parse_endpoint

OK = Response(body=b"hi")


class Resolver:
    """Answers in turn; the last answer stays. An exception is raised."""

    def __init__(self, *answers: list[str] | OSError) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    async def __call__(self, host: str, port: int) -> list[str]:
        del port
        self.asked.append(host)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, OSError):
            raise answer
        return answer


class Stage:
    """A server on this machine under any name, and pools that reach it."""

    def __init__(self) -> None:
        self.server = HttpServer(self.answer)
        self.port = 0
        self.requests: list[str] = []
        self.now_s = 0.0
        self.pools: list[PinnedPools] = []

    def answer(self, request: Request) -> Response:
        self.requests.append(request.path)
        return OK

    async def open(self, resolver: Resolver) -> PinnedPools:
        pools = PinnedPools(
            {"connections": 2, "prior_knowledge": True, "connect_timeout_s": 2.0},
            longest_s=20.0,
            resolve=resolver,
            monotonic=lambda: self.now_s,
        )
        await pools.open()
        self.pools.append(pools)
        return pools

    async def post(
        self, pools: PinnedPools, host: str = "push.example.com", *, private: bool = True
    ) -> bytes:
        url = f"http://{host}:{self.port}/x"
        endpoint = parse_endpoint(url)
        assert endpoint is not None
        answer = await pools.post(endpoint, url, private_network=private, headers={}, body=b"{}")
        return answer.body


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    made = Stage()
    made.port = await made.server.start()
    yield made
    for pools in made.pools:
        await pools.close()
    await made.server.stop()


async def test_a_name_is_connected_to_by_the_address_that_was_checked(stage: Stage) -> None:
    """The name means nothing to the system's resolver: only our answer can lead to the server."""
    resolver = Resolver(["127.0.0.1"])
    pools = await stage.open(resolver)
    assert [await stage.post(pools) for _ in range(3)] == [b"hi"] * 3
    assert resolver.asked == ["push.example.com"]


async def test_a_private_address_is_refused_and_nothing_is_sent(stage: Stage) -> None:
    """Unless the app says that its services lie in a private network."""
    pools = await stage.open(Resolver(["127.0.0.1"]))
    with pytest.raises(ForbiddenAddressError, match=r"127\.0\.0\.1 is a private address"):
        await stage.post(pools, private=False)
    assert await stage.post(pools) == b"hi"
    assert len(stage.requests) == 1


async def test_a_name_that_moves_to_a_forbidden_address_reaches_nobody(stage: Stage) -> None:
    """DNS rebinding: what was checked stays pinned; a new address is checked, and refused."""
    resolver = Resolver(["127.0.0.1"], ["169.254.169.254"])
    pools = await stage.open(resolver)
    assert [await stage.post(pools) for _ in range(3)] == [b"hi"] * 3
    assert len(resolver.asked) == 1
    stage.now_s += FRESH_S
    for _ in range(3):
        with pytest.raises(ForbiddenAddressError, match=r"169\.254\.169\.254"):
            await stage.post(pools)
    assert len(resolver.asked) == 2
    assert len(stage.requests) == 3


async def test_private_addresses_among_others_are_left_out(stage: Stage) -> None:
    """With one good address only that one is connected to."""
    pools = await stage.open(Resolver(["169.254.169.254", "127.0.0.1"]))
    assert await stage.post(pools) == b"hi"


async def test_an_address_in_the_url_is_not_looked_up(stage: Stage) -> None:
    """It was named by the app, or refused before."""
    resolver = Resolver(OSError())
    pools = await stage.open(resolver)
    assert await stage.post(pools, "127.0.0.1") == b"hi"
    assert resolver.asked == []


async def test_a_name_is_looked_up_again_after_a_while(stage: Stage) -> None:
    """Connections stay while the addresses do; a failing resolver changes nothing."""
    resolver = Resolver(["127.0.0.1"], OSError(), ["127.0.0.1", "127.0.0.2"])
    pools = await stage.open(resolver)
    for _ in range(4):
        assert await stage.post(pools) == b"hi"
        stage.now_s += FRESH_S
    assert len(resolver.asked) == 4


async def test_without_any_answer_it_is_retried_later(stage: Stage) -> None:
    """Not sent, and the resolver is not asked for each message."""
    resolver = Resolver(OSError(), ["127.0.0.1"])
    pools = await stage.open(resolver)
    for _ in range(3):
        with pytest.raises(NotSentError, match="cannot be resolved"):
            await stage.post(pools)
    assert len(resolver.asked) == 1
    stage.now_s += AGAIN_S
    assert await stage.post(pools) == b"hi"


async def test_after_a_lost_connection_another_address_is_tried(stage: Stage) -> None:
    """Soon, and not for each of the messages that fail meanwhile."""
    resolver = Resolver(["127.0.0.9", "127.0.0.1"])
    pools = await stage.open(resolver)
    both = [await _outcome(stage.post(pools)) for _ in range(6)]
    assert NoConnectionError in both
    assert len(resolver.asked) == 1
    stage.now_s += AGAIN_S
    assert await _outcome(stage.post(pools)) in {bytes, NoConnectionError}
    assert len(resolver.asked) == 2
    stage.now_s += AGAIN_S
    assert bytes in [await _outcome(stage.post(pools)) for _ in range(4)]


async def _outcome(asked: Awaitable[bytes]) -> type:
    try:
        return type(await asked)
    except NotSentError as error:
        return type(error)


async def test_closed_pools_send_nothing(stage: Stage) -> None:
    """As with the pool of one host."""
    pools = await stage.open(Resolver(["127.0.0.1"]))
    await pools.close()
    with pytest.raises(NotSentError, match="not open"):
        await stage.post(pools)


@pytest.mark.parametrize(
    ("text", "public", "private"),
    [
        ("93.184.215.14", True, True),
        ("2606:2800:21f::1", True, True),
        ("10.1.2.3", False, True),
        ("172.31.0.1", False, True),
        ("192.168.1.1", False, True),
        ("100.64.0.1", False, True),
        ("127.0.0.1", False, True),
        ("::1", False, True),
        ("fd00::1", False, True),
        ("169.254.169.254", False, False),
        ("fe80::1", False, False),
        ("0.0.0.0", False, False),  # noqa: S104 - no server is bound here
        ("::", False, False),
        ("224.0.0.1", False, False),
        ("239.1.1.1", False, False),
        ("ff02::1", False, False),
        ("255.255.255.255", False, False),
        ("198.18.0.1", False, False),
        ("192.0.2.1", False, False),
        ("240.0.0.1", False, False),
        ("::ffff:127.0.0.1", False, True),
        ("::ffff:169.254.169.254", False, False),
        ("64:ff9b::7f00:1", False, True),
        ("64:ff9b::a9fe:a9fe", False, False),
        ("2002:7f00:1::", False, True),
        ("64:ff9b::5db8:d70e", True, True),
    ],
)
def test_which_addresses_are_connected_to(text: str, *, public: bool, private: bool) -> None:
    """Public ones; private ones where the app says so; link-local, multicast, reserved never."""
    address = ip_address(text)
    assert (address_fault(address, private_network=False) is None) == public
    assert (address_fault(address, private_network=True) is None) == private
