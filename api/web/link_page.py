"""The page behind an unsubscribe link: one button, no script, nothing from elsewhere."""

from base64 import b64encode
from collections.abc import Mapping
from hashlib import sha256
from html import escape
from typing import Final

_STYLE: Final = (
    "body{font:1.1rem/1.5 system-ui,sans-serif;max-width:32rem;margin:15vh auto;padding:0 1rem;"
    "color:#1a1a1a;background:#fff}"
    "button{font:inherit;padding:.6rem 1.4rem;border:2px solid #1a1a1a;border-radius:.4rem;"
    "color:#fff;background:#1a1a1a;cursor:pointer}"
    "button:focus-visible{outline:3px solid #06c;outline-offset:3px}"
)
_STYLE_HASH: Final = b64encode(sha256(_STYLE.encode()).digest()).decode()
PRIVATE: Final[Mapping[str, str]] = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Robots-Tag": "noindex",
}
"""Headers of whatever is reached by a link: the link is in the address, and it is a credential."""
HEADERS: Final[Mapping[str, str]] = {
    **PRIVATE,
    "Content-Security-Policy": (
        f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; form-action 'self';"
        " base-uri 'none'; frame-ancestors 'none'"
    ),
}
"""Headers of the pages."""


def asking(tenant: str, what: str) -> str:
    """Give the page that asks; the button posts to the page's own address."""
    return _page(
        "Unsubscribe",
        f"<p>Stop {escape(what)} from {escape(tenant)}?</p>"
        '<form method="post"><input type="hidden" name="List-Unsubscribe" value="One-Click">'
        '<button type="submit">Unsubscribe</button></form>',
    )


def done(tenant: str, what: str) -> str:
    """Give the page that says it is done."""
    return _page(
        "Unsubscribed",
        f'<p role="status">You will get no more {escape(what)} from {escape(tenant)}.</p>',
    )


def what_ends(category: str, type_: str) -> str:
    """Say what a link ends, such as `messages about news`."""
    if category and type_:
        return f"messages about {category} of the type {type_}"
    if category:
        return f"messages about {category}"
    return f"messages of the type {type_}" if type_ else "messages"


def _page(title: str, content: str) -> str:
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title><style>{_STYLE}</style></head>"
        f"<body><main><h1>{title}</h1>{content}</main></body></html>"
    )
