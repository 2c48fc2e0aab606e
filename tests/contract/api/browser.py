"""A headless Chromium, driven over the DevTools protocol through a pipe."""

import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-pipe",
)
ANSWER_S = 30.0
Message = dict[str, Any]


class BrowserError(AssertionError):
    """The browser says that a command or a script failed."""


class Browser:
    """One Chromium with a profile of its own.

    Source: https://chromedevtools.github.io/devtools-protocol.
    """

    def __init__(self, profile: Path) -> None:
        assert CHROMIUM is not None
        to_browser, self._out = os.pipe()
        self._in, from_browser = os.pipe()

        def as_3_and_4() -> None:
            high = os.dup(to_browser), os.dup(from_browser)
            os.dup2(high[0], 3)
            os.dup2(high[1], 4)

        self._process = subprocess.Popen(
            [CHROMIUM, *FLAGS, f"--user-data-dir={profile}", "about:blank"],
            preexec_fn=as_3_and_4,  # noqa: PLW1509 - the protocol is spoken on these two
            pass_fds=(3, 4),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_browser)
        os.close(from_browser)
        self._left = b""
        self._count = 0
        self.events: list[Message] = []

    def close(self) -> None:
        self._process.kill()
        self._process.wait(timeout=ANSWER_S)
        os.close(self._out)
        os.close(self._in)

    def call(self, method: str, params: Message | None = None, session: str = "") -> Message:
        """Run a command; what happens meanwhile is added to events."""
        self._count += 1
        asked = {"id": self._count, "method": method, "params": params or {}}
        if session:
            asked["sessionId"] = session
        os.write(self._out, json.dumps(asked).encode() + b"\0")
        until_s = time.monotonic() + ANSWER_S
        while True:
            message = self._read(until_s)
            if message.get("id") == self._count:
                if "error" in message:
                    raise BrowserError(f"{method}: {message['error']}")
                found: Message = message["result"]
                return found
            self.events.append(message)

    def event(self, method: str, fits: Callable[[Message], bool] = lambda _: True) -> Message:
        """Wait for an event; give its parameters."""
        until_s = time.monotonic() + ANSWER_S
        seen = 0
        while True:
            for message in self.events[seen:]:
                if message.get("method") == method and fits(message["params"]):
                    found: Message = message["params"]
                    return found
            seen = len(self.events)
            self.events.append(self._read(until_s))

    def _read(self, until_s: float) -> Message:
        while b"\0" not in self._left:
            ready, _, _ = select.select([self._in], [], [], max(0.0, until_s - time.monotonic()))
            part = os.read(self._in, 65_536) if ready else b""
            if not part:
                raise BrowserError("the browser does not answer")
            self._left += part
        whole, _, self._left = self._left.partition(b"\0")
        message: Message = json.loads(whole)
        return message

    def attach(self, target: str) -> str:
        """Give a session with a page or a worker."""
        asked = {"targetId": target, "flatten": True}
        session: str = self.call("Target.attachToTarget", asked)["sessionId"]
        return session

    def evaluate(self, session: str, script: str) -> Any:
        """Run an async function's body; give what it returns."""
        asked = {
            "expression": f"(async () => {{{script}}})()",
            "awaitPromise": True,
            "returnByValue": True,
            "userGesture": True,
        }
        answer = self.call("Runtime.evaluate", asked, session)
        if "exceptionDetails" in answer:
            raise BrowserError(json.dumps(answer["exceptionDetails"])[:1_000])
        return answer["result"].get("value")
