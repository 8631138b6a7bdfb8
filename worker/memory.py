"""What the system tells of the memory of a child."""

from contextlib import suppress
from pathlib import Path


def private_bytes(pid: int) -> int:
    """What RLIMIT_DATA counts of a child; 0 where the system does not tell."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmData:"):
                return int(line.split()[1]) * 1024
    return 0


def n_killed_by_system() -> int:
    """How often the kernel killed for want of memory in our control group; 0 where it does not tell."""
    for name in ("/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control"):
        with suppress(OSError):
            for line in Path(name).read_text(encoding="ascii").splitlines():
                if line.startswith("oom_kill "):
                    return int(line.split()[1])
    return 0
