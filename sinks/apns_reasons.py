"""What every APNs answer means: one table for (status, reason).

Source: https://developer.apple.com/documentation/usernotifications/handling-notification-responses-from-apns
and, for the broadcast and channel rows,
https://developer.apple.com/documentation/usernotifications/sending-broadcast-push-notification-requests-to-apns
and https://developer.apple.com/documentation/usernotifications/sending-channel-management-requests-to-apns
"""

from collections.abc import Mapping

import msgspec

from schemas.outcomes import Reason, Status, TokenAction

AFTER_SERVER_ERROR_S = 900.0
"""Apple: a 5xx may be tried again after 15 minutes."""

AFTER_TOKEN_UPDATES_S = 1200.0
"""Apple: update the provider token no more often than once every 20 minutes."""

AFTER_TOO_MANY_REQUESTS_S = 60.0
"""Apple names no interval for too many requests to one device, and sends no Retry-After."""

AT_ONCE_S = 0.0
"""On a new connection or with a new provider token."""


class Verdict(msgspec.Struct, frozen=True):
    """What an answer means. retry_after_s: the wait before the next attempt, None: no attempt.

    listed: False for an answer that the table does not hold.
    """

    status: Status
    reason: Reason
    token_action: TokenAction = TokenAction.KEEP
    retry_after_s: float | None = None
    listed: bool = True


_SENT = Verdict(Status.SENT, Reason.ACCEPTED)
_BAD_REQUEST = Verdict(Status.REJECTED, Reason.BAD_REQUEST)
_BAD_CONFIG = Verdict(Status.REJECTED, Reason.BAD_CONFIG)
_BAD_CREDENTIALS = Verdict(Status.REJECTED, Reason.BAD_CREDENTIALS)
_TOO_LARGE = Verdict(Status.REJECTED, Reason.PAYLOAD_TOO_LARGE)
_UNLISTED = Verdict(Status.REJECTED, Reason.UNLISTED, listed=False)


def _failed(reason: Reason, token_action: TokenAction) -> Verdict:
    return Verdict(Status.FAILED, reason, token_action)


def _retry(reason: Reason, retry_after_s: float, *, listed: bool = True) -> Verdict:
    return Verdict(Status.RETRY, reason, retry_after_s=retry_after_s, listed=listed)


VERDICTS: Mapping[tuple[int, str], Verdict] = {
    (200, ""): _SENT,
    (400, "BadCollapseId"): _BAD_REQUEST,
    # Malformed or of the other environment, without a timestamp: many at once mean that the host
    # or key is wrong, so one answer proves nothing about the device.
    (400, "BadDeviceToken"): _failed(Reason.TOKEN_INVALID, TokenAction.SUSPECT),
    (400, "BadExpirationDate"): _BAD_REQUEST,
    (400, "BadMessageId"): _BAD_REQUEST,
    (400, "BadPriority"): _BAD_REQUEST,
    (400, "BadTopic"): _BAD_CONFIG,
    # Dead for this app only, and a config error when it hits every token: never purged at once.
    (400, "DeviceTokenNotForTopic"): _failed(Reason.TOKEN_WRONG_APP, TokenAction.SUSPECT),
    (400, "DuplicateHeaders"): _BAD_REQUEST,
    (400, "IdleTimeout"): _retry(Reason.PROVIDER_UNAVAILABLE, AT_ONCE_S),
    (400, "InvalidPushType"): _BAD_REQUEST,
    (400, "MissingDeviceToken"): _BAD_REQUEST,
    (400, "MissingTopic"): _BAD_REQUEST,
    (400, "PayloadEmpty"): _BAD_REQUEST,
    (400, "TopicDisallowed"): _BAD_CONFIG,
    (403, "BadCertificate"): _BAD_CREDENTIALS,
    (403, "BadCertificateEnvironment"): _BAD_CREDENTIALS,
    (403, "BadEnvironmentKeyIdInToken"): _BAD_CREDENTIALS,
    # Not in Apple's table, seen on the wire: https://github.com/swift-server-community/APNSwift/pull/229
    (403, "BadEnvironmentKeyInToken"): _BAD_CREDENTIALS,
    (403, "ExpiredProviderToken"): _retry(Reason.CREDENTIAL_EXPIRED, AT_ONCE_S),
    (403, "Forbidden"): _BAD_CONFIG,
    (403, "InvalidProviderToken"): _BAD_CREDENTIALS,
    (403, "MissingProviderToken"): _BAD_CREDENTIALS,
    # The connection has seen another key first; a new connection takes this one.
    (403, "UnrelatedKeyIdInToken"): _retry(Reason.PROVIDER_UNAVAILABLE, AT_ONCE_S),
    (404, "BadPath"): _BAD_REQUEST,
    (405, "MethodNotAllowed"): _BAD_REQUEST,
    # The only two that prove a device token dead, both with the time since when.
    (410, "ExpiredToken"): _failed(Reason.TOKEN_EXPIRED, TokenAction.DELETE),
    (410, "Unregistered"): _failed(Reason.TOKEN_UNREGISTERED, TokenAction.DELETE),
    (413, "PayloadTooLarge"): _TOO_LARGE,
    (429, "TooManyProviderTokenUpdates"): _retry(Reason.THROTTLED, AFTER_TOKEN_UPDATES_S),
    (429, "TooManyRequests"): _retry(Reason.DEVICE_THROTTLED, AFTER_TOO_MANY_REQUESTS_S),
    (500, "InternalServerError"): _retry(Reason.PROVIDER_UNAVAILABLE, AFTER_SERVER_ERROR_S),
    (503, "ServiceUnavailable"): _retry(Reason.PROVIDER_UNAVAILABLE, AFTER_SERVER_ERROR_S),
    (503, "Shutdown"): _retry(Reason.PROVIDER_UNAVAILABLE, AT_ONCE_S),
    # Broadcast and channel management.
    (400, "FeatureNotEnabled"): _BAD_CONFIG,
    (400, "MissingChannelId"): _BAD_REQUEST,
    (400, "BadChannelId"): _BAD_REQUEST,
    (400, "ChannelNotRegistered"): _BAD_CONFIG,
    (400, "BadRequestParams"): _BAD_REQUEST,
    (400, "BadRequestPayload"): _BAD_REQUEST,
    (400, "MissingPushType"): _BAD_REQUEST,
    (400, "CannotCreateChannelConfig"): _BAD_CONFIG,
    (403, "TopicMismatch"): _BAD_CONFIG,
}

_BY_STATUS: Mapping[int, Verdict] = {
    429: _retry(Reason.THROTTLED, AFTER_TOO_MANY_REQUESTS_S, listed=False),
    504: Verdict(Status.UNKNOWN, Reason.PROVIDER_TIMEOUT, listed=False),  # it may have been sent
}
"""What speaks for itself whatever the body says; with 5xx, see below. A gateway's page has none."""
_ILL = _retry(Reason.PROVIDER_UNAVAILABLE, AFTER_SERVER_ERROR_S, listed=False)
_GATEWAY_ILL = _retry(Reason.PROVIDER_UNAVAILABLE, AT_ONCE_S, listed=False)


def verdict(status: int, reason: str) -> Verdict:
    """Look an answer up. reason: the body's, as sent; spaces do not count. Never raises.

    An answer that the table does not hold is REJECTED/UNLISTED, with two exceptions. Any 2xx is
    SENT: the body of an acceptance is empty today, and a field in it would not undo it. And what
    is only "not now" by its status is no refusal of the message: a provider that is ill, or a
    gateway before it, must not end messages for good.
    """
    if 200 <= status < 300:
        return _SENT
    found = VERDICTS.get((status, reason.replace(" ", ""))) or _BY_STATUS.get(status)
    if found is not None:
        return found
    if status >= 500:
        return _ILL if reason else _GATEWAY_ILL
    return _UNLISTED
