"""`clarion sandbox`: the provider simulators."""

from pathlib import Path

from cyclopts import App

app = App(name="sandbox", help="Run the provider simulators.", help_format="plaintext")


@app.command
def simulators(
    *,
    dir: Path,  # noqa: A002 - the option is called --dir
    host: str = "127.0.0.1",
    apns_port: int = 0,
    fcm_port: int = 0,
    webpush_port: int = 0,
    only: str | None = None,
    make_keys: bool = False,
) -> None:
    """Serve APNs, FCM and Web Push over TLS, with the keys in DIR, until SIGTERM.

    only: one of apns, fcm and webpush. make_keys makes the keys and certificates first, when DIR
    has none.
    """
    from sandbox import keys  # noqa: PLC0415 - what --help need not wait for
    from sandbox.simulators import SimulatorPorts, serve  # noqa: PLC0415 - as above
    from schemas.pipeline import Platform  # noqa: PLC0415 - as above

    if make_keys and not (dir / keys.FCM_FILE).exists():
        keys.make_keys(dir, fcm_url=f"https://{host}:{fcm_port}", names=_names(host))
    serve(
        dir,
        SimulatorPorts(apns_port, fcm_port, webpush_port),
        host=host,
        only=Platform(only) if only else None,
        ready=lambda ports: print(f"ready {ports.apns} {ports.fcm} {ports.webpush}", flush=True),  # noqa: T201 - the line its starter waits for
    )


def _names(host: str) -> list[str]:
    """Give the names for a certificate: a host name, but no address."""
    from ipaddress import ip_address  # noqa: PLC0415 - what --help need not wait for

    try:
        ip_address(host)
    except ValueError:
        return [host]
    return []
