"""A strict APNs simulator: checks every request as Apple documents it, and misbehaves on demand.

Source: https://developer.apple.com/documentation/usernotifications/sending-notification-requests-to-apns
"""

import re
import ssl
import time
import uuid
from collections import Counter, deque
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import replace

import msgspec

from sandbox.apns_auth import Judge
from sandbox.apns_scenarios import (
    CLOSE,
    GOAWAY,
    GOAWAY_ERROR,
    HANG,
    RESET,
    SLOW,
    STATUS_OF,
    Scenario,
    dead_token,
    read_scenario,
    scenario_token,
)
from sandbox.http_server import Action, HttpServer, Request, Response
from sandbox.http_types import Around, as_it_is

__all__ = ["ApnsSimulator", "dead_token", "scenario_token"]

DEVICE_PATH = "/3/device/"
STATS_PATH = "/sandbox/stats"
SUFFIXES: Mapping[str, str] = {
    "alert": "",
    "background": "",
    "voip": ".voip",
    "complication": ".complication",
    "fileprovider": ".pushkit.fileprovider",
    "mdm": "",
    "liveactivity": ".push-type.liveactivity",
    "location": ".location-query",
    "pushtotalk": ".voip-ptt",
    "widgets": ".push-type.widgets",
    "controls": ".push-type.controls",
}
MAX_PAYLOAD_BYTES = 4096
MAX_VOIP_PAYLOAD_BYTES = 5120
MAX_COLLAPSE_ID_BYTES = 64
INTERNAL_ERROR = 2  # HTTP/2 error code, RFC 9113 section 7
SHUTDOWN_DEBUG = b'{"reason":"Shutdown"}'

_is_uuid = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE).fullmatch
_is_token = re.compile(r"[0-9a-f]{64,200}", re.IGNORECASE).fullmatch
_is_topic = re.compile(r"[A-Za-z0-9.-]{1,255}").fullmatch
_is_seconds = re.compile(r"[0-9]{1,10}").fullmatch
_decode_json = msgspec.json.decode
_encode_json = msgspec.json.encode


class ApnsSimulator:
    """Answers as APNs does.

    keys: key id -> (team id, public key PEM). topics: team id -> its bundle ids. now: UTC seconds.
    slow_s: the delay of Slow tokens. ids_kept: how many of the last accepted apns-ids to keep in
    accepted_ids. accepted, requests, rejected (by reason): counted since the start.
    """

    def __init__(
        self,
        keys: Mapping[str, tuple[str, bytes | str]],
        topics: Mapping[str, AbstractSet[str]],
        now: Callable[[], float] = time.time,
        *,
        slow_s: float = 2.0,
        ids_kept: int = 0,
    ) -> None:
        self._judge = Judge(keys, now)
        self._topics = {team: frozenset(ids) for team, ids in topics.items()}
        self._slow_s = slow_s
        self._server: HttpServer | None = None
        self.accepted = 0
        self.requests = 0
        self.rejected: Counter[str] = Counter()
        self.accepted_ids: deque[str] = deque(maxlen=ids_kept)

    async def start(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        tls: ssl.SSLContext | None = None,
        around: Around = as_it_is,
    ) -> int:
        """Listen and give the bound port. Raises OSError when it is taken."""
        self._server = HttpServer(around(self.handle), tls=tls)
        return await self._server.start(host, port)

    async def stop(self) -> None:
        """Stop listening and cut every connection."""
        if self._server is not None:
            await self._server.stop()
            self._server = None

    def handle(self, request: Request) -> Response:
        """Answer one request."""
        if request.path == STATS_PATH and request.method == "GET":
            return self._stats()
        self.requests += 1
        if request.http_version != "2":
            return Response(action=Action.CLOSE)  # Apple speaks HTTP/2 only
        apns_id = request.headers.get("apns-id") or str(uuid.uuid4())
        reason = self._defect(request)
        if reason:
            return self._refuse(reason, apns_id)
        scenario = read_scenario(request.path[len(DEVICE_PATH) :])
        if scenario is None:
            return self._accept(apns_id)
        return self._play(scenario, apns_id)

    def _stats(self) -> Response:
        stats = {
            "accepted": self.accepted,
            "requests": self.requests,
            "rejected": dict(self.rejected),
        }
        return Response(headers={"content-type": "application/json"}, body=_encode_json(stats))

    def _accept(self, apns_id: str) -> Response:
        self.accepted += 1
        self.accepted_ids.append(apns_id)
        return Response(headers={"apns-id": apns_id})

    def _refuse(self, reason: str, apns_id: str, *, at_ms: int = 0) -> Response:
        self.rejected[reason] += 1
        status = STATUS_OF.get(reason, 400)
        body: dict[str, str | int] = {"reason": reason}
        if status == 410:
            body["timestamp"] = at_ms
        return Response(status, {"apns-id": apns_id}, _encode_json(body))

    def _play(self, scenario: Scenario, apns_id: str) -> Response:
        """Answer as the device token asks."""
        name = scenario.name
        if name in _UNANSWERED:
            return Response(action=_UNANSWERED[name])
        if name == SLOW:
            return replace(self._accept(apns_id), delay_s=self._slow_s)
        if name in (GOAWAY, GOAWAY_ERROR):
            return replace(
                self._accept(apns_id),
                action=Action.GOAWAY,
                goaway_debug=SHUTDOWN_DEBUG,
                goaway_code=INTERNAL_ERROR if name == GOAWAY_ERROR else 0,
            )
        refusal = self._refuse(name, apns_id, at_ms=scenario.at_ms)
        # A server that shuts down says so in its answer and then ends the connection.
        if name == "Shutdown":
            return replace(refusal, action=Action.GOAWAY, goaway_debug=SHUTDOWN_DEBUG)
        return refusal

    def _defect(self, request: Request) -> str:
        """Give the reason to refuse the request, or nothing."""
        if request.method != "POST":
            return "MethodNotAllowed"
        if not request.path.startswith(DEVICE_PATH):
            return "BadPath"
        if request.duplicates:
            return "DuplicateHeaders"
        headers = request.headers
        reason, team_id = self._judge.check(headers.get("authorization"), request.connection)
        push_type = headers.get("apns-push-type", "alert")
        return (
            reason
            or self._topic_defect(headers.get("apns-topic"), push_type, team_id)
            or _header_defect(headers, push_type)
            or _token_defect(request.path[len(DEVICE_PATH) :])
            or _payload_defect(request.body, push_type)
        )

    def _topic_defect(self, topic: str | None, push_type: str, team_id: str) -> str:
        suffix = SUFFIXES.get(push_type)
        if suffix is None:
            return "InvalidPushType"
        if topic is None:
            return "MissingTopic"
        if not _is_topic(topic) or not topic.endswith(suffix):
            return "BadTopic"
        if topic.removesuffix(suffix) not in self._topics.get(team_id, ()):
            return "TopicDisallowed"
        return ""


_UNANSWERED = {HANG: Action.HANG, RESET: Action.RESET, CLOSE: Action.CLOSE}


def _header_defect(headers: Mapping[str, str], push_type: str) -> str:
    apns_id = headers.get("apns-id")
    if apns_id is not None and not _is_uuid(apns_id):
        return "BadMessageId"
    collapse_id = headers.get("apns-collapse-id", "")
    if len(collapse_id) > MAX_COLLAPSE_ID_BYTES:  # latin-1 text: one character a byte
        return "BadCollapseId"
    priority = headers.get("apns-priority", "10")
    allowed = ("5",) if push_type == "background" else ("10", "5", "1")
    if priority not in allowed:
        return "BadPriority"
    if not _is_seconds(headers.get("apns-expiration", "0")):
        return "BadExpirationDate"
    return ""


def _token_defect(token: str) -> str:
    if not token:
        return "MissingDeviceToken"
    return "" if _is_token(token) else "BadDeviceToken"


def _payload_defect(body: bytes, push_type: str) -> str:
    if not body:
        return "PayloadEmpty"
    if len(body) > (MAX_VOIP_PAYLOAD_BYTES if push_type == "voip" else MAX_PAYLOAD_BYTES):
        return "PayloadTooLarge"
    # Apple documents no reason for a payload that is no JSON object or has no aps; this one, from
    # channel management, says best what is wrong.
    try:
        payload = _decode_json(body)
    except msgspec.DecodeError:
        return "BadRequestPayload"
    if not isinstance(payload, dict):
        return "BadRequestPayload"
    aps = payload.get("aps", {} if push_type == "mdm" else None)
    return "" if isinstance(aps, dict) else "BadRequestPayload"
