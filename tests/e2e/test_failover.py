"""Across providers, as the official SDK sees it: Anthropic, then Bedrock, then Vertex, and how each dialect's streams break."""

import base64
import concurrent.futures
import json
import threading
import time

import anthropic
import pytest

import stack
from clouds import MODEL, RUNTIME, Clouds, running, same, simulator
from test_messages import PIXEL, TIME, WEATHER, ask

TIERS = ("anthropic", "static", "vertex")
IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}}
# Half a megabyte with a tool turn and images, thinking and marks of the cache: what a conversation under way is.
NOISE = base64.b64encode(bytes(range(256)) * 700).decode()
LARGE = ask(
    "Go on.",
    tools=[WEATHER, {**TIME, "cache_control": {"type": "ephemeral"}}],
    system=[{"type": "text", "text": "Be brief. " * 10_000, "cache_control": {"type": "ephemeral", "ttl": "1h"}}],
    messages=[
        {"role": "user", "content": [IMAGE, {"type": "text", "text": NOISE}]},
        {"role": "assistant", "content": [
            {"type": "thinking", "thinking": "Hm.", "signature": "EqQB+/=="},
            {"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {"city": "Oslo"}},
        ]},
        {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "toolu_1", "content": [{"type": "text", "text": "w" * 200_000}, IMAGE]},
            {"type": "text", "text": "Please use a tool."},
        ]},
    ],
    tool_choice={"type": "any"},
)  # fmt: skip


@pytest.fixture(scope="module")
def _sim(scratch):
    with simulator(scratch) as sim:
        yield sim


@pytest.fixture
def sim(_sim):
    _sim.reset()
    return _sim


@pytest.fixture
def over(scratch, sim):
    """Starts a gateway of the test's own over the simulator: `over(tiers, **options)`."""
    gateways = []

    def start(tiers=TIERS, **options):
        gateways.append(Clouds(scratch, sim.url, tiers, **options).__enter__())
        return gateways[-1]

    yield start
    for each in gateways:
        each.__exit__()


def key(backend):
    return "org-b-1" if backend == "anthropic" else f"{backend}-key"


def strikes(backend, kind, **knobs):
    return {"keys": [key(backend)], "fault": {"kind": kind, **knobs}}


def call(gateway, request, streams, client=None):
    """What the SDK gives, and the headers of its answer."""
    messages = (client or gateway.client()).messages
    if not streams:
        response = messages.with_raw_response.create(**request)
        return response.parse(), response.headers
    with messages.stream(**request) as stream:
        return stream.get_final_message(), stream.response.headers


BEFORE_CONTENT = {
    "overloads": (strikes("anthropic", "overloaded"), strikes("static", "overloaded")),
    "limits": (strikes("anthropic", "rate_limited", retry_after=60), strikes("static", "exception", error_type="ThrottlingException")),
    "resets": (strikes("anthropic", "reset_before_head"), strikes("static", "reset_before_head")),
    "refused keys": (strikes("anthropic", "invalid_key"), strikes("static", "exception", error_type="UnrecognizedClientException")),
    "missing models": (strikes("anthropic", "model_not_found"), strikes("static", "exception", error_type="ResourceNotFoundException")),
    "models that are not ready": (strikes("anthropic", "server_error"), strikes("static", "exception", error_type="ModelNotReadyException")),
}  # fmt: skip
IN_STREAMS = {
    "a throttling exception as the first frame": (strikes("anthropic", "error_event", error_type="overloaded_error"), strikes("static", "exception_frame")),
    "an exception after the first event": (strikes("anthropic", "fin", after_events=2), strikes("static", "exception_frame", error_type="internalServerException", after_events=1)),
    "an error frame": (strikes("anthropic", "end_early", after_events=1), strikes("static", "error_frame", error_type="Oops", after_events=1)),
    "corrupt frames": (strikes("anthropic", "wrong_content_type"), strikes("static", "corrupt_crc", after_events=0)),
    "a corrupt prelude": (strikes("anthropic", "reset", after_events=1), strikes("static", "corrupt_crc", prelude=True, after_events=1)),
    "a frame too large": (strikes("anthropic", "close", after_events=1), strikes("static", "oversized_frame", after_events=0)),
    "a truncated frame": (strikes("anthropic", "end_early", after_events=1, mid_event=True), strikes("static", "end_early", after_events=1, mid_event=True)),
}  # fmt: skip


def moves(over, sim, rules, streams):
    direct = anthropic.Anthropic(base_url=sim.url, api_key=stack.KEYS[0], max_retries=0)
    # The other organization's key: the rules strike the gateway's alone.
    expected = same(call(None, LARGE, streams, direct)[0])
    sim.faults(*rules)
    gateway = over()
    message, headers = call(gateway, LARGE, streams)
    assert same(message) == expected and message.stop_reason == "tool_use"
    assert (headers["x-headgate-backend"], headers["x-headgate-attempts"]) == ("vertex", "3")
    tried = [each for each in sim.requests() if each.path != "/token"][1:]
    assert [each.key for each in tried] == [key(backend) for backend in TIERS]
    added = {"model", "stream", "anthropic_version"}
    original = {name: value for name, value in LARGE.items() if name not in added}
    assert len(tried[0].body) > 500_000
    for each in tried:
        assert {name: value for name, value in json.loads(each.body).items() if name not in added} == original


@pytest.mark.parametrize("streams", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("name", BEFORE_CONTENT)
def test_a_conversation_moves_from_anthropic_to_bedrock_to_vertex(over, sim, name, streams):
    moves(over, sim, BEFORE_CONTENT[name], streams)


@pytest.mark.parametrize("name", IN_STREAMS)
def test_a_stream_that_breaks_before_content_moves_unseen(over, sim, name):
    moves(over, sim, IN_STREAMS[name], True)


AFTER_CONTENT = [
    *[(backend, kind, knobs) for backend in RUNTIME[:1] for kind, knobs in [
        ("corrupt_crc", {}), ("corrupt_crc", {"prelude": True}), ("oversized_frame", {}), ("end_early", {"mid_event": True}),
        ("end_early", {}), ("exception_frame", {}), ("exception_frame", {"error_type": "modelStreamErrorException"}),
        ("error_frame", {"error_type": "Oops"}), ("fin", {"mid_event": True}), ("reset", {}),
    ]],
    *[(backend, kind, knobs) for backend in ("anthropic", "mantle", "vertex") for kind, knobs in [
        ("end_early", {"mid_event": True}), ("end_early", {}), ("error_event", {"error_type": "overloaded_error"}), ("fin", {}), ("reset", {}),
    ]],
]  # fmt: skip


@pytest.mark.parametrize(("backend", "kind", "knobs"), AFTER_CONTENT)
def test_a_cut_after_content_is_one_error_event(over, sim, backend, kind, knobs):
    gateway = over((backend, "anthropic" if backend != "anthropic" else "static"))
    sim.faults(strikes(backend, kind, after_events=8, **knobs))
    # Event by event: what breaks in one read with the first content moves unseen.
    request = ask("[[sim:scenario=text,events=40,pace_ms=20]]")
    with gateway.client().messages.with_streaming_response.create(**request, stream=True) as response:
        raw = response.read().decode()
        assert response.headers["x-headgate-attempts"] == "1"
    kinds = [line.removeprefix("event: ") for line in raw.splitlines() if line.startswith("event: ")]
    assert kinds.count("error") == 1 and kinds[-1] == "error" and "message_stop" not in kinds
    assert "content_block_delta" in kinds and raw.endswith("\n\n")
    last = json.loads(raw.rstrip().rsplit("data: ", 1)[1])
    assert last["type"] == "error" and last["error"]["type"].endswith("_error") and "AKIA" not in raw


def test_no_call_fails_while_google_forgets_its_tokens(over, sim):
    gateway = over(("vertex",))
    gateway_ask(gateway)
    stop, statuses = threading.Event(), []

    def traffic():
        while not stop.is_set():
            statuses.append(gateway_ask(gateway))

    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        asked = [pool.submit(traffic) for _ in range(6)]
        try:
            stack.until(lambda: len(statuses) > 20, "the first token serves")
            # Once: a token that is refused while it is young counts as a bad credential.
            sim.control("tokens/expire", "POST")
            before = len(statuses)
            stack.until(lambda: len(statuses) > before + 20, "another token serves")
        finally:
            stop.set()
        for each in asked:
            each.result()
    assert set(statuses) == {200} and issued(sim) == 2


def gateway_ask(gateway):
    return gateway.client().messages.with_raw_response.create(**ask("x")).status_code


def issued(sim):
    return next(each for each in sim.control("stats")["keys"] if each["name"] == "vertex-key")["tokens_issued"]


def test_tokens_that_end_amid_traffic_are_replaced_ahead(scratch, sim):
    sim.control("tokens/lifetime", "POST", 2)
    with Clouds(scratch, sim.url, ("vertex",)) as gateway:
        end = time.monotonic() + 5
        while time.monotonic() < end:
            assert gateway_ask(gateway) == 200
    assert issued(sim) >= 3
    outcomes = next(each for each in sim.control("stats")["keys"] if each["name"] == "vertex-key")["outcomes"]
    assert "401" not in outcomes


@pytest.mark.parametrize("ahead", [3600, -3600], ids=["ours is slow", "ours is fast"])
def test_a_clock_that_aws_does_not_believe_parks_the_key(scratch, ahead):
    with simulator(scratch, clock_ahead_s=ahead) as skewed, Clouds(scratch, skewed.url, ("static", "vertex")) as gateway:
        for attempts in ("2", "1"):
            _, headers = call(gateway, ask("x"), False)
            assert (headers["x-headgate-backend"], headers["x-headgate-attempts"]) == ("vertex", attempts)
        assert [each.key for each in skewed.requests() if each.path != "/token"] == [key(name) for name in ("static", "vertex", "vertex")]
        first = stack.until(lambda: gateway.records(), "the request is logged")[0]
        assert (first["cause"], first["attempts"], first["status"]) == ("key_refused", 2, 200)
        metrics = stack.fetch(f"http://127.0.0.1:{gateway.ports[1]}/metrics")[1].decode()
        assert 'headgate_key_state{backend="static",key="static-key",state="parked"} 1' in metrics
        # With nowhere else to go the caller hears nothing of keys, clocks or AWS.
        with pytest.raises(anthropic.APIStatusError) as raised:
            gateway.client(timeout=3, default_headers={"x-stainless-timeout": "2"}).messages.create(**{**ask("x"), "model": "static"})
        assert raised.value.status_code == 503 and "ignature" not in raised.value.response.text


def test_a_whole_provider_that_is_down_is_not_seen(over, sim):
    sim.faults(strikes("anthropic", "close_before_head"))
    gateway = over()
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda at: call(gateway, ask(f"Question {at}."), at % 2 == 0), range(60)))
    assert {headers["x-headgate-backend"] for _, headers in answers} == {"static"}
    # The breaker of the connections opened: later calls do not even try.
    assert answers[-1][1]["x-headgate-attempts"] == "1"


def test_errors_of_the_clouds_are_those_of_the_messages_api(over, sim):
    refusals = {
        "static": [("ValidationException", 400, "invalid_request_error"), ("ThrottlingException", 429, "rate_limit_error"),
                   ("ServiceUnavailableException", 529, "overloaded_error"), ("InternalServerException", 500, "api_error"),
                   ("AccessDeniedException", 503, "api_error")],
        "vertex": [("INVALID_ARGUMENT", 400, "invalid_request_error"), ("UNAVAILABLE", 529, "overloaded_error"),
                   ("INTERNAL", 500, "api_error"), ("PERMISSION_DENIED", 503, "api_error")],
    }  # fmt: skip
    for backend, cases in refusals.items():
        kind = "exception" if backend == "static" else "google_error"
        for name, status, error_type in cases:
            gateway = over((backend,), relay={"max_wait_ms": 50})
            sim.faults(strikes(backend, kind, error_type=name))
            for streams in (False, True):
                with pytest.raises(anthropic.APIStatusError) as raised:
                    call(gateway, ask("x"), streams)
                error = raised.value
                assert (error.status_code, error.body["error"]["type"]) == (status, error_type), name
                assert error.body["request_id"] == error.request_id and error.request_id.startswith("req_")
                if status != 400:
                    break
