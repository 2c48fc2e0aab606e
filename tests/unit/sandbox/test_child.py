import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PREEXEC = """
import subprocess, time
from sandbox.child import die_with_parent
child = subprocess.Popen(["sleep", "600"], preexec_fn=die_with_parent)
print(child.pid, flush=True)
time.sleep(600)
"""
OWN_MAIN = """
import subprocess, sys, time
code = "from sandbox.child import die_with_parent; die_with_parent(); "
code += "print('ready', flush=True); import time; time.sleep(600)"
child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
child.stdout.readline()
print(child.pid, flush=True)
time.sleep(600)
"""


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="observes the child by its pidfd")
@pytest.mark.parametrize("script", [PREEXEC, OWN_MAIN], ids=["preexec_fn", "own main"])
def test_the_child_ends_when_its_parent_is_killed(script: str) -> None:
    """SIGKILL of the parent ends the child, also a program that knows nothing of the guard."""
    parent = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert parent.stdout is not None
    child_pid = int(parent.stdout.readline())
    watched = os.pidfd_open(child_pid)
    try:
        assert select.select([watched], [], [], 0)[0] == []
        parent.kill()
        parent.wait(10)
        assert select.select([watched], [], [], 10)[0] == [watched]
    finally:
        if not select.select([watched], [], [], 0)[0]:
            os.kill(child_pid, signal.SIGKILL)
        os.close(watched)
        parent.stdout.close()


def test_a_living_parent_keeps_its_child() -> None:
    """The guard itself ends nothing: a short program runs to its own end."""
    code = "from sandbox.child import die_with_parent; die_with_parent(); print('done')"
    ended = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=30,
        check=True,
    )
    assert ended.stdout == "done\n"
