from __future__ import annotations

import errno
import fcntl
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest

from tinygrad_norm.files import check_writable, locked, locked_folder, open_regular, put_in_place, write_atomically


def spy(function, calls):
    def noted(*arguments):
        calls.append(function.__name__)
        function(*arguments)

    return noted


def test_replaces_the_whole_file_and_leaves_nothing_else(tmp_path):
    path = tmp_path / "new" / "folder" / "file.bin"
    write_atomically(path, b"a long first version")
    write_atomically(path, b"second")
    assert path.read_bytes() == b"second"
    assert os.listdir(path.parent) == ["file.bin"]


def test_writes_through_a_symbolic_link(tmp_path):
    (tmp_path / "target").write_bytes(b"old")
    (tmp_path / "link").symlink_to("target")
    write_atomically(tmp_path / "link", b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_bytes() == b"new"


@pytest.mark.parametrize("step", ["fsync", "replace"])
@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
def test_a_failure_keeps_the_old_file_and_removes_the_temporary_one(tmp_path, monkeypatch, step, error):
    path = tmp_path / "file.bin"
    path.write_bytes(b"old")

    def fail(*arguments):
        assert len(os.listdir(tmp_path)) == 2  # the new bytes are in a file beside the old one
        raise error

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(type(error)):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file.bin"]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_failure_names_the_file_and_not_the_temporary_one(tmp_path, monkeypatch, step):
    def fail(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device", *map(str, arguments))

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(OSError, match="No space left on device") as error:
        write_atomically(tmp_path / "file.bin", b"new")
    assert str(error.value).endswith(f"'{tmp_path}/file.bin'")


def test_what_cannot_be_written_is_refused(tmp_path, monkeypatch):
    check_writable(tmp_path / "new" / "file.bin")
    with pytest.raises(IsADirectoryError, match="is a folder; name a file"):
        check_writable(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError, match="file is a file, not a folder"):
        check_writable(tmp_path / "file" / "below")
    monkeypatch.setattr(os, "access", lambda folder, mode: False)
    with pytest.raises(PermissionError, match=r"file\.bin cannot be written: the folder .* is read-only"):
        check_writable(tmp_path / "file.bin")
    assert os.listdir(tmp_path) == ["file"]


def test_bytes_are_on_the_disk_before_the_name_changes_hands(tmp_path, monkeypatch):
    order: list[str] = []
    monkeypatch.setattr(os, "fsync", spy(os.fsync, order))
    monkeypatch.setattr(os, "replace", spy(os.replace, order))
    write_atomically(tmp_path / "file.bin", b"bytes")
    assert order == ["fsync", "replace", "fsync"]


KILLED = """
import os, signal, sys
from tinygrad_norm.files import write_atomically
os.fsync = lambda descriptor: os.kill(os.getpid(), signal.SIGKILL)
write_atomically(sys.argv[1], b"never there")
"""


def test_the_next_write_removes_what_a_killed_one_left(tmp_path):
    (tmp_path / ".other.tmp").touch()
    process = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "first.bin")], check=False)
    assert process.returncode == -signal.SIGKILL
    assert len(os.listdir(tmp_path)) == 2
    write_atomically(tmp_path / "second.bin", b"new")
    assert sorted(os.listdir(tmp_path)) == [".other.tmp", "second.bin"]


def test_what_another_writer_is_writing_stays(tmp_path, monkeypatch):
    """A second write into the folder happens while the first one is at its slowest."""
    sync = os.fsync

    def write_another(descriptor):
        monkeypatch.setattr(os, "fsync", sync)
        write_atomically(tmp_path / "second.bin", b"second")
        subprocess.run([sys.executable, "-c", ANOTHER, str(tmp_path / "third.bin")], check=True)
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", write_another)
    write_atomically(tmp_path / "first.bin", b"first")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {
        "first.bin": b"first",
        "second.bin": b"second",
        "third.bin": b"third",
    }


ANOTHER = """
import sys
from tinygrad_norm.files import write_atomically
write_atomically(sys.argv[1], b"third")
"""


def test_a_temporary_file_that_was_removed_before_it_was_locked_is_made_again(tmp_path, monkeypatch):
    opened, made = os.open, []

    def open_and_lose(path, *arguments):
        descriptor = opened(path, *arguments)
        if Path(path).name.endswith(".tmp"):
            made.append(path)
            if len(made) == 1:
                os.unlink(path)
        return descriptor

    monkeypatch.setattr(os, "open", open_and_lose)
    write_atomically(tmp_path / "file.bin", b"bytes")
    assert len(made) == 2
    assert (tmp_path / "file.bin").read_bytes() == b"bytes"


def test_a_temporary_file_that_somebody_is_about_to_remove_is_left_to_them(tmp_path, monkeypatch):
    """Another writer has locked it before its owner could, and removes it as soon as its owner goes on."""
    lock, sync = fcntl.flock, os.fsync
    taken: list[Path] = []

    def lock_late(descriptor, operation):
        if not taken:
            taken.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")))
            raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
        lock(descriptor, operation)

    def remove(descriptor):
        taken[0].unlink(missing_ok=True)
        sync(descriptor)

    monkeypatch.setattr(fcntl, "flock", lock_late)
    monkeypatch.setattr(os, "fsync", remove)
    write_atomically(tmp_path / "file.bin", b"bytes")
    assert os.listdir(tmp_path) == ["file.bin"]


def test_many_threads_write_into_one_folder(tmp_path):
    def work(number):
        for turn in range(20):
            write_atomically(tmp_path / f"{number}", f"{number} {turn}".encode())

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {f"{n}": f"{n} 19" for n in range(4)}


@pytest.mark.parametrize("call", ["open", "fsync"])
def test_a_folder_that_cannot_be_synced_is_no_failure(tmp_path, monkeypatch, call):
    real = getattr(os, call)

    def fail_on_folders(what, *arguments):
        if os.path.isdir(what if call == "open" else f"/proc/self/fd/{what}"):
            raise OSError(errno.EINVAL, "Invalid argument")
        return real(what, *arguments)

    monkeypatch.setattr(os, call, fail_on_folders)
    write_atomically(tmp_path / "file.bin", b"bytes")
    assert (tmp_path / "file.bin").read_bytes() == b"bytes"


@pytest.fixture
def umask():
    before = os.umask(0o027)
    yield
    os.umask(before)


@pytest.mark.parametrize("mode", [0o600, 0o666, 0o400, None])
def test_a_mode_is_kept_and_a_new_file_follows_the_umask(tmp_path, monkeypatch, umask, mode):
    path = tmp_path / "file.bin"
    if mode is not None:
        path.touch()
        path.chmod(mode)
    wanted, wider, opened = 0o640 if mode is None else mode, [], os.open

    def note(name, *arguments):
        descriptor = opened(name, *arguments)
        wider.append(stat.S_IMODE(os.fstat(descriptor).st_mode) & ~wanted & 0o077)
        return descriptor

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", note)
        write_atomically(path, b"secret")
    assert stat.S_IMODE(path.stat().st_mode) == wanted
    assert wider[0] == 0  # nobody could read the temporary file who cannot read this one


@pytest.mark.parametrize("allowed", [True, False])
def test_an_owner_is_kept_where_that_is_allowed(tmp_path, monkeypatch, allowed):
    path, stated, given = tmp_path / "file.bin", os.fstat, []
    path.touch()

    def owned_by_another(descriptor):
        found = list(stated(descriptor))
        return os.stat_result([*found[:4], found[4] + 1, *found[5:]])

    def give(descriptor, user, group):
        given.append((user, group))
        if not allowed:
            raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "fstat", owned_by_another)
    monkeypatch.setattr(os, "fchown", give)
    write_atomically(path, b"bytes")
    assert given == [(path.stat().st_uid, path.stat().st_gid)]
    assert path.read_bytes() == b"bytes"


def test_a_name_may_be_as_long_as_the_file_system_lets_it(tmp_path):
    longest = os.pathconf(tmp_path, "PC_NAME_MAX")
    path = tmp_path / ("n" * longest)
    write_atomically(path, b"bytes")
    assert path.read_bytes() == b"bytes"
    with pytest.raises(OSError, match="File name too long"):
        write_atomically(tmp_path / ("n" * (longest + 1)), b"bytes")


def others(tmp_path):
    """What is no file: a folder, a pipe, a device and a socket."""
    folder, pipe, device, address = (tmp_path / name for name in ("folder", "pipe", "device", "socket"))
    folder.mkdir()
    os.mkfifo(pipe)
    device.symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(address))
    return {folder: "a folder", pipe: "a pipe", device: "a device", address: "a socket"}


def test_what_is_no_file_is_neither_read_nor_replaced(tmp_path):
    for path, kind in others(tmp_path).items():
        with pytest.raises(ValueError, match=f"{path} is {kind}, not a file"):
            open_regular(path)
        with pytest.raises(OSError, match=f"{kind}"):
            check_writable(path)
        with pytest.raises(OSError, match=f"{path} cannot be written: it is {kind}, not a file"):
            write_atomically(path, b"")
    assert sorted(os.listdir(tmp_path)) == ["device", "folder", "pipe", "socket"]
    write_atomically(tmp_path / "file", b"bytes")
    with open_regular(tmp_path / "file") as file:
        assert file.read() == b"bytes"
    with pytest.raises(FileNotFoundError, match="missing"):
        open_regular(tmp_path / "missing")


def test_a_finished_file_is_on_the_disk_before_it_gets_its_name(tmp_path, monkeypatch):
    (tmp_path / "file.part").write_bytes(b"bytes")
    order: list[str] = []
    monkeypatch.setattr(os, "fsync", spy(os.fsync, order))
    monkeypatch.setattr(os, "replace", spy(os.replace, order))
    put_in_place(tmp_path / "file.part", tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == b"bytes"
    assert order == ["fsync", "replace", "fsync"]


# Locks

HOLDS = """
import os, signal, sys
from pathlib import Path
from tinygrad_norm.files import locked
with locked(Path(sys.argv[1]), "in use"):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def holder(path):
    """Another process that holds a lock."""
    command = [sys.executable, "-c", HOLDS, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        timer = threading.Timer(60, process.kill)
        timer.start()
        try:
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            timer.cancel()
            process.kill()


def test_a_lock_is_held_once_and_says_by_whom(tmp_path):
    path = tmp_path / "lock"
    with holder(path) as process:
        by = rf"^the folder is in use by process {process.pid} on \S+$"
        with pytest.raises(BlockingIOError, match=by), locked(path, "the folder is in use"):
            pytest.fail("it was held twice")
        process.communicate()
    assert not path.exists()
    with locked(path, "the folder is in use"):
        by = f"by process {os.getpid()} on"
        with pytest.raises(BlockingIOError, match=by), locked(path, "the folder is in use"):
            pytest.fail("it was held twice")
        assert path.exists()
    assert os.listdir(tmp_path) == []


def test_a_lock_dies_with_its_process(tmp_path):
    path = tmp_path / "lock"
    with holder(path):
        pass
    assert path.exists()
    with locked(path, "in use"):
        assert path.read_text().startswith(f"{os.getpid()} ")
    assert not path.exists()


def test_a_lock_is_given_up_after_an_error(tmp_path):
    with pytest.raises(ZeroDivisionError), locked(tmp_path / "lock", "in use"):
        1 / 0  # noqa: B018
    with locked(tmp_path / "lock", "in use"):
        pass


def test_a_lock_file_that_tells_nothing_is_believed_all_the_same(tmp_path):
    path = tmp_path / "lock"
    with holder(path):
        path.write_bytes(b"\x1b[2J\xff nobody")
        with pytest.raises(BlockingIOError, match=r"^in use by another process$"), locked(path, "in use"):
            pytest.fail("it was held twice")


def test_a_lock_file_that_goes_while_it_is_opened_locks_nothing(tmp_path, monkeypatch):
    """Its holder ends between the moment that it is opened and the moment that it is locked."""
    path, opened, made = tmp_path / "lock", os.open, []

    def open_and_lose(name, *arguments):
        descriptor = opened(name, *arguments)
        made.append(name)
        if len(made) == 1:
            os.unlink(name)
        return descriptor

    monkeypatch.setattr(os, "open", open_and_lose)
    with locked(path, "in use"):
        monkeypatch.undo()
        assert len(made) == 2
        with pytest.raises(BlockingIOError), locked(path, "in use"):
            pytest.fail("it was held twice")


def test_a_forked_child_that_leaves_the_block_gives_up_nothing(tmp_path):
    command = [sys.executable, "-c", FORKS, str(tmp_path / "lock")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "still held\n"


FORKS = """
import os, sys
from pathlib import Path
from tinygrad_norm.files import locked

with locked(Path(sys.argv[1]), "in use"):
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        try:
            with locked(Path(sys.argv[1]), "in use"):
                print("held twice")
        except BlockingIOError:
            print("still held")
"""


def test_a_folder_is_held_and_goes_again_if_nothing_was_put_there(tmp_path):
    folder = tmp_path / "new" / "folder"
    with locked_folder(folder, "a.lock", "in use"):
        assert os.listdir(folder) == ["a.lock"]
        with locked_folder(folder, "b.lock", "in use"):
            pass
        with pytest.raises(BlockingIOError, match="in use by process"), locked_folder(folder, "a.lock", "in use"):
            pytest.fail("it was held twice")
    assert os.listdir(tmp_path) == []
    with locked_folder(folder, "a.lock", "in use"):
        (folder / "file").touch()
    assert os.listdir(folder) == ["file"]
    with pytest.raises(OSError, match="file"), locked_folder(folder / "file" / "below", "a.lock", "in use"):
        pytest.fail("there is no such folder")


def test_a_folder_that_could_not_be_written_is_told_in_words(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        told = f"{path} cannot be written: {tmp_path / 'file'} is a file, not a folder"
        with pytest.raises(NotADirectoryError, match=re.escape(told)), locked_folder(path, "a.lock", "in use"):
            pytest.fail("there is no such folder")
    monkeypatch.setattr(os, "access", lambda folder, mode: False)  # root may write anywhere
    told = f"{tmp_path / 'new'} cannot be written: the folder {tmp_path} is read-only"
    with pytest.raises(PermissionError, match=re.escape(told)), locked_folder(tmp_path / "new", "a.lock", "in use"):
        pytest.fail("it may not be made")
    assert os.listdir(tmp_path) == ["file"]


def test_a_folder_that_is_held_loses_what_killed_writers_left(tmp_path):
    (tmp_path / ".tinygrad-norm-0123abcd.tmp").touch()
    with locked_folder(tmp_path, "a.lock", "in use"):
        assert os.listdir(tmp_path) == ["a.lock"]


def test_where_nothing_can_be_locked_a_warning_says_so(tmp_path, monkeypatch):
    def refuse(descriptor, operation):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    words = r"lock cannot be locked .*No locks available"
    with pytest.warns(UserWarning, match=words), locked(tmp_path / "lock", "in use"):
        pass
    write_atomically(tmp_path / "file.bin", b"bytes")
    assert os.listdir(tmp_path) == ["file.bin"]
