"""Traffic of the official SDK goes on, byte by byte, while the admin API changes everything around it."""

import itertools
import re
import threading

import pytest

from conftest import Side
from stack import KEYS, until

CHANGES = 100
STREAMS = 100
PROMPTS = ["[[sim:scenario=unicode]]", "[[sim:scenario=parallel_tools]]", "[[sim:scenario=text,events=30,pace_ms=2]]"]
SLOW = "[[sim:scenario=text,events=40,pace_ms=50]]"


def without_ids(body):
    return re.sub(rb"\b(msg|req)_\w+", rb"\1_", body)


def fetch(client, prompt, stream):
    """The body of one answer as it came over the wire; the SDK raises where it is an error."""
    request = {"model": "claude-sonnet-5", "max_tokens": 500, "messages": [{"role": "user", "content": prompt}], "stream": stream}
    if not stream:
        return without_ids(client.messages.with_raw_response.create(**request).http_response.content)
    with client.messages.with_streaming_response.create(**request) as response:
        return without_ids(b"".join(response.iter_bytes()))


class Traffic:
    """Threads that ask until the block ends; what came was compared, and nothing may have failed."""

    def __init__(self, gateway, direct, key, threads=4):
        self.gateway, self.key, self.served, self.failures, self.over = gateway, key, 0, [], threading.Event()
        client = direct.client()
        self.expected = {(prompt, stream): fetch(client, prompt, stream) for prompt in PROMPTS for stream in (False, True)}
        self.threads = [threading.Thread(target=self.run, args=(at,)) for at in range(threads)]

    def run(self, at):
        client = Side("gateway", self.gateway.url, self.key).client()
        for prompt, stream in itertools.islice(itertools.cycle(self.expected), at, None):
            if self.over.is_set():
                return
            try:
                if fetch(client, prompt, stream) != self.expected[prompt, stream]:
                    self.failures.append(f"other bytes: {prompt} {stream}")
            except Exception as error:
                self.failures.append(f"{prompt} {stream}: {error!r}")
            self.served += 1

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        for thread in self.threads:
            thread.join()


def change_everything(admin, at, upstream):
    """One round of an operator's day: keys, a group, a backend, routes, a tenant, a token."""
    key, group, model = f"k{at}", f"g{at}", "claude-sonnet-*"
    secret, other = KEYS[2 + at % 4], KEYS[2 + (at + 1) % 4]
    admin.post("/groups", {"name": group, "backend": "made", "limits": [{"models": "*", "rpm": 100_000}]})
    admin.post("/keys", {"name": key, "backend": "made", "secret": secret, "group": group, "weight": 3})
    front = admin.post("/routes", {"model": model, "targets": [{"backend": "made"}, {"backend": "anthropic"}], "position": at % 5})
    admin.patch(f"/groups/made:{group}", {"limits": [{"models": "*", "rpm": 90_000, "input_tpm": 900_000_000}]})
    admin.post(f"/keys/{key}/rotate", {"secret": other})
    admin.patch(f"/keys/{key}", {"weight": 0.5})
    admin.patch("/backends/made", {"deadlines": {"connect_ms": 4000 + at}, "headers": {"x-round": str(at)}})
    admin.post(f"/keys/{key}/drain")
    admin.post(f"/keys/{key}/disable")
    admin.post(f"/keys/{key}/enable")
    admin.patch(f"/routes/{front['id']}", {"targets": [{"backend": "anthropic"}, {"backend": "made"}]})
    admin.post("/keys/org-a-1/" + ("disable" if at % 2 else "enable"))
    admin.post("/tenants", {"name": f"t{at}", "models": ["claude-*"]})
    admin.delete(f"/tenants/t{at}")
    admin.post("/backends", {"name": f"b{at}", "provider": "anthropic", "base_url": upstream})
    admin.delete(f"/backends/b{at}")
    admin.delete(f"/keys/{key}")
    admin.delete(f"/groups/made:{group}")
    admin.delete(f"/routes/{front['id']}")


def test_a_hundred_rounds_of_changes_cost_no_request(operated, sides):
    upstream = sides.direct.url
    gateway = operated(keys=KEYS[:2])
    admin = gateway.admin()
    admin.post("/backends", {"name": "made", "provider": "anthropic", "base_url": upstream})
    admin.post("/keys", {"name": "steady", "backend": "made", "secret": KEYS[4]})
    admin.post("/routes", {"model": "claude-*", "targets": [{"backend": "anthropic"}, {"backend": "made"}], "position": 100})
    key = admin.post("/tenants", {"name": "acme"})["key"]
    with Traffic(gateway, sides.direct, key) as traffic:
        until(lambda: traffic.served > 10, "traffic flows")
        for at in range(CHANGES):
            change_everything(admin, at, upstream)
            assert not traffic.failures, (at, traffic.failures[:5])
        until(lambda: traffic.served > 3 * CHANGES, "traffic went on", timeout=60)
    assert not traffic.failures, traffic.failures[:5]
    assert admin.get("/status")["left_out"] == []
    last = admin.get("/audit?limit=1000")["data"]
    assert len([each for each in last if each["action"] == "key.rotate"]) >= 50, "what was done is written down"


def outcome(side):
    try:
        fetch(side.client(), "hello", False)
        return 200
    except Exception as error:
        return error.status_code


def test_what_is_taken_away_counts_from_the_next_request(operated, simulator):
    gateway = operated(keys=KEYS[:1], relay={"max_wait_ms": 0})
    admin = gateway.admin()
    admin.post("/tenants", {"name": "steady"})
    made = admin.post("/tenants", {"name": "acme"})["key"]
    asking = Side("gateway", gateway.url, made).client()
    fetch(asking, "hello", False)
    for _ in range(20):
        renewed = admin.post("/tenants/acme/rotate")["key"]
        assert (outcome(Side("old", gateway.url, made)), outcome(Side("new", gateway.url, renewed))) == (401, 200)
        with pytest.raises(Exception) as error:
            fetch(asking, "hello", False)  # on the connection it had
        assert error.value.status_code == 401
        made, asking = renewed, Side("new", gateway.url, renewed).client()
        fetch(asking, "hello", False)
        admin.post("/keys/org-a-1/disable")
        before = len(simulator.requests())
        with pytest.raises(Exception) as error:
            fetch(asking, "hello", False)
        assert error.value.status_code >= 500 and len(simulator.requests()) == before
        admin.post("/keys/org-a-1/enable")
        assert fetch(asking, "hello", False)
    admin.delete("/tenants/acme")
    assert outcome(Side("gone", gateway.url, made)) == 401
    admin.post("/tenants", {"name": "acme", "key": made})
    assert outcome(Side("back", gateway.url, made)) == 200
    admin.delete("/tenants/acme")
    # Not even the last tenant's end opens the door to a key that was revoked.
    assert admin.ask("DELETE", "/tenants/steady").status == 409
    assert outcome(Side("gone", gateway.url, made)) == 401


def test_live_streams_outlast_a_rotation_and_the_old_secret_is_used_for_nothing_new(operated, sides, simulator):
    gateway = operated(keys=KEYS[:1])
    admin, upstream = gateway.admin(), sides.direct.url
    admin.post("/backends", {"name": "made", "provider": "anthropic", "base_url": upstream})
    admin.post("/keys", {"name": "turning", "backend": "made", "secret": KEYS[2]})
    admin.post("/routes", {"model": "claude-*", "targets": [{"backend": "made"}]})
    expected = fetch(sides.direct.client(), SLOW, True)
    simulator.reset()
    client, got = Side("gateway", gateway.url).client(), []

    def stream():
        try:
            got.append(fetch(client, SLOW, True))
        except Exception as error:
            got.append(error)

    threads = [threading.Thread(target=stream) for _ in range(STREAMS)]
    for thread in threads:
        thread.start()
    until(lambda: admin.get("/keys/turning")["in_flight"] == STREAMS, "all streams flow")
    rotated = admin.post("/keys/turning/rotate", {"secret": KEYS[3]})
    used = len(simulator.requests())
    assert (rotated["in_flight"], rotated["retiring_in_flight"]) == (0, STREAMS), "the old secret's streams go on"
    assert not got, "no stream has ended yet"
    for _ in range(20):
        fetch(client, "hello", False)
    new = simulator.requests()[used:]
    assert len(new) == 20 and {each.headers["x-api-key"] for each in new} == {KEYS[3]}
    for thread in threads:
        thread.join()
    wrong = [each for each in got if each != expected]
    assert len(got) == STREAMS and not wrong, wrong[:3]
    until(lambda: admin.get("/keys/turning")["retiring_in_flight"] == 0, "the old secret is done")


def test_a_drained_key_finishes_its_streams_and_begins_none(operated, sides):
    gateway = operated(keys=KEYS[:2])
    admin = gateway.admin()
    expected = fetch(sides.direct.client(), SLOW, True)
    client, got = Side("gateway", gateway.url).client(), []
    threads = [threading.Thread(target=lambda: got.append(fetch(client, SLOW, True))) for _ in range(8)]
    for thread in threads:
        thread.start()
    flowing = lambda: {each["id"]: each["in_flight"] for each in admin.get("/keys")["data"]}
    until(lambda: sum(flowing().values()) == 8, "all streams flow")
    key = max(flowing(), key=flowing().get)
    before = admin.post(f"/keys/{key}/drain")
    assert before["draining"] and before["in_flight"] > 0
    for _ in range(10):
        fetch(client, "hello", False)
    assert flowing()[key] <= before["in_flight"]
    for thread in threads:
        thread.join()
    assert got == [expected] * 8
    until(lambda: admin.get(f"/keys/{key}")["state"] == "drained", "the key is drained")
