"""Both sides of every scenario: the simulator asked directly, and the same simulator behind a gateway."""

import contextlib
import os

import pytest

import stack

for name in list(os.environ):
    if name.startswith(("ANTHROPIC_", "LANGCHAIN_", "LANGSMITH_", "AWS_", "GOOGLE_", "GCE_", "CLOUD_")) or name.lower().endswith("_proxy"):
        del os.environ[name]


class Side:
    """One place to send requests to."""

    def __init__(self, name, url, key=stack.KEYS[0]):
        self.name, self.url, self.key = name, url, key

    def __repr__(self):
        return self.name

    def client(self, **options):
        import anthropic

        return anthropic.Anthropic(base_url=self.url, api_key=self.key, **{"max_retries": 0, **options})

    def async_client(self, **options):
        import anthropic

        return anthropic.AsyncAnthropic(base_url=self.url, api_key=self.key, **{"max_retries": 0, **options})


class Sides:
    """The same scenario, directly and through the gateway."""

    def __init__(self, direct, gateway):
        self.direct, self.gateway = direct, gateway

    def same(self, scenario):
        """Runs the scenario on both sides and returns what both gave."""
        direct = plain(scenario(self.direct))
        through = plain(scenario(self.gateway))
        assert through == direct
        return direct


def plain(value):
    """A value made comparable: SDK objects become dictionaries, ids that must differ lose their random part."""
    if hasattr(value, "model_dump"):
        value = {"": type(value).__name__, **value.model_dump()}
    if isinstance(value, dict):
        return {name: plain(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    if isinstance(value, str) and value.startswith(("msg_", "req_")):
        return value[:4]
    return value


@pytest.fixture(scope="session")
def scratch(tmp_path_factory):
    return tmp_path_factory.mktemp("stack")


@pytest.fixture(scope="session")
def _simulator(scratch):
    with stack.Simulator(scratch) as simulator:
        yield simulator


@pytest.fixture(scope="session")
def _gateway(scratch, _simulator):
    with stack.Gateway(scratch, _simulator.url) as gateway:
        yield gateway


@pytest.fixture
def simulator(_simulator):
    """The simulator, without faults and with nothing recorded."""
    _simulator.reset()
    return _simulator


@pytest.fixture
def sides(simulator, _gateway):
    """For scenarios that park no key: one gateway serves them all."""
    return Sides(Side("direct", simulator.url), Side("gateway", _gateway.url))


@pytest.fixture
def gateway(scratch, simulator):
    """Starts a gateway of the test's own: `gateway(keys=..., **options)`."""
    running = []

    def start(**options):
        running.append(stack.Gateway(scratch, simulator.url, **options).__enter__())
        return Side("gateway", running[-1].url)

    yield start
    for each in running:
        each.__exit__()


@pytest.fixture
def operated(scratch, simulator):
    """Starts a gateway of the test's own with an admin API: `operated(**options)`."""
    with contextlib.ExitStack() as running:
        yield lambda **options: running.enter_context(stack.AdminGateway(scratch, simulator.url, **options))


@pytest.fixture
def fresh_sides(simulator, gateway):
    """For scenarios that park keys: a gateway of its own, that does not wait for them."""
    return Sides(Side("direct", simulator.url), gateway(relay={"max_wait_ms": 50}))
