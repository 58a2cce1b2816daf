"""What to say where no candidate fits."""

from __future__ import annotations

from polyarch.errors import HostError, NoVariantError, PolyarchError
from polyarch.reference import Reference
from polyarch.selection.types import Selection, Verdict


def no_choice(reference: Reference, selection: Selection) -> PolyarchError:
    """The error for a selection without a choice: it lists what exists and what would make one fit.

    HostError if an emulator that is not installed here would do; else NoVariantError.
    """
    name, target = reference.familiar, selection.target
    details: dict[str, object] = {
        "reference": str(reference),
        "device": target.name,
        "candidates": [{"platform": _platform(verdict), "refused": verdict.refused} for verdict in selection.verdicts],
    }
    exist = ", ".join(dict.fromkeys(_platform(verdict) for verdict in selection.verdicts)) or "none"
    if selection.policy == "auto" and any(verdict.lacks_emulator for verdict in selection.verdicts):
        lacking = [verdict for verdict in selection.verdicts if verdict.lacks_emulator]
        return HostError(
            f"{name}: no variant runs on {target.name} natively, and there is no emulator here"
            f" for {_platform(lacking[0])} (variants: {exist})",
            "install one, on Debian: apt install qemu-user-static",
            **details,
        )
    if selection.policy == "never" and any("emulation" in (verdict.refused or "") for verdict in selection.verdicts):
        hint = "allow emulation with --emulation auto"
    elif not selection.verdicts:
        hint = "the name holds no image of any platform; look at it with: polyarch tags " + reference.familiar_name
    else:
        hint = f"to take one of them for another machine, name it: --platform {_platform(selection.verdicts[0])}"
    return NoVariantError(f"{name}: no variant can run on {target.name} (variants: {exist})", hint, **details)


def _platform(verdict: Verdict) -> str:
    return str(verdict.candidate.platform) if verdict.candidate.platform else "unknown"
