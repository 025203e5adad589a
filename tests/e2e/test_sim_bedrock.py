"""The simulator as Bedrock's official clients see it: ids, signatures, frames that go wrong, exceptions."""

import json

import anthropic
import botocore.eventstream
import pytest

import stack
from sim_clients import IDS, MODEL, _cloud, aws_error, bedrock, cloud, invocation, private_key, runtime
from test_messages import SCENARIOS, ask


@pytest.mark.parametrize("model", IDS)
def test_boto3_invokes_by_id_and_by_arn(cloud, model):
    given = runtime(cloud).invoke_model(modelId=model, body=invocation(ask("Hello.")))
    message = json.loads(given["body"].read())
    headers = given["ResponseMetadata"]["HTTPHeaders"]
    assert message["type"] == "message" and message["model"].startswith("claude-sonnet-")
    assert headers["x-amzn-bedrock-output-token-count"] == str(message["usage"]["output_tokens"])
    assert "request-id" not in headers and not any(name.startswith("anthropic") for name in headers)
    recorded = cloud.control("requests")["requests"][-1]
    assert (recorded["dialect"], recorded["owner"], recorded["key"]) == ("bedrock", "aws", "signing")


def test_the_sdk_signs_ids_with_colons_and_slashes(cloud):
    for model in IDS[1:]:
        version = {"anthropic-version": "2023-06-01"}
        request = {**ask("Hello."), "model": model}
        given = bedrock(cloud).messages.create(**request, extra_body={"anthropic_version": "bedrock-2023-05-31"}, extra_headers=version)
        assert given.content


def test_boto3_streams_every_event_and_the_metrics(cloud):
    request = SCENARIOS["parallel tools"]
    stream = runtime(cloud).invoke_model_with_response_stream(modelId=IDS[0], body=invocation(request))["body"]
    events = [json.loads(each["chunk"]["bytes"]) for each in stream]
    client = anthropic.Anthropic(base_url=cloud.url, api_key=stack.KEYS[0])
    with client.messages.create(**request, stream=True, extra_headers={"anthropic-version": "2023-06-01"}) as first:
        kinds = [event.type for event in first if event.type != "ping"]
    assert [event["type"] for event in events] == kinds
    metrics = events[-1]["amazon-bedrock-invocationMetrics"]
    assert metrics["outputTokenCount"] == events[-2]["usage"]["output_tokens"] and "firstByteLatency" in metrics


@pytest.mark.parametrize(
    "credentials, code",
    [
        ({"secret": "wrong"}, "InvalidSignatureException"),
        ({"access": "AKIANOBODY"}, "UnrecognizedClientException"),
        ({"region": "eu-west-1"}, "InvalidSignatureException"),
        ({"access": "ASIASIM2", "secret": "s2"}, "UnrecognizedClientException"),
        ({"access": "ASIASIM2", "secret": "s2", "token": "other"}, "UnrecognizedClientException"),
        ({"access": "ASIASIM3", "secret": "s3", "token": "t"}, "ExpiredTokenException"),
    ],
)
def test_signatures_are_verified(cloud, credentials, code):
    client = runtime(cloud, **credentials)
    assert aws_error(lambda: client.invoke_model(modelId=IDS[0], body=invocation(ask("x"))))[:2] == (code, 403)


def test_a_session_is_accepted(cloud):
    client = runtime(cloud, "ASIASIM2", "s2", "tok==")
    assert client.invoke_model(modelId=IDS[0], body=invocation(ask("x")))["body"].read()


def test_mantle_accepts_signatures(cloud):
    client = anthropic.AnthropicBedrockMantle(
        base_url=cloud.url + "/anthropic", aws_access_key="AKIASIM1", aws_secret_key="secret/1+", aws_region="us-east-1", max_retries=0
    )
    assert client.messages.create(**{**ask("x"), "model": f"anthropic.{MODEL}"}).content
    client.aws_secret_key = "wrong"
    with pytest.raises(anthropic.AuthenticationError):
        client.messages.create(**{**ask("x"), "model": f"anthropic.{MODEL}"})


@pytest.mark.parametrize(
    "more, part",
    [
        ({"model": "x"}, "model: Extra inputs are not permitted"),
        ({"stream": True}, "stream: Extra inputs are not permitted"),
        ({"anthropic_version": "2026-13-13"}, "not a valid version"),
        ({"anthropic_beta": ["made-up-2026-01-01"]}, "invalid beta flag"),
        ({"temperature": None}, "found: Null"),
        ({"service_tier": "auto"}, "Extra inputs"),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "web_search_20250305"),
    ],
)
def test_bedrock_refuses_what_it_does_not_know(cloud, more, part):
    code, status, message = aws_error(lambda: runtime(cloud).invoke_model(modelId=IDS[0], body=invocation(ask("x"), **more)))
    assert (code, status) == ("ValidationException", 400) and part in message, message


def test_a_base_id_asks_for_a_profile(cloud):
    model = "anthropic.claude-sonnet-4-5-20250929-v1:0"
    _, status, message = aws_error(lambda: runtime(cloud).invoke_model(modelId=model, body=invocation(ask("x"))))
    assert status == 400 and "on-demand throughput" in message


def stream_error(cloud):
    """What botocore's stream raises, and how many events came before."""
    stream = runtime(cloud).invoke_model_with_response_stream(modelId=IDS[0], body=invocation(ask("x")))["body"]
    events = 0
    try:
        for _ in stream:
            events += 1
    except Exception as error:  # noqa: BLE001 - the kind is what is asked for
        return error, events
    return None, events


def test_frames_go_wrong_as_told(cloud):
    def struck(**fault):
        cloud.faults({"fault": fault})
        return stream_error(cloud)

    error, events = struck(kind="exception_frame")
    assert error.response["Error"]["Code"] == "throttlingException" and events == 0
    error, events = struck(kind="exception_frame", error_type="modelStreamErrorException", after_events=4)
    assert error.response["Error"]["Code"] == "modelStreamErrorException" and events == 4
    error, events = struck(kind="error_frame", error_type="Oops", after_events=1)
    assert error.response["Error"]["Code"] == "Oops" and events == 1
    assert isinstance(struck(kind="corrupt_crc")[0], botocore.eventstream.ChecksumMismatch)
    assert isinstance(struck(kind="corrupt_crc", prelude=True)[0], botocore.eventstream.ChecksumMismatch)
    assert isinstance(struck(kind="oversized_frame")[0], botocore.eventstream.InvalidPayloadLength)
    error, events = struck(kind="keep_alives")
    assert error is None and events > 10
    error, events = struck(kind="end_early", after_events=3, mid_event=True)
    assert events == 3
    error, events = struck(kind="pings", for_ms=30, every_ms=10)
    assert error is None


def test_the_sdk_skips_keep_alives_and_raises_exception_frames(cloud):
    request = {**ask("x"), "model": IDS[0]}
    cloud.faults({"fault": {"kind": "keep_alives"}})
    with bedrock(cloud).messages.create(**request, stream=True) as stream:
        assert [event.type for event in stream][-1] == "message_stop"
    cloud.faults({"fault": "exception_frame"})
    with pytest.raises(anthropic.APIStatusError) as raised:
        with bedrock(cloud).messages.create(**request, stream=True) as stream:
            list(stream)
    assert "throttlingException" in str(raised.value.body)


def test_exceptions_come_in_every_shape(cloud):
    def struck(**fault):
        cloud.faults({"fault": {"kind": "exception", **fault}})
        return aws_error(lambda: runtime(cloud).invoke_model(modelId=IDS[0], body=invocation(ask("x"))))

    assert struck(error_type="ModelNotReadyException")[:2] == ("ModelNotReadyException", 429)
    assert struck(error_type="ServiceQuotaExceededException", shape=["suffix"])[:2] == ("ServiceQuotaExceededException", 400)
    assert struck(error_type="ThrottlingException", shape=["bare", "typed", "capital"], message="slow")[::2] == ("ThrottlingException", "slow")
    cloud.faults({"fault": "overloaded"})
    refused = aws_error(lambda: runtime(cloud).invoke_model(modelId=IDS[0], body=invocation(ask("x"))))
    assert refused[:2] == ("ServiceUnavailableException", 503)


def test_a_large_max_tokens_throttles(cloud):
    cloud.control("limits/aws", "POST", [{"models": "*", "rpm": 0, "tpm": 10000}])
    call = lambda most: runtime(cloud).invoke_model(modelId=IDS[0], body=invocation({**ask("x"), "max_tokens": most}))
    code, status, message = aws_error(lambda: call(20000))
    assert (code, status) == ("ThrottlingException", 429) and message.startswith("Too many tokens")
    assert call(5000) and call(5000)
    cloud.control("limits/aws", "POST", [{"models": "*", "rpm": 1, "tpm": 0}])
    assert call(10) and aws_error(lambda: call(10))[2] == "Too many requests, please wait before trying again."
