"""Registration tokens of the FCM sandbox: the token itself says how its sends end."""

import base64
import hashlib
import re
from typing import Final

_MARK = "APA91b--"
_SHAPE = re.compile(r"[\w-]{22}(:[\w-]{100,200})?", re.ASCII)
_SCENARIO = re.compile(r"[\w-]{22}:APA91b--([A-Z0-9_]+)--", re.ASCII)
_TAIL_CHARACTERS: Final = 140


def live_token(seed: int) -> str:
    """Give a token that accepts every message."""
    return _token("LIVE", seed)


def dead_token(seed: int) -> str:
    """Give a token whose app was removed: UNREGISTERED."""
    return _token("UNREGISTERED", seed)


def scenario_token(error: str, seed: int) -> str:
    """Give a token whose sends end as the scenario says; see SCENARIOS in fcm_answers."""
    return _token(error, seed)


def scenario_of(token: str) -> str:
    """Give the scenario of a sandbox token, LIVE for a well-formed token from elsewhere."""
    found = _SCENARIO.match(token)
    return found.group(1) if found else "LIVE"


def is_well_formed(token: str) -> bool:
    """Whether this has the shape of a registration token or of an installation id."""
    return _SHAPE.fullmatch(token) is not None


def _token(scenario: str, seed: int) -> str:
    digest = hashlib.sha512(f"{scenario}:{seed}".encode()).digest()
    letters = base64.urlsafe_b64encode(digest * 3).decode().rstrip("=")
    tail = f"{_MARK}{scenario}--{letters[22:]}"
    return f"{letters[:22]}:{tail[:_TAIL_CHARACTERS]}"
