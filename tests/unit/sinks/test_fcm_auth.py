import asyncio
import time

from sandbox.fcm import make_service_account
from schemas.outcomes import Reason, Status
from schemas.pipeline import Answer
from sinks.fcm_auth import AccessToken


async def test_a_silent_token_endpoint_times_out() -> None:
    """An endpoint that takes the request and never answers is NOT_CONNECTED in bounded time."""
    connections: asyncio.Queue[asyncio.StreamWriter] = asyncio.Queue()
    server = await asyncio.start_server(lambda _, w: connections.put_nowait(w), "127.0.0.1")
    port = server.sockets[0].getsockname()[1]
    account, _ = make_service_account("acme", f"http://127.0.0.1:{port}/token")
    access = AccessToken(account, now=time.time, timeout_s=0.2)
    try:
        answer = await access.headers()
        assert isinstance(answer, Answer)
        assert (answer.status, answer.reason) == (Status.RETRY, Reason.NOT_CONNECTED)
        # On a busy machine the server may hear of the connection after the client gave up.
        writer = await asyncio.wait_for(connections.get(), 10)
        writer.close()
        assert connections.empty()
    finally:
        access.close()
        server.close()


async def test_closing_ends_the_wait_for_a_token() -> None:
    """A sender that waits for a token is answered when the sink closes, not left hanging."""
    connected = asyncio.Event()
    server = await asyncio.start_server(lambda _r, _w: connected.set(), "127.0.0.1")
    port = server.sockets[0].getsockname()[1]
    account, _ = make_service_account("acme", f"http://127.0.0.1:{port}/token")
    access = AccessToken(account, now=time.time, timeout_s=1.0)
    waiting = asyncio.create_task(access.headers())
    await connected.wait()
    access.close()
    answer = await waiting
    assert isinstance(answer, Answer)
    assert answer.status is Status.RETRY
    server.close()
