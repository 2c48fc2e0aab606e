"""What the figures were measured on."""

import os
import platform
from pathlib import Path
from typing import Any

import psutil

BUSY_PER_CORE = 0.5


def describe() -> dict[str, Any]:
    """Give CPU, cores, memory, system, Python and the load average of the last minute."""
    return {
        "cpu": _cpu_model(),
        "cores": cores(),
        "memory_gb": round(psutil.virtual_memory().total / 2**30, 1),
        "os": _system(),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "load_average_at_start": round(os.getloadavg()[0], 2),
    }


def cores() -> int:
    """Count the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def warning(machine: dict[str, Any]) -> str:
    """Say that the machine is too busy for fair figures, or give an empty string."""
    load = machine["load_average_at_start"]
    if load <= BUSY_PER_CORE * machine["cores"]:
        return ""
    return (
        f"the load average is {load} on {machine['cores']} cores: something else is running, and "
        "the figures will be lower than they could be"
    )


def peak_rss_mb(pid: int) -> float:
    """Give a live process's largest resident memory so far; outside Linux, what it has now."""
    status = Path(f"/proc/{pid}/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return round(int(line.split()[1]) / 1024, 1)
    return round(float(psutil.Process(pid).memory_info().rss) / 2**20, 1)


def cpu_s(pid: int) -> float:
    """Give the processor time that a live process has used, all its threads together."""
    used = psutil.Process(pid).cpu_times()
    return float(used.user + used.system)


def _cpu_model() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _system() -> str:
    try:
        name = platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        name = platform.system()
    return f"{name}, {platform.system()} {platform.release()} {platform.machine()}"
