"""The browser SDK in a real browser: a page, its service worker, and the API on another origin.

A push service is not asked: the subscription is made up, and pushes are delivered by DevTools.
"""

import json
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from api.web.door import Door
from tests.contract.api.browser import CHROMIUM, Browser
from tests.contract.api.site_stand import Site, site_of

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt-get install chromium")

P256DH = urlsafe_b64encode(b"\x04" + b"x" * 64).rstrip(b"=").decode()
AUTH = urlsafe_b64encode(b"a" * 16).rstrip(b"=").decode()
ENDPOINT = "https://fcm.googleapis.com/fcm/send/abc"
MADE_UP = f"""
  const made = {{
    endpoint: '{ENDPOINT}', options: null, unsubscribe: async () => true,
    toJSON: () => ({{ endpoint: '{ENDPOINT}', expirationTime: null,
                      keys: {{ p256dh: '{P256DH}', auth: '{AUTH}' }} }}),
  }}
  PushManager.prototype.subscribe = async () => made
  PushManager.prototype.getSubscription = async () => made
"""
DEVICES = "/v1/users/u1/webpush"
FEEDBACK = "/v1/feedback"


class Page:
    """The site's page in the browser, with a Clarion for u1."""

    def __init__(self, browser: Browser, site: Site) -> None:
        self.browser, self.site = browser, site
        granted = {"permissions": ["notifications"], "origin": site.origin}
        browser.call("Browser.grantPermissions", granted)
        target = browser.call("Target.createTarget", {"url": "about:blank"})["targetId"]
        self.session = browser.attach(target)
        for domain in ("Page", "ServiceWorker"):
            browser.call(f"{domain}.enable", session=self.session)
        browser.call("Page.navigate", {"url": site.origin}, self.session)
        browser.event("Page.loadEventFired")
        self.run(
            f"{MADE_UP}; self.clarion = new Clarion({{ api: '{site.api}', app: 'web', user: 'u1',"
            f" token: async () => 'test:acme:device:u1', vapidKey: '{P256DH}' }})"
        )

    def run(self, script: str) -> Any:
        return self.browser.evaluate(self.session, script)

    def worker(self) -> str:
        """Give a session with the service worker, where events that DevTools made may wait."""
        targets = self.browser.call("Target.getTargets")["targetInfos"]
        (target,) = [one["targetId"] for one in targets if one["type"] == "service_worker"]
        session = self.browser.attach(target)
        script = "ExtendableEvent.prototype.waitUntil = function (work) { self.work = work }"
        self.browser.evaluate(session, script)
        return session

    def push(self, payload: Any) -> None:
        def is_ours(params: dict[str, Any]) -> bool:
            return any(
                one["scopeURL"].startswith(self.site.origin) for one in params["registrations"]
            )

        updated = self.browser.event("ServiceWorker.workerRegistrationUpdated", is_ours)
        asked = {
            "origin": self.site.origin,
            "registrationId": updated["registrations"][0]["registrationId"],
            "data": payload if isinstance(payload, str) else json.dumps(payload),
        }
        self.browser.call("ServiceWorker.deliverPushMessage", asked, self.session)

    def shown(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.run(
            "const ready = await navigator.serviceWorker.ready;"
            "return (await ready.getNotifications()).map((one) => ({ title: one.title,"
            " body: one.body, actions: one.actions.map((action) => action.action), tag: one.tag }))"
        )
        return found

    def reported(self) -> list[tuple[str, str, str]]:
        """Wait for a request with reports; give message, kind and detail of each."""
        call = self.site.recorded.next(FEEDBACK)
        assert call.credential.startswith("Bearer cdt_")
        assert call.status == (503 if self.site.recorded.away else 202)
        return [(one["message_id"], one["kind"], one["detail"]) for one in call.body["items"]]


@pytest.fixture
def site(door: Door) -> Iterator[Site]:
    """Serve a site and the API."""
    with site_of(door) as site:
        yield site


@pytest.fixture
def page(site: Site, tmp_path: Path) -> Iterator[Page]:
    """Open the site's page."""
    browser = Browser(tmp_path)
    try:
        yield Page(browser, site)
    finally:
        browser.close()


def test_a_browser_subscribes_gets_a_push_and_reports_what_becomes_of_it(page: Page) -> None:
    """Registered over CORS; the notification is shown; delivered, clicked, dismissed arrive."""
    assert page.run("return clarion.state()") == "default"
    device = page.run("return clarion.subscribe()")
    call = page.site.recorded.next(DEVICES)
    assert (call.credential, call.body["app"]) == ("Bearer test:acme:device:u1", "web")
    assert device["device_token"].startswith("cdt_")
    assert page.run("return clarion.state()") == "subscribed"

    page.push(
        {
            "title": "Hi",
            "body": "there",
            "url": "/inbox",
            "tag": "t1",
            "actions": [{"action": "go", "title": "Go", "url": "/go"}],
            "data": {"message_id": "m-1"},
        }
    )
    assert page.reported() == [("m-1", "delivered", "")]
    assert page.shown() == [{"title": "Hi", "body": "there", "actions": ["go"], "tag": "t1"}]

    worker = page.worker()
    for kind, action in (("notificationclick", "go"), ("notificationclick", "")):
        page.browser.evaluate(
            worker,
            "self.one ||= (await registration.getNotifications())[0];"
            f"self.dispatchEvent(new NotificationEvent('{kind}',"
            f" {{ notification: self.one, action: '{action}' }})); await self.work",
        )
    assert page.reported() == [("m-1", "clicked", "go")]
    assert page.reported() == [("m-1", "opened", "")]
    assert page.shown() == []
    page.browser.evaluate(
        worker,
        "const closed = { notification: self.one };"
        "self.dispatchEvent(new NotificationEvent('notificationclose', closed)); await self.work",
    )
    assert page.reported() == [("m-1", "dismissed", "")]


def test_reports_wait_while_the_api_is_away(page: Page) -> None:
    """They are kept in IndexedDB and go out together when the page starts again."""
    page.run("return clarion.subscribe()")
    page.site.recorded.away = True
    page.push({"title": "One", "data": {"message_id": "m-1"}})
    assert page.reported() == [("m-1", "delivered", "")]
    page.push({"title": "Two", "data": {"message_id": "m-2"}})
    both = [("m-1", "delivered", ""), ("m-2", "delivered", "")]
    assert page.reported() == both
    page.site.recorded.away = False
    page.run("return clarion.start()")
    assert page.reported() == both
    page.push({"title": "Three", "data": {"message_id": "m-3"}})
    assert page.reported() == [("m-3", "delivered", "")]


@pytest.mark.parametrize(
    ("payload", "title", "body"),
    [
        ({"web_push": 8030, "notification": {"title": "D", "navigate": "/x"}}, "D", ""),
        ("just text", "", "just text"),
    ],
)
def test_other_payloads_are_shown_as_well(page: Page, payload: Any, title: str, body: str) -> None:
    """The declarative form, and what is no JSON."""
    page.run("clarion.onPush((payload) => { self.heard = payload }); return clarion.subscribe()")
    page.push(payload)
    page.push({"title": "After", "data": {"message_id": "m-1"}})
    assert page.reported() == [("m-1", "delivered", "")]
    assert (title, body) in [(one["title"], one["body"]) for one in page.shown()]
    assert page.run("return Boolean(self.heard)")


def test_preferences_and_unsubscribing_use_the_devices_own_token(page: Page) -> None:
    """The site's token is needed once; afterwards the device is gone from the API."""
    page.run("return clarion.subscribe()")
    page.site.recorded.next(DEVICES)
    page.run("return clarion.setPreferences({ opted_out_categories: ['news'] })")
    change = page.site.recorded.next("/v1/users/u1/preferences")
    assert change.method == "PATCH"
    assert change.credential.startswith("Bearer cdt_")
    assert page.run("return clarion.preferences()")["opted_out_categories"] == ["news"]
    assert page.run("return clarion.unsubscribe()") is True
    assert page.run("return clarion.start()") is None


def test_a_new_subscription_keeps_the_device(page: Page) -> None:
    """When the browser replaces it, the worker registers it under the same id."""
    device = page.run("return clarion.subscribe()")
    page.site.recorded.next(DEVICES)
    page.browser.evaluate(
        page.worker(),
        f"{MADE_UP}; const event = new Event('pushsubscriptionchange');"
        "event.waitUntil = (work) => { self.work = work };"
        "event.newSubscription = made; self.dispatchEvent(event); await self.work",
    )
    again = page.site.recorded.next(DEVICES)
    assert again.credential.startswith("Bearer cdt_")
    assert again.body["device_id"] == device["device_id"]
