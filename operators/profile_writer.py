"""Changes into the shared state: profiles, token owners, segments."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from operators.registration import (
    Change,
    Registration,
    Removal,
    UserChange,
    outlives,
    removes,
    with_change,
)
from operators.registry_rows import AuditRow, DeviceRow, UserEventRow, UserRow
from operators.segment_rules import LiveSegment, edit_of
from schemas.fields import GROUP_PREFIX, TOPIC_PREFIX
from schemas.tenant import Tenant, shards_of
from state.definitions import Watched
from state.errors import StateConflictError
from state.profiles import MAX_ATTEMPTS, Device, Profile, Profiles
from state.segments import EVERYONE, Segments
from state.tokens import TokenClaim, Tokens

TAKEN_OVER = "taken_over"
USER_REMOVED = "user_removed"

Step = tuple[Change, Profile | None]
"""A change, and the profile that it meets."""


class WriteProfiles:
    """Applies a batch of changes to the shared state and gives the rows for analytics.

    Each write is idempotent: a replayed batch leaves the same state. A token that registers
    under a new user leaves the old one; of two claims the later registration wins.

    rules: the tenants' segments by rule, if any are to be kept. now_ms: for rules on ages.
    """

    def __init__(
        self,
        tenants: Mapping[str, Tenant],
        *,
        profiles: Profiles,
        tokens: Tokens,
        segments: Segments,
        rules: Watched[LiveSegment] | None = None,
        now_ms: Callable[[], int] = lambda: 0,
    ) -> None:
        self._tenants = tenants
        self._profiles = profiles
        self._tokens = tokens
        self._segments = segments
        self._rules = rules
        self._now_ms = now_ms

    def __call__(self, changes: list[Change | UserEventRow | AuditRow]) -> list[Any]:
        """Write a batch, in a handful of round trips per tenant; rows pass."""
        by_tenant: defaultdict[str, list[Change]] = defaultdict(list)
        rows: list[Any] = []
        for change in changes:
            if isinstance(change, (UserEventRow, AuditRow)):
                rows.append(change)
            else:
                by_tenant[change.tenant].append(change)
        for name, group in by_tenant.items():
            rows += self._write(name, shards_of(self._tenants, name), group)
        return rows

    def _write(self, tenant: str, shards: int, changes: list[Change]) -> list[Any]:
        changes = self._settle_tokens(tenant, changes)
        by_user: defaultdict[str, list[Change]] = defaultdict(list)
        for change in changes:
            by_user[change.user_id].append(change)
        users = list(by_user)
        before = dict(zip(users, self._profiles.get_many(tenant, shards, users), strict=True))
        steps, expected = _folded(changes, before)
        # Before the profile that tells the old ones is replaced: a replay could not tell them.
        were = {user: _segments_of(before[user]) for user in users}
        self._leave(tenant, shards, {u: were[u] - _segments_of(expected[u]) for u in users})
        folds = {user: _Fold(by_user[user]) for user in users}
        after = self._profiles.update_many(tenant, shards, folds)
        # What others, such as a rebuild, wrote since `before` was read.
        met = {user: folds[user].met for user in users if folds[user].met != before[user]}
        for user in users:
            were[user] |= _segments_of(expected[user]) | _segments_of(met.get(user))
        self._confirm_segments(tenant, shards, were, after)
        met_steps, _ = _folded([change for change in changes if change.user_id in met], met)
        # After the profiles: a claim that is repeated must still find whom the token left.
        self._release(tenant, [*steps, *met_steps], after)
        rows = [row for step in steps for row in _rows(step, after)]
        return rows + self._confirm_tokens(tenant, shards, changes, after)

    def _settle_tokens(self, tenant: str, changes: list[Change]) -> list[Change]:
        """Claim the tokens of all registrations; who loses one, or comes too late, is removed.

        One claim a token: of a token that moves twice within a batch, a replay could not tell
        whom it left first.
        """
        best: dict[str, TokenClaim] = {}
        for change in changes:
            if isinstance(change, Registration):
                claim = _claim(change)
                if claim.token not in best or claim.at_ms > best[claim.token].at_ms:
                    best[claim.token] = claim
        if not best:
            return changes
        answers = dict(zip(best, self._tokens.claim_many(tenant, [*best.values()]), strict=True))
        settled: list[Change] = []
        for change in changes:
            if not isinstance(change, Registration):
                settled.append(change)
                continue
            own, winner = _claim(change), best[change.device.token]
            answer = answers[own.token]
            if not answer.won or own[1:3] != winner[1:3]:
                settled += [change, Removal(tenant, *own[1:3], own.token, own.at_ms, TAKEN_OVER)]
                continue
            if answer.previous is not None:
                settled.append(
                    Removal(tenant, *answer.previous, own.token, winner.at_ms, TAKEN_OVER)
                )
            settled.append(change)
        return settled

    def _leave(self, tenant: str, shards: int, left: Mapping[str, set[str]]) -> None:
        for segment, users in _by_segment(left).items():
            self._segments.remove(tenant, shards, segment, users)

    def _confirm_segments(
        self,
        tenant: str,
        shards: int,
        were: Mapping[str, set[str]],
        after: Mapping[str, Profile | None],
    ) -> None:
        """Put users into the segments of their profiles and out of others they were in.

        Others may write the same users meanwhile. Who writes a profile does this afterwards, until
        the profile stayed as it was: so the last one to write it has the last word on segments.
        Raises StateConflictError.
        """
        found = dict(after)
        users = list(found)
        for _ in range(MAX_ATTEMPTS):
            now = {user: _segments_of(found[user]) for user in users}
            for segment, joining in _by_segment(now).items():
                self._segments.add(tenant, shards, segment, joining)
            self._leave(tenant, shards, {user: were[user] - now[user] for user in users})
            self._judge(tenant, shards, found)
            again = self._profiles.get_many(tenant, shards, users)
            changed = {
                user: profile
                for user, profile in zip(users, again, strict=True)
                if profile != found[user]
            }
            if not changed:
                return
            were = {user: were[user] | now[user] for user in changed}
            found, users = changed, list(changed)
        raise StateConflictError(f"{len(users)} profiles of tenant {tenant!r} kept changing")

    def _judge(self, tenant: str, shards: int, profiles: Mapping[str, Profile | None]) -> None:
        """Put users into the rule segments that mean them, and out of the others.

        The rules are read after the profiles were written, and `everyone` has the users: whoever
        builds a rule that was not there yet finds these profiles as they are now.
        """
        if self._rules is None:
            return
        self._rules.refresh()
        now_ms = self._now_ms()
        edits = [
            edit_of(rule, rule.matches, profiles, now_ms)
            for rule in self._rules.of(tenant).values()
            if rule.matches is not None
        ]
        if edits:
            self._segments.edit(tenant, shards, edits)

    def _confirm_tokens(
        self,
        tenant: str,
        shards: int,
        changes: list[Change],
        after: Mapping[str, Profile | None],
    ) -> list[Any]:
        """Take tokens once more that another writer's claim took, or freed, before the profile was.

        Gives the rows of what follows from it; hardly ever anything.
        """
        held = {
            change.device.token: change
            for change in changes
            if isinstance(change, Registration)
            and _has(after[change.user_id], change.device.device_id, change.device.token)
        }
        if not held:
            return []
        owners = self._tokens.owners(tenant, list(held))
        lost = [
            change
            for change, owner in zip(held.values(), owners, strict=True)
            if owner != _claim(change)[1:3]
        ]
        if not lost:
            return []
        settled = self._settle_tokens(tenant, list(lost))
        users = [change.user_id for change in lost]
        for change, profile in zip(
            lost, self._profiles.get_many(tenant, shards, users), strict=True
        ):
            # Removed meanwhile, by someone who found no owner to remove.
            if not _has(profile, change.device.device_id, change.device.token):
                self._tokens.release_many(tenant, [_claim(change)])
        removals: list[Change] = [change for change in settled if isinstance(change, Removal)]
        return self._write(tenant, shards, removals) if removals else []

    def _release(
        self, tenant: str, steps: Sequence[Step], after: Mapping[str, Profile | None]
    ) -> None:
        """Forget who owned the tokens that no device has any more."""
        releases = [
            (token, change.user_id, device_id, at_ms)
            for change, profile in steps
            for token, device_id, at_ms in _given_up(change, profile)
            if not _has(after[change.user_id], device_id, token)
        ]
        if releases:
            self._tokens.release_many(tenant, releases)


class _Fold:
    """All changes of one user, as the one function that update_many takes. met: the profile."""

    def __init__(self, changes: list[Change]) -> None:
        self._changes = changes
        self.met: Profile | None = None

    def __call__(self, profile: Profile | None) -> Profile | None:
        self.met = profile
        for change in self._changes:
            profile = with_change(profile, change)
        return profile


def _by_segment(of_users: Mapping[str, set[str]]) -> dict[str, list[str]]:
    users: defaultdict[str, list[str]] = defaultdict(list)
    for user, segments in of_users.items():
        for segment in segments:
            users[segment].append(user)
    return users


def _claim(change: Registration) -> TokenClaim:
    device = change.device
    return TokenClaim(device.token, change.user_id, device.device_id, device.registered_at_ms)


def _folded(
    changes: Sequence[Change], before: Mapping[str, Profile | None]
) -> tuple[list[Step], dict[str, Profile | None]]:
    """Pair each change with the profile it meets; give the profiles after all of them, too."""
    now = dict(before)
    steps: list[Step] = []
    for change in changes:
        profile = now[change.user_id]
        steps.append((change, profile))
        now[change.user_id] = with_change(profile, change)
    return steps, now


def _segments_of(profile: Profile | None) -> set[str]:
    """Give the segments that a profile names itself, also by its topics and device groups."""
    if profile is None:
        return set()
    return {
        EVERYONE,
        *profile.segments,
        *(f"{TOPIC_PREFIX}{name}" for name in profile.topics),
        *(f"{GROUP_PREFIX}{name}" for device in profile.devices for name in device.groups),
    }


def _has(profile: Profile | None, device_id: str, token: str) -> bool:
    return profile is not None and any(
        device.device_id == device_id and device.token == token for device in profile.devices
    )


def _lost(change: Change, profile: Profile | None) -> list[Device]:
    """Give the devices that the profile loses by the change."""
    if profile is None:
        return []
    if isinstance(change, Removal):
        return [device for device in profile.devices if removes(change, device)]
    if isinstance(change, UserChange) and change.profile is None:
        return [one for one in profile.devices if not outlives(one, change.at_ms)]
    return []


def _given_up(change: Change, profile: Profile | None) -> list[tuple[str, str, int]]:
    """Give (token, device, as of when) of what a change may leave without a device."""
    if isinstance(change, Registration):
        devices = profile.devices if profile is not None else ()
        same = [d for d in devices if d.device_id == change.device.device_id]
        return [(d.token, d.device_id, d.registered_at_ms) for d in (*same, change.device)]
    given_up = [(d.token, d.device_id, d.registered_at_ms) for d in _lost(change, profile)]
    if isinstance(change, Removal) and change.token:
        given_up.append((change.token, change.device_id, change.at_ms))
    return given_up


def _rows(step: Step, after: Mapping[str, Profile | None]) -> list[Any]:
    change, profile = step
    tenant, user_id = change.tenant, change.user_id
    if isinstance(change, Registration):
        return [DeviceRow.registered(tenant, user_id, change.device, change.app_version)]
    lost = _lost(change, profile)
    if isinstance(change, Removal):
        if not lost and not _knows(profile, change.device_id):
            # Removed by an earlier try that died before its rows were written, or never known.
            return [
                DeviceRow.gone(
                    tenant,
                    user_id,
                    change.device_id,
                    token=change.token,
                    reason=change.reason,
                    at_ms=change.at_ms,
                )
            ]
        return [DeviceRow.removed(tenant, user_id, d, change.reason, change.at_ms) for d in lost]
    return [
        *(DeviceRow.removed(tenant, user_id, d, USER_REMOVED, change.at_ms) for d in lost),
        UserRow.of(tenant, user_id, after[user_id], change.at_ms),
    ]


def _knows(profile: Profile | None, device_id: str) -> bool:
    return profile is not None and any(d.device_id == device_id for d in profile.devices)
