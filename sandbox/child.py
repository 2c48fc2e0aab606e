"""A child process that never outlives its parent, also when the parent is killed."""

import ctypes
import os
import select
import signal
import stat
import sys
import threading
import time

_PR_SET_PDEATHSIG = 1
"""From linux/prctl.h."""
_POLL_S = 0.5
_IMPORTED_BY_PID = os.getpid()
_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
# Loaded on import, because a preexec_fn runs between fork and exec, where loading can deadlock.


def die_with_parent() -> None:
    """Make the kernel kill this process (SIGKILL) when its parent ends.

    Two ways to use it, both without arguments: as ``preexec_fn`` of subprocess.Popen, for a program
    of any kind (on Linux the wish survives exec), or first thing in a Python child's own main.

    On Linux it is prctl(PR_SET_PDEATHSIG). That signal comes when the *thread* that started the
    child ends, so start children from a thread that lives as long as they should (the main one):
    https://man7.org/linux/man-pages/man2/PR_SET_PDEATHSIG.2const.html
    Elsewhere a daemon thread of a Python child watches for the end of stdin (when that is a pipe)
    and for a new parent; it does not survive exec, so a program of another kind is not covered.
    Raises OSError when prctl fails.
    """
    forked = os.getpid() != _IMPORTED_BY_PID
    parent_pid = _IMPORTED_BY_PID if forked else os.getppid()
    if _LIBC is not None:
        if _LIBC.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
        if os.getppid() != parent_pid:  # it ended before the wish was made
            os.kill(os.getpid(), signal.SIGKILL)
    elif not forked:
        threading.Thread(
            target=_watch, args=(parent_pid,), name="die-with-parent", daemon=True
        ).start()


def _watch(parent_pid: int) -> None:
    descriptor = 0
    piped = sys.stdin is not None and stat.S_ISFIFO(os.fstat(descriptor).st_mode)
    while os.getppid() == parent_pid:
        if not piped:
            time.sleep(_POLL_S)
        elif select.select([descriptor], [], [], _POLL_S)[0] and not os.read(descriptor, 4096):
            break
    os.kill(os.getpid(), signal.SIGKILL)
