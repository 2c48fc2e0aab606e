import pytest

from schemas.apps import SecretRef, WebPushApp
from sinks.webpush_endpoint import endpoint_allowed, parse_endpoint


def app(*hosts: str) -> WebPushApp:
    return WebPushApp(
        platform="webpush",
        subject="mailto:ops@example.com",
        private_key=SecretRef(env="KEY"),
        allowed_hosts=hosts or None,
    )


@pytest.mark.parametrize(
    "url",
    [
        "https://fcm.googleapis.com/fcm/send/x",
        "https://fcm.googleapis.com:443/fcm/send/x",
        "https://FCM.googleapis.com/x",
        "https://updates.push.services.mozilla.com/wpush/v2/x",
        "https://web.push.apple.com/x",
        "https://db5p.notify.windows.com/w/?token=x",
    ],
)
def test_the_vendors_are_allowed_by_default(url: str) -> None:
    """What browsers hand out passes."""
    assert endpoint_allowed(app(), url) is None


@pytest.mark.parametrize(
    ("url", "fault"),
    [
        ("http://fcm.googleapis.com/x", "not https"),
        ("https://fcm.googleapis.com:8443/x", "at port 8443"),
        ("https://fcm.googleapis.com.example.com/x", "not a push service"),
        ("https://push.apple.com/x", "not a push service"),
        ("https://fcm.googleapis.com./x", "not a push service"),
        ("https://user@fcm.googleapis.com/x", "not a URL"),
        ("https://fcm.googleapis.com:0/x", "not a URL"),
        ("https://fcm.googleapis.com", "not a URL"),
        ("https://fcm.googleapis.com\\@10.0.0.1/x", "not a URL"),
        ("https://fcm.googleapis%2ecom/x", "not a URL"),
        ("https://\uff46cm.googleapis.com/x", "not a URL"),
        ("https://10.0.0.1/x", "not a push service"),
        ("https://[::1]/x", "not a push service"),
        ("https://[::ffff:10.0.0.1]/x", "not a URL"),
        ("https://127.1/x", "no host name"),
        ("https://2130706433/x", "no host name"),
        ("https://0x7f000001/x", "no host name"),
        ("https://0x7f.push.apple.com.0x1/x", "no host name"),
        ("https://[]/x", "not a URL"),
        ("https://fcm.googleapis.com/" + "x" * 5_000, "not a URL"),
        ("", "not a URL"),
    ],
)
def test_nothing_else_is(url: str, fault: str) -> None:
    """Other hosts, ports and schemes, userinfo and every way to write an address are refused."""
    assert fault in (endpoint_allowed(app(), url) or "")


def test_an_app_names_its_own_services() -> None:
    """Hosts, hosts under a domain, ports and addresses; the vendors' are then not allowed."""
    ours = app("push.example.com", "*.example.net:8443", "10.0.0.7:9", "[fd00::1]:8443")
    for url in (
        "https://push.example.com/x",
        "https://a.example.net:8443/x",
        "https://10.0.0.7:9/x",
        "https://[fd00::1]:8443/x",
    ):
        assert endpoint_allowed(ours, url) is None
    for url in (
        "https://push.example.com:8443/x",
        "https://a.example.net/x",
        "https://10.0.0.7/x",
        "https://[fd00::1]/x",
        "https://fcm.googleapis.com/x",
    ):
        assert endpoint_allowed(ours, url) is not None


def test_a_loopback_address_is_allowed_at_any_port_when_it_is_named() -> None:
    """The sandbox's simulators take whatever port is free."""
    assert endpoint_allowed(app("127.0.0.1"), "https://127.0.0.1:40123/x") is None
    assert endpoint_allowed(app("10.0.0.1"), "https://10.0.0.1:40123/x") is not None


def test_a_wildcard_never_covers_an_address() -> None:
    """`*.1` is no way to name 10.0.0.1."""
    assert endpoint_allowed(app("*.1"), "https://10.0.0.1/x") is not None


def test_the_origin_is_written_as_vapid_wants_it() -> None:
    """Lower case, without the usual port."""
    for url, origin in (
        ("https://A.example:443/x", "https://a.example"),
        ("https://a.example:8443/x", "https://a.example:8443"),
        ("http://a.example/x", "http://a.example"),
    ):
        found = parse_endpoint(url)
        assert found is not None
        assert found.origin == origin
