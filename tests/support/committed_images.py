"""Images that were committed, as other tools take them apart."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
from pathlib import Path

from polyarch.testing.layout_writer import Layer, LayoutWriter
from support.layers import diff_id
from support.stacks import HERE


def layout_of(directory: Path, layers: list[bytes], name: str, *, docker: bool = False) -> str:
    """An OCI image layout with an image of these archives; how polyarch names it."""
    writer = LayoutWriter(directory)
    stored = []
    for number, data in enumerate(layers):
        blob = writer.blob(gzip.compress(data, 1, mtime=0), "application/vnd.oci.image.layer.v1.tar+gzip")
        stored.append(Layer(blob["digest"], blob["size"], "gzip", diff_id(data), f"layer {number}"))
    writer.name(name, writer.image({"os": "linux", "architecture": HERE}, stored, docker=docker))
    writer.finish()
    return f"oci:{directory}:{name}"


def single(storage: Path, digest: str, directory: Path) -> Path:
    """A layout with that one image of a storage, called `one`."""
    directory.mkdir()
    shutil.copy(storage / "oci-layout", directory)
    shutil.copytree(storage / "blobs", directory / "blobs", copy_function=os.link)
    path = storage / "blobs" / "sha256" / digest.removeprefix("sha256:")
    document = json.loads(path.read_bytes())
    entry = {
        "mediaType": document["mediaType"],
        "digest": digest,
        "size": path.stat().st_size,
        "annotations": {"org.opencontainers.image.ref.name": "one"},
    }
    (directory / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
    return directory


def by_umoci(layout: Path, target: Path) -> Path:
    """The root file system that umoci unpacks."""
    subprocess.run(["umoci", "raw", "unpack", "--image", f"{layout}:one", str(target)], check=True, capture_output=True)
    return target


def docker_archive(layout: Path, target: Path, name: str) -> Path:
    """The image as docker loads it."""
    words = ["skopeo", "copy", "--quiet", f"oci:{layout}:one", f"docker-archive:{target}:{name}"]
    subprocess.run(words, check=True, capture_output=True)
    return target
