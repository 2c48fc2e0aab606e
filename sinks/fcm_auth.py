"""OAuth access tokens for Google service accounts, minted off the event loop by google-auth.

Source: https://firebase.google.com/docs/cloud-messaging/auth-server
"""

import asyncio
import functools
import ssl
import time
from collections.abc import Callable, Mapping
from datetime import UTC
from typing import Any, Final

import msgspec
import requests
import structlog
from google.auth.exceptions import GoogleAuthError, TransportError
from google.auth.transport.requests import Request
from google.oauth2.service_account import Credentials as GoogleCredentials
from requests.adapters import HTTPAdapter

from schemas.outcomes import Reason, Status
from schemas.pipeline import Answer
from sinks.fcm_errors import MAX_TEXT

SCOPE: Final = "https://www.googleapis.com/auth/firebase.messaging"
REFRESH_BEFORE_S: Final = 300.0
"""A token is renewed this long before it expires, while it still serves."""
TIMEOUT_S: Final = 10.0
DOWN_PAUSE_S: Final = 5.0
"""How long a token endpoint that could not be reached is left alone."""
REFUSED_PAUSE_S: Final = 60.0
"""How long a refused credential is left alone, in case somebody repairs it meanwhile."""

_NOT_NOW = frozenset({408, 429, 500, 502, 503, 504})

Headers = dict[str, str]

_log = structlog.get_logger()


class AccessToken:
    """The access token of one service account, renewed by whoever needs it first.

    service_account: the parsed JSON key file. now: seconds since the epoch. ca_pem: an extra
    authority to trust at token_uri. timeout_s: for one request to the token endpoint.
    """

    def __init__(
        self,
        service_account: Mapping[str, Any],
        *,
        now: Callable[[], float],
        ca_pem: bytes | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self._service_account = dict(service_account)
        self._now = now
        self._ca_pem = ca_pem
        self._timeout_s = timeout_s
        self._google: GoogleCredentials | None = None
        self._headers: Headers | None = None
        self._renew_at = 0.0
        self._expires_at = 0.0
        self._minted_at = 0.0
        self._proved = False
        self._refused_before = False
        self._failure = _failed(Reason.NOT_CONNECTED, "no access token yet")
        self._pause_until = 0.0
        self._renewal: asyncio.Task[None] | None = None

    def ready(self, now: float) -> Headers | None:
        """Give the request headers while the token needs no renewal. See headers()."""
        return self._headers if now < self._renew_at else None

    async def headers(self) -> Headers | Answer:
        """Give the request headers with a live token, or the answer for lack of one.

        The same dict as long as the token lives; do not change it.
        """
        now = self._now()
        stale = now >= self._renew_at
        if stale and self._renewal is None and now >= self._pause_until:
            self._renewal = asyncio.create_task(self._renew())
        if now >= self._expires_at and self._renewal is not None:
            await asyncio.wait([self._renewal])  # raises nothing, cancels nothing
        if self._headers is not None and self._now() < self._expires_at:
            return self._headers
        return self._failure_now()

    def accepted(self, headers: Headers) -> None:
        """Note that FCM took a request with these headers."""
        if headers is self._headers:
            self._proved = True
            self._refused_before = False

    def refused(self, headers: Headers) -> bool:
        """Note that FCM answered 401 to these headers; the next caller gets a new token.

        Returns whether the token was new and minted because of a 401, so that a third one would
        hardly help: then the token stays for REFUSED_PAUSE_S.
        """
        if headers is not self._headers:
            return False
        hopeless = self._refused_before and not self._proved
        if not hopeless or self._now() - self._minted_at >= REFUSED_PAUSE_S:
            self._headers = None
            self._expires_at = self._renew_at = 0.0
        self._refused_before = True
        return hopeless

    def close(self) -> None:
        """Give up a renewal under way."""
        if self._renewal is not None:
            self._renewal.cancel()

    def _failure_now(self) -> Answer:
        if self._failure.status is not Status.RETRY:
            return self._failure
        wait_s = max(self._pause_until - self._now(), 0.0)
        return msgspec.structs.replace(self._failure, retry_after_s=wait_s)

    async def _renew(self) -> None:
        try:
            # requests bounds each read, not the whole exchange.
            work = asyncio.to_thread(self._fetch)
            token, lifetime_s = await asyncio.wait_for(work, 2 * self._timeout_s)
        except TimeoutError:
            self._fail(_failed(Reason.NOT_CONNECTED, "token endpoint: timeout"), DOWN_PAUSE_S)
        except (TransportError, OSError) as error:
            self._fail(_failed(Reason.NOT_CONNECTED, str(error)), DOWN_PAUSE_S)
        except (GoogleAuthError, ValueError, TypeError, AttributeError) as error:
            if getattr(error, "retryable", False):
                self._fail(_failed(Reason.NOT_CONNECTED, str(error)), DOWN_PAUSE_S)
            else:  # the endpoint said no, or the key file is not one
                self._fail(_failed(Reason.BAD_CREDENTIALS, str(error)), REFUSED_PAUSE_S)
        else:
            self._take(token, lifetime_s)
        finally:
            self._renewal = None

    def _take(self, token: str, lifetime_s: float) -> None:
        now = self._now()
        self._headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
        self._minted_at = now
        self._expires_at = now + lifetime_s
        self._renew_at = now + max(lifetime_s - REFRESH_BEFORE_S, lifetime_s / 2)
        self._proved = False

    def _fail(self, failure: Answer, pause_s: float) -> None:
        self._failure = failure
        self._pause_until = self._now() + pause_s
        _log.warning(
            "fcm_access_token_failed",
            account=self._service_account.get("client_email"),
            reason=failure.reason,
            detail=failure.provider_reason,
        )

    def _fetch(self) -> tuple[str, float]:
        """Mint a token; runs in a thread. Gives it with its lifetime in seconds."""
        if self._google is None:
            self._google = GoogleCredentials.from_service_account_info(  # type: ignore[no-untyped-call]  # google-auth
                self._service_account, scopes=[SCOPE]
            )
        with requests.Session() as session:
            session.trust_env = False  # no proxies, .netrc or CA bundle from the environment
            if self._ca_pem is not None:
                session.mount("https://", _PrivateCaAdapter(self._ca_pem))
            self._google.refresh(functools.partial(_ask_once, Request(session), self._timeout_s))
        if not isinstance(self._google.token, str) or self._google.expiry is None:
            raise ValueError("the token endpoint gave no token or no lifetime")
        # google-auth gives the expiry on the system's clock, naive in UTC.
        return self._google.token, self._google.expiry.replace(tzinfo=UTC).timestamp() - time.time()


def _ask_once(request: Request, timeout_s: float, **call: Any) -> Any:
    """One request to the token endpoint; google-auth would sleep and repeat after a 5xx."""
    response = request(timeout=timeout_s, **call)
    if response.status in _NOT_NOW:
        raise ConnectionError(f"the token endpoint answered {response.status}")
    return response


def _failed(reason: Reason, detail: str) -> Answer:
    status = Status.RETRY if reason is Reason.NOT_CONNECTED else Status.REJECTED
    return Answer(status, reason, provider_reason=detail[:MAX_TEXT])


class _PrivateCaAdapter(HTTPAdapter):
    """Trusts one more authority, given as PEM instead of a file."""

    def __init__(self, ca_pem: bytes) -> None:
        self._context = ssl.create_default_context(cadata=ca_pem.decode())
        super().__init__()

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, ssl_context=self._context, **options)
