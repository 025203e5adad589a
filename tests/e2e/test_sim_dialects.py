"""The simulator's dialects as their official clients see them: the same scenario gives the same objects everywhere.

Directly against the simulator, without a gateway: what these clients accept is what the gateway's backends are tried on.
"""

import copy
import importlib
import json
import sys
import threading
import time

import anthropic
import boto3
import botocore.config
import botocore.eventstream
import botocore.exceptions
import google.auth.exceptions
import google.auth.transport.requests
import google.oauth2.credentials
import google.oauth2.service_account
import pytest
import requests
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.auth import jwt
from google.auth.compute_engine import _metadata as metadata_server

import stack
from conftest import plain
from test_messages import SCENARIOS, ask, spoken

MODEL = "claude-sonnet-5"
SCOPES = ["https://www.googleapis.com/auth/cloud-platform"]
scenarios = pytest.mark.parametrize("request_", SCENARIOS.values(), ids=SCENARIOS.keys())


@pytest.fixture(scope="module")
def private_key():
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    forms = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return key.private_bytes(*forms).decode(), public.decode()


@pytest.fixture(scope="module")
def _cloud(scratch, private_key):
    config = {
        "bedrock": {
            "accounts": [
                {
                    "name": "aws",
                    "region": "us-east-1",
                    "profiles": [{"id": "abc123", "model": MODEL}],
                    "keys": [
                        {"name": "signing", "access_key_id": "AKIASIM1", "secret_access_key": "secret/1+"},
                        {"name": "session", "access_key_id": "ASIASIM2", "secret_access_key": "s2", "session_token": "tok=="},
                        {"name": "over", "access_key_id": "ASIASIM3", "secret_access_key": "s3", "session_token": "t", "expires_s": 0},
                        {"name": "bearer", "bearer": "bedrock-key"},
                    ],
                }
            ]
        },
        "vertex": {
            "projects": [
                {
                    "name": "gcp",
                    "id": "my-project",
                    "retry_info": True,
                    "keys": [
                        {"name": "service", "client_email": "sa@my-project.iam.gserviceaccount.com", "public_key": private_key[1]},
                        {"name": "user", "refresh_token": "1//r", "client_id": "c", "client_secret": "s"},
                        {"name": "machine", "metadata": True},
                    ],
                }
            ]
        },
    }
    with stack.Simulator(scratch, config) as simulator:
        yield simulator


@pytest.fixture
def cloud(_cloud):
    _cloud.reset()
    return _cloud


def bedrock(cloud, **options):
    keys = {} if "api_key" in options else {"aws_access_key": "AKIASIM1", "aws_secret_key": "secret/1+"}
    return anthropic.AnthropicBedrock(
        base_url=cloud.url, **{"aws_region": "us-east-1", "max_retries": 0, **keys, **options}
    )


def mantle(cloud, **options):
    return anthropic.AnthropicBedrockMantle(
        base_url=cloud.url + "/anthropic", api_key="bedrock-key", aws_region="us-east-1", max_retries=0, **options
    )


def service_account(cloud, keys, **changed):
    info = {
        "type": "service_account",
        "project_id": "my-project",
        "private_key_id": "k1",
        "private_key": keys[0],
        "client_email": "sa@my-project.iam.gserviceaccount.com",
        "token_uri": cloud.url + "/token",
    }
    return google.oauth2.service_account.Credentials.from_service_account_info({**info, **changed}, scopes=SCOPES)


def vertex(cloud, credentials, region="global"):
    return anthropic.AnthropicVertex(
        base_url=cloud.url + "/v1", region=region, project_id="my-project", credentials=credentials, max_retries=0
    )


def runtime(cloud, access="AKIASIM1", secret="secret/1+", token=None, region="us-east-1"):
    return boto3.client(
        "bedrock-runtime",
        region_name=region,
        endpoint_url=cloud.url,
        aws_access_key_id=access,
        aws_secret_access_key=secret,
        aws_session_token=token,
        config=botocore.config.Config(retries={"max_attempts": 0}, proxies={}),
    )


@pytest.fixture
def dialects(cloud, private_key):
    """A client of each dialect and the name of the model there."""
    return {
        "anthropic": (anthropic.Anthropic(base_url=cloud.url, api_key=stack.KEYS[0], max_retries=0), MODEL),
        "bedrock": (bedrock(cloud), f"us.anthropic.{MODEL}"),
        "bedrock bearer": (bedrock(cloud, api_key="bedrock-key"), f"anthropic.{MODEL}"),
        "mantle": (mantle(cloud), f"anthropic.{MODEL}"),
        "vertex": (vertex(cloud, service_account(cloud, private_key)), MODEL),
    }


def same(value):
    """Comparable across dialects: ids and what a client adds of its own go."""
    value = plain(value)
    if isinstance(value, dict):
        gone = "amazon_bedrock_invocation_metrics", "amazon-bedrock-invocationMetrics"
        return {name: same(each) for name, each in value.items() if name not in gone}
    if isinstance(value, list):
        return [same(each) for each in value]
    if isinstance(value, str) and value.startswith(("toolu_", "srvtoolu_")):
        return value.split("_")[0]
    return value


def agree(dialects, scenario):
    """Runs the scenario in each dialect; every one must give what Anthropic gives."""
    given = {name: same(scenario(client, model)) for name, (client, model) in dialects.items()}
    first = given.pop("anthropic")
    for name, each in given.items():
        assert each == first, name
    return first


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


def invocation(request, **more):
    body = {name: value for name, value in request.items() if name != "model"}
    return json.dumps({"anthropic_version": "bedrock-2023-05-31", **body, **more})


IDS = [
    f"anthropic.{MODEL}",
    "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
    "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-sonnet-4-5-20250929-v1:0",
    "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc123",
]


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


def test_tokens_are_counted_alike(cloud, dialects, private_key):
    request = {name: value for name, value in SCENARIOS["tools"].items() if name != "max_tokens"}
    dialects = {name: dialects[name] for name in ("anthropic", "mantle", "vertex")}
    counted = agree(dialects, lambda client, model: client.messages.count_tokens(**{**request, "model": model}))
    body = invocation(SCENARIOS["tools"]).encode()
    given = runtime(cloud).count_tokens(modelId=IDS[0], input={"invokeModel": {"body": body}})
    assert given["inputTokens"] == counted["input_tokens"]
    refused = aws_error(lambda: runtime(cloud).count_tokens(modelId=f"us.{IDS[0]}", input={"invokeModel": {"body": body}}))
    assert refused[0] == "ValidationException"


def aws_error(call):
    with pytest.raises(botocore.exceptions.ClientError) as raised:
        call()
    answer = raised.value.response
    return answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"], answer["Error"]["Message"]


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


def issued(cloud, key):
    return next(each for each in cloud.control("stats")["keys"] if each["name"] == key)["tokens_issued"]


def test_one_token_serves_many_calls_until_it_expires(cloud, private_key):
    client = vertex(cloud, service_account(cloud, private_key))
    for _ in range(3):
        assert client.messages.create(**ask("x")).content
    assert issued(cloud, "service") == 1
    cloud.control("tokens/expire", "POST")
    with pytest.raises(anthropic.AuthenticationError) as raised:
        client.messages.create(**ask("x"))
    assert raised.value.body["error"]["status"] == "UNAUTHENTICATED"


def test_every_source_of_tokens(cloud):
    request = google.auth.transport.requests.Request()
    user = google.oauth2.credentials.Credentials(
        None, refresh_token="1//r", client_id="c", client_secret="s", token_uri=cloud.url + "/token"
    )
    user.refresh(request)
    assert vertex(cloud, user).messages.create(**ask("x")).content
    assert issued(cloud, "user") == 1
    user = google.oauth2.credentials.Credentials(
        None, refresh_token="gone", client_id="c", client_secret="s", token_uri=cloud.url + "/token"
    )
    with pytest.raises(google.auth.exceptions.RefreshError) as raised:
        user.refresh(request)
    assert "invalid_grant" in str(raised.value)


def test_the_metadata_server_hands_out_the_same_token(cloud, monkeypatch):
    monkeypatch.setenv("GCE_METADATA_HOST", cloud.url.removeprefix("http://"))
    monkeypatch.setitem(sys.modules, metadata_server.__name__, metadata_server)
    # The module reads its host once, when it is loaded.
    metadata = importlib.reload(metadata_server)
    request = google.auth.transport.requests.Request()
    first, expires = metadata.get_service_account_token(request)
    second, _ = metadata.get_service_account_token(request)
    assert first == second and expires and issued(cloud, "machine") == 1
    assert metadata.get_project_id(request) == "my-project"
    status, _ = stack.fetch(cloud.url + "/computeMetadata/v1/instance/service-accounts/default/token")
    assert status == 403


@pytest.mark.parametrize("changed", [{"client_email": "nobody@x"}, {"private_key": None}], ids=["account", "key"])
def test_assertions_are_verified(cloud, private_key, changed):
    if "private_key" in changed:
        other = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        forms = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        changed = {"private_key": other.private_bytes(*forms).decode()}
    credentials = service_account(cloud, private_key, **changed)
    with pytest.raises(google.auth.exceptions.RefreshError) as raised:
        credentials.refresh(google.auth.transport.requests.Request())
    assert "invalid_grant" in str(raised.value)


def test_an_assertion_is_for_us_now_and_for_this_scope(cloud, private_key):
    signer = service_account(cloud, private_key).signer
    now = int(time.time())
    good = {"iss": "sa@my-project.iam.gserviceaccount.com", "aud": cloud.url + "/token", "iat": now, "exp": now + 3600, "scope": SCOPES[0]}

    def grant(**changed):
        form = {"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": jwt.encode(signer, {**good, **changed})}
        answer = requests.post(cloud.url + "/token", data=form, timeout=10)
        return answer.status_code, answer.json().get("error")

    assert grant() == grant(aud="https://oauth2.googleapis.com/token") == (200, None)
    for changed in ({"aud": "https://elsewhere/token"}, {"exp": now + 7200}, {"iat": now - 7200, "exp": now - 3700}, {"iat": now + 900}):
        assert grant(**changed) == (400, "invalid_grant"), changed
    assert grant(scope="openid") == (400, "invalid_scope")
    assert requests.post(cloud.url + "/token", data={"grant_type": "x"}, timeout=10).json()["error"] == "unsupported_grant_type"


def test_the_token_endpoint_fails_and_comes_back(cloud, private_key):
    cloud.faults({"paths": ["/token"], "count": 2, "fault": "unavailable"})
    credentials = service_account(cloud, private_key)
    credentials.refresh(google.auth.transport.requests.Request())
    assert credentials.valid and issued(cloud, "service") == 1


def google_error(call):
    with pytest.raises(anthropic.APIStatusError) as raised:
        call()
    body = raised.value.body
    return raised.value.status_code, body[0]["error"] if isinstance(body, list) else body["error"]


def test_vertex_refuses_what_it_does_not_know(cloud, private_key):
    client = vertex(cloud, service_account(cloud, private_key))
    cases = [
        ({"extra_body": {"service_tier": "auto"}}, "Extra inputs"),
        ({"extra_headers": {"anthropic-beta": "made-up-2026-01-01"}}, "anthropic-beta"),
        ({"extra_query": {"beta": "true"}}, "beta"),
    ]
    for options, part in cases:
        status, error = google_error(lambda: client.messages.create(**ask("x"), **options))
        assert status == 400 and part in error["message"], error
    image = {"type": "image", "source": {"type": "url", "url": "https://x.example/x.png"}}
    status, error = google_error(lambda: client.messages.create(**ask([image])))
    assert status == 400 and "not supported" in error["message"]


def test_googles_errors_are_wrapped_on_streams(cloud, private_key):
    client = vertex(cloud, service_account(cloud, private_key))
    cloud.control("limits/gcp", "POST", [{"zero": True}])
    for streams in (False, True):
        with pytest.raises(anthropic.RateLimitError) as raised:
            client.messages.create(**ask("x"), stream=streams)
        body = json.loads(raised.value.response.text)
        assert isinstance(body, list) == streams
        error = (body[0] if streams else body)["error"]
        assert error["status"] == "RESOURCE_EXHAUSTED" and "global_online_prediction_requests_per_base_model" in error["message"]
        assert error["details"][0]["retryDelay"].endswith("s")
    cloud.control("limits/gcp", "POST", [{}])
    cloud.faults({"fault": "shared_capacity"})
    assert google_error(lambda: client.messages.create(**ask("x")))[1]["message"] == "Resource exhausted, please try again later."


def test_fifty_calls_at_once(cloud, private_key):
    client = vertex(cloud, service_account(cloud, private_key))
    failed = []

    def call():
        try:
            client.messages.create(**ask("x"))
        except Exception as error:  # noqa: BLE001 - collected for the assertion
            failed.append(error)

    threads = [threading.Thread(target=call) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
