"""Logs and metrics of token hygiene."""

import structlog

from schemas import metrics
from state.errors import StateError
from state.pruning import Credential, Freeze


class PruningAlarm:
    """Tells operators what operators/hygiene.py found; see its Alarm."""

    def __init__(self) -> None:
        self._log = structlog.get_logger()

    def frozen(self, freeze: Freeze) -> None:
        """See Alarm."""
        metrics.PRUNING_FROZEN.labels(*freeze.credential).set(1)
        self._log.error(
            "pruning frozen",
            tenant=freeze.tenant,
            app=freeze.app,
            platform=freeze.platform,
            since_ms=freeze.since_ms,
            answered=freeze.answered,
            dead=freeze.dead,
            reason=freeze.reason,
            end_with=f"clarion tokens resume {freeze.tenant} {freeze.app}",
        )

    def resumed(self, credential: Credential) -> None:
        """See Alarm."""
        metrics.PRUNING_FROZEN.labels(*credential).set(0)
        tenant, app, platform = credential
        self._log.warning("pruning resumed", tenant=tenant, app=app, platform=platform)

    def withheld(self, credential: Credential, count: int) -> None:
        """See Alarm."""
        metrics.DEATHS_WITHHELD.labels(*credential).inc(count)

    def unshared(self, error: StateError) -> None:
        """See Alarm."""
        self._log.warning("token hygiene knows this process only", error=str(error))
