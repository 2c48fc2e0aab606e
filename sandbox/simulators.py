"""All three provider simulators in one process."""

import asyncio
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import uvloop

from sandbox.apns import ApnsSimulator
from sandbox.fcm import FcmSimulator
from sandbox.keys import KEY_ID, TEAM_ID, TOPIC, read_keys
from sandbox.misbehave import Misbehaving
from sandbox.tls import read_tls
from sandbox.webpush import WebPushSimulator
from schemas.pipeline import Platform


class SimulatorPorts(NamedTuple):
    """Where each simulator listens; 0 picks a free port."""

    apns: int = 0
    fcm: int = 0
    webpush: int = 0


def serve(
    directory: Path,
    ports: SimulatorPorts,
    *,
    host: str,
    ready: Callable[[SimulatorPorts], None],
    only: Platform | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT, with the keys and certificates of the directory.

    ready: told the bound ports. only: one of the three, so that each can have a process of its
    own; the others' ports stay 0. Raises OSError for a port that is taken.
    """
    uvloop.run(_serve(directory, ports, host, ready, only))


async def _serve(
    directory: Path,
    ports: SimulatorPorts,
    host: str,
    ready: Callable[[SimulatorPorts], None],
    only: Platform | None,
) -> None:
    keys = read_keys(directory)
    tls, _ca = read_tls(directory)
    simulators: dict[Platform, ApnsSimulator | FcmSimulator | WebPushSimulator] = {
        Platform.APNS: ApnsSimulator({KEY_ID: (TEAM_ID, keys.apns_public_pem)}, {TEAM_ID: {TOPIC}}),
        Platform.FCM: FcmSimulator([keys.fcm_account], now=time.time),
        Platform.WEBPUSH: WebPushSimulator(),
    }
    if only is not None:
        simulators = {only: simulators[only]}
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    bound = {
        platform.value: await simulator.start(
            host, getattr(ports, platform), tls, Misbehaving(platform).around
        )
        for platform, simulator in simulators.items()
    }
    ready(SimulatorPorts(**bound))
    await stop.wait()
    await asyncio.gather(*(simulator.stop() for simulator in simulators.values()))
