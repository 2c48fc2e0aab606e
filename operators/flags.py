"""Feature flags: on, off, or on for a share of a tenant's users."""

from collections.abc import Iterator, Mapping

from operators.ids import draw
from schemas.tenant import Tenant

FLAGS = "flags"
"""What templates call them."""


def is_on(tenant: Tenant, flag: str, user_id: str) -> bool:
    """Tell whether a flag is on for a user: drawn by a hash, so it stays as it is.

    Who had it on at a smaller percentage has it at a larger one. A flag that the tenant does not
    have is off.
    """
    percent = tenant.flag_percent(flag)
    if percent <= 0 or percent >= 100:
        return percent >= 100
    return draw(f"flag/{tenant.name}/{flag}/{user_id}") < percent


class UserFlags(Mapping[str, bool]):
    """A user's flags by name, each drawn when it is asked for."""

    def __init__(self, tenant: Tenant, user_id: str) -> None:
        self._tenant = tenant
        self._user_id = user_id

    def __getitem__(self, flag: str) -> bool:
        if flag not in self._tenant.flags:
            raise KeyError(flag)
        return is_on(self._tenant, flag, self._user_id)

    def __iter__(self) -> Iterator[str]:
        return iter(self._tenant.flags)

    def __len__(self) -> int:
        return len(self._tenant.flags)
