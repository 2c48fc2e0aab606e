"""What a caller may send: categories and priorities."""

from api.web.problems import ProblemError
from schemas.access import Principal
from schemas.pipeline import Priority


def check_sendable(caller: Principal, category: str, priority: Priority, *, at: str = "") -> None:
    """Refuse what the caller may not send. Raises ProblemError: 403.

    at: where the fields are in what was asked, such as "message.".
    """
    if caller.categories is not None and category not in caller.categories:
        raise ProblemError(
            403,
            f"{at}category: this credential may not send {category!r}",
            code="category_forbidden",
        )
    if priority not in caller.priorities:
        raise ProblemError(
            403,
            f"{at}priority: this credential may not send {str(priority)!r}",
            code="priority_forbidden",
        )
