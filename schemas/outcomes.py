"""The vocabulary of results: one status and one reason for every decision."""

from enum import StrEnum


class Status(StrEnum):
    """What became of a message for one recipient or device."""

    SENT = "sent"
    """The provider accepted it. Terminal."""
    FAILED = "failed"
    """The provider refused it for good, or the device token is dead. Terminal."""
    REJECTED = "rejected"
    """The request itself is wrong: fix the event or the config. Terminal."""
    SUPPRESSED = "suppressed"
    """Policy decided not to send. Terminal."""
    EXPIRED = "expired"
    """Its time to live ended before it could be sent. Terminal."""
    UNKNOWN = "unknown"
    """It left for the provider and no answer came; not resent. Terminal."""
    RETRY = "retry"
    """A transient failure; a later attempt is scheduled. Not terminal."""
    DEFERRED = "deferred"
    """Policy holds it until a later time. Not terminal."""
    DELIVERED = "delivered"
    """The device or provider confirmed delivery (feedback)."""
    OPENED = "opened"
    """The user opened it (feedback)."""
    CLICKED = "clicked"
    """The user clicked a link in it (feedback)."""
    DISMISSED = "dismissed"
    """The user dismissed it (feedback)."""


TERMINAL = frozenset(
    {
        Status.SENT,
        Status.FAILED,
        Status.REJECTED,
        Status.SUPPRESSED,
        Status.EXPIRED,
        Status.UNKNOWN,
    }
)
"""The statuses that end a delivery's way; feedback may still follow."""


class Reason(StrEnum):
    """Why: one code for every decision, whichever part took it."""

    # Providers
    ACCEPTED = "accepted"
    """The provider took the message."""
    TOKEN_UNREGISTERED = "token_unregistered"
    """The provider says that the app was removed or the subscription ended."""
    TOKEN_EXPIRED = "token_expired"
    """The provider says that the token has expired."""
    TOKEN_INVALID = "token_invalid"
    """The token is malformed or belongs to the other environment."""
    TOKEN_WRONG_APP = "token_wrong_app"
    """The token belongs to another app, sender or VAPID key."""
    BAD_REQUEST = "bad_request"
    """The provider found a header or field wrong: a defect in the content or in Clarion."""
    BAD_CONFIG = "bad_config"
    """Topic, project, environment or capability is set up wrongly for this app."""
    BAD_CREDENTIALS = "bad_credentials"
    """The provider refused the key, token or certificate."""
    PAYLOAD_TOO_LARGE = "payload_too_large"
    """The built payload is over the platform's limit."""
    THROTTLED = "throttled"
    """The provider asked for a slower rate."""
    DEVICE_THROTTLED = "device_throttled"
    """The provider asked for fewer messages to this one device."""
    PROVIDER_UNAVAILABLE = "provider_unavailable"
    """The provider is down, shutting down or answered 5xx."""
    PROVIDER_TIMEOUT = "provider_timeout"
    """No answer within the time allowed."""
    NOT_CONNECTED = "not_connected"
    """The connection failed before the request left."""
    CONNECTION_LOST = "connection_lost"
    """The connection failed after the request had left."""
    CREDENTIAL_EXPIRED = "credential_expired"
    """The provider token had expired; a new one is minted for the next attempt."""
    UNLISTED = "unlisted"
    """The provider gave an answer that no table lists; its text is kept in detail."""

    # Policy
    UNKNOWN_USER = "unknown_user"
    """No profile is registered under this user id."""
    NO_DEVICE = "no_device"
    """The user has no device that this message can go to."""
    OPTED_OUT = "opted_out"
    """The user opted out of this category, type, channel or everything."""
    NOT_OPTED_IN = "not_opted_in"
    """The category is for those who said yes, and the user has not."""
    MUTED = "muted"
    """The user muted everything that is not critical for now."""
    QUIET_HOURS = "quiet_hours"
    """It is night for the user: held until the window ends."""
    HOLDOUT = "holdout"
    """The user is in a group that gets nothing, to measure against; detail names the group."""
    FREQUENCY_CAP = "frequency_cap"
    """The category's cap for this user is used up."""
    TENANT_RATE = "tenant_rate"
    """The tenant's rate is used up for now."""
    PLATFORM_RATE = "platform_rate"
    """The platform's rate for this tenant is used up for now."""
    SCHEDULED = "scheduled"
    """send_at lies ahead: held until then."""
    TTL_EXPIRED = "ttl_expired"
    """expires_at has passed."""
    DUPLICATE_EVENT = "duplicate_event"
    """The idempotency key was seen before."""
    DUPLICATE_TOKEN = "duplicate_token"
    """Two devices of the audience share one token; it is sent once."""
    CIRCUIT_OPEN = "circuit_open"
    """The provider fails nearly everything of this tenant: held until it has recovered."""
    PROVIDER_PACE = "provider_pace"
    """The provider asked for a slower rate, or answers too slowly for more: held for a moment."""
    STOPPING = "stopping"
    """The process ends before its turn came: handed to the next one."""
    EMPTY_AUDIENCE = "empty_audience"
    """The audience has no member."""
    UNKNOWN_SEGMENT = "unknown_segment"
    """The audience names a segment that does not exist."""

    # Clarion
    BAD_EVENT = "bad_event"
    """The event could not be decoded or fails its schema; it is in dead.route."""
    UNKNOWN_TENANT = "unknown_tenant"
    """No tenant is configured under this name."""
    UNKNOWN_CATEGORY = "unknown_category"
    """The tenant has no such category."""
    UNKNOWN_TEMPLATE = "unknown_template"
    """The tenant has no such template."""
    UNKNOWN_APP = "unknown_app"
    """The device names an app that the tenant has no credentials for."""
    RENDER_ERROR = "render_error"
    """The template failed on these variables."""
    RETRIES_EXHAUSTED = "retries_exhausted"
    """All attempts failed; it is in dead.<platform>."""
    IN_FLIGHT_AT_CRASH = "in_flight_at_crash"
    """A process died between sending and recording; bulk messages are not resent."""
    FEEDBACK = "feedback"
    """Reported by the app or provider after sending."""


class TokenAction(StrEnum):
    """What an answer means for the device token."""

    KEEP = "keep"
    """Nothing changes."""
    DELETE = "delete"
    """The token is dead, unless the device registered after the answer's timestamp."""
    SUSPECT = "suspect"
    """Perhaps dead, perhaps our configuration: never purged on one answer."""
