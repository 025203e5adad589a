"""Bedrock and Vertex behind the gateway: what the official SDK gives equals what the Messages API itself gives, and what goes
upstream equals what the official clients of the clouds send there.
"""

import copy
import itertools
import json

import anthropic
import pytest

import stack
from clouds import BACKENDS, MODEL, RUNTIME, aws_client, google_client, mantle_client, running, same, upstream_model
from test_errors import failure
from test_messages import PIXEL, SCENARIOS, THINKING, TIME, WEATHER, ask, scenarios

backends = pytest.mark.parametrize("backend", BACKENDS)
LONG = "All work and no play makes a long prefix. " * 400
DAY = {"type": "ephemeral", "ttl": "1h"}
MARK = {"type": "ephemeral"}
PDF = {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0xLjQ="}}
IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}}


@pytest.fixture(scope="module")
def _up(scratch):
    with running(scratch) as up:
        yield up


@pytest.fixture
def up(_up):
    """The simulator, forgetful of what was before, and the gateway."""
    _up[0].reset()
    return _up


def direct(up):
    return anthropic.Anthropic(base_url=up[0].url, api_key=stack.KEYS[0], max_retries=0)


def equal(up, backend, scenario):
    """Runs the scenario directly against the Messages API and through a backend; both must give the same."""
    expected = same(scenario(direct(up), MODEL))
    assert same(scenario(up[1].client(), backend)) == expected
    return expected


def streamed(client, request):
    with client.messages.create(**request, stream=True) as stream:
        return [event for event in stream if event.type != "ping"]


@backends
@scenarios
def test_objects_equal_those_of_the_messages_api(up, backend, request_):
    def scenario(client, model):
        request = {**request_, "model": model}
        with client.messages.stream(**request) as stream:
            final = stream.get_final_message()
        return client.messages.create(**request), streamed(client, request), final

    whole, events, final = equal(up, backend, scenario)
    assert whole["model"] == final["model"] == MODEL
    assert events[0]["type"] == "message_start" and events[-1] == {"": "RawMessageStopEvent", "type": "message_stop"}


def turns(*content, more=()):
    """A conversation that used a tool, its second turn's content given."""
    call = {"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {"city": "Oslo", "unit": None, "days": 1.50}, **dict(more)}
    return [
        {"role": "user", "content": "How is the weather?"},
        {"role": "assistant", "content": [call]},
        {"role": "user", "content": list(content)},
    ]


def result(*content, **more):
    return {"type": "tool_result", "tool_use_id": "toolu_1", "content": list(content), **more}


def text(words, **more):
    return {"type": "text", "text": words, **more}


REPLAYED = [
    {"type": "thinking", "thinking": "Hm. \"Ü\"", "signature": "EqQB+/=="},
    {"type": "redacted_thinking", "data": "EmwKAhgB+/=="},
    text("Let me look."),
    {"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {}},
]
# What gateways are known to have broken on the way to a cloud. Every one is sent as it stands.
REGRESSIONS = {
    "cache marks on tools": {"tools": [{**WEATHER, "description": LONG, "cache_control": MARK}, TIME]},
    "a cache mark on tool_use": {"tools": [WEATHER], "messages": turns(result(text("21")), more={"cache_control": MARK}.items()), "system": LONG},
    "a cache mark on tool_result": {"tools": [WEATHER], "messages": turns(result(text("21"), cache_control=MARK)), "system": LONG},
    "marked text inside tool_result": {"tools": [WEATHER], "messages": turns(result(text(LONG, cache_control=MARK)))},
    "cache marks of one hour": {"system": [text(LONG, cache_control=DAY)], "messages": [{"role": "user", "content": [text("Hi", cache_control=MARK)]}]},
    "a mark on the whole request": {"system": LONG, "cache_control": DAY},
    "documents inside tool results": {"tools": [WEATHER], "messages": turns(result(text("See:"), PDF, IMAGE), text("Well?"))},
    "a document with citations": {"messages": [{"role": "user", "content": [{**PDF, "title": "T", "citations": {"enabled": True}}, text("?")]}]},
    "thinking that is sent back": {
        "thinking": THINKING, "tools": [WEATHER],
        "messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": REPLAYED}, {"role": "user", "content": [result(text("21"))]}],
    },
    "an empty tool result": {"tools": [WEATHER], "messages": turns(result())},
    "an empty text inside a tool result": {"tools": [WEATHER], "messages": turns(result(text("")))},
    "a failed tool": {"tools": [WEATHER], "messages": turns(result(text("no"), is_error=True))},
    "a prefilled answer": {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Well, "}]},
    "a schema with nulls": {"tools": [{**TIME, "input_schema": {"type": "object", "properties": {"zone": {"enum": ["UTC", None], "default": None}}}}]},
    "odd letters": {"system": "\u2028 \\ \"quoted\" é \U0001f469\u200d\U0001f469 \x7f"},
}  # fmt: skip
takes = itertools.count()
regressions = pytest.mark.parametrize("name", REGRESSIONS)


def asked(name):
    """The request, with a prefix that no cache knows from an earlier test."""
    request = copy.deepcopy({**ask("Go on."), **REGRESSIONS[name]})
    return json.loads(json.dumps(request).replace("All work", f"Take {next(takes)}, all work"))


def arrived(sim, backend):
    """What the backend's key brought, oldest first."""
    key = "org-b-1" if backend == "anthropic" else f"{backend}-key"
    return [each for each in sim.requests() if each.key == key and each.path != "/token"]


def sent(sim, backend):
    return [json.loads(each.body) for each in arrived(sim, backend)]


@backends
@regressions
def test_nothing_is_lost_on_the_way(up, backend, name):
    once = asked(name)

    def scenario(client, model):
        request = {**once, "model": model}
        try:
            # Twice whole, so that what was written to a cache is read from it.
            return client.messages.create(**request), client.messages.create(**request), streamed(client, request)
        except anthropic.APIStatusError as error:
            return error.status_code, error.body["error"]["type"]

    given = equal(up, backend, scenario)
    if name.startswith(("cache mark", "a cache mark")):
        first, second, _ = given
        assert first["usage"]["cache_creation_input_tokens"] > 0 and second["usage"]["cache_read_input_tokens"] > 0
    original = {key: value for key, value in once.items() if key != "model"}
    bodies = sent(up[0], backend)
    assert bodies
    for body in bodies:
        added = {"model", "stream", "anthropic_version"}
        assert {key: value for key, value in body.items() if key not in added} == original


@backends
def test_writes_of_one_hour_are_told_and_logged(up, backend):
    request = {**asked("cache marks of one hour"), "model": backend}
    message = up[1].client().messages.create(**request)
    written = message.usage.cache_creation
    assert written.ephemeral_1h_input_tokens > 1000 and message.usage.cache_creation_input_tokens >= written.ephemeral_1h_input_tokens
    record = logged(up[1], message.usage)
    assert record["cache_written"] == message.usage.cache_creation_input_tokens
    with up[1].client().messages.stream(**request) as stream:
        usage = stream.get_final_message().usage
    assert logged(up[1], usage)["cache_read"] == usage.cache_read_input_tokens > 1000


def logged(gateway, usage):
    """The log line of the newest request, which must tell the usage the caller saw."""
    def found():
        records = gateway.records()
        mine = records and records[-1]
        return mine and (mine["tokens_in"], mine["tokens_out"]) == (usage.input_tokens, usage.output_tokens) and mine

    return stack.until(found, "the request is logged with its usage", 5)


@backends
def test_metrics_reach_the_log_and_never_the_caller(up, backend):
    seen = []
    client = up[1].client()
    with client.messages.create(**{**SCENARIOS["parallel tools"], "model": backend}, stream=True) as stream:
        seen.extend(stream)
    start, delta = seen[0].message.usage, next(event.usage for event in seen if event.type == "message_delta")
    assert logged(up[1], type("", (), {"input_tokens": start.input_tokens, "output_tokens": delta.output_tokens}))
    with client.messages.with_streaming_response.create(**{**ask("x"), "model": backend}, stream=True) as response:
        raw = response.read()
    assert b"message_stop" in raw and b"amazon" not in raw and b"nvocation" not in raw


EMPTY = {
    "content": [{"role": "user", "content": ""}],
    "list of blocks": [{"role": "user", "content": []}],
    "text": [{"role": "user", "content": [text("")]}],
    "blank text": [{"role": "user", "content": [text(" \n")]}],
    "assistant turn": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": []}, {"role": "user", "content": "So?"}],
}


@backends
@pytest.mark.parametrize("name", EMPTY)
def test_empty_content_is_judged_by_upstream_alone(up, backend, name):
    def scenario(client, model):
        try:
            return client.messages.create(model=model, max_tokens=9, messages=EMPTY[name])
        except anthropic.APIStatusError as error:
            return error.status_code, error.body["error"]["type"]

    equal(up, backend, scenario)
    assert [body["messages"] for body in sent(up[0], backend)] == [EMPTY[name]]


@pytest.mark.parametrize("backend", [*RUNTIME, "vertex"])
def test_flags_that_a_cloud_does_not_know_stay_behind(up, backend):
    flags = "made-up-2026-01-01, context-1m-2025-08-07,made-up-2026-01-02"
    up[1].client().messages.create(**{**ask("x"), "model": backend}, extra_headers={"anthropic-beta": flags})
    request = up[0].requests()[-1]
    if backend == "vertex":
        assert request.headers["anthropic-beta"] == "context-1m-2025-08-07"
    else:
        assert "anthropic-beta" not in request.headers
        assert json.loads(request.body)["anthropic_beta"] == ["context-1m-2025-08-07"]


@backends
def test_nulls_in_place_of_optional_fields_are_accepted(up, backend):
    nulls = {"temperature": None, "top_k": None, "system": None, "stop_sequences": None, "metadata": None, "tools": None, "thinking": None}
    content = [text("Hi", cache_control=None), {**PDF, "title": None, "context": None, "citations": None, "cache_control": None}]
    messages = turns(result(text("21"), is_error=None, cache_control=None), *content, more={"cache_control": None}.items())
    tools = [{**WEATHER, "description": None, "cache_control": None}]
    for more in ({"extra_body": nulls}, {"messages": messages, "tools": tools}):
        # Without the usage: the simulator weighs what is left out too.
        equal(up, backend, lambda client, model: client.messages.create(**{**ask("x"), **more, "model": model}).content)
    if backend in RUNTIME:
        first, second = sent(up[0], backend)
        assert not nulls.keys() & first.keys()
        call = second["messages"][1]["content"][0]
        assert "cache_control" not in call and call["input"]["unit"] is None


@backends
def test_the_beta_namespace(up, backend):
    def scenario(client, model):
        beta = client.beta.messages
        request = {**SCENARIOS["tools"], "model": model, "betas": ["context-management-2025-06-27"], "extra_query": {"beta": "true"}}
        with beta.stream(**request) as stream:
            final = stream.get_final_message()
        return beta.create(**request), final

    equal(up, backend, scenario)
    queries = {each.query for each in arrived(up[0], backend)}
    assert queries == ({""} if backend in (*RUNTIME, "vertex") else {"beta=true"})


@backends
def test_tokens_are_counted(up, backend):
    request = {name: value for name, value in SCENARIOS["tools"].items() if name != "max_tokens"}
    counted = equal(up, backend, lambda client, model: client.messages.count_tokens(**{**request, "model": model}))
    assert counted["input_tokens"] > 0
    assert failure_kind(up, backend) == (400, "invalid_request_error")


def failure_kind(up, backend):
    told = failure(lambda: up[1].client().messages.count_tokens(model=backend, messages=[{"role": "nobody", "content": "x"}]))
    return told["status"], told["type"]


CALLS = {
    **{name: {} for name in REGRESSIONS},
    "plain": {},
    "betas": {"extra_headers": {"anthropic-beta": "context-1m-2025-08-07,interleaved-thinking-2025-05-14"}},
    "unknown fields": {"extra_body": {"user_profile_id": "prof_1", "output_config": {"model": 1, "stream": None}}},
    "images": {"messages": [{"role": "user", "content": [IMAGE, text("?")]}]},
    "sampling": {"stop_sequences": ["x"], "metadata": {"user_id": "u"}},
}
OFFICIAL = {"static": aws_client, "bearer": lambda sim: aws_client(sim, api_key="bedrock-key"), "mantle": mantle_client, "vertex": google_client}


@pytest.mark.parametrize("backend", OFFICIAL)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("name", CALLS)
def test_bodies_are_those_of_the_official_client(up, backend, stream, name):
    sim, gateway = up
    request = {**ask("Go on."), **copy.deepcopy(REGRESSIONS.get(name, {})), **CALLS[name]}

    def run(client, model):
        if stream:
            return streamed(client, {**request, "model": model})
        return client.messages.create(**{**request, "model": model})

    run(OFFICIAL[backend](sim), upstream_model(backend))
    run(gateway.client(), backend)
    theirs, ours = arrived(sim, backend)
    assert ours.path.replace("%3A", ":") == theirs.path.replace("%3A", ":") and ours.query == theirs.query
    if backend in ("mantle", "vertex"):
        assert ours.headers.get("anthropic-beta") == theirs.headers.get("anthropic-beta")
    bodies = [json.loads(each.body) for each in (ours, theirs)]
    for body in bodies:
        body.pop("anthropic_version", None)
    assert bodies[0] == bodies[1]
    # The order of fields too, but for those that a dialect adds.
    orders = [[key for key in body if key not in ("model", "stream", "anthropic_beta")] for body in bodies]
    assert orders[0] == orders[1]


def test_every_kind_of_key_was_used(up):
    for backend in BACKENDS:
        up[1].client().messages.create(**{**ask("x"), "model": backend})
    schemes = {each.key: each.headers for each in up[0].requests() if each.path != "/token"}
    signed = [name for name in schemes if schemes[name].get("authorization", "").startswith("AWS4-HMAC-SHA256")]
    assert signed == ["static-key", "session-key", "mantle-key"]
    assert schemes["session-key"]["x-amz-security-token"] and "/bedrock-mantle/" in schemes["mantle-key"]["authorization"]
    assert schemes["bearer-key"]["authorization"] == "Bearer bedrock-key" and schemes["vertex-key"]["authorization"].startswith("Bearer ya29.")
