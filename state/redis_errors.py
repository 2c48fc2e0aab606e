"""Which of Redis's errors pass by themselves."""

import redis
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    ClusterError,
    MasterDownError,
    ReadOnlyError,
    RedisClusterException,
    ResponseError,
)

_UNREACHABLE = (
    redis.ConnectionError,
    redis.TimeoutError,
    ClusterError,
    RedisClusterException,
    OSError,
)
_REFUSED = (AuthenticationError, AuthorizationError)
_DEMOTED = (ReadOnlyError, MasterDownError)
# Loading its data; a replica; out of memory; cannot write to its disk; parts of the cluster are
# missing or move; too few replicas; a long script runs.
# Source: the shared errors in server.c of Redis and Valkey.
_PASSING_CODES = frozenset(
    [
        *("LOADING", "READONLY", "OOM", "MISCONF", "CLUSTERDOWN", "TRYAGAIN", "MASTERDOWN"),
        *("NOREPLICAS", "BUSY"),
    ]
)


def code_of(error: Exception) -> str:
    """Give Redis's own word for an error, such as OOM, else the name of its class.

    Before Redis 7, an error inside a script stands after a preamble and a dash.
    """
    if isinstance(error, ResponseError):
        word: str = error.status_code or str(error).partition(" ")[0]
        if word in _PASSING_CODES:
            return word
        for code in _PASSING_CODES:
            if f" -{code} " in str(error):
                return code
    return type(error).__name__


def is_unavailable(error: Exception) -> bool:
    """Tell whether Redis did not answer, or cannot serve now: no fault of the caller."""
    return isinstance(error, _UNREACHABLE) or code_of(error) in _PASSING_CODES


def is_passing(error: Exception) -> bool:
    """Tell whether waiting may help: not against a wrong password."""
    return is_unavailable(error) and not isinstance(error, _REFUSED)


def is_demoted(error: Exception) -> bool:
    """Tell whether the server is none for writes any more, so that its name may mean another."""
    return isinstance(error, _DEMOTED)
