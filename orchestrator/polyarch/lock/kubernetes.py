"""The images of Kubernetes manifests, of whatever kind (Kubernetes API, core/v1 PodSpec)."""

from __future__ import annotations

from collections.abc import Iterator

from polyarch.lock import yaml_nodes
from polyarch.lock.compose import place_of
from polyarch.lock.named import Fault, NamedImage, named_image

_LISTS = ("initContainers", "containers", "ephemeralContainers")


def is_kubernetes(document: yaml_nodes.Node) -> bool:
    """True if the document states an API version and a kind."""
    return isinstance(document, yaml_nodes.Mapping) and document.entries().keys() >= {"apiVersion", "kind"}


def kubernetes_images(document: yaml_nodes.Node) -> Iterator[NamedImage]:
    """The images of all containers, wherever a pod's specification stands. Raises Fault."""
    seen: set[int] = set()
    waiting = [document]
    while waiting:
        node = waiting.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, yaml_nodes.Sequence):
            waiting += reversed(node.items)
        elif isinstance(node, yaml_nodes.Mapping):
            keys = node.entries()
            for name in _LISTS:
                if isinstance(containers := keys.get(name), yaml_nodes.Sequence):
                    yield from _of(containers)
            waiting += reversed(keys.values())


def _of(containers: yaml_nodes.Sequence) -> Iterator[NamedImage]:
    for container in containers.items:
        image = container.entries().get("image") if isinstance(container, yaml_nodes.Mapping) else None
        if image is None:
            continue
        if not isinstance(image, yaml_nodes.Scalar):
            raise Fault(image.line, "the image of a container is a text")
        if text := image.text.strip():
            yield named_image(text, "", image.line, *place_of(image))
