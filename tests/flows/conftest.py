"""Fixtures of the flow tests."""

from flow_harness import stores

__all__ = ["stores"]
