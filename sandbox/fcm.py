"""A strict FCM: checks credentials and messages as Google does and answers in Google's words.

Source: https://firebase.google.com/docs/reference/fcm/rest/v1/projects.messages/send
"""

import itertools
import json
import re
import ssl
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterable
from dataclasses import replace
from hashlib import blake2b
from typing import Any, Final
from urllib.parse import unquote

from sandbox.fcm_answers import (
    ACCEPTING,
    JSON_TYPE,
    SCENARIOS,
    SLOW_S,
    answer,
    error,
    field_violation,
    html,
    unauthenticated,
)
from sandbox.fcm_checks import check_meaning, check_schema
from sandbox.fcm_oauth import SEND_SCOPES, Account, TokenEndpoint, make_service_account
from sandbox.fcm_tokens import dead_token, live_token, scenario_of, scenario_token
from sandbox.http_server import Action, HttpServer, Request, Response
from sandbox.http_types import Around, as_it_is

__all__ = [
    "Account",
    "FcmSimulator",
    "dead_token",
    "live_token",
    "make_service_account",
    "scenario_token",
]

_SEND = re.compile(r"/v1/projects/([^/]+)/messages:send")
MAX_BODY_BYTES: Final = 65_536
MAX_REMEMBERED: Final = 1000
MAX_FIRST_ATTEMPTS: Final = 100_000


class FcmSimulator:
    """FCM HTTP v1 and its token endpoint on one port.

    accounts: the service accounts that exist, and with them the projects. now: seconds since the
    epoch. requests, accepted, rejected: sends so far; rejected by scenario or by FCM's code.
    messages: the last accepted Message objects. oauth: the token endpoint, for tests.
    """

    def __init__(self, accounts: Iterable[Account], *, now: Callable[[], float]) -> None:
        self.oauth = TokenEndpoint(accounts, now=now)
        self.requests = 0
        self.accepted = 0
        self.rejected: Counter[str] = Counter()
        self.messages: deque[dict[str, Any]] = deque(maxlen=MAX_REMEMBERED)
        self._now = now
        self._ids = itertools.count(1)
        self._verdicts: OrderedDict[bytes, Response | None] = OrderedDict()
        self._tried: OrderedDict[str, None] = OrderedDict()
        self._server: HttpServer | None = None

    async def start(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        tls: ssl.SSLContext | None = None,
        around: Around = as_it_is,
    ) -> int:
        """Listen (HTTP/2 and HTTP/1.1) and give the port."""
        self._server = HttpServer(around(self.handle), tls=tls, max_body_bytes=MAX_BODY_BYTES)
        return await self._server.start(host, port)

    async def stop(self) -> None:
        """Stop listening and cut the connections."""
        if self._server is not None:
            await self._server.stop()
            self._server = None

    def handle(self, request: Request) -> Response:
        """Answer one request."""
        path = request.path.partition("?")[0]
        if (request.method, path) == ("POST", "/token"):
            return self.oauth.handle(request)
        if (request.method, path) == ("GET", "/sandbox/stats"):
            return answer(self.stats())
        found = _SEND.fullmatch(path)
        if found is None or request.method != "POST":
            return html(404, "Not Found")
        self.requests += 1
        refused = self._refuse(request, unquote(found.group(1)))
        if isinstance(refused, Response):
            return refused
        return self._deliver(*refused, project=unquote(found.group(1)))

    def stats(self) -> dict[str, Any]:
        """Give the counters."""
        return {
            "accepted": self.accepted,
            "requests": self.requests,
            "rejected": dict(self.rejected),
        }

    def _refuse(self, request: Request, project: str) -> Response | tuple[dict[str, Any], bool]:
        """Give the refusal, or the message and whether it is only to be validated."""
        refused = self._check_access(request, project)
        if refused is not None:
            return self._count(refused)
        try:
            body = json.loads(request.body)
        except ValueError:
            text = "Invalid JSON payload received. Unexpected token."
            return self._count(field_violation("", text))
        refused = self._check_body(body)
        if refused is not None:
            return self._count(refused)
        return body["message"], bool(body.get("validateOnly") or body.get("validate_only"))

    def _check_access(self, request: Request, project: str) -> Response | None:
        grant = self.oauth.grant_of(request.headers.get("authorization", ""))
        if grant is None:
            return unauthenticated("ACCESS_TOKEN_EXPIRED")
        if project not in self.oauth.projects():
            return error(404, "Requested entity was not found.")
        if grant.project_id != project:
            return error(
                403,
                "Permission 'cloudmessaging.messages.create' denied on resource "
                f"'//cloudresourcemanager.googleapis.com/projects/{project}' "
                "(or it may not exist).",
            )
        if not grant.scopes & SEND_SCOPES:
            return error(403, "Request had insufficient authentication scopes.")
        if not request.headers.get("content-type", "").startswith("application/json"):
            return error(400, "Invalid content type: application/json is needed.")
        return None

    def _check_body(self, body: object) -> Response | None:
        """Check a request, once per message whatever its token, as a campaign repeats itself."""
        if not isinstance(body, dict) or not isinstance(body.get("message"), dict):
            return check_schema(body) or error(400, "The message is not set.")
        message = body["message"]
        text = json.dumps(body | {"message": message | {"token": _stand_in(message)}})
        shape = blake2b(text.encode(), digest_size=16).digest()
        if shape in self._verdicts:
            schema_verdict = self._verdicts[shape]
        else:
            schema_verdict = check_schema(body)
            self._verdicts[shape] = schema_verdict
            if len(self._verdicts) > MAX_REMEMBERED:
                self._verdicts.popitem(last=False)
        return schema_verdict or check_meaning(message)

    def _deliver(self, message: dict[str, Any], only: bool, *, project: str) -> Response:  # noqa: FBT001 - a pair from _refuse
        scenario = scenario_of(message.get("token", ""))
        scripted = SCENARIOS.get(scenario)
        if scenario == "UNAVAILABLE_ONCE" and self._is_first(message["token"]):
            scripted = SCENARIOS["UNAVAILABLE"]
        if scripted is None and scenario not in ACCEPTING:
            scripted = error(400, f"The sandbox has no scenario {scenario}.")
        if scripted is not None:
            self.rejected[scenario] += 1
            return scripted
        if only:
            return answer({"name": f"projects/{project}/messages/fake_message_id"})
        self.accepted += 1
        self.messages.append(message)
        number = next(self._ids)
        name = f"projects/{project}/messages/0:{int(self._now() * 1e6)}%{number:016x}"
        response = Response(200, {"content-type": JSON_TYPE}, json.dumps({"name": name}).encode())
        if scenario == "SLOW":
            return replace(response, delay_s=SLOW_S)
        return replace(response, action=Action.GOAWAY) if scenario == "GOAWAY" else response

    def _is_first(self, token: str) -> bool:
        if token in self._tried:
            return False
        self._tried[token] = None
        if len(self._tried) > MAX_FIRST_ATTEMPTS:
            self._tried.popitem(last=False)
        return True

    def _count(self, refused: Response) -> Response:
        """Count a refusal by FCM's code, or by the canonical status without one."""
        problem = json.loads(refused.body)["error"]
        codes = (detail.get("errorCode") for detail in problem.get("details", []))
        self.rejected[next((code for code in codes if code), problem["status"])] += 1
        return refused


def _stand_in(message: dict[str, Any]) -> object:
    """Give "" for any token that is a string, as the schema sees no difference."""
    token = message.get("token")
    return "" if isinstance(token, str) else token
