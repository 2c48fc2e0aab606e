"""`clarion api`: the HTTP API."""

from typing import Annotated

from cyclopts import App, Parameter
from cyclopts.validators import Number

from api.cli import CommandError

app = App(name="api", help="Serve the HTTP API.", help_format="plaintext")


@app.default
def serve(
    *,
    host: str = "127.0.0.1",
    port: Annotated[int, Parameter(validator=Number(gte=0, lte=65_535))] = 8080,
    workers: Annotated[
        int, Parameter(validator=Number(gte=1, lte=64), help="processes that share the port")
    ] = 1,
) -> None:
    """Serve the API until SIGTERM."""
    from api.web import serve as server  # noqa: PLC0415 - what --help need not wait for
    from api.web.compose import make_door  # noqa: PLC0415 - as above
    from flows.config import ConfigError  # noqa: PLC0415 - as above
    from flows.insecure import InsecureError, check_secure  # noqa: PLC0415 - as above
    from schemas.settings import BadSettingsError, load_settings  # noqa: PLC0415 - as above
    from sinks.sealing import MasterKeyError, read_master_keys  # noqa: PLC0415 - as above

    try:
        settings = load_settings()
        check_secure(settings)
        make_door(settings)  # what is wrong with it is told here, and not by each worker
        keys = read_master_keys(settings.security)
    except (BadSettingsError, ConfigError, InsecureError, MasterKeyError) as error:
        raise CommandError(str(error)) from error
    if workers > 1 and not keys:
        raise CommandError(f"{workers} workers must share a master key, set one")
    server.serve(host=host, port=port, workers=workers)
