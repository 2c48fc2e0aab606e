"""How long a caller would wait."""

import pytest

from api.web.answers import MAX_WAIT_S, wait_of


@pytest.mark.parametrize(
    ("prefer", "seconds"),
    [
        ("", 0),
        ("wait=5", 5),
        ("respond-async, wait=5", 5),
        ("Wait = 5; x=1", 5),
        ('wait="3"', 3),
        ("wait=3, wait=9", 3),
        ("wait=0", 0),
        ("wait=999999999", MAX_WAIT_S),
        ("wait=9999999999999999999999", 0),
        ("wait=-1", 0),
        ("wait=1.5", 0),
        ("wait", 0),
        ("await=5", 0),
        ("handling=lenient", 0),
    ],
)
def test_prefer_says_how_long(prefer: str, seconds: int) -> None:
    """RFC 7240: what cannot be read is passed over, and the first of several counts."""
    assert wait_of(prefer) == seconds
