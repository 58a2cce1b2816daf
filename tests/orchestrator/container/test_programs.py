from __future__ import annotations

from pathlib import Path

import pytest

from polyarch.container.failures import CannotExecute, ProgramNotFound
from polyarch.container.programs import check_program
from polyarch.unpack.beneath import Root


@pytest.fixture
def rootfs(tmp_path: Path) -> Root:
    for folder in ("usr/bin", "bin", "work/sub"):
        (tmp_path / folder).mkdir(parents=True)
    for name, mode in (("usr/bin/app", 0o755), ("usr/bin/data", 0o644), ("bin/data", 0o755), ("work/app2", 0o100)):
        (tmp_path / name).write_text("x")
        (tmp_path / name).chmod(mode)
    (tmp_path / "link").symlink_to("/usr/bin/app")
    (tmp_path / "loop").symlink_to("loop")
    return Root(tmp_path)


@pytest.mark.parametrize(
    "name", ["/usr/bin/app", "app", "/link", "data", "./app2", "sub/../app2", "/work/../usr/bin/app"]
)
def test_found(name: str, rootfs: Root) -> None:
    check_program([name], "/none:/usr/bin:/bin", "/work", rootfs)


@pytest.mark.parametrize(
    ("name", "failure", "code"),
    [
        ("nothing", ProgramNotFound, 127),
        ("/usr/bin/nothing", ProgramNotFound, 127),
        ("/usr/bin/app/x", ProgramNotFound, 127),
        ("/usr/bin", CannotExecute, 126),
        ("/usr/bin/data", CannotExecute, 126),
        ("/loop", CannotExecute, 126),
    ],
)
def test_not_to_be_started(name: str, failure: type[Exception], code: int, rootfs: Root) -> None:
    with pytest.raises(failure) as caught:
        check_program([name], "/usr/bin:/bin", "/", rootfs)
    assert caught.value.exit_code == code  # type: ignore[attr-defined]
