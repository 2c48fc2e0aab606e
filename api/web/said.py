"""Changes of what is said about a user, one upon the other, so that none is lost."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import uniform
from time import sleep
from typing import Generic, NamedTuple, TypeVar

from pydantic import BaseModel

from api.web.conditions import Condition
from api.web.door import Door
from api.web.problems import ProblemError
from api.web.records import raw_of
from operators.registry_words import moment_of, preferences_words, profile_words
from schemas import topics
from schemas.registry import (
    PreferencesBody,
    ProfileBody,
    UserPreferences,
    UserProfile,
    registry_key,
)
from schemas.stream import Record
from schemas.tenant import Tenant
from schemas.user_api import PreferencesView, UserView
from state.pending import Pending, RedisPending
from state.profiles import Profile, RedisProfiles

MAX_ATTEMPTS = 16
PAUSE_S, MAX_PAUSES = 0.005, 8
"""Before each further attempt: up to so many seconds more, so often."""
MAX_AHEAD_MS = 2_000
"""How far ahead of ours another server's clock may be."""

B = TypeVar("B", ProfileBody, PreferencesBody)


@dataclass(frozen=True)
class Aspect(Generic[B]):
    """One of a user's two records. kind: names it in state.

    body, record, view: as it is said, as it stands on the topic, and as it is shown. words: what a
    profile says of it. at_ms: the time of the record that the profile has.
    """

    kind: str
    topic: str
    body: type[B]
    record: type[BaseModel]
    view: type[BaseModel]
    words: Callable[[Profile | None], B]
    at_ms: Callable[[Profile], int]


PROFILE = Aspect(
    "u",
    topics.USERS,
    ProfileBody,
    UserProfile,
    UserView,
    profile_words,
    lambda one: one.updated_at_ms,
)
PREFERENCES = Aspect(
    "p",
    topics.PREFERENCES,
    PreferencesBody,
    UserPreferences,
    PreferencesView,
    preferences_words,
    lambda one: one.preferences_at_ms,
)


@dataclass(frozen=True)
class Known(Generic[B]):
    """What is known of a user. at_ms: since when. profile: what the registry has.

    is_changing: body is of a record that the registry has yet to apply.
    """

    body: B
    at_ms: int
    profile: Profile | None
    is_changing: bool

    @property
    def version(self) -> int:
        """Give the version that the registry has, 0 for none."""
        return self.profile.version if self.profile is not None else 0

    def check(self, when: Condition) -> None:
        """Refuse a change of what the caller has not seen. Raises ProblemError: 412."""
        if when.over(self.version) is not None and self.is_changing:
            raise ProblemError(412, "it is changing: read it again, and make your change to that")


@dataclass(frozen=True)
class Said(Generic[B]):
    """A change that is to go to Kafka. known: what it changes. body: None forgets."""

    known: Known[B]
    body: B | None
    at_ms: int
    record: Record

    @property
    def before(self) -> B:
        """Give what was said before."""
        return self.known.body


Edit = Callable[[Known[B]], B | None]
"""Gives what is to be said, None to forget it. Pure: may be asked again. Raises ProblemError."""


class _Read(NamedTuple, Generic[B]):
    newest: Pending | None
    known: Known[B]


def profile_of(door: Door, tenant: Tenant, user_id: str) -> Profile | None:
    """Give what the registry has of a user. Blocks. Raises StateError."""
    return RedisProfiles(door.redis).get_many(tenant.name, tenant.shards, [user_id])[0]


def known_of(door: Door, tenant: Tenant, aspect: Aspect[B], user_id: str) -> Known[B]:
    """Give what is known of a user, with what is still on its way. Blocks. Raises StateError."""
    return _read(door, tenant, aspect, [user_id])[0].known


def say(door: Door, tenant: Tenant, aspect: Aspect[B], user_id: str, edit: Edit[B]) -> Said[B]:
    """Change what is said of a user. Blocks. Raises ProblemError, StateError."""
    said = say_many(door, tenant, aspect, {user_id: edit})[user_id]
    if isinstance(said, ProblemError):
        raise said
    return said


def say_many(
    door: Door, tenant: Tenant, aspect: Aspect[B], edits: Mapping[str, Edit[B]]
) -> dict[str, Said[B] | ProblemError]:
    """Change what is said of each of these users; `sent` takes it from there. Blocks.

    Two who change the same user one after the other, or at once, both count: the second starts
    from what the first said. Times of a user's records only grow. Raises StateError.
    """
    pending = RedisPending(door.redis)
    done: dict[str, Said[B] | ProblemError] = {}
    left = list(edits)
    for attempt in range(MAX_ATTEMPTS):
        # Those who met spread out, wider each time: one of them wins each round.
        sleep(uniform(0, min(attempt, MAX_PAUSES) * PAUSE_S))  # noqa: S311 - no secret
        swaps = {}
        for user_id, (newest, known) in zip(left, _read(door, tenant, aspect, left), strict=True):
            try:
                said = _said(door, aspect, (tenant.name, user_id), known, edits[user_id])
            except ProblemError as problem:
                done[user_id] = problem
                continue
            done[user_id] = said
            swaps[user_id] = (newest, Pending(said.at_ms, said.record.value or b""))
        if not swaps:
            return done
        won = pending.swap_many(tenant.name, tenant.shards, aspect.kind, swaps)
        left = [user_id for user_id, is_mine in zip(swaps, won, strict=True) if not is_mine]
        if not left:
            return done
    busy = ProblemError(503, "it keeps changing, try again", headers={"Retry-After": "1"})
    return done | dict.fromkeys(left, busy)


def _read(door: Door, tenant: Tenant, aspect: Aspect[B], users: list[str]) -> list[_Read[B]]:
    """Read what is on its way first: the profile is then at least as new as that was."""
    where = (tenant.name, tenant.shards)
    newest = RedisPending(door.redis).get_many(*where, aspect.kind, users)
    profiles = RedisProfiles(door.redis).get_many(*where, users)
    return [
        _Read(one, _known(aspect, one, profile))
        for one, profile in zip(newest, profiles, strict=True)
    ]


def _known(aspect: Aspect[B], newest: Pending | None, profile: Profile | None) -> Known[B]:
    stored = aspect.words(profile)
    at_ms = aspect.at_ms(profile) if profile is not None else 0
    if newest is None or newest.at_ms <= at_ms:
        return Known(stored, at_ms, profile, is_changing=False)
    body = aspect.body()
    if newest.raw:
        record = aspect.record.model_validate_json(newest.raw)
        body = aspect.body.model_construct(
            **{name: getattr(record, name) for name in aspect.body.model_fields}
        )
    return Known(body, newest.at_ms, profile, is_changing=body != stored)


def _said(
    door: Door, aspect: Aspect[B], who: tuple[str, str], known: Known[B], edit: Edit[B]
) -> Said[B]:
    body = edit(known)
    now_ms = door.wall_ms()
    at_ms = max(now_ms, known.at_ms + 1)
    if at_ms - now_ms > MAX_AHEAD_MS:
        raise ProblemError(
            503, "the clock of a server that changed it before is ahead, try again in a while"
        )
    raw = None
    if body is not None:
        raw = raw_of(
            aspect.record.model_construct(
                tenant=who[0], user_id=who[1], updated_at=moment_of(at_ms), **dict(body)
            )
        )
    record = Record(aspect.topic, registry_key(*who), raw)
    return Said(known, body, at_ms, record)
