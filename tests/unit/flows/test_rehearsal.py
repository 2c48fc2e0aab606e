"""A rehearsal's ports."""

from dataclasses import fields

from flows.rehearsal import READ, WRITTEN, read_only
from flows.route_steps import RoutePorts
from tests.contract.state_stores import in_memory
from tests.unit.operators.route_chain import route_ports


def test_every_port_is_known_to_read_or_is_replaced() -> None:
    """A new port of route says in flows/rehearsal.py whether a rehearsal may have it as it is."""
    assert {field.name for field in fields(RoutePorts)} == READ | WRITTEN
    assert not READ & WRITTEN


def test_what_is_written_is_replaced() -> None:
    """And what is only read is the live one."""
    live = route_ports(in_memory())
    made = read_only(live)
    for field in fields(RoutePorts):
        same = getattr(made, field.name) is getattr(live, field.name)
        assert same is (field.name in READ), field.name
