"""Values: each has an effect, is documented, and is refused when it makes no sense. Only renders; no socket, no process."""

import copy

import pytest
import yaml

import chart
import table

# What a value of a kind is changed to. Lists and maps that are empty by default get an item that means something there.
ITEMS = {
    "commonLabels": {"team": "models"},
    "imagePullSecrets": [{"name": "pull"}],
    "secrets.existing": ["other"],
    "secrets.values": {name: f"made-up-{name}" for name in ("admin-token", "master-key", "anthropic-api-key", "tenant-key")},
    "secrets.env": [{"name": "ANTHROPIC_KEY", "key": "anthropic-api-key"}],
    "persistence.kind": "emptyDir",
    "persistence.accessModes": ["ReadWriteOncePod"],
    "persistence.retention.whenDeleted": "Delete",
    "persistence.retention.whenScaled": "Delete",
    "persistence.size": "7Gi",
    "service.type": "NodePort",
    "service.nodePort": 30080,
    "service.loadBalancerSourceRanges": ["10.0.0.0/8"],
    "ingress.hosts": [{"host": "other.example.com"}],
    "ingress.tls": [{"secretName": "other", "hosts": ["other.example.com"]}],
    "podDisruptionBudget.maxUnavailable": "50%",
    "podDisruptionBudget.minAvailable": 1,
    "networkPolicy.from": [{"podSelector": {}}],
    "networkPolicy.adminFrom": [{"podSelector": {}}],
    "networkPolicy.extraEgress": [{"ports": [{"port": 3128}]}],
    "serviceMonitor.interval": "7s",
    "serviceMonitor.scrapeTimeout": "5s",
    "serviceMonitor.tlsConfig": {"insecureSkipVerify": True},
    "terminationGracePeriodSeconds": 700,
    "updateStrategy": {"type": "OnDelete"},
    "nodeSelector": {"disk": "fast"},
    "tolerations": [{"key": "models", "operator": "Exists"}],
    "affinity": {"nodeAffinity": {}},
    "topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}],
    "extraEnv": [{"name": "https_proxy", "value": "http://proxy:3128"}],
    "extraEnvFrom": [{"configMapRef": {"name": "more"}}],
    "extraVolumes": [{"name": "more", "emptyDir": {}}],
    "extraVolumeMounts": [{"name": "more", "mountPath": "/more"}],
    "image.digest": "sha256:" + "ab" * 32,
    "image.pullPolicy": "Always",
    "configKind": "Secret",
    "rollOnChange": "never",
    "replicas": 0,
    "config.server.listen": "0.0.0.0:8081",
    "config.server.admin_listen": "0.0.0.0:9091",
    "config.store.url": "sqlite:///data/other.db",
    "config.auth.admin_tokens": [{"name": "other", "token": "file:/run/secrets/headgate/other"}],
    "config.backends": [{"name": "other", "provider": "openai", "keys": []}],
    "config.tenants": [{"name": "other", "key": "file:/run/secrets/headgate/other"}],
}
# What must be set besides for a value to matter.
MATTERS_WITH = {
    "ingress.enabled": {"ingress": {"hosts": [{"host": "llm.example.com"}]}},
    "serviceMonitor.enabled": {"serviceMonitor": {"interval": "30s"}},
    "serviceAccount.create": {"serviceAccount": {"name": "roles"}},
    "persistence.existingClaim": {"persistence": {"kind": "existingClaim", "existingClaim": "first"}},
    "service.nodePort": {"service": {"type": "NodePort"}},
    "service.loadBalancer": {"service": {"type": "LoadBalancer"}},
    "ingress.": {"ingress": {"enabled": True, "hosts": [{"host": "llm.example.com"}]}},
    "podDisruptionBudget.minAvailable": {"podDisruptionBudget": {"maxUnavailable": None, "minAvailable": 2}},
    "serviceMonitor.": {"serviceMonitor": {"enabled": True}},
}


def leaves(values, at=""):
    for name, value in values.items():
        path = f"{at}{name}"
        if isinstance(value, dict) and value and "/" not in "".join(value):
            yield from leaves(value, path + ".")
        else:
            yield path


def changed(path, value):
    if path in ITEMS:
        return ITEMS[path]
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if isinstance(value, str):
        return (value or "other") + "-changed"
    if isinstance(value, dict):
        return {**value, "example.com/added": "yes"}
    if value == ["ALL"]:
        return ["NET_RAW"]
    raise AssertionError(f"say in ITEMS what {path} may be changed to")


@pytest.mark.parametrize("path", list(leaves(chart.defaults())))
def test_every_value_reaches_a_manifest(path):
    base = next((each for start, each in MATTERS_WITH.items() if path.startswith(start)), {})
    value = chart.defaults()
    for name in path.split("."):
        value = value[name]
    other = chart.merged(copy.deepcopy(base), chart.nested(path, changed(path, value)))
    assert chart.render(other) != chart.render(base)


def test_the_table_in_the_readme_is_that_of_values_yaml():
    assert (chart.CHART / "README.md").read_text() == table.readme(), "run charts/tests/table.py"


def test_every_value_is_in_the_table():
    documented = [path for path, _, _ in table.rows((chart.CHART / "values.yaml").read_text())]
    for path in leaves(chart.defaults()):
        assert any(path == each or path.startswith(each + ".") for each in documented), path


@pytest.mark.parametrize(("values", "message"), [
    ({"replica": 2}, "'replica' not allowed"),
    ({"image": {"name": "x"}}, "'name' not allowed"),
    ({"config": {"relais": {}}}, "'relais' not allowed"),
    ({"replicas": "two"}, "at '/replicas': got string, want integer"),
    ({"replicas": -1}, "at '/replicas'"),
    ({"service": {"type": "ExternalName"}}, "at '/service/type': value must be one of"),
    ({"service": {"port": 70000}}, "at '/service/port'"),
    ({"persistence": {"kind": "pvc"}}, "at '/persistence/kind': value must be one of"),
    ({"persistence": {"size": "lots"}}, "at '/persistence/size'"),
    ({"config": {"server": {"drain_timeout_s": "10m"}}}, "at '/config/server/drain_timeout_s': got string, want integer"),
    ({"config": {"tenants": [{"name": "a"}]}}, "missing property 'key'"),
    ({"secrets": {"values": {"admin-token": ""}}}, "at '/secrets/values/admin-token'"),
    ({"secrets": {"values": {"admin token": "x"}}}, "admin token"),
    ({"probes": {"liveness": {"period": 1}}}, "'period' not allowed"),
    ({"podAnnotations": {"a": 1}}, "at '/podAnnotations/a': got number, want string"),
])
def test_the_schema_says_what_is_wrong_where(values, message):
    assert message in chart.refusal(values)


@pytest.mark.parametrize(("values", "message"), [
    ({"config": {"server": {"listen": "127.0.0.1:8080"}}}, "config.server.listen: 127.0.0.1:8080 is loopback"),
    ({"config": {"tenants": []}}, "config.tenants: is empty"),
    ({"config": {"tenants": None}}, "config.tenants: is empty"),
    ({"config": {"auth": {"admin_tokens": []}}}, "config.auth.admin_tokens: is empty"),
    ({"replicas": 2}, "replicas: 2 pods cannot share a SQLite store"),
    ({"replicas": 2, "persistence": {"kind": "emptyDir"}}, "replicas: 2 pods cannot share a SQLite store"),
    ({"persistence": {"kind": "none"}}, "persistence.kind: none leaves a SQLite store no place"),
    ({"persistence": {"kind": "existingClaim"}}, "persistence.existingClaim: is empty"),
    ({"config": {"store": {"url": "sqlite://headgate.db"}}}, "config.store.url: a SQLite file outside /data"),
    ({"terminationGracePeriodSeconds": 619}, "terminationGracePeriodSeconds: 619 cuts the drain off; config.server needs at least 620"),
    ({"config": {"tenants": [{"name": "a", "key": "value:abc"}]}}, "configKind: config holds a secret"),
    ({"config": {"store": {"url": "postgres://u:p@host/db"}}}, "configKind: config holds a secret"),
    ({"secrets": {"values": {"tenant-key": "x"}}}, "secrets.values.admin-token: config refers to file:/run/secrets/headgate/admin-token"),
    ({"extraEnv": [{"name": "HEADGATE__SERVER__LISTEN", "value": "0.0.0.0:1"}]}, "extraEnv: HEADGATE__SERVER__LISTEN"),
    ({"ingress": {"enabled": True}}, "ingress.hosts: is empty"),
    ({"serviceMonitor": {"enabled": True}, "adminService": {"enabled": False}}, "serviceMonitor.enabled: needs the admin plane"),
    ({"podDisruptionBudget": {"minAvailable": 1}}, "podDisruptionBudget: set one of"),
])
def test_values_that_would_make_dead_pods_are_refused_by_name(values, message):
    assert message in chart.refusal(values)


def test_the_schema_knows_the_sections_of_the_configuration():
    text = (chart.ROOT / "config" / "default.yaml").read_text()
    written = set(yaml.safe_load(text))
    # backends, routes and tenants are commented out there.
    in_prose = {line[2:-1] for line in text.splitlines() if line.startswith("# ") and line[2:].rstrip(":").isidentifier() and line.endswith(":")}
    schema = yaml.safe_load((chart.CHART / "values.schema.json").read_text())
    assert set(schema["properties"]["config"]["properties"]) == written | in_prose, "add the new section to values.schema.json"
