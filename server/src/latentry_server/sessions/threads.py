"""How many threads a session may use."""

import math
import os
from pathlib import Path

_CGROUP_V2 = Path("/sys/fs/cgroup/cpu.max")
_CGROUP_V1 = (Path("/sys/fs/cgroup/cpu/cpu.cfs_quota_us"), Path("/sys/fs/cgroup/cpu/cpu.cfs_period_us"))


def available_cpus() -> int:
    """Count the CPUs that this process may use: its affinity, and its control group's quota where it has one."""
    quota = quota_cpus(_read_quota())
    affinity = len(os.sched_getaffinity(0))
    return affinity if quota is None else min(affinity, quota)


def quota_cpus(cpu_max: str) -> int | None:
    """Read "quota period", both in microseconds, as whole CPUs, at least 1; None without a quota ("max", "-1", "")."""
    match cpu_max.split():
        case [quota, period] if quota.isdigit() and period.isdigit() and int(period) > 0:
            return max(1, math.ceil(int(quota) / int(period)))
        case _:
            return None


def _read_quota() -> str:
    try:
        return _CGROUP_V2.read_text(encoding="ascii")
    except OSError:
        pass
    try:
        return " ".join(path.read_text(encoding="ascii").strip() for path in _CGROUP_V1)
    except OSError:
        return ""
