"""Does the same random calls in two directories, as several users, and fails where they show a difference.

    random_attributes.py run SEED STEPS THIS THAT
    random_attributes.py list DIRECTORY         what has to survive a remount

After every call both trees are compared: results and errors, names, modes, owners, sizes, links, and whose
times have changed. As anybody but root it does the same with one user. Device nodes are left out, as a mount
is `nodev`, and so is writing to a fifo, of which the kernel tells no filesystem but those on disks. Set-group-id
without the group's right to execute means nothing any more; who loses it by writing depends on all groups of
the writer, of which FUSE tells one. chown(-1, -1), which may take set-id bits away, comes as a change of nothing.
"""

import ctypes
import errno
import os
import random
import stat
import sys

# User, group, further groups.
USERS = [(0, 0, []), (0, 0, []), (1, 1, []), (1, 1, [65534]), (65534, 65534, []), (65534, 65534, [1, 77])]
NAMES = "abc"
MODES = [0o0, 0o070, 0o644, 0o666, 0o700, 0o755, 0o777, 0o1777, 0o2644, 0o2655, 0o2775, 0o2777, 0o3777, 0o4755, 0o6755]
UMASKS = [0o000, 0o022, 0o027, 0o077]
FLAGS = [
    os.O_RDONLY,
    os.O_RDONLY | os.O_DIRECTORY,
    os.O_RDONLY | os.O_NOFOLLOW,
    os.O_RDWR | os.O_APPEND,
    os.O_WRONLY | os.O_TRUNC,
    os.O_RDWR | os.O_CREAT,
    os.O_WRONLY | os.O_CREAT | os.O_EXCL,
    os.O_WRONLY | os.O_CREAT | os.O_TRUNC,
]
NOW, OMIT = (1 << 30) - 1, (1 << 30) - 2
AT_FDCWD, AT_SYMLINK_NOFOLLOW, RENAME_NOREPLACE = -100, 0x100, 1
MOST_OPEN = 6

libc = ctypes.CDLL(None, use_errno=True)
root = os.geteuid() == 0


class Timespec(ctypes.Structure):
    _fields_ = [("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long)]


def checked(result):
    if result != 0:
        raise OSError(ctypes.get_errno(), "")


def set_times(path, times, follow):
    pair = (Timespec * 2)(*(Timespec(*time) for time in times))
    flags = 0 if follow else AT_SYMLINK_NOFOLLOW
    checked(libc.utimensat(AT_FDCWD, path.encode(), pair, flags))


def rename_unless_there(old, new):
    checked(libc.renameat2(AT_FDCWD, old.encode(), AT_FDCWD, new.encode(), RENAME_NOREPLACE))


class Side:
    """One of the two directories, with the descriptors that are open there."""

    def __init__(self, path):
        self.handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        self.open = []
        os.fchmod(self.handle, 0o777)
        self.seen = self.look()

    def attempt(self, user, umask, call):
        """The result of a call in this directory, or the name of its error."""
        os.fchdir(self.handle)
        os.umask(umask)
        become(user)
        try:
            return call(self)
        except OSError as error:
            return errno.errorcode[error.errno]
        finally:
            become(USERS[0])

    def look(self):
        """The status of everything below, and of what is open."""
        os.fchdir(self.handle)
        found = {}

        def walk(path):
            status = found[path] = os.lstat(path)
            if stat.S_ISDIR(status.st_mode):
                for name in sorted(os.listdir(path)):
                    walk(f"{path}/{name}")

        walk(".")
        for number, descriptor in enumerate(self.open):
            found[f"descriptor {number}"] = os.fstat(descriptor)
        return found


def become(user):
    if root:
        os.seteuid(0)
        os.setgroups(user[2])
        os.setegid(user[1])
        os.seteuid(user[0])


def write(descriptor, size):
    if size > 0 and stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.write(descriptor, b"x" * size)


def random_call(pick):
    """A description, and a function of a side that makes the call and gives what is to be compared."""

    def path():
        return "/".join(pick.choice(NAMES) for _ in range(pick.choice([1, 1, 2, 2, 3])))

    one, other = path(), path()
    mode, size, flags = pick.choice(MODES), pick.choice([0, 0, 5, 5000]), pick.choice(FLAGS) | os.O_NONBLOCK
    owner = pick.choice([(-1, 0), (-1, 1), (-1, 77), (-1, 65534), (0, -1), (1, -1), (65534, -1), (0, 0), (1, 77), (65534, 1)])
    moments = [(pick.randrange(1, 2**31), pick.randrange(10**9)), (0, NOW), (0, OMIT)]
    times, follow = (pick.choice(moments), pick.choice(moments)), pick.random() < 0.7
    access, number = pick.choice([os.R_OK, os.W_OK, os.X_OK]), pick.randrange(MOST_OPEN)

    def write_new(side):
        descriptor = os.open(one, flags, mode)
        try:
            write(descriptor, size)
        finally:
            os.close(descriptor)

    def keep_open(side):
        descriptor = os.open(one, flags & ~os.O_CREAT)
        if len(side.open) == MOST_OPEN:
            os.close(side.open.pop(0))
        side.open.append(descriptor)

    def by_descriptor(call):
        return lambda side: call(side.open[number]) if number < len(side.open) else None

    def close(side):
        if number < len(side.open):
            os.close(side.open.pop(number))

    def touch(side):
        set_times(one, times, follow)
        status = os.stat(one, follow_symlinks=follow)
        if not stat.S_ISREG(status.st_mode):
            return None  # whoever reads directories and links changes their access times
        told = zip(times, (status.st_atime_ns, status.st_mtime_ns))
        return [at for (_, nanoseconds), at in told if nanoseconds < 10**9]

    calls = {
        f"mkdir {one} {mode:o}": (4, lambda side: os.mkdir(one, mode)),
        f"open {one} {flags:o} {mode:o}, write {size}": (6, write_new),
        f"chmod {one} {mode:o}": (4, lambda side: os.chmod(one, mode)),
        f"chown {one} {owner}": (4, lambda side: os.chown(one, *owner)),
        f"lchown {one} {owner}": (1, lambda side: os.lchown(one, *owner)),
        f"utimensat {one} {times} {follow}": (4, touch),
        f"rename {one} {other}": (5, lambda side: os.rename(one, other)),
        f"renameat2 {one} {other} NOREPLACE": (1, lambda side: rename_unless_there(one, other)),
        f"unlink {one}": (2, lambda side: os.unlink(one)),
        f"rmdir {one}": (2, lambda side: os.rmdir(one)),
        f"symlink {other} {one}": (2, lambda side: os.symlink(other, one)),
        f"mkfifo {one} {mode:o}": (1, lambda side: os.mkfifo(one, mode)),
        f"mknod {one} {mode:o} socket": (1, lambda side: os.mknod(one, mode | stat.S_IFSOCK)),
        f"mknod {one} {mode:o} file": (1, lambda side: os.mknod(one, mode | stat.S_IFREG)),
        f"truncate {one} {size}": (2, lambda side: os.truncate(one, size)),
        f"access {one} {access}": (1, lambda side: os.access(one, access, effective_ids=True)),
        f"readlink {one}": (1, lambda side: os.readlink(one)),
        f"readdir {one}": (1, lambda side: sorted(os.listdir(one))),
        f"open {one} {flags:o}, keep it": (8, keep_open),
        f"fchmod {number} {mode:o}": (3, by_descriptor(lambda open: os.fchmod(open, mode))),
        f"fchown {number} {owner}": (3, by_descriptor(lambda open: os.fchown(open, *owner))),
        f"futimens {number} {moments[0]}": (2, by_descriptor(lambda open: os.utime(open, times=(moments[0][0], 7)))),
        f"ftruncate {number} {size}": (2, by_descriptor(lambda open: os.ftruncate(open, size))),
        f"write {number} {size}": (4, by_descriptor(lambda open: write(open, size))),
        f"close {number}": (2, close),
    }
    name = pick.choices(list(calls), [weight for weight, _ in calls.values()])[0]
    return name, calls[name][1]


def shown(status):
    """What has to be the same on both sides."""
    directory, mode = stat.S_ISDIR(status.st_mode), status.st_mode
    if not directory and not mode & stat.S_IXGRP:
        mode &= ~stat.S_ISGID
    size = None if directory else status.st_size
    return f"{mode:o}", status.st_uid, status.st_gid, status.st_nlink, size


def changed(side, now, path):
    """Which times of an inode have changed, if it is still the one that it was."""
    before = side.seen.get(path)
    if before is None or before.st_ino != now[path].st_ino:
        return None
    return before.st_mtime_ns != now[path].st_mtime_ns, before.st_ctime_ns != now[path].st_ctime_ns


def differences(this, that):
    here, there = this.look(), that.look()
    for path in sorted(here.keys() | there.keys()):
        if path not in here or path not in there:
            yield f"{path} is only {'here' if path in here else 'there'}"
            continue
        if shown(here[path]) != shown(there[path]):
            yield f"{path} is {shown(here[path])} here and {shown(there[path])} there"
        times = changed(this, here, path), changed(that, there, path)
        if None not in times and times[0] != times[1]:
            yield f"{path}: mtime and ctime have changed {times[0]} here and {times[1]} there"
    this.seen, that.seen = here, there


def run(seed, steps, this, that):
    pick = random.Random(seed)
    this, that = Side(this), Side(that)
    for step in range(steps):
        name, call = random_call(pick)
        user, umask = pick.choice(USERS), pick.choice(UMASKS)
        results = [side.attempt(user, umask, call) for side in (this, that)]
        found = list(differences(this, that))
        if results[0] != results[1]:
            found.insert(0, f"{results[0]} here and {results[1]} there")
        if found:
            sys.exit("\n  ".join([f"seed {seed}, step {step}, as {user} umask {umask:03o}: {name}", *found]))


def lasting(path):
    for status_of, status in sorted(Side(path).seen.items()):
        directory = stat.S_ISDIR(status.st_mode)
        rest = () if directory else (status.st_size, status.st_mtime_ns)
        print(status_of, f"{status.st_mode:o}", status.st_uid, status.st_gid, *rest)


if sys.argv[1] == "run":
    run(int(sys.argv[2]), int(sys.argv[3]), sys.argv[4], sys.argv[5])
else:
    lasting(sys.argv[2])
