"""Runs a measurement in a fresh process: `python -m tests.bench.fresh <module> <seconds>`.

So one's memory and event loops do not count into another's. The answer is the last line on stdout.
"""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from sandbox.child import die_with_parent
from tests.bench.result import BenchError

ROOT = Path(__file__).parents[2]
TIMEOUT_S = 90.0


def run_fresh(module: str, seconds: float) -> dict[str, Any]:
    """Call run(seconds) of a module of this package; give its answer. Raises BenchError."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.bench.fresh", module, str(seconds)],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=die_with_parent,  # noqa: PLW1509 - the bench starts it from its main thread
        env=os.environ | {"PYTHONWARNINGS": "ignore"},
    ) as child:
        try:
            answer, errors = child.communicate(timeout=TIMEOUT_S)
        except subprocess.TimeoutExpired:
            child.kill()
            raise BenchError(f"{module} did not end within {TIMEOUT_S:.0f} s") from None
    if child.returncode:
        raise BenchError(f"{module} ended with code {child.returncode}: {errors[-1_000:]}")
    found: dict[str, Any] = json.loads(answer.splitlines()[-1])
    return found


def main() -> None:
    """Run what the command line names."""
    module, seconds = sys.argv[1:]
    found = importlib.import_module(f"tests.bench.{module}").run(float(seconds))
    print(json.dumps(found), flush=True)  # noqa: T201 - the answer to run_fresh


if __name__ == "__main__":
    main()
