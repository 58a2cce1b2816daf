"""Programs that lie, kept as files; and what becomes of them when more is broken."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyarch_platforms.elf import Elf, contradiction, platform_of, read_elf
from polyarch_platforms.errors import ElfError
from polyarch_platforms.platform import parse
from support.elf_corpus import FOLDER, corpus

FILES = dict(corpus())
# What the kernel would not run either, by the beginning of its name; all else is read, its broken notes left aside.
REFUSED = (
    *("count-of-program-headers-4", "count-of-program-headers-f", "size-of-a-program-header"),
    *("place-of-program-headers-17f", "place-of-program-headers-7", "place-of-program-headers-f"),
    *("place-of-program-headers-8", "load-offset-1", "load-offset-8", "load-offset-f"),
    *("load-size-1000", "load-size-8", "load-size-f"),
    *("interp-offset-1", "interp-offset-8", "interp-offset-f"),
    *("interp-size-0", "interp-size-1", "interp-size-8", "interp-size-f"),
    *("library-offset-1000", "library-offset-8", "library-offset-f"),
    *("library-size-1000", "library-size-8", "library-size-f"),
)


def _judged(data: bytes) -> Elf | None:
    """Reading and judging end with an answer or an ElfError, within bounds."""
    tracemalloc.start()
    try:
        elf = read_elf(data)
        contradiction(elf, parse("linux/arm64"), 16384)
        platform_of(elf)
    except ElfError:
        return None
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 1 << 20
    return elf


def test_the_files_are_what_their_generator_makes() -> None:
    kept = {path.stem: path.read_bytes() for path in FOLDER.glob("*.elf")}
    assert kept == FILES, "write them again: cd tests; python -m support.elf_corpus"
    assert sum(map(len, kept.values())) <= 100_000


@pytest.mark.parametrize("name", FILES)
def test_a_file_of_the_corpus(name: str) -> None:
    refused = _judged(FILES[name]) is None
    assert refused is name.startswith(REFUSED)


@pytest.mark.parametrize("name", [name for name in FILES if name.startswith(("attributes-", "notes-"))])
def test_broken_notes_prove_nothing(name: str) -> None:
    elf = read_elf(FILES[name])
    expected = "v7" if name == "attributes-two-answers" else None
    assert (elf.arm_cpu_arch, elf.x86_isa_level) == (expected, None)


@given(st.sampled_from(list(FILES.values())), st.data())
def test_more_of_it_broken(seed: bytes, data: st.DataObject) -> None:
    broken = bytearray(seed)
    for _ in range(data.draw(st.integers(1, 6))):
        place = data.draw(st.integers(0, max(0, len(broken) - 8)))
        value = data.draw(
            st.sampled_from((b"\0", b"\xff", b"\x7f", b"\xff" * 4, b"\xff" * 8, b"\0" * 8)) | st.binary(max_size=8)
        )
        broken[place : place + len(value)] = value
    _judged(bytes(broken[: data.draw(st.integers(0, len(broken)))] if data.draw(st.booleans()) else broken))


@given(st.sampled_from(list(FILES.values())), st.sampled_from(list(FILES.values())), st.data())
def test_two_of_them_in_one(first: bytes, second: bytes, data: st.DataObject) -> None:
    _judged(first[: data.draw(st.integers(0, len(first)))] + second[data.draw(st.integers(0, len(second))) :])
