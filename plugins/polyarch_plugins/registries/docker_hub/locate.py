"""Where Docker Hub keeps its images (docs.docker.com, "docker login"; distribution/reference, legacy names)."""

from __future__ import annotations

from polyarch.contract import Endpoint, Reference

HOST = "registry-1.docker.io"
CREDENTIALS_KEY = "https://index.docker.io/v1/"


def locate(reference: Reference) -> Endpoint:
    """The registry's own host; in auth files it has an older name."""
    return Endpoint(HOST, reference.repository, CREDENTIALS_KEY)
