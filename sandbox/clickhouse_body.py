"""Request and response bodies of the facade: framing, compression, and their bounds."""

import gzip
import zlib
from collections.abc import Iterator, Mapping
from io import BufferedIOBase
from typing import Any

_PIECE_BYTES = 256 * 1024
_MAX_CHUNK_LINE_BYTES = 1024


class BodyTooLargeError(Exception):
    """The body, decompressed, is over the bound."""


class BodyError(Exception):
    """The body's framing or compression is broken or unknown."""


def read_body(
    stream: BufferedIOBase, headers: Mapping[str, str], *, max_bytes: int
) -> Iterator[bytes]:
    """Yield the request's body in pieces, without its framing and compression.

    Raises BodyError, BodyTooLargeError (at the first byte over max_bytes, counted decompressed).
    """
    # http.server keeps each header as it was spelled.
    headers = {name.lower(): value for name, value in headers.items()}
    if headers.get("transfer-encoding", "").lower() == "chunked":
        pieces = _chunked(stream)
    else:
        pieces = _sized(stream, int(headers.get("content-length") or 0))
    total = 0
    for piece in _decompressed(pieces, headers.get("content-encoding", "").lower()):
        total += len(piece)
        if total > max_bytes:
            raise BodyTooLargeError(f"the body is over {max_bytes} bytes")
        yield piece


def _sized(stream: BufferedIOBase, length: int) -> Iterator[bytes]:
    while length > 0:
        piece = stream.read(min(length, _PIECE_BYTES))
        if not piece:
            raise BodyError("the connection ended inside the body")
        length -= len(piece)
        yield piece


def _chunked(stream: BufferedIOBase) -> Iterator[bytes]:
    """Take off the framing of RFC 9112 section 7.1."""
    while True:
        line = stream.readline(_MAX_CHUNK_LINE_BYTES)
        try:
            length = int(line.split(b";")[0], 16)
        except ValueError:
            raise BodyError(
                "the connection ended inside the body, or a chunk has no size"
            ) from None
        if length == 0:
            while stream.readline(_MAX_CHUNK_LINE_BYTES).strip():
                pass
            return
        yield from _sized(stream, length)
        stream.readline(_MAX_CHUNK_LINE_BYTES)


def _decompressed(pieces: Iterator[bytes], encoding: str) -> Iterator[bytes]:
    if encoding in {"", "identity"}:
        yield from pieces
        return
    decompressor = _decompressor(encoding)
    try:
        for piece in pieces:
            left = piece
            while left:
                if decompressor.eof:  # one frame after another
                    decompressor = _decompressor(encoding)
                out = decompressor.decompress(left)
                left = decompressor.unused_data if decompressor.eof else b""
                if out:
                    yield out
    except (zlib.error, RuntimeError, EOFError, OSError) as error:
        raise BodyError(f"the {encoding} body is broken: {error}") from error
    if not decompressor.eof:
        raise BodyError(f"the {encoding} body ends before its end mark")


def _decompressor(encoding: str) -> Any:
    if encoding == "gzip":
        return zlib.decompressobj(wbits=31)
    if encoding == "deflate":
        return zlib.decompressobj()
    if encoding == "lz4":
        from lz4.frame import LZ4FrameDecompressor  # noqa: PLC0415 - an optional dependency

        return LZ4FrameDecompressor()
    if encoding == "zstd":
        from backports.zstd import ZstdDecompressor  # noqa: PLC0415 - an optional dependency

        return ZstdDecompressor()
    raise BodyError(f"Content-Encoding {encoding!r} is not supported: use gzip, lz4 or zstd")


def answer_encoding(accepted: str) -> str:
    """Choose from an Accept-Encoding header: the cheapest of what both know, or nothing."""
    names = {part.split(";")[0].strip().lower() for part in accepted.split(",")}
    return next((name for name in ("lz4", "zstd", "gzip") if name in names), "")


def compress(body: bytes, encoding: str) -> bytes:
    """Compress a whole body. encoding: of answer_encoding."""
    if encoding == "lz4":
        import lz4.frame  # noqa: PLC0415 - an optional dependency

        return bytes(lz4.frame.compress(body))
    if encoding == "zstd":
        from backports import zstd  # noqa: PLC0415 - an optional dependency

        return zstd.compress(body, level=1)
    if encoding == "gzip":
        return gzip.compress(body, compresslevel=1)
    return body
