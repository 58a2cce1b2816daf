"""The images of a Compose file (compose-spec: 05-services.md, 12-interpolation.md)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from polyarch.lock import yaml_nodes
from polyarch.lock.interpolation import Unreadable, expand
from polyarch.lock.named import Fault, NamedImage, named_image


def is_compose(document: yaml_nodes.Node) -> bool:
    """True if the document has services."""
    return isinstance(document, yaml_nodes.Mapping) and isinstance(
        document.entries().get("services"), yaml_nodes.Mapping
    )


def compose_images(document: yaml_nodes.Node, variables: Mapping[str, str]) -> Iterator[NamedImage]:
    """The image of each service, with its platform. What a service builds by itself is named by it, not pulled.

    Raises Fault.
    """
    services = document.entries().get("services") if isinstance(document, yaml_nodes.Mapping) else None
    if not isinstance(services, yaml_nodes.Mapping):
        return
    for service in services.entries().values():
        if not isinstance(service, yaml_nodes.Mapping):
            continue
        keys = service.entries()
        image, platform = keys.get("image"), keys.get("platform")
        if image is None or "build" in keys:
            continue
        if not isinstance(image, yaml_nodes.Scalar):
            raise Fault(image.line, "the image of a service is a text")
        wanted = _filled_in(platform, variables) if isinstance(platform, yaml_nodes.Scalar) else ""
        yield named_image(_filled_in(image, variables), wanted, image.line, *place_of(image))


def place_of(scalar: yaml_nodes.Scalar) -> tuple[int, int, str]:
    """Start, end and quote of a scalar for a NamedImage."""
    return scalar.start, scalar.end, scalar.style if scalar.style in ("'", '"') else ""


def _filled_in(scalar: yaml_nodes.Scalar, variables: Mapping[str, str]) -> str:
    try:
        return expand(scalar.text.strip(), variables.get, "$")
    except Unreadable as error:
        raise Fault(scalar.line, str(error), "set it in the environment, or in the file .env beside it") from error


def env_file(text: str) -> dict[str, str]:
    """The variables of a `.env` file: NAME=VALUE a line, `export` before it, comments and quotes as in a shell."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        name, equals, value = line.strip().removeprefix("export ").partition("=")
        name, value = name.strip(), value.strip()
        if not equals or name.startswith("#"):
            continue
        if value[:1] in ("'", '"') and (end := value.find(value[0], 1)) > 0:
            value = value[1:end]
        else:
            value = value.partition(" #")[0].rstrip()
        found[name] = value
    return found
