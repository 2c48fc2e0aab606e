"""Where links that count clicks may lead."""

import pytest
from pydantic import ValidationError

from schemas.links import BadLinkError, LinkRules

RULES = LinkRules(link_hosts=("shop.example.com", "*.example.org", "xn--bcher-kva.example"))


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("https://shop.example.com", "https://shop.example.com/"),
        ("HTTPS://Shop.Example.COM:443/a?b=c@d#e", "https://shop.example.com/a?b=c@d#e"),
        ("https://shop.example.com?mail=a@b", "https://shop.example.com/?mail=a@b"),
        ("https://a.b.example.org/x", "https://a.b.example.org/x"),
        ("https://bücher.example/ü?q=ü#ü", "https://xn--bcher-kva.example/%C3%BC?q=%C3%BC#%C3%BC"),
        ("https://shop。example.com/", "https://shop.example.com/"),
        (
            "https://shop.example.com/%0d%0aSet-Cookie:a",
            "https://shop.example.com/%0d%0aSet-Cookie:a",
        ),
        ("https://shop.example.com/a/../b", "https://shop.example.com/b"),
    ],
)
def test_a_link_to_an_allowed_host_is_given_as_browsers_read_it(url: str, target: str) -> None:
    """Names in lower case and as punycode, all of it ASCII."""
    assert RULES.target(url) == target
    assert RULES.target(target) == target


@pytest.mark.parametrize(
    "url",
    [
        "",
        "/sale",
        "//shop.example.com/",
        "http://shop.example.com/",
        "javascript:alert(1)",
        "https:shop.example.com",
        "https:///shop.example.com",
        "https://evil.example/",
        "https://evil.example/?https://shop.example.com/",
        "https://shop.example.com.evil.example/",
        "https://shop.example.com@evil.example/",
        "https://user:pw@shop.example.com/",
        "https://@shop.example.com/",
        "https://evil.example\\@shop.example.com/",
        "https://evil.example#@shop.example.com/",
        "https://shop.example.com:8443/",
        "https://shop.example.com./",
        "https://example.org/",
        "https://evilexample.org/",
        "https://shop.example.com/a\r\nSet-Cookie: a=b",
        "https://shop.example.com/a b",
        "https://shop.example.com/a\tb",
        " https://shop.example.com/",
        "https://shop.example.com/\x85",
        "https://xn--/",
        "https://[::1]/",
        "https://127.0.0.1/",
        "https://shop.example.com/" + "ü" * 400,
    ],
)
def test_a_link_to_anywhere_else_is_refused(url: str) -> None:
    """Other hosts, however they are written, other schemes, and what could end a header."""
    with pytest.raises(BadLinkError):
        RULES.target(url)


def test_without_hosts_no_link_may_be_made() -> None:
    """A tenant that says nothing has no redirects."""
    with pytest.raises(BadLinkError, match="link_hosts"):
        LinkRules().target("https://shop.example.com/")


@pytest.mark.parametrize(
    "host",
    ["", "*", "*.com", "*.*.example.com", "a.*.com", "Shop.example.com", "https://a.com", "a.com/b",
     "a.com:443", "bücher.example", ".a.com", "a..com", "a.com."],
)  # fmt: skip
def test_a_host_that_is_none_is_refused(host: str) -> None:
    """`*` stands before a name of two parts at least: not for all of .com."""
    with pytest.raises(ValidationError):
        LinkRules(link_hosts=(host,))
