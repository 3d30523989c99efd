//! The right error at the right call, and nothing done.

use crate::support::place::Place;
use crate::support::python::python;
use crate::support::tree::names;

crate::scenarios! {
    every_call_tells_why_a_path_leads_nowhere,
    names_that_are_taken_and_directories_that_are_not_empty_are_told,
    directories_are_no_files_and_files_no_directories,
    links_are_followed_so_far_and_no_further,
    descriptors_do_what_they_were_opened_for,
}

/// Every call that takes a path.
const CALLS: &str = r"
os.makedirs('d/full')
put('file', b'x')
put('d/full/within', b'y')
calls = {
    'stat': os.stat, 'lstat': os.lstat, 'chdir': os.chdir, 'listdir': os.listdir,
    'readlink': os.readlink, 'rmdir': os.rmdir, 'unlink': os.unlink, 'mkdir': os.mkdir,
    'mkfifo': os.mkfifo, 'symlink': lambda path: os.symlink('x', path),
    'truncate': lambda path: os.truncate(path, 0), 'chmod': lambda path: os.chmod(path, 0o700),
    'chown': lambda path: os.chown(path, 0, 0), 'utime': lambda path: os.utime(path),
    'statvfs': os.statvfs,
    'rename': lambda path: os.rename(path, 'new'), 'rename to': lambda path: os.rename('file', path),
    'read': lambda path: descriptor(path, os.O_RDONLY), 'write': lambda path: descriptor(path, os.O_WRONLY),
    'create': lambda path: descriptor(path, os.O_WRONLY | os.O_CREAT),
    'exclusive': lambda path: descriptor(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL),
    'exec': lambda path: os.execv(path, ['x']),
}
makes = {'mkdir', 'mkfifo', 'symlink', 'rename to', 'create', 'exclusive'}


def all_refuse(expected, path, but=()):
    for name in set(calls) - set(but):
        found = code(calls[name], path)
        assert found == expected, f'{name} {path:.40}: {found} instead of {expected}'
";

fn every_call_tells_why_a_path_leads_nowhere(place: &mut dyn Place) {
    let script = r"
all_refuse('ENAMETOOLONG', 'x' * 256)
all_refuse('ENAMETOOLONG', 'd/' + 'x' * 256)
all_refuse('ENAMETOOLONG', 'd/' + 'x' * 256 + '/y')
all_refuse('ENAMETOOLONG', './' * 2048 + 'file')
all_refuse('ENOTDIR', 'file/x')
all_refuse('ENOTDIR', 'file/x/y')
all_refuse('ENOTDIR', 'd/full/within/x')
all_refuse('ENOENT', 'none', but=makes)
all_refuse('ENOENT', 'none/x')
all_refuse('ENOENT', 'd/none/x')
all_refuse('ENOENT', '')
os.symlink('loop2', 'loop1')
os.symlink('loop1', 'loop2')
all_refuse('ELOOP', 'loop1/x')
os.symlink('file', 'to file')
all_refuse('ENOTDIR', 'to file/x')
os.symlink('none', 'to none')
all_refuse('ENOENT', 'to none/x')
same(sorted(os.listdir('.')), ['d', 'file', 'loop1', 'loop2', 'to file', 'to none'])
same(os.stat('./' * 2045 + 'file').st_size, 1)
";
    python(place.path(), &(CALLS.to_owned() + script));
    place.remount();
    let all = ["d", "file", "loop1", "loop2", "to file", "to none"];
    assert_eq!(names(place.path()), all);
}

fn names_that_are_taken_and_directories_that_are_not_empty_are_told(place: &mut dyn Place) {
    let script = r"
os.symlink('none', 'dangling')
os.symlink('d', 'to d')
os.mkfifo('fifo')
for taken in 'file', 'd', 'd/full', 'dangling', 'to d', 'fifo', 'd/full/within':
    for name in 'mkdir', 'mkfifo', 'symlink', 'exclusive':
        refused('EEXIST', calls[name], taken)
for taken in '.', 'd/.', 'd/..', '/':
    refused('EEXIST', os.mkdir, taken)
refused('ENOTEMPTY', os.rmdir, 'd')
refused('ENOTEMPTY', os.rmdir, 'd/full')
refused('ENOTEMPTY', os.rmdir, 'd/full/')
refused('EINVAL', os.rmdir, 'd/full/.')
refused('ENOTEMPTY', os.rmdir, 'd/full/..')
os.unlink('d/full/within')
os.mkdir('d/full/deeper')
refused('ENOTEMPTY', os.rmdir, 'd/full')
os.rmdir('d/full/deeper/')
os.rmdir('d/full')
os.mkdir('d/full/')
same(sorted(os.listdir('.')), ['d', 'dangling', 'fifo', 'file', 'to d'])
same(os.readlink('dangling'), 'none')
";
    python(place.path(), &(CALLS.to_owned() + script));
    place.remount();
    assert_eq!(names(&place.path().join("d")), ["full"]);
}

fn directories_are_no_files_and_files_no_directories(place: &mut dyn Place) {
    let script = r"
for flags in os.O_WRONLY, os.O_RDWR, os.O_RDONLY | os.O_CREAT, os.O_RDONLY | os.O_TRUNC:
    for path in 'd', 'd/', 'd/full':
        refused('EISDIR', descriptor, path, flags)
refused('EISDIR', descriptor, 'new/', os.O_WRONLY | os.O_CREAT)
refused('EISDIR', os.truncate, 'd', 0)
refused('EISDIR', os.unlink, 'd')
refused('ENOTDIR', os.unlink, 'file/')
refused('ENOTDIR', os.rmdir, 'file')
refused('ENOTDIR', os.listdir, 'file')
refused('ENOTDIR', os.chdir, 'file')
refused('ENOTDIR', os.stat, 'file/')
refused('ENOTDIR', descriptor, 'file/', os.O_RDONLY)
refused('ENOTDIR', descriptor, 'file', os.O_RDONLY | os.O_DIRECTORY)
refused('ENOENT', os.symlink, '', 'new')
refused('EINVAL', os.readlink, 'file')
refused('EINVAL', os.readlink, 'd')
refused('EACCES', os.execv, 'd', ['d'])
fd = descriptor('d', os.O_RDONLY)
refused('EISDIR', os.read, fd, 10)
refused('EBADF', os.write, fd, b'x')
refused('EINVAL', os.ftruncate, fd, 0)
os.fsync(fd)
refused('EXDEV', os.link, 'file', '/dev/shm/new')
same(sorted(os.listdir('.')), ['d', 'file'])
same(get('file'), b'x')
";
    python(place.path(), &(CALLS.to_owned() + script));
}

fn links_are_followed_so_far_and_no_further(place: &mut dyn Place) {
    let script = r"
os.symlink('self', 'self')
for name in set(calls) - {'lstat', 'readlink', 'unlink', 'rmdir', 'mkdir', 'mkfifo', 'symlink', 'rename', 'rename to', 'exclusive'}:
    refused('ELOOP', calls[name], 'self')
os.symlink('file', 'link')
refused('ELOOP', descriptor, 'link', os.O_RDONLY | os.O_NOFOLLOW)
refused('ELOOP', descriptor, 'link', os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW)
refused('ENOTDIR', descriptor, 'link', os.O_RDONLY | os.O_NOFOLLOW | os.O_DIRECTORY)
os.close(descriptor('link', os.O_PATH | os.O_NOFOLLOW))
before = 'file'
for number in range(41):
    os.symlink(before, f'link {number:02}')
    before = f'link {number:02}'
same(get('link 39'), b'x')
refused('ELOOP', get, 'link 40')
os.symlink('d', 'to d')
refused('ENOTDIR', os.rmdir, 'to d')
refused('ENOTDIR', os.rmdir, 'to d/')
same(os.listdir('to d/'), ['full'])
# Made through a dangling link, the file is where the link points to.
os.symlink('d/made', 'dangling')
put('dangling', b'through')
same(get('d/made'), b'through')
# As long as a path may be, and no longer; relative, absolute, with anything in it.
for target in 'x' * 4095, '/' + 'y/' * 2000, '../' * 100, ' ', 'ü' * 2047, 'new\nline':
    os.symlink(target, 'odd')
    same(os.readlink('odd'), target)
    same(os.lstat('odd').st_size, len(target.encode()))
    os.unlink('odd')
refused('ENAMETOOLONG', os.symlink, 'x' * 4096, 'odd')
os.symlink('ü' * 2047, 'kept')
os.rename('kept', 'kept, too')
";
    python(place.path(), &(CALLS.to_owned() + script));
    place.remount();
    python(place.path(), "same(os.readlink('kept, too'), 'ü' * 2047)");
}

fn descriptors_do_what_they_were_opened_for(place: &mut dyn Place) {
    let script = r"
fd = descriptor('file', os.O_RDONLY)
refused('EBADF', os.write, fd, b'x')
refused('EBADF', os.pwrite, fd, b'x', 0)
refused('EINVAL', os.ftruncate, fd, 0)
refused('EBADF', os.posix_fallocate, fd, 0, 10)
refused('EINVAL', os.lseek, fd, -1, os.SEEK_SET)
refused('ENXIO', os.lseek, fd, 100, os.SEEK_DATA)
refused('ENXIO', os.lseek, fd, 100, os.SEEK_HOLE)
same(os.lseek(fd, 0, os.SEEK_HOLE), 1)
same(os.pread(fd, 10, 100), b'')
refused('EINVAL', os.pread, fd, 10, -1)
refused('EACCES', mmap.mmap, fd, 0, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
fd = descriptor('file', os.O_WRONLY)
refused('EBADF', os.read, fd, 1)
refused('EINVAL', os.ftruncate, fd, -1)
refused('EINVAL', os.truncate, 'file', -1)
fd = descriptor('file', os.O_PATH)
for call in (lambda: os.read(fd, 1)), (lambda: os.write(fd, b'x')), (lambda: os.fchmod(fd, 0o600)):
    refused('EBADF', call)
same(os.fstat(fd).st_size, 1)
os.mkfifo('fifo')
refused('ENXIO', descriptor, 'fifo', os.O_WRONLY | os.O_NONBLOCK)
with socket.socket(socket.AF_UNIX) as it:
    it.bind('socket')
refused('ENXIO', descriptor, 'socket', os.O_RDONLY)
same(get('file'), b'x')
";
    python(place.path(), &(CALLS.to_owned() + script));
}
