"""Logs, metrics and spans of what flows decide."""

import logging
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import structlog
from opentelemetry import trace
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from schemas import metrics
from schemas.masking import masked
from schemas.outcomes import Reason, Status
from schemas.pipeline import DeadLetter, Outcome

LINES_PER_S = 50
_QUIET = frozenset({Status.SENT, Status.SUPPRESSED, Status.DEFERRED})
_propagator = TraceContextTextMapPropagator()


def configure_logs(*, level: str, as_json: bool, flow: str, instance: str) -> None:
    """Set up structlog for this process: one JSON object a line on stderr, or lines for people."""
    renderer: Any = (
        structlog.processors.JSONRenderer() if as_json else structlog.dev.ConsoleRenderer()
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.getLevelNamesMapping()[level.upper()]
        ),
        logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(flow=flow, instance=instance)


class Observer:
    """Watches the decisions that pass to the encoder: counts all, logs the notable, traces some.

    Failed, rejected, unknown, expired and retried ones are logged, at most 50 lines a second; how
    many more there were is logged too. A message that carries a sampled trace gets a span.
    """

    def __init__(self, flow: str, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._flow = flow
        self._monotonic = monotonic
        self._log = structlog.get_logger()
        self._tracer = trace.get_tracer("clarion")
        self._second = 0
        self._lines = 0
        self._unlogged = 0

    def __call__(self, items: Sequence[Any]) -> None:
        """Watch a batch of anything that steps decided."""
        counts: Counter[tuple[str, str]] = Counter()
        for item in items:
            kind = type(item)
            if kind is Outcome:
                counts[item.status, item.reason] += 1
                self._outcome(item)
            elif kind is DeadLetter:
                metrics.DEAD_LETTERS.labels(self._flow).inc()
                self._line("dead letter", topic=item.topic, partition=item.partition,
                           offset=item.offset, error=item.error[:200])  # fmt: skip
        for (status, reason), count in counts.items():
            metrics.DECISIONS.labels(self._flow, status, reason).inc(count)

    def _outcome(self, outcome: Outcome) -> None:
        if outcome.latency_ms >= 0:
            metrics.DELIVERY_SECONDS.labels(outcome.platform, outcome.priority).observe(
                outcome.latency_ms / 1_000
            )
        if outcome.reason is Reason.UNLISTED:
            metrics.UNLISTED_ANSWERS.labels(outcome.platform).inc()
        if outcome.trace_id:
            self._span(outcome)
        if outcome.status not in _QUIET:
            self._line(
                "delivery",
                message_id=outcome.message_id,
                tenant=outcome.tenant,
                user_id=masked(outcome.user_id),
                device_id=masked(outcome.device_id),
                token=masked(outcome.token),
                platform=outcome.platform,
                status=outcome.status,
                reason=outcome.reason,
                provider_status=outcome.provider_status,
                detail=outcome.detail,
                attempt=outcome.attempt,
                trace_id=outcome.trace_id,
            )

    def _line(self, event: str, **fields: Any) -> None:
        second = int(self._monotonic())
        if second != self._second:
            if self._unlogged:
                self._log.warning("more lines than are logged", unlogged=self._unlogged)
            self._second, self._lines, self._unlogged = second, 0, 0
        if self._lines >= LINES_PER_S:
            self._unlogged += 1
            return
        self._lines += 1
        self._log.warning(event, **fields)

    def _span(self, outcome: Outcome) -> None:
        """Record a span under the producer's trace; a no-op without an installed SDK."""
        parent = _propagator.extract({"traceparent": f"00-{outcome.trace_id}-{'1':0>16}-01"})
        span = self._tracer.start_span(f"clarion.{self._flow}", context=parent)
        span.set_attribute("clarion.message_id", outcome.message_id)
        span.set_attribute("clarion.platform", outcome.platform)
        span.set_attribute("clarion.status", outcome.status)
        span.set_attribute("clarion.reason", outcome.reason)
        span.end()
