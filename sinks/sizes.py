"""How large a content is on its platform, measured as the sinks do."""

from typing import Final

from schemas.pipeline import Content, Platform
from sinks import apns_payload, webpush_payload
from sinks.fcm_message import FcmMessages

_OF: Final = {
    Platform.APNS: apns_payload.size_of,
    Platform.FCM: FcmMessages().size_of,
    Platform.WEBPUSH: webpush_payload.size_of,
}


def size_of(platform: Platform, content: Content) -> tuple[int, int] | None:
    """Give the bytes that the platform counts and how many there may be.

    None when the content is not sendable for another reason than its size, which the sink will say.
    """
    try:
        return _OF[platform](content)
    except (TypeError, ValueError, RecursionError):  # what JSON cannot say, or too deep
        return None
