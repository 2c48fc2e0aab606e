"""What must hold of what was committed, whatever happened before."""

from collections import Counter, defaultdict
from itertools import groupby

from schemas.outcomes import Reason
from tests.unit.operators.replay_events import DAY_S, DEVICES, FATES, Said
from tests.unit.operators.replay_world import Cap, World


def check(world: World, said: dict[str, Said]) -> None:
    """Check all that must hold of what was committed."""
    _check_ids(world)
    firsts = _check_duplicates(world, said)
    _check_everyone_is_decided_once(world, firsts)
    _check_caps(world)


def _check_ids(world: World) -> None:
    """No decision and no push is committed twice, and every hold has its timer."""
    ids = Counter(outcome.outcome_id for outcome in world.outcomes)
    assert not [one for one, count in ids.items() if count > 1]
    pushes = Counter(delivery.delivery_id for delivery in world.sent)
    assert not [one for one, count in pushes.items() if count > 1]
    held = {delivery.delivery_id for delivery in world.sent if delivery.held}
    paced = {
        outcome.delivery_id
        for outcome in world.outcomes
        if outcome.reason in {Reason.TENANT_RATE, Reason.PLATFORM_RATE}
    }
    assert paced <= held


def _check_duplicates(world: World, said: dict[str, Said]) -> dict[str, Said]:
    """Of the events with one key exactly one goes on; give those that do."""
    duplicates = Counter(
        outcome.message_id for outcome in world.outcomes if outcome.reason is Reason.DUPLICATE_EVENT
    )
    assert set(duplicates.values()) <= {1}

    def of(name: str) -> tuple[str, str]:
        return (said[name].tenant, f"k{said[name].key}" if said[name].key else name)

    for _, names in groupby(sorted(said, key=of), key=of):
        group = list(names)
        assert sum(name not in duplicates for name in group) == 1, group
    return {name: event for name, event in said.items() if name not in duplicates}


def _check_everyone_is_decided_once(world: World, firsts: dict[str, Said]) -> None:
    """Who cannot get it for a reason of their own is told so; others got it, or met a cap."""
    found: defaultdict[tuple[str, str, str], Counter[str]] = defaultdict(Counter)
    for (_, message, user), reasons in world.decisions().items():
        found[message, user, ""] += reasons
    final: defaultdict[tuple[str, str, str], Counter[str]] = defaultdict(Counter)
    for outcome in world.outcomes:
        if outcome.device_id and outcome.status != "deferred":
            final[outcome.message_id, outcome.user_id, outcome.device_id][outcome.reason] += 1
    for delivery in world.sent:
        final[delivery.message_id, delivery.user_id, delivery.device_id]["sent"] += 1
    meant = 0
    for name, event in firsts.items():
        for user, device in event.units():
            got = final[name, user, device] if device else found[name, user, ""]
            meant += sum(got.values())
            pushes = 1 if device else len(DEVICES.get(user, ()))
            right = [Counter({FATES[user]: 1})] if user in FATES else [Counter(sent=pushes)]
            if user not in FATES and event.priority != "critical":
                right.append(Counter({Reason.FREQUENCY_CAP: 1}))
            assert got in right, (name, user, device, got)
    # Nothing beside that: no push for whom no event meant.
    extra = sum(
        outcome.reason is not Reason.DUPLICATE_EVENT and outcome.status != "deferred"
        for outcome in world.outcomes
    )
    assert meant == extra + len(world.sent)


def _check_caps(world: World) -> None:
    """No user is above any cap in any window, and nobody was held back for an empty slot."""
    limits: dict[tuple[str, str], list[tuple[int, int]]] = defaultdict(list)
    for tenant in world.tenants.values():
        for name, category in tenant.categories.items():
            limits[tenant.name, name] += [(c.limit, 1_000 * c.window_s) for c in category.caps]
        if tenant.quotas.user_daily is not None:
            limits[tenant.name, "quota:daily"].append((tenant.quotas.user_daily, 1_000 * DAY_S))
    times: defaultdict[Cap, list[int]] = defaultdict(list)
    for (cap, _), at_ms in world.admitted_at_ms.items():
        times[cap].append(at_ms)
    for cap, all_times in times.items():
        ordered = sorted(all_times)
        for limit, window_ms in limits[cap[0], cap[2]]:
            for first, later in zip(ordered, ordered[limit:], strict=False):
                assert later - first >= window_ms, (cap, limit, window_ms, ordered)
    for refusal in world.refusals:
        limit, window_ms = refusal.limit
        taken = [at for at in refusal.before.values() if at > refusal.at_ms - window_ms]
        assert len(taken) >= limit, refusal
