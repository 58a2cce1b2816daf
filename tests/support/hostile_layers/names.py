"""Names and links that want out, or that a file system does not have."""

from __future__ import annotations

from support.hostile_layers.case import Cases
from support.layers import Item, extended, file, folder, hard_link, layer, symlink

_cases = Cases()
CASES = _cases.all
_refused, _opened = _cases.refused, _cases.opened

_OUT = "leads out of its directory"
_OUTSIDE = {"outside": "dir", "outside/secret": "b'x'"}

# Names
_refused("name-dot-dot", "has a file `../outside/secret`", _OUT, [file("../outside/secret", "x")])
_refused("name-dot-dot-inside", "has a file `a/../../outside/secret`", _OUT, [file("a/../../outside/secret", "x")])
_refused("name-dot-dot-harmless", "has a file `a/../b`, which stays inside", _OUT, [folder("a"), file("a/../b", "x")])
_refused("name-dot-dot-last", "has a directory `a/..`", _OUT, [folder("a"), folder("a/..")])
_refused("name-dot-dot-pax", "has `..` in a pax name alone", _OUT, [file("f", pax={"path": b"../outside/secret"})])
_refused(
    "name-dot-dot-gnu",
    "has `..` in a GNU long name alone",
    _OUT,
    extended(b"L", b"../outside/secret\0") + layer(file("f", "x")),
)
_refused("name-dot-dot-prefix", "has `..` in the prefix of a ustar name", _OUT, [file("f", raw={345: b"../outside"})])
_opened("name-absolute", "has a file `/outside/secret`", _OUTSIDE, [file("/outside/secret", "x")])
_opened("name-slashes", "has a file `//a///b`", {"a": "dir", "a/b": "b'x'"}, [file("//a///b", "x")])
_opened("name-dots", "has a file `./a/././b`", {"a": "dir", "a/b": "b'x'"}, [file("./a/././b", "x")])
_opened("name-slash-behind", "has a file `f/`", {"f": "b'x'"}, [file("f/", "x")])
_opened(
    "name-root",
    "has the directories `.`, `./` and `/`",
    {"f": "b''"},
    [folder("."), folder("./"), folder("/"), file("f")],
)
_refused("name-empty", "has a file without a name", "root of an image is a directory", [file("", "x")])
_refused("name-root-file", "has a file `./`", "root of an image is a directory", [file("./", "x")])
_refused("name-root-symlink", "has a symlink `/` to `/etc`", "root of an image is a directory", [symlink("/", "/etc")])
_opened("name-bytes", "has a name that is not UTF-8", {"caf\\xe9": "b''"}, [file(b"caf\xe9")])
_opened("name-escapes", "has a newline and an escape in a name", {"a\n\x1b[31m": "b''"}, [file("a\n\x1b[31m")])
_opened("name-backslash", "has a name `..\\secret`", {"..\\secret": "b''"}, [file("..\\secret")])
_opened(
    "name-case",
    "has `README` and `readme`",
    {"README": "b'1'", "readme": "b'2'"},
    [file("README", "1"), file("readme", "2")],
)
_opened("name-forms", "has é in two forms", {"é": "b'1'", "e\u0301": "b'2'"}, [file("é", "1"), file("e\u0301", "2")])
_refused("name-zero-pax", "has a zero byte in a pax name", "zero byte", [file("f", pax={"path": b"a\0/../../b"})])
_opened("name-zero-ustar", "has more behind the zero byte of a name", {"a": "b''"}, [file(b"a\0/../../b")])
_refused("name-256", "has a name of 256 bytes", "", [file("n" * 256)])
_refused("name-256-directory", "implies a directory with a name of 256 bytes", "", [file("n" * 256 + "/f")])
_opened("name-255", "has a name of 255 bytes", {"n" * 255: "b''"}, [file("n" * 255)])
_refused("name-6000-pax", "has a pax name of 6,000 bytes", "6000 bytes", [file("f", pax={"path": b"n" * 6000})])
_refused(
    "name-6000-gnu",
    "has a GNU long name of 6,000 bytes",
    "6000 bytes",
    extended(b"L", b"n" * 6000 + b"\0") + layer(file("f")),
)
_opened("name-3700", "has a path of 3,700 bytes", None, [file(("n" * 245 + "/") * 15 + "f", "x")])
_opened("depth-250", "has 250 directories in each other", None, [file("d/" * 250 + "f")])
_refused("depth-251", "has 251 directories in each other", "", [file("d/" * 251 + "f")])
_refused(
    "depth-251-named", "names 251 directories in each other", "", [folder("d/" * number) for number in range(1, 252)]
)
_refused("depth-5000", "has 5,000 directories in each other", "10001 bytes", [file("d/" * 5000 + "f")])
_refused(
    "depth-symlinks",
    "makes 600 directories in each other by symlinks",
    "",
    [
        symlink("l0", "d/" * 200),
        file("l0/f"),
        symlink("l1", "l0/" + "d/" * 200),
        file("l1/f"),
        symlink("l2", "l1/" + "d/" * 200),
        file("l2/f"),
    ],
)

# Symlinks on the way
_opened(
    "way-absolute",
    "has a file through a symlink to `/outside`",
    {"l": "-> /outside", **_OUTSIDE},
    [symlink("l", "/outside"), file("l/secret", "x")],
)
_opened(
    "way-dot-dot",
    "has a file through a symlink to `../../../outside`",
    {"l": "-> ../../../outside", **_OUTSIDE},
    [symlink("l", "../../../outside"), file("l/secret", "x")],
)
_opened(
    "way-lower",
    "has a file through a lower layer's symlink to `../../outside`",
    {"l": "-> ../../outside", **_OUTSIDE},
    [symlink("l", "../../outside")],
    [file("l/secret", "x")],
)
_opened(
    "way-proc",
    "has a file through a symlink to `/proc/self/root`",
    {"l": "-> /proc/self/root", "proc": "dir", "proc/self": "dir", "proc/self/root": "dir", "proc/self/root/f": "b'x'"},
    [symlink("l", "/proc/self/root"), file("l/f", "x")],
)
_opened(
    "way-directory",
    "has a directory through a symlink out, and one instead of it",
    {"l": "dir", "l/secret": "b'x'"},
    [symlink("l", "../../outside"), folder("l"), file("l/secret", "x")],
)
_opened(
    "way-replaced",
    "has a file instead of a symlink out",
    {"l": "b'x'"},
    [symlink("l", "../../outside/secret"), file("l", "x")],
)
_opened(
    "way-swapped",
    "has a directory, a symlink out in its place, and a directory again, with a file each",
    {"d": "dir", "d/c": "b'3'", "outside": "dir", "outside/b": "b'2'"},
    [folder("d"), file("d/a", "1"), symlink("d", "/outside"), file("d/b", "2"), folder("d"), file("d/c", "3")],
)
_opened(
    "way-swapped-lower",
    "has a symlink out instead of a lower layer's directory",
    {"d": "-> /outside", "outside": "dir", "outside/b": "b'2'"},
    [folder("d"), file("d/a", "1")],
    [symlink("d", "/outside"), file("d/b", "2")],
)
_opened(
    "way-chain",
    "has a file through symlinks out of a directory each",
    {"a": "dir", "a/l": "-> ..", "a/m": "-> l/../..", "outside": "dir", "outside/secret": "b'x'"},
    [folder("a"), symlink("a/l", ".."), symlink("a/m", "l/../.."), file("a/m/outside/secret", "x")],
)
_refused("way-loop", "has a file through a loop of symlinks", "", [symlink("a", "b"), symlink("b", "a"), file("a/x")])
_refused("way-itself", "has a file through a symlink to itself", "", [symlink("a", "a"), file("a/x")])
_refused(
    "way-41", "has a file through 41 symlinks", "", [*(symlink(f"l{n}", f"l{n + 1}") for n in range(41)), file("l0/x")]
)
_refused("way-file", "has a file below a file", "", [file("f"), file("f/x")])
_refused("way-file-lower", "has a file below a lower layer's file", "", [file("f")], [file("f/x")])
_refused("way-fifo", "has a file below a FIFO", "", [Item("p", kind=b"6"), file("p/x")])
_refused("symlink-empty", "has a symlink to nothing at all", "without a target", [symlink("l", "")])
_refused("symlink-5000", "has a symlink to 5,000 bytes", "5000 bytes", [symlink("l", "t" * 5000)])
_refused(
    "symlink-zero", "has a zero byte in a symlink's target", "zero byte", [symlink("l", "t", pax={"linkpath": b"a\0b"})]
)
_opened("symlink-4000", "has a symlink to 4,000 bytes", {"l": "-> " + "t" * 4000}, [symlink("l", "t" * 4000)])
_opened(
    "symlink-out",
    "has a symlink to `../../outside/secret`",
    {"l": "-> ../../outside/secret"},
    [symlink("l", "../../outside/secret")],
)

# Hard links
_refused("link-dot-dot", "has a hard link to `../../outside/secret`", _OUT, [hard_link("h", "../../outside/secret")])
_refused(
    "link-absolute-dot-dot", "has a hard link to `/../outside/secret`", _OUT, [hard_link("h", "/../outside/secret")]
)
_refused(
    "link-absolute",
    "has a hard link to `/etc/passwd`, which is not in the image",
    "",
    [hard_link("h", "/etc/passwd")],
)
_refused("link-nothing", "has a hard link to what is not there", "does not exist", [hard_link("h", "none")])
_refused("link-later", "has a hard link to what comes behind it", "does not exist", [hard_link("h", "f"), file("f")])
_refused(
    "link-directory", "has a hard link to a directory", "hard link to a directory", [folder("d"), hard_link("h", "d")]
)
_refused(
    "link-directory-lower",
    "has a hard link to a lower layer's directory",
    "hard link to a directory",
    [folder("d")],
    [hard_link("h", "d")],
)
_refused("link-root", "has a hard link to `/`", "", [hard_link("h", "/")])
_refused(
    "link-hidden",
    "has a hard link to what a whiteout hid",
    "does not exist",
    [file("f")],
    [file(".wh.f"), hard_link("h", "f")],
)
_refused(
    "link-whiteout",
    "has a hard link to a whiteout",
    "does not exist",
    [file("f")],
    [file(".wh.f"), hard_link("h", ".wh.f")],
)
_refused(
    "link-over-target",
    "has a hard link instead of the directory that its target is in",
    "",
    [folder("d"), file("d/f"), hard_link("d", "d/f")],
)
_refused("link-through-file", "has a hard link to a name below a file", "", [file("f"), hard_link("h", "f/x")])
_opened("link-itself", "has a hard link to itself", {"f": "b'x'"}, [file("f", "x"), hard_link("f", "f")])
_opened(
    "link-fifo", "has a hard link to a FIFO", {"p": "fifo", "h": "fifo"}, [Item("p", kind=b"6"), hard_link("h", "p")]
)
_opened(
    "link-device",
    "has a hard link to a device",
    {"n": "char 1:3", "h": "char 1:3"},
    [Item("n", kind=b"3", device=(1, 3)), hard_link("h", "n")],
)
_opened(
    "link-symlink",
    "has a hard link to a symlink out, and a file instead of it",
    {"l": "-> ../../outside/secret", "h": "b'x'"},
    [symlink("l", "../../outside/secret"), hard_link("h", "l"), file("h", "x")],
)
_opened(
    "link-through-symlink",
    "has a hard link through a symlink out",
    {"l": "-> ../../outside", "outside": "dir", "outside/secret": "b'mine'", "h": "b'mine'"},
    [symlink("l", "../../outside"), file("outside/secret", "mine"), hard_link("h", "l/secret")],
)
_opened(
    "link-replaced",
    "has a file instead of one of two names",
    {"a": "b'1'", "b": "b'2'"},
    [file("a", "1"), hard_link("b", "a"), file("b", "2")],
)
_opened(
    "link-lower",
    "has a hard link to a lower layer's file",
    {"a": "b'1'", "b": "b'1'"},
    [file("a", "1")],
    [hard_link("b", "a")],
)
_opened(
    "link-lower-shadow",
    "has a hard link to a lower layer's file, and other bytes in its place then",
    {"a": "b'2'", "b": "b'1'"},
    [file("a", "1", mode=0o600)],
    [hard_link("b", "a"), file("a", "2")],
)
_opened(
    "link-data",
    "has a size in the header of a hard link",
    {"a": "b'1'", "b": "b'1'", "c": "b''"},
    [file("a", "1"), hard_link("b", "a", size=512), file("c")],
)
_opened(
    "link-2000",
    "has 2,000 hard links to a file",
    None,
    [file("f", "x"), *(hard_link(f"h{n}", "f") for n in range(2000))],
)

# The same name again
_opened("again-file", "has a file twice", {"f": "b'2'"}, [file("f", "1"), file("f", "2")])
_opened(
    "again-directory",
    "has a file, then a directory of its name",
    {"f": "dir", "f/x": "b''"},
    [file("f"), folder("f"), file("f/x")],
)
_opened(
    "again-file-for-directory",
    "has a full directory, then a file of its name",
    {"d": "b'x'"},
    [folder("d"), file("d/a"), file("d", "x")],
)
_opened(
    "again-kinds",
    "has a name as a file, a FIFO, a symlink, a device and a file",
    {"f": "b'x'"},
    [file("f"), Item("f", kind=b"6"), symlink("f", "/"), Item("f", kind=b"3", device=(1, 3)), file("f", "x")],
)
_opened("again-slash", "has `d`, `d/` and `./d`", {"d": "dir"}, [file("d"), folder("d/"), folder("./d")])
_opened(
    "again-layer", "is in the image three times", {"d": "dir", "d/f": "b'x'"}, *[[folder("d"), file("d/f", "x")]] * 3
)
