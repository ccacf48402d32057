#!/usr/bin/env python3
"""Sums up the result files of the test runners.

usage: sum_up_tests.py FOLDER RUNNER=EXIT_STATUS...

Reads FOLDER/RUNNER.xml (JUnit's format, as lit and pytest write it) of every
runner, prints one line a runner, then the failed tests, and closes with
`N passed, N failed, N skipped`. Exits 1 if a test failed or none ran.
"""

import sys
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass, field
from pathlib import Path
from typing import List


@dataclass
class Count:
    """Outcomes of one runner; `failures` holds names of tests."""

    passed: int = 0
    skipped: int = 0
    failures: List[str] = field(default_factory=list)

    def __str__(self) -> str:
        return f"{self.passed} passed, {len(self.failures)} failed, " f"{self.skipped} skipped"


def count_results(path: Path) -> Count:
    """Counts the test cases of one result file.

    Raises OSError or ElementTree.ParseError if it is not there or not whole.
    """
    count = Count()
    for case in ElementTree.parse(path).iter("testcase"):
        skipped = case.find("skipped")
        if case.find("failure") is not None or case.find("error") is not None:
            name = f"{case.get('classname', '')}::{case.get('name', '')}"
            count.failures.append(name)
        elif skipped is None:
            count.passed += 1
        elif "not selected" not in (skipped.get("message") or ""):
            count.skipped += 1
    return count


def count_runner(folder: Path, runner: str, status: int) -> Count:
    """Counts a runner's tests; its own breakdown counts as one failure."""
    try:
        count = count_results(folder / f"{runner}.xml")
    except (OSError, ElementTree.ParseError) as error:
        return Count(failures=[f"{runner} left no results ({error})"])
    if status != 0 and not count.failures:
        count.failures.append(f"{runner} exited with status {status}")
    return count


def main(arguments: List[str]) -> int:
    folder = Path(arguments[0])
    total = Count()
    for argument in arguments[1:]:
        runner, _, status = argument.partition("=")
        count = count_runner(folder, runner, int(status))
        print(f"{runner + ':':8}{count}")
        total.passed += count.passed
        total.skipped += count.skipped
        total.failures += count.failures
    for name in total.failures:
        print(f"FAILED {name}")
    print(total)
    return 1 if total.failures or total.passed == 0 else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
