"""Ids that need to be unique and nothing more."""

import os
from random import Random

_random = Random(os.urandom(32))  # noqa: S311 - no secret, and a sixth of what uuid4 costs


def random_id() -> str:
    """Give 128 random bits as 32 hex digits."""
    return f"{_random.getrandbits(128):032x}"
