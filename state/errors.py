"""What can go wrong between a flow and Redis."""

from state.redis_errors import code_of


class StateError(Exception):
    """Anything that state/ raises on purpose, apart from ValueError for wrong arguments."""


class StateUnavailableError(StateError):
    """Redis did not answer, or cannot serve now (loading, failing over, full, cluster down).

    what: the operation. where: host and port or socket, without credentials. cause: the client's
    error. Whether a write took effect is unknown; every operation in state/ may be repeated.
    """

    def __init__(self, what: str, where: str, cause: Exception) -> None:
        super().__init__(f"{what} failed at {where}: {code_of(cause)}: {cause}")
        self.what = what
        self.where = where
        self.cause = cause


class StateConflictError(StateError):
    """Others kept changing the same records: the bounded number of attempts is used up."""


class StateCorruptError(StateError):
    """A stored value cannot be decoded. The message names the key; the value stays as it is."""
