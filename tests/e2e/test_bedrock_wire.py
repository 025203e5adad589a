"""The Bedrock dialect's bytes, judged by botocore: signatures of every form of model id, and event-stream frames both ways."""

import base64
import json
import os
import random
import subprocess
from datetime import datetime, timezone
from pathlib import Path
from unittest import mock

import pytest
from botocore import auth, compat
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.eventstream import ChecksumMismatch, EventStreamBuffer, InvalidPayloadLength

ROOT = Path(__file__).parents[2]
STREAMS = ROOT / "providers/src/bedrock/testdata/streams"
# A date whose day and hour have one digit.
WALL = datetime(2026, 3, 4, 5, 6, 7, tzinfo=timezone.utc)
SONNET = "anthropic.claude-sonnet-4-5-20250929-v1:0"
MODELS = [
    SONNET,
    f"us.{SONNET}",
    "global.anthropic.claude-opus-5",
    f"arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.{SONNET}",
    "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/a1b2c3",
    "arn:aws-us-gov:bedrock:us-gov-west-1:123456789012:provisioned-model/abc",
    "odd name/with ä ~ % ? # + & = * '()!@$,;..",
]


def wire(*questions):
    """Asks the dialect, built as an example next to the gateway."""
    target = Path(os.environ["HEADGATE_BIN"]).parent
    lines = "".join(json.dumps(question) + "\n" for question in questions)
    done = subprocess.run([target / "examples" / "bedrock_wire"], input=lines, capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def ask(model, **more):
    body = json.dumps({"model": "claude", "max_tokens": 8, "stream": False, "messages": [{"role": "user", "content": "é"}]})
    return {"encode": {
        "surface": "runtime", "operation": "messages", "model": model, "body": body, "region": "us-east-1",
        "headers": [["content-type", "application/json"], ["anthropic-version", "2023-06-01"], ["user-agent", "x"]],
        "authority": "bedrock-runtime.us-east-1.amazonaws.com", "base_path": "", "wall": int(WALL.timestamp()),
        "access_key_id": "AKIDEXAMPLE", "secret_access_key": "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", **more,
    }}


class Signer(auth.SigV4Auth):
    """botocore's own, which remembers its canonical request and signs only what we signed."""

    def __init__(self, *args, names):
        super().__init__(*args)
        self.names = names

    def headers_to_sign(self, request):
        headers = super().headers_to_sign(request)
        for name in set(headers.keys()) - set(self.names):
            del headers[name]
        return headers

    def canonical_request(self, request):
        self.canonical = super().canonical_request(request)
        return self.canonical


def judge(question, answer, service):
    """The signature that botocore makes for the very request that was sent."""
    asked = question["encode"]
    sent = dict(answer["headers"])
    authorization = sent["authorization"]
    names = authorization.split("SignedHeaders=")[1].split(",")[0].split(";")
    credentials = Credentials(asked["access_key_id"], asked["secret_access_key"], asked.get("session_token"))
    ours = {"authorization", "x-amz-date", "x-amz-security-token"}
    headers = {name: value for name, value in sent.items() if name not in ours}
    url = f"https://{asked['authority']}{answer['path']}"
    request = AWSRequest(method=answer["method"], url=url, data=answer["body"].encode(), headers=headers)
    signer = Signer(credentials, service, asked["region"], names=names)
    # Where botocore reads the time differs between its versions.
    with mock.patch.object(auth, "get_current_datetime", lambda *_, **__: WALL.replace(tzinfo=None), create=True):
        signer.add_auth(request)
    assert "host" in names and "x-amz-date" in names
    assert ("x-amz-security-token" in names) == ("session_token" in asked)
    assert sent["x-amz-date"] == request.context["timestamp"] == "20260304T050607Z"
    assert authorization == request.headers["Authorization"], signer.canonical
    return signer.canonical


@pytest.mark.parametrize("session", [None, "FwoGZXIvYXdzEBYaDH/+=" * 20])
@pytest.mark.parametrize("operation,stream", [("messages", False), ("messages", True), ("count_tokens", False)])
def test_signatures_are_those_of_botocore(operation, stream, session):
    models = [model for model in MODELS if operation == "messages" or "application" not in model and "provisioned" not in model]
    more = {"operation": operation, **({"session_token": session} if session else {})}
    questions = [ask(model, **more) for model in models]
    for question in questions:
        question["encode"]["body"] = question["encode"]["body"].replace("false", json.dumps(stream))
    for question, answer in zip(questions, wire(*questions), strict=True):
        judge(question, answer, "bedrock")


def test_the_canonical_path_is_the_sent_one_encoded_once_more():
    """The table of observed forms: what boto3 sends, and what it signs."""
    for model, sent, signed in [
        (f"us.{SONNET}", "v1%3A0/invoke", "v1%253A0/invoke"),
        (MODELS[3], "/model/arn%3Aaws%3Abedrock%3A", "/model/arn%253Aaws%253Abedrock%253A"),
        (MODELS[3], "inference-profile%2Fus.", "inference-profile%252Fus."),
    ]:
        question = ask(model)
        (answer,) = wire(question)
        assert sent in answer["path"]
        assert signed in judge(question, answer, "bedrock").splitlines()[1]


def test_paths_are_those_of_boto3():
    for model in MODELS:
        (answer,) = wire(ask(model))
        assert answer["path"] == f"/model/{compat.quote(model, safe='-._~')}/invoke"


@pytest.mark.parametrize("authority", ["127.0.0.1:8443", "vpce-1.bedrock-runtime.us-east-1.vpce.amazonaws.com", "[::1]:9"])
def test_other_hosts_and_base_paths_are_signed_as_sent(authority):
    question = ask(MODELS[1], authority=authority, base_path="/private/a:b")
    judge(question, wire(question)[0], "bedrock")


@pytest.mark.parametrize("query", [None, "beta=true", "b=2&a=1&beta=true"])
def test_mantle_is_signed_for_its_own_service(query):
    question = ask("anthropic.claude-opus-5", surface="mantle", authority="bedrock-mantle.us-east-1.api.aws",
                   base_path="/anthropic", query=query)
    (answer,) = wire(question)
    assert answer["path"] == "/anthropic/v1/messages" + (f"?{query}" if query else "")
    judge(question, answer, "bedrock-mantle")


def events(body):
    buffer = EventStreamBuffer()
    buffer.add_data(body)
    return list(buffer)


def split(body, sizes):
    at = 0
    for size in sizes:
        yield body[at : at + size]
        at += size
    yield body[at:]


WHOLE = [path for path in sorted(STREAMS.glob("*.bin")) if path.stem not in {"corrupt", "cut_amid_frame"}]


@pytest.mark.parametrize("path", WHOLE, ids=lambda path: path.stem)
def test_recorded_frames_read_alike(path):
    body = path.read_bytes()
    theirs = [(dict(event.headers), event.payload) for event in events(body)]
    for size in (1, 13, len(body) + 1):
        (answer,) = wire({"frames": base64.b64encode(body).decode(), "size": size})
        assert not answer["amid"]
        ours = [(frame["headers"], base64.b64decode(frame["payload"])) for frame in answer["frames"]]
        assert ours == theirs


def test_what_we_write_botocore_reads():
    draw = random.Random(7)
    frames = []
    for size in (0, 1, 2, 100, 65_536):
        for names in ([":message-type"], [":message-type", ":event-type", ":content-type"], [":error-message", "é"]):
            headers = {name: "ü" * draw.randrange(0, 90) for name in names}
            frames.append((headers, draw.randbytes(size)))
    written = wire(*({"frame": {"headers": headers, "payload": base64.b64encode(payload).decode()}} for headers, payload in frames))
    body = b"".join(base64.b64decode(frame) for frame in written)
    read = [(dict(event.headers), event.payload) for event in events(body)]
    assert read == frames
    # In any split, as theirs: their buffer and ours agree on where frames end.
    sizes = [draw.randrange(1, 4000) for _ in range(60)]
    buffer, pieces = EventStreamBuffer(), []
    for piece in split(body, sizes):
        buffer.add_data(piece)
        pieces.extend(event.payload for event in buffer)
    assert pieces == [payload for _, payload in frames]


def test_damage_is_a_fault_to_both():
    body = bytearray((STREAMS / "text.bin").read_bytes())
    for at in range(0, 400, 3):
        damaged = bytearray(body)
        damaged[at] ^= 0x40
        (answer,) = wire({"frames": base64.b64encode(damaged).decode(), "size": 100})
        assert answer == {"fault": "malformed"}, at
        with pytest.raises((ChecksumMismatch, InvalidPayloadLength)):
            events(bytes(damaged))


TOOL = {"name": "f", "description": "d", "input_schema": {"type": "object"}, "cache_control": {"type": "ephemeral", "ttl": "1h"}}
PDF = {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="}}
USED = [
    {"role": "user", "content": [{"type": "text", "text": "é", "cache_control": {"type": "ephemeral"}}, PDF]},
    {"role": "assistant", "content": [
        {"type": "thinking", "thinking": "Hm.", "signature": "EqQB+/=="},
        {"type": "redacted_thinking", "data": "EmwK=="},
        {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"a": None, "b": [1.5]}},
    ]},
    {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": [{"type": "text", "text": ""}, PDF]}]},
]
SAME = {
    "plain": {},
    "stream": {"stream": True},
    "system and sampling": {"system": "Be kind.", "stop_sequences": ["x"], "metadata": {"user_id": "u"}, "extra_body": {"top_k": 5}},
    "tools": {"tools": [TOOL], "tool_choice": {"type": "auto"}, "messages": USED},
    "thinking": {"thinking": {"type": "enabled", "budget_tokens": 1024}, "max_tokens": 2048},
    "unknown fields": {"extra_body": {"future": {"model": 1, "stream": None}}},
    "betas": {"extra_headers": {"anthropic-beta": "context-1m-2025-08-07,interleaved-thinking-2025-05-14"}},
    "a profile": {"extra_headers": {"anthropic-user-profile-id": "prof_1"}},
}


@pytest.mark.parametrize("name", SAME)
def test_bodies_are_those_of_the_official_client_of_bedrock(name):
    import anthropic
    import httpx2

    def sent(make, model, **options):
        requests = []

        def answer(request):
            requests.append(request)
            return httpx2.Response(500, json={})

        client = make(http_client=httpx2.Client(transport=httpx2.MockTransport(answer)), max_retries=0, **options)
        asked = {"max_tokens": 64, "messages": [{"role": "user", "content": "Hi"}], **SAME[name]}
        with pytest.raises(anthropic.APIStatusError):
            client.messages.create(model=model, **asked)
        return requests[0]

    model = f"us.{SONNET}"
    theirs = sent(anthropic.AnthropicBedrock, model, api_key="k", aws_region="us-east-1")
    ours = sent(anthropic.Anthropic, "claude-sonnet-4-5", api_key="k")
    question = ask(model, body=ours.content.decode(), headers=[[key.lower(), value] for key, value in ours.headers.items()],
                   betas=["context-1m-2025-08-07", "interleaved-thinking-2025-05-14"])
    (answer,) = wire(question)
    body, expected = json.loads(answer["body"]), json.loads(theirs.content)
    assert body.pop("anthropic_version") == "bedrock-2023-05-31" and expected.pop("anthropic_version")
    assert body == expected
    # They leave `:` as it is; both are the same path to whoever decodes it.
    assert answer["path"].replace("%3A", ":") == theirs.url.raw_path.decode().replace("%3A", ":")
