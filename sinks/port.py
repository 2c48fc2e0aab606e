"""What every delivery sink offers."""

from typing import Protocol

from schemas.pipeline import Answer, Delivery, Platform


class Sink(Protocol):
    """Sends one platform's deliveries; built from credentials, connects in open()."""

    platform: Platform

    async def open(self) -> None:
        """Make ready in the running event loop. Does not fail when the provider is down."""
        ...

    async def send(self, delivery: Delivery) -> Answer:
        """Send one delivery and classify the answer. Never raises for what a provider does.

        Safe to call many times at once; the caller bounds how many are in flight.
        """
        ...

    async def close(self) -> None:
        """Close all connections; waits for none."""
        ...
