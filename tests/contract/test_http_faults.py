"""What HTTP/2 faults make of deliveries: each ends classified, none is lost, none sent unseen.

A real sink over TLS against the sandbox's server, which counts by apns-id what it handled.
"""

import asyncio
import socket
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Mapping

import msgspec
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from sandbox.http_server import Action, HttpServer, Request, Response
from sandbox.tls import Authority, make_tls
from schemas.outcomes import Reason, Status
from schemas.pipeline import Answer, Content, Delivery, Platform, Priority
from sinks.apns import ApnsSink
from sinks.credentials import ApnsCredential, Credentials
from sinks.http import HttpPool

ENDS_S = 10.0
PAUSE_S = 0.02
SOON_S = 0.005
INTERNAL_ERROR, REFUSED_STREAM = 2, 7  # RFC 9113 section 7
REFUSED_BODY = b'{"reason":"InternalServerError"}'
CONTENT = msgspec.msgpack.encode(Content("News", "Something happened"))

Plan = Callable[[int, Request], Response]
Answers = Mapping[str, list[Answer]]


def _private_pem() -> str:
    return (
        ec.generate_private_key(ec.SECP256R1())
        .private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        .decode()
    )


class Provider:
    """A provider that goes by a plan, on a port that stays over restarts.

    handled: how often each delivery was accepted. under_way: open requests, and most_under_way.
    """

    def __init__(self, authority: Authority) -> None:
        self.authority = authority
        self.plan: Plan = lambda _number, _request: Response(delay_s=SOON_S)
        self.handled: Counter[str] = Counter()
        self.requests = 0
        self.under_way = self.most_under_way = 0
        self.port = 0
        self._server: HttpServer | None = None

    async def start(self, host: str = "127.0.0.1", *, by: Authority | None = None) -> None:
        """Listen with a new certificate by the authority, or another one."""
        tls, _ = make_tls(authority=by or self.authority)
        await self._listen(host, tls)

    async def _listen(self, host: str, tls: ssl.SSLContext) -> None:
        self._server = HttpServer(self._handle, tls=tls)
        self.port = await self._server.start(host, self.port)

    async def stop(self) -> None:
        """End, with every connection."""
        if self._server is not None:
            await self._server.stop()
            self._server = None

    def _handle(self, request: Request) -> Response:
        self.requests += 1
        response = self.plan(self.requests, request)
        if response.status == 200 and response.reset_code != REFUSED_STREAM:
            self.handled[request.headers["apns-id"]] += 1
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        loop = asyncio.get_running_loop()
        loop.call_later(response.delay_s, self._answered)
        return response

    def _answered(self) -> None:
        self.under_way -= 1


class World:
    """A provider and a sink that knows it by name."""

    def __init__(self) -> None:
        self.authority = Authority()
        self.provider = Provider(self.authority)
        self.sink: ApnsSink

    async def start(self, *, connections: int = 1) -> None:
        await self.provider.start()
        credential = ApnsCredential("TEAMA", "KEYA", _private_pem(), "com.a")
        self.sink = ApnsSink(
            credentials=Credentials({("t", "a"): credential}),
            now=lambda: 1_800_000_000.0,
            production_url=f"https://localhost:{self.provider.port}",
            sandbox_url="https://127.0.0.1:1",
            ca_pem=self.authority.pem,
            connections=connections,
            request_timeout_s=5.0,
            connect_timeout_s=2.0,
        )
        await self.sink.open()

    async def send(self, numbers: Iterable[int]) -> Answers:
        """Send; send again what came back as RETRY, as the timers would. Gives all answers."""
        answers: dict[str, list[Answer]] = {}
        await asyncio.gather(*(self._send(number, answers) for number in numbers))
        return answers

    async def send_once(self, number: int) -> Answer:
        return await self.sink.send(delivery(number))

    async def _send(self, number: int, answers: dict[str, list[Answer]]) -> None:
        one = delivery(number)
        found = answers.setdefault(one.delivery_id, [])
        async with asyncio.timeout(ENDS_S):
            while True:
                found.append(await self.sink.send(one))
                if found[-1].status is not Status.RETRY:
                    return
                await asyncio.sleep(PAUSE_S)  # what else a timer does

    async def stop(self) -> None:
        await self.sink.close()
        await self.provider.stop()


@pytest.fixture
async def world() -> AsyncIterator[World]:
    made = World()
    await made.start()
    yield made
    await made.stop()


def delivery(number: int) -> Delivery:
    return Delivery(
        delivery_id=f"6f1c9d5e-0d0b-4f6d-9f3e-{number:012x}",
        message_id="m",
        tenant="t",
        app="a",
        user_id="u",
        device_id="d",
        platform=Platform.APNS,
        priority=Priority.NORMAL,
        category="c",
        type="x",
        token=f"{number:064x}",
        content=CONTENT,
        accepted_at_ms=0,
        created_at_ms=0,
        registered_at_ms=0,
    )


def check(answers: Answers, provider: Provider) -> Counter[str]:
    """Hold the answers against what the provider handled; give how many ended how.

    SENT was handled, and nothing was handled twice: an answer that said "not sent" was true.
    """
    last = {name: found[-1] for name, found in answers.items()}
    assert {one.status for one in last.values()} <= {Status.SENT, Status.UNKNOWN}
    sent = {name for name, one in last.items() if one.status is Status.SENT}
    unknown = last.keys() - sent
    assert {name for name in provider.handled if name in last} - unknown == sent
    assert max(provider.handled.values()) == 1
    return Counter(one.status for one in last.values())


@pytest.mark.parametrize("connections", [1, 3])
async def test_a_graceful_goaway_costs_nothing(connections: int) -> None:
    """However often connections are drained, each delivery is sent, once, at the first try."""
    world = World()
    await world.start(connections=connections)
    world.provider.plan = lambda number, _: Response(
        action=Action.GOAWAY if number % 25 == 0 else Action.ANSWER, delay_s=SOON_S
    )
    answers = await world.send(range(150))
    await world.stop()
    assert check(answers, world.provider) == {Status.SENT: 150}
    assert sum(map(len, answers.values())) == 150


async def test_a_goaway_with_an_error_leaves_only_open_requests_unknown(world: World) -> None:
    """What was under way is UNKNOWN, never RETRY; what comes later is sent."""
    world.provider.plan = lambda number, _: Response(
        action=Action.GOAWAY if number == 40 else Action.ANSWER,
        goaway_code=INTERNAL_ERROR,
        delay_s=SOON_S,
    )
    ends = check(await world.send(range(100)), world.provider)
    assert ends[Status.SENT] >= 1  # the first, which went alone
    assert check(await world.send(range(100, 150)), world.provider) == {Status.SENT: 50}


async def test_fewer_streams_in_mid_connection(world: World) -> None:
    """A lowered MAX_CONCURRENT_STREAMS makes requests wait their turn, and fails none."""
    await world.send_once(0)
    world.provider.plan = lambda number, _: Response(
        max_concurrent_streams=4 if number == 30 else 0, delay_s=SOON_S
    )
    answers = await world.send(range(1, 100))
    assert check(answers, world.provider) == {Status.SENT: 99}
    world.provider.most_under_way = 0
    assert check(await world.send(range(100, 200)), world.provider) == {Status.SENT: 100}
    assert world.provider.most_under_way == 4


async def test_a_stream_reset_before_its_answer_harms_no_other(world: World) -> None:
    """The reset one is UNKNOWN; all others on its connection are sent."""
    world.provider.plan = lambda number, _: Response(
        action=Action.RESET if number % 10 == 0 else Action.ANSWER, delay_s=SOON_S
    )
    answers = await world.send(range(100))
    assert check(answers, world.provider) == {Status.SENT: 90, Status.UNKNOWN: 10}
    lost = [found[-1] for found in answers.values() if found[-1].status is Status.UNKNOWN]
    assert {one.reason for one in lost} == {Reason.CONNECTION_LOST}


async def test_a_refused_stream_is_sent_again(world: World) -> None:
    """REFUSED_STREAM says that nobody looked: each is sent once in the end."""
    await world.send_once(0)
    world.provider.plan = lambda number, _: (
        Response(action=Action.RESET, reset_code=REFUSED_STREAM)
        if number % 10 == 0
        else Response(delay_s=SOON_S)
    )
    answers = await world.send(range(1, 101))
    assert check(answers, world.provider) == {Status.SENT: 100}
    assert world.provider.requests > 101


async def test_a_reset_in_mid_body_keeps_what_the_status_says(world: World) -> None:
    """An acceptance whose body breaks off is SENT; a refusal without its reason is UNKNOWN."""
    await world.send_once(0)
    cut = Action.RESET_BODY
    world.provider.plan = lambda number, _: (
        Response(body=b'{"more":1}', action=cut)
        if number % 3 == 0
        else Response(500, body=REFUSED_BODY, action=cut)
        if number % 3 == 1
        else Response(delay_s=SOON_S)
    )
    answers = await world.send(range(1, 91))
    assert check(answers, world.provider) == {Status.SENT: 60, Status.UNKNOWN: 30}


@pytest.mark.parametrize("http2", [True, False])
async def test_a_body_cut_short_is_no_reason_to_doubt_an_acceptance(
    world: World, *, http2: bool
) -> None:
    """A pool that reads the bodies of acceptances takes one without its end for an empty one."""
    world.provider.plan = lambda _number, _request: Response(
        body=b'{"name":"1"}', action=Action.RESET_BODY
    )
    pool = HttpPool(connections=1, ca_pem=world.authority.pem, http2=http2)
    await pool.open()
    url = f"https://localhost:{world.provider.port}/"
    answer = await pool.post(url, headers={"apns-id": "1"}, body=b"{}")
    await pool.close()
    assert (answer.status, answer.body) == (200, b"")


async def test_a_new_certificate_of_the_same_authority_is_taken(world: World) -> None:
    """A server that comes back with a renewed certificate gets everything, nothing twice."""
    assert check(await world.send(range(20)), world.provider) == {Status.SENT: 20}
    await world.provider.stop()
    await world.provider.start()
    # The first request on a connection that died unseen may be lost with it.
    found = check(await world.send(range(20, 60)), world.provider)
    assert found[Status.SENT] + found[Status.UNKNOWN] == 40
    assert check(await world.send(range(60, 80)), world.provider) == {Status.SENT: 20}


async def test_a_certificate_of_another_authority_is_refused_until_it_is_right(
    world: World,
) -> None:
    """Nothing leaves for an impostor: NOT_CONNECTED, and all arrives once the right one is back."""
    assert check(await world.send(range(20)), world.provider) == {Status.SENT: 20}
    await world.provider.stop()
    with pytest.raises(OSError):  # noqa: PT011 - it is gone, whatever the system calls that
        await asyncio.open_connection("127.0.0.1", world.provider.port)
    await world.provider.start(by=Authority())
    await _until_not_connected(world)
    met = [await world.send_once(number) for number in range(100, 110)]
    assert {(one.status, one.reason) for one in met} == {(Status.RETRY, Reason.NOT_CONNECTED)}
    assert sum(world.provider.handled.values()) == 20
    sending = asyncio.create_task(world.send(range(100, 120)))
    await asyncio.sleep(0)
    await world.provider.stop()
    await world.provider.start()
    assert check(await sending, world.provider) == {Status.SENT: 20}


async def test_a_port_that_closes_and_opens_again(world: World) -> None:
    """While nobody listens deliveries are RETRY; all of them arrive when somebody does again."""
    assert check(await world.send(range(20)), world.provider) == {Status.SENT: 20}
    await world.provider.stop()
    await _until_not_connected(world)
    met = [await world.send_once(number) for number in range(100, 110)]
    assert {(one.status, one.reason) for one in met} == {(Status.RETRY, Reason.NOT_CONNECTED)}
    sending = asyncio.create_task(world.send(range(100, 200)))
    await asyncio.sleep(0)
    await world.provider.start()
    assert check(await sending, world.provider) == {Status.SENT: 100}


async def test_an_address_that_moves(world: World) -> None:
    """When the name's server is found at another address, deliveries follow it there."""
    families = {found[0] for found in socket.getaddrinfo("localhost", 0)}
    if families < {socket.AF_INET, socket.AF_INET6}:
        pytest.skip("localhost has one address here")
    assert check(await world.send(range(20)), world.provider) == {Status.SENT: 20}
    await world.provider.stop()
    await _until_not_connected(world)
    await world.provider.start("::1")
    assert check(await world.send(range(100, 200)), world.provider) == {Status.SENT: 100}


async def _until_not_connected(world: World) -> None:
    """Wait until the end of the old connection is known; the fate of what met it is not."""
    async with asyncio.timeout(ENDS_S):
        answer = await world.send_once(10_000)
        while answer.reason is not Reason.NOT_CONNECTED:
            answer = await world.send_once(10_000)
