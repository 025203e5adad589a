"""Each error class, as the official Python SDKs raise it: the same class, status, type and body through the gateway.

Runs with the newest SDK and with a 0.x one.
"""

import anthropic
import pytest

from stack import KEYS
from test_messages import ask

NEWEST = not anthropic.__version__.startswith("0.")
TYPED = {
    400: ("BadRequestError", "invalid_request_error"),
    401: ("AuthenticationError", "authentication_error"),
    403: ("PermissionDeniedError", "permission_error"),
    404: ("NotFoundError", "not_found_error"),
    413: ("ContentTooLargeError" if NEWEST else "RequestTooLargeError", "request_too_large"),
    422: ("UnprocessableEntityError", "invalid_request_error"),
    429: ("RateLimitError", "rate_limit_error"),
    500: ("InternalServerError", "api_error"),
    503: ("ServiceUnavailableError" if NEWEST else "InternalServerError", "api_error"),
    529: ("OverloadedError", "overloaded_error"),
}


def failure(call):
    """What a failed call tells: one flat dictionary."""
    with pytest.raises(anthropic.APIStatusError) as raised:
        call()
    error = raised.value
    body = error.body
    told = {
        "class": type(error).__name__,
        "status": error.status_code,
        "type": getattr(error, "type", body["error"]["type"]),
        "message": body["error"]["message"],
        "details": body["error"].get("details"),
    }
    # The id of the header, which is what the SDKs report, is the id of the body.
    assert error.request_id and error.request_id.startswith("req_")
    assert body["type"] == "error" and body["request_id"] == error.request_id
    return told


def of(side, prompt, **options):
    return failure(lambda: side.client().messages.create(**ask(prompt, **options)))


def is_typed(told, status):
    assert (told["class"], told["type"]) == TYPED[status] and told["status"] == status
    return True


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize(
    ("fault", "status"),
    [("bad_request", 400), ("too_large", 413), ("unprocessable", 422), ("not_found", 404), ("server_error", 500),
     ("unavailable", 503), ("overloaded", 529)],
)  # fmt: skip
def test_what_upstream_says_of_the_request_or_of_itself(fresh_sides, fault, status, streamed):
    told = fresh_sides.same(lambda side: of(side, f"[[sim:fault={fault}]]", stream=streamed))
    assert is_typed(told, status)


def test_a_request_the_api_refuses(sides):
    assert is_typed(sides.same(lambda side: of(side, "x", max_tokens=-1)), 400)


def test_an_unknown_model(fresh_sides):
    told = fresh_sides.same(lambda side: of(side, "x", model="gpt-nonesuch"))
    assert is_typed(told, 404)


def test_an_unknown_model_where_routes_name_the_known_ones(gateway, simulator):
    side = gateway(routes=[{"model": "claude-sonnet-*", "targets": [{"backend": "anthropic"}]}])
    assert is_typed(of(side, "x", model="claude-opus-5"), 404)
    assert simulator.requests() == []


def tenant(**options):
    return {"tenants": [{"name": "acme", "key": "value:hg-acme-0123456789abcdef", **options}]}


def test_a_wrong_client_key(gateway, simulator):
    side = gateway(**tenant())
    told = of(side, "x")
    assert is_typed(told, 401)
    assert simulator.requests() == []
    side.key = "hg-acme-0123456789abcdef"
    assert side.client().messages.create(**ask("x")).content


def test_a_model_the_tenant_may_not_use(gateway, simulator):
    side = gateway(**tenant(models=["claude-haiku-*"]))
    side.key = "hg-acme-0123456789abcdef"
    assert is_typed(of(side, "x"), 403)
    assert simulator.requests() == []
    assert side.client().messages.create(**ask("x", model="claude-haiku-5-5")).content


def test_a_body_over_the_limit_is_refused_readably(sides):
    text = "x" * (33 * 1024 * 1024)
    for side in (sides.direct, sides.gateway):
        told = failure(lambda: side.client(timeout=120).messages.create(**ask(text)))  # noqa: B023
        assert is_typed(told, 413)


def test_all_keys_rate_limited(fresh_sides):
    def scenario(side):
        with pytest.raises(anthropic.RateLimitError) as raised:
            side.client().messages.create(**ask("[[sim:fault=rate_limited,retry_after=37]]"))
        return raised.value

    for side in (fresh_sides.direct, fresh_sides.gateway):
        error = scenario(side)
        assert is_typed(failure(lambda: raise_(error)), 429)  # noqa: B023
        assert 36 <= int(error.response.headers["retry-after"]) <= 38
    # Every key is parked now: the answer is the gateway's own, with the time that is left.
    error = scenario(fresh_sides.gateway)
    assert is_typed(failure(lambda: raise_(error)), 429)
    assert 30 <= int(error.response.headers["retry-after"]) <= 38


def raise_(error):
    raise error


def test_an_error_in_the_middle_of_a_stream(fresh_sides):
    prompt = "[[sim:scenario=text,events=20,pace_ms=10,fault=error_event,error_type=overloaded_error,after_deltas=5]]"

    def scenario(side):
        seen = []
        with pytest.raises(anthropic.APIStatusError) as raised:
            with side.client().messages.create(**ask(prompt), stream=True) as stream:
                seen.extend(stream)
        error = raised.value
        assert error.request_id.startswith("req_")
        return seen, type(error).__name__, error.status_code, error.body["error"]

    seen, *_, body = fresh_sides.same(scenario)
    assert [event["type"] for event in seen].count("content_block_delta") == 5
    assert body["type"] == "overloaded_error"


def test_a_stream_cut_after_content_becomes_one_error_event(gateway):
    side = gateway()
    for kind in ("reset", "fin", "close", "end_early"):
        prompt = f"[[sim:scenario=text,events=20,fault={kind},after_deltas=5]]"
        with pytest.raises(anthropic.APIStatusError) as raised:
            with side.client().messages.stream(**ask(prompt)) as stream:
                stream.until_done()
        assert raised.value.body["type"] == "error", kind
        assert raised.value.request_id.startswith("req_")


def test_an_error_before_content_is_never_seen(gateway, simulator):
    side = gateway()

    def answer():
        with side.client().messages.stream(**ask("Unseen.")) as stream:
            return [event.type for event in stream], stream.get_final_message().content[0].text

    expected = answer()
    for kind in ("error_event", "end_early", "reset", "close"):
        simulator.reset()
        simulator.faults({"count": 1, "fault": {"kind": kind, "after_events": 2}})
        assert answer() == expected, kind
        assert len(simulator.requests()) == 2, kind


def test_a_dead_key_is_never_the_callers_401(gateway, simulator):
    side = gateway()
    for fault in ("invalid_key", "billing", "forbidden", "low_credit", "on_hold", "usage_limit"):
        simulator.faults({"count": 1, "fault": fault})
        assert side.client().messages.create(**ask("Still here?")).content, fault


def test_when_every_key_is_dead_the_caller_hears_503(gateway, simulator):
    for fault in ("invalid_key", "billing", "forbidden", "low_credit", "on_hold"):
        side = gateway(keys=KEYS[:3], relay={"max_wait_ms": 0})
        simulator.faults({"fault": fault})
        told = of(side, "Anyone?")
        assert is_typed(told, 503), fault
        assert "sim-org" not in str(told) and "org-a" not in str(told)


def test_the_sdk_retries_what_it_should_and_no_more(gateway, simulator):
    side = gateway(keys=KEYS[:1], relay={"max_wait_ms": 0, "max_attempts": 1})
    simulator.faults({"fault": "bad_request"})
    with pytest.raises(anthropic.BadRequestError):
        side.client(max_retries=2).messages.create(**ask("x"))
    assert len(simulator.requests()) == 1
