"""Canaries: every kind of secret is put in, and searched for, in clear, in base64, in hexadecimal and in pieces of 12
symbols, in everything that comes out."""

import base64
import contextlib
import http.server
import json
import random
import re
import string
import subprocess
import threading
import urllib.request

import pytest

import stack
from clouds import private_key
from operated import PROXYLESS, Operated

PIECE = 12
MESSAGE = {
    "id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": [{"type": "text", "text": "Hi."}],
    "stop_reason": "end_turn", "stop_sequence": None, "usage": {"input_tokens": 1, "output_tokens": 1},
}  # fmt: skip


class Canaries:
    """Secrets by name. Only what is random of them is searched for: everybody knows the rest."""

    def __init__(self):
        self.rng, self.pieces, self.of = random.SystemRandom(), {}, {}

    def new(self, name, length=40, alphabet=string.ascii_letters + string.digits):
        return self.add(name, "".join(self.rng.choices(alphabet, k=length)))

    def add(self, name, secret):
        self.of[name] = secret
        raw = secret.encode()
        forms = [secret, raw.hex(), raw.hex().upper()]
        for shift in range(3):
            # Whatever stands before it, base64 is one of three; the symbols at the seams are the neighbours' too.
            coded = base64.b64encode(bytes(shift) + raw).decode()[4:-4]
            forms += [coded, coded.replace("+", "-").replace("/", "_")]
        for form in forms:
            for at in range(len(form) - PIECE + 1):
                self.pieces.setdefault(form[at : at + PIECE], name)
        return secret

    def found(self, text, allowed=()):
        text = text if isinstance(text, str) else text.decode("latin-1")
        windows = (text[at : at + PIECE] for at in range(len(text) - PIECE + 1))
        return {self.pieces[window] for window in windows if window in self.pieces} - set(allowed)


class Upstream(http.server.ThreadingHTTPServer):
    """Takes any request and keeps what it said; answers well, echoes it in an error, or sends it elsewhere."""

    def __init__(self, manner="good", target=None):
        super().__init__(("127.0.0.1", 0), Answering)
        self.manner, self.target, self.seen = manner, target, []
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.access_token = None

    def __enter__(self):
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.shutdown()
        self.server_close()


    def handle_error(self, *_):
        """Callers hang up."""


class Answering(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self):
        body = self.rfile.read(int(self.headers.get("content-length") or 0)).decode("latin-1")
        said = f"{self.requestline}\n{self.headers}\n{body}"
        self.server.seen.append(said)
        status, headers, text = 200, {}, json.dumps(MESSAGE)
        if self.path == "/token":
            text = json.dumps({"access_token": self.server.access_token, "expires_in": 3600, "token_type": "Bearer"})
        elif self.server.manner == "redirect":
            status, headers, text = 307, {"location": self.server.target + self.path}, said
        elif self.server.manner == "echo":
            told = {"type": "error", "error": {"type": "authentication_error", "message": said}}
            status, text = 401, json.dumps(told)
        self.send_response(status)
        for name, value in {**headers, "content-type": "application/json", "content-length": str(len(text.encode()))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(text.encode())

    do_GET = do_POST = do_CONNECT = answer


def anthropic(name, url, secret, **more):
    return {"name": name, "provider": "anthropic", "base_url": url, "keys": [{"name": f"{name}-key", "secret": secret}], **more}


class Nest:
    """A gateway whose every secret is a canary, over upstreams of each manner."""

    def __init__(self, scratch, level):
        self.canaries, self.stack = Canaries(), contextlib.ExitStack()
        new, enter = self.canaries.new, self.stack.enter_context
        self.seen = {name: enter(Upstream(manner)) for name, manner in [("good", "good"), ("echo", "echo"), ("made", "good"), ("aws", "good"), ("vertex", "good"), ("proxied", "good")]}
        self.target = enter(Upstream())
        self.seen["redirect"] = enter(Upstream("redirect", self.target.url))
        self.proxy = enter(Upstream("echo"))
        environment = {f"CANARY_{name}": "sk-ant-api03-" + new(name) for name in ("good", "echo", "redirect", "proxied")}
        environment |= {"CANARY_tenant": new("tenant"), "CANARY_header": new("header")}
        environment |= {"CANARY_aws": new("aws"), "CANARY_session": new("aws session"), "CANARY_aws_id": "AKIA" + "EXAMPLE1"}
        environment["CANARY_proxy"] = f"http://user:{new('proxy')}@127.0.0.1:{self.proxy.server_address[1]}"
        pem = private_key()[0]
        self.canaries.add("account", "".join(pem.split("\n")[1:-2]))
        self.seen["vertex"].access_token = "ya29." + new("access token")
        account = {"type": "service_account", "project_id": "p", "private_key_id": "k", "private_key": pem, "client_email": "a@p.iam.gserviceaccount.com", "token_uri": self.seen["vertex"].url + "/token"}
        (scratch / "account.json").write_text(json.dumps(account))
        urls = {name: upstream.url for name, upstream in self.seen.items()}
        backends = [anthropic(name, urls[name], f"env:CANARY_{name}") for name in ("good", "echo", "redirect")]
        backends[0]["headers"] = {"x-canary": "env:CANARY_header"}
        backends.append(anthropic("proxied", urls["proxied"], "env:CANARY_proxied", proxy="env:CANARY_proxy"))
        signing = {"access_key_id": "env:CANARY_aws_id", "secret_access_key": "env:CANARY_aws", "session_token": "env:CANARY_session"}
        backends.append({"name": "aws", "provider": "bedrock", "region": "us-east-1", "base_url": urls["aws"], "keys": [{"name": "aws-key", **signing}]})
        backends.append({"name": "vertex", "provider": "vertex", "project": "p", "location": "global", "base_url": urls["vertex"], "keys": [{"name": "vertex-key", "service_account": f"file:{scratch / 'account.json'}"}]})
        self.routes = ["good", "echo", "redirect", "proxied", "aws", "vertex", "made"]
        options = {
            "backends": backends, "tenants": [{"name": "client", "key": "env:CANARY_tenant"}], "log": {"level": level, "format": "json"},
            "routes": [{"model": name, "targets": [{"backend": name, "model": "claude-sonnet-4-5"}]} for name in self.routes[:-1]],
            "relay": {"max_wait_ms": 50},
        }  # fmt: skip
        master = self.canaries.new("master key", 64, "0123456789abcdef")
        self.database = scratch / "canary.db"
        self.gateway = Operated(scratch, urls["good"], self.database, master=master, environment=environment, **options)
        for role, token in self.gateway.tokens.items():
            self.canaries.add(f"token of {role}", token.rsplit("-", 1)[1])

    def __enter__(self):
        self.stack.enter_context(self.gateway)
        return self

    def __exit__(self, *_):
        self.stack.close()

    def make(self):
        """What the admin API makes: a guarded secret of every kind. The answers that show a new key once are not kept."""
        gateway, new, url = self.gateway, self.canaries.new, self.seen["made"].url
        shown = [gateway.expect(201, "POST", "/backends", {"name": "made", "provider": "anthropic", "base_url": url, "headers": {"x-made": new("made header")}, "proxy": "none"})]
        shown.append(gateway.expect(201, "POST", "/keys", {"name": "made-key", "backend": "made", "secret": new("rotated")}))
        shown.append(gateway.expect(200, "POST", "/keys/made-key/rotate", {"secret": new("made")}))
        for kind, name in (("aws", "secret_access_key"), ("vertex", "service_account")):
            secret = new(f"made {kind}") if kind == "aws" else (self.database.parent / "account.json").read_text()
            more = {"access_key_id": "AKIAEXAMPLE2"} if kind == "aws" else {}
            shown.append(gateway.expect(201, "POST", "/keys", {"name": f"made-{kind}", "backend": kind, name: secret, **more}))
        shown.append(gateway.expect(201, "POST", "/routes", {"model": "made", "targets": [{"backend": "made"}]}))
        for kind, field in (("tenants", "key"), ("tokens", "token")):
            body = {"name": "made", **({"role": "viewer"} if kind == "tokens" else {})}
            made = gateway.expect(201, "POST", f"/{kind}", body, headers={"idempotency-key": f"make-{kind}"})
            self.canaries.add(f"made {field}", made[field].split("_", 1)[1])
        shown.append(gateway.ask("POST", "/keys", {"name": "wrong", "backend": "none", "secret": new("refused")})[1])
        shown.append(gateway.ask("POST", "/keys", {"name": "wrong", "backend": "made", "secret": new("two") + "\n" + new("lines")})[1])
        shown.append(gateway.ask("POST", "/keys", {"name": "wrong", "backend": "made", "sekret": new("misspelled")})[1])
        return shown

    def replies(self):
        """Every call's status, head and body."""
        said = []
        for model in self.routes:
            for stream in (False, True):
                said.append(self.post({"model": model, "max_tokens": 9, "stream": stream, "messages": [{"role": "user", "content": "Hi."}]}))
        said += [self.post(b"\xff\x00rubbish"), self.post({"model": {}}), self.post([])]
        key = self.canaries.of["tenant"]
        headers = {"x-api-key": key, "authorization": f"Bearer {key}"}
        said += [self.fetch(f"{self.gateway.url}{path}", headers=headers) for path in ("/v1/models", f"/v1/messages?key={key}")]
        # Who asks for a wrong path is told it back, and nobody else.
        self.fetch(f"{self.gateway.url}/{key}", headers=headers)
        unknown = {"x-api-key": self.canaries.new("unknown client")}
        said.append(self.fetch(f"{self.gateway.url}/v1/models", headers=unknown))
        guessed = {"authorization": f"Bearer {self.canaries.new('guessed token')}"}
        said.append(self.fetch(f"{self.gateway.plane}/admin/v1/keys", headers=guessed))
        return said

    def post(self, body):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"x-api-key": self.canaries.of["tenant"], "content-type": "application/json", "anthropic-version": "2023-06-01"}
        return self.fetch(f"{self.gateway.url}/v1/messages", data, headers)

    def fetch(self, url, data=None, headers=()):
        request = urllib.request.Request(url, data, dict(headers))
        try:
            with PROXYLESS.open(request, timeout=30) as answer:
                return f"{answer.status}\n{answer.headers}\n{answer.read().decode('latin-1')}"
        except urllib.error.HTTPError as error:
            with error:
                return f"{error.code}\n{error.headers}\n{error.read().decode('latin-1')}"

    def reads(self):
        """Every GET of the OpenAPI document, of every resource there is."""
        document = self.gateway.expect(200, "GET", "/openapi.json")
        for path, methods in document["paths"].items():
            if "get" not in methods or path.endswith("/events"):
                continue
            path = path.removeprefix("/admin/v1")
            names = [""]
            if "{" in path:
                names = [each["id"] for each in self.gateway.everything(path.split("/{")[0])]
            for name in names:
                yield path, self.gateway.expect(200, "GET", re.sub(r"\{[^}]*\}", name, path))
        for query in ("/usage/records?format=csv", "/usage/records?format=jsonl", "/usage?format=csv"):
            yield query, self.gateway.expect(200, "GET", query)

    def run(self, *arguments, environment=None):
        """What a command writes."""
        path = self.gateway.scratch / "headgate.yaml"
        arguments = [str(path) if each == "CONFIG" else each for each in arguments]
        found = {**self.gateway.environment(), **(environment or {})}
        done = subprocess.run([stack.binary(), *arguments], env=found, cwd=self.gateway.scratch, capture_output=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr


@pytest.mark.parametrize("level", ["debug", "trace"])
def test_no_secret_comes_out_anywhere(tmp_path, level):
    with Nest(tmp_path, level) as nest:
        gateway, events = nest.gateway, []

        def listen():
            request = urllib.request.Request(f"{gateway.plane}/admin/v1/events", headers={"authorization": f"Bearer {gateway.tokens['viewer']}"})
            with contextlib.suppress(OSError), PROXYLESS.open(request, timeout=60) as stream:
                events.extend(iter(lambda: stream.read1(65536), b""))

        listener = threading.Thread(target=listen, daemon=True)
        listener.start()
        places = {"answers of the admin API": json.dumps(nest.make()), "answers of the data plane": "\n".join(nest.replies())}
        for key in gateway.everything("/keys"):
            places[f"test of {key['id']}"] = json.dumps(gateway.ask("POST", f"/keys/{key['id']}/test")[1])
        gateway.expect(200, "POST", "/reseal")
        stack.until(lambda: len(gateway.everything("/usage/records")) >= 14, "usage is written")
        places |= {f"GET {path}": text if isinstance(text, (str, bytes)) else json.dumps(text) for path, text in nest.reads()}
        places["metrics"] = stack.fetch(f"{gateway.plane}/metrics")[1]
        operator = {"HEADGATE_ADMIN_URL": gateway.plane, "HEADGATE_ADMIN_TOKEN": gateway.tokens["admin"]}
        for arguments in (["export"], ["keys", "list"], ["keys", "list", "--json"], ["audit"], ["status"]):
            places[f"headgate {' '.join(arguments)}"] = nest.run(*arguments, environment=operator)
        places["headgate check"] = nest.run("check", "--config", "CONFIG")
        places["arguments of the process"] = open(f"/proc/{gateway.process.pid}/cmdline", "rb").read()
        stack.until(lambda: b"key." in b"".join(events), "events are told")
        database = b"".join(file.read_bytes() for file in sorted(tmp_path.glob("canary.db*")))
        assert b"made-key" in database
        places |= {"the database": database, "events": b"".join(events)}
    places["the database at rest"] = nest.database.read_bytes()
    places["the log"] = gateway.log.read_bytes()
    assert f'"{level.upper()}"'.encode() in places["the log"] or level in places["the log"].decode().lower(), "the log is that loud"
    leaks = {place: found for place, text in places.items() if (found := nest.canaries.found(text))}
    own = {"good": {"good", "header"}, "echo": {"echo"}, "made": {"made", "made header"}, "aws": {"aws session"}, "vertex": {"access token"}, "redirect": {"redirect"}}
    for name, upstream in nest.seen.items():
        if name != "proxied":
            assert upstream.seen, f"{name} was asked"
        if found := nest.canaries.found("\n".join(upstream.seen), own.get(name, ())):
            leaks[f"requests to {name}"] = found
    if found := nest.canaries.found("\n".join(nest.proxy.seen), {"proxy"}):
        leaks["requests to the proxy"] = found
    assert not nest.target.seen, "redirects are not followed"
    assert not leaks, leaks
