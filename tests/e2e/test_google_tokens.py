"""Access tokens of Google amid traffic: a stand-in for Google verifies every assertion with PyJWT and every token by its clock."""

import concurrent.futures
import contextlib
import http.server
import json
import threading
import time

import anthropic
import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

import stack

KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
PEM = KEY.private_bytes(
    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
).decode()
EMAIL = "gateway@p.iam.gserviceaccount.com"
METADATA = "/computeMetadata/v1/instance/service-accounts/default/token"
MODELS = "/v1/projects/p/locations/europe-west1/publishers/anthropic/models/"
MESSAGE = {
    "id": "msg_vrtx_1", "type": "message", "role": "assistant", "model": "claude-sonnet-4-5-20250929",
    "content": [{"type": "text", "text": "Hello"}], "stop_reason": "end_turn", "stop_sequence": None,
    "usage": {"input_tokens": 3, "output_tokens": 2},
}
STREAM = [
    {"type": "message_start", "message": {**MESSAGE, "content": [], "stop_reason": None}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hello"}},
    {"type": "content_block_stop", "index": 0},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None}, "usage": {"output_tokens": 2}},
    {"type": "message_stop"},
]


class Google:
    """Token endpoint, metadata server and Vertex AI on one port."""

    def __init__(self):
        self.lock = threading.Lock()
        self.lifetime = 3600.0
        self.tokens = {}
        self.grants = self.refused = 0
        self.requests = []
        self.gate = threading.Event()
        self.gate.set()
        self.down = False
        self.revoked = False
        self.assertions = []

    def __enter__(self):
        google = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def do_GET(self):
                google.serve(self, b"")

            def do_POST(self):
                google.serve(self, self.rfile.read(int(self.headers["content-length"])))

        class Server(http.server.ThreadingHTTPServer):
            request_queue_size = 256

        self.server = Server(("127.0.0.1", 0), Handler)
        self.host = f"127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.gate.set()
        self.server.shutdown()
        self.server.server_close()

    def serve(self, call, body):
        if call.path == "/token":
            self.gate.wait(30)
            self.assertions.append(verified(body.decode()))
            self.grant(call)
        elif call.path == METADATA:
            assert call.headers["metadata-flavor"] == "Google"
            self.grant(call, {"metadata-flavor": "Google"})
        else:
            self.predict(call, body)

    def grant(self, call, headers=None):
        with self.lock:
            if self.down:
                return answer(call, 503, b"down")
            if self.revoked:
                return answer(call, 400, json.dumps({"error": "invalid_grant", "error_description": "gone"}).encode())
            self.grants += 1
            token = f"ya29.{self.grants}"
            self.tokens[token] = time.monotonic() + self.lifetime
        told = {"access_token": token, "expires_in": int(self.lifetime), "token_type": "Bearer"}
        answer(call, 200, json.dumps(told).encode(), headers)

    def predict(self, call, body):
        token = call.headers.get("authorization", "").removeprefix("Bearer ")
        with self.lock:
            self.requests.append((call.path, json.loads(body), dict(call.headers)))
            valid = self.tokens.get(token, 0) > time.monotonic()
            self.refused += not valid
        if not valid:
            error = {"code": 401, "message": "Request had invalid authentication credentials.", "status": "UNAUTHENTICATED"}
            return answer(call, 401, json.dumps([{"error": error}]).encode())
        if call.path.endswith(":streamRawPredict"):
            text = "".join(f"event: {each['type']}\ndata: {json.dumps(each)}\n\n" for each in STREAM)
            return answer(call, 200, text.encode(), {"content-type": "text/event-stream"})
        answer(call, 200, json.dumps(MESSAGE).encode())

    def forget(self):
        """Every token ceases to be valid."""
        with self.lock:
            self.tokens.clear()


def answer(call, status, body, headers=None):
    call.send_response(status)
    for name, value in {"content-type": "application/json", **(headers or {}), "content-length": str(len(body))}.items():
        call.send_header(name, value)
    call.end_headers()
    with contextlib.suppress(ConnectionError):
        call.wfile.write(body)


def verified(form):
    """The claims of a grant's assertion, judged as Google would."""
    fields = dict(each.split("=", 1) for each in form.split("&"))
    assert fields["grant_type"] == "urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer"
    header = jwt.get_unverified_header(fields["assertion"])
    assert header == {"typ": "JWT", "alg": "RS256", "kid": "kid-1"}
    claims = jwt.decode(
        fields["assertion"], KEY.public_key(), algorithms=["RS256"], audience="https://oauth2.googleapis.com/token",
        issuer=EMAIL, options={"require": ["exp", "iat", "iss", "aud"]},
    )
    assert claims["scope"] == "https://www.googleapis.com/auth/cloud-platform" and claims["exp"] - claims["iat"] == 3600
    return claims


class Vertex(stack.Gateway):
    """A gateway over the stand-in, with one key of a service account, or of the default chain."""

    def __init__(self, scratch, google, chain=False, **options):
        super().__init__(scratch, "unused", keys=[], **options)
        account = {
            "type": "service_account", "client_email": EMAIL, "private_key_id": "kid-1", "private_key": PEM,
            "token_uri": f"http://{google.host}/token", "quota_project_id": "billed",
        }
        (self.scratch / "sa.json").write_text(json.dumps(account))
        key = {"credential_chain": "default"} if chain else {"service_account": "file:sa.json"}
        self.google = google
        self.config["backends"] = [{
            "name": "vertex", "provider": "vertex", "project": "p", "location": "europe-west1",
            "base_url": f"http://{google.host}", "keys": [{"name": "sa", **key}],
        }]
        self.config["routes"] = [{"model": "*", "targets": [{"backend": "vertex"}]}]

    def environment(self):
        own = {"GCE_METADATA_HOST": self.google.host, "HOME": str(self.scratch)}
        return {**super().environment(), **own}

    def client(self, **options):
        return anthropic.Anthropic(base_url=self.url, api_key="any", **{"max_retries": 0, **options})

    def ask(self):
        """The status of one small request."""
        body = {"model": "claude-sonnet-4-5-20250929", "max_tokens": 8, "messages": [{"role": "user", "content": "Hi"}]}
        return stack.fetch(self.url + "/v1/messages", "POST", body, timeout=40)[0]

    def in_flight(self):
        text = stack.fetch(f"http://127.0.0.1:{self.ports[1]}/metrics")[1].decode()
        lines = [line for line in text.splitlines() if line.startswith("headgate_key_in_flight")]
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines)


@pytest.fixture
def google():
    with Google() as google:
        yield google


def test_fifty_concurrent_requests_wait_for_one_refresh(scratch, google):
    google.gate.clear()
    with Vertex(scratch, google) as gateway, concurrent.futures.ThreadPoolExecutor(50) as pool:
        asked = [pool.submit(gateway.ask) for _ in range(50)]
        stack.until(lambda: gateway.in_flight() == 50, "fifty requests wait")
        assert google.requests == []
        google.gate.set()
        assert [each.result() for each in asked] == [200] * 50
        assert (google.grants, google.refused, len(google.assertions)) == (1, 0, 1)
        assert {headers["x-goog-user-project"] for _, _, headers in google.requests} == {"billed"}


def test_no_request_fails_while_tokens_end_amid_traffic(scratch, google):
    google.lifetime = 2.0
    with Vertex(scratch, google) as gateway, concurrent.futures.ThreadPoolExecutor(8) as pool:
        end = time.monotonic() + 8

        def traffic():
            statuses = []
            while time.monotonic() < end:
                statuses.append(gateway.ask())
            return statuses

        statuses = sum((each.result() for each in [pool.submit(traffic) for _ in range(8)]), [])
        assert len(statuses) > 50 and set(statuses) == {200}
        assert google.refused == 0
        # Every second, at half of a token's life, whatever the traffic.
        assert 4 <= google.grants <= 12


def test_a_token_that_google_forgot_is_replaced_unseen_and_once(scratch, google):
    with Vertex(scratch, google) as gateway, concurrent.futures.ThreadPoolExecutor(20) as pool:
        assert gateway.ask() == 200
        google.forget()
        assert [each.result() for each in [pool.submit(gateway.ask) for _ in range(20)]] == [200] * 20
        assert google.grants == 2 and 1 <= google.refused <= 20


def test_a_metadata_server_may_be_down_at_the_start_and_later(scratch, google):
    google.down, google.lifetime = True, 4.0
    times = {"retry_first_ms": 50, "retry_max_ms": 200}
    with Vertex(scratch, google, chain=True, credentials=times, relay={"max_wait_ms": 0}) as gateway:
        assert gateway.ask() == 503
        google.down = False
        stack.until(lambda: gateway.ask() == 200, "served once it is up")
        google.down = True
        before = google.grants
        stack.until(lambda: gateway.ask() == 503, "the last token has ended")
        assert google.refused == 0 and google.grants == before
        google.down = False
        stack.until(lambda: gateway.ask() == 200, "served again")
        assert google.assertions == []


def test_a_revoked_account_is_told_once(scratch, google):
    google.revoked = True
    with Vertex(scratch, google, log={"format": "json"}, relay={"max_wait_ms": 0}) as gateway:
        assert [gateway.ask() for _ in range(3)] == [503] * 3
        lines = [json.loads(line) for line in gateway.log.read_text().splitlines() if line.startswith("{")]
        revoked = [line for line in lines if "revoked" in json.dumps(line)]
        assert len(revoked) == 1 and "invalid_grant" in json.dumps(revoked) and len(google.assertions) == 1
        assert "PRIVATE" not in gateway.log.read_text()


CALLS = [
    {},
    {"system": [{"type": "text", "text": "s", "cache_control": {"type": "ephemeral", "ttl": "1h"}}]},
    {"tools": [{"name": "f", "input_schema": {"type": "object"}, "cache_control": {"type": "ephemeral"}}], "metadata": {"user_id": "u"}},
]


@pytest.mark.parametrize("more", CALLS)
@pytest.mark.parametrize("stream", [False, True])
def test_the_official_vertex_client_sends_the_same_body(scratch, google, more, stream):
    call = {"model": "claude-sonnet-4-5@20250929", "max_tokens": 8, "messages": [{"role": "user", "content": "Hi"}], **more}
    own = {**call, "model": "claude-sonnet-4-5-20250929"}

    def run(client, call):
        if not stream:
            return client.messages.create(**call)
        with client.messages.stream(**call) as events:
            return events.get_final_message()

    with Vertex(scratch, google) as gateway:
        through = run(gateway.client(), own)
        google.tokens["direct"] = time.monotonic() + 60
        direct = anthropic.AnthropicVertex(
            access_token="direct", project_id="p", region="europe-west1", base_url=f"http://{google.host}/v1", max_retries=0
        )
        assert run(direct, call).model_dump() == through.model_dump()
    (path, body, _), (direct_path, direct_body, _) = google.requests
    for each in (body, direct_body):
        each.pop("anthropic_version")
    verb = "streamRawPredict" if stream else "rawPredict"
    assert path == f"{MODELS}claude-sonnet-4-5@20250929:{verb}" and direct_path.replace("%40", "@") == path
    assert body == direct_body
