"""Settings that are insecure beyond this machine: a process refuses them unless they are named."""

from collections.abc import Iterator
from ipaddress import ip_address
from urllib.parse import parse_qs, urlsplit

from schemas.security import Insecure
from schemas.settings import Settings, variable

_ALLOWED = variable("security", "insecure_allowed")
_PLAIN_KAFKA = frozenset({"plaintext", "sasl_plaintext"})
_OFF = frozenset({"false", "0", "f", "none"})


class InsecureError(Exception):
    """Settings are insecure and not named as allowed; one line for each."""


def check_secure(settings: Settings) -> None:
    """Raise InsecureError unless all that is insecure is named in insecure_allowed."""
    allowed = settings.security.insecure_allowed
    faults = [
        f"{sentence} (or name {name} in {_ALLOWED})"
        for name, sentence in insecurities(settings)
        if name not in allowed
    ]
    if faults:
        raise InsecureError("\n".join(faults))


def insecurities(settings: Settings) -> Iterator[tuple[Insecure, str]]:
    """Give what is insecure, with what to do. What stays on this machine's loopback is not."""
    yield from _kafka(settings)
    yield from _redis(settings)
    yield from _clickhouse(settings)
    providers = settings.providers
    for name in ("apns_production_url", "apns_sandbox_url", "fcm_url"):
        url = getattr(providers, name)
        if _plain(url):
            place = variable("providers", name)
            yield Insecure.PROVIDERS_PLAINTEXT, f"{place}: messages go in the clear, use https://"
    if settings.vault is not None and _plain(settings.vault.address):
        place = variable("vault", "address")
        yield Insecure.VAULT_PLAINTEXT, f"{place}: secrets come in the clear, use https://"
    if not is_loopback(settings.observability.metrics_host):
        place = variable("observability", "metrics_host")
        yield (
            Insecure.PUBLIC_METRICS,
            f"{place}: everybody who reaches this address sees the metrics, use 127.0.0.1",
        )


def _kafka(settings: Settings) -> Iterator[tuple[Insecure, str]]:
    options = {name.lower(): value.lower() for name, value in settings.kafka.options.items()}
    hosts = [_host(one) for one in settings.kafka.bootstrap.split(",") if one.strip()]
    if all(map(is_loopback, hosts)):
        return
    place = variable("kafka", "options")
    if options.get("security.protocol", "plaintext") in _PLAIN_KAFKA:
        yield (
            Insecure.KAFKA_PLAINTEXT,
            f'{place}: Kafka is spoken in the clear, set "security.protocol" to SASL_SSL or SSL',
        )
    elif (
        options.get("enable.ssl.certificate.verification", "true") in _OFF
        or options.get("ssl.endpoint.identification.algorithm", "https") == "none"
    ):
        yield (
            Insecure.KAFKA_UNVERIFIED,
            f"{place}: anybody can stand in for Kafka, let certificates and names be verified",
        )


def _redis(settings: Settings) -> Iterator[tuple[Insecure, str]]:
    url = urlsplit(settings.redis.url)
    if url.scheme == "unix" or is_loopback(url.hostname or ""):
        return
    query = {name.lower(): value[-1].lower() for name, value in parse_qs(url.query).items()}
    place = variable("redis", "url")
    if url.scheme != "rediss":
        yield Insecure.REDIS_PLAINTEXT, f"{place}: Redis is spoken in the clear, use rediss://"
    elif query.get("ssl_cert_reqs") in _OFF or query.get("ssl_check_hostname") in _OFF:
        yield (
            Insecure.REDIS_UNVERIFIED,
            f"{place}: anybody can stand in for Redis, remove ssl_cert_reqs and ssl_check_hostname",
        )
    if not (url.password or query.get("password")):
        yield Insecure.REDIS_NO_PASSWORD, f"{place}: Redis has no password, add user:password@"


def _clickhouse(settings: Settings) -> Iterator[tuple[Insecure, str]]:
    given = settings.clickhouse
    if is_loopback(urlsplit(given.url).hostname or ""):
        return
    if _plain(given.url):
        place = variable("clickhouse", "url")
        yield Insecure.CLICKHOUSE_PLAINTEXT, f"{place}: rows go in the clear, use https://"
    if given.user == "default":
        place = variable("clickhouse", "user")
        yield (
            Insecure.CLICKHOUSE_DEFAULT_USER,
            f"{place}: the default user may do everything, make one for Clarion",
        )
    if not given.password.get_secret_value():
        place = variable("clickhouse", "password")
        yield Insecure.CLICKHOUSE_NO_PASSWORD, f"{place}: there is none, set one"


def _plain(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme == "http" and not is_loopback(parts.hostname or "")


def _host(address: str) -> str:
    """Give the host of host:port, as Kafka's bootstrap has it; also of PLAINTEXT://host:port."""
    return urlsplit("//" + address.strip().rpartition("://")[2]).hostname or ""


def is_loopback(host: str) -> bool:
    """Tell whether a host is this machine, by its name or address alone."""
    if host.lower() == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
