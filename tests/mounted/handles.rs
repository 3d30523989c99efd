//! Handles of files (name_to_handle_at(2)), by which NFS servers and search indexes come back to them.

use crate::support::place::Place;
use crate::support::python::python;

crate::scenarios! {
    a_handle_opens_its_file_when_the_kernel_has_forgotten_it,
}

fn a_handle_opens_its_file_when_the_kernel_has_forgotten_it(place: &mut dyn Place) {
    let script = r"
CURRENT = -100  # AT_FDCWD

def handle_of(path):
    handle = ctypes.create_string_buffer(struct.pack('Ii', 128, 0), 136)
    mount = ctypes.c_int()
    if libc.name_to_handle_at(CURRENT, path.encode(), handle, ctypes.byref(mount), 0) != 0:
        raise OSError(ctypes.get_errno(), path)
    return handle

def opened(handle):
    at = os.open('.', os.O_RDONLY)
    try:
        found = libc.open_by_handle_at(at, handle, os.O_RDONLY)
        if found < 0:
            raise OSError(ctypes.get_errno(), 'open_by_handle_at')
        return found
    finally:
        os.close(at)

def content(handle):
    with open(opened(handle), 'rb') as file:
        return file.read()

os.makedirs('d/e')
put('d/e/f', b'content')
put('d/gone', b'short')
handles = {name: handle_of(name) for name in ('d/e/f', 'd/e', 'd/gone')}
same(content(handles['d/e/f']), b'content')
for round in range(3):
    with open('/proc/sys/vm/drop_caches', 'w') as drop:
        drop.write('3')
    same(content(handles['d/e/f']), b'content')
    at = opened(handles['d/e'])
    same(os.listdir(at), ['f' if round == 0 else 'moved'])
    os.close(at)
    if round == 0:
        os.rename('d/e/f', 'd/e/moved')
os.unlink('d/gone')
refused('ESTALE', opened, handles['d/gone'])
";
    python(place.path(), script);
}
