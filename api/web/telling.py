"""What routes about users share: change a record, put it on Kafka, wait if asked, answer."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import Request
from pydantic import BaseModel, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from api.web.answers import answered
from api.web.applied import Seen
from api.web.audit import note
from api.web.conditions import Condition, etag
from api.web.door import Door, door_of
from api.web.problems import faulty
from api.web.records import put
from api.web.said import MAX_AHEAD_MS, Aspect, B, Edit, Known, Said, say
from operators.registry_words import moment_of
from schemas.decode import explain, faults
from schemas.merging import patched
from schemas.stream import Record
from schemas.tenant import Tenant
from state.profiles import Profile


def instead(body: B, when: Condition) -> Edit[B]:
    """Say this, whatever was said before."""

    def edit(known: Known[B]) -> B:
        known.check(when)
        return body

    return edit


def patch_with(aspect: Aspect[B], patch: Mapping[str, Any], when: Condition) -> Edit[B]:
    """Lay a JSON merge patch over what was said before."""

    def edit(known: Known[B]) -> B:
        known.check(when)
        base = known.body.model_dump(mode="json", exclude_defaults=True)
        try:
            return aspect.body.model_validate(patched(base, patch))
        except ValidationError as error:
            raise faulty(explain(faults(aspect.body, error))) from None

    return edit


async def tell(
    request: Request,
    tenant: Tenant,
    aspect: Aspect[B],
    user_id: str,
    edit: Edit[B],
    *,
    wait_s: int,
) -> Response:
    """Change what is said of a user: 202 once Kafka has it, 200 once the registry has applied it.

    Raises ProblemError, StateError.
    """
    door = door_of(request)
    said = await run_in_threadpool(say, door, tenant, aspect, user_id, edit)
    note(request, target=user_id, before=said.before, after=said.body)
    await sent(door, [said])
    seen = await applied(door, tenant, aspect, said, user_id, wait_s=wait_s)
    if seen is not None and seen.profile is not None:
        return shown(request, aspect, user_id, seen.profile, waited_s=wait_s)
    return answered(request, _view(aspect, user_id, said.body, said.at_ms), 202)


def shown(
    request: Request, aspect: Aspect[B], user_id: str, profile: Profile, *, waited_s: int = 0
) -> Response:
    """Answer with what the registry has."""
    headers = {"ETag": etag(profile.version)}
    if waited_s:
        headers["Preference-Applied"] = f"wait={waited_s}"
    view = _view(aspect, user_id, aspect.words(profile), aspect.at_ms(profile))
    return answered(request, view, headers=headers)


def _view(aspect: Aspect[B], user_id: str, body: B | None, at_ms: int) -> BaseModel:
    said = {} if body is None else dict(body)
    return aspect.view.model_construct(user_id=user_id, updated_at=moment_of(at_ms), **said)


async def sent(door: Door, said: Sequence[Said[Any]], *more: Record) -> None:
    """Return once Kafka has what was said. more: records before it. Raises ProblemError.

    A record of the same millisecond as the one before waits for the next: the registry takes no
    time that lies after Kafka's own, and could not tell which of the two is newer.
    """
    ahead_ms = max((one.at_ms for one in said), default=0) - door.wall_ms()
    if ahead_ms > 0:
        await asyncio.sleep(min(ahead_ms, MAX_AHEAD_MS) / 1_000)
    await put(door, [*more, *(one.record for one in said)])


async def applied(
    door: Door, tenant: Tenant, aspect: Aspect[B], said: Said[B], user_id: str, *, wait_s: int
) -> Seen | None:
    """Give the profile once the registry has applied it; None when it did not in time."""

    def holds(profile: Profile | None) -> bool:
        if profile is None or said.body is None:
            return profile is None and said.body is None
        return aspect.at_ms(profile) >= said.at_ms or aspect.words(profile) == said.body

    if not wait_s:
        return None
    return await door.applied.until(tenant, user_id, holds, timeout_s=wait_s)
