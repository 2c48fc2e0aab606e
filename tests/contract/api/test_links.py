"""Links for users: what they change, for whom, until when, and what they give away."""

from html.parser import HTMLParser
from typing import Any
from urllib.parse import urlsplit

import pytest

from api.auth.signing import Purpose
from api.web.door import Door
from schemas import topics
from schemas.decode import decode
from schemas.registry import Choice, UserPreferences
from tests.contract.api.door_stand import NOW_MS, AppliedOutbox, AsCaller

LINKS = "/v1/users/u1/links"
P1 = "/v1/users/u1/preferences"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
ONE_CLICK = b"List-Unsubscribe=One-Click"
NO_NEWS = {"allow": False, "type": "", "category": "news", "channel": None}


async def made(as_caller: AsCaller, **body: Any) -> dict[str, Any]:
    answer = await as_caller("producer").post(LINKS, json=body)
    assert answer.status_code == 200
    found: dict[str, Any] = answer.json()
    return found


async def test_links_come_with_the_headers_of_an_e_mail(as_caller: AsCaller) -> None:
    """RFC 8058: one click, at the same address."""
    found = await made(as_caller, category="news")
    url = found["unsubscribe_url"]
    assert url.startswith("http://test/v1/unsubscribe/")
    assert found["preferences_url"].startswith("http://test/v1/preferences/")
    assert found["headers"] == {
        "List-Unsubscribe": f"<{url}>",
        "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
    }


async def test_looking_at_the_page_changes_nothing(
    as_caller: AsCaller, outbox: AppliedOutbox
) -> None:
    """Mail scanners follow links; the page asks, and keeps its address to itself."""
    url = (await made(as_caller, category="news"))["unsubscribe_url"]
    answer = await as_caller().get(url)
    assert answer.status_code == 200
    assert not outbox.records
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["cache-control"] == "no-store"
    tags = Tags(answer.text)
    assert {"main", "h1", "form", "button", "title"} <= tags.seen
    assert not tags.seen & {"script", "link", "img", "iframe"}
    assert ("html", "lang", "en") in tags.attributes
    assert ("form", "method", "post") in tags.attributes


class Tags(HTMLParser):
    """The tags of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.seen: set[str] = set()
        self.attributes: set[tuple[str, str, str | None]] = set()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        self.attributes |= {(tag, name, value) for name, value in attrs}


async def test_one_click_unsubscribes(as_caller: AsCaller, outbox: AppliedOutbox) -> None:
    """From the category, next to what was said before; a repeat writes nothing."""
    client = as_caller("producer")
    await client.put(P1, json={"topics": ["a"], "choices": [{"allow": True, "category": "news"}]})
    url = (await made(as_caller, category="news"))["unsubscribe_url"]
    answer = await as_caller().post(url, content=ONE_CLICK, headers=FORM)
    assert (answer.status_code, answer.json()) == (200, {"category": "news", "type": ""})
    found = (await client.get(P1)).json()
    assert (found["topics"], found["choices"]) == (["a"], [NO_NEWS])
    count = len(outbox.records)
    assert (await as_caller().post(url, content=ONE_CLICK, headers=FORM)).status_code == 200
    assert len(outbox.records) == count


async def test_clicks_that_follow_each_other_all_count(
    as_caller: AsCaller, outbox: AppliedOutbox
) -> None:
    """Also while the registry is behind."""
    outbox.applies = False
    urls = [
        (await made(as_caller, **about))["unsubscribe_url"]
        for about in ({"category": "news"}, {"category": "alerts"}, {"type": "weekly"}, {})
    ]
    for url in urls:
        await as_caller().post(url, content=ONE_CLICK, headers=FORM)
    last = decode(UserPreferences, outbox.of(topics.PREFERENCES)[-1].value)
    assert last.opt_out_all
    assert set(last.choices) == {
        Choice(allow=False, category="news"),
        Choice(allow=False, category="alerts"),
        Choice(allow=False, type="weekly"),
    }


async def test_the_button_answers_with_a_page(as_caller: AsCaller) -> None:
    """Browsers ask for HTML; what is in it is escaped."""
    url = (await made(as_caller, type="<b>weekly</b>"))["unsubscribe_url"]
    pages = [
        await as_caller().get(url),
        await as_caller().post(url, content=ONE_CLICK, headers={**FORM, "Accept": "text/html"}),
    ]
    for page in pages:
        assert page.headers["content-type"].startswith("text/html")
        assert "&lt;b&gt;weekly&lt;/b&gt;" in page.text
        assert "b" not in Tags(page.text).seen


async def test_a_link_that_does_not_hold_is_not_found(as_caller: AsCaller, door: Door) -> None:
    """Damaged, expired, made for something else, of a tenant that is gone: all the same."""
    sign = door.signer.sign
    good = sign(Purpose.UNSUBSCRIBE, ["acme", "u1", "news", ""])
    bad = [
        "x",
        good[:-2] + ("AA" if good[-2:] != "AA" else "BB"),
        sign(Purpose.UNSUBSCRIBE, ["acme", "u1", "news", ""], expires_at_ms=NOW_MS),
        sign(Purpose.PREFERENCES, ["acme", "u1"]),
        sign(Purpose.DEVICE, ["acme", "u1", "d1"]),
        sign(Purpose.UNSUBSCRIBE, ["gone", "u1", "news", ""]),
    ]
    client = as_caller()
    said = set()
    for signed in bad:
        for method in ("GET", "POST"):
            answer = await client.request(method, f"/v1/unsubscribe/{signed}")
            said.add((answer.status_code, answer.text))
    for signed in (good, sign(Purpose.PREFERENCES, ["acme", "u1"], expires_at_ms=NOW_MS)):
        for method in ("GET", "PUT"):
            answer = await client.request(method, f"/v1/preferences/{signed}", json={})
            said.add((answer.status_code, answer.text))
    ((status, _),) = said
    assert status == 404


async def test_the_page_shows_what_the_user_gets(as_caller: AsCaller) -> None:
    """Categories as the flows judge them, platforms of the tenant's apps, mute and language."""
    client = as_caller("producer")
    await client.put("/v1/users/u1", json={"locale": "de"})
    await client.put(
        P1,
        json={
            "opted_out_channels": ["webpush"],
            "muted_until": "2026-12-24T00:00:00Z",
            "choices": [{"allow": False, "category": "news", "channel": "apns"}],
        },
    )
    url = (await made(as_caller))["preferences_url"]
    answer = await as_caller().get(url)
    assert answer.headers["cache-control"] == "no-store"
    page = answer.json()
    assert (page["tenant"], page["locale"]) == ("acme", "de")
    assert page["muted_until"] == "2026-12-24T00:00:00Z"
    assert page["channels"] == [
        {"name": "apns", "allowed": True},
        {"name": "webpush", "allowed": False},
    ]
    news = next(one for one in page["categories"] if one["name"] == "news")
    assert news["allowed"]
    assert news["channels"] == [
        {"name": "apns", "allowed": False},
        {"name": "webpush", "allowed": True},
    ]


async def test_what_is_changed_on_the_page_is_there_at_once(
    as_caller: AsCaller, outbox: AppliedOutbox
) -> None:
    """Next to what was said before, and shown also while the registry is behind."""
    await as_caller("producer").put(P1, json={"topics": ["a"]})
    outbox.applies = False
    url = (await made(as_caller))["preferences_url"]
    change = {"categories": {"news": False}, "channels": {"apns": False}, "locale": "fr"}
    put = await as_caller().put(url, json=change)
    got = await as_caller().get(url)
    assert put.status_code == 200
    assert put.json() == got.json()
    page = got.json()
    assert page["locale"] == "fr"
    assert page["channels"][0] == {"name": "apns", "allowed": False}
    assert [one["allowed"] for one in page["categories"] if one["name"] == "news"] == [False]
    back = await as_caller().put(url, json={"categories": {"news": True}, "muted_until": None})
    assert all(one["allowed"] for one in back.json()["categories"])
    last = decode(UserPreferences, outbox.of(topics.PREFERENCES)[-1].value)
    assert last.topics == ("a",)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"categories": {"none": True}}, "categories.none"),
        ({"categories": {"news": "yes"}}, "categories.news"),
        ({"colour": "red"}, "colour"),
        ({"muted_until": "later"}, "muted_until"),
    ],
)
async def test_a_wrong_change_names_the_field(
    as_caller: AsCaller, outbox: AppliedOutbox, change: dict[str, Any], field: str
) -> None:
    """422, and nothing is changed."""
    url = (await made(as_caller))["preferences_url"]
    answer = await as_caller().put(url, json=change)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == field
    assert not outbox.records


async def test_the_audit_log_names_the_link(as_caller: AsCaller, door: Door) -> None:
    """By a stand-in: the log must not hold a link that still works."""
    trail: Any = door.audit
    found = await made(as_caller, category="news")
    await as_caller().post(found["unsubscribe_url"], content=ONE_CLICK, headers=FORM)
    await as_caller().put(found["preferences_url"], json={"opt_out_all": True})
    made_, ended, put = trail.deeds
    assert (made_.principal.kind, made_.target) == ("key", "u1")
    for deed, url, purpose in (
        (ended, found["unsubscribe_url"], "unsubscribe"),
        (put, found["preferences_url"], "preferences"),
    ):
        assert (deed.principal.kind, deed.principal.tenant) == ("link", "acme")
        assert deed.principal.id.startswith(f"{purpose} ~")
        assert deed.target == "u1"
        assert urlsplit(url).path.rsplit("/")[-1] not in str(deed)


async def test_links_are_made_for_ones_own_user(as_caller: AsCaller) -> None:
    """And for categories that there are."""
    bound = as_caller("device", user="u1", device="d1")
    assert (await bound.post("/v1/users/u2/links", json={})).status_code == 404
    assert (await bound.post(LINKS, json={})).status_code == 200
    answer = await bound.post(LINKS, json={"category": "none"})
    assert answer.json()["errors"][0]["field"] == "category"
    assert (await bound.post(LINKS, json={"expires_in_s": 1})).status_code == 422


async def test_what_kafka_does_not_take_is_no_unsubscription_yet(
    as_caller: AsCaller, outbox: AppliedOutbox
) -> None:
    """503; the mail program tries again, and the repeat puts the record."""
    url = (await made(as_caller, category="news"))["unsubscribe_url"]
    outbox.refuses = True
    assert (await as_caller().post(url, content=ONE_CLICK, headers=FORM)).status_code == 503
    outbox.refuses = False
    assert (await as_caller().post(url, content=ONE_CLICK, headers=FORM)).status_code == 200
    assert len(outbox.of(topics.PREFERENCES)) == 1
