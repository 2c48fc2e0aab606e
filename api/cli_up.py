"""`clarion up`: the embedded stack."""

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from api.cli import CommandError

app = App(name="up", help="Run everything on this machine.", help_format="plaintext")


@app.default
def up(
    *,
    kafka_port: int = 9092,
    redis_port: int = 6379,
    clickhouse_port: int = 8123,
    apns_port: int = 8443,
    fcm_port: int = 8444,
    webpush_port: int = 8445,
    api_port: int = 8080,
    dir: Annotated[Path | None, Parameter(help="keep data and logs here")] = None,  # noqa: A002 - the option is called --dir
) -> None:
    """Start stores, provider simulators and every flow, and keep them until Ctrl-C.

    Port 0 takes any free one.
    """
    from sandbox.processes import StartError  # noqa: PLC0415 - what --help need not wait for
    from sandbox.stack import Ports  # noqa: PLC0415 - as above
    from sandbox.up import up as run  # noqa: PLC0415 - as above

    ports = Ports(
        kafka=kafka_port,
        redis=redis_port,
        clickhouse=clickhouse_port,
        apns=apns_port,
        fcm=fcm_port,
        webpush=webpush_port,
        api=api_port,
    )
    try:
        run(ports, directory=dir)
    except StartError as error:
        raise CommandError(str(error)) from error
