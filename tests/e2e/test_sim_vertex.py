"""The simulator as Google's official clients see it: tokens and assertions, refusals, errors."""

import importlib
import json
import sys
import threading
import time

import anthropic
import google.auth.exceptions
import google.auth.transport.requests
import google.oauth2.credentials
import pytest
import requests
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.auth import jwt
from google.auth.compute_engine import _metadata as metadata_server

import stack
from sim_clients import SCOPES, _cloud, cloud, private_key, service_account, vertex
from test_messages import ask


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
