"""The images at hand as a tree: each stands on the layers that it shares with others, containers on theirs. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field
from typing import TYPE_CHECKING

from polyarch.contract.storage import Image
from polyarch.oci.descriptor import Descriptor
from polyarch.oci.digest import Digest
from polyarch.verbs.images.history import steps
from polyarch_platforms.lazy_dataclass import dataclass

if TYPE_CHECKING:
    from polyarch.container.record import Record


@dataclass(slots=True)
class Stack:
    """Layers that lie on those of the node above: the images that end with them, containers on these, what goes on.

    `made_by` is the line of the history that made the topmost layer, "" if nobody noted it. Images whose containers
    are there and they are not have no layers here, but a name, `gone`.
    """

    layers: list[Descriptor] = field(default_factory=list)
    made_by: str = ""
    images: list[Image] = field(default_factory=list)
    containers: list[Record] = field(default_factory=list)
    above: list[Stack] = field(default_factory=list)
    gone: str = ""

    @property
    def size(self) -> int:
        """Bytes of these layers alone, as they travel."""
        return sum(layer.size for layer in self.layers)


def layer_tree(images: Iterable[Image], containers: Sequence[Record] = ()) -> list[Stack]:
    """The stacks that stand on nothing. Layers that one image alone has, or several all the same, are one stack."""
    ground = Stack()
    ends: dict[Digest, Stack] = {}
    for image in images:
        here = ground
        for layer, made_by in zip(image.manifest.layers, _made_by(image), strict=True):
            here = _next(here, layer, made_by)
        here.images.append(image)
        ends[image.manifest.digest] = here
    _stand(containers, ends, ground)
    # By hand, not by recursion: an image may have a thousand layers.
    waiting = [ground]
    while waiting:
        node = waiting.pop()
        node.above = [_joined(each) for each in node.above]
        waiting += node.above
    if ground.images:  # of no layers at all
        ground.above.insert(0, Stack(images=ground.images, containers=ground.containers))
    return ground.above


def _next(here: Stack, layer: Descriptor, made_by: str) -> Stack:
    for stack in here.above:
        if stack.layers and stack.layers[0].digest == layer.digest:
            return stack
    new = Stack([layer], made_by)
    here.above.append(new)
    return new


def _made_by(image: Image) -> list[str]:
    return [step.line.created_by if step.line else "" for step in steps(image) if step.layer is not None]


def _stand(containers: Sequence[Record], ends: Mapping[Digest, Stack], ground: Stack) -> None:
    gone: dict[str, Stack] = {}
    for container in containers:
        stack = ends.get(container.manifest)
        if stack is None:
            stack = gone.setdefault(container.image, Stack(gone=container.image))
        stack.containers.append(container)
    ground.above += gone.values()


def _joined(stack: Stack) -> Stack:
    """The stack, with the one above it if nothing else stands there."""
    while not stack.images and len(stack.above) == 1:
        [above] = stack.above
        above.layers[:0] = stack.layers
        stack = above
    return stack
