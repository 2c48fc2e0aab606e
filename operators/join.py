"""Users to profiles."""

from collections import defaultdict

from operators.work import Decided, Work
from state.profiles import Profiles


class JoinProfiles:
    """Reads the profiles of all users of a batch, one MGET per tenant."""

    def __init__(self, profiles: Profiles) -> None:
        self._profiles = profiles

    def __call__(self, works: list[Work], _now_ms: int) -> Decided:
        """Fill in work.profiles, parallel to work.users."""
        by_tenant: defaultdict[str, list[Work]] = defaultdict(list)
        for work in works:
            by_tenant[work.draft.notice.tenant].append(work)
        for name, group in by_tenant.items():
            users = [user for work in group for user in work.users]
            found = self._profiles.get_many(name, group[0].draft.tenant.shards, users)
            start = 0
            for work in group:
                end = start + len(work.users)
                work.profiles = found[start:end]
                start = end
        return works, []
