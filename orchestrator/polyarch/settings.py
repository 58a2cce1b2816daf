"""Settings: one TOML file, the environment and the command line, in rising order of weight.

The only module that reads the environment (httpx reads the proxy variables itself).
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import field, fields, replace
from pathlib import Path
from typing import Literal

from polyarch import toml_text
from polyarch.errors import UsageError, printable
from polyarch.files import absolute_path, is_there
from polyarch.limits import MAX_IMAGE_ENTRIES, MAX_LAYER_RATIO, MAX_LAYER_SIZE
from polyarch_platforms.lazy_dataclass import dataclass


@dataclass(frozen=True, slots=True)
class Settings:
    """All that a user can set, checked. Times are in seconds.

    `root` holds images, containers and caches. `prefer` names the plugin that wins where two claim the same thing, or
    the registry of a host that none claims (`{"example.com": "my-registry"}`), `disabled_plugins` are not loaded,
    those of `plugin_order` come before the others of their kind, `options` has a table for each plugin that wants one
    (`[options.NAME]`). `insecure_registries` may speak plain HTTP
    or show any certificate (loopback addresses may anyway). `token_servers` are hosts outside of a registry's own
    domain that may be shown its credentials (`{"registry.example.com": "login.example.net"}`), `foreign_layers` lets
    layers be fetched from where their `urls` say. `registries_conf` is a file in podman's format,
    `containerd_hosts` a folder in containerd's: "none" keeps them out, "" means where those two look. `policy` is
    `auto`, `none`, or the file in the format of podman's policy.json that says which images are accepted. `sync` is
    `batch` (one sync before a name is written) or `none`. `layers` is the form that layers are run from;
    `max_layer_size` (bytes) and `max_layer_ratio` are what one of them may come to when it is read, `max_image_entries`
    what all of an image may (see `limits`).
    """

    root: Path
    config_file: Path | None = None
    tls_verify: bool = True
    insecure_registries: tuple[str, ...] = ()
    token_servers: Mapping[str, str] = field(default_factory=dict)
    foreign_layers: bool = False
    registries_conf: str = "none"
    containerd_hosts: str = "none"
    policy: str = "none"
    max_connections: int = 4
    retries: int = 5
    connect_timeout: float = 10.0
    read_timeout: float = 30.0
    lock_timeout: float = 60.0
    sync: Literal["batch", "none"] = "batch"
    emulation: Literal["auto", "never"] = "auto"
    qemu_directories: tuple[Path, ...] = ()
    qemu_image: str = ""
    runtime: Literal["auto", "crun", "runc"] = "auto"
    layers: Literal["auto", "erofs", "unpack"] = "auto"
    max_layer_size: int = MAX_LAYER_SIZE
    max_layer_ratio: int = MAX_LAYER_RATIO
    max_image_entries: int = MAX_IMAGE_ENTRIES
    disabled_plugins: tuple[str, ...] = ()
    plugin_order: tuple[str, ...] = ()
    prefer: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, Mapping[str, object]] = field(default_factory=dict, repr=False)
    home: Path = Path("/")
    config_home: Path | None = None
    auth_file: Path | None = None
    docker_config: Path | None = None
    runtime_directory: Path | None = None
    environ: Mapping[str, str] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        for name, low, high in _BOUNDS:
            if not low <= getattr(self, name) <= high:
                raise UsageError(f"setting {name} = {getattr(self, name)} is out of bounds ({low} to {high})")


_BOUNDS = (
    ("max_connections", 1, 64),
    ("retries", 0, 100),
    ("connect_timeout", 0.1, 3600),
    ("read_timeout", 0.1, 3600),
    ("lock_timeout", 0, 86400),
    ("max_layer_size", 1 << 20, 1 << 60),
    ("max_layer_ratio", 10, 1_000_000),
    ("max_image_entries", 1000, 1 << 40),
)
MAX_SIZE = 1 << 20
"""Bytes of a file that are read; more would not be what its writer meant."""

_HOST = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?", re.ASCII)
_LISTED = re.compile(r"[A-Za-z0-9._:/\[\]-]+", re.ASCII)
_CHOICES = {
    "sync": ("batch", "none"),
    "emulation": ("auto", "never"),
    "runtime": ("auto", "crun", "runc"),
    "layers": ("auto", "erofs", "unpack"),
}
# The places of other tools' files are no settings of ours: the environment names them.
_NOT_IN_FILE = {"config_file", "home", "config_home", "auth_file", "docker_config", "runtime_directory"}


def load_settings(
    root: Path | None = None,
    config_file: Path | None = None,
    environ: Mapping[str, str] | None = None,
    **overrides: object,
) -> Settings:
    """The settings in force: defaults, then the TOML file, then the environment, then the arguments.

    Without `config_file` and POLYARCH_CONFIG the first of `$XDG_CONFIG_HOME/polyarch/config.toml` and
    `/etc/polyarch/config.toml` that exists is read.
    Raises UsageError: a file that cannot be read, an unknown setting, a value of the wrong kind.
    """
    env = os.environ if environ is None else environ
    home = Path(env.get("HOME") or _home_of_user())
    named = config_file or (Path(env["POLYARCH_CONFIG"]) if env.get("POLYARCH_CONFIG") else None)
    config_home = Path(env.get("XDG_CONFIG_HOME") or home / ".config")
    usual = (config_home / "polyarch" / "config.toml", Path("/etc/polyarch/config.toml"))
    file = named or next((path for path in usual if is_there(path)), None)
    values = _from_file(file) if file else {}
    if env.get("POLYARCH_ROOT"):
        values["root"] = Path(env["POLYARCH_ROOT"])
    if root is not None:
        values["root"] = root
    values.setdefault("root", _default_root(env, home))
    values["root"] = absolute_path(str(values["root"]))
    for name in ("registries_conf", "containerd_hosts"):
        values[name] = env.get(f"POLYARCH_{name.upper()}") or values.get(name, "")
    values["policy"] = env.get("POLYARCH_POLICY") or values.get("policy") or "auto"
    settings = Settings(
        config_file=file,
        environ=dict(env),
        home=home,
        config_home=config_home,
        auth_file=Path(env["REGISTRY_AUTH_FILE"]) if env.get("REGISTRY_AUTH_FILE") else None,
        docker_config=Path(env["DOCKER_CONFIG"]) if env.get("DOCKER_CONFIG") else None,
        runtime_directory=Path(env["XDG_RUNTIME_DIR"]) if env.get("XDG_RUNTIME_DIR") else None,
        **values,  # type: ignore[arg-type]  # _from_file has checked each value's kind
    )
    return replace(settings, **{name: value for name, value in overrides.items() if value is not None})  # type: ignore[arg-type]


def _default_root(env: Mapping[str, str], home: Path) -> Path:
    if os.geteuid() == 0 and not env.get("XDG_DATA_HOME"):
        return Path("/var/lib/polyarch")
    return Path(env.get("XDG_DATA_HOME") or home / ".local" / "share") / "polyarch"


def _home_of_user() -> Path:
    try:
        return Path.home()
    except RuntimeError:  # a user id without an entry in /etc/passwd
        return Path("/")


def _from_file(path: Path) -> dict[str, object]:
    try:
        with path.open("rb") as stream:
            document = toml_text.parse(stream.read(MAX_SIZE + 1).decode())
    except OSError as error:
        raise UsageError(f"settings file {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:  # also a number of thousands of digits
        raise UsageError(f"settings file {path}: {error}", "see docs/settings.md for what it may hold") from error
    defaults = {entry.name: entry for entry in fields(Settings) if entry.name not in _NOT_IN_FILE}
    values: dict[str, object] = {}
    for name, value in document.items():
        if _has_nul(value):
            raise UsageError(f"settings file {path}: {name} has a NUL character in it")
        if name not in defaults:
            raise UsageError(
                f"settings file {path}: there is no setting {name!r}", f"known: {', '.join(sorted(defaults))}"
            )
        values[name] = _checked(name, value, str(defaults[name].type), path)
    return values


def _has_nul(value: object) -> bool:
    """No path, host or name has one, and the system takes none."""
    if isinstance(value, str):
        return "\0" in value
    if isinstance(value, Mapping):
        return any(map(_has_nul, (*value, *value.values())))
    return isinstance(value, list) and any(map(_has_nul, value))


def _checked(name: str, value: object, kind: str, path: Path) -> object:
    """`value` of the TOML file as the kind that the field of this name has (its annotation, as text)."""
    if name in _CHOICES:
        if value in _CHOICES[name]:
            return value
        raise UsageError(f"settings file {path}: {name} is one of {', '.join(_CHOICES[name])}, not {value!r}")
    if kind == "bool" and isinstance(value, bool):
        return value
    if isinstance(value, int) and abs(value) >= 1 << 63:  # TOML has no such number, and Python cannot write all of them
        raise UsageError(f"settings file {path}: {name} is out of bounds")
    if kind == "int" and isinstance(value, int) and not isinstance(value, bool):
        return value
    if kind == "float" and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if kind == "str" and isinstance(value, str):
        return value
    if name == "root" and isinstance(value, str):
        if not value.startswith(("/", "~")):  # it would be another one in every folder that polyarch is called in
            raise UsageError(f"settings file {path}: root is an absolute path, or starts with ~, not {value!r}")
        return Path(value)
    if name == "insecure_registries" and isinstance(value, list):
        for host in value:
            if isinstance(host, str) and not _LISTED.fullmatch(host):
                raise UsageError(
                    f"settings file {path}: insecure_registries: '{printable(host, 100)}' is no host",
                    "write HOST, HOST:PORT or a network such as 10.0.0.0/8",
                )
    if kind.startswith("tuple") and isinstance(value, list) and all(isinstance(item, str) for item in value):
        return tuple(Path(item) if "Path" in kind else item for item in value)
    if name == "token_servers" and isinstance(value, dict):
        for host in (*value, *value.values()):
            if not isinstance(host, str) or not _HOST.fullmatch(host):
                raise UsageError(
                    f"settings file {path}: token_servers: '{printable(str(host), 100)}' is no host",
                    "write both without scheme and path: "
                    'token_servers = {"registry.example.com" = "login.example.net"}',
                )
    if name == "options" and isinstance(value, dict) and all(isinstance(table, dict) for table in value.values()):
        return value
    if kind == "Mapping[str, str]" and isinstance(value, dict) and all(isinstance(v, str) for v in value.values()):
        return value
    raise UsageError(f"settings file {path}: {name} has a value of the wrong kind, {type(value).__name__}")
