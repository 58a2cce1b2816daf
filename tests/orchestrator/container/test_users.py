from __future__ import annotations

from pathlib import Path

import pytest

from polyarch.container.users import User, find_user, resolve_user
from polyarch.errors import UsageError
from polyarch.unpack.beneath import Root

PASSWD = """\
root:x:0:0:root:/root:/bin/sh
www:x:33:34:Web:/var/www:/bin/false
# a comment
broken:x:abc:1::/:
777:x:5:6::/by-name:/bin/sh
short:x:8:9
"""
GROUP = """\
root:x:0:root
www:x:34:
audio:x:29:root,www
video:x:44:www
888:x:12:
"""


@pytest.mark.parametrize(
    ("text", "user"),
    [
        ("", User(0, 0, (0, 29), "/root")),
        ("root", User(0, 0, (0, 29), "/root")),
        ("0", User(0, 0, (0, 29), "/root")),
        ("www", User(33, 34, (29, 44), "/var/www")),
        ("33", User(33, 34, (29, 44), "/var/www")),
        ("www:audio", User(33, 29, (), "/var/www")),
        ("www:29", User(33, 29, (), "/var/www")),
        ("www:4711", User(33, 4711, (), "/var/www")),
        ("1000", User(1000, 0, (), "/")),
        ("1000:1001", User(1000, 1001, (), "/")),
        ("1000:video", User(1000, 44, (), "/")),
        (":video", User(0, 44, (), "/root")),
        ("777", User(5, 6, (), "/by-name")),
        ("1:888", User(1, 12, (), "/")),
        ("short", User(8, 9, (), "/")),
    ],
)
def test_users(text: str, user: User) -> None:
    assert find_user(text, PASSWD, GROUP) == user


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nobody", "user 'nobody' is not in the image's /etc/passwd"),
        ("www:nobody", "group 'nobody' is not in the image's /etc/group"),
        ("broken", "user 'broken'"),
        ("2147483648", "out of bounds"),
        ("-1", "user '-1'"),
        ("1:²", "group '²'"),
    ],
)
def test_users_that_are_not_there(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        find_user(text, PASSWD, GROUP)


def test_an_image_without_files() -> None:
    assert find_user("", "", "") == User(0, 0, (), "/")


def test_the_files_of_the_host_are_not_read_through_a_symlink(tmp_path: Path) -> None:
    outside = tmp_path / "passwd"
    outside.write_text("intruder:x:1:1::/:")
    rootfs = tmp_path / "rootfs"
    (rootfs / "etc").mkdir(parents=True)
    (rootfs / "etc" / "passwd").symlink_to(outside)
    (rootfs / "etc" / "group").symlink_to("/etc/group")
    with pytest.raises(UsageError):
        resolve_user("intruder", Root(rootfs))


def test_a_fifo_instead_of_a_file_does_not_hold_up(tmp_path: Path) -> None:
    import os

    (tmp_path / "etc").mkdir()
    os.mkfifo(tmp_path / "etc" / "passwd")
    assert resolve_user("7", Root(tmp_path)) == User(7, 0, (), "/")
