"""How far runs of campaigns are: which pieces route has expanded, and which parts gone through."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import msgspec

from schemas.campaigns import Run
from state.errors import StateCorruptError
from state.keys import progress_key, runs_key
from state.redis_client import Command, RedisClient

KEPT_S = 14 * 86_400
"""How long a run's marks are kept after the last of them."""
RUNS_KEPT = 20
"""Runs of one campaign that are remembered, the latest."""


class Mark(NamedTuple):
    """Something that route has done for a run; done again it is the same mark.

    piece: of the audience, or a part of one. parts: how many parts a piece has, -1 for a part.
    users: of the part.
    """

    tenant: str
    run_id: str
    piece: str
    parts: int = -1
    users: int = 0


class Tally(NamedTuple):
    """Marks, counted. parts: of all pieces expanded so far. routed: parts done. users: of these."""

    pieces: int = 0
    parts: int = 0
    routed: int = 0
    users: int = 0

    def is_drained(self, chunks: int) -> bool:
        """Tell whether all parts of so many pieces are through route."""
        return self.pieces >= chunks and self.routed >= self.parts


class Progress(Protocol):
    """Marks of runs, and the runs as their last tick left them. All raise StateUnavailableError."""

    def note(self, marks: Sequence[Mark]) -> None:
        """Keep marks. O(marks); one round trip; may be repeated."""
        ...

    def tally(self, tenant: str, run_id: str) -> Tally:
        """Count a run's marks. O(marks); one round trip."""
        ...

    def save(self, runs: Sequence[Run]) -> None:
        """Keep runs for people to look at, the latest of each campaign. O(runs); one round trip."""
        ...

    def runs(self, tenant: str, campaign: str) -> list[Run]:
        """Give a campaign's runs, the latest first. O(runs); one round trip."""
        ...


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Run).decode


class RedisProgress:
    """Marks in a hash per run, runs in one per campaign; see the port."""

    def __init__(self, client: RedisClient) -> None:
        self._client = client

    def note(self, marks: Sequence[Mark]) -> None:
        """See Progress."""
        fields: dict[str, list[Any]] = {}
        for mark in marks:
            key = progress_key(mark.tenant, mark.run_id)
            fields.setdefault(key, []).extend(_field(mark))
        commands: list[Command] = []
        for key, values in fields.items():
            commands += [("HSET", key, *values), ("EXPIRE", key, KEPT_S)]
        self._client.run_many(commands)

    def tally(self, tenant: str, run_id: str) -> Tally:
        """See Progress."""
        found = self._client.run("HGETALL", progress_key(tenant, run_id))
        return tally_of({name.decode(): int(value) for name, value in found.items()})

    def save(self, runs: Sequence[Run]) -> None:
        """See Progress."""
        self._client.run_many(
            [("HSET", runs_key(r.tenant, r.campaign), r.run_id, _encode(r)) for r in runs]
        )
        for run in runs:
            if run.tick <= 1:  # once a run
                self._forget(run)

    def runs(self, tenant: str, campaign: str) -> list[Run]:
        """See Progress."""
        try:
            found = [_decode(one) for one in self._client.run("HVALS", runs_key(tenant, campaign))]
        except msgspec.MsgspecError as error:
            raise StateCorruptError(f"a run of {campaign!r} cannot be read: {error}") from error
        return latest_first(found)

    def _forget(self, run: Run) -> None:
        old = self.runs(run.tenant, run.campaign)[RUNS_KEPT:]
        if old:
            self._client.run("HDEL", runs_key(run.tenant, run.campaign), *(r.run_id for r in old))


def latest_first(runs: Sequence[Run]) -> list[Run]:
    """Sort runs by when they were due, the latest first."""
    return sorted(runs, key=lambda run: (run.due_ms, run.run_id), reverse=True)


def _field(mark: Mark) -> tuple[str, int]:
    if mark.parts >= 0:
        return f"x{mark.piece}", mark.parts
    return f"p{mark.piece}", mark.users


def tally_of(fields: Mapping[str, int]) -> Tally:
    """Count marks as they are stored: x<piece> -> parts, p<part> -> users."""
    pieces = [value for name, value in fields.items() if name.startswith("x")]
    users = [value for name, value in fields.items() if name.startswith("p")]
    return Tally(len(pieces), sum(pieces), len(users), sum(users))


class MemoryProgress:
    """Marks in dicts; see Progress."""

    def __init__(self) -> None:
        self._marks: dict[tuple[str, str], dict[str, int]] = {}
        self._runs: dict[tuple[str, str], dict[str, Run]] = {}

    def note(self, marks: Sequence[Mark]) -> None:
        """See Progress."""
        for mark in marks:
            name, value = _field(mark)
            self._marks.setdefault((mark.tenant, mark.run_id), {})[name] = value

    def tally(self, tenant: str, run_id: str) -> Tally:
        """See Progress."""
        return tally_of(self._marks.get((tenant, run_id), {}))

    def save(self, runs: Sequence[Run]) -> None:
        """See Progress."""
        for run in runs:
            stored = self._runs.setdefault((run.tenant, run.campaign), {})
            stored[run.run_id] = run
            for old in latest_first(list(stored.values()))[RUNS_KEPT:]:
                del stored[old.run_id]

    def runs(self, tenant: str, campaign: str) -> list[Run]:
        """See Progress."""
        return latest_first(list(self._runs.get((tenant, campaign), {}).values()))
