"""Runs test files in processes of their own, a few at a time, and adds up what they say.

`python -m tests.suite [--jobs N] PART ... [--PYTEST_OPTION=VALUE ...]`: a part is a folder or file,
or several joined by commas. A process of its own, since what an injected crash leaves of
librdkafka's threads spins, and ends with it. Each part's output is shown whole when it has ended.
"""

import argparse
import re
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor, as_completed

_COUNTS = re.compile(r"(\d+) (passed|failed|errors?|skipped)\b")
NOTHING_RAN = 5
"""pytest's exit code for no tests: everything in the part was left out."""


def _run(part: str, more: list[str]) -> tuple[str, int, str, float]:
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *part.split(","), *more],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return part, done.returncode, done.stdout, time.monotonic() - began


def main() -> int:
    """Run the parts; the exit code is 1 when one failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.suite", description=__doc__)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("parts", nargs="+")
    known, more = parser.parse_known_args()
    counts: Counter[str] = Counter()
    failed: list[str] = []
    with ThreadPoolExecutor(known.jobs) as pool:
        for run in as_completed([pool.submit(_run, part, more) for part in known.parts]):
            part, code, output, took_s = run.result()
            shown = part if len(part) < 100 else f"{part[:90]} and others"
            print(f"== {shown} ({took_s:.0f} s)\n{output}", flush=True)  # noqa: T201 - what it is for
            last = output.strip().rpartition("\n")[2]
            counts.update({word.rstrip("s"): int(n) for n, word in _COUNTS.findall(last)})
            if code not in {0, NOTHING_RAN}:
                failed.append(part)
    if failed:
        print(f"failed: {' '.join(failed)}")  # noqa: T201 - as above
    bad = counts["failed"] + counts["error"]
    print(f"{counts['passed']} passed, {bad} failed, {counts['skipped']} skipped")  # noqa: T201 - as above
    return 1 if failed or not counts["passed"] else 0


if __name__ == "__main__":
    sys.exit(main())
