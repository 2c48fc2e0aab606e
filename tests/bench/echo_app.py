"""The bare loop beside the API: the same server and framework, and a route that does nothing.

`python -m tests.bench.echo_app PORT WORKERS`
"""

import sys

import uvicorn
from fastapi import FastAPI, Request
from starlette.responses import Response

from api.web.serve import SERVER


def make_app() -> FastAPI:
    """Make the application."""
    app = FastAPI()

    @app.post("/v1/events")
    async def echo(request: Request) -> Response:
        """Read the body and answer as the API does."""
        await request.body()
        answer = b'{"id":"00000000000000000000000000000000"}'
        return Response(answer, 202, media_type="application/json")

    return app


if __name__ == "__main__":
    uvicorn.run(
        "tests.bench.echo_app:make_app",
        factory=True,
        host="127.0.0.1",
        port=int(sys.argv[1]),
        workers=int(sys.argv[2]),
        **SERVER,
    )
