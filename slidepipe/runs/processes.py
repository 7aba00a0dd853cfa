"""Which process of this machine is meant by a number, also after the number was given to another one."""

from __future__ import annotations

import os
import socket
import sys
from contextlib import suppress
from pathlib import Path


def this_machine() -> str:
    """Name this machine so that a number of a process means something.

    Returns
    -------
    str
        Of Linux, this start of it and the name space of its processes; else the name of the host.
    """
    if sys.platform == "linux":
        with suppress(OSError):
            boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
            return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    return socket.gethostname()


def birth_of(pid: int) -> str | None:
    """Tell a process from a later one of the same number.

    Parameters
    ----------
    pid
        Number of a process on this machine.

    Returns
    -------
    str or None
        When it was started, in the machine's own count; None if it is dead.
    """
    if sys.platform != "linux":
        try:
            os.kill(pid, 0)
        except OSError as error:
            return "" if isinstance(error, PermissionError) else None
        return ""
    try:
        state, *rest = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(") ")[2].split()
    except OSError:
        return None
    # Ticks since the machine was started, which setting its clock does not change.
    return None if state == "Z" else rest[18]
