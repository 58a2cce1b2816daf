from __future__ import annotations

from pathlib import Path

from polyarch.container.record import RECORD, Record, new_id, now
from polyarch.container.rights import Rights
from polyarch.container.state import Containers
from polyarch.verbs.doctor.containers import containers


def test_damaged_records_are_told(tmp_path: Path) -> None:
    assert containers(tmp_path).fact == "none yet"
    made = Containers(tmp_path / "containers", Rights("trusted", None)).create(
        Record(new_id(), "web", "x:1", "sha256:1", "linux/arm64", ("sh",), now(), (), rm=False)
    )
    made.close()
    assert containers(tmp_path).verdict == "ok"
    (made.directory / RECORD).write_text("{")
    check = containers(tmp_path)
    assert check.verdict == "failed"
    assert check.mend
    assert check.mend.command == f"polyarch rm -f {made.record.id[:12]}"
    assert not check.essential
