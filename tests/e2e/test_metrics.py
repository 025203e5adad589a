"""`/metrics` with everything in it: every name that is promised is there, Prometheus's own tool accepts it, and what
callers make up adds no series."""

import concurrent.futures
import json
import re
import subprocess
import urllib.error
import urllib.request

import pytest

import stack
from test_messages import MODEL, ask

PROMISED = """
    requests_total request_duration_seconds time_to_first_token_seconds overhead_seconds attempts_total failovers_total
    key_in_flight key_state parked_until_seconds breaker_state queue_depth queue_wait_seconds admission_rejected_total
    connects_total tokens_total cost_usd_total usage_dropped_total
""".split()


def two_backends(upstream):
    def backend(name, key):
        return {"name": name, "provider": "anthropic", "base_url": upstream, "keys": [{"name": f"{name}-key", "secret": f"value:{key}"}]}

    return [backend("first", stack.KEYS[0]), backend("second", stack.KEYS[2])]


@pytest.fixture
def running(scratch, simulator):
    options = {"backends": two_backends(simulator.url), "queue": {"max_waiting": 1}, "relay": {"max_wait_ms": 5000}}
    options["routes"] = [
        {"model": MODEL, "targets": [{"backend": "first"}, {"backend": "second"}]},
        {"model": "*", "targets": [{"backend": "second"}]},
    ]
    with stack.Gateway(scratch, simulator.url, **options) as gateway:
        yield gateway


def scrape(gateway):
    status, text = stack.fetch(f"http://127.0.0.1:{gateway.ports[1]}/metrics")
    assert status == 200
    return text.decode()


def post(gateway, **body):
    """The status of a call, its answer read to the end."""
    headers = {"content-type": "application/json", "anthropic-version": "2023-06-01"}
    data = json.dumps({**ask("Hello."), **body}).encode()
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(urllib.request.Request(f"{gateway.url}/v1/messages", data, headers), timeout=30) as answer:
            answer.read()
            return answer.status
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def series(text):
    return {line.rsplit(" ", 1)[0] for line in text.splitlines() if not line.startswith("#")}


def populate(gateway, simulator):
    assert post(gateway) == post(gateway, stream=True) == 200
    simulator.faults({"keys": ["org-a-1"], "fault": "server_error"})
    assert post(gateway) == 200
    simulator.faults({"count": 1, "keys": ["org-b-1"], "fault": {"kind": "rate_limited", "retry_after": 1}})
    # The first parks the only key of this route and waits for it; while it does, the queue is full for others.
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        first = pool.submit(post, gateway, model="claude-haiku-4-5")
        stack.until(lambda: "headgate_queue_depth 1" in scrape(gateway), "a call waits")
        assert post(gateway, model="claude-haiku-4-5") == 429
        assert first.result() == 200
    simulator.faults()


def test_promtool_accepts_every_promised_metric(running, simulator):
    populate(running, simulator)
    text = scrape(running)
    missing = [name for name in PROMISED if f"# TYPE headgate_{name} " not in text]
    assert not missing
    checked = subprocess.run(["promtool", "check", "metrics"], input=text, text=True, capture_output=True, timeout=60)
    assert (checked.returncode, checked.stderr) == (0, ""), checked.stdout + checked.stderr
    for name, labels in [
        ("failovers_total", 'cause="server_error",from="first",to="second"'),
        ("admission_rejected_total", 'class="normal",limit="queue"'),
        ("cost_usd_total", 'backend="first"'),
        ("key_state", 'backend="second",key="second-key",state="disabled"'),
    ]:
        assert f"headgate_{name}{{{labels}}} " in text


def test_the_buckets_reach_from_microseconds_of_overhead_to_minutes_of_streams(running, simulator):
    assert post(running) == 200
    bounds = lambda name: [float(each) for each in re.findall(rf'headgate_{name}_bucket{{.*?le="([0-9.e-]+)"}}', scrape(running))]
    assert min(bounds("overhead_seconds")) <= 0.00001
    assert max(bounds("request_duration_seconds")) >= 600
    assert max(bounds("time_to_first_token_seconds")) >= 60


def test_what_callers_make_up_adds_no_series(running, simulator):
    populate(running, simulator)
    post(running, model="claude-made-up-0")
    before = series(scrape(running))
    for number in range(40):
        post(running, model=f"claude-made-up-{number}-\"}}\n", metadata={"user_id": f"user-{number}"})
        stack.fetch(f"{running.url}/v1/made-up-{number}")
        stack.fetch(f"{running.url}/v1/made-up-{number}", "POST", {"model": f"m-{number}"})
    added = series(scrape(running)) - before
    # Of a fixed list, and seen for the first time.
    assert all(re.fullmatch(r'headgate_(requests_total|request_duration_seconds_(bucket|sum|count))\{.*operation="other".*\}', each) for each in added), added
    made_up = series(scrape(running))
    for number in range(40, 80):
        post(running, model=f"claude-made-up-{number}", metadata={"user_id": f"user-{number}"})
        stack.fetch(f"{running.url}/v1/made-up-{number}")
    assert series(scrape(running)) == made_up
    assert "made-up" not in scrape(running)
