"""Which source a stage's fingerprint covers."""

from pathlib import Path

import pytest

from eusml import digests


@pytest.mark.parametrize(
    ("file", "matters"),
    [("evaluation/metrics.py", True), ("commands/evaluate.py", True), ("evaluation/reporting/build.py", False),
     ("commands/report.py", False), ("learning/train.py", False)],
)  # fmt: skip
def test_a_stage_is_made_anew_by_the_code_that_makes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, matters: bool
) -> None:
    root = tmp_path / "reporting" / "eusml"  # a folder above may be called anything
    for source in Path(digests.__file__).parent.rglob("*.py"):
        copy = root / source.relative_to(Path(digests.__file__).parent)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(source.read_bytes())
    monkeypatch.setattr(digests, "__file__", str(root / "digests.py"))
    before = digests.code_digest.__wrapped__("evaluate", "data", "evaluation")
    (root / file).write_text("changed = True\n")
    assert (digests.code_digest.__wrapped__("evaluate", "data", "evaluation") != before) is matters
