"""When the client repeats a request, and how long it waits: the steps, with nobody doing them."""

import httpx
import pytest

from api.client import ApiError, Retry, UnreachableError
from api.client.core import Core, Reply, Request, Send, Wait
from api.client.retrying import retry_after_s

GET = Request("GET", "/v1/users/u1")
POST = Request("POST", "/v1/keys", None, b"{}")
OK = httpx.Response(200, json={})
NOW_S = 1_796_000_000.0


def asked(request: Request, *replies: Reply, retry: Retry | None = None) -> list[float]:
    """Give the waits that a call makes while it gets these replies, in turn."""
    steps = Core(retry or Retry(), now_s=lambda: 0.0, wall_s=lambda: NOW_S).ask(request)
    waits: list[float] = []
    left = list(replies)
    step = next(steps)
    try:
        while True:
            if isinstance(step, Wait):
                waits.append(step.seconds)
                step = steps.send(None)
            else:
                assert step == Send(request)
                step = steps.send(left.pop(0))
    except StopIteration:
        assert not left
    return waits


def test_waits_double_up_to_a_bound_and_are_drawn_from_all_of_it() -> None:
    """Full jitter: 0 to the bound."""
    retry = Retry(base_s=1.0, longest_s=5.0)
    assert [retry.wait_s(n, None, lambda _, high: high) for n in (1, 2, 3, 4, 99)] == [
        1,
        2,
        4,
        5,
        5,
    ]
    assert retry.wait_s(3, None, lambda low, _: low) == 0


def test_the_servers_wish_comes_first_and_jitter_after_it() -> None:
    """Nobody comes back earlier than asked, nor all at once."""
    assert 7.0 <= asked(GET, httpx.Response(429, headers={"Retry-After": "7"}), OK)[0] <= 7.2
    with pytest.raises(ApiError) as caught:
        asked(GET, httpx.Response(503, headers={"Retry-After": "100"}))
    assert caught.value.retry_after_s == 100.0


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (None, None),
        ("", None),
        ("soon", None),
        ("-1", None),
        ("3", 3.0),
        ("9" * 400, 3_600.0),
        ("Mon, 30 Nov 2026 02:53:25 GMT", 5.0),
        ("Mon, 30 Nov 2020 02:53:25 GMT", 0.0),
        ("\u0663", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(text: str | None, seconds: float | None) -> None:
    """What cannot be read is as if it were not there. Source: RFC 9110 §10.2.3."""
    now_s = 1_796_007_200.0
    assert retry_after_s(text, now_s) == seconds


@pytest.mark.parametrize(
    ("request_", "reply", "again"),
    [
        (GET, httpx.Response(503), True),
        (POST, httpx.Response(503), True),
        (POST, httpx.Response(429), True),
        (GET, httpx.Response(502), True),
        (POST, httpx.Response(502), False),
        (POST._replace(headers={"Idempotency-Key": "k"}), httpx.Response(502), True),
        (GET, httpx.Response(404), False),
        (GET, httpx.Response(422), False),
        (GET, httpx.ReadTimeout("slow"), True),
        (POST, httpx.ReadTimeout("slow"), False),
        (POST._replace(headers={"Idempotency-Key": "k"}), httpx.ReadError("cut"), True),
        (POST, httpx.ConnectError("refused"), True),
        (POST, httpx.ConnectTimeout("slow"), True),
        (GET, httpx.UnsupportedProtocol("ftp"), False),
    ],
)
def test_what_is_repeated(request_: Request, reply: Reply, *, again: bool) -> None:
    """What was refused or never arrived; what may have been done only where twice is once."""
    if again:
        assert len(asked(request_, reply, OK)) == 1
    else:
        with pytest.raises((ApiError, UnreachableError)):
            asked(request_, reply, OK)


def test_no_attempt_begins_after_the_time_for_all_of_them() -> None:
    """However many are left."""
    with pytest.raises(ApiError):
        asked(GET, httpx.Response(503), OK, retry=Retry(within_s=0.0, base_s=1.0, attempts=9))
