from __future__ import annotations

import errno
import os

import pytest

from tinygrad_norm.files import check_writable, write_atomically


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
