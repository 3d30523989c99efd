"""automount.py DIR COMMAND...: an automounter for one directory, as systemd is one for an automount unit.

Whoever goes to DIR waits while COMMAND runs, which has to mount something there. Ends when DIR is unmounted.
"""

import ctypes
import fcntl
import os
import struct
import subprocess
import sys

READY, FAIL = 0x9360, 0x9361  # linux/auto_fs.h
LENGTH = 304  # struct autofs_v5_packet
MISSING_DIRECT = 5

where, command = sys.argv[1], sys.argv[2:]
# Processes of this group see through the automount: as systemd does, mount(8) is run in it.
os.setpgid(0, 0)
reads, writes = os.pipe2(os.O_DIRECT)
libc = ctypes.CDLL(None, use_errno=True)
options = f"fd={writes},pgrp={os.getpgrp()},minproto=5,maxproto=5,direct"
if libc.mount(b"test", where.encode(), b"autofs", 0, options.encode()) != 0:
    sys.exit(f"autofs: {os.strerror(ctypes.get_errno())}")
os.close(writes)
control = os.open(where, os.O_RDONLY | os.O_DIRECTORY)
while True:
    packet = os.read(reads, LENGTH)
    if not packet:
        break
    _, kind, token = struct.unpack_from("iiI", packet)
    if kind != MISSING_DIRECT:
        continue
    mounted = subprocess.run(command, close_fds=True, check=False)
    fcntl.ioctl(control, READY if mounted.returncode == 0 else FAIL, token)
