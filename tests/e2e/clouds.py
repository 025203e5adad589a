"""A simulator that is Anthropic, AWS and Google at once, and gateways whose backends are all of them.

A model's name at these gateways is the name of the backend that serves it, so that one gateway offers every dialect.
"""

import contextlib
import functools
import json

import anthropic
import google.oauth2.service_account
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

import stack
from conftest import plain

MODEL = "claude-sonnet-5"
REGION = "us-east-1"
PROJECT = "my-project"
EMAIL = f"gateway@{PROJECT}.iam.gserviceaccount.com"
SCOPES = ["https://www.googleapis.com/auth/cloud-platform"]
# Every account has a cache of its own, so that what one backend wrote no other reads.
STATIC = {"access_key_id": "AKIASIM1", "secret_access_key": "secret/1+"}
SESSION = {"access_key_id": "ASIASIM2", "secret_access_key": "s2", "session_token": "tok=="}
NATIVE = {"access_key_id": "AKIASIM4", "secret_access_key": "s4"}
SECRETS = {
    "E2E_STATIC_ID": STATIC["access_key_id"], "E2E_SESSION_ID": SESSION["access_key_id"], "E2E_NATIVE_ID": NATIVE["access_key_id"],
    "E2E_STATIC": STATIC["secret_access_key"], "E2E_SESSION": SESSION["secret_access_key"],
    "E2E_SESSION_TOKEN": SESSION["session_token"], "E2E_BEARER": "bedrock-key", "E2E_NATIVE": NATIVE["secret_access_key"],
}  # fmt: skip
BACKENDS = ["anthropic", "static", "session", "bearer", "mantle", "vertex"]
RUNTIME = ["static", "session", "bearer"]


@functools.cache
def private_key():
    """A service account's key, as PEM: private, public."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    forms = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return key.private_bytes(*forms).decode(), public.decode()


def account(name, **key):
    return {"name": name, "region": REGION, "keys": [{"name": f"{name}-key", **key}]}


def simulator(scratch, **bedrock):
    accounts = [account("static", **STATIC), account("session", **SESSION), account("bearer", bearer="bedrock-key")]
    accounts.append(account("mantle", **NATIVE))
    key = {"name": "vertex-key", "client_email": EMAIL, "public_key": private_key()[1]}
    projects = [{"name": "vertex", "id": PROJECT, "keys": [key]}]
    return stack.Simulator(scratch, {"bedrock": {"accounts": accounts, **bedrock}, "vertex": {"projects": projects}})


def account_file(url):
    return {
        "type": "service_account", "project_id": PROJECT, "private_key_id": "k1", "private_key": private_key()[0],
        "client_email": EMAIL, "token_uri": f"{url}/token",
    }  # fmt: skip


def backends(url):
    """The backends by name, each with one key of the same name and `-key` after it."""
    def bedrock(name, surface="runtime", **key):
        return {"name": name, "provider": "bedrock", "surface": surface, "region": REGION, "base_url": url, "keys": [{"name": f"{name}-key", **key}]}

    signing = lambda name: {"access_key_id": f"env:E2E_{name}_ID", "secret_access_key": f"env:E2E_{name}"}
    every = [
        {"name": "anthropic", "provider": "anthropic", "base_url": url, "keys": [{"name": "anthropic-key", "secret": "env:E2E_KEY_0"}]},
        bedrock("static", **signing("STATIC")),
        bedrock("session", **signing("SESSION"), session_token="env:E2E_SESSION_TOKEN"),
        bedrock("bearer", bearer_token="env:E2E_BEARER"),
        {**bedrock("mantle", "mantle", **signing("NATIVE")), "base_url": f"{url}/anthropic"},
        {"name": "vertex", "provider": "vertex", "project": PROJECT, "location": "global", "base_url": url,
         "keys": [{"name": "vertex-key", "service_account": "file:account.json"}]},
    ]  # fmt: skip
    return {each["name"]: each for each in every}


def upstream_model(backend):
    """The model's name at a backend; its version is the older one, which every model takes."""
    return {"anthropic": MODEL, "mantle": f"anthropic.{MODEL}", "vertex": MODEL}.get(backend, f"us.anthropic.{MODEL}")


class Clouds(stack.Gateway):
    """A gateway over all of them. `tiers` names the backends of the model MODEL, tier by tier."""

    def __init__(self, scratch, url, tiers=(), **options):
        # The organization's second key, so that what is asked directly with the first shares nothing but the limits.
        super().__init__(scratch, url, keys=[stack.KEYS[2]], log={"format": "json"}, **options)
        self.secrets |= SECRETS
        (self.scratch / "account.json").write_text(json.dumps(account_file(url)))
        self.config["backends"] = list(backends(url).values())
        target = lambda name: {"backend": name, "model": upstream_model(name)}
        routes = [{"model": name, "targets": [target(name)]} for name in BACKENDS]
        # An overload rests a tier about as long as a call would wait for it: whether it does is not the question here.
        over = {"model": MODEL, "spill_after_ms": 0, "targets": [target(name) for name in tiers]}
        self.config["routes"] = routes + [over] * bool(tiers)

    def client(self, **options):
        return anthropic.Anthropic(base_url=self.url, api_key="any", **{"max_retries": 0, "timeout": 60, **options})

    def records(self):
        """The log lines of requests."""
        lines = [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]
        return [each for each in lines if each["target"] == "headgate::request"]


@contextlib.contextmanager
def running(scratch, **gateway):
    with simulator(scratch) as sim, Clouds(scratch, sim.url, **gateway) as gate:
        yield sim, gate


def aws_client(sim, **options):
    keys = {} if "api_key" in options else {"aws_access_key": STATIC["access_key_id"], "aws_secret_key": STATIC["secret_access_key"]}
    return anthropic.AnthropicBedrock(base_url=sim.url, aws_region=REGION, max_retries=0, **keys, **options)


def mantle_client(sim):
    return anthropic.AnthropicBedrockMantle(
        base_url=f"{sim.url}/anthropic", aws_access_key=NATIVE["access_key_id"], aws_secret_key=NATIVE["secret_access_key"],
        aws_region=REGION, max_retries=0,
    )  # fmt: skip


def google_client(sim):
    credentials = google.oauth2.service_account.Credentials.from_service_account_info(account_file(sim.url), scopes=SCOPES)
    return anthropic.AnthropicVertex(
        base_url=f"{sim.url}/v1", region="global", project_id=PROJECT, credentials=credentials, max_retries=0
    )


def same(value):
    """Comparable across dialects: ids lose what differs."""
    value = plain(value)
    if isinstance(value, dict):
        return {name: same(each) for name, each in value.items()}
    if isinstance(value, list):
        return [same(each) for each in value]
    if isinstance(value, str) and value.startswith(("toolu_", "srvtoolu_")):
        return value.split("_")[0]
    return value
