"""Sends to Firebase Cloud Messaging, HTTP v1, one message per request over HTTP/2.

The batch endpoint for 500 tokens ended in 2024; HTTP/2 multiplexing took its place.
Source: https://firebase.google.com/docs/cloud-messaging/send/v1-api
"""

from collections.abc import Callable
from typing import Final, NamedTuple
from urllib.parse import quote

from schemas.outcomes import Reason, Status
from schemas.pipeline import Answer, Delivery, Platform
from sinks.credentials import Credentials, FcmCredential, UnknownAppError
from sinks.fcm_auth import AccessToken, Headers
from sinks.fcm_errors import MAX_TEXT, TOKEN_STILL_REFUSED, classify
from sinks.fcm_message import FcmMessages
from sinks.http import HttpPool, LostError, NotSentError
from sinks.retry_after import parse_retry_after

BASE_URL: Final = "https://fcm.googleapis.com"
CONNECTIONS: Final = 4
REQUEST_TIMEOUT_S: Final = 10.0
"""FCM asks for at least 10 s. Source: cloud-messaging/scale-fcm in Firebase's documentation."""


class _Project(NamedTuple):
    credential: FcmCredential
    url: str
    access: AccessToken


class FcmSink:
    """Sink for all FCM projects of all tenants over one pool of connections.

    now: seconds since the epoch. base_url: https://, or http:// (HTTP/2 by prior knowledge) for a
    sandbox. ca_pem: a private authority to trust, at the token endpoint too.
    validate_only: FCM checks every message and delivers none.
    """

    platform = Platform.FCM

    def __init__(
        self,
        *,
        credentials: Credentials,
        now: Callable[[], float],
        base_url: str = BASE_URL,
        ca_pem: bytes | None = None,
        connections: int = CONNECTIONS,
        request_timeout_s: float = REQUEST_TIMEOUT_S,
        validate_only: bool = False,
    ) -> None:
        self._credentials = credentials
        self._now = now
        self._base_url = base_url.rstrip("/")
        self._ca_pem = ca_pem
        self._messages = FcmMessages(validate_only=validate_only)
        self._projects: dict[tuple[str, str], _Project] = {}
        self._tokens: dict[tuple[str, ...], AccessToken] = {}
        self._pool = HttpPool(
            connections=connections,
            request_timeout_s=request_timeout_s,
            ca_pem=ca_pem,
            prior_knowledge=base_url.startswith("http://"),
        )

    async def open(self) -> None:
        """Open the pool; access tokens are minted when first needed."""
        await self._pool.open()

    async def close(self) -> None:
        """Close all connections; waits for none."""
        for access in self._tokens.values():
            access.close()
        await self._pool.close()

    async def send(self, delivery: Delivery) -> Answer:
        """Send one message and classify FCM's answer. Never raises for what FCM does."""
        try:
            credential = self._credentials.get(delivery.tenant, delivery.app, FcmCredential)
        except UnknownAppError as error:
            return _answer(Status.REJECTED, Reason.UNKNOWN_APP, error)
        project = self._projects.get((delivery.tenant, delivery.app))
        if project is None or project.credential is not credential:
            project = self._enter(delivery.tenant, delivery.app, credential)
        now = self._now()
        body = self._messages.build(delivery, now_ms=int(now * 1000))
        if isinstance(body, Answer):
            return body
        headers = project.access.ready(now) or await project.access.headers()
        if isinstance(headers, Answer):
            return headers
        return await self._post(project, headers, body, requested_at_ms=int(now * 1000))

    async def _post(
        self, project: _Project, headers: Headers, body: bytes, *, requested_at_ms: int
    ) -> Answer:
        try:
            response = await self._pool.post(project.url, headers=headers, body=body)
        except NotSentError as error:
            return _answer(Status.RETRY, Reason.NOT_CONNECTED, error)
        except LostError as error:
            reason = Reason.PROVIDER_TIMEOUT if error.timeout else Reason.CONNECTION_LOST
            return _answer(Status.UNKNOWN, reason, error)
        except ValueError as error:  # base_url or the token cannot stand in a request
            return _answer(Status.REJECTED, Reason.BAD_CONFIG, error)
        if response.status == 200:
            project.access.accepted(headers)
            return classify(200, response.body)
        wait_s = parse_retry_after(response.headers.get("retry-after"), self._now())
        answer = classify(response.status, response.body, wait_s, requested_at_ms=requested_at_ms)
        if answer.reason is Reason.CREDENTIAL_EXPIRED and project.access.refused(headers):
            return Answer(
                TOKEN_STILL_REFUSED.status,
                TOKEN_STILL_REFUSED.reason,
                provider_status=answer.provider_status,
                provider_reason=answer.provider_reason,
            )
        return answer

    def _enter(self, tenant: str, app: str, credential: FcmCredential) -> _Project:
        """Prepare an app's project; apps with one service account share its access token."""
        account = credential.service_account
        key = tuple(str(account.get(n)) for n in ("client_email", "private_key", "token_uri"))
        access = self._tokens.get(key)
        if access is None:
            access = AccessToken(account, now=self._now, ca_pem=self._ca_pem)
            self._tokens[key] = access
        name = quote(credential.project_id, safe="")
        url = f"{self._base_url}/v1/projects/{name}/messages:send"
        project = self._projects[tenant, app] = _Project(credential, url, access)
        # Who still waits for a token of an account that no app has any more gets it, or the error.
        used = {id(one.access) for one in self._projects.values()}
        self._tokens = {key: one for key, one in self._tokens.items() if id(one) in used}
        return project


def _answer(status: Status, reason: Reason, error: Exception) -> Answer:
    return Answer(status, reason, provider_reason=str(error)[:MAX_TEXT])
