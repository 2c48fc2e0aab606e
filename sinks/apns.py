"""The Apple Push Notification service sink."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple
from urllib.parse import quote

import jwt
import msgspec

from schemas.outcomes import Reason, Status, TokenAction
from schemas.packed import UNREADABLE
from schemas.pipeline import Answer, Delivery, Platform, Priority
from sinks.apns_payload import Payload, Unsendable, build_payload, own_headers, shared_headers
from sinks.apns_reasons import verdict
from sinks.apns_token import ProviderToken
from sinks.credentials import ApnsCredential, Credentials, UnknownAppError
from sinks.http import HttpAnswer, HttpPool, LostError, NotSentError
from sinks.http_retired import RetiredPools

PRODUCTION_URL = "https://api.push.apple.com"
SANDBOX_URL = "https://api.sandbox.push.apple.com"
DETAIL_CHARACTERS = 200

_ACCEPTED = 200


class ErrorBody(msgspec.Struct):
    """The body of every APNs answer but 200. timestamp: ms since the epoch, with 410 only."""

    reason: str = ""
    timestamp: float | None = None


_decode_error = msgspec.json.Decoder(ErrorBody).decode


class _Key:
    """What one signing key shares: its token and its connections.

    APNs binds a connection to the first team and key it sees, so keys never share one.
    """

    def __init__(self, token: ProviderToken, pool: HttpPool) -> None:
        self.token = token
        self.pool = pool


class _App:
    """A tenant's app: its key, its topic, and the headers that its messages share."""

    def __init__(self, credential: ApnsCredential, key: _Key) -> None:
        self.credential = credential
        self.key = key
        self._topic = credential.topic
        self._headers: dict[tuple[str, int | None, Priority], Mapping[str, str]] = {}

    def headers(self, payload: Payload, priority: Priority) -> Mapping[str, str]:
        """Give the shared headers; at most push types x priorities of them are ever built."""
        wanted = (payload.push_type.name, payload.priority, priority)
        found = self._headers.get(wanted)
        if found is None:
            found = shared_headers(payload, topic=self._topic, priority=priority)
            self._headers[wanted] = found
        return found


class _Request(NamedTuple):
    key: _Key
    url: str
    headers: dict[str, str]
    body: bytes


class ApnsSink:
    """Sends to APNs with provider tokens (ES256), one pool of connections per signing key.

    now: UTC seconds since the epoch, the wall clock: provider tokens carry it. connections: per
    key and environment. ca_pem: one more authority to trust, for the simulator.
    """

    platform = Platform.APNS

    def __init__(
        self,
        *,
        credentials: Credentials,
        now: Callable[[], float],
        production_url: str = PRODUCTION_URL,
        sandbox_url: str = SANDBOX_URL,
        ca_pem: bytes | None = None,
        connections: int = 4,
        request_timeout_s: float = 10.0,
        connect_timeout_s: float = 5.0,
        max_in_flight_per_connection: int = 500,
        prior_knowledge: bool = False,
    ) -> None:
        self._credentials = credentials
        self._now = now
        self._urls = {
            "production": f"{production_url}/3/device/",
            "sandbox": f"{sandbox_url}/3/device/",
        }
        self._pool_options: dict[str, Any] = {
            "ca_pem": ca_pem,
            "connections": connections,
            "request_timeout_s": request_timeout_s,
            "connect_timeout_s": connect_timeout_s,
            "max_in_flight_per_connection": max_in_flight_per_connection,
            "prior_knowledge": prior_knowledge,
            "success_body": False,
        }
        self._open = False
        self._apps: dict[tuple[str, str], _App] = {}
        self._keys: dict[tuple[str, str, str], _Key] = {}
        self._retired = RetiredPools(longest_s=2 * request_timeout_s)

    async def open(self) -> None:
        """Make ready. Each key's connections are made by its first deliveries."""
        self._open = True

    async def close(self) -> None:
        """Close all connections; deliveries under way end as UNKNOWN."""
        self._open = False
        keys, self._keys = self._keys, {}
        self._apps = {}
        for key in keys.values():
            await key.pool.close()
        await self._retired.close()

    async def send(self, delivery: Delivery) -> Answer:
        """Send one delivery and classify the answer. Never raises for what APNs does."""
        request = await self._prepare(delivery)
        if isinstance(request, Answer):
            return request
        try:
            answer = await request.key.pool.post(
                request.url,
                headers=request.headers,
                body=request.body,
            )
        except NotSentError as error:
            return _answer(Status.RETRY, Reason.NOT_CONNECTED, str(error))
        except LostError as error:
            lost = Reason.PROVIDER_TIMEOUT if error.timeout else Reason.CONNECTION_LOST
            return _answer(Status.UNKNOWN, lost, str(error))
        except ValueError as error:
            return _rejected(Reason.BAD_REQUEST, str(error))
        if answer.status == _ACCEPTED:
            provider_id = answer.headers.get("apns-unique-id") or answer.headers.get("apns-id", "")
            return Answer(Status.SENT, Reason.ACCEPTED, _ACCEPTED, provider_id=provider_id)
        return _classify(answer, delivery, request)

    async def _prepare(self, delivery: Delivery) -> _Request | Answer:
        """Build the request, or say why there is none."""
        url = self._urls.get(delivery.environment)
        if url is None:
            return _rejected(Reason.BAD_CONFIG, f"unknown environment {delivery.environment!r}")
        payload = build_payload(delivery.content)
        if isinstance(payload, Unsendable):
            return _rejected(payload.reason, payload.detail)
        try:
            credential = self._credentials.get(delivery.tenant, delivery.app, ApnsCredential)
            app = self._apps.get((delivery.tenant, delivery.app))
            if app is None or app.credential is not credential:
                app = await self._add_app(delivery, credential)
            authorization = app.key.token.current()
        except UnknownAppError as error:
            return _rejected(Reason.UNKNOWN_APP, str(error))
        except (ValueError, TypeError, jwt.PyJWTError) as error:
            return _rejected(Reason.BAD_CREDENTIALS, f"the signing key is unusable: {error}")
        headers = {
            **app.headers(payload, delivery.priority),
            **own_headers(delivery),
            "authorization": authorization,
        }
        token = delivery.token
        # Only hex is valid, but what is not must not reach another path.
        path = token if token.isalnum() and token.isascii() else quote(token, safe="")
        return _Request(app.key, url + path, headers, payload.body)

    async def _add_app(self, delivery: Delivery, credential: ApnsCredential) -> _App:
        # The secret is part of the identity: a wrong key under a right name shares nothing.
        identity = (credential.team_id, credential.key_id, credential.private_key_pem)
        key = self._keys.get(identity)
        if key is None:
            pool = HttpPool(**self._pool_options)
            key = self._keys[identity] = _Key(ProviderToken(credential, self._now), pool)
            if self._open:  # a closed sink's pool stays closed and answers NOT_CONNECTED
                await pool.open()
        app = self._apps[delivery.tenant, delivery.app] = _App(credential, key)
        self._retire_unused()
        return app

    def _retire_unused(self) -> None:
        """Close the connections of keys that no app has any more, once their requests are done."""
        used = {id(app.key) for app in self._apps.values()}
        for identity in [one for one, key in self._keys.items() if id(key) not in used]:
            self._retired.retire(self._keys.pop(identity).pool)


def _classify(answer: HttpAnswer, delivery: Delivery, request: _Request) -> Answer:
    """Turn a refusal into an Answer by the table in apns_reasons."""
    try:
        error = _decode_error(answer.body)
        text = error.reason
    except UNREADABLE:
        error = ErrorBody()
        text = answer.body.decode("utf-8", "replace")
    found = verdict(answer.status, error.reason)
    action = found.token_action
    invalid_at_ms = 0
    if action is TokenAction.DELETE:
        invalid_at_ms = max(int(error.timestamp or 0), 0)
        if not invalid_at_ms:
            action = TokenAction.SUSPECT  # only Apple's own time kills a token
        elif delivery.registered_at_ms > invalid_at_ms:
            action = TokenAction.KEEP  # the device registered again after that
    retry_after_s = found.retry_after_s
    if found.reason is Reason.CREDENTIAL_EXPIRED:
        retry_after_s = request.key.token.replace(request.headers["authorization"])
    return Answer(
        found.status,
        found.reason,
        answer.status,
        provider_reason=text[:DETAIL_CHARACTERS],
        provider_id=answer.headers.get("apns-id", ""),
        retry_after_s=retry_after_s,
        token_action=action,
        token_invalid_at_ms=invalid_at_ms,
    )


def _rejected(reason: Reason, detail: str) -> Answer:
    """Answer without a request: Clarion found the delivery itself wrong."""
    return _answer(Status.REJECTED, reason, detail)


def _answer(status: Status, reason: Reason, detail: str) -> Answer:
    return Answer(status, reason, provider_reason=detail[:DETAIL_CHARACTERS])
