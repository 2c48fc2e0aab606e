"""Links that count their clicks: where they may lead, and what one carries."""

import re
from typing import Annotated

import msgspec
from pydantic import AfterValidator, Field, SkipValidation
from pydantic_core import Url, ValidationError

from schemas.content import Wire
from schemas.fields import Id

MAX_URL_CHARS = 2_048
MAX_LINKS = 1_000
_HOST = re.compile(r"(\*\.(?=[^.]+\.))?([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9-]{1,63}")
_SHAPE = re.compile(r"https://[^/?#@]+([/?#].*)?", re.IGNORECASE)
_UNSEEN = re.compile(r"[\x00-\x20\x7f-\xa0\\]")


class BadLinkError(ValueError):
    """A link may not lead there; the text says why."""


def _host(text: str) -> str:
    if _HOST.fullmatch(text) is None:
        raise ValueError(
            "use a host name in lower case, such as 'shop.example.com', or '*.example.com' for all"
            " under it; names beyond ASCII as 'xn--...'; no port and no path"
        )
    return text


LinkHost = Annotated[
    str, Field(min_length=1, max_length=253, pattern=r"^[a-z0-9.*-]+$"), AfterValidator(_host)
]


class LinkRules(Wire):
    """Where links that count clicks may lead: https on these hosts, and nowhere without any.

    link_hosts: names, or `*.example.com` for all names under it (not example.com itself).
    """

    link_hosts: Annotated[tuple[LinkHost, ...], Field(max_length=100)] = ()

    def allow(self, host: str) -> bool:
        """Tell whether links may lead to this host. host: lower case, as `target` gives it."""
        return any(
            host.endswith(one[1:]) if one.startswith("*") else host == one
            for one in self.link_hosts
        )

    def target(self, url: str) -> str:
        """Give the URL as it goes into a Location header, if links may lead there: ASCII.

        What browsers take for the host is what is checked: both follow the URL Standard of the
        WHATWG. Raises BadLinkError.
        """
        if _UNSEEN.search(url) is not None:
            raise BadLinkError("use no blanks, control characters or backslashes")
        if _SHAPE.fullmatch(url) is None:
            raise BadLinkError("use a whole https:// URL, without a user name")
        try:
            found = Url(url)
        except ValidationError:
            raise BadLinkError("use a URL, such as https://shop.example.com/sale") from None
        if found.username or found.password or found.port != 443:
            raise BadLinkError("use a URL without a user name and without a port")
        if not self.allow(found.host or ""):
            raise BadLinkError(
                "links may not lead to this host: see links.link_hosts of the tenant"
            )
        text = str(found)
        if len(text) > MAX_URL_CHARS or not text.isascii() or not text.isprintable():
            raise BadLinkError(f"use a URL of at most {MAX_URL_CHARS} ASCII characters")
        return text


class LinkRequest(Wire):
    """A link to make: whose click is counted, for which message, and where it leads."""

    url: Annotated[str, Field(min_length=1, max_length=MAX_URL_CHARS)]
    message_id: Id
    user_id: Id
    delivery_id: Id | None = None
    campaign_id: Id | None = None


class LinkRequests(Wire):
    """Links to make, each of them checked and answered by itself."""

    items: Annotated[list[SkipValidation[LinkRequest]], Field(min_length=1, max_length=MAX_LINKS)]


class Link(msgspec.Struct, frozen=True, array_like=True):
    """What a signed link carries; "" for what was not given."""

    tenant: str
    url: str
    message_id: str
    user_id: str
    delivery_id: str = ""
    campaign_id: str = ""
