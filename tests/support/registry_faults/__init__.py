"""Faults of registries, as data: see `case.Case`. Each is a repository of one server; any client can be sent there."""

from support.registry_faults.answers import ANSWERS
from support.registry_faults.case import Case, refusal
from support.registry_faults.documents import DOCUMENTS
from support.registry_faults.server import Answer, Request
from support.registry_faults.transfers import TRANSFERS


def answer(request: Request) -> Answer:
    """What the registry of the case that a repository names answers; also below other names (`amd64/NAME`)."""
    case = CASES.get(request.repository.rpartition("/")[2])
    return refusal(404, "NAME_UNKNOWN", "unknown") if case is None else case.answer(request)


CASES: dict[str, Case] = {case.name: case for case in (*DOCUMENTS, *TRANSFERS, *ANSWERS)}
