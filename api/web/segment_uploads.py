"""Lists of users, of any size, from the body of a request onto Kafka."""

from functools import partial
from typing import Annotated, Any, BinaryIO

from fastapi import APIRouter, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from api.segment_files import Format
from api.segment_stores import Stores
from api.segment_upload import Job, Uploaded, is_applied, upload
from api.web.answers import WaitS
from api.web.audit import note
from api.web.body_file import with_body_file
from api.web.door import door_of
from api.web.events import NDJSON
from api.web.problems import ProblemError
from api.web.routing import DoorRoute
from api.web.segment_bodies import ListUploaded, uploaded_of
from api.web.segments import SegmentName, Writer
from api.web.stores import stores_of
from api.web.waits import eventually
from schemas.segment_lists import Mode

CSV = "text/csv"
MAX_BAD = 100_000

router = APIRouter(prefix="/v1", tags=["segments"], route_class=DoorRoute)
_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            CSV: {"schema": {"type": "string", "format": "binary"}},
            "application/x-ndjson": {"schema": {"type": "string", "format": "binary"}},
        },
    }
}
_LATER: dict[int | str, dict[str, Any]] = {
    202: {"model": ListUploaded, "description": "Kafka has it; the registry takes it yet"},
    415: {"description": "Neither CSV nor NDJSON"},
}


@router.put("/segments/{name}/members", openapi_extra=_BODY, responses=_LATER)
async def put_members(
    request: Request,
    response: Response,
    *,
    name: SegmentName,
    caller: Writer,
    mode: Annotated[Mode, Query(description="a replacement is seen all at once")] = "replace",
    column: Annotated[
        str, Query(min_length=1, max_length=128, description="of the user ids")
    ] = "user_id",
    max_bad: Annotated[
        int, Query(ge=0, le=MAX_BAD, description="bad lines that are left out before it stops")
    ] = 100,
    wait_s: WaitS = 0,
) -> ListUploaded:
    """Upload a list of users as CSV or NDJSON, of any size.

    The body is put on Kafka as it comes. A replacement changes nothing until all of it was read;
    what is added or removed counts as it goes, and the same body may be sent again.
    """
    stores = stores_of(door_of(request), caller)
    job = Job(name, mode, _format_of(request), column, max_bad)
    note(request, target=name)
    done = await with_body_file(request, partial(_upload, stores, job))
    note(request, target=name, after=[done.upload, done.users])
    if not await eventually(lambda: is_applied(stores, done), wait_s=wait_s):
        response.status_code = 202
        return uploaded_of(done, None)
    return uploaded_of(done, await run_in_threadpool(stores.count, name))


def _upload(stores: Stores, job: Job, file: BinaryIO) -> Uploaded:
    return upload(stores, job, file)


def _format_of(request: Request) -> Format:
    """Tell the format by the request's content type. Raises ProblemError: 415."""
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise ProblemError(415, "send the body without Content-Encoding")
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == CSV:
        return "csv"
    if kind in NDJSON:
        return "ndjson"
    raise ProblemError(415, f"send {CSV} or application/x-ndjson as Content-Type")
