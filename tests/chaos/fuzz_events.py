"""Fuzzed events: each generator makes one kind, and says how it must end."""

import json
from collections.abc import Callable
from typing import Any

from tests.chaos.fuzz_input import SECRET, End, Fuzzed, Seed

Made = tuple[bytes | None, End, str]
"""Value, end, and the reason of the outcome that a well-formed event must have."""
DEEP = 100_000
HUGE_BYTES = 10_485_760


def _bad(value: Any) -> Made:
    raw = value if isinstance(value, (bytes, type(None))) else json.dumps(value).encode()
    return raw, End.LETTER, ""


def _good(value: Any, reason: str = "") -> Made:
    return value if isinstance(value, bytes) else json.dumps(value).encode(), End.READ, reason


def good(seed: Seed) -> Made:
    return _good(seed.event())


def truncated(seed: Seed) -> Made:
    raw = json.dumps(seed.event()).encode()
    return _bad(raw[: seed.rng.randrange(len(raw))])


WRONG_IN = ("id", "tenant", "type", "category", "priority", "audience", "content", "template",
            "idempotency_key", "created_at", "send_at", "expires_at", "ttl_s", "collapse_key",
            "campaign_id", "traceparent", "sandbox", "variables", "schema_version", "extra",
            "titel")  # fmt: skip


def wrong_type(seed: Seed) -> Made:
    wrong = seed.rng.choice([17.5, [17], [[]], -1, "\u2028 not this", ["x" * 500]])
    return _bad(seed.event(**{seed.rng.choice(WRONG_IN): wrong}))


def missing(seed: Seed) -> Made:
    gone = seed.rng.choice(("id", "tenant", "type", "category", "audience", "content"))
    return _bad(seed.event(**{gone: ...}))


def huge_text(seed: Seed) -> Made:
    text = seed.rng.choice(("x", "é", "\U0001d518", "\u202e", "{{")) * seed.rng.choice(
        (600, 9_000, 90_000)
    )
    where = seed.rng.choice(("id", "type", "title", "body", "collapse_key", "user"))
    if where == "title":
        return _bad(seed.event(content={"title": text}))
    if where == "body":
        return _bad(seed.event(content={"body": text * 8}))
    if where == "user":
        return _bad(seed.event(audience={"users": [text]}))
    return _bad(seed.event(**{where: text}))


def much_data(seed: Seed) -> Made:
    """Each entry is allowed, all together are not."""
    return _bad(seed.event(content={"data": {f"k{n}": "d" * 4_000 for n in range(50)}}))


def huge_content(seed: Seed) -> Made:
    texts = {f"l{chr(97 + n // 26)}{chr(97 + n % 26)}": {"body": "x" * 4_000} for n in range(90)}
    return _bad(seed.event(content={"title": "x", "locales": texts}))


def heirs(seed: Seed) -> Made:
    """Small, but every locale takes over the image and the link."""
    texts = {f"l{chr(97 + n // 26)}{chr(97 + n % 26)}": {"title": "x"} for n in range(100)}
    url = "https://e.example/" + "u" * 2_000
    return _bad(seed.event(content={"title": "x", "image": url, "url": url, "locales": texts}))


def ten_megabytes(seed: Seed) -> Made:
    return _bad(seed.event(content={"body": "x" * HUGE_BYTES}))


def nested(seed: Seed) -> Made:
    kind = seed.rng.randrange(4)
    if kind == 0:
        return _bad(seed.rng.choice((b"[", b'{"a":', b'{"id":{"a":[')) * DEEP)
    if kind == 1:
        whole = json.dumps(seed.event(variables={"a": 1})).encode()
        return _bad(whole.replace(b'{"a": 1}', b'{"a": ' + b"[" * DEEP + b"]" * DEEP + b"}"))
    levels = seed.rng.choice((9, 40, 150))
    inner: Any = 1
    for _ in range(levels):
        inner = {"a": inner} if kind == 2 else [inner]
    return _bad(seed.event(variables={"deep": inner}))


def nul(seed: Seed) -> Made:
    if seed.rng.random() < 0.3:
        return _bad(json.dumps(seed.event()).encode().replace(b"World", b"Wor\0ld"))
    where = seed.rng.choice(("title", "data", "user", "variables"))
    if where == "user":
        return _bad(seed.event(audience={"users": ["u\0"]}))
    if where == "variables":
        return _bad(seed.event(variables={"a": [{"b\0": 1}]}))
    return _bad(
        seed.event(content={"title": "a\0" if where == "title" else "a", "data": {"k": "\0"}})
    )


def bad_text(seed: Seed) -> Made:
    raw = json.dumps(seed.event()).encode()
    broken = seed.rng.choice((b"\\ud800", b"\\udfff\\ud800", b"\xff\xfe", b"\xc3", b"\xed\xa0\x80",
                              b"\x01", b"\\x41", b"\\u12"))  # fmt: skip
    return _bad(raw.replace(b"World", broken))


def version(seed: Seed) -> Made:
    odd = seed.rng.choice((2, -1, "1", None, 10**30, 1.5, [], "0", 99))
    return _bad(seed.event(schema_version=odd))


def old_version(seed: Seed) -> Made:
    old = {"schema_version": 0, "id": seed.message_id, "tenant": "acme", "kind": "fuzz",
           "recipients": ["u1"], "message": {"text": "Hi"}}  # fmt: skip
    wrong: list[dict[str, Any]] = [
        {"sent_at": "x"}, {"sent_at": 10**18}, {"message": 3}, {"kind": []}, {"recipients": "u"},
        {"ttl": -5}, {"extra": {"a": 1}}, {"message": {}},
    ]  # fmt: skip
    if seed.rng.random() < 0.5:
        return _good(old)
    return _bad({**old, **seed.rng.choice(wrong)})


def clock(seed: Seed) -> Made:
    fine: list[tuple[dict[str, Any], str]] = [
        ({"created_at": "2000-01-01T00:00:00+14:00"}, ""),
        ({"created_at": "2999-12-31T23:59:59Z"}, ""),
        ({"send_at": "2001-01-01T00:00:00Z"}, ""),
        ({"send_at": "2999-12-31T23:59:59.999999999-12:00"}, "scheduled"),
        ({"expires_at": "2000-01-01T00:00:00Z"}, "ttl_expired"),
        ({"send_at": "2999-01-01T00:00:00Z", "ttl_s": 1}, "scheduled"),
        ({"expires_at": "2999-12-31T23:59:59Z"}, ""),
    ]
    wrong: list[dict[str, Any]] = [
        {name: value}
        for name in ("created_at", "send_at", "expires_at")
        for value in ("0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "-0001-01-01T00:00:00Z", -5,
                      1e308, 1770000000, "2026-13-40T99:99:99Z", "2026-02-02", "now", "")
    ] + [{"ttl_s": value} for value in (-1, 0, 2_419_201, "60", 1.5, 10**20)]  # fmt: skip
    if seed.rng.random() < 0.5:
        changes, reason = seed.rng.choice(fine)
        return _good(seed.event(**changes), reason)
    return _bad(seed.event(**seed.rng.choice(wrong)))


HOSTILE = ("{{ 7 * 7 }}", "{% for x in range(10**9) %}x{% endfor %}", "${jndi:ldap://x}",
           "{{ self.__class__.__mro__ }}", "%s%n%(x)s", "'; DROP TABLE outcomes; --", "<script>",
           "\u202e\u0007")  # fmt: skip


def template(seed: Seed) -> Made:
    values = {"name": seed.rng.choice(HOSTILE), "note": seed.rng.choice(HOSTILE), "__class__": "x",
              "self": {"a": 1}, "range": 3, "loop": None, "user": SECRET}  # fmt: skip
    said = {"content": ..., "template": {"name": "hello"}, "variables": values}
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"variables": {"name": "x"}}, "render_error"),
        ({"template": {"name": "none-such"}}, "unknown_template"),
        ({"template": {"name": "hello", "version": 9}}, "unknown_template"),
        (
            {"template": {"name": "lookup"}, "variables": {"table": {}, "code": SECRET}},
            "render_error",
        ),
    ]
    if seed.rng.random() < 0.4:
        return _good(seed.event(**said))
    changes, reason = seed.rng.choice(wrong)
    return _good(seed.event(**{**said, **changes}), reason)


def bad_template(seed: Seed) -> Made:
    said: dict[str, Any] = {"content": ..., "template": {"name": "hello"}}
    wrong: list[dict[str, Any]] = [
        {"template": {"name": "{{ x }}"}}, {"template": {"name": "../../etc/passwd"}},
        {"variables": {"name": "x" * 70_000}}, {"variables": {"a": [[]] * 90_000}},
        {"variables": {f"v{n}": 0 for n in range(2_000)}}, {"variables": {"n": 2**64}},
        {"variables": {"n": -(2**63) - 1}}, {"template": {"name": "hello", "data": {"k": 5}}},
    ]  # fmt: skip
    return _bad(seed.event(**{**said, **seed.rng.choice(wrong)}))


def segment(seed: Seed) -> Made:
    if seed.rng.random() < 0.2:
        return _good(seed.event(audience={"segment": "no_such | thing"}), "unknown_segment")
    odd = seed.rng.choice(("", " ", "a &", "& a", "(" * 900, "a" * 1_001, "a b", "a && b", "(a",
                           "a)", "'; DROP TABLE x", "{{ a }}", "a - ", "é", " | ".join("ab" * 50),
                           "x" * 65))  # fmt: skip
    return _bad(seed.event(audience={"segment": odd}))


def crowd(seed: Seed) -> Made:
    kind = seed.rng.randrange(4)
    if kind == 0:
        return _bad(seed.event(audience={"users": ["u"] * 1_000_000}))
    if kind == 1:
        return _bad(seed.event(audience={"users": [f"{n:x}" for n in range(100_001)]}))
    if kind == 2:
        return _bad(seed.event(audience={"users": [*map(str, range(50_000)), ""]}))
    return _good(seed.event(audience={"users": [f"nobody-{n}" for n in range(1_500)]}))


def audience(seed: Seed) -> Made:
    odd: list[Any] = [{}, {"users": []}, {"users": ["a"], "everyone": True}, {"everyone": False},
                      {"users": "a"}, {"devices": [{"user_id": "a"}]}, {"users": [None]}, [], None,
                      {"users": {"a": 1}}, {"users": ["a b"]}, {"users": [" "]}]  # fmt: skip
    return _bad(seed.event(audience=seed.rng.choice(odd)))


def doubled_keys(seed: Seed) -> Made:
    raw = json.dumps(seed.event()).encode()
    if seed.rng.random() < 0.5:
        return _good(b'{"id": "other", "tenant": [], ' + raw[1:])
    last = seed.rng.choice((b'"id": 5}', b'"tenant": null}', b'"audience": {}}', b'"x": 1}'))
    return _bad(raw[:-1] + b", " + last)


def numbers(seed: Seed) -> Made:
    raw = json.dumps(seed.event(variables={"n": 1})).encode()
    if seed.rng.random() < 0.3:
        number = seed.rng.choice((b"-0", b"-0.0", b"1e-999", b"18446744073709551615", b"0.1e1"))
        return _good(raw.replace(b'"n": 1', b'"n": ' + number))
    number = seed.rng.choice((b"NaN", b"Infinity", b"-Infinity", b"1e999", b"-1e999", b"9" * 400,
                              b"9" * 5_000, b"01", b"0x1", b"1.", b"+1", b"--1"))  # fmt: skip
    return _bad(raw.replace(b'"n": 1', b'"n": ' + number))


def empty(seed: Seed) -> Made:
    return _bad(seed.rng.choice((None, b"", b" ", b"\n", b"null", b"[]", b"0", b'""', b"{}", b"\0",
                                 b"\xef\xbb\xbf{}", b"true")))  # fmt: skip


def unconfigured(seed: Seed) -> Made:
    if seed.rng.random() < 0.5:
        return _good(seed.event(tenant="nobody"), "unknown_tenant")
    return _good(seed.event(category="no-such"), "unknown_category")


def noise(seed: Seed) -> Made:
    return _bad(b"\xff" + seed.rng.randbytes(seed.rng.randrange(600)))


def mutated(seed: Seed) -> Made:
    raw = bytearray(json.dumps(seed.event(id=f"mut-{seed.number}-{'0' * 24}")).encode())
    for _ in range(seed.rng.randrange(1, 6)):
        raw[seed.rng.randrange(len(raw))] = seed.rng.randrange(256)
    return bytes(raw), End.EITHER, ""


CHEAP: tuple[Callable[[Seed], Made], ...] = (
    truncated, wrong_type, missing, huge_text, nul, bad_text, version, old_version, clock, template,
    segment, audience, doubled_keys, numbers, empty, unconfigured, noise, mutated, mutated,
)  # fmt: skip
DEAR: tuple[Callable[[Seed], Made], ...] = (
    ten_megabytes,
    nested,
    much_data,
    huge_content,
    heirs,
    crowd,
    bad_template,
)
"""Up to megabytes each: drawn seldom."""


def fuzzed_event(seed: Seed, topic: str, *, dear: float, good_share: float) -> Fuzzed:
    """Make one record of an events topic. dear, good_share: how often, from 0 to 1."""
    rng = seed.rng
    make = good
    if rng.random() >= good_share:
        make = rng.choice(DEAR if rng.random() < dear else CHEAP)
    value, end, reason = make(seed)
    key = rng.choice((None, b"", b"k", b"\0", b"\xff" * 40, b"key" * 50))
    message_id = seed.message_id if end is End.READ else ""
    return Fuzzed(make.__name__, topic, key, value, end, message_id, reason)
