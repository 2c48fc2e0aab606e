"""Sends to browsers' push services: encrypted, signed, one request per subscription."""

import asyncio
import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Final, NamedTuple

from pywebpush import WebPusher

from schemas.outcomes import Reason, Status, TokenAction
from schemas.pipeline import Answer, Delivery, Platform
from sinks.credentials import Credentials, UnknownAppError, WebPushCredential
from sinks.http import HttpPool, LostError, NotSentError
from sinks.webpush_crypto import BadKeysError, FastPusher, encrypt, parse_keys
from sinks.webpush_payload import WebPushPayloads, headers_for
from sinks.webpush_status import (
    MAX_TEXT,
    VENDOR_HOSTS,
    Vendor,
    classify,
    matches_host,
    vendor_of,
)
from sinks.webpush_vapid import BadVapidError, VapidHeaders

CONNECTIONS: Final = 2
"""Per push service."""
REQUEST_TIMEOUT_S: Final = 10.0
ENCRYPTIONS_PER_TURN: Final = 4
MAX_ENDPOINT_CHARS: Final = 4096

_ENDPOINT = re.compile(
    r"(?P<origin>(?P<scheme>https?)://(?P<host>[a-z0-9.-]+|\[[0-9a-f:]+\])(?::[0-9]{1,5})?)"
    r"/[!-~]*",  # printable ASCII without spaces: what may stand in a request line
    re.ASCII | re.IGNORECASE,
)


class _Origin(NamedTuple):
    """A push service. url: scheme://host[:port], lower case. allowed: we send to it."""

    url: str
    vendor: Vendor
    secure: bool
    allowed: bool


class _Sealed(NamedTuple):
    """What goes out. authorization: the VAPID header. body: encrypted."""

    authorization: str
    body: bytes


class WebPushSink:
    """Sink for all VAPID keys of all tenants.

    now: seconds since the epoch. ca_pem: a private authority to trust, for a sandbox.
    connections: per push service.
    allowed_hosts: host names, or suffixes as "*.example.net"; None means the browser vendors'.
    Endpoints come from clients: without this list they could point us at any server.
    prior_knowledge: allows http:// endpoints, HTTP/2 without TLS, for a sandbox.
    pusher_class: encrypts; pywebpush.WebPusher itself does, at three quarters of the rate.
    """

    platform = Platform.WEBPUSH

    def __init__(
        self,
        *,
        credentials: Credentials,
        now: Callable[[], float],
        ca_pem: bytes | None = None,
        connections: int = CONNECTIONS,
        request_timeout_s: float = REQUEST_TIMEOUT_S,
        allowed_hosts: Sequence[str] | None = None,
        prior_knowledge: bool = False,
        pusher_class: type[WebPusher] = FastPusher,
    ) -> None:
        self._credentials = credentials
        self._now = now
        self._allowed_hosts = tuple(VENDOR_HOSTS if allowed_hosts is None else allowed_hosts)
        self._prior_knowledge = prior_knowledge
        self._pusher = pusher_class({"endpoint": ""})
        self._payloads = WebPushPayloads()
        self._vapid = VapidHeaders(now)
        self._turns = asyncio.Semaphore(ENCRYPTIONS_PER_TURN)
        self._origin_of = lru_cache(maxsize=1024)(self._judge)
        self._pool = HttpPool(
            connections=connections,
            request_timeout_s=request_timeout_s,
            ca_pem=ca_pem,
            prior_knowledge=prior_knowledge,
            success_body=False,
        )

    async def open(self) -> None:
        """Open the pool; a push service is connected to when its first message comes."""
        await self._pool.open()

    async def close(self) -> None:
        """Close all connections; waits for none."""
        await self._pool.close()

    async def send(self, delivery: Delivery) -> Answer:
        """Send one message and classify the answer. Never raises for what a service does."""
        origin = self._find_origin(delivery.token)
        if isinstance(origin, Answer):
            return origin
        built = self._payloads.build(delivery.content)
        if isinstance(built, Answer):
            return built
        sealed = await self._seal(delivery, origin, built.plaintext)
        if isinstance(sealed, Answer):
            return sealed
        return await self._post(delivery, origin, built.urgency, sealed)

    async def _seal(
        self, delivery: Delivery, origin: _Origin, plaintext: bytes
    ) -> _Sealed | Answer:
        try:
            credential = self._credentials.get(delivery.tenant, delivery.app, WebPushCredential)
            authorization = self._vapid.get(credential, origin.url)
            keys = parse_keys(delivery.p256dh, delivery.auth)
            await self._take_turn()
            return _Sealed(authorization, encrypt(plaintext, keys, pusher=self._pusher))
        except UnknownAppError as error:
            return _answer(Status.REJECTED, Reason.UNKNOWN_APP, error)
        except BadVapidError as error:
            return _answer(Status.REJECTED, Reason.BAD_CREDENTIALS, error)
        except BadKeysError as error:
            return self._dead(str(error))

    async def _post(
        self, delivery: Delivery, origin: _Origin, urgency: str, sealed: _Sealed
    ) -> Answer:
        now_s = self._now()
        headers = headers_for(
            delivery, urgency=urgency, vendor=origin.vendor, now_ms=int(now_s * 1000)
        )
        headers["authorization"] = sealed.authorization
        try:
            response = await self._pool.post(delivery.token, headers=headers, body=sealed.body)
        except NotSentError as error:
            return _answer(Status.RETRY, Reason.NOT_CONNECTED, error)
        except LostError as error:
            reason = Reason.PROVIDER_TIMEOUT if error.timeout else Reason.CONNECTION_LOST
            return _answer(Status.UNKNOWN, reason, error)
        except ValueError:  # a host or port that no URL may have
            return self._dead("the endpoint is not a URL")
        return classify(
            origin.vendor, response.status, response.headers, response.body, requested_at_s=now_s
        )

    async def _take_turn(self) -> None:
        """Let few messages be encrypted per turn of the event loop, about a millisecond's worth.

        A batch of hundreds would otherwise hold the loop for a tenth of a second, with all
        answers waiting.
        """
        await self._turns.acquire()
        asyncio.get_running_loop().call_soon(self._turns.release)

    def _find_origin(self, endpoint: str) -> _Origin | Answer:
        match = _ENDPOINT.fullmatch(endpoint) if len(endpoint) <= MAX_ENDPOINT_CHARS else None
        if match is None:
            return self._dead("the endpoint is not a URL")
        origin = self._origin_of(match["origin"], match["scheme"], match["host"])
        if not origin.secure and not self._prior_knowledge:
            return self._dead("the endpoint is not https")
        if not origin.allowed:
            text = f"{match['host']} is not a push service that we send to"
            return Answer(Status.REJECTED, Reason.BAD_CONFIG, provider_reason=text[:MAX_TEXT])
        return origin

    def _judge(self, origin: str, scheme: str, host: str) -> _Origin:
        host = host.lower()
        url = origin.lower()
        if url.startswith("https://"):
            url = url.removesuffix(":443")  # VAPID's aud is the origin as RFC 6454 writes it
        return _Origin(
            url=url,
            vendor=vendor_of(host),
            secure=scheme.lower() == "https",
            allowed=any(matches_host(host, pattern) for pattern in self._allowed_hosts),
        )

    @staticmethod
    def _dead(text: str) -> Answer:
        """Refuse a subscription that no push service and no browser could use.

        No time: it is dead as it was registered, and the device may have registered anew since.
        """
        return Answer(
            Status.FAILED,
            Reason.TOKEN_INVALID,
            provider_reason=text,
            token_action=TokenAction.DELETE,
        )


def _answer(status: Status, reason: Reason, error: Exception) -> Answer:
    return Answer(status, reason, provider_reason=str(error)[:MAX_TEXT])
