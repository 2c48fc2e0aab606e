"""Every metric, with its kind, unit and labels. Names follow the Prometheus conventions.

A metric is declared here and nowhere else; importing this module registers them once.
"""

from prometheus_client import Counter, Gauge, Histogram

LATENCY_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)

RECORDS_READ = Counter("clarion_records_read_total", "Kafka records that a flow has read", ["flow"])
RECORDS_WRITTEN = Counter(
    "clarion_records_written_total", "Records and rows that a flow has committed", ["flow"]
)
COMMIT_SECONDS = Histogram(
    "clarion_commit_seconds",
    "Time to commit one epoch, in seconds",
    ["flow"],
    buckets=LATENCY_BUCKETS_S,
)
RESTARTS = Counter(
    "clarion_epoch_restarts_total", "Epochs given up and read again (rebalance, abort)", ["flow"]
)
LAG_RECORDS = Gauge(
    "clarion_lag_records", "Records in the broker that the flow has not read yet", ["flow"]
)
LAST_PROGRESS = Gauge(
    "clarion_last_progress_timestamp_seconds", "When the flow last read something", ["flow"]
)
DECISIONS = Counter(
    "clarion_decisions_total",
    "Outcomes decided, by status and reason",
    ["flow", "status", "reason"],
)
DELIVERY_SECONDS = Histogram(
    "clarion_delivery_seconds",
    "Kafka accepted the event until the provider's answer, in seconds",
    ["platform", "priority"],
    buckets=LATENCY_BUCKETS_S,
)
DEAD_LETTERS = Counter("clarion_dead_letters_total", "Records given up to dead letters", ["flow"])
UNLISTED_ANSWERS = Counter(
    "clarion_unlisted_answers_total",
    "Provider answers that no table lists; look into dead.<platform>",
    ["platform"],
)
REQUESTS_IN_FLIGHT = Gauge(
    "clarion_requests_in_flight", "Provider requests without an answer yet", ["platform"]
)
CIRCUIT_OPEN = Gauge(
    "clarion_circuit_open",
    "1 while the provider fails nearly everything of this tenant and is only probed",
    ["platform", "gate"],
)
CONCURRENCY_LIMIT = Gauge(
    "clarion_concurrency_limit",
    "Requests that may be under way to the provider, as its answers' times allow",
    ["platform", "gate"],
)
RATE_SHARE = Gauge(
    "clarion_provider_rate_share",
    "Share of the usual rate that is sent, below 1 after the provider said too fast",
    ["platform", "gate"],
)
CAMPAIGNS_STOPPED = Counter(
    "clarion_campaigns_stopped_total",
    "Campaigns that stopped themselves because a gate of their ramp did not hold",
    ["tenant"],
)
SEGMENT_BUILDS = Counter(
    "clarion_segment_builds_total", "Segments built from rules and queries", ["kind", "result"]
)
SEGMENT_BUILD_SECONDS = Histogram(
    "clarion_segment_build_seconds",
    "Time to build a segment, or all rules of a tenant that were due, in seconds",
    ["kind"],
    buckets=LATENCY_BUCKETS_S,
)
TIMERS_WAITING = Gauge("clarion_timers_waiting", "Timers in memory, of the open slots")
CLICKHOUSE_ROWS = Counter("clarion_clickhouse_rows_total", "Rows inserted", ["table"])
PRUNING_FROZEN = Gauge(
    "clarion_pruning_frozen",
    "1 while no dead token of the app is believed, until `clarion tokens resume`",
    ["tenant", "app", "platform"],
)
DEATHS_WITHHELD = Counter(
    "clarion_token_deaths_withheld_total",
    "Dead tokens that were not pruned, because pruning is frozen",
    ["tenant", "app", "platform"],
)
HOOK_FAILURES = Counter(
    "clarion_hook_failures_total",
    "Calls of tenants' hooks that failed or took too long",
    ["tenant", "hook"],
)
HOOK_OFF = Gauge(
    "clarion_hook_off", "1 while a hook is not asked, as it went on failing", ["tenant", "hook"]
)
FEEDBACK_REPEATED = Counter(
    "clarion_feedback_repeated_total", "Reports that were said before, and count once"
)
WAITING_FOR = Gauge(
    "clarion_waiting_for",
    "1 while the flow waits for a store that does not answer or cannot serve",
    ["flow", "store"],
)
WAITED_SECONDS = Counter(
    "clarion_waited_seconds_total", "Time that the flow waited for a store", ["flow", "store"]
)

CREDENTIALS_CHANGED = Counter(
    "clarion_credentials_changed_total",
    "Credentials that a flow took up, or gave up, while it ran",
    ["tenant", "app"],
)
CREDENTIAL_FAULTY = Gauge(
    "clarion_credential_faulty",
    "1 while the app's newest credential cannot be used; the one before is, if there was one",
    ["tenant", "app"],
)

API_REQUESTS = Counter(
    "clarion_api_requests_total", "Requests answered", ["method", "route", "status"]
)
API_SECONDS = Histogram(
    "clarion_api_seconds",
    "From a request's arrival to its answer, in seconds",
    ["route"],
    buckets=LATENCY_BUCKETS_S,
)
API_EVENTS = Counter("clarion_api_events_total", "Events taken, or refused", ["tenant", "result"])
API_FEEDBACK = Counter(
    "clarion_api_feedback_total", "Reports of apps taken, or refused", ["tenant", "result"]
)
API_CLICKS = Counter(
    "clarion_api_clicks_total",
    "Links followed: the click recorded, or lost, as Kafka did not take it within a second",
    ["tenant", "result"],
)
API_REFUSED = Counter(
    "clarion_api_refused_total",
    "Requests not let in: unauthenticated, throttled, unprovable, forbidden, rate or quota",
    ["why"],
)
API_STALE_PROOFS = Counter(
    "clarion_api_stale_proofs_total",
    "Credentials believed for what they proved within the last minute, as a store was away",
)
API_LIMITS_OPEN = Counter(
    "clarion_api_limits_open_total",
    "Leases of rates and quotas that Redis did not answer: requests were let in without",
    ["limit"],
)
API_JWKS_FAILURES = Counter(
    "clarion_api_jwks_failures_total",
    "Public keys of an issuer that could not be read; the ones known before go on counting",
    ["tenant", "issuer"],
)
API_AUDIT_LOST = Counter(
    "clarion_api_audit_lost_total", "Answered with 503 since the audit log took no entry"
)
API_AUDIT_UNSENT = Counter(
    "clarion_api_audit_unsent_total",
    "Sums and first uses that the audit log lost, as Kafka did not take them for long",
)
API_DENIED = Counter(
    "clarion_api_denied_total",
    "Requests answered with 403 or 404, by who made them; `other` beyond 1,000 of them",
    ["tenant", "actor", "status"],
)
SANDBOX_SENDS = Counter(
    "clarion_sandbox_sends_total",
    "Sent deliveries of which one half is a sandbox: what=credential, a message that is meant to be"
    " real went to a sandbox environment; what=message, a sandbox message went to production",
    ["platform", "tenant", "what"],
)
ERASURE_SWEEPS = Counter(
    "clarion_erasure_sweeps_total",
    "Sweeps of the stores for users who are erased",
    ["tenant", "result"],
)
ERASURES_OVERDUE = Gauge(
    "clarion_erasures_overdue", "Erasures whose next sweep has been due for a while"
)
