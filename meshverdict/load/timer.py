"""Wake up on time: an absolute timer that an epoll can wait for.

``epoll_wait`` alone counts in milliseconds. A timerfd is exact to the kernel's high resolution timers, and as
an edge-triggered event it needs no read afterwards. Python has it from 3.13 on; this is the same by ctypes.
"""

from __future__ import annotations

import ctypes
import os

_CLOCK_MONOTONIC = 1
_TFD_TIMER_ABSTIME = 1
_FLAGS = os.O_NONBLOCK | os.O_CLOEXEC


class _Timespec(ctypes.Structure):
    _fields_ = [("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long)]


class _Itimerspec(ctypes.Structure):
    _fields_ = [("interval", _Timespec), ("value", _Timespec)]


class Timer:
    """A timer on the clock of ``time.perf_counter`` (CLOCK_MONOTONIC on Linux)."""

    def __init__(self) -> None:
        # PyDLL keeps the interpreter lock: the calls take less time than giving it away.
        libc = ctypes.PyDLL(None, use_errno=True)
        self.fd: int = libc.timerfd_create(_CLOCK_MONOTONIC, _FLAGS)
        if self.fd < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create")
        self._spec = _Itimerspec()
        self._value = self._spec.value
        self._reference = ctypes.byref(self._spec)
        self._settime = libc.timerfd_settime

    def wake_at(self, when: float) -> None:
        """Become readable at *when*, seconds of ``time.perf_counter``; at once if that is over."""
        seconds = int(when)
        self._value.seconds = seconds
        self._value.nanoseconds = int((when - seconds) * 1e9) or 1
        self._settime(self.fd, _TFD_TIMER_ABSTIME, self._reference, None)

    def close(self) -> None:
        """Give the descriptor back."""
        os.close(self.fd)
