"""Session keys of AWS's default chain: from a stand-in for a container's credential endpoint into a signature, refreshed ahead."""

import datetime
import http.server
import json
import threading
import time

import stack


def test_a_container_s_keys_sign_and_are_refreshed_ahead(scratch):
    seen = {"keys": 0, "signed": []}

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            pass

        def reply(self, told):
            body = json.dumps(told).encode()
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self):
            seen["keys"] += 1
            end = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=4)
            self.reply({
                "AccessKeyId": f"AKID{seen['keys']}", "SecretAccessKey": "secret", "Token": f"session-{seen['keys']}",
                "Expiration": end.strftime("%Y-%m-%dT%H:%M:%SZ"),
            })

        def do_POST(self):
            self.rfile.read(int(self.headers["content-length"]))
            seen["signed"].append((self.headers["authorization"], self.headers["x-amz-security-token"]))
            self.reply({
                "id": "msg_bdrk_1", "type": "message", "role": "assistant", "model": "m", "content": [],
                "stop_reason": "end_turn", "stop_sequence": None, "usage": {"input_tokens": 1, "output_tokens": 1},
            })

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"

    class Bedrock(stack.Gateway):
        def environment(self):
            own = {"AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{url}/keys", "HOME": str(self.scratch)}
            return {**super().environment(), **own}

    gateway = Bedrock(scratch, "unused", keys=[], routes=[{"model": "*", "targets": [{"backend": "bedrock"}]}])
    gateway.config["backends"] = [{
        "name": "bedrock", "provider": "bedrock", "region": "us-east-1", "base_url": url,
        "keys": [{"name": "role", "credential_chain": "default"}],
    }]
    body = {"model": "anthropic.claude-x", "max_tokens": 8, "messages": [{"role": "user", "content": "Hi"}]}
    with gateway:
        end = time.monotonic() + 5
        while time.monotonic() < end:
            assert stack.fetch(gateway.url + "/v1/messages", "POST", body)[0] == 200
    server.shutdown()
    server.server_close()
    authorization, token = seen["signed"][0]
    assert authorization.startswith("AWS4-HMAC-SHA256 Credential=AKID1/") and token == "session-1"
    assert "x-amz-security-token" in authorization
    # At half of a life of some four seconds, whatever the traffic.
    assert 2 <= seen["keys"] <= 8 and len({token for _, token in seen["signed"]}) >= 2
