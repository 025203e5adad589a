"""The chart as Helm renders it, and a configuration as the program reads it."""

import functools
import os
import pathlib
import re
import subprocess
import sys

import helm_python
import yaml

CHARTS = pathlib.Path(__file__).resolve().parents[1]
ROOT = CHARTS.parent
CHART = CHARTS / "headgate"
EXAMPLES = sorted((CHART / "ci").glob("*.yaml"))
SECRETS = "/run/secrets/headgate/"

sys.path.insert(0, str(ROOT / "tests" / "e2e"))
import stack  # noqa: E402  (the processes of the SDK tests: ports, waiting, the simulator)


def binary():
    program = pathlib.Path(stack.binary())
    assert program.exists(), f"{program} is missing: `cargo build`, or name one in HEADGATE_BIN"
    return program


@functools.cache
def loaded():
    return helm_python.Chart.load(str(CHART))


def example(name):
    return yaml.safe_load((CHART / "ci" / f"{name}.yaml").read_text())


def defaults():
    return yaml.safe_load((CHART / "values.yaml").read_text())


def nested(path, value):
    """{"a.b": 1} as {"a": {"b": 1}}."""
    for part in reversed(path.split(".")):
        value = {part: value}
    return value


def merged(*layers):
    """Values over values, as `helm -f ONE -f TWO` merges them."""
    result = {}
    for layer in layers:
        for name, value in layer.items():
            both = isinstance(value, dict) and isinstance(result.get(name), dict)
            result[name] = merged(result[name], value) if both else value
    return result


def texts(values=None, release="headgate"):
    """What Helm renders, by the template's name."""
    files = loaded().render(values or {}, name=release, namespace="models")
    return {pathlib.PurePosixPath(name).name: text for name, text in files.items()}


def render(values=None, release="headgate"):
    """The manifests, by (kind, name)."""
    objects = {}
    for name, text in texts(values, release).items():
        for each in yaml.safe_load_all(text) if name != "NOTES.txt" else ():
            if each is not None:
                objects[each["kind"], each["metadata"]["name"]] = each
    return objects


def of_kind(objects, *kinds):
    return [each for (kind, _), each in objects.items() if kind in kinds]


def workload(objects):
    [one] = of_kind(objects, "StatefulSet", "Deployment")
    return one


def pod(objects):
    return workload(objects)["spec"]["template"]


def gateway(objects):
    [container] = pod(objects)["spec"]["containers"]
    return container


def refusal(values):
    """Why Helm does not render these values."""
    try:
        loaded().render(values, name="headgate", namespace="models")
    except helm_python.HelmError as error:
        return str(error)
    raise AssertionError(f"rendered: {values}")


def configuration(objects):
    """The text of headgate.yaml and what holds it."""
    [holder] = [each for each in of_kind(objects, "ConfigMap", "Secret")
                if "headgate.yaml" in each.get("data", {}) or "headgate.yaml" in each.get("stringData", {})]
    return holder.get("data", holder.get("stringData"))["headgate.yaml"], holder["kind"]


def lay_out(objects, folder):
    """Writes the configuration as its pod sees it, with every secret it refers to made up: returns the file and the
    environment. `file:` references are moved below the folder."""
    text, _ = configuration(objects)
    config = folder / "headgate.yaml"
    environment = {"PATH": os.environ["PATH"]}
    for number, path in enumerate(sorted(set(re.findall(r"file:(/\S+)", text)))):
        file = folder / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(made_up(path, number))
        text = text.replace(f"file:{path}", f"file:{file}")
    names = set(re.findall(r"env:([A-Z0-9_]+)", text)) | {each["name"] for each in gateway(objects).get("env", [])}
    for number, name in enumerate(sorted(names)):
        environment[name] = made_up(name, 100 + number)
    config.write_text(text)
    return config, environment


def made_up(name, number):
    if name.endswith((".crt", ".key")):
        return certificate()[name.endswith(".key")]
    if "master" in name.lower():
        return "0123456789abcdef" * 4
    return f"sk-ant-made-up-{number:04}-5f2c9d7e1b"


@functools.cache
def certificate():
    """A certificate and its key, of openssl's making."""
    made = subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "-", "-out", "-", "-days", "2", "-subj", "/CN=headgate"],
        check=True, capture_output=True, text=True,
    ).stdout
    key, begin, rest = made.partition("-----BEGIN CERTIFICATE-----")
    return begin + rest, key


def check(config, environment):
    """`headgate check`: exit code, what it printed, what it complained about."""
    done = subprocess.run([binary(), "check", "--config", config], env=environment, capture_output=True, text=True, cwd=config.parent)
    return done.returncode, done.stdout, done.stderr
