"""The master key: changed under load, wrong, missing. And what a thousand stored keys cost at the start."""

import re
import threading
import time

import anthropic
import pytest

import stack
from operated import MASTER, MODEL, Operated

OTHER = "c5" * 32
KEYS = 1000
START_S = 2.0
START_KB = 64 * 1024


def begin(scratch, simulator, database, master=MASTER, previous=(), keys=(), **options):
    return Operated(scratch, simulator.url, database, keys, master, previous, relay={"max_wait_ms": 50}, **options)


def make(gateway, name="k", of="a-1"):
    return gateway.expect(201, "POST", "/keys", {"name": name, "backend": "anthropic", "secret": f"sk-ant-api03-sim-org-{of}"})


def ready(gateway):
    return stack.fetch(f"{gateway.url}/readyz")[0]


def memory_kb(gateway):
    with open(f"/proc/{gateway.process.pid}/status") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))


def test_the_master_key_is_changed_under_load_and_the_old_one_can_go(scratch, simulator, tmp_path):
    database, idempotent = tmp_path / "rotation.db", {"idempotency-key": "one"}
    with begin(scratch, simulator, database) as gateway:
        made = [make(gateway, f"k{at}", of) for at, of in enumerate(("a-1", "b-1", "c-1"))]
        tenant = gateway.expect(201, "POST", "/tenants", {"name": "t"}, headers=idempotent)
    with begin(scratch, simulator, database, OTHER, [MASTER]) as gateway:
        stop, answers = threading.Event(), []

        def load():
            client = anthropic.Anthropic(base_url=gateway.url, api_key=tenant["key"], max_retries=0)
            while not stop.is_set():
                message = client.messages.create(model=MODEL, max_tokens=32, messages=[{"role": "user", "content": "Hi."}])
                answers.append(message.content[0].text)
            answers.append(None)

        callers = [threading.Thread(target=load) for _ in range(4)]
        [each.start() for each in callers]
        stack.until(lambda: len(answers) > 20, "calls are answered")
        # Three keys, and the answer kept for a repeat.
        assert gateway.expect(200, "POST", "/reseal")["resealed"] == len(made) + 1
        assert gateway.expect(200, "POST", "/reseal")["resealed"] == 0
        before = len(answers)
        stack.until(lambda: len(answers) > before + 20, "calls are answered")
        stop.set()
        [each.join(30) for each in callers]
        assert answers.count(None) == len(callers), "no call has failed"
    with begin(scratch, simulator, database, OTHER) as gateway:
        assert gateway.expect(200, "GET", "/status")["undecryptable"] == []
        assert [gateway.call(key=tenant["key"])[0] for _ in range(9)] == [200] * 9
        again = gateway.expect(201, "POST", "/tenants", {"name": "t"}, headers=idempotent)
        assert again["key"] == tenant["key"], "a repeat is answered with the key it had"
        assert [gateway.expect(200, "GET", f"/keys/{each['id']}")["revision"] for each in made] == [1] * 3


@pytest.mark.parametrize("wrong", [OTHER, None])
def test_a_wrong_or_missing_master_key_takes_its_keys_out_and_the_right_one_heals(scratch, simulator, tmp_path, wrong):
    database = tmp_path / "wrong.db"
    with begin(scratch, simulator, database) as gateway:
        make(gateway)
        assert (ready(gateway), gateway.call()[0]) == (200, 200)
    with begin(scratch, simulator, database, wrong) as gateway:
        assert ready(gateway) == 503
        key = gateway.expect(200, "GET", "/keys/k")
        assert key["state"] == "undecryptable" and "cannot be opened" in key["problem"]
        assert gateway.expect(200, "GET", "/status")["undecryptable"] == ["key/k"]
        assert gateway.call()[0] != 200
        errors = [line for line in gateway.log.read_text().splitlines() if "not in force" in line]
        assert len(errors) == 1 and re.search(r'\bid"?[=:]"?k"?\b', errors[0]) and "ERROR" in errors[0].upper(), errors
        status, problem = gateway.ask("POST", "/keys", {"name": "l", "backend": "anthropic", "secret": "sk-ant-api03-sim-org-b-1"})
        assert status == (201 if wrong else 409), problem
        assert ready(gateway) == (200 if wrong else 503), "a new key is one to serve with"
        if wrong:
            gateway.expect(200, "DELETE", "/keys/l")
    with begin(scratch, simulator, database) as gateway:
        assert (ready(gateway), gateway.call()[0]) == (200, 200)
        assert gateway.expect(200, "GET", "/keys/k")["state"] == "ready"


def test_a_thousand_stored_keys_start_within_two_seconds_and_64_mib(scratch, simulator, tmp_path):
    database = tmp_path / "thousand.db"
    with begin(scratch, simulator, database) as gateway:
        keys = [{"name": f"k{at}", "backend": "anthropic", "secret": f"sk-ant-{at:040}"} for at in range(KEYS)]
        results = gateway.expect(200, "POST", "/keys/import", {"keys": keys}, timeout=60)["results"]
        assert {each["status"] for each in results} == {"created"}
    begun = time.monotonic()
    with begin(scratch, simulator, database) as gateway:
        stack.until(lambda: ready(gateway) == 200, "it is ready")
        took = time.monotonic() - begun
        assert gateway.expect(200, "GET", "/status")["stored_resources"] == KEYS
        held = memory_kb(gateway)
    print(f"{KEYS} keys: ready after {took:.2f} s, {held / 1024:.1f} MiB")
    assert took <= START_S and held <= START_KB
    with begin(scratch, simulator, tmp_path / "empty.db", keys=stack.KEYS) as gateway:
        print(f"idle with an open store: {memory_kb(gateway) / 1024:.1f} MiB")
