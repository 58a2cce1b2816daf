"""Sample images for tests of polyarch and of its plugins: an OCI image layout with every shape that a name has.

The programs inside are Debian's busybox for each architecture, so the images run, natively or emulated::

    python -m polyarch.testing.sample_images DIR

`skopeo inspect --raw oci:DIR:busybox:1.36` shows what was written. The same machine writes the same bytes again.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from polyarch.testing.debian_busybox import ARCHITECTURES, SampleImageError, debian_busybox
from polyarch.testing.layout_writer import Json, Layer, LayoutWriter, TarEntry, folder, link, regular

PLATFORMS: Mapping[str, Mapping[str, str]] = {
    "amd64": {"os": "linux", "architecture": "amd64"},
    "armel": {"os": "linux", "architecture": "arm", "variant": "v5"},
    "armhf": {"os": "linux", "architecture": "arm", "variant": "v7"},
    "arm64": {"os": "linux", "architecture": "arm64", "variant": "v8"},
    "i386": {"os": "linux", "architecture": "386"},
    "ppc64el": {"os": "linux", "architecture": "ppc64le"},
    "s390x": {"os": "linux", "architecture": "s390x"},
}
"""Debian's name of an architecture -> the platform that the images give it, in the order of `busybox:1.36`'s index."""

_APPLETS = """
ash cat chmod chown cp cut date dd df dirname du echo env expr false find free grep head hostname id install kill ln ls
mkdir mknod mktemp mount mv nproc od pidof printf ps pwd readlink realpath rm rmdir sed seq setsid sh sha256sum sleep
sort stat stty sync tail tar tee test timeout touch tr true tty umount uname uniq uptime vi wc wget which xargs yes
"""


def write_layout(directory: Path, busybox: Mapping[str, Path]) -> dict[str, str]:
    """Writes all sample images into one OCI image layout: name -> digest of what the name points at.

    `busybox` gives the program for each key of `PLATFORMS`, as `debian_busybox` does. What is in `directory` under the
    same names is replaced. `zstd:1.0` is written only where the `zstd` program is. Names and shapes:

    - `busybox:1.36`, `busybox:latest`, `library/busybox:1.36`: an index of all platforms, and an attestation of each
    - `docker-list:1.0`: the same in Docker's media types (manifest list, schema 2)
    - `arm64-only:1.0`: an index of arm64 alone; `single:1.0`: no index, one Docker schema 2 manifest for arm64
    - `tagged:1.0-amd64`, `-arm64v8`, `-armhf`; `amd64/app:1.0`, `arm64v8/app:1.0`, `arm32v7/app:1.0`;
      `clock-amd64:1.0`, `clock-arm64:1.0`, `clock-armhf:1.0`: one manifest each, and nothing under the plain name
    - `arm-only:1.0`, `unlabelled-v5:1.0`: an index entry `linux/arm` without variant, holding v7 and v5 code
    - `v7-v5:1.0`: an index of arm/v7 and arm/v5; `duplicates:1.0`: two different manifests for arm64
    - `no-platform:1.0`: an index whose entries name no platform; `nested:1.0`: an index within an index
    - `liar:1.0`: index and config say arm64, the program is amd64's
    - `zstd:1.0`: `busybox:1.36` with zstd layers, without attestations
    """
    layout = LayoutWriter(directory)
    shared = layout.layer(_second_layer(), "COPY etc /etc # buildkit")
    layers = {
        name: (layout.layer(_busybox_root(busybox[name]), "ADD rootfs.tar / # buildkit"), shared) for name in PLATFORMS
    }
    plain = {name: layout.image(platform, layers[name]) for name, platform in PLATFORMS.items()}
    entries = {name: {**plain[name], "platform": platform} for name, platform in PLATFORMS.items()}
    attestations = [_attestation(layout, entry["digest"]) for entry in entries.values()]

    everything = layout.index([*entries.values(), *attestations])
    for name in ("busybox:1.36", "busybox:latest", "library/busybox:1.36"):
        layout.name(name, everything)
    for name, architecture in _SINGLE_MANIFESTS.items():
        layout.name(name, plain[architecture])
    layout.name("arm64-only:1.0", layout.index([entries["arm64"]]))
    layout.name("v7-v5:1.0", layout.index([entries["armhf"], entries["armel"]]))
    layout.name("no-platform:1.0", layout.index([plain["amd64"], plain["arm64"], plain["armhf"]]))
    arms = layout.index([entries["armhf"], entries["arm64"]])
    layout.name("nested:1.0", layout.index([entries["amd64"], arms]))
    _name_docker_images(layout, layers)
    _name_mislabelled_images(layout, layers)
    if shutil.which("zstd"):
        packed = {name: [layout.zstd_layer(layer) for layer in pair] for name, pair in layers.items()}
        images = [{**layout.image(PLATFORMS[name], packed[name]), "platform": PLATFORMS[name]} for name in PLATFORMS]
        layout.name("zstd:1.0", layout.index(images))
    return layout.finish()


_SINGLE_MANIFESTS = {
    "tagged:1.0-amd64": "amd64",
    "tagged:1.0-arm64v8": "arm64",
    "tagged:1.0-armhf": "armhf",
    "amd64/app:1.0": "amd64",
    "arm64v8/app:1.0": "arm64",
    "arm32v7/app:1.0": "armhf",
    "clock-amd64:1.0": "amd64",
    "clock-arm64:1.0": "arm64",
    "clock-armhf:1.0": "armhf",
}


def _name_docker_images(layout: LayoutWriter, layers: Mapping[str, Sequence[Layer]]) -> None:
    images = {name: layout.image(PLATFORMS[name], layers[name], docker=True) for name in PLATFORMS}
    entries = [{**image, "platform": PLATFORMS[name]} for name, image in images.items()]
    layout.name("docker-list:1.0", layout.index(entries, docker=True))
    layout.name("single:1.0", images["arm64"])


def _name_mislabelled_images(layout: LayoutWriter, layers: Mapping[str, Sequence[Layer]]) -> None:
    arm = {"os": "linux", "architecture": "arm"}
    arm64 = PLATFORMS["arm64"]
    for name, architecture in (("arm-only:1.0", "armhf"), ("unlabelled-v5:1.0", "armel")):
        image = layout.image(arm, layers[architecture])
        layout.name(name, layout.index([{**image, "platform": arm}]))
    liar = layout.image(arm64, layers["amd64"])
    layout.name("liar:1.0", layout.index([{**liar, "platform": arm64}]))
    twins = [layout.image(arm64, layers["arm64"]), layout.image(arm64, layers["arm64"][:1])]
    layout.name("duplicates:1.0", layout.index([{**image, "platform": arm64} for image in twins]))


def _busybox_root(program: Path) -> list[TarEntry]:
    """A small root file system; the files that the second layer hides are named so."""
    folders = ["bin", "dev", "etc", "proc", "root", "sys", "usr", "usr/bin", "var", "var/cache", "var/cache/replaced"]
    return [
        *(folder(name, 0o700 if name == "root" else 0o755) for name in folders),
        folder("tmp", 0o1777),
        regular("bin/busybox", program.read_bytes(), 0o755),
        *(link(f"bin/{applet}", "busybox") for applet in _APPLETS.split()),
        link("bin/[", "bin/busybox", hard=True),
        link("usr/bin/env", "../../bin/busybox"),
        regular("etc/passwd", b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"),
        regular("etc/group", b"root:x:0:\nnogroup:x:65534:\n"),
        regular("etc/motd", b"written by the first layer\n"),
        regular("etc/removed-by-second-layer", b"a whiteout hides this file\n"),
        regular("var/cache/replaced/old", b"an opaque whiteout hides this file\n"),
    ]


def _second_layer() -> list[TarEntry]:
    return [
        folder("etc"),
        regular("etc/motd", b"written by the second layer\n"),
        regular("etc/.wh.removed-by-second-layer", b""),
        folder("var"),
        folder("var/cache"),
        folder("var/cache/replaced"),
        regular("var/cache/replaced/.wh..wh..opq", b""),
        regular("var/cache/replaced/new", b"the only file here\n"),
    ]


def _attestation(layout: LayoutWriter, subject: str) -> Json:
    """An attestation manifest as BuildKit adds it to an index (its docs/attestations/attestation-storage.md)."""
    unknown = {"architecture": "unknown", "os": "unknown"}
    predicate = "https://slsa.dev/provenance/v0.2"
    statement = layout.blob(
        b'{"_type":"https://in-toto.io/Statement/v0.1","predicateType":"%s","subject":[{"name":"_","digest":'
        b'{"sha256":"%s"}}],"predicate":{}}' % (predicate.encode(), subject.removeprefix("sha256:").encode()),
        "application/vnd.in-toto+json",
    )
    config = layout.blob(
        b'{"architecture":"unknown","os":"unknown","config":{},"rootfs":{"type":"layers","diff_ids":["%s"]}}'
        % statement["digest"].encode(),
        "application/vnd.oci.image.config.v1+json",
    )
    manifest = layout.document(
        {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": config,
            "layers": [{**statement, "annotations": {"in-toto.io/predicate-type": predicate}}],
        }
    )
    annotations = {"vnd.docker.reference.digest": subject, "vnd.docker.reference.type": "attestation-manifest"}
    return {**manifest, "annotations": annotations, "platform": unknown}


def main(argv: Sequence[str] | None = None) -> int:
    """Writes the layout and prints `name digest` of each image; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m polyarch.testing.sample_images", description=__doc__)
    parser.add_argument("directory", type=Path, metavar="DIR", help="the OCI image layout to write")
    parser.add_argument("--cache", type=Path, help="where fetched programs are kept (default: DIR.cache)")
    options = parser.parse_args(argv)
    cache = options.cache or options.directory.with_name(f"{options.directory.name}.cache")
    try:
        names = write_layout(options.directory, debian_busybox(ARCHITECTURES, cache))
    except (SampleImageError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for name, digest in names.items():
        print(name, digest)
    return 0


if __name__ == "__main__":
    sys.exit(main())
