"""Topic names: the map that producers and flows share.

``events.<priority>`` and ``chunks.<priority>`` feed route, ``deliveries.<platform>.<priority>``
feed deliver; the compacted registry topics hold the last word on each device and user,
``definitions`` that on each template, segment and campaign.
``dead.<stage>`` hold what could not be handled, ``dead.resolved`` which of that was replayed or
dropped since, by the letter's coordinates.
"""

from schemas.pipeline import Platform, Priority

DEVICES = "devices"
USERS = "users"
PREFERENCES = "preferences"
DEFINITIONS = "definitions"
SEGMENTS = "segments"
USER_EVENTS = "user.events"
AUDIT = "audit"
TOKEN_DEATHS = "tokens.dead"  # noqa: S105 - a topic's name, not a secret
TIMERS = "timers"
CAMPAIGNS = "campaigns"
OUTCOMES = "outcomes"
FEEDBACK = "feedback"
DEAD_ROUTE = "dead.route"
DEAD_REGISTRY = "dead.registry"
DEAD_OUTCOMES = "dead.outcomes"
DEAD_TIMERS = "dead.timers"
DEAD_CAMPAIGNS = "dead.campaigns"
DEAD_RESOLVED = "dead.resolved"

LAST_WORDS = (DEVICES, USERS, PREFERENCES, TOKEN_DEATHS, DEFINITIONS, SEGMENTS)
"""Compacted topics: only the newest record of a key counts."""
REGISTRY = (*LAST_WORDS, USER_EVENTS, AUDIT)
"""What the registry flow reads."""

EVENTS = {priority: f"events.{priority}" for priority in Priority}
CHUNKS = {priority: f"chunks.{priority}" for priority in Priority}
DELIVERIES = {
    (platform, priority): f"deliveries.{platform}.{priority}"
    for platform in Platform
    for priority in Priority
}
DEAD_DELIVERIES = {platform: f"dead.{platform}" for platform in Platform}
