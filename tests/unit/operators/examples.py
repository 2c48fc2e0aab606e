"""How many examples a property gets: few in `make test`, many where HYPOTHESIS_PROFILE=thorough."""

import os

from hypothesis import HealthCheck, settings

PROFILE = "HYPOTHESIS_PROFILE"


def is_thorough() -> bool:
    """Tell whether there is time for many examples."""
    return os.environ.get(PROFILE) == "thorough"


def examples(quick: int, thorough: int) -> settings:
    """Give the settings of a property; a busy machine fails none."""
    return settings(
        deadline=None,
        max_examples=thorough if is_thorough() else quick,
        suppress_health_check=list(HealthCheck),
        print_blob=True,
    )
