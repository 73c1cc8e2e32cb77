"""Signals: those that ask this process to stop, and those that ended another one."""

import asyncio
import signal


def stop_signal() -> asyncio.Event:
    """Return what SIGTERM and SIGINT will set, on the running event loop."""
    stop = asyncio.Event()
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signal_number, stop.set)
    return stop


def describe_exit(code: int) -> str:
    """Say how a process ended, as `subprocess` gives it: `SIGKILL`, or `exit code 1`."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:  # most real-time signals have no name
        return f"signal {-code}"
