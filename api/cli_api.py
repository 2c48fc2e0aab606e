"""`clarion api`: the HTTP door."""

from cyclopts import App

app = App(name="api", help="Take events over HTTP.", help_format="plaintext")


@app.default
def serve(*, port: int = 8080) -> None:
    """Serve POST /v1/events on 127.0.0.1 until SIGTERM; there is no authentication yet."""
    import uvicorn  # noqa: PLC0415 - what --help need not wait for
    from confluent_kafka import Producer  # noqa: PLC0415 - as above

    from api.app import KafkaOutbox, create_app  # noqa: PLC0415 - as above
    from schemas.settings import load_settings  # noqa: PLC0415 - as above

    options = {
        **load_settings().kafka.client_options(),
        "enable.idempotence": True,
        "linger.ms": 2,
    }
    outbox = KafkaOutbox(lambda: Producer(options))
    uvicorn.run(create_app(outbox), host="127.0.0.1", port=port, log_level="warning")
