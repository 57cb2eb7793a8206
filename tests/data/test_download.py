from __future__ import annotations

import hashlib
import http.server
import io
import os
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from tinygrad_norm.data import DownloadError, download
from tinygrad_norm.data.download import RemoteFile, check_md5, fetch, what_to_put
from tinygrad_norm.files import locked

content = np.random.default_rng(0).integers(256, size=200_000, dtype=np.uint8).tobytes()
md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()


class Server(http.server.ThreadingHTTPServer):
    """Serves `content` in the manner that the first part of the path asks for, and notes what ranges were asked for."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.ranges: list[str | None] = []
        self.sent = 0  # bytes that went out without end

    def url(self, manner: str) -> str:
        return f"http://127.0.0.1:{self.server_port}/{manner}/data.bin"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        manner, asked = self.path.split("/")[1], self.headers["Range"]
        self.server.ranges.append(asked)
        body, start = (bytes(len(content)) if manner == "damaged" else content), 0
        if manner == "missing":
            return self.send_error(404)
        if manner in ("redirect", "redirect-away"):
            self.send_response(302)
            self.send_header("Location", "/ranges/data.bin" if manner == "redirect" else "http://example.com/data.bin")
            return self.end_headers()
        if asked and manner != "whole":
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start + (manner == 'elsewhere')}-{len(body) - 1}/{len(body)}")
        else:
            self.send_response(200)
        body = body[start:]
        if manner != "endless":
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        sent = body[: len(body) // 2] if manner in ("cut", "silent") else body
        try:
            self.wfile.write(sent)
            while manner == "endless" and self.server.sent < 1 << 26:
                self.server.sent += self.wfile.write(content)
            if manner == "silent":
                self.rfile.read()
        except ConnectionError:
            pass  # the other side has seen enough

    def log_message(self, format: str, *args: object) -> None: ...


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    server = Server()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def remote(server: Server, *manners: str) -> RemoteFile:
    return RemoteFile("data.bin", len(content), md5, tuple(map(server.url, manners)))


def test_a_file_arrives_whole_and_alone(tmp_path, server):
    path = fetch(remote(server, "ranges"), tmp_path / "deep" / "folder")
    assert path == tmp_path / "deep" / "folder" / "data.bin"
    assert path.read_bytes() == content
    assert list(path.parent.iterdir()) == [path]
    assert server.ranges == [None]


def test_what_is_there_is_not_fetched_again(tmp_path, server):
    (tmp_path / "data.bin").write_bytes(content)
    assert fetch(remote(server, "ranges"), str(tmp_path)) == tmp_path / "data.bin"
    assert server.ranges == []


@pytest.mark.parametrize(
    ("found", "message"), [(content[:-1], "has 199,999 bytes"), (bytes(len(content)), "has MD5 [0-9a-f]{32}")]
)
def test_another_file_of_that_name_is_left_alone(tmp_path, server, found, message):
    (tmp_path / "data.bin").write_bytes(found)
    with pytest.raises(
        ValueError, match=rf"data.bin: {message}, but data.bin \(200,000 bytes, MD5 {md5}\) was published"
    ):
        fetch(remote(server, "ranges"), tmp_path)
    assert (tmp_path / "data.bin").read_bytes() == found
    assert server.ranges == []


def test_a_file_is_fetched_by_one_process_at_a_time(tmp_path, server):
    """Two that append to one part would spoil it for each other."""
    with (
        locked(tmp_path / "data.bin.lock", "held"),
        pytest.raises(BlockingIOError, match=rf"data\.bin is being fetched by process {os.getpid()} on"),
    ):
        fetch(remote(server, "ranges"), tmp_path)
    assert server.ranges == []
    assert fetch(remote(server, "ranges"), tmp_path).read_bytes() == content


def test_what_another_process_has_just_brought_is_taken(tmp_path, server, monkeypatch):
    @contextmanager
    def wait(path, in_use):
        (tmp_path / "data.bin").write_bytes(content)
        yield

    monkeypatch.setattr(download, "locked", wait)
    assert fetch(remote(server, "ranges"), tmp_path).read_bytes() == content
    assert server.ranges == []


def test_a_transfer_cut_short_is_kept_and_goes_on_from_there(tmp_path, server):
    with pytest.raises(DownloadError, match=r"data.bin could not be fetched .*100,000.*try again, which goes on"):
        fetch(remote(server, "cut"), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["data.bin.part"]
    assert (tmp_path / "data.bin.part").read_bytes() == content[:100_000]
    assert fetch(remote(server, "ranges"), tmp_path).read_bytes() == content
    assert server.ranges == [None, "bytes=100000-"]
    assert [path.name for path in tmp_path.iterdir()] == ["data.bin"]


def test_the_next_address_goes_on_where_the_one_before_stopped(tmp_path, server):
    path = fetch(remote(server, "missing", "cut", "cut", "ranges"), tmp_path)
    assert path.read_bytes() == content
    assert server.ranges == [None, None, "bytes=100000-", "bytes=150000-"]


def test_a_server_that_ignores_ranges_sends_it_all_again(tmp_path, server):
    (tmp_path / "data.bin.part").write_bytes(content[:1234])
    assert fetch(remote(server, "whole"), tmp_path).read_bytes() == content
    assert server.ranges == ["bytes=1234-"]


def test_a_part_that_is_complete_only_wants_its_name(tmp_path, server):
    (tmp_path / "data.bin.part").write_bytes(content)
    assert fetch(remote(server, "ranges"), tmp_path).read_bytes() == content
    assert server.ranges == []


def test_a_server_that_sends_another_range_is_not_believed(tmp_path, server):
    (tmp_path / "data.bin.part").write_bytes(content[:10])
    with pytest.raises(DownloadError, match=r"sent bytes 11-199999/200000 when asked for bytes 10-"):
        fetch(remote(server, "elsewhere"), tmp_path)
    assert (tmp_path / "data.bin.part").read_bytes() == content[:10]


@pytest.mark.parametrize("manner", ["damaged", "endless"])
def test_a_wrong_content_is_thrown_away(tmp_path, server, manner):
    with pytest.raises(DownloadError, match=r"what it gave is damaged, its size or MD5 is wrong"):
        fetch(remote(server, manner), tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert fetch(remote(server, manner, "ranges"), tmp_path).read_bytes() == content
    assert server.sent < 1 << 26


def test_a_damaged_part_does_not_stand_in_the_way_for_good(tmp_path, server):
    (tmp_path / "data.bin.part").write_bytes(bytes(500))
    assert fetch(remote(server, "ranges", "ranges"), tmp_path).read_bytes() == content
    assert server.ranges == ["bytes=500-", None]


def test_a_failure_says_why_and_what_to_put_where(tmp_path, server):
    with pytest.raises(DownloadError, match="HTTP Error 404") as error:
        fetch(remote(server, "missing"), tmp_path / "there")
    for words in (
        f"put data.bin (200,000 bytes, MD5 {md5}) into {tmp_path / 'there'}",
        f"from {server.url('missing')}",
    ):
        assert words in str(error.value)


def test_without_a_network_the_reason_is_told(tmp_path, server):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/data.bin"
        with pytest.raises(DownloadError, match=r"refused.* where there is no network, put data.bin"):
            fetch(RemoteFile("data.bin", 1, md5, (url,)), tmp_path)


def test_a_silent_server_is_left_after_a_while(tmp_path, server):
    with pytest.raises(DownloadError, match="timed out"):
        fetch(remote(server, "silent"), tmp_path, timeout=0.2)
    assert fetch(remote(server, "ranges"), tmp_path).read_bytes() == content


def test_redirections_are_followed_but_not_to_http(tmp_path, server):
    with pytest.raises(DownloadError, match=r"redirected, but an address begins with https://, got http://example"):
        fetch(remote(server, "redirect-away"), tmp_path)
    assert fetch(remote(server, "redirect"), tmp_path).read_bytes() == content


@pytest.mark.parametrize(
    "url", ["http://example.com/data.bin", "ftp://example.com/x", "file:///etc/hostname", "data.bin"]
)
def test_an_address_must_be_https(tmp_path, url):
    with pytest.raises(ValueError, match=f"an address begins with https://, got {url}"):
        fetch(RemoteFile("data.bin", 1, md5, (url,)), tmp_path / "there")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("progress", [True, False])
def test_a_bar_is_drawn_on_a_terminal(tmp_path, server, monkeypatch, progress):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    (tmp_path / "data.bin.part").write_bytes(content[:100_000])
    monkeypatch.setattr(sys, "stderr", Terminal())
    fetch(remote(server, "ranges"), tmp_path, progress=progress)
    drawn = sys.stderr.getvalue()
    assert ("data.bin:  50%" in drawn and "data.bin: 100%" in drawn) if progress else drawn == ""


def test_no_bar_is_drawn_elsewhere(tmp_path, server, capsys):
    fetch(remote(server, "ranges"), tmp_path)
    assert capsys.readouterr() == ("", "")


def test_check_md5_lets_the_published_file_pass(tmp_path):
    path = Path(tmp_path / "elsewhere.bin")
    path.write_bytes(content)
    check_md5(path, RemoteFile("data.bin", len(content), md5, ()))


def test_what_to_put_lists_files_sources_and_the_way_to_fetch_them():
    files = [RemoteFile(name, 1234, "0f" * 16, (f"https://a.org/x/{name}", "https://b.org")) for name in ("one", "two")]
    words = "(1,234 bytes, MD5 0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f)"
    assert what_to_put(files) == (
        f"one {words}, two {words}, as they come from https://a.org/x/; "
        "or have them fetched, by --download on the command line or data.load(..., download=True)"
    )
