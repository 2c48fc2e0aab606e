"""Hooks as a tenant's package offers them, and how to install that package into a directory."""

import os
import sys
import time
from pathlib import Path
from typing import Any

from schemas.hooks import HookMessage, Verdict

NAMES = ("good", "in_stock", "wrong", "short", "raises", "dies", "hangs", "prints")


def good(messages: list[HookMessage]) -> list[Verdict | None]:
    return [Verdict(suppress="no") if m.user_id == "bad" else None for m in messages]


def in_stock(messages: list[HookMessage]) -> list[Verdict | None]:
    return [Verdict(suppress="sold out") if m.data.get("stock") == "0" else None for m in messages]


def wrong(messages: list[HookMessage]) -> Any:
    return ["no"] * len(messages)


def short(_messages: list[HookMessage]) -> Any:
    return [None]


def raises(_messages: list[HookMessage]) -> None:
    raise LookupError("nothing there")


def dies(_messages: list[HookMessage]) -> None:
    os._exit(3)


def hangs(_messages: list[HookMessage]) -> None:
    while True:
        time.sleep(60)


def prints(_messages: list[HookMessage]) -> None:
    print("hello")  # noqa: T201 - what tenants' code does
    sys.stdout.flush()


def install(directory: Path) -> Path:
    """Write what pip would write for a package with these entry points."""
    info = directory / "acme_hooks-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-hooks\nVersion: 1.0\n")
    lines = [f"{name} = acme_hooks:{name}" for name in NAMES]
    (info / "entry_points.txt").write_text("\n".join(["[clarion.hooks]", *lines, ""]))
    (directory / "acme_hooks.py").write_text(Path(__file__).read_text())
    return directory
