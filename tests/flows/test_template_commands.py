"""`clarion templates`, through Kafka and the registry, as people use it."""

import json
from pathlib import Path

import pytest
from flow_harness import Stores

from api.cli import run
from schemas.pipeline import Platform
from state.profiles import Device, Profile, RedisProfiles
from state.redis_client import RedisClient

SEATS = """
texts:
  en:
    title: "{{ n | plural(one='# seat', other='# seats') }}"
    body: "{{ price | currency('USD') }}"
  de: {title: "{{ n | plural(one='# Platz', other='# Plätze') }}", body: "{{ user.city }}"}
apns: {sound: chime.caf, badge: "{{ n }}"}
variables: {n: 3, price: 19.5, user: {city: "Bonn"}}
"""
FAULTY = SEATS.replace("price |", "prize |")


class Cli:
    """Runs commands for tenant acme; gives what they print, which is checked to be one or other."""

    def __init__(self, directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self._directory, self._capsys = directory, capsys

    def file(self, text: str) -> str:
        path = self._directory / "template.yaml"
        path.write_text(text)
        return str(path)

    def does(self, *arguments: str) -> str:
        assert run(["templates", *arguments, "--tenant", "acme"]) == 0, self._capsys.readouterr()
        return self._capsys.readouterr().out

    def fails(self, *arguments: str) -> str:
        assert run(["templates", *arguments, "--tenant", "acme"]) == 1
        return self._capsys.readouterr().err


@pytest.fixture
def cli(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Cli:
    return Cli(tmp_path, capsys)


@pytest.mark.usefixtures("registry")
def test_from_a_draft_to_going_back(cli: Cli) -> None:
    """Drafts, faults, publishing, looking, going back and removing."""
    assert "seats version 1: draft" in cli.does("put", "seats", cli.file(FAULTY))
    said = cli.fails("publish", "seats")
    assert "nothing is published" in said
    assert "error: texts.en.body: reads 'prize', which is not under variables" in said
    assert "seats version 1: draft" in cli.does("put", "seats", cli.file(SEATS))
    assert cli.does("lint", "seats") == "seats: no errors\n"
    assert cli.does("publish", "seats") == "seats version 1: published\n"
    called = SEATS.replace("Bonn", "Ulm, +49 731 1234567")
    assert "seats version 2: draft" in cli.does("put", "seats", cli.file(called))
    warned = json.loads(cli.does("publish", "seats", "--json"))
    assert (warned["version"], [one["path"] for one in warned["warnings"]]) == (
        2,
        ["texts.de.body"],
    )
    assert "-    city: Bonn" in cli.does("diff", "seats", "1", "2").splitlines()
    shown = cli.does("show", "seats", "--version", "1")
    assert shown.startswith("# seats version 1: earlier\n")
    assert cli.does("rollback", "seats") == "seats version 1: published\n"
    assert cli.does("ls").splitlines() == ["seats 1: published, de, en", "seats 2: earlier, de, en"]
    assert "version 1 is published" in cli.fails("rm", "seats", "--version", "1")
    assert cli.does("rm", "seats", "--version", "2") == "seats version 2: removed\n"
    assert cli.does("put", "again", cli.file(shown.partition("\n")[2])).startswith(
        "again version 1"
    )
    assert cli.does("rm", "seats") == "seats: removed\n"
    assert "there is no template 'seats'; see" in cli.fails("publish", "seats")


@pytest.mark.usefixtures("registry")
def test_a_preview_is_what_the_sink_builds(cli: Cli, stores: Stores) -> None:
    """For a user, in their language, on their device's platform."""
    client = RedisClient(stores.redis_url)
    device = Device("d", Platform.APNS, "ios", "ab" * 32, 1)
    anna = Profile("anna", 0, locale="de-AT", devices=(device,), attributes={"city": "Graz"})
    RedisProfiles(client).update_many("acme", 4, {"anna": lambda _old: anna})
    client.close()
    cli.does("put", "seats", cli.file(SEATS))
    options = ["--platform", "apns", "--user", "anna", "--variables", '{"n": 1}']
    found = json.loads(cli.does("preview", "seats", *options))
    aps = {"alert": {"title": "1 Platz", "body": "Graz"}, "sound": "chime.caf", "badge": 1}
    assert found["payload"] == {"aps": aps}
    assert found["bytes"] == len(json.dumps(found["payload"], separators=(",", ":")))
    assert (found["limit"], found["locale"], found["version"]) == (4096, "de", 1)
    assert found["headers"]["apns-push-type"] == "alert"
    fcm = json.loads(cli.does("preview", "seats", "--platform", "fcm", "--locale", "fr"))
    assert fcm["payload"]["message"]["notification"] == {"title": "3 seats", "body": "$19.50"}
    web = json.loads(cli.does("preview", "seats", "--platform", "webpush", "--locale", "de"))
    assert web["payload"] == {"title": "3 Plätze", "body": "Bonn"}
    large = cli.file("texts: {en: {body: '{{ x * 5000 }}'}}\nvariables: {x: a}")
    said = cli.fails("preview", "any", "--platform", "webpush", "--file", large)
    assert "it would not be sent: payload_too_large" in said


@pytest.mark.usefixtures("registry")
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["put", "a b", "F"], "name: use letters, digits"),
        (["put", "t", "nothing.yaml"], "nothing.yaml: cannot be read"),
        (["put", "t", "B"], "texts.en.titel: is no field here, did you mean 'title'?"),
        (["publish", "t"], "there is no template 't'"),
        (["show", "t"], "there is no template 't'"),
        (["preview", "t", "--platform", "palm", "--file", "F"], "platform: no 'palm', use apns"),
        (["preview", "t", "--platform", "fcm", "--variables", "[]", "--file", "F"], "variables:"),
        (["preview", "t", "--platform", "fcm", "--user", "no", "--file", "F"], "no user 'no'"),
        (["lint", "t", "--file", "B2"], "t: 1 errors"),
        (["lint", "t", "--file", "B3"], "on_oversize: use 'reject' or 'truncate: body'"),
    ],
)
def test_what_is_wrong_is_said(cli: Cli, tmp_path: Path, arguments: list[str], said: str) -> None:
    """One line that names it, exit 1."""
    bad = {"F": SEATS, "B": "texts: {en: {titel: x}}", "B2": "texts: {en: {title: '{{ x }}'}}",
           "B3": "texts: {en: {title: x}}\non_oversize: shrink"}  # fmt: skip
    for name, text in bad.items():
        (tmp_path / name).write_text(text)
    given = [str(tmp_path / word) if word in bad else word for word in arguments]
    assert said in cli.fails(*given)
