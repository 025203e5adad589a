"""What README.md promises of its first command: `headgate serve --simulate` works as printed."""

import pathlib
import re
import shlex
import subprocess
import sys
import textwrap

import pytest

import stack


@pytest.fixture(scope="module")
def served(scratch):
    """The gateway with its built-in simulator, and what it printed to standard output."""
    ports = stack.free_ports(2)
    listen = {
        "HEADGATE__SERVER__LISTEN": f"127.0.0.1:{ports[0]}",
        "HEADGATE__SERVER__ADMIN_LISTEN": f"127.0.0.1:{ports[1]}",
        "HEADGATE__SERVER__DRAIN_DELAY_S": "0",
    }
    printed = scratch / "printed"
    with printed.open("wb") as out, (scratch / "logged").open("wb") as log:
        process = subprocess.Popen(
            [stack.binary(), "serve", "--simulate"],
            stdin=subprocess.DEVNULL, stdout=out, stderr=log, cwd=scratch, env={**stack.Program.environment(), **listen},
        )
    url = f"http://127.0.0.1:{ports[0]}"
    try:
        stack.until(lambda: answers(url, process), "the gateway is up")
        stack.until(lambda: "anthropic" in printed.read_text(), "the snippet is printed")
        yield url, printed.read_text()
    finally:
        process.terminate()
        process.wait(15)


def answers(url, process):
    assert process.poll() is None, "it ended"
    try:
        return stack.fetch(url + "/readyz")[0] == 200
    except OSError:
        return False


def run(command, **options):
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=stack.Program.environment(), **options)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_snippet_of_the_readme(served):
    url, _ = served
    readme = pathlib.Path(__file__).resolve().parents[2] / "README.md"
    snippet = re.search(r"```python\n(.*?)```", readme.read_text(), re.S)[1]
    assert run([sys.executable, "-c", snippet.replace("http://127.0.0.1:8080", url)]).strip()


def test_the_printed_snippet(served):
    url, printed = served
    lines = textwrap.dedent(printed).splitlines()
    first = next(at for at, line in enumerate(lines) if re.match(r"\s*(from|import) anthropic\b", line))
    snippet = textwrap.dedent("\n".join(lines[first:]))
    assert url in snippet
    assert run([sys.executable, "-c", snippet]).strip()


def test_the_printed_curl_line(served):
    url, printed = served
    joined = printed.replace("\\\n", " ")
    line = next(line.strip() for line in joined.splitlines() if line.strip().startswith("curl "))
    assert url in line
    try:
        answer = run(shlex.split(line))
    except FileNotFoundError:
        pytest.skip("curl is not installed")
    assert "message_stop" in answer or '"type":"message"' in answer.replace(" ", "")
