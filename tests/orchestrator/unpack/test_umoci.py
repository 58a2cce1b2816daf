"""The merged root file system, held against what umoci makes of the same image."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from polyarch.oci.config import parse_config
from polyarch.unpack.image import unpack_image
from support.layers import listing
from support.layout_files import Layout

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(not shutil.which("umoci"), reason="umoci is not on this machine"),
    pytest.mark.skipif(os.geteuid() != 0, reason="owners can only be compared as root"),
]


@pytest.mark.parametrize(
    ("architecture", "variant"),
    [("amd64", None), ("386", None), ("arm", "v5"), ("arm", "v7"), ("arm64", None), ("ppc64le", None), ("s390x", None)],
)
def test_the_same_files_as_umoci(architecture: str, variant: str | None, sample_layout: Path, tmp_path: Path) -> None:
    layout = Layout(sample_layout)
    digest = layout.manifest("busybox:1.36", architecture, variant)
    # umoci wants one manifest under the name it is given: a layout with that alone.
    single = tmp_path / "layout"
    shutil.copytree(sample_layout, single, copy_function=os.link)
    (single / "index.json").unlink()
    entry = next(each for each in layout.entries("busybox:1.36") if each["digest"] == digest)
    annotations = '"annotations": {"org.opencontainers.image.ref.name": "one"}'
    (single / "index.json").write_text(
        f'{{"schemaVersion": 2, "manifests": [{{"mediaType": "{entry["mediaType"]}", "digest": "{digest}", '
        f'"size": {entry["size"]}, {annotations}}}]}}'
    )
    theirs = tmp_path / "theirs"
    subprocess.run(["umoci", "raw", "unpack", "--image", f"{single}:one", str(theirs)], check=True, capture_output=True)
    config = parse_config(layout.path(layout.json(digest)["config"]["digest"]).read_bytes())
    openers = [lambda digest=each["digest"]: layout.path(digest).open("rb") for each in layout.layers(digest)]
    ours = tmp_path / "ours"
    unpack_image(openers, config.diff_ids, ours)
    facts = ["mode", "owner", "mtime"]
    assert listing(ours, facts) == listing(theirs, facts)
    assert len(listing(ours)) > 50
