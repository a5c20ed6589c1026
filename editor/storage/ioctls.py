"""ioctl(2) with any length of argument, while the other threads of this process go on.

Python's own lets them go on for short arguments only: with one of more than 1024 bytes they all stand still until the
kernel answers, which on a slow disk takes seconds, and on one that hangs for ever (Modules/fcntlmodule.c, 3.11).
"""

import ctypes
import os

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ioctl.argtypes = (ctypes.c_int, ctypes.c_ulong, ctypes.c_void_p)


def ioctl(descriptor: int, request: int, argument: bytearray) -> None:
    """Do it; the kernel's answer is in `argument` then. Raises OSError."""
    place = (ctypes.c_char * len(argument)).from_buffer(argument)
    if _libc.ioctl(descriptor, request, ctypes.addressof(place)) < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
