"""The Messages API as the official Python SDKs see it: what comes through the gateway equals what comes directly.

Runs with the newest SDK and with a 0.x one.
"""

import base64

import anthropic
import pytest

MODEL = "claude-sonnet-5"
# The smallest PNG: one transparent pixel.
PIXEL = base64.b64encode(
    bytes.fromhex(
        "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000d49444154789c6300010000050001"
        "0d0a2db40000000049454e44ae426082"
    )
).decode()
WEATHER = {
    "name": "get_weather",
    "description": "The weather of a city.",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"type": "string"}, "unit": {"type": "string", "enum": ["c", "f"]}, "days": {"type": "integer"}},
        "required": ["city"],
    },
}
TIME = {"name": "get_time", "input_schema": {"type": "object", "properties": {"zone": {"type": "string"}}}}


def ask(text, **options):
    return {"model": MODEL, "max_tokens": 2000, "messages": [{"role": "user", "content": text}], **options}


THINKING = {"type": "enabled", "budget_tokens": 1024}
SCENARIOS = {
    "text": ask("Say something."),
    "unicode": ask("[[sim:scenario=unicode]] Grüß Gott, 你好, 👩‍👩‍👧‍👦"),
    "many events": ask("[[sim:scenario=text,events=200]]"),
    "tools": ask("[[sim:scenario=tools]]", tools=[WEATHER]),
    "forced tool": ask("Weather?", tools=[TIME, WEATHER], tool_choice={"type": "tool", "name": "get_weather"}),
    "parallel tools": ask("[[sim:scenario=parallel_tools]]", tools=[WEATHER, TIME]),
    "tool without input": ask("[[sim:scenario=tool_without_input]]", tools=[TIME]),
    "thinking": ask("[[sim:scenario=thinking]]", thinking=THINKING),
    "thinking, then tools": ask("[[sim:scenario=tools]]", thinking=THINKING, tools=[WEATHER]),
    "thinking omitted": ask("[[sim:scenario=thinking]]", thinking={**THINKING, "display": "omitted"}),
    "redacted thinking": ask("[[sim:scenario=redacted_thinking]]", thinking=THINKING),
    "refusal": ask("[[sim:scenario=refusal]]"),
    "empty": ask("[[sim:scenario=empty]]"),
    "citations": ask("[[sim:scenario=citations]]"),
    "paused turn": ask("[[sim:scenario=pause_turn]]"),
    "stop sequence": ask("[[sim:scenario=stop_sequence]]", stop_sequences=["END"]),
    "max_tokens": ask("[[sim:scenario=max_tokens]]", max_tokens=16),
    "image": ask(
        [
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}},
            {"type": "text", "text": "What is this?"},
        ]
    ),
    "system and metadata": ask(
        "Hello.", system=[{"type": "text", "text": "Be brief."}], metadata={"user_id": "user-1"}
    ),
}
scenarios = pytest.mark.parametrize("request_", SCENARIOS.values(), ids=SCENARIOS.keys())


@scenarios
def test_whole(sides, request_):
    message = sides.same(lambda side: side.client().messages.create(**request_))
    assert message["type"] == "message" and message["stop_reason"]


@scenarios
def test_stream_helper(sides, request_):
    def scenario(side):
        with side.client().messages.stream(**request_) as stream:
            events = [event for event in stream]
            return events, stream.get_final_message()

    events, final = sides.same(scenario)
    assert events[-1]["type"] == "message_stop"
    whole = sides.direct.client().messages.create(**request_)
    assert spoken(final["content"]) == spoken(whole.model_dump()["content"])


def spoken(blocks):
    """Blocks without what a stream leaves out or the helper adds: empty fields and parsed outputs."""
    return [{name: value for name, value in block.items() if value is not None} for block in blocks]


@scenarios
def test_raw_stream(sides, request_):
    def scenario(side):
        with side.client().messages.create(**request_, stream=True) as stream:
            return list(stream)

    kinds = [event["type"] for event in sides.same(scenario)]
    assert kinds[0] == "message_start" and kinds[-1] == "message_stop" and kinds.count("message_stop") == 1


def test_tool_input_arrives_in_pieces_that_make_sense(sides):
    def scenario(side):
        with side.client().messages.stream(**SCENARIOS["parallel tools"]) as stream:
            pieces = [(event.index, event.delta.partial_json) for event in raw(stream) if is_piece(event)]
            return pieces, [block for block in stream.get_final_message().content if block.type == "tool_use"]

    pieces, calls = sides.same(scenario)
    assert len(pieces) > len(calls) == 2
    assert calls[0]["input"].keys() == WEATHER["input_schema"]["properties"].keys()


def raw(stream):
    return (event for event in stream if event.type == "content_block_delta")


def is_piece(event):
    return event.delta.type == "input_json_delta"


def test_a_thinking_turn_can_be_sent_back(sides):
    def scenario(side):
        client = side.client()
        first = client.messages.create(**SCENARIOS["thinking, then tools"])
        call = next(block for block in first.content if block.type == "tool_use")
        result = {"type": "tool_result", "tool_use_id": call.id, "content": "21 degrees"}
        turns = [
            *SCENARIOS["thinking, then tools"]["messages"],
            {"role": "assistant", "content": [block.model_dump(exclude_none=True) for block in first.content]},
            {"role": "user", "content": [result, {"type": "text", "text": "And now?"}]},
        ]
        second = client.messages.create(**{**SCENARIOS["thinking, then tools"], "messages": turns})
        return first, second

    first, second = sides.same(scenario)
    thinking = next(block for block in first["content"] if block["type"] == "thinking")
    assert thinking["signature"] and second["content"]


@pytest.mark.parametrize("megabytes", [1, 30])
@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
def test_large_bodies(sides, simulator, megabytes, streamed):
    text = "All work and no play makes a long body. " * (megabytes * 1024 * 1024 // 40)

    def scenario(side):
        client = side.client(timeout=120)
        if not streamed:
            return client.messages.create(**ask(text))
        with client.messages.stream(**ask(text)) as stream:
            return stream.get_final_message()

    message = sides.same(scenario)
    assert message["usage"]["input_tokens"] > megabytes * 100_000


def test_a_long_answer(sides):
    def scenario(side):
        with side.client().messages.stream(**ask("[[sim:scenario=text,events=2000,bytes=1000000]]")) as stream:
            return stream.get_final_message()

    assert len(sides.same(scenario)["content"][0]["text"]) == 1_000_000


def test_count_tokens(sides):
    request = {name: value for name, value in SCENARIOS["tools"].items() if name != "max_tokens"}
    assert sides.same(lambda side: side.client().messages.count_tokens(**request))["input_tokens"] > 0


def test_models_page_by_page(sides):
    def scenario(side):
        pages = side.client().models.list(limit=3).iter_pages()
        return [[page.data, page.has_more, page.first_id, page.last_id] for page in pages]

    pages = sides.same(scenario)
    assert [len(models) for models, *_ in pages] == [3, 3, 2]
    newest_first = [model["id"] for models, *_ in pages for model in models]
    backwards = sides.same(lambda side: side.client().models.list(limit=2, before_id=newest_first[3]).data)
    assert [model["id"] for model in backwards] == newest_first[1:3]


def test_one_model(sides):
    model = sides.same(lambda side: side.client().models.retrieve(MODEL))
    assert model["id"] == MODEL
    assert sides.same(lambda side: unknown_model(side.client())) == ["NotFoundError", 404]


def unknown_model(client):
    with pytest.raises(anthropic.NotFoundError) as raised:
        client.models.retrieve("claude-nonesuch-1")
    return type(raised.value).__name__, raised.value.status_code


def test_beta_namespace(sides, simulator):
    beta = {"betas": ["context-management-2025-06-27"], "extra_query": {"beta": "true"}}

    def scenario(side):
        client = side.client().beta.messages
        with client.stream(**SCENARIOS["tools"], **beta) as stream:
            streamed = stream.get_final_message()
        counted = client.count_tokens(model=MODEL, messages=ask("x")["messages"], **beta)
        return client.create(**ask("Beta."), **beta), streamed, counted

    assert sides.same(scenario)
    seen = [(each.path, each.query, each.headers["anthropic-beta"]) for each in simulator.requests()]
    assert len(seen) == 6 and seen[:3] == seen[3:]
    assert all(query == "beta=true" and beta["betas"][0] in header for _, query, header in seen)


def test_both_api_versions(sides, simulator):
    def scenario(side):
        headers = {"anthropic-version": "2023-06-01"}
        return side.client().messages.create(**ask("Old."), extra_headers=headers)

    sides.same(scenario)
    assert [each.headers["anthropic-version"] for each in simulator.requests()] == ["2023-06-01"] * 2


def test_asynchronous_calls_at_once(sides):
    import asyncio

    async def all_of(side):
        async with side.async_client() as client:
            calls = [client.messages.create(**ask(f"Question {number}.")) for number in range(20)]
            return await asyncio.gather(*calls)

    answers = sides.same(lambda side: asyncio.run(all_of(side)))
    assert len(answers) == 20


def test_every_answer_carries_a_request_id(sides):
    for side in (sides.direct, sides.gateway):
        assert side.client().messages.create(**ask("Id?"))._request_id.startswith("req_")
        with side.client().messages.stream(**ask("Id?")) as stream:
            assert stream.get_final_message().id.startswith("msg_")
            assert stream.request_id.startswith("req_")
