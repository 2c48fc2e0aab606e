"""Every reason in plain words."""

import pytest

from schemas.explanations import EXPLANATIONS, explanation_of
from schemas.outcomes import Reason


@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_is_explained(reason: Reason) -> None:
    """A new reason needs a sentence, and what to change, in schemas/explanations.py."""
    assert reason in EXPLANATIONS, f"add {reason} to schemas/explanations.py"
    rule, change = explanation_of(reason.value)
    assert rule.endswith(".")
    assert len(rule) <= 120
    assert change
    assert not change.endswith(".")


def test_rules_differ() -> None:
    """Two reasons with one sentence would explain neither."""
    assert len({one.rule for one in EXPLANATIONS.values()}) == len(EXPLANATIONS)


def test_a_reason_of_another_release_is_no_error() -> None:
    """Rows outlive releases."""
    assert "outranked_by_moon" in explanation_of("outranked_by_moon").rule
