"""Items of a batch, each checked and answered by itself."""

from typing import TypeVar

from pydantic import BaseModel
from pydantic_core import to_json

from api.web.problems import ProblemBody, ProblemError, document, faulty
from schemas.decode import BadMessageError, decode

MAX_ITEM_BYTES = 16_384
M = TypeVar("M", bound=BaseModel)


def read_item(model: type[M], item: object, *, code: str) -> M:
    """Check one item of a batch. code: of its faults. Raises ProblemError."""
    try:
        return decode(model, to_json(item), max_bytes=MAX_ITEM_BYTES)
    except BadMessageError as error:
        raise faulty(str(error), code=code) from None


def told(problem: ProblemError) -> ProblemBody:
    """Give a problem as the answer to an item."""
    found = document(problem.status, problem.code, problem.detail, problem.errors)
    return ProblemBody.model_validate(found)
