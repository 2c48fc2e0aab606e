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
from sandbox.tls import read_tls
from sandbox.webpush import WebPushSimulator


class SimulatorPorts(NamedTuple):
    """Where each simulator listens; 0 picks a free port."""

    apns: int = 0
    fcm: int = 0
    webpush: int = 0


def serve(
    directory: Path, ports: SimulatorPorts, *, host: str, ready: Callable[[SimulatorPorts], None]
) -> None:
    """Serve until SIGTERM or SIGINT, with the keys and certificates of the directory.

    ready: told the bound ports. Raises OSError for a port that is taken.
    """
    uvloop.run(_serve(directory, ports, host, ready))


async def _serve(
    directory: Path, ports: SimulatorPorts, host: str, ready: Callable[[SimulatorPorts], None]
) -> None:
    keys = read_keys(directory)
    tls, _ca = read_tls(directory)
    apns = ApnsSimulator({KEY_ID: (TEAM_ID, keys.apns_public_pem)}, {TEAM_ID: {TOPIC}})
    fcm = FcmSimulator([keys.fcm_account], now=time.time)
    webpush = WebPushSimulator()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    bound = SimulatorPorts(
        await apns.start(host, ports.apns, tls),
        await fcm.start(host, ports.fcm, tls),
        await webpush.start(host, ports.webpush, tls),
    )
    ready(bound)
    await stop.wait()
    await asyncio.gather(apns.stop(), fcm.stop(), webpush.stop())
