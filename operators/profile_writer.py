"""Changes into the shared state: profiles, token owners, segments."""

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from operators.registration import (
    Change,
    Registration,
    Removal,
    UserChange,
    removes,
    with_change,
)
from operators.registry_rows import DeviceRow, UserRow
from schemas.tenant import Tenant
from state.profiles import Profile, Profiles
from state.segments import EVERYONE, Segments
from state.tokens import Tokens

TAKEN_OVER = "taken_over"


class WriteProfiles:
    """Applies a batch of changes to the shared state and gives the rows for analytics.

    Each write is idempotent: a replayed batch leaves the same state. A token that registers
    under a new user leaves the old one; of two claims the later registration wins.
    """

    def __init__(
        self,
        tenants: Mapping[str, Tenant],
        *,
        profiles: Profiles,
        tokens: Tokens,
        segments: Segments,
    ) -> None:
        self._tenants = tenants
        self._profiles = profiles
        self._tokens = tokens
        self._segments = segments

    def __call__(self, changes: list[Change]) -> list[Any]:
        """Write a batch, in a handful of round trips per tenant."""
        by_tenant: defaultdict[str, list[Change]] = defaultdict(list)
        for change in changes:
            by_tenant[change.tenant].append(change)
        rows: list[Any] = []
        for name, group in by_tenant.items():
            tenant = self._tenants.get(name)
            shards = tenant.shards if tenant is not None else Tenant.model_fields["shards"].default
            rows += self._write(name, shards, group)
        return rows

    def _write(self, tenant: str, shards: int, changes: list[Change]) -> list[Any]:
        changes = self._settle_tokens(tenant, changes)
        by_user: defaultdict[str, list[Change]] = defaultdict(list)
        for change in changes:
            by_user[change.user_id].append(change)
        users = list(by_user)
        before = dict(zip(users, self._profiles.get_many(tenant, shards, users), strict=True))
        self._write_segments(tenant, shards, before, by_user)
        after = self._profiles.update_many(
            tenant, shards, {user: _Fold(by_user[user]) for user in users}
        )
        rows, releases = _consequences(changes, before, after)
        if releases:
            self._tokens.release_many(tenant, releases)
        return rows

    def _settle_tokens(self, tenant: str, changes: list[Change]) -> list[Change]:
        """Claim the tokens of all registrations; the losers fall out, old owners lose theirs."""
        claims = [
            (c.device.token, c.user_id, c.device.device_id, c.device.registered_at_ms)
            for c in changes
            if isinstance(c, Registration)
        ]
        if not claims:
            return changes
        answers = iter(self._tokens.claim_many(tenant, claims))
        settled: list[Change] = []
        for change in changes:
            if not isinstance(change, Registration):
                settled.append(change)
                continue
            claim = next(answers)
            if not claim.won:
                continue
            if claim.previous is not None:
                at_ms = change.device.registered_at_ms
                settled.append(
                    Removal(tenant, *claim.previous, change.device.token, at_ms, TAKEN_OVER)
                )
            settled.append(change)
        return settled

    def _write_segments(
        self,
        tenant: str,
        shards: int,
        before: Mapping[str, Profile | None],
        by_user: Mapping[str, list[Change]],
    ) -> None:
        """Move users between segments, before the profile that tells the old ones is replaced."""
        joins: defaultdict[str, list[str]] = defaultdict(list)
        leaves: defaultdict[str, list[str]] = defaultdict(list)
        for user, changes in by_user.items():
            old = before[user]
            new = _Fold(changes)(old)
            was = {*old.segments, EVERYONE} if old is not None else set()
            now = {*new.segments, EVERYONE} if new is not None else set()
            # What stays is written again: an earlier try may have died between the two stores.
            touched = any(isinstance(change, UserChange) for change in changes)
            for segment in now if touched else now - was:
                joins[segment].append(user)
            for segment in was - now:
                leaves[segment].append(user)
        for segment, users in joins.items():
            self._segments.add(tenant, shards, segment, users)
        for segment, users in leaves.items():
            self._segments.remove(tenant, shards, segment, users)


class _Fold:
    """All changes of one user, as the one function that update_many takes."""

    def __init__(self, changes: list[Change]) -> None:
        self._changes = changes

    def __call__(self, profile: Profile | None) -> Profile | None:
        for change in self._changes:
            profile = with_change(profile, change)
        return profile


Release = tuple[str, str, str, int]


def _consequences(
    changes: list[Change],
    before: Mapping[str, Profile | None],
    after: Mapping[str, Profile | None],
) -> tuple[list[Any], list[Release]]:
    """Give the rows of all changes and the tokens to release, following them one by one."""
    rows: list[Any] = []
    releases: list[Release] = []
    now = dict(before)
    for change in changes:
        user = change.user_id
        known = now[user]
        now[user] = with_change(known, change)
        if isinstance(change, Registration):
            rows.append(
                DeviceRow.registered(change.tenant, user, change.device, change.app_version)
            )
        elif isinstance(change, Removal):
            gone = [d for d in (known.devices if known is not None else ()) if removes(change, d)]
            rows += [
                DeviceRow.removed(change.tenant, user, d, change.reason, change.at_ms) for d in gone
            ]
            if change.reason != TAKEN_OVER:
                tokens = {d.token for d in gone} | ({change.token} if change.token else set())
                releases += [(t, user, change.device_id, change.at_ms) for t in tokens]
        else:
            rows.append(UserRow.of(change.tenant, user, after[user], change.at_ms))
    return rows, releases
