"""Frequency caps: at most so many messages to a user in a rolling window."""

from binascii import b2a_base64
from collections.abc import Sequence
from hashlib import blake2b
from typing import NamedTuple, Protocol

import msgspec

from state import keys
from state.cap_scripts import EXACT, IN_SUBWINDOWS
from state.redis_client import Call, RedisClient, batches, spread

REPLAY_MS = 600_000
"""How long an admitted message is remembered at least, however short its windows."""
SUBWINDOWS = 8
"""Into how many parts a window is cut when it is not counted exactly."""
RECENT = 32
"""How many admitted messages a cap in sub-windows remembers, to know them in a replay."""


class CapLimit(NamedTuple):
    """At most `limit` messages recorded under `name` within window_ms."""

    name: str
    limit: int
    window_ms: int


class CapCheck(NamedTuple):
    """May this message go to this user? All limits must hold, or none records it.

    limits: of one name several windows may be limited; they share one record. A tuple of plain
    (name, limit, window_ms) will do; share one tuple among checks, it is sent once.
    exact: count rolling windows exactly, else in sub-windows; always the same for a name.
    A message is always asked with the same limits.
    """

    user_id: str
    message_id: str
    limits: tuple[CapLimit | tuple[str, int, int], ...]
    exact: bool = True


class Caps(Protocol):
    """Counts of what users got."""

    def admit_many(
        self, tenant: str, shards: int, checks: Sequence[CapCheck], now_ms: int
    ) -> list[bool | int]:
        """Ask and record, in order, each check atomically.

        Returns for each check True when it is admitted, else the index in its limits of the
        first that is used up. An index may be 0 or 1: test with `is True`.

        A message counts from now_ms up to, not including, now_ms + window_ms. One that is
        recorded is admitted again without being counted again, however full the cap is, while it
        is remembered: for its longest window, and at least REPLAY_MS. A refusal records nothing,
        so asked again it is judged again. A check without limits is admitted.

        Exact: one sorted set per user and name, the member is the message id, the score its
        time. What is admitted again counts from then on, as that is when it goes out; so a limit
        also holds over a replay that comes within its window. Memory: what was admitted in the
        longest window or REPLAY_MS.
        In sub-windows (exact=False): counts per 1/SUBWINDOWS of a window; a part that is only
        partly inside counts in full, so a cap is never exceeded but may hold up to
        window_ms/SUBWINDOWS too long. A message counts towards the windows of its own check only.
        A replay knows the last RECENT admitted messages of a user and name (by a 48-bit hash);
        an older one would be counted twice, which errs towards fewer messages. Memory: at most
        about 0.5 kB per user, name and window. It costs about as much time as exact: choose it
        for limits in the hundreds. Keys expire with their last message.

        O(checks * log(limit)); one round trip, at most 256 checks a script call (clustered: of
        one shard). Raises ValueError for a negative limit or a window below 1 ms (in sub-windows
        below SUBWINDOWS ms), StateUnavailableError.
        """
        ...

    def peek_many(
        self, tenant: str, shards: int, checks: Sequence[CapCheck], now_ms: int
    ) -> list[bool | int]:
        """Answer each check as admit_many would if it came alone. Nothing at all is written.

        Costs and raises as admit_many.
        """
        ...


Limits = tuple[CapLimit | tuple[str, int, int], ...]


class Rules:
    """The distinct limits of a batch, so that each is checked and sent once.

    sent: see cap_scripts. A rule keeps its records for its longest window, and REPLAY_MS.
    """

    def __init__(self, *, exact: bool) -> None:
        self.sent: list[tuple[int, int, list[tuple[int, int, int]]]] = []
        self._exact = exact
        self._known: dict[Limits, tuple[int, list[str]]] = {}

    def find(self, limits: Limits) -> tuple[int, list[str]]:
        """Give the position of the rule, from 1, and its distinct names. Raises ValueError."""
        return self._known.get(limits) or self._add(limits)

    def _add(self, limits: Limits) -> tuple[int, list[str]]:
        check_limits(limits, exact=self._exact)
        names = list(dict.fromkeys(name for name, _, _ in limits))
        longest_ms = max((window_ms for _, _, window_ms in limits), default=0)
        if not self._exact:
            longest_ms += longest_ms // SUBWINDOWS + 1
        positions = [(names.index(name) + 1, most, window_ms) for name, most, window_ms in limits]
        self.sent.append((len(names), max(REPLAY_MS, longest_ms), positions))
        self._known[limits] = (len(self.sent), names)
        return self._known[limits]


def check_limits(limits: Limits, *, exact: bool) -> None:
    """Raise ValueError for a limit that cannot be counted."""
    smallest_ms = 1 if exact else SUBWINDOWS
    for name, most, window_ms in limits:
        if most < 0 or window_ms < smallest_ms:
            raise ValueError(
                f"cap {name!r}: limit {most} must not be negative, "
                f"window {window_ms} ms must be at least {smallest_ms} ms"
            )


_PER_CALL = 256
_encode = msgspec.msgpack.Encoder().encode


class RedisCaps:
    """Caps in Redis; see the port."""

    def __init__(self, client: RedisClient) -> None:
        self._client = client

    def admit_many(
        self, tenant: str, shards: int, checks: Sequence[CapCheck], now_ms: int
    ) -> list[bool | int]:
        """See Caps."""
        return self._ask(tenant, shards, checks, now_ms, peek=False)

    def peek_many(
        self, tenant: str, shards: int, checks: Sequence[CapCheck], now_ms: int
    ) -> list[bool | int]:
        """See Caps."""
        return self._ask(tenant, shards, checks, now_ms, peek=True)

    def _ask(
        self, tenant: str, shards: int, checks: Sequence[CapCheck], now_ms: int, *, peek: bool
    ) -> list[bool | int]:
        tags = keys.shards_of([check.user_id for check in checks], shards)
        groups: list[list[int]] = []
        calls: list[Call] = []
        for exact in (True, False):
            chosen = [i for i, check in enumerate(checks) if check.exact is exact]
            rules = Rules(exact=exact)
            for part in batches(
                [tags[i] for i in chosen], clustered=self._client.clustered, at_most=_PER_CALL
            ):
                group = [chosen[n] for n in part]
                asked = [(checks[i], keys.shard_tag(tenant, tags[i])) for i in group]
                groups.append(group)
                calls.append(_call(rules, asked, now_ms, exact=exact, peek=peek))
        answers: list[int] = spread(groups, self._client.call(calls), len(checks))
        return [True if answer < 0 else answer for answer in answers]


def _call(
    rules: Rules,
    asked: Sequence[tuple[CapCheck, str]],
    now_ms: int,
    *,
    exact: bool,
    peek: bool,
) -> Call:
    """Make one script call for checks, each with its shard's tag."""
    where: list[str] = []
    told: list[str | int] = []
    for check, tag in asked:
        rule, names = rules.find(check.limits)
        where += [keys.cap_key(tag, check.user_id, name, exact=exact) for name in names]
        told += (check.message_id if exact else short_hash(check.message_id), rule)
    if exact:
        return Call(EXACT, where, [_encode((now_ms, rules.sent, told, peek))])
    asked_for = (now_ms, rules.sent, told, SUBWINDOWS, RECENT, peek)
    return Call(IN_SUBWINDOWS, where, [_encode(asked_for)])


def short_hash(message_id: str) -> str:
    """Hash to 8 characters (48 bits): among RECENT ids, a collision is one in 10^13."""
    return b2a_base64(blake2b(message_id.encode(), digest_size=6).digest(), newline=False).decode()
