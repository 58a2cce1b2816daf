"""Settings: file, environment, arguments, in rising order of weight."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyarch.contract import EmulatorServices, PluginServices, StorageServices
from polyarch.errors import UsageError
from polyarch.settings import Settings, load_settings


def _file(folder: Path, text: str) -> Path:
    path = folder / "config.toml"
    path.write_text(text)
    return path


def test_the_defaults(tmp_path: Path) -> None:
    settings = load_settings(environ={"HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path / "data")})
    assert settings.root == tmp_path / "data" / "polyarch"
    assert (settings.tls_verify, settings.max_connections, settings.sync) == (True, 4, "batch")


def test_every_setting_of_the_file_is_read(tmp_path: Path) -> None:
    path = _file(
        tmp_path,
        """
        root = "/srv/images"
        tls_verify = false
        insecure_registries = ["10.0.0.7:5000"]
        max_connections = 8
        retries = 0
        connect_timeout = 1
        read_timeout = 2.5
        lock_timeout = 0
        sync = "none"
        emulation = "never"
        qemu_directories = ["/opt/qemu"]
        runtime = "runc"
        disabled_plugins = ["attic"]
        [prefer]
        "example.com" = "mine"
        """,
    )
    settings = load_settings(config_file=path, environ={"HOME": str(tmp_path)})
    expected = Settings(
        root=Path("/srv/images"),
        config_file=path,
        tls_verify=False,
        insecure_registries=("10.0.0.7:5000",),
        max_connections=8,
        retries=0,
        connect_timeout=1.0,
        read_timeout=2.5,
        lock_timeout=0.0,
        sync="none",
        emulation="never",
        qemu_directories=(Path("/opt/qemu"),),
        runtime="runc",
        disabled_plugins=("attic",),
        prefer={"example.com": "mine"},
    )
    # The rest comes from the environment.
    names = [entry.name for entry in fields(Settings) if entry.name in path.read_text() or entry.name == "config_file"]
    assert len(names) == 15
    assert [getattr(settings, name) for name in names] == [getattr(expected, name) for name in names]


def test_argument_beats_environment_beats_file(tmp_path: Path) -> None:
    path = _file(tmp_path, 'root = "/file"\nmax_connections = 2')
    environ = {"HOME": str(tmp_path), "POLYARCH_CONFIG": str(path)}
    assert load_settings(environ=environ).root == Path("/file")
    environ["POLYARCH_ROOT"] = "/environment"
    assert load_settings(environ=environ).root == Path("/environment")
    settings = load_settings(root=Path("/argument"), environ=environ, max_connections=3, emulation=None)
    assert (settings.root, settings.max_connections, settings.emulation) == (Path("/argument"), 3, "auto")


def test_the_usual_file_is_found(tmp_path: Path) -> None:
    folder = tmp_path / "xdg" / "polyarch"
    folder.mkdir(parents=True)
    path = _file(folder, "retries = 1")
    settings = load_settings(environ={"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path / "xdg")})
    assert (settings.config_file, settings.retries) == (path, 1)


def test_other_tools_places_come_from_the_environment(tmp_path: Path) -> None:
    settings = load_settings(
        environ={
            "HOME": str(tmp_path),
            "REGISTRY_AUTH_FILE": "/a/auth.json",
            "DOCKER_CONFIG": "/d",
            "XDG_RUNTIME_DIR": "/run/user/7",
        }
    )
    assert settings.auth_file == Path("/a/auth.json")
    assert settings.docker_config == Path("/d")
    assert settings.runtime_directory == Path("/run/user/7")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("max_connections = 0", "out of bounds (1 to 64)"),
        ("max_connections = 65", "out of bounds"),
        ("retries = -1", "out of bounds"),
        ("read_timeout = 0", "out of bounds"),
        ("read_timeout = nan", "out of bounds"),
        ("max_connections = true", "wrong kind"),
        ("max_connections = 4.5", "wrong kind"),
        ('max_connections = "4"', "wrong kind"),
        ("tls_verify = 1", "wrong kind"),
        ("root = 1", "wrong kind"),
        ("insecure_registries = [1]", "wrong kind"),
        ('insecure_registries = "x"', "wrong kind"),
        ('insecure_registries = ["a b"]', "'a b' is no host"),
        ('root = ""', "root is an absolute path"),
        ('root = "relative"', "root is an absolute path"),
        ('root = "/x\\u0000"', "root has a NUL"),
        ('policy = "/x\\u0000"', "policy has a NUL"),
        ('qemu_directories = ["/x\\u0000"]', "qemu_directories has a NUL"),
        ('[options.s3]\nfolder = ["/x\\u0000"]', "options has a NUL"),
        ("prefer = { a = 1 }", "wrong kind"),
        ('token_servers = { "a.example" = "https://b.example/token" }', "'https://b.example/token' is no host"),
        ('token_servers = { "https://a.example" = "b.example" }', "'https://a.example' is no host"),
        ('token_servers = { "a.example" = "b.example/token" }', "is no host"),
        ('token_servers = { "a.example" = "b.example:x" }', "is no host"),
        ('token_servers = { "a.example" = 1 }', "is no host"),
        ('token_servers = "b.example"', "wrong kind"),
        ("a" + ".a" * 70 + " = 1", "More than 64 dots (at line 1"),
        ('sync = "always"', "one of batch, none"),
        ("sync = []", "one of batch, none"),
        ('emulation = "yes"', "one of auto, never"),
        ("max_conections = 4", "there is no setting 'max_conections'"),
        ('home = "/"', "there is no setting 'home'"),
        ('auth_file = "/x"', "there is no setting 'auth_file'"),
        ("max_connections = ", "Invalid value"),
    ],
)
def test_a_bad_file_is_a_usage_error_that_points_at_the_fault(tmp_path: Path, text: str, said: str) -> None:
    path = _file(tmp_path, text)
    with pytest.raises(UsageError) as caught:
        load_settings(config_file=path, environ={"HOME": str(tmp_path)})
    assert said in caught.value.message
    assert str(path) in caught.value.message or "out of bounds" in said


def test_a_named_file_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        load_settings(config_file=tmp_path / "none.toml", environ={"HOME": str(tmp_path)})
    with pytest.raises(UsageError, match="Is a directory"):
        load_settings(config_file=tmp_path, environ={"HOME": str(tmp_path)})


@given(st.binary(max_size=200))
def test_any_file_is_settings_or_a_usage_error(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.toml"
    path.write_bytes(content)
    fault = ""
    try:
        load_settings(config_file=path, environ={"HOME": "/nowhere"})
    except UsageError as error:
        fault = str(error)
    assert fault.isprintable()


def test_what_plugins_are_told_may_be_secret_and_is_in_no_repr(tmp_path: Path) -> None:
    """A key of a bucket may stand in `[options.s3]`, or in the environment."""
    secret: dict[str, str] = {"secret_access_key": "wJalrXUtnFEMI"}
    handed = (
        Settings(root=tmp_path, options={"s3": secret}, environ=secret),
        StorageServices(tmp_path, options=secret, environ=secret),
        PluginServices(options=secret, environ=secret),
        EmulatorServices(options=secret),
    )
    assert "wJalrXUtnFEMI" not in repr(handed)
