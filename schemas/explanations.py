"""Every reason in plain words: the rule that decided, and what to change if it should not have."""

from typing import NamedTuple

from schemas.outcomes import Reason


class Explanation(NamedTuple):
    """rule: one sentence for people on call. change: the setting or place to look at."""

    rule: str
    change: str


EXPLANATIONS: dict[Reason, Explanation] = {
    # Providers
    Reason.ACCEPTED: Explanation(
        "The provider took the message; the device shows it when it is on and allows it.",
        "nothing; when it was not seen: the app's permission, and feedback from the app",
    ),
    Reason.TOKEN_UNREGISTERED: Explanation(
        "The app was removed or the subscription ended, so the token is dead.",
        "nothing: the registry removes the token, and the app registers again when it starts",
    ),
    Reason.TOKEN_EXPIRED: Explanation(
        "The provider says that the token has expired.",
        "nothing: the registry removes the token, and the app registers again when it starts",
    ),
    Reason.TOKEN_INVALID: Explanation(
        "The token is malformed or belongs to the other environment.",
        "the device registration's token and environment",
    ),
    Reason.TOKEN_WRONG_APP: Explanation(
        "The token belongs to another app, sender or VAPID key than the one used.",
        "apps.<app> in the tenant's file: topic, project_id or private_key; the registration's app",
    ),
    Reason.BAD_REQUEST: Explanation(
        "The provider found a field of the message wrong; its words name it.",
        "content.platforms of the event",
    ),
    Reason.BAD_CONFIG: Explanation(
        "Topic, project, environment or capability of the app is set up wrongly.",
        "apps.<app> in the tenant's file, and the provider's console",
    ),
    Reason.BAD_CREDENTIALS: Explanation(
        "The provider refused the key, token or certificate.",
        "apps.<app>.private_key or service_account; clarion config check --secrets",
    ),
    Reason.PAYLOAD_TOO_LARGE: Explanation(
        "The message as built for the platform is over its limit of about 4 kB.",
        "title, body, data and platforms of the event or template: make them shorter",
    ),
    Reason.THROTTLED: Explanation(
        "The provider asked for a slower rate.",
        "rates.platforms in the tenant's file; the provider's quota",
    ),
    Reason.DEVICE_THROTTLED: Explanation(
        "The provider asked for fewer messages to this one device.",
        "how often this user is written to: categories.<category>.caps",
    ),
    Reason.PROVIDER_UNAVAILABLE: Explanation(
        "The provider was down, shutting down or answered 5xx.",
        "nothing: it is tried again as retry in the tenant's file says",
    ),
    Reason.PROVIDER_TIMEOUT: Explanation(
        "The provider gave no answer within the time allowed.",
        "nothing: it is tried again as retry in the tenant's file says, if its priority is resent",
    ),
    Reason.NOT_CONNECTED: Explanation(
        "The connection failed before the request left, so nothing was sent.",
        "the network to the provider; it is tried again as retry in the tenant's file says",
    ),
    Reason.CONNECTION_LOST: Explanation(
        "The connection failed after the request had left; it may have arrived.",
        "the priority: critical and high are sent again, normal and low are not",
    ),
    Reason.CREDENTIAL_EXPIRED: Explanation(
        "The provider token had expired; a new one is made for the next attempt.",
        "nothing; when it repeats: the machine's clock",
    ),
    Reason.UNLISTED: Explanation(
        "The provider gave an answer that no table lists; its words stand beside it.",
        "the provider's table in sinks/: report it; the delivery is in dead.<platform>",
    ),
    # Policy
    Reason.UNKNOWN_USER: Explanation(
        "No profile is registered under this user id.",
        "the audience of the event, or the record on users or devices that registers the user",
    ),
    Reason.NO_DEVICE: Explanation(
        "The user has no device that this message can go to.",
        "the app's registration on devices; dead tokens are removed until the app registers again",
    ),
    Reason.OPTED_OUT: Explanation(
        "The user said no to this category, type, channel or everything.",
        "the user's preferences; only the user should change them",
    ),
    Reason.NOT_OPTED_IN: Explanation(
        "The category is for those who said yes, and the user has not.",
        "the user's preferences (choices), or categories.<category>.consent",
    ),
    Reason.MUTED: Explanation(
        "The user muted everything that is not critical.",
        "the user's preferences (muted_until)",
    ),
    Reason.QUIET_HOURS: Explanation(
        "It was night for the user, and the category holds or drops messages then.",
        "categories.<category>.quiet_hours, the tenant's quiet_hours, or the user's own",
    ),
    Reason.HOLDOUT: Explanation(
        "The user is in a group that gets nothing, to measure against.",
        "holdout in the tenant's file, or holdout_percent of the event",
    ),
    Reason.FLAG_OFF: Explanation(
        "The category is behind a feature flag, which is off for this user.",
        "categories.<category>.flag and flags in the tenant's file",
    ),
    Reason.HOOK: Explanation(
        "The tenant's own hook said not to send it.",
        "the hook's code, or hooks in the tenant's file",
    ),
    Reason.HOOK_FAILED: Explanation(
        "The tenant's hook failed or took too long, and nothing is sent without its answer.",
        "the hook's code, its timeout_s, or on_failure: send",
    ),
    Reason.FREQUENCY_CAP: Explanation(
        "A cap for this user was used up by earlier messages.",
        "categories.<category>.caps, caps or quotas.user_daily in the tenant's file",
    ),
    Reason.DIGESTED: Explanation(
        "The event waits to be told together with others of its key, when the window closes.",
        "categories.<category>.digest in the tenant's file, or the event's digest",
    ),
    Reason.IN_DIGEST: Explanation(
        "The event is a part of a digest; look up that message for what became of it.",
        "categories.<category>.digest in the tenant's file, or the event's digest",
    ),
    Reason.ARBITRATION: Explanation(
        "The message waits for others that may be worth more, before a cap is spent.",
        "categories.<category>.arbitration in the tenant's file",
    ),
    Reason.OUTRANKED: Explanation(
        "A cap was used up, and messages of the same moment that were worth more got it.",
        "categories.<category>.arbitration and caps, or the value that the event gives",
    ),
    Reason.TENANT_QUOTA: Explanation(
        "The tenant's quota of the day was used up.",
        "quotas.daily in the tenant's file",
    ),
    Reason.REGION_RATE: Explanation(
        "The rate for the user's region was used up for the moment; the message waits its turn.",
        "rates.regions in the tenant's file",
    ),
    Reason.TENANT_RATE: Explanation(
        "The tenant's rate was used up for the moment; the message waits its turn.",
        "rates.per_second in the tenant's file",
    ),
    Reason.PLATFORM_RATE: Explanation(
        "The tenant's rate to this platform was used up for the moment; it waits its turn.",
        "rates.platforms in the tenant's file",
    ),
    Reason.SCHEDULED: Explanation(
        "The event's send_at lay ahead, so it is held until then.",
        "send_at of the event",
    ),
    Reason.TTL_EXPIRED: Explanation(
        "The message's time to live ended before it could be sent.",
        "ttl_s or expires_at of the event, or categories.<category>.default_ttl_s",
    ),
    Reason.DUPLICATE_EVENT: Explanation(
        "An earlier event had the same idempotency key (or id); that one counts.",
        "idempotency_key of the event",
    ),
    Reason.DUPLICATE_TOKEN: Explanation(
        "Two devices of the audience share one token; it is sent once.",
        "nothing; when it is often: the app's registrations",
    ),
    Reason.CIRCUIT_OPEN: Explanation(
        "The provider failed nearly everything of this tenant, so nothing is sent to it for now.",
        "nothing: it closes by itself; look at what the provider answers",
    ),
    Reason.PROVIDER_PACE: Explanation(
        "The provider asked for a slower rate or answers slowly; the message waits a moment.",
        "nothing: the pace recovers by itself; when it lasts: the provider's quota",
    ),
    Reason.STOPPING: Explanation(
        "The process ended before the message's turn came; the next process has it.",
        "nothing",
    ),
    Reason.EMPTY_AUDIENCE: Explanation(
        "The audience has no member.",
        "audience of the event, or the segments it names",
    ),
    Reason.UNKNOWN_SEGMENT: Explanation(
        "The audience names a segment that does not exist.",
        "audience.segment of the event, or create the segment",
    ),
    Reason.CANCELLED: Explanation(
        "Its campaign or message was cancelled before this was sent.",
        "nothing: start the campaign again, or send a new event",
    ),
    Reason.USER_ERASED: Explanation(
        "The user was erased before this was sent; nothing says any more who it was.",
        "nothing: who comes back registers anew",
    ),
    Reason.PAUSED: Explanation(
        "Its campaign is paused, so it is held until the campaign goes on.",
        "the campaign: resume or cancel it",
    ),
    Reason.LOCAL_TIME: Explanation(
        "It is held until the user's local time, or best hour, that the campaign is for.",
        "the campaign's time, or the user's time_zone",
    ),
    # Clarion
    Reason.BAD_EVENT: Explanation(
        "The event could not be read or breaks its schema; it lies in dead.route.",
        "the event, as the words beside say; clarion dlq show, then clarion dlq replay",
    ),
    Reason.UNKNOWN_TENANT: Explanation(
        "No tenant is configured under this name.",
        "tenant of the event, or a file for it in the tenants directory",
    ),
    Reason.UNKNOWN_CATEGORY: Explanation(
        "The tenant has no such category.",
        "category of the event, or categories in the tenant's file",
    ),
    Reason.UNKNOWN_TEMPLATE: Explanation(
        "The tenant has no such template or version.",
        "template of the event, or templates in the tenant's file",
    ),
    Reason.UNKNOWN_APP: Explanation(
        "The device names an app that the tenant has no credentials for.",
        "apps in the tenant's file, or the registration's app",
    ),
    Reason.RENDER_ERROR: Explanation(
        "The template failed on the variables it got.",
        "variables of the event, or the template",
    ),
    Reason.RETRIES_EXHAUSTED: Explanation(
        "All attempts that the retry policy allows failed; it lies in dead.<platform>.",
        "retry in the tenant's file; clarion dlq replay once the provider is well",
    ),
    Reason.IN_FLIGHT_AT_CRASH: Explanation(
        "A process died between sending and recording; it may have arrived and is not resent.",
        "the priority: critical and high are sent again, normal and low are not",
    ),
    Reason.FEEDBACK: Explanation(
        "The app or the provider reported it after sending.",
        "nothing",
    ),
}


def explanation_of(reason: str) -> Explanation:
    """Give the words for a reason as ClickHouse has it, also one of another release."""
    try:
        return EXPLANATIONS[Reason(reason)]
    except (KeyError, ValueError):
        return Explanation(f"This release has no words for {reason}.", "docs/analysts.md")
