"""A strict push service: checks every request as RFC 8030, 8291 and 8292 ask, and reads it.

It decrypts with the subscription's private key, so a message that it accepts is one that a
browser could have shown.
"""

import json
import re
import ssl
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import replace
from typing import Final, NamedTuple

import jwt
from cryptography.hazmat.primitives.asymmetric import ec

from sandbox.http_server import Action, HttpServer, Request, Response
from sandbox.http_types import Around, as_it_is
from sandbox.webpush_scenarios import GOAWAY, RETRY_ONCE, SCENARIOS
from sandbox.webpush_subscriptions import (
    ANY_KEY,
    Receiver,
    Subscription,
    find_receiver,
    key_print_of,
    make_subscription,
)
from sinks.webpush_crypto import BadKeysError, decode_base64url, decrypt

__all__ = ["Received", "Subscription", "WebPushSimulator", "make_subscription"]

MAX_BODY_BYTES: Final = 4096
"""Every service must take this much. Source: RFC 8030 section 7.2."""
MAX_TTL_S: Final = 2_592_000
MAX_VAPID_AHEAD_S: Final = 24 * 3600
MAX_REMEMBERED: Final = 10_000
RECENT: Final = 100

_VAPID = re.compile(r"vapid t=([\w.-]+)\s*,\s*k=([\w-]+=*)", re.ASCII | re.IGNORECASE)
_TOPIC = re.compile(r"[\w-]{1,32}", re.ASCII)
_URGENCIES = frozenset({"very-low", "low", "normal", "high"})


class Received(NamedTuple):
    """One accepted message as the browser gets it."""

    path: str
    headers: dict[str, str]
    plaintext: bytes


class _Vapid(NamedTuple):
    """A header whose signature holds."""

    key: str
    aud: str
    exp: float


class _RefusedError(Exception):
    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.response = Response(status, {"content-type": "text/plain"}, text.encode())


class WebPushSimulator:
    """Serves endpoints made by make_subscription(), and GET /sandbox/stats.

    requests: pushes seen. accepted: answered with 2xx. rejected: answered otherwise.
    recent: the last accepted messages, decrypted. now: seconds since the epoch.
    """

    def __init__(self, *, now: Callable[[], float] = time.time) -> None:
        self.requests = 0
        self.accepted = 0
        self.rejected = 0
        self.recent: deque[Received] = deque(maxlen=RECENT)
        self._now = now
        self._url = ""
        self._origins: frozenset[str] = frozenset()
        self._verified: OrderedDict[str, _Vapid] = OrderedDict()
        self._refused_once: OrderedDict[str, None] = OrderedDict()
        self._server: HttpServer | None = None

    async def start(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        tls: ssl.SSLContext | None = None,
        around: Around = as_it_is,
    ) -> int:
        """Listen and give the bound port. Raises OSError when the port is taken."""
        self._server = HttpServer(around(self.handle), tls=tls)
        bound = await self._server.start(host, port)
        scheme = "https" if tls else "http"
        self._url = f"{scheme}://{host}:{bound}"
        names = {host, "127.0.0.1", "localhost"}
        self._origins = frozenset(f"{scheme}://{name}:{bound}" for name in names)
        return bound

    async def stop(self) -> None:
        """Stop listening and cut every connection."""
        if self._server is not None:
            await self._server.stop()
            self._server = None

    def handle(self, request: Request) -> Response:
        """Answer one request."""
        if request.path == "/sandbox/stats":
            names = ("accepted", "requests", "rejected")
            stats = json.dumps({name: getattr(self, name) for name in names})
            return Response(200, {"content-type": "application/json"}, stats.encode())
        self.requests += 1
        try:
            response = self._push(request)
        except _RefusedError as refused:
            response = refused.response
        if response.action in {Action.ANSWER, Action.GOAWAY}:
            if response.status < 300:
                self.accepted += 1
            else:
                self.rejected += 1
        return response

    def _push(self, request: Request) -> Response:
        receiver = find_receiver(request.path)
        if receiver is None:
            raise _RefusedError(404, "no such subscription")
        if request.method != "POST":
            raise _RefusedError(405, "push resources take POST only")
        self._check_vapid(request, receiver)
        ttl_s = _check_headers(request)
        plaintext = _read(request, receiver)
        if receiver.scenario in SCENARIOS:
            return SCENARIOS[receiver.scenario]
        if receiver.scenario == RETRY_ONCE and self._is_first(receiver.id):
            return replace(SCENARIOS["any-503"], headers={"retry-after": "1"})
        self.recent.append(Received(request.path, request.headers, plaintext))
        return self._accept(receiver, ttl_s)

    def _accept(self, receiver: Receiver, ttl_s: int) -> Response:
        headers = {
            "location": f"{self._url}/m/{receiver.id}-{self.accepted + 1}",
            "ttl": str(min(ttl_s, MAX_TTL_S)),
        }
        action = Action.GOAWAY if receiver.scenario == GOAWAY else Action.ANSWER
        return Response(201, headers, action=action)

    def _is_first(self, identity: str) -> bool:
        if identity in self._refused_once:
            del self._refused_once[identity]
            return False
        self._refused_once[identity] = None
        if len(self._refused_once) > MAX_REMEMBERED:
            self._refused_once.popitem(last=False)
        return True

    def _check_vapid(self, request: Request, receiver: Receiver) -> None:
        header = request.headers.get("authorization")
        if header is None:
            raise _RefusedError(401, "vapid authentication required")
        vapid = self._verified.get(header)
        if vapid is None:
            vapid = self._verified[header] = _verify(header)
            if len(self._verified) > MAX_REMEMBERED:
                self._verified.popitem(last=False)
        if not 0 < vapid.exp - self._now() <= MAX_VAPID_AHEAD_S:
            raise _RefusedError(403, "vapid: exp has passed or is more than 24 h ahead")
        if vapid.aud not in self._origins:
            raise _RefusedError(403, "vapid: aud is not this service's origin")
        if receiver.key_print not in {ANY_KEY, key_print_of(vapid.key)}:
            raise _RefusedError(403, "vapid: not the key that was used to subscribe")


def _verify(header: str) -> _Vapid:
    """Check all that stays true of a header. Source: RFC 8292 sections 2 and 3."""
    match = _VAPID.fullmatch(header)
    if match is None:
        raise _RefusedError(401, "vapid: expected vapid t=<token>, k=<key>")
    token, key = match.groups()
    try:
        point = decode_base64url(key)
        public_key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
        claims = jwt.decode(
            token,
            public_key,
            algorithms=["ES256"],
            options={"require": ["aud", "exp", "sub"], "verify_aud": False, "verify_exp": False},
        )
        vapid = _Vapid(key.rstrip("="), str(claims["aud"]), float(claims["exp"]))
    except (BadKeysError, ValueError, TypeError, jwt.InvalidTokenError) as error:
        raise _RefusedError(403, f"vapid: {error}") from error
    if not str(claims["sub"]).startswith(("mailto:", "https:")):
        raise _RefusedError(403, "vapid: sub is neither mailto: nor https:")
    return vapid


def _check_headers(request: Request) -> int:
    """Check TTL, Urgency and Topic; give the TTL. Source: RFC 8030 section 5."""
    headers = request.headers
    if request.duplicates & {"ttl", "urgency", "topic", "authorization", "content-encoding"}:
        raise _RefusedError(400, f"repeated headers: {', '.join(sorted(request.duplicates))}")
    ttl = headers.get("ttl", "")
    if not (ttl.isascii() and ttl.isdigit()):
        raise _RefusedError(400, "TTL is missing or not a number of seconds")
    if headers.get("urgency", "normal") not in _URGENCIES:
        raise _RefusedError(400, "Urgency is none of very-low, low, normal, high")
    if "topic" in headers and not _TOPIC.fullmatch(headers["topic"]):
        raise _RefusedError(400, "Topic is over 32 characters or not base64url")
    return int(ttl)


def _read(request: Request, receiver: Receiver) -> bytes:
    if not request.body:
        return b""  # a push without data only wakes the service worker
    if len(request.body) > MAX_BODY_BYTES:
        raise _RefusedError(413, f"the body is over {MAX_BODY_BYTES} bytes")
    if request.headers.get("content-encoding") != "aes128gcm":
        raise _RefusedError(400, "Content-Encoding is not aes128gcm")
    try:
        return decrypt(request.body, receiver.private_key, receiver.auth)
    except ValueError as error:
        raise _RefusedError(400, str(error)) from error
