"""Sends to browsers' push services: encrypted, signed, one request per subscription."""

import asyncio
from collections.abc import Callable
from functools import lru_cache
from typing import Final, NamedTuple

from pywebpush import WebPusher

from schemas.outcomes import Reason, Status, TokenAction
from schemas.pipeline import Answer, Delivery, Platform
from sinks.credentials import Credentials, UnknownAppError, WebPushCredential
from sinks.http import HttpAnswer, LostError, NotSentError
from sinks.http_pinned import ForbiddenAddressError, PinnedPools, Resolve, system_resolve
from sinks.webpush_crypto import BadKeysError, FastPusher, encrypt, parse_keys
from sinks.webpush_endpoint import Endpoint, host_fault, parse_endpoint
from sinks.webpush_payload import WebPushPayloads, headers_for, with_message
from sinks.webpush_status import MAX_TEXT, classify, vendor_of
from sinks.webpush_vapid import BadVapidError, VapidHeaders

CONNECTIONS: Final = 2
"""Per push service."""
REQUEST_TIMEOUT_S: Final = 10.0
ENCRYPTIONS_PER_TURN: Final = 4


class _Request(NamedTuple):
    endpoint: Endpoint
    private_network: bool
    headers: dict[str, str]
    body: bytes
    at_s: float


class WebPushSink:
    """Sink for all VAPID keys of all tenants.

    now: seconds since the epoch. ca_pem: a private authority to trust, for a sandbox.
    connections: per push service.
    resolve: a host's addresses; the system's resolver by default. Where endpoints may point is the
    app's to say (sinks/webpush_endpoint), at which addresses sinks/http_pinned checks.
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
        resolve: Resolve = system_resolve,
        prior_knowledge: bool = False,
        pusher_class: type[WebPusher] = FastPusher,
    ) -> None:
        self._credentials = credentials
        self._now = now
        self._prior_knowledge = prior_knowledge
        self._pusher = pusher_class({"endpoint": ""})
        self._payloads = WebPushPayloads()
        self._vapid = VapidHeaders(now)
        self._turns = asyncio.Semaphore(ENCRYPTIONS_PER_TURN)
        self._fault_of = lru_cache(maxsize=4_096)(_fault)
        self._pools = PinnedPools(
            {
                "connections": connections,
                "request_timeout_s": request_timeout_s,
                "ca_pem": ca_pem,
                "prior_knowledge": prior_knowledge,
                "success_body": False,
            },
            longest_s=2 * request_timeout_s,
            resolve=resolve,
        )

    async def open(self) -> None:
        """Open the pool; a push service is connected to when its first message comes."""
        await self._pools.open()

    async def close(self) -> None:
        """Close all connections; waits for none."""
        await self._pools.close()

    async def send(self, delivery: Delivery) -> Answer:
        """Send one message and classify the answer. Never raises for what a service does."""
        request = await self._prepare(delivery)
        if isinstance(request, Answer):
            return request
        answer = await self._post(delivery.token, request)
        if isinstance(answer, Answer):
            return answer
        return classify(
            vendor_of(request.endpoint.host),
            answer.status,
            answer.headers,
            answer.body,
            requested_at_s=request.at_s,
        )

    async def _prepare(self, delivery: Delivery) -> _Request | Answer:
        """Build the request, or say why there is none."""
        try:
            credential = self._credentials.get(delivery.tenant, delivery.app, WebPushCredential)
            endpoint = self._endpoint(credential, delivery.token)
            if isinstance(endpoint, Answer):
                return endpoint
            built = self._payloads.build(delivery.content)
            if isinstance(built, Answer):
                return built
            authorization = self._vapid.get(credential, endpoint.origin)
            keys = parse_keys(delivery.p256dh, delivery.auth)
            await self._take_turn()
            body = encrypt(with_message(built.plaintext, delivery), keys, pusher=self._pusher)
        except UnknownAppError as error:
            return _answer(Status.REJECTED, Reason.UNKNOWN_APP, error)
        except BadVapidError as error:
            return _answer(Status.REJECTED, Reason.BAD_CREDENTIALS, error)
        except BadKeysError as error:
            return _dead(str(error))
        now_s = self._now()
        headers = headers_for(
            delivery,
            urgency=built.urgency,
            vendor=vendor_of(endpoint.host),
            now_ms=int(now_s * 1000),
        )
        headers["authorization"] = authorization
        return _Request(endpoint, credential.private_network, headers, body, now_s)

    async def _post(self, url: str, request: _Request) -> HttpAnswer | Answer:
        try:
            return await self._pools.post(
                request.endpoint,
                url,
                private_network=request.private_network,
                headers=request.headers,
                body=request.body,
            )
        except ForbiddenAddressError as error:
            return _answer(Status.REJECTED, Reason.BAD_CONFIG, error)
        except NotSentError as error:
            return _answer(Status.RETRY, Reason.NOT_CONNECTED, error)
        except LostError as error:
            reason = Reason.PROVIDER_TIMEOUT if error.timeout else Reason.CONNECTION_LOST
            return _answer(Status.UNKNOWN, reason, error)
        except ValueError:  # a host that no URL may have
            return _dead("the endpoint is not a URL")

    async def _take_turn(self) -> None:
        """Let few messages be encrypted per turn of the event loop, about a millisecond's worth.

        A batch of hundreds would otherwise hold the loop for a tenth of a second, with all
        answers waiting.
        """
        await self._turns.acquire()
        asyncio.get_running_loop().call_soon(self._turns.release)

    def _endpoint(self, credential: WebPushCredential, url: str) -> Endpoint | Answer:
        endpoint = parse_endpoint(url)
        if endpoint is None:
            return _dead("the endpoint is not a URL")
        if endpoint.scheme != "https" and not self._prior_knowledge:
            return _dead("the endpoint is not https")
        fault = self._fault_of(credential.allowed_hosts, endpoint)
        if fault is not None:
            return Answer(Status.REJECTED, Reason.BAD_CONFIG, provider_reason=fault[:MAX_TEXT])
        return endpoint


class _Rules(NamedTuple):
    allowed_hosts: tuple[str, ...] | None


def _fault(allowed_hosts: tuple[str, ...] | None, endpoint: Endpoint) -> str | None:
    return host_fault(_Rules(allowed_hosts), endpoint)


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
