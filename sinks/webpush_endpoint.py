"""Where Web Push subscriptions may point: endpoints come from browsers, so from anybody."""

import re
from collections.abc import Sequence
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import Final, NamedTuple, Protocol

from sinks.webpush_status import VENDOR_HOSTS, matches_host

MAX_ENDPOINT_CHARS: Final = 4096
HTTPS_PORT: Final = 443

_ENDPOINT = re.compile(
    r"(?P<scheme>https?)://(?P<host>[a-z0-9.-]+|\[[0-9a-f:]+\])(?::(?P<port>[0-9]{1,5}))?"
    r"/[!-~]*",  # printable ASCII without spaces: what may stand in a request line
    re.ASCII | re.IGNORECASE,
)
_NUMERIC = re.compile(r"(0x[0-9a-f]*|[0-9]+)", re.ASCII)


class HostRules(Protocol):
    """What an app says of its push services; schemas.apps.WebPushApp has it."""

    @property
    def allowed_hosts(self) -> Sequence[str] | None:
        """Give the hosts, None for the browser vendors'."""
        ...


class Endpoint(NamedTuple):
    """A subscription's endpoint taken apart. host: lower case; an IPv6 address in brackets."""

    scheme: str
    host: str
    port: int

    @property
    def origin(self) -> str:
        """Give scheme://host[:port] as RFC 6454 writes it, which is VAPID's aud."""
        usual = HTTPS_PORT if self.scheme == "https" else 80
        return f"{self.scheme}://{self.host}" + ("" if self.port == usual else f":{self.port}")


def endpoint_allowed(app: HostRules, url: str) -> str | None:
    """Say why messages must not go to this endpoint, or None when they may.

    Pure: what the host's name resolves to is checked by the sink, when it connects.
    """
    endpoint = parse_endpoint(url)
    if endpoint is None:
        return "the endpoint is not a URL"
    if endpoint.scheme != "https":
        return "the endpoint is not https"
    return host_fault(app, endpoint)


def parse_endpoint(url: str) -> Endpoint | None:
    """Take an endpoint apart; None when it is no http(s) URL, or one with userinfo."""
    match = _ENDPOINT.fullmatch(url) if len(url) <= MAX_ENDPOINT_CHARS else None
    if match is None:
        return None
    scheme, host = match["scheme"].lower(), match["host"].lower()
    port = int(match["port"] or (HTTPS_PORT if scheme == "https" else 80))
    return Endpoint(scheme, host, port) if 0 < port < 65_536 else None


def host_fault(app: HostRules, endpoint: Endpoint) -> str | None:
    """Say why this host and port is none of the app's push services, or None."""
    host = endpoint.host
    literal = is_literal(host)
    if literal and address_of(host) is None:
        # URL parsers read 127.1 and 0x7f000001 as addresses: too many ways to write one.
        return f"{host} is no host name"
    entries = VENDOR_HOSTS if app.allowed_hosts is None else app.allowed_hosts
    named = [_ports(entry, host) for entry in entries if _names(entry, host, literal=literal)]
    if not named:
        return f"{host} is not a push service that we send to"
    if not any(port in {0, endpoint.port} for port in named):
        return f"{host} is not a push service that we send to at port {endpoint.port}"
    return None


def is_literal(host: str) -> bool:
    """Tell whether URL parsers take this host for an IP address, however it is written.

    Source: WHATWG URL, "ends in a number".
    """
    return (
        host.startswith("[") or _NUMERIC.fullmatch(host.rstrip(".").rpartition(".")[2]) is not None
    )


def address_of(host: str) -> IPv4Address | IPv6Address | None:
    """Give the address that a host is in its usual form, None when it is none."""
    try:
        return IPv6Address(host[1:-1]) if host.startswith("[") else IPv4Address(host)
    except AddressValueError:
        return None


def split_entry(entry: str) -> tuple[str, int | None]:
    """Take an entry of allowed_hosts apart: its host, and its port if it names one."""
    host, colon, port = entry.rpartition(":")
    if colon and port.isdecimal() and not (host.startswith("[") and not host.endswith("]")):
        return host, int(port)
    return entry, None


def _names(entry: str, host: str, *, literal: bool) -> bool:
    name, _port = split_entry(entry)
    return name == host if literal else matches_host(host, name)


def _ports(entry: str, host: str) -> int:
    """Give the port that an entry allows; 0 for all, which is for this machine's simulators."""
    _name, port = split_entry(entry)
    if port is not None:
        return port
    address = address_of(host)
    return 0 if address is not None and address.is_loopback else HTTPS_PORT
