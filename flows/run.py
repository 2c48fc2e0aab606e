"""Runs one flow in this process until it is told to stop."""

import gc
import signal
import threading
from types import FrameType

import structlog
from bytewax.testing import run_main

from flows.compose import Process, build_process
from flows.health import Health, HealthServer
from flows.observe import configure_logs
from flows.readiness import Readiness
from flows.stop_deadline import StopDeadline
from schemas.pipeline import Platform
from schemas.settings import Settings


def run_flow(settings: Settings, name: str, platform: Platform | None = None) -> None:
    """Run a flow until SIGTERM or SIGINT; then drain, commit and return, in 10 s at most.

    It returns as well when it was told to stop in a wait for a store: what was under way stays
    uncommitted, and the next process reads it again. Raises what stopped the flow otherwise, such
    as a store that stayed away for too long; a supervisor starts the process again.
    """
    stop = threading.Event()
    deadline = StopDeadline()

    def ask_to_stop(_number: int, _frame: FrameType | None) -> None:
        stop.set()
        deadline.begin()

    signal.signal(signal.SIGTERM, ask_to_stop)
    signal.signal(signal.SIGINT, ask_to_stop)
    observed = settings.observability
    label = name if platform is None else f"{name}.{platform}"
    configure_logs(
        level=observed.log_level,
        as_json=observed.json_logs,
        flow=label,
        instance=settings.kafka.instance,
    )
    process = build_process(settings, stop.is_set, name, platform)
    health = Health(label, process.checkpoint.lanes.lag)
    process.health_beats.append(health.beat)
    process.waits.excuses.append(health.excuse)
    readiness = Readiness(process.pings, process.waits)
    server = HealthServer(
        health, readiness.missing, host=observed.metrics_host, port=observed.metrics_port
    )
    readiness.start()
    server.start()
    structlog.get_logger().info("started", metrics_port=server.port)
    try:
        _run(process)
    except Exception as error:
        if not (stop.is_set() and _is_cut_short(process, error)):
            raise
        structlog.get_logger().warning("stopped in a wait, uncommitted")
    finally:
        server.stop()
        readiness.stop()
    deadline.done()
    structlog.get_logger().info("stopped")


def _is_cut_short(process: Process, error: BaseException | None) -> bool:
    """Tell whether the end of a wait is behind this error."""
    while error is not None:
        if any(error is one for one in process.patience.cut_short):
            return True
        error = error.__cause__ or error.__context__
    return False


def _run(process: Process) -> None:
    """Run the dataflow in this thread, which is where signals arrive."""
    # What is loaded by now stays; batches are trees without cycles, so the collector finds next to
    # nothing in them and need not look at every 700th object.
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)
    try:
        for start in process.start:
            start()
        # The same engine call that `python -m bytewax.run` makes for a single worker.
        run_main(process.flow, epoch_interval=process.epoch)  # type: ignore[no-untyped-call]  # bytewax has no types here
    finally:
        process.patience.end()  # what waits in other threads is not waited for
        for close in process.close:
            close()
