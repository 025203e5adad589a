"""LangChain's ChatAnthropic: what comes through the gateway equals what comes directly."""

import base64

import pytest
from langchain_anthropic import ChatAnthropic
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import tool

from test_messages import PIXEL


@tool
def get_weather(city: str, days: int = 1) -> str:
    """The weather of a city."""
    return f"{city}: fine for {days} days"


def chat(side, **options):
    return ChatAnthropic(
        model="claude-sonnet-5", max_tokens=2000, base_url=side.url, api_key=side.key, max_retries=0, **options
    )


def told(message: AIMessage):
    """What a message says, without the ids that must differ."""
    return {
        "content": message.content,
        "calls": message.tool_calls,
        "usage": message.usage_metadata,
        "stop": message.response_metadata.get("stop_reason"),
        "model": message.response_metadata.get("model_name"),
    }


PROMPTS = ["Say something.", "[[sim:scenario=unicode]]", "[[sim:scenario=max_tokens]]"]


@pytest.mark.parametrize("prompt", PROMPTS)
def test_invoke(sides, prompt):
    answer = sides.same(lambda side: told(chat(side).invoke(prompt)))
    assert answer["content"] and answer["usage"]["output_tokens"] > 0


@pytest.mark.parametrize("prompt", PROMPTS)
def test_stream(sides, prompt):
    def scenario(side):
        chunks = list(chat(side).stream(prompt))
        whole = chunks[0]
        for chunk in chunks[1:]:
            whole += chunk
        return [chunk.content for chunk in chunks], told(whole)

    chunks, whole = sides.same(scenario)
    assert len(chunks) > 2 and whole["content"]


@pytest.mark.parametrize("streaming", [False, True], ids=["whole", "streamed"])
def test_a_tool_round(sides, streaming):
    def scenario(side):
        model = chat(side, streaming=streaming).bind_tools([get_weather])
        question = HumanMessage("[[sim:scenario=tools]]")
        first = model.invoke([question])
        results = [ToolMessage(get_weather.invoke(call["args"]), tool_call_id=call["id"]) for call in first.tool_calls]
        second = model.invoke([question, first, *results, HumanMessage("Thanks.")])
        return told(first), told(second)

    first, second = sides.same(scenario)
    assert first["calls"][0]["name"] == "get_weather" and first["calls"][0]["args"]["city"]
    assert second["content"]


def test_thinking(sides):
    thinking = {"type": "enabled", "budget_tokens": 1024}
    answer = sides.same(lambda side: told(chat(side, thinking=thinking).invoke("[[sim:scenario=thinking]]")))
    assert answer["content"][0]["type"] == "thinking" and answer["content"][0]["signature"]


def test_an_image(sides):
    assert base64.b64decode(PIXEL)
    content = [{"type": "image", "base64": PIXEL, "mime_type": "image/png"}, {"type": "text", "text": "What is this?"}]
    assert sides.same(lambda side: told(chat(side).invoke([HumanMessage(content)])))["content"]


def test_tokens_are_counted(sides):
    count = lambda side: chat(side).get_num_tokens_from_messages([HumanMessage("How many?")])  # noqa: E731
    assert sides.same(count) > 0


def test_a_failure_is_the_sdks_own(fresh_sides):
    import anthropic

    def scenario(side):
        with pytest.raises(anthropic.APIStatusError) as raised:
            chat(side).invoke("[[sim:fault=overloaded]]")
        assert raised.value.request_id.startswith("req_")
        return type(raised.value).__name__, raised.value.status_code, raised.value.body["error"]

    name, status, body = fresh_sides.same(scenario)
    assert name.endswith("OverloadedError") and (status, body["type"]) == (529, "overloaded_error")
