"""Deliveries of which one half is a sandbox are counted once they are sent."""

import pytest
from prometheus_client import REGISTRY

from flows.dispatch import Ticket
from flows.sender import _count_mixed
from schemas.outcomes import Reason, Status
from schemas.pipeline import Answer
from schemas.stream import Source
from tests.unit.operators.builders import delivery

SENT = Answer(Status.SENT, Reason.ACCEPTED)
FAILED = Answer(Status.FAILED, Reason.TOKEN_INVALID)


def counted(what: str) -> float:
    labels = {"platform": "fcm", "tenant": "acme", "what": what}
    return REGISTRY.get_sample_value("clarion_sandbox_sends_total", labels) or 0.0


@pytest.mark.parametrize(
    ("environment", "sandbox", "answer", "credential", "message"),
    [
        ("production", False, SENT, 0, 0),
        ("sandbox", True, SENT, 0, 0),
        ("sandbox", False, SENT, 1, 0),
        ("production", True, SENT, 0, 1),
        ("sandbox", False, FAILED, 0, 0),
        ("sandbox", False, None, 0, 0),
    ],
)
def test_a_sandbox_and_production_together_are_counted(
    environment: str, *, sandbox: bool, answer: Answer | None, credential: int, message: int
) -> None:
    """By which half it is; what was not sent does no harm."""
    before = counted("credential"), counted("message")
    one = delivery(environment=environment, sandbox=sandbox)
    ticket = Ticket([(one, Source("t", 0, 1))], {}, is_urgent=False)
    ticket.answers = [(answer, 1) if answer is not None else None]
    _count_mixed(ticket)
    found = counted("credential") - before[0], counted("message") - before[1]
    assert found == (credential, message)
