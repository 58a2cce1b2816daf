"""A device's turn in an attempt: what its script is told, what it is sent, and what becomes of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace

from polyarch.contract.fleet import FleetDevice, FleetResult, FleetTask
from polyarch.contract.storage import HasBlobFiles, Image
from polyarch.errors import PolyarchError
from polyarch.fleet.archive import image_archive
from polyarch.fleet.at_hand import AtHand
from polyarch.fleet.device_outcome import Expected, Fault, image_outcome, outcome_of, read_answer
from polyarch.fleet.device_pull import (
    PullOrder,
    cannot_name,
    layout_question,
    layout_values,
    pull_values,
    temporary_name,
    told_digest,
)
from polyarch.fleet.facts import Engine
from polyarch.fleet.layout_stream import LayoutParcel, index_sum, layout_parcel, layout_stream
from polyarch.fleet.offers import content_of
from polyarch.fleet.outcomes import DeviceOutcome, ImageOutcome, Transport
from polyarch.fleet.planned import DevicePlan, ImagePlan
from polyarch.fleet.rate import RateLimit
from polyarch.oci.digest import Digest
from polyarch.serve.one_time import OneTimeServer


class Turn:
    """One device, from its plan to its outcome. One thread goes through it; `sent` may be asked from another.

    began      when it did (seconds since 1970); 0 before
    under_way  it has begun and not ended
    told       the bytes that were told of last
    spent      seconds of its time that a way took that was none
    """

    def __init__(
        self,
        plan: DevicePlan,
        device: FleetDevice,
        engine: Engine,
        transport: Transport,
        images: Mapping[Digest, Image],
        check: bool,
    ) -> None:
        self.plan, self.engine, self.transport = plan, engine, transport
        self.began, self.under_way, self.told, self.spent = 0.0, False, 0, 0.0
        self._device, self._check = device, check
        self._digests: dict[int, frozenset[Digest]] = {}
        self._known: dict[int, ImageOutcome] = {}
        for number, line in enumerate(plan.images):
            self._expect(number, line, images)
        # The check is for all images: where one cannot be, it is not made.
        self._check &= all(image.status != "failed" for image in self._known.values())
        self._order = PullOrder("", "", "", 0)
        self._path: str | None = None
        self._sums = ("", "")
        self._parcel: LayoutParcel | None = None
        self._streamed = self._tunneled = 0
        self._fault: Fault | None = None

    def _expect(self, number: int, line: ImagePlan, images: Mapping[Digest, Image]) -> None:
        wanted = told_digest(line, self.engine, images)
        if line.reason_code is not None:
            self._known[number] = image_outcome(line, "failed", (line.reason_code, line.reason or line.reason_code))
            return
        fault = cannot_name(line, self.engine, self.transport)
        if fault is not None and line.present:
            self._known[number] = image_outcome(line, "up-to-date")
        elif fault is not None:
            self._known[number] = image_outcome(line, "failed", fault)
        elif wanted is not None and (line.manifest in images or line.present):
            accepted = (wanted, line.digest) if line.present and line.digest else (wanted,)
            self._digests[number] = frozenset(accepted)
        elif line.present:
            self._known[number] = image_outcome(line, "up-to-date")
        else:
            self._known[number] = image_outcome(line, "failed", ("internal", "its documents are not here"))

    def _lines(self) -> Iterator[tuple[int, ImagePlan]]:
        """The images that something is to be done for."""
        return ((number, line) for number, line in enumerate(self.plan.images) if number not in self._known)

    # What its script is told.

    def question(self, order: PullOrder) -> FleetTask:
        """Asks an OCI layout what it has."""
        self._order = order
        return FleetTask(self._device, layout_question(self.engine, order))

    def told_layout(self, result: FleetResult, images: Mapping[Digest, Image]) -> DeviceOutcome | None:
        """Reads the answer. The outcome, where that is all; None where something is to be sent, or checked."""
        answer, fault = read_answer(result, self._order.nonce)
        if fault is None and result.status != "skipped":
            try:
                self._parcel = layout_parcel(answer.layout, dict(self._lines()), images)
            except PolyarchError as error:
                fault = "integrity", error.message
        if self._parcel is not None:
            for number, manifest in self._parcel.at_hand.items():
                self._known[number] = image_outcome(self.plan.images[number], "up-to-date", None, manifest)
            if self._parcel.manifests or self._check:
                self._sums = answer.layout.sum, index_sum(self._parcel)
                return None
        expected = Expected(self._digests, self._known)
        return outcome_of(
            self.plan, result, (answer, fault), expected, transport=self.transport, sent=0, began=result.began
        )

    def task(
        self, order: PullOrder, server: OneTimeServer, blobs: HasBlobFiles, images: Mapping[Digest, Image]
    ) -> FleetTask:
        """Brings the images. For a tunnel they are admitted at the server."""
        if not self._check:
            order = replace(order, check=None)
        if self._parcel is not None:
            self._order = order
            values = layout_values(self.engine, order, self._parcel.manifests, *self._sums)
            return FleetTask(self._device, values)
        if self.transport == "tunnel":
            wanted = dict.fromkeys(line.manifest for _, line in self._lines() if line.manifest in images)
            self._path = server.admit([images[manifest] for manifest in wanted if manifest], blobs)
            order = replace(order, path=self._path)
        self._order = order
        return FleetTask(self._device, pull_values(self.plan, self.engine, images, order, self.transport))

    # What it is sent.

    def stream(
        self, images: Mapping[Digest, Image], blobs: HasBlobFiles, limit: RateLimit | None, *, whole: bool
    ) -> Callable[[], Iterable[bytes]]:
        """What goes to the standard input of its script; `whole` leaves no layer out. The bytes are counted."""

        def pieces() -> Iterator[bytes]:
            try:
                for piece in self._archive(images, blobs, whole):
                    if limit is not None:
                        limit.take(len(piece))
                    self._streamed += len(piece)
                    yield piece
            except PolyarchError as error:
                self._fault = "internal", error.message
            except OSError as error:
                self._fault = "internal", f"cannot read what is to be sent: {error.strerror or error}"

        return pieces

    def _archive(self, images: Mapping[Digest, Image], blobs: HasBlobFiles, whole: bool) -> Iterator[bytes]:
        if self._parcel is not None:
            return layout_stream(self._parcel, blobs) if self._parcel.manifests else iter(())
        at_hand = AtHand(self.engine)
        named: list[tuple[Image, str]] = []
        every, lacking = set[Digest](), set[Digest]()
        for number, line in self._lines():
            if line.present or line.manifest is None:
                continue
            image = images[line.manifest]
            named.append((image, temporary_name(self._order, number)))
            every.update(layer.digest for layer in image.manifest.layers)
            lacking.update(digest for digest, _, _ in at_hand.lacks(content_of(image.manifest, image.config)))
        return image_archive(named, blobs, frozenset() if whole else every - lacking, self.engine)

    def sent(self, server: OneTimeServer) -> int:
        """Bytes that have gone to it in this attempt."""
        path = self._path
        return self._streamed + (self._tunneled if path is None else server.sent(path))

    def dismiss(self, server: OneTimeServer) -> None:
        """Nothing more is to be had for it at the server."""
        if self._path is not None:
            server.dismiss(self._path)
            self._tunneled += server.sent(self._path)
            self._path = None

    # What becomes of it.

    def outcome(self, result: FleetResult, server: OneTimeServer) -> DeviceOutcome:
        """The outcome, by what its script answered."""
        self.under_way = False
        answer, fault = read_answer(result, self._order.nonce)
        own = self._fault
        if self._path is not None and (lacking := server.fault(self._path)) is not None:
            own = "internal", lacking.message
        # What is wrong here says more than what an engine makes of it.
        if own is not None and any(image.status == "failed" for image in answer.images.values()):
            fault = own
        self.dismiss(server)
        return outcome_of(
            self.plan,
            result,
            (answer, fault),
            Expected(self._digests, self._known, self._check),
            transport=self.transport,
            sent=self.sent(server),
            began=self.began,
        )
