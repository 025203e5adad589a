"""The simulator's dialects as their official clients see them: the same scenario gives the same objects everywhere."""

import copy

import pytest

from sim_clients import IDS, MODEL, _cloud, agree, aws_error, cloud, dialects, invocation, private_key, runtime
from test_messages import SCENARIOS, spoken

scenarios = pytest.mark.parametrize("request_", SCENARIOS.values(), ids=SCENARIOS.keys())


@scenarios
def test_whole(dialects, request_):
    message = agree(dialects, lambda client, model: client.messages.create(**{**request_, "model": model}))
    assert message["model"] == MODEL and message["stop_reason"]


@scenarios
def test_stream(dialects, request_):
    def scenario(client, model):
        with client.messages.create(**{**request_, "model": model}, stream=True) as stream:
            return [event for event in stream if event.type != "ping"]

    events = agree(dialects, scenario)
    assert events[0]["type"] == "message_start" and events[-1]["type"] == "message_stop"


def test_ids_tell_the_dialect(dialects):
    def ids(client, model):
        message = client.messages.create(**{**SCENARIOS["tools"], "model": model})
        return message.id, message.content[-1].id

    found = {name: ids(client, model) for name, (client, model) in dialects.items()}
    assert found["bedrock"][0].startswith("msg_bdrk_") and found["bedrock"][1].startswith("toolu_bdrk_")
    assert found["vertex"][0].startswith("msg_vrtx_") and found["vertex"][1].startswith("toolu_vrtx_")


def test_a_tool_turn_goes_back(dialects):
    def scenario(client, model):
        request = {**copy.deepcopy(SCENARIOS["thinking, then tools"]), "model": model}
        first = client.messages.create(**request)
        call = next(block for block in first.content if block.type == "tool_use")
        result = {"type": "tool_result", "tool_use_id": call.id, "content": "21 degrees"}
        request["messages"] += [
            {"role": "assistant", "content": [block.model_dump(exclude_none=True) for block in first.content]},
            {"role": "user", "content": [result, {"type": "text", "text": "And now?"}]},
        ]
        return spoken(client.messages.create(**request).model_dump()["content"])

    assert agree(dialects, scenario)


def test_tokens_are_counted_alike(cloud, dialects, private_key):
    request = {name: value for name, value in SCENARIOS["tools"].items() if name != "max_tokens"}
    dialects = {name: dialects[name] for name in ("anthropic", "mantle", "vertex")}
    counted = agree(dialects, lambda client, model: client.messages.count_tokens(**{**request, "model": model}))
    body = invocation(SCENARIOS["tools"]).encode()
    given = runtime(cloud).count_tokens(modelId=IDS[0], input={"invokeModel": {"body": body}})
    assert given["inputTokens"] == counted["input_tokens"]
    refused = aws_error(lambda: runtime(cloud).count_tokens(modelId=f"us.{IDS[0]}", input={"invokeModel": {"body": body}}))
    assert refused[0] == "ValidationException"
