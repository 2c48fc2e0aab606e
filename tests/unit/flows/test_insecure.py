from typing import Any

import pytest

from flows.insecure import InsecureError, check_secure, insecurities, is_loopback
from schemas.security import Insecure
from schemas.settings import load_settings

SECURE: dict[str, dict[str, Any]] = {
    "kafka": {
        "bootstrap": "k1.example.com:9093,k2.example.com:9093",
        "options": {"security.protocol": "SASL_SSL"},
    },
    "redis": {"url": "rediss://clarion:geheim@redis.example.com:6380/0"},
    "clickhouse": {
        "url": "https://ch.example.com:8443",
        "user": "clarion",
        "password": "geheim",
    },
    "vault": {"address": "https://vault.example.com"},
}


def test_the_defaults_are_this_machine() -> None:
    """The sandbox and tests start without a word about security."""
    check_secure(load_settings())


def test_a_secure_deployment_needs_no_exception() -> None:
    """TLS to every store, users with passwords, metrics on loopback."""
    assert list(insecurities(load_settings(**SECURE))) == []


@pytest.mark.parametrize(
    ("group", "change", "name"),
    [
        ("kafka", {"options": {}}, Insecure.KAFKA_PLAINTEXT),
        ("kafka", {"options": {"security.protocol": "PLAINTEXT"}}, Insecure.KAFKA_PLAINTEXT),
        ("kafka", {"options": {"security.protocol": "sasl_plaintext"}}, Insecure.KAFKA_PLAINTEXT),
        (
            "kafka",
            {"bootstrap": "127.0.0.1:9092,k2:9092", "options": {}},
            Insecure.KAFKA_PLAINTEXT,
        ),
        (
            "kafka",
            {
                "options": {
                    "security.protocol": "SSL",
                    "ssl.endpoint.identification.algorithm": "none",
                }
            },
            Insecure.KAFKA_UNVERIFIED,
        ),
        (
            "kafka",
            {
                "options": {
                    "security.protocol": "SSL",
                    "enable.ssl.certificate.verification": "false",
                }
            },
            Insecure.KAFKA_UNVERIFIED,
        ),
        ("redis", {"url": "redis://u:geheim@redis.example.com"}, Insecure.REDIS_PLAINTEXT),
        ("redis", {"url": "rediss://redis.example.com"}, Insecure.REDIS_NO_PASSWORD),
        (
            "redis",
            {"url": "rediss://u:geheim@redis.example.com?ssl_cert_reqs=none"},
            Insecure.REDIS_UNVERIFIED,
        ),
        ("clickhouse", {"url": "http://ch.example.com:8123"}, Insecure.CLICKHOUSE_PLAINTEXT),
        ("clickhouse", {"user": "default"}, Insecure.CLICKHOUSE_DEFAULT_USER),
        ("clickhouse", {"password": ""}, Insecure.CLICKHOUSE_NO_PASSWORD),
        ("vault", {"address": "http://vault.example.com"}, Insecure.VAULT_PLAINTEXT),
        ("providers", {"fcm_url": "http://fcm.example.com"}, Insecure.PROVIDERS_PLAINTEXT),
        ("observability", {"metrics_host": "0.0.0.0"}, Insecure.PUBLIC_METRICS),  # noqa: S104 - not bound
    ],
)
def test_what_is_insecure_is_refused_until_it_is_named(
    group: str, change: dict[str, Any], name: Insecure
) -> None:
    """One sentence, with the variable and the name that allows it; no password in it."""
    given = SECURE | {group: SECURE.get(group, {}) | change}
    with pytest.raises(InsecureError) as caught:
        check_secure(load_settings(**given))
    text = str(caught.value)
    assert text.count("\n") == 0
    assert text.startswith(f"CLARION_{group.upper()}__")
    assert f"name {name} in CLARION_SECURITY__INSECURE_ALLOWED" in text
    assert "geheim" not in text
    check_secure(load_settings(**given, security={"insecure_allowed": [name]}))


@pytest.mark.parametrize(
    ("host", "is_it"),
    [
        ("localhost", True),
        ("127.0.0.1", True),
        ("127.8.9.1", True),
        ("::1", True),
        ("[::1]", True),
        ("localhost.example.com", False),
        ("10.0.0.1", False),
        ("0.0.0.0", False),  # noqa: S104 - not bound
        ("", False),
    ],
)
def test_what_is_this_machine(host: str, *, is_it: bool) -> None:
    """By the name alone: no look-up that could change."""
    assert is_loopback(host) == is_it
