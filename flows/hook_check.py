"""Whether the hooks that tenants name are installed."""

from importlib.metadata import entry_points

from flows.config import ConfigError, Problem, Tenants
from schemas.hooks import GROUP, Point


def check_hooks(tenants: Tenants) -> None:
    """Raise ConfigError for every hook that no installed package offers; loads none of them."""
    known = entry_points(group=GROUP).names
    problems = [
        Problem(
            str(tenants.files[name]),
            f"hooks.{point}.name",
            f"no installed package offers the entry point {hook.name!r} in {GROUP}",
        )
        for name, tenant in tenants.items()
        for point in Point
        if (hook := tenant.hooks.at(point)) is not None and hook.name not in known
    ]
    if problems:
        raise ConfigError(problems)
