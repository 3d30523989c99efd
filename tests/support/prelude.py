"""What every script of a test begins with: it works in the directory named by its first argument."""
import ctypes, errno, fcntl, json, mmap, os, shutil, signal, socket, stat, struct, subprocess, sys, time

os.chdir(sys.argv[1])
libc = ctypes.CDLL(None, use_errno=True)
NOREPLACE = 1  # renameat2(2)


def put(path, content):
    with open(path, 'wb') as file:
        file.write(content)


def get(path):
    with open(path, 'rb') as file:
        return file.read()


def descriptor(path, flags=os.O_RDWR, mode=0o666):
    return os.open(path, flags, mode)


def code(call, *arguments, **named):
    """The errno's name that a call fails with; None when it succeeds."""
    try:
        call(*arguments, **named)
    except OSError as error:
        return errno.errorcode[error.errno]


def refused(expected, call, *arguments, **named):
    found = code(call, *arguments, **named)
    assert found == expected, f'{found} instead of {expected}: {call.__name__}{arguments}{named}'


def same(found, expected):
    assert found == expected, f'{found!r:.300} instead of {expected!r:.300}'


def renameat2(old, new, flags):
    at = ctypes.c_int(-100)
    if libc.renameat2(at, os.fsencode(old), at, os.fsencode(new), flags):
        raise OSError(ctypes.get_errno(), new)


class Child:
    """A process that does `work(*arguments)`; `answer` waits for what it returns."""

    def __init__(self, work, *arguments):
        reading, writing = os.pipe()
        sys.stdout.flush()
        self.pid = os.fork()
        if self.pid:
            os.close(writing)
            self.pipe = reading
            return
        status = 1
        try:
            os.close(reading)
            os.write(writing, json.dumps(work(*arguments)).encode())
            status = 0
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(status)

    def answer(self):
        with open(self.pipe) as pipe:
            said = pipe.read()
        _, status = os.waitpid(self.pid, 0)
        assert status == 0, 'a child has failed'
        return json.loads(said)

    def kill(self):
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self.pipe)


def at_once(count, work):
    """What `work(0)`, `work(1)`... return, each in a process of its own, let go at one moment."""
    waiting, go = os.pipe()

    def run(number):
        os.close(go)
        os.read(waiting, 1)
        return work(number)

    children = [Child(run, number) for number in range(count)]
    os.close(go)
    os.close(waiting)
    return [child.answer() for child in children]
