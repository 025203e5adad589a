"""A gateway with a store in a file, and the commands that operate it, as an operator runs them: the real program on both
sides."""

import contextlib
import json
import re
import subprocess
import urllib.error
import urllib.request

import pytest

import stack

TOKEN = "an-admin-token-that-is-long-enough"
MODEL = "claude-sonnet-4-5"


class Operated(stack.Gateway):
    """A gateway with a store and an admin token, and the commands that operate it."""

    def __init__(self, scratch, upstream, keys=stack.KEYS[:1], **options):
        server = {"drain_delay_s": 0, "drain_timeout_s": 1, "allow_private_upstreams": True}
        super().__init__(scratch, upstream, keys=keys, server=server, **options)
        self.more = {}

    def environment(self):
        return {**super().environment(), "HEADGATE_ADMIN_TOKEN": TOKEN, "HEADGATE_MASTER_KEY": "5a" * 32, **self.more}

    def restart(self):
        """The same process again, on the same ports."""
        self.__exit__()
        with self.log.open("ab") as log:
            command = [stack.binary(), *self.command(self.ports)]
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.scratch, env=self.environment()
            )
        stack.until(self._answers, "the gateway is up again")

    def variables(self, **more):
        own = {"HEADGATE_ADMIN_URL": f"http://127.0.0.1:{self.ports[1]}", "HEADGATE_ADMIN_TOKEN": TOKEN}
        variables = {**stack.Program.environment(), **own, **more}
        return {name: value for name, value in variables.items() if value is not None}

    def run(self, *arguments, given=None, **variables):
        """What a command comes to: `.returncode`, `.stdout`, `.stderr`."""
        return subprocess.run(
            [stack.binary(), *arguments], input=given or "", text=True, capture_output=True, timeout=60, env=self.variables(**variables)
        )

    def ok(self, *arguments, **options):
        """Standard output of a command that must succeed."""
        done = self.run(*arguments, **options)
        assert done.returncode == 0, f"{arguments}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    def json(self, *arguments, **options):
        return json.loads(self.ok(*arguments, "--json", **options))

    def rows(self, *arguments, **options):
        """A table as a list of dictionaries, by the columns that its headings begin."""
        return rows(self.ok(*arguments, **options))

    def call(self, key="any", model=MODEL, **body):
        """Status and answer of a request."""
        body = {"model": model, "max_tokens": 50, "messages": [{"role": "user", "content": "Hello."}], **body}
        headers = {"content-type": "application/json", "anthropic-version": "2023-06-01", "x-api-key": key}
        request = urllib.request.Request(f"{self.url}/v1/messages", json.dumps(body).encode(), headers)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=30) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)


@contextlib.contextmanager
def followed(gateway, *arguments):
    """`headgate events`, ended with the block."""
    command = [stack.binary(), "events", *arguments]
    with subprocess.Popen(command, env=gateway.variables(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as following:
        try:
            yield following
        finally:
            following.terminate()


def rows(table):
    heading, *lines = table.splitlines()
    starts = [match.start() for match in re.finditer(r"\S+", heading)]
    cut = lambda line: [line[a:b].strip() for a, b in zip(starts, [*starts[1:], None])]
    return [dict(zip(cut(heading), cut(line))) for line in lines]


@pytest.fixture
def operated(scratch, simulator):
    with Operated(scratch, simulator.url) as gateway:
        yield gateway


def by_name(items):
    return {item["name"]: item for item in items}
