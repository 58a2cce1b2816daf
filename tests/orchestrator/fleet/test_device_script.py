"""The script for devices, run here with engines that are shell scripts: what they refuse, hide or leave out."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from polyarch.fleet.device_script import device_script
from polyarch.fleet.facts import DeviceFacts, Engine
from support.device_answers import NONCE, engine_of, facts_of, program, run_script
from support.users import OrdinaryUser

REFUSES = 'echo "WARNING: old" >&2; echo "Got permission denied: \\"/var/run/docker.sock\\"" >&2; exit 1'
# Answers version, info, image ls; and for one image what docker answers.
DOCKER = """
case "$*" in
--version) echo "Docker version 27.0" ;;
version*) echo 27.0 ;;
info*) echo "PLACE|[[driver-type io.containerd.snapshotter.v1]]" ;;
"image ls"*) printf 'sha256:1\\nsha256:1\\n' ;;
*) echo "$*" >&2; echo "image {}" ;;
esac
"""


@pytest.fixture
def bin_folder(tmp_path: Path) -> Path:
    """Where a test puts the engines. Those of this machine are hidden by programs that fail."""
    folder = tmp_path / "bin"
    for name in ("docker", "podman", "ctr", "k3s"):
        program(folder, name, "exit 1")
    return folder


@pytest.fixture
def asked(bin_folder: Path, tmp_path: Path) -> Callable[..., DeviceFacts]:
    """Runs the script with these engines: the facts."""

    def ask(**environment: str) -> DeviceFacts:
        home = str(tmp_path / "home")
        return facts_of(run_script({"PATH": f"{bin_folder}:/usr/bin:/bin", "HOME": home, **environment}))

    return ask


def test_the_text_is_no_template_and_fits_in_an_argument() -> None:
    script = device_script(NONCE)
    assert not re.search(r"{[{%#]", script), "Ansible would fill it in"
    assert len(script.encode()) < 64 * 1024, "Linux takes 128 KiB, and quoting makes it longer"


@pytest.mark.system
def test_ansible_passes_it_on_unharmed(bin_folder: Path, tmp_path: Path) -> None:
    """As one quoted argument: by itself Ansible takes the script's quotes for its own, and refuses them."""
    ansible = Path(sys.executable).parent / "ansible-playbook"
    if not ansible.exists():
        pytest.skip("ansible-core is not installed beside this Python")
    tasks = [
        {"ansible.builtin.raw": f"exec /bin/sh -c {shlex.quote(device_script(NONCE))}", "register": "answer"},
        {"ansible.builtin.copy": {"content": "{{ answer.stdout }}", "dest": str(tmp_path / "answer")}},
    ]
    play = [{"hosts": "all", "gather_facts": False, "tasks": tasks}]
    (tmp_path / "play.json").write_text(json.dumps(play))
    argv = [str(ansible), "-i", "localhost,", "-c", "local", "-e", f"ansible_python_interpreter={sys.executable}"]
    environment = {"PATH": f"{bin_folder}:/usr/bin:/bin", "HOME": str(tmp_path), "LC_ALL": "C.UTF-8"}
    done = subprocess.run(
        [*argv, str(tmp_path / "play.json")], env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    facts = facts_of((tmp_path / "answer").read_text())
    here = facts_of(run_script(environment))
    assert [replace(one, free=0) for one in facts.engines] == [replace(one, free=0) for one in here.engines]


@pytest.mark.parametrize("nonce", ["", "abc", "0" * 65, "0123456789abcdeF", "0123456789abcde'", "0123456789abcdef\n"])
def test_a_nonce_that_could_be_misread_is_refused(nonce: str) -> None:
    with pytest.raises(ValueError, match="nonce"):
        device_script(nonce)


def test_an_engine_that_refuses_says_why(bin_folder: Path, asked: Callable[..., DeviceFacts]) -> None:
    program(bin_folder, "docker", REFUSES)
    docker = engine_of(asked(), "docker")
    assert docker == Engine(
        "docker",
        program=(str(bin_folder / "docker"),),
        refused='Got permission denied: "/var/run/docker.sock"',
    )


def test_podman_under_the_name_of_docker_is_podman(bin_folder: Path, asked: Callable[..., DeviceFacts]) -> None:
    program(bin_folder, "docker", 'case $1 in --version) echo "podman version 4.3.1" ;; *) exit 1 ;; esac')
    assert [engine.kind for engine in asked().engines if engine.kind != "oci"] == ["podman", "containerd"]


def test_docker_with_images_in_containerd(bin_folder: Path, tmp_path: Path, asked: Callable[..., DeviceFacts]) -> None:
    program(bin_folder, "docker", DOCKER.replace("PLACE", str(tmp_path)))
    docker = engine_of(asked(), "docker")
    assert docker.by_digest
    assert docker.version == "27.0"
    assert docker.place in (f"{tmp_path}/containerd/daemon", "/var/lib/containerd")
    assert docker.free
    assert docker.free > 1 << 20, "of the first folder above it that exists"
    assert not docker.complete, "its image cannot be read"


def test_an_engine_that_cannot_list_is_known_not_to_be_complete(
    bin_folder: Path, asked: Callable[..., DeviceFacts]
) -> None:
    program(bin_folder, "podman", 'case $1 in info) echo "4.3|/no-such/folder" ;; *) exit 1 ;; esac')
    podman = engine_of(asked(), "podman")
    assert not podman.refused
    assert (podman.version, podman.place, podman.complete) == ("4.3", "/no-such/folder", False)
    assert podman.free, "of the root folder"


def test_a_kubernetes_of_k3s(bin_folder: Path, asked: Callable[..., DeviceFacts]) -> None:
    """Its containerd is asked by `k3s ctr`, and its images are in the namespace k8s.io."""
    program(
        bin_folder,
        "k3s",
        """
        case "$*" in
        *"namespaces ls"*) printf 'default\\nk8s.io\\n' ;;
        *"plugins ls"*) printf 'Exports:\\n      root      /\\n' ;;
        *"images ls") printf 'REF  TYPE  DIGEST  SIZE\\ndocker.io/library/a:1  t  sha256:%064d  1 MiB  -  -\\n' 5 ;;
        *"content ls"*) printf 'sha256:%064d\\n' 6 7 ;;
        *version) printf 'Client:\\n  Version:  v0\\nServer:\\n  Version:  v1.7-k3s1\\n' ;;
        esac
        """,
    )
    if Path("/run/containerd/containerd.sock").exists():
        pytest.skip("this machine's own containerd runs, and would be asked")
    containerd = engine_of(asked(), "containerd")
    assert containerd.command == (str(bin_folder / "k3s"), "ctr", "--namespace", "k8s.io")
    assert (containerd.version, containerd.place, containerd.complete) == ("v1.7-k3s1", "/", True)
    assert containerd.images[0].names == ("docker.io/library/a:1",)
    assert containerd.blobs == (f"sha256:{6:064}", f"sha256:{7:064}")


def test_a_containerd_that_does_not_run_is_not_waited_for(bin_folder: Path, asked: Callable[..., DeviceFacts]) -> None:
    """`ctr` itself would, for its own socket."""
    own = Path("/run/containerd/containerd.sock")
    if own.exists() or shutil.which("k3s"):
        pytest.skip("this machine's own containerd would be asked")
    (bin_folder / "k3s").unlink()
    program(bin_folder, "ctr", 'touch "${0%/*}/called"')
    assert engine_of(asked(), "containerd").refused == f"there is no socket {own}"
    assert not (bin_folder / "called").exists()


def test_an_engine_that_hangs_is_given_up(bin_folder: Path, tmp_path: Path) -> None:
    program(bin_folder, "docker", 'case $1 in --version) echo "Docker" ;; *) exec sleep 600 ;; esac')
    program(bin_folder, "timeout", 'shift 3; [ "$2" != version ] || exit 137; exec "$@"')
    # The script would find the real one.
    script = device_script(NONCE).replace("run timeout", "timeout")
    environment = {"PATH": f"{bin_folder}:/usr/bin:/bin", "HOME": str(tmp_path)}
    done = subprocess.run(["/bin/sh", "-c", script], env=environment, capture_output=True, text=True, timeout=60)
    assert engine_of(facts_of(done.stdout), "docker").refused == "it does not answer within 60 seconds"


def test_a_layout_is_found_only_where_there_is_one(tmp_path: Path, asked: Callable[..., DeviceFacts]) -> None:
    data = tmp_path / "data"
    layout = engine_of(asked(XDG_DATA_HOME=str(data)), "oci")
    assert (layout.in_use, layout.place) == (False, f"{data}/polyarch/oci")
    assert layout.free
    place = Path(layout.place)
    (place / "blobs" / "sha256").mkdir(parents=True)
    (place / "index.json").write_text('{"schemaVersion": 2,\n "manifests": []}')
    (place / "blobs" / "sha256" / "0").touch()
    (place / "blobs" / "sha256" / f"{5:064}").touch()
    layout = engine_of(asked(XDG_DATA_HOME=str(data)), "oci")
    assert (layout.in_use, layout.blobs, layout.complete) == (True, (f"sha256:{5:064}",), True)


# Engines that other tests have started on this machine are not waited for.
NO_ENGINES = {"CONTAINERD_ADDRESS": "/nowhere.sock", "DOCKER_HOST": "unix:///nowhere.sock"}


def test_sudo_is_used_where_it_asks_for_no_password(unprivileged_user: OrdinaryUser) -> None:
    folder = unprivileged_user.home / "sudo-bin"
    program(folder, "docker", f'[ "$ROOT" = yes ] || {{ {REFUSES}; }}\n{DOCKER.replace("PLACE", "/")}')
    program(folder, "sudo", '[ "$1" = -n ] || exit 1; shift; ROOT=yes exec "$@"')
    program(folder, "podman", "exit 1")
    environment = {"PATH": f"{folder}:/usr/bin:/bin", "HOME": str(unprivileged_user.home), **NO_ENGINES}
    answer = run_script(environment, cwd=unprivileged_user.home, **unprivileged_user.switch())
    docker = engine_of(facts_of(answer), "docker")
    assert (docker.sudo, docker.version, docker.refused) == (True, "27.0", "")
    assert docker.command[:3] == ("sudo", "-n", str(folder / "docker"))
    assert engine_of(facts_of(answer), "podman").sudo is False


def test_a_layout_that_cannot_be_written_is_refused(unprivileged_user: OrdinaryUser) -> None:
    environment = {"PATH": "/usr/bin:/bin", "HOME": "/proc", "XDG_DATA_HOME": "/proc/polyarch-data", **NO_ENGINES}
    answer = run_script(environment, cwd=unprivileged_user.home, **unprivileged_user.switch())
    assert engine_of(facts_of(answer), "oci").refused == "/proc cannot be written"


@pytest.mark.parametrize(
    ("family", "address", "expected"),
    [
        (socket.AF_INET, "127.0.0.1", True),
        (socket.AF_INET, "0.0.0.0", True),
        (socket.AF_INET6, "::", True),
        (socket.AF_INET6, "::ffff:127.0.0.1", True),
        (socket.AF_INET6, "::1", False),
        (socket.AF_INET, "127.0.0.2", False),
        (None, "", False),
    ],
)
@pytest.mark.parametrize("shell", ["dash", "busybox"])
def test_a_port_that_leads_back_is_seen(
    shell: str,
    family: socket.AddressFamily | None,
    address: str,
    expected: bool,
    bin_folder: Path,
    tmp_path: Path,
    foreign_busybox: Callable[[str], Path],
) -> None:
    """One where somebody listens that 127.0.0.1 leads to."""
    words: Sequence[str | Path] = ("/bin/dash",) if shell == "dash" else (foreign_busybox("amd64"), "sh")
    with socket.socket(family or socket.AF_INET) as server:
        server.bind((address or "127.0.0.1", 0))
        if family:
            server.listen()
        environment = {"PATH": f"{bin_folder}:/usr/bin:/bin", "HOME": str(tmp_path), **NO_ENGINES}
        answer = run_script({**environment, "port": str(server.getsockname()[1])}, words)
    assert facts_of(answer).forwarding is expected


@pytest.mark.parametrize("port", ["", "x", "80; echo", "-1"])
def test_without_a_port_nothing_is_said_of_forwarding(port: str, asked: Callable[..., DeviceFacts]) -> None:
    assert asked(port=port, **NO_ENGINES).forwarding is None
