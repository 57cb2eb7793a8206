"""Fetches published files: with resume, a checksum and a progress bar; or says what to put where."""

from __future__ import annotations

import hashlib
import http.client
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tinygrad_norm.dtypes import StrPath
from tinygrad_norm.files import locked, put_in_place
from tinygrad_norm.output import UnfailingStream

CHUNK_SIZE = 1 << 16
# What a network does; a full disk is none of it. ConnectionError, TimeoutError and TLS errors come as they are once the
# transfer has begun.
NETWORK_ERRORS = (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError)


@dataclass(frozen=True)
class RemoteFile:
    """A published file: its size in bytes, its MD5, and the addresses where it can be had, the best first.

    The MD5 is the one that its authors publish. It tells a damaged file, not a forged one; https is for that.
    """

    name: str
    size: int
    md5: str
    urls: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.name} ({self.size:,} bytes, MD5 {self.md5})"


class DownloadError(OSError):
    """No address gave the file; the message says why, and what to put where by hand.

    Example:
        >>> issubclass(data.DownloadError, Exception)
        True
    """


def fetch(file: RemoteFile, folder: StrPath, progress: bool = True, timeout: float = 30) -> Path:
    """Bring a file into a folder, unless it is there already, and return its path.

    What arrives is kept as `NAME.part`, from which a later call or the next address goes on, and gets its name only
    when its size and MD5 are right. Meanwhile `NAME.lock` keeps other processes from writing there too.

    Args:
        progress: show a bar on standard error, where that is a terminal.
        timeout: the longest silence of a server, in seconds.

    Raises:
        BlockingIOError: somebody is fetching it at this moment.
        DownloadError: no address gave the file.
        ValueError: another file is there under that name, or an address is not https.
    """
    target = Path(folder) / file.name
    if not target.exists():
        for url in file.urls:
            _check_address(url)
        target.parent.mkdir(parents=True, exist_ok=True)
        with locked(target.with_name(f"{file.name}.lock"), f"{target} is being fetched"):
            if not target.exists():  # whoever held the lock may have brought it
                return _fetch(file, target, progress, timeout)
    check_md5(target, file)
    return target


def _fetch(file: RemoteFile, target: Path, progress: bool, timeout: float) -> Path:
    """Try one address after the other; raises what `fetch` does."""
    part = target.with_name(f"{file.name}.part")
    failures = []
    for url in file.urls:
        try:
            _transfer(url, part, file, progress, timeout)
        except NETWORK_ERRORS as error:
            failures.append(f"{url}: {error}")
            continue
        try:
            check_md5(part, file)
        except ValueError:
            part.unlink()
            failures.append(f"{url}: what it gave is damaged, its size or MD5 is wrong")
            continue
        put_in_place(part, target)
        return target
    raise DownloadError(
        f"{file.name} could not be fetched ({'; '.join(failures)}); try again, which goes on from what has arrived, "
        f"or, where there is no network, put {file} into {target.parent}, from {' or '.join(file.urls)}"
    )


def check_md5(path: Path, file: RemoteFile) -> None:
    """Refuse a file on the disk that is not the published one."""
    if (size := path.stat().st_size) != file.size:
        raise ValueError(f"{path}: has {size:,} bytes, but {file} was published; delete it and fetch it again")
    with path.open("rb") as content:
        md5 = hashlib.file_digest(content, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    if md5 != file.md5:
        raise ValueError(f"{path}: has MD5 {md5}, but {file} was published; delete it and fetch it again")


def what_to_put(files: Iterable[RemoteFile]) -> str:
    """Return the end of an error about missing files: which they are, where they come from, and who fetches them."""
    files = tuple(files)
    sources = dict.fromkeys(file.urls[0].removesuffix(file.name) for file in files)
    return (
        f"{', '.join(map(str, files))}, as they come from {' and '.join(sources)}; "
        "or have them fetched, by --download on the command line or data.load(..., download=True)"
    )


def _transfer(url: str, part: Path, file: RemoteFile, progress: bool, timeout: float) -> None:
    """Append to the part what is missing of it; a server that cannot send a range sends the whole."""
    from tqdm import tqdm

    have = part.stat().st_size if part.exists() else 0
    if have >= file.size:
        return
    headers = {"User-Agent": "tinygrad-norm"} | ({"Range": f"bytes={have}-"} if have else {})
    request = urllib.request.Request(url, headers=headers)
    with urllib.request.build_opener(_CheckedRedirects).open(request, timeout=timeout) as response:
        if response.status != 206:
            have = 0
        elif not response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            raise ConnectionError(f"sent {response.headers.get('Content-Range')} when asked for bytes {have}-")
        with (
            part.open("ab" if have else "wb") as out,
            tqdm(
                desc=file.name,
                total=file.size,
                initial=have,
                unit="B",
                unit_scale=True,
                file=UnfailingStream(sys.stderr),
                disable=None if progress else True,
            ) as bar,
        ):
            while have <= file.size and (chunk := response.read(CHUNK_SIZE)):  # never much more than was published
                have += out.write(chunk)
                bar.update(len(chunk))
    if have < file.size:
        raise ConnectionError(f"ended after {have:,} of {file.size:,} bytes")


class _CheckedRedirects(urllib.request.HTTPRedirectHandler):
    """A redirection must not lead from https to http, or to a file."""

    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        try:
            _check_address(newurl)
        except ValueError as error:
            raise urllib.error.URLError(f"redirected, but {error}") from None
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _check_address(url: str) -> None:
    parsed = urllib.parse.urlsplit(url)
    is_local = parsed.hostname in ("localhost", "127.0.0.1", "::1")
    if parsed.scheme != "https" and not (parsed.scheme == "http" and is_local):
        raise ValueError(f"an address begins with https://, got {url}")
