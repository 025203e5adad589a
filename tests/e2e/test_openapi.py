"""The OpenAPI document of the admin API is valid, and the running program does what it says: Schemathesis asks."""

import http.client
import json
import os
import pathlib
import subprocess
import sys

import openapi_spec_validator
import pytest

from stack import ROLES

HERE = pathlib.Path(__file__).parent
# An operation, besides those that cover every edge of its schemas: about 4000 requests in all.
EXAMPLES = 20
# Two minutes where nothing else runs.
DEADLINE_S = 900


@pytest.fixture
def running(operated):
    """A gateway with one resource of every kind, so that there is something to find."""
    gateway = operated()
    admin = gateway.admin()
    upstream = gateway.config["backends"][0]["base_url"]
    admin.post("/backends", {"name": "made", "provider": "anthropic", "base_url": upstream})
    admin.post("/groups", {"name": "shared", "backend": "made"})
    admin.post("/keys", {"name": "one", "backend": "made", "secret": "sk-ant-api03-sim-org-b-1", "group": "shared"})
    admin.post("/routes", {"model": "claude-sonnet-*", "targets": [{"backend": "made"}]})
    admin.post("/tenants", {"name": "acme", "limits": {"rpm": 5}})
    admin.post("/tokens", {"name": "robot", "role": "viewer"})
    return gateway


def test_the_document_is_valid_and_names_a_role_for_every_operation(running):
    document = running.admin("viewer").get("/openapi.json")
    openapi_spec_validator.validate(document)
    operations = [each for path in document["paths"].values() for each in path.values()]
    assert len(operations) > 40
    assert {each["x-headgate-role"] for each in operations} == set(ROLES)
    assert all({"400", "401", "403"} <= set(each["responses"]) for each in operations)


def test_the_program_does_what_the_document_says(running):
    token = running.tokens["admin"]
    # One worker: Hypothesis compiles what it describes, which CPython 3.11 does badly in several threads at once.
    command = [
        str(pathlib.Path(sys.executable).with_name("schemathesis")), "--config-file", str(HERE / "schemathesis.toml"),
        "run", f"{running.admin_url}/admin/v1/openapi.json", "--header", f"Authorization: Bearer {token}",
        "--max-examples", str(EXAMPLES), "--workers", "1", "--phases", "examples,coverage,fuzzing,stateful", "--no-color",
    ]
    report = running.scratch / "schemathesis"
    environment = {**os.environ, "COLUMNS": "160", "HYPOTHESIS_STORAGE_DIRECTORY": str(running.scratch / "hypothesis")}
    with report.open("w") as out:
        done = subprocess.run(command, cwd=running.scratch, env=environment, stdout=out, stderr=out, timeout=DEADLINE_S)
    assert done.returncode == 0, report.read_text()[-20_000:]
    assert running.process.poll() is None
    log = running.log.read_text()
    assert "panicked" not in log, [line for line in log.splitlines() if "panicked" in line]


def test_events_are_a_stream_that_resumes(running):
    admin = running.admin()
    admin.post("/keys/one/park", {"seconds": 60})
    connection = http.client.HTTPConnection(admin.place, timeout=30)
    connection.request("GET", "/admin/v1/events?after=0&kind=park,change", headers={"authorization": f"Bearer {admin.token}"})
    response = connection.getresponse()
    assert (response.status, response.getheader("content-type")) == (200, "text/event-stream")
    seen = []
    while not seen or seen[-1]["event"] != "park":
        event = dict(line.split(": ", 1) for line in iter(lambda: response.readline().decode().rstrip("\n"), "") if line[0] != ":")
        if event:
            seen.append({**event, "data": json.loads(event["data"])})
    connection.close()
    assert {each["event"] for each in seen} == {"park", "change"}
    assert [int(each["id"]) for each in seen] == sorted({int(each["id"]) for each in seen})
    for wrong in ("?after=-1", "?after=x", "?kind=nonesuch", "?other=1"):
        answered = admin.ask("GET", f"/events{wrong}")
        assert answered.status == 400 and answered.json["field"], wrong
