"""Makes a provider simulator misbehave as a whole, and remembers what reached it.

`POST /sandbox/behave` sets the behaviour, `GET /sandbox/seen` tells what was accepted how often.
"""

import json
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from sandbox.fcm_answers import fcm_error
from sandbox.http_types import Action, Handler, Request, Response
from schemas.pipeline import Platform

BEHAVE_PATH = "/sandbox/behave"
SEEN_PATH = "/sandbox/seen"
_SERVICE_PATHS = frozenset({"/token"})  # access tokens are another service's
_JSON = {"content-type": "application/json"}


@dataclass(frozen=True)
class Behaviour:
    """What every request meets; the defaults are the simulator's own answers.

    down: answer 503. hang: take requests and never answer. most_per_s: answer 429 beyond this many
    a second, 0 for no limit. answer_s: an answer takes this long while at most `knee` requests are
    under way, and beyond that in proportion. remember: keep what is accepted, for /sandbox/seen.
    """

    down: bool = False
    hang: bool = False
    most_per_s: int = 0
    answer_s: float = 0.0
    knee: int = 1_000_000
    remember: bool = False


@dataclass
class Seen:
    """What was accepted. marks: by message, the ids that it bore."""

    times: Counter[str] = field(default_factory=Counter)
    marks: dict[str, set[str]] = field(default_factory=dict)

    def add(self, message: str, mark: str) -> None:
        """Count a message."""
        self.times[message] += 1
        self.marks.setdefault(message, set()).add(mark)

    def as_json(self) -> bytes:
        """Give how often each message came, and the ids of those that came more than once."""
        repeated = {
            message: sorted(self.marks[message])
            for message, times in self.times.items()
            if times > 1
        }
        return json.dumps({"times": self.times, "marks": repeated}).encode()


class Misbehaving:
    """Stands before a simulator's handler. monotonic: in seconds."""

    def __init__(self, platform: Platform, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._platform = platform
        self._monotonic = monotonic
        self._behaviour = Behaviour()
        self._seen = Seen()
        self._second = 0
        self._in_second = 0
        self._under_way: deque[float] = deque()
        self.most_under_way = 0
        self.refused = 0

    def around(self, handler: Handler) -> Handler:
        """Give the handler that misbehaves when told to."""

        def handle(request: Request) -> Response:
            if request.path == BEHAVE_PATH and request.method == "POST":
                return self._set(request.body)
            if request.path == SEEN_PATH:
                return Response(headers=_JSON, body=self._seen.as_json())
            if request.method != "POST" or request.path in _SERVICE_PATHS:
                return handler(request)
            return self._handle(request, handler)

        return handle

    def _set(self, body: bytes) -> Response:
        try:
            given = json.loads(body)
            self._behaviour = Behaviour(**given)
        except (ValueError, TypeError) as error:
            known = ", ".join(one.name for one in fields(Behaviour))
            text = f"write a JSON object with some of {known}: {error}"
            return Response(400, _JSON, json.dumps({"error": text}).encode())
        before = {"refused": self.refused, "most_under_way": self.most_under_way}
        self.refused = self.most_under_way = 0
        return Response(headers=_JSON, body=json.dumps(before).encode())

    def _handle(self, request: Request, handler: Handler) -> Response:
        behaviour = self._behaviour
        if behaviour.hang:
            return Response(action=Action.HANG)
        if behaviour.down:
            self.refused += 1
            return _UNAVAILABLE[self._platform]
        if behaviour.most_per_s and self._is_over(behaviour.most_per_s):
            self.refused += 1
            return _TOO_FAST[self._platform]
        response = handler(request)
        if behaviour.remember and response.status < 300 and response.action is Action.ANSWER:
            self._seen.add(*_identity(self._platform, request))
        if behaviour.answer_s:
            return replace(response, delay_s=self._takes_s(behaviour))
        return response

    def _is_over(self, most_per_s: int) -> bool:
        second = int(self._monotonic())
        if second != self._second:
            self._second, self._in_second = second, 0
        self._in_second += 1
        return self._in_second > most_per_s

    def _takes_s(self, behaviour: Behaviour) -> float:
        now_s = self._monotonic()
        while self._under_way and self._under_way[0] <= now_s:
            self._under_way.popleft()
        crowd = len(self._under_way) + 1
        self.most_under_way = max(self.most_under_way, crowd)
        takes_s = behaviour.answer_s * max(1.0, crowd / behaviour.knee)
        # Kept in order, as one that comes later ends hardly sooner.
        self._under_way.append(max(now_s + takes_s, self._under_way[-1] if self._under_way else 0))
        return takes_s


def _identity(platform: Platform, request: Request) -> tuple[str, str]:
    """Give the device's token with the message, and the id by which the device knows repeats."""
    headers = request.headers
    if platform is Platform.APNS:
        return request.path, headers.get("apns-id", "")
    if platform is Platform.WEBPUSH:
        return request.path, headers.get("topic", "")
    message: Mapping[str, Any] = json.loads(request.body)["message"]
    android: Mapping[str, Any] = message.get("android", {})
    # Both spellings are Protobuf's JSON.
    mark = android.get("collapseKey") or android.get("collapse_key", "")
    return str(message.get("token")), str(mark)


_UNAVAILABLE = {
    Platform.APNS: Response(503, _JSON, b'{"reason":"ServiceUnavailable"}'),
    Platform.FCM: fcm_error(503, "UNAVAILABLE", "The service is currently unavailable."),
    Platform.WEBPUSH: Response(503),
}
_TOO_FAST = {
    Platform.APNS: Response(429, _JSON, b'{"reason":"TooManyRequests"}'),
    Platform.FCM: fcm_error(429, "QUOTA_EXCEEDED", "Quota exceeded.", retry_after="1"),
    Platform.WEBPUSH: Response(429, {"retry-after": "1"}),
}
