"""The container image: what is in it, and that it runs as any user on a read-only root. Runs the program, confined as a
container is; needs unshare, mount and chroot of Linux, and rights to one of them: root, or user namespaces."""

import contextlib
import hashlib
import importlib.machinery
import importlib.util
import json
import os
import pathlib
import random
import re
import shutil
import signal
import stat
import subprocess
import tarfile
import time

import pytest
import yaml

import chart
from chart import stack

HERE = chart.CHARTS / "image"
GROUP_OF_VOLUMES = 65532
# Figures of merit are of a good start, not of what else the machine does at the moment.
STARTS = 5
READY_MS = 200
MOST_BESIDES_THE_PROGRAM = 8 << 20

CONFINE = r"""
set -eu
root=$1 data=$2 config=$3 secrets=$4 uid=$5 gid=$6 groups=$7; shift 7
mount --bind "$root" "$root"
mount -t tmpfs -o mode=1777,nosuid,nodev,noexec tmpfs "$root/tmp"
mount --rbind /proc "$root/proc"
mount --bind "$data" "$root/data"
mount --bind "$config" "$root/etc/headgate"
mount --bind "$secrets" "$root/run/secrets/headgate"
mount -o remount,bind,ro "$root"
cd /
if [ -n "$groups" ]; then
    exec setpriv --no-new-privs chroot --userspec="$uid:$gid" --groups="$groups" "$root" /headgate "$@"
fi
# Not root outside: a second user namespace in which this user has the wanted number, and then no capability.
exec unshare --user --map-user="$uid" --map-group="$gid" --root="$root" --wd=/data /headgate "$@"
"""


def module():
    """charts/image/build, which has no suffix, as a module."""
    loader = importlib.machinery.SourceFileLoader("image_build", str(HERE / "build"))
    made = importlib.util.module_from_spec(importlib.util.spec_from_loader("image_build", loader))
    loader.exec_module(made)
    return made


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    file = tmp_path_factory.mktemp("image") / "headgate.tar"
    subprocess.run([HERE / "build", chart.binary(), file, "--tag", "headgate:test"], check=True)
    return file


@pytest.fixture(scope="module")
def image(archive, tmp_path_factory):
    """(configuration, folder with the unpacked layers)."""
    folder = tmp_path_factory.mktemp("rootfs")
    folder.chmod(0o755)
    for above in folder.parents[:2]:
        above.chmod(above.stat().st_mode | 0o011)
    with tarfile.open(archive) as tar:
        def blob(descriptor):
            data = tar.extractfile("blobs/sha256/" + descriptor["digest"].removeprefix("sha256:")).read()
            assert hashlib.sha256(data).hexdigest() == descriptor["digest"].removeprefix("sha256:")
            assert len(data) == descriptor["size"]
            return data

        index = json.loads(tar.extractfile("index.json").read())
        manifest = json.loads(blob(index["manifests"][0]))
        config = json.loads(blob(manifest["config"]))
        for descriptor in manifest["layers"]:
            packed = folder / "layer.tar.gz"
            packed.write_bytes(blob(descriptor))
            subprocess.run(["tar", "-xzpf", packed, "-C", folder, "--no-same-owner"], check=True)
            packed.unlink()
    return config, folder


class Container:
    """The program in the unpacked image, as a container runtime starts it for a restricted pod."""

    def __init__(self, root, scratch, objects, uid):
        self.root, self.objects, self.uid = root, objects, uid
        self.scratch = scratch
        self.data, self.config, self.secrets = (scratch / name for name in ("data", "config", "secrets"))
        self.log = scratch / "log"

    def __enter__(self):
        for folder in (self.data, self.config, self.secrets):
            folder.mkdir(exist_ok=True)
        # As fsGroup leaves a volume: the group may write, the user is somebody else.
        self.data.chmod(0o2770)
        if os.geteuid() == 0:
            os.chown(self.data, 0, GROUP_OF_VOLUMES)
        text, _ = chart.configuration(self.objects)
        (self.config / "headgate.yaml").write_text(text)
        for number, name in enumerate(sorted(set(re.findall(r"file:/run/secrets/headgate/(\S+)", text)))):
            file = self.secrets / name
            file.write_text(chart.made_up(name, number))
            file.chmod(0o440)
            if os.geteuid() == 0:
                os.chown(file, 0, GROUP_OF_VOLUMES)
        arguments = chart.gateway(self.objects)["args"]
        groups = str(GROUP_OF_VOLUMES) if os.geteuid() == 0 else ""
        outer = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--user", "--map-root-user", "--mount"]
        script = ["sh", "-c", CONFINE, "confine", self.root, self.data, self.config, self.secrets, str(self.uid), "0", groups]
        self.began = time.perf_counter()
        with self.log.open("wb") as log:
            self.process = subprocess.Popen([*outer, *script, *arguments], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            env={"PATH": os.environ["PATH"], "SSL_CERT_FILE": "/etc/ssl/certs/ca-certificates.crt"})
        return self

    def wait_for(self, path, port):
        """Milliseconds from the start until the path answers 200."""
        def answers():
            if self.process.poll() is not None:
                raise AssertionError(f"exit code {self.process.returncode}\n{self.log.read_text()}")
            with contextlib.suppress(OSError):
                return stack.fetch(f"http://127.0.0.1:{port}{path}", timeout=2)[0] == 200

        deadline = time.monotonic() + 30
        while not answers():
            assert time.monotonic() < deadline, f"{path} does not answer\n{self.log.read_text()}"
        return (time.perf_counter() - self.began) * 1000

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(20)

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def on_free_ports(**more):
    """Values for a container beside others: the chart's own configuration, on ports that are free, without the drain's delay."""
    port, admin = stack.free_ports(2)
    server = {"listen": f"0.0.0.0:{port}", "admin_listen": f"0.0.0.0:{admin}", "drain_delay_s": 0}
    return chart.render(chart.merged({"config": {"server": server}}, more)), port, admin


def any_user():
    return random.randrange(100_000, 2**31)


def test_the_default_values_run_as_any_user_on_a_read_only_root(image, tmp_path):
    objects, port, _ = on_free_ports()
    uid = any_user()
    with Container(image[1], tmp_path, objects, uid) as container:
        container.wait_for("/readyz", port)
        proc = pathlib.Path(f"/proc/{container.process.pid}")
        status = dict(line.split(":\t", 1) for line in (proc / "status").read_text().splitlines() if ":\t" in line)
        assert int(status["CapEff"], 16) == 0, f"user {uid}"
        if os.geteuid() == 0:
            assert status["Uid"].split() == [str(uid)] * 4
            assert status["Gid"].split() == ["0"] * 4
            assert status["NoNewPrivs"] == "1"
        mounts = {line.split()[4]: line.split()[5].split(",") for line in (proc / "mountinfo").read_text().splitlines()}
        assert "ro" in mounts["/"], f"user {uid}"
        database = (container.data / "headgate.db").stat()
        assert database.st_size > 0 and stat.S_IMODE(database.st_mode) == 0o600, "its store is on the volume, its own"
        if os.geteuid() == 0:
            assert database.st_uid == uid
        assert stack.fetch(f"http://127.0.0.1:{port}/v1/messages", "POST", {})[0] == 401
        assert container.stop() == 0, container.log.read_text()


def test_it_is_ready_within_200_ms(image, tmp_path):
    times = []
    for number in range(STARTS):
        objects, port, _ = on_free_ports()
        scratch = tmp_path / str(number)
        scratch.mkdir()
        with Container(image[1], scratch, objects, any_user()) as container:
            times.append(container.wait_for("/readyz", port))
            assert container.stop() == 0
    print("ready after", ", ".join(f"{each:.0f}" for each in sorted(times)), "ms")
    assert min(times) < READY_MS


def test_names_of_upstreams_are_resolved_in_it(image, tmp_path):
    """glibc resolves names by its own files and libraries, of which the root has only what was copied."""
    hosts = image[1] / "etc" / "hosts"
    hosts.write_text("127.0.0.1 upstream.test\n")
    with stack.Simulator(tmp_path) as simulator:
        backend = {"name": "a", "provider": "anthropic", "base_url": f"http://upstream.test:{simulator.ports[0]}",
                   "keys": [{"name": "one", "secret": f"value:{stack.KEYS[0]}"}]}
        objects, port, _ = on_free_ports(configKind="Secret", config={"backends": [backend], "auth": {"tenants": "open"}})
        with Container(image[1], tmp_path, objects, any_user()) as container:
            container.wait_for("/readyz", port)
            # Bad on purpose, in a way that only upstream finds: no anthropic-version.
            asked = {"model": "claude-sonnet-5", "max_tokens": 5, "messages": [{"role": "user", "content": "Hello"}]}
            status, answer = stack.fetch(f"http://127.0.0.1:{port}/v1/messages", "POST", asked)
            assert (status, b"anthropic-version" in answer) == (400, True), f"{answer!r}\n{container.log.read_text()}"
    hosts.unlink()


def test_it_holds_the_program_its_libraries_and_nothing_else(image):
    _, root = image
    files = {str(path.relative_to(root)): path for path in root.rglob("*") if path.is_file()}
    known = {"headgate", "etc/passwd", "etc/group", "etc/nsswitch.conf", "etc/ssl/certs/ca-certificates.crt"}
    libraries = set(files) - known
    assert known <= set(files)
    assert all(re.fullmatch(r"lib(64)?/(\S+/)?(ld-linux\S*|lib(c|m|gcc_s))\.so\.\d+", each) for each in libraries), libraries
    besides = sum(path.stat().st_size for name, path in files.items() if name != "headgate")
    assert besides < MOST_BESIDES_THE_PROGRAM
    for path in root.rglob("*"):
        mode = path.stat().st_mode
        # Whoever runs it is neither owner nor group of anything: all may read, none may write or become another.
        assert mode & stat.S_IROTH and not mode & (stat.S_ISUID | stat.S_ISGID), path
        assert not mode & stat.S_IWOTH or path.relative_to(root).as_posix() in ("data", "tmp"), path
    assert files["headgate"].stat().st_mode & stat.S_IXOTH


def test_the_same_program_gives_the_same_image(archive, tmp_path):
    again = tmp_path / "again.tar"
    subprocess.run([HERE / "build", chart.binary(), again, "--tag", "headgate:test"], check=True)
    assert hashlib.sha256(again.read_bytes()).digest() == hashlib.sha256(archive.read_bytes()).digest()


def instructions():
    """Dockerfile's stages: lists of (instruction, argument)."""
    text = re.sub(r"\\\n\s*", " ", (chart.ROOT / "Dockerfile").read_text())
    stages = []
    for line in text.splitlines():
        if line and not line.startswith("#"):
            name, _, argument = line.partition(" ")
            if name == "FROM":
                stages.append([])
            stages[-1].append((name, argument.strip()))
    return stages


def test_dockerfile_and_build_make_the_same_container(image):
    last = dict((name, argument) for name, argument in instructions()[-1] if name not in ("LABEL", "COPY"))
    settings = image[0]["config"]
    assert settings["User"] == last["USER"]
    assert settings["WorkingDir"] == last["WORKDIR"]
    assert settings["Entrypoint"] == json.loads(last["ENTRYPOINT"])
    assert list(settings["Volumes"]) == [last["VOLUME"]]
    assert [f"{port}/tcp" for port in last["EXPOSE"].split()] == list(settings["ExposedPorts"])
    assert settings["Env"] == [last["ENV"]]
    assert settings["StopSignal"] == last["STOPSIGNAL"]
    said = dict(re.findall(r'(org\.\S+?)="([^"]*)"', next(argument for name, argument in instructions()[-1] if name == "LABEL")))
    said["org.opencontainers.image.version"] = last["ARG"].partition("=")[2]
    assert settings["Labels"] == said
    built = " ".join(argument for name, argument in instructions()[0] if name == "RUN")
    assert "charts/image/rootfs target/dist/headgate /rootfs" in built


def test_chart_image_and_program_have_one_version():
    about = yaml.safe_load((chart.CHART / "Chart.yaml").read_text())
    assert about["appVersion"] == module().version()


def test_the_builder_is_sent_all_that_the_program_is_compiled_from(tmp_path):
    """.dockerignore lets through what is named there: the manifests must be readable and embedded files present."""
    for line in (chart.ROOT / ".dockerignore").read_text().splitlines():
        if line.startswith("!"):
            source, target = chart.ROOT / line[1:], tmp_path / line[1:]
            target.parent.mkdir(parents=True, exist_ok=True)
            (shutil.copytree if source.is_dir() else shutil.copy)(source, target)
    subprocess.run(["cargo", "metadata", "--locked", "--offline", "--no-deps", "--format-version", "1"], cwd=tmp_path, check=True, capture_output=True)
    for source in (tmp_path / "src").rglob("*.rs"):
        for named in re.findall(r'include_(?:str|bytes)!\("([^"]+)"\)', source.read_text()):
            assert (source.parent / named).exists(), f"{source.relative_to(tmp_path)} embeds {named}"
        for named in re.findall(r'migrate!\("([^"]+)"\)', source.read_text()):
            assert (tmp_path / named).exists(), f"{source.relative_to(tmp_path)} embeds {named}"
    assert (tmp_path / "charts" / "image" / "rootfs").exists()
