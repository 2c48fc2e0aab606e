"""A turn of what builds segments beside the registry flow, on the stand's stores."""

from typing import Any

from api.web.door import Door
from flows.segment_keeper import SegmentKeeper
from operators.segment_builder import SegmentBuilder
from operators.segment_rules import live_segment
from schemas.definitions import Kind
from state.definitions import Watched
from state.profiles import RedisProfiles
from state.redis_segments import RedisSegments
from state.segment_work import RedisSegmentWork


def build_segments(door: Door, *, wall_ms: int) -> None:
    """Build what is due: rules only, as nothing runs queries here."""
    segments = RedisSegments(door.redis)
    no_queries: Any = None
    keeper = SegmentKeeper(
        door.tenants,
        definitions=Watched(door.definitions, Kind.SEGMENT, door.tenants, live_segment),
        segments=segments,
        work=RedisSegmentWork(door.redis),
        builder=SegmentBuilder(
            profiles=RedisProfiles(door.redis),
            segments=segments,
            queries=no_queries,
            now_ms=lambda: wall_ms,
            policy_ms=door.now_ms,
        ),
        now_ms=lambda: wall_ms,
        tells=False,
    )
    keeper.turn()
