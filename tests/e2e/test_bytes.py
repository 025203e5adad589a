"""What goes over the wire, byte by byte, with no SDK between: the gateway adds and takes away nothing it should not."""

import http.client
import json
import re
import socket
import urllib.parse

import pytest

from stack import KEYS

JSON = {"content-type": "application/json", "anthropic-version": "2023-06-01"}
# Bytes that a parser and a printer would not give back: spacing, order, escapes, numbers, unknown fields.
ODD = (
    '{ "messages" : [\n\t{"role":"user","content":[{"type":"text","text":"caf\\u00e9 \\ud83d\\ude00 \\/ é 😀","x_new":'
    '{"b":1e2,"a":123456789012345678901234567890}}]}],"zz_unknown":[1.0,-0,1E+3,null],\r\n "max_tokens":64 ,'
    '"tools":[{"name":"t","input_schema":{"type":"object","required":null,"properties":{"b":{},"a":{}}}}],'
    '"model":"claude-sonnet-5" }\n'
).encode()
SECRET_HEADERS = re.compile(r"anthropic-(organization|workspace|ratelimit|priority|fast)|^set-cookie$|^cf-", re.I)


def send(url, path="/v1/messages", body=ODD, method="POST", headers=JSON, key=KEYS[0]):
    """Status, headers and body of one exchange."""
    connection = http.client.HTTPConnection(urllib.parse.urlsplit(url).netloc, timeout=30)
    try:
        connection.request(method, path, body, {"x-api-key": key, **headers})
        response = connection.getresponse()
        return response.status, dict(response.getheaders()), response.read()
    finally:
        connection.close()


def ask(text, **options):
    request = {"model": "claude-sonnet-5", "max_tokens": 500, "messages": [{"role": "user", "content": text}]}
    return json.dumps({**request, **options}).encode()


def without_ids(body):
    return re.sub(rb"\b(msg|req)_\w+", rb"\1_", body)


def test_the_request_arrives_as_it_was_sent(sides, simulator):
    for path in ("/v1/messages", "/v1/messages?beta=true", "/v1/messages/count_tokens", "/v1/messages?beta=true&x=%20y&x="):
        simulator.reset()
        for side in (sides.direct, sides.gateway):
            status, _, body = send(side.url, path)
            assert status == 200, body
        direct, through = simulator.requests()
        assert direct.body == ODD
        for what in ("method", "path", "query", "body"):
            assert getattr(through, what) == getattr(direct, what)


def test_forwarded_headers(sides, simulator):
    given = {
        **JSON,
        "anthropic-beta": "context-management-2025-06-27, unknown-beta-2030-01-01",
        "x-api-key": "sk-ant-api03-of-the-caller",
        "authorization": "Bearer also-of-the-caller",
        "cookie": "session=1",
        "connection": "keep-alive, x-hop",
        "x-hop": "1",
        "x-forwarded-for": "10.0.0.1",
    }
    assert send(sides.gateway.url, headers=given)[0] == 200
    (seen,) = simulator.requests()
    for name in ("anthropic-version", "anthropic-beta", "content-type"):
        assert seen.headers[name] == given[name]
    assert seen.headers["accept-encoding"] == "identity"
    for name in ("cookie", "x-hop", "x-forwarded-for"):
        assert name not in seen.headers
    assert "of-the-caller" not in json.dumps(seen.headers)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("scenario", ["unicode", "parallel_tools", "thinking", "redacted_thinking", "citations"])
def test_the_answer_arrives_as_upstream_wrote_it(sides, scenario, stream):
    body = ask(f"[[sim:scenario={scenario}]]", stream=stream)
    (status, direct_headers, direct), (_, headers, through) = (
        send(side.url, body=body) for side in (sides.direct, sides.gateway)
    )
    assert status == 200
    assert without_ids(through) == without_ids(direct)
    assert headers["content-type"] == direct_headers["content-type"]


def test_an_odd_answer_is_not_touched(sides, simulator):
    odd = '{"type":"message", "id":"msg_1","new":1e2,"é":"\\u00e9\\/", "content":[],"usage":{"input_tokens":1 ,"output_tokens":1}}\n'
    fault = {"kind": "raw", "status": 200, "body": odd, "headers": [["content-type", "application/json"], ["x-new", "1"]]}
    simulator.faults({"fault": fault})
    status, headers, body = send(sides.gateway.url)
    assert (status, body) == (200, odd.encode())
    assert headers["x-new"] == "1"


def test_nothing_of_a_pool_key_leaks(sides):
    _, direct, _ = send(sides.direct.url)
    assert any(SECRET_HEADERS.search(name) for name in direct), "upstream sends what must not leak"
    for body in (ODD, ask("x", stream=True), ask("[[sim:fault=bad_request]]"), b"{"):
        _, headers, answer = send(sides.gateway.url, body=body)
        assert not [name for name in headers if SECRET_HEADERS.search(name)]
        assert b"org-a" not in answer and b"sk-ant" not in answer
        assert not [value for value in headers.values() if "sk-ant" in value or re.search(r"\borg-[abc]", value)]


def test_added_headers(sides):
    _, headers, _ = send(sides.gateway.url)
    assert headers["x-headgate-backend"] == "anthropic"
    assert headers["x-headgate-attempts"] == "1"
    assert headers["x-headgate-queue-ms"].isdigit()
    assert headers["request-id"].startswith("req_")


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "kind"),
    [
        ("POST", "/v1/messages", b"{", 400, "invalid_request_error"),
        ("POST", "/v1/messages", b"[]", 400, "invalid_request_error"),
        ("POST", "/v1/messages", b"", 400, "invalid_request_error"),
        ("POST", "/v1/messages", b'{"model":1}', 400, "invalid_request_error"),
        ("POST", "/v1/messages", b'{"model":"a","model":"b"}', 400, "invalid_request_error"),
        ("POST", "/v1/nonesuch", b"{}", 404, "not_found_error"),
        ("GET", "/", None, 404, "not_found_error"),
        ("GET", "/v1/messages", None, 405, "invalid_request_error"),
        ("DELETE", "/v1/models", None, 405, "invalid_request_error"),
    ],
)
def test_what_the_gateway_says_itself_is_the_apis_envelope(sides, simulator, method, path, body, status, kind):
    got, headers, answer = send(sides.gateway.url, path, body, method)
    told = json.loads(answer)
    assert (got, told["type"], told["error"]["type"]) == (status, "error", kind)
    assert told["error"]["message"] and told["request_id"] == headers["request-id"]
    assert headers["content-type"].startswith("application/json")
    assert simulator.requests() == []


@pytest.mark.parametrize("refusal", [401, 413])
def test_an_early_answer_is_readable_by_a_client_still_sending(gateway, refusal):
    size = 20 * 1024 * 1024
    tenants = [{"name": "acme", "key": "value:hg-acme-0123456789abcdef"}]
    options = {"tenants": tenants} if refusal == 401 else {"server": {"max_body_bytes": 1024, "drain_delay_s": 0}}
    place = urllib.parse.urlsplit(gateway(**options).url)
    with socket.create_connection((place.hostname, place.port), timeout=30) as connection:
        head = f"POST /v1/messages HTTP/1.1\r\nhost: {place.netloc}\r\ncontent-length: {size}\r\nx-api-key: wrong\r\n\r\n"
        connection.sendall(head.encode())
        for _ in range(size // 65536):
            connection.sendall(b"x" * 65536)
        answer = connection.makefile("rb").readline()
    assert answer.startswith(f"HTTP/1.1 {refusal} ".encode())


def test_health_and_readiness(sides):
    for path in ("/healthz", "/readyz"):
        assert send(sides.gateway.url, path, None, "GET")[0] == 200
