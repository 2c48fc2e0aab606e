"""`clarion api`: the HTTP door."""

from cyclopts import App

from api.cli import CommandError

app = App(name="api", help="Serve the HTTP API.", help_format="plaintext")


@app.default
def serve(*, host: str = "127.0.0.1", port: int = 8080) -> None:
    """Serve the API until SIGTERM."""
    from api.web.app import create_app  # noqa: PLC0415 - what --help need not wait for
    from api.web.compose import make_door  # noqa: PLC0415 - as above
    from api.web.serve import serve_app  # noqa: PLC0415 - as above
    from flows.config import ConfigError  # noqa: PLC0415 - as above
    from schemas.settings import BadSettingsError, load_settings  # noqa: PLC0415 - as above

    try:
        door = make_door(load_settings())
    except (BadSettingsError, ConfigError) as error:
        raise CommandError(str(error)) from error
    serve_app(create_app(door), host=host, port=port)
