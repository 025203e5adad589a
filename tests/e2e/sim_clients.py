"""The simulator with accounts of both clouds, and official clients that ask it directly, without a gateway: what these accept is
what the gateway's backends are tried on."""

import json

import anthropic
import boto3
import botocore.config
import botocore.exceptions
import google.oauth2.service_account
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

import stack
from conftest import plain

MODEL = "claude-sonnet-5"
SCOPES = ["https://www.googleapis.com/auth/cloud-platform"]
IDS = [
    f"anthropic.{MODEL}",
    "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
    "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-sonnet-4-5-20250929-v1:0",
    "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc123",
]


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


def invocation(request, **more):
    body = {name: value for name, value in request.items() if name != "model"}
    return json.dumps({"anthropic_version": "bedrock-2023-05-31", **body, **more})


def aws_error(call):
    with pytest.raises(botocore.exceptions.ClientError) as raised:
        call()
    answer = raised.value.response
    return answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"], answer["Error"]["Message"]
