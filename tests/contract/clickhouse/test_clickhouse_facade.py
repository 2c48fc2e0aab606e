import gzip
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import clickhouse_connect
import httpx
import lz4.frame
import pytest
from backports import zstd
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError

from sandbox.clickhouse import ClickHouseFacade

ROOT = Path(__file__).parents[3]


@pytest.fixture
def plain(port: int) -> Iterator[Client]:
    """clickhouse-connect with nothing but host and port, and an empty table t."""
    client = clickhouse_connect.get_client(host="127.0.0.1", port=port)
    client.command("CREATE OR REPLACE TABLE t (a UInt64, b String) ENGINE = MergeTree ORDER BY a")
    yield client
    client.close()


@pytest.fixture
def http(port: int) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
        yield client


def test_a_default_client_inserts_and_queries(plain: Client) -> None:
    """Rows, columns and DataFrames go in and come back as they were."""
    plain.insert("t", [[1, "x"], [2, "ü;'\n"]], column_names=["a", "b"])
    summary = plain.insert("t", [[3, 4], ["", "y"]], column_oriented=True)
    assert summary.written_rows == 2
    plain.insert_df("t", plain.query_df("SELECT a + 10 AS a, b FROM t"))
    rows = plain.query("SELECT * FROM t ORDER BY a").result_rows
    assert rows[:5] == [(1, "x"), (2, "ü;'\n"), (3, ""), (4, "y"), (11, "x")]
    assert len(rows) == 8


def test_parameters_databases_and_settings_are_those_of_the_request(plain: Client) -> None:
    """Bound parameters, database and settings apply to their request and to no other."""
    asked = {"text": "it's {a}", "numbers": [1, 2]}
    row = plain.query("SELECT {text:String}, {numbers:Array(UInt8)}", parameters=asked).first_row
    assert tuple(row) == ("it's {a}", [1, 2])
    setting = "SELECT getSetting('max_threads'), currentDatabase()"
    plain.database = "system"
    assert plain.query(setting, settings={"max_threads": 3}).first_row == (3, "system")
    plain.database = "default"
    assert plain.query(setting).first_row[0] != 3


def test_large_results_stream(plain: Client) -> None:
    """A result of 16 MB arrives whole, block by block."""
    with plain.query_column_block_stream("SELECT number FROM numbers(2000000)") as stream:
        sizes = [len(block[0]) for block in stream]
    assert sum(sizes) == 2_000_000
    assert len(sizes) > 1


def test_an_error_inside_a_streamed_answer_is_raised(plain: Client) -> None:
    """Headers said 200, yet the client learns that the query failed."""
    query = "SELECT throwIf(number = 3000000) FROM numbers(4000000) SETTINGS max_threads = 1"
    with (
        pytest.raises(DatabaseError, match="non-zero"),
        plain.query_column_block_stream(query) as stream,
    ):
        for _ in stream:
            pass


@pytest.mark.parametrize(
    ("statement", "status", "code"),
    [
        ("SELEC 1", 400, 62),
        ("SELECT 1; SELECT 2", 400, 62),
        ("", 400, 62),
        ("SELECT nope", 404, 47),
        ("SELECT * FROM no_such_table", 404, 60),
        ("SELECT 1 SETTINGS no_such_setting = 1", 404, 115),
        ("INSERT INTO t FORMAT CSV\nnot a number,x\n", 400, 27),
        ("SELECT throwIf(1)", 500, 395),
    ],
)
def test_errors_bear_clickhouse_codes(
    plain: Client, http: httpx.Client, statement: str, status: int, code: int
) -> None:
    """Status, header and text agree on the engine's error code."""
    answer = http.post("/", content=statement)
    assert answer.status_code == status
    assert answer.headers["X-ClickHouse-Exception-Code"] == str(code)
    assert answer.text.startswith(f"Code: {code}. DB::Exception: ")
    with pytest.raises(DatabaseError) as raised:
        plain.raw_query(statement or " ")
    assert raised.value.code == code


@pytest.mark.parametrize(
    ("insert", "data"),
    [
        ("INSERT INTO t FORMAT JSONEachRow", b'{"a": 7, "b": "x;y"}\n'),
        ("INSERT INTO t (a, b) FORMAT CSV", b'7,"x;y"\n'),
        ("INSERT INTO t (b, a) SETTINGS async_insert = 0 FORMAT CSV", b'"x;y",7\n'),
        ("INSERT INTO t (a, b) VALUES", b"(7, 'x;y')"),
        ("INSERT INTO t /* FORMAT x */ FORMAT RowBinary", b"\x07" + bytes(7) + b"\x03x;y"),
        ("INSERT INTO `t` SELECT 7, 'x;y'", b""),
    ],
)
@pytest.mark.parametrize("place", ["url", "body"])
def test_inserts_of_every_shape(
    plain: Client, http: httpx.Client, insert: str, data: bytes, place: str
) -> None:
    """The statement may stand in the URL or before the data."""
    if place == "url":
        answer = http.post("/", params={"query": insert}, content=data)
    else:
        answer = http.post("/", content=insert.encode() + b"\n" + data)
    assert answer.status_code == 200, answer.text
    assert plain.query("SELECT * FROM t").result_rows == [(7, "x;y")]


@pytest.mark.parametrize(
    ("encoding", "compress"),
    [("gzip", gzip.compress), ("lz4", lz4.frame.compress), ("zstd", zstd.compress)],
)
@pytest.mark.usefixtures("plain")
def test_compression_both_ways(http: httpx.Client, encoding: str, compress: Any) -> None:
    """Bodies may be compressed, also in several frames, and answers are when asked for."""
    body = compress(b"INSERT INTO t FORMAT CSV\n1,a\n") + compress(b"2,b\n")
    answer = http.post("/", content=body, headers={"Content-Encoding": encoding})
    assert answer.status_code == 200, answer.text
    broken = http.post("/", content=body[:-9], headers={"Content-Encoding": encoding})
    assert broken.headers["X-ClickHouse-Exception-Code"] == "117"
    asked = {"query": "SELECT a FROM t ORDER BY a", "enable_http_compression": "1"}
    with http.stream("GET", "/", params=asked, headers={"Accept-Encoding": encoding}) as answer:
        assert answer.headers["Content-Encoding"] == encoding
        raw = b"".join(answer.iter_raw())
    undo = {"gzip": gzip.decompress, "lz4": lz4.frame.decompress, "zstd": zstd.decompress}
    assert undo[encoding](raw) == b"1\n2\n"


def test_a_body_over_the_bound_is_refused(tmp_path: Path) -> None:
    """413, nothing inserted, and a small body still goes through. A bomb counts unpacked."""
    code = (
        "import sys; from pathlib import Path; from sandbox.clickhouse import ClickHouseFacade\n"
        "f = ClickHouseFacade(Path(sys.argv[1]), max_body_bytes=100_000, max_connections=2)\n"
        "print(f.start(), flush=True); sys.stdin.read(); f.stop()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    ) as process:
        assert process.stdout is not None
        url = f"http://127.0.0.1:{int(process.stdout.readline())}/"
        make = "CREATE TABLE t (a String) ENGINE = MergeTree ORDER BY a"
        httpx.post(url, content=make).raise_for_status()
        bomb = gzip.compress(b"INSERT INTO t FORMAT CSV\n" + b"x" * 1_000_000)
        refused = httpx.post(url, content=bomb, headers={"Content-Encoding": "gzip"})
        assert (refused.status_code, refused.headers["X-ClickHouse-Exception-Code"]) == (413, "229")
        httpx.post(url, content="INSERT INTO t FORMAT CSV\nsmall\n").raise_for_status()
        assert httpx.post(url, content="SELECT groupArray(a) FROM t").text == "['small']\n"
        with httpx.Client() as one, httpx.Client() as two:
            assert one.get(f"{url}ping").text == two.get(f"{url}ping").text == "Ok.\n"
            assert httpx.get(f"{url}ping").status_code == 503
        process.communicate("")


def test_get_only_reads(http: httpx.Client) -> None:
    """A link cannot change data, as with a server."""
    assert http.get("/", params={"query": "SELECT 1"}).text == "1\n"
    answer = http.get("/", params={"query": "CREATE TABLE x (a Int8) ENGINE = Memory"})
    assert answer.headers["X-ClickHouse-Exception-Code"] == "164"


def test_many_clients_at_once(plain: Client, port: int) -> None:
    """Eight clients insert and read side by side: no row is lost or doubled."""

    def work(number: int) -> int:
        client = clickhouse_connect.get_client(host="127.0.0.1", port=port)
        for step in range(5):
            keys = range(number * 1000 + step * 100, number * 1000 + step * 100 + 100)
            client.insert("t", [list(keys), ["x"] * 100], column_oriented=True)
        query = "SELECT count() FROM t WHERE intDiv(a, 1000) = {number:UInt8}"
        mine = client.query(query, parameters={"number": number}).first_row[0]
        client.close()
        return int(mine)

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, range(8))) == [500] * 8
    assert plain.query("SELECT count(), uniqExact(a) FROM t").first_row == (4000, 4000)


def test_one_process_owns_a_directory(tmp_path: Path, facade_process: Any) -> None:
    """A second process on the same directory ends with a clear error."""
    owner = facade_process(tmp_path)
    owner.start()
    second = subprocess.run(
        [sys.executable, "-m", "sandbox.clickhouse", "--data-dir", str(tmp_path)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=30,
        check=False,
    )
    assert owner.stop() == 0
    assert second.returncode == 1
    assert str(tmp_path) in second.stderr


def test_stopping_a_facade_that_never_started_does_nothing() -> None:
    """stop() is safe in any state; the constructor opens nothing."""
    facade = ClickHouseFacade()
    facade.stop()
    assert facade._server is None
