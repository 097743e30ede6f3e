"""Where the socket of a server lies, and how a client finds it."""

from __future__ import annotations

import json
import os
import secrets
import socket
import stat
import struct
import sys
import tempfile
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_CONNECT_SECONDS: Final = 2.0

_LONGEST_PATH: Final = 103
"""Of a socket, in bytes: some systems take 103, others 107."""

_CREDENTIALS: Final = struct.Struct("3i")
"""What Linux says of a peer: its process, user and group."""

_DARWIN_USER_TEMP_DIR: Final = 65537
"""The `confstr` of macOS for what TMPDIR is by default."""


@dataclass(frozen=True, slots=True)
class Server:
    """A server that is running, as its record says.

    Attributes:
        socket: the path of its socket.
        pid: its process.
        roots: the absolute folders that it watches.
        folder: the one that it was started in; empty where that was gone.
        selection: which plugins and what beside them it looks at, by the names of settings, so that
            a command can look at the same.
    """

    socket: str
    pid: int
    roots: tuple[str, ...]
    folder: str
    selection: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def serves(self, path: str) -> int:
        """Return how closely `path` belongs to a root: the larger, the closer; 0: to none."""
        return max((len(each) for each in self.roots if _is_within(path, each)), default=0)

    def is_within(self, path: str) -> bool:
        """Return whether all that this server watches lies in the folder at `path`."""
        return bool(self.roots) and all(_is_within(each, path) for each in self.roots)

    def shares(self, root: str) -> bool:
        """Return whether this server watches something of the folder at `root`."""
        real = os.path.realpath(root)
        return bool(self.serves(real)) or any(_is_within(each, real) for each in self.roots)


def socket_folder() -> Path:
    """Return the folder for the sockets of this user; it is made if need be.

    Raises:
        OSError: it is not this user's alone.
    """
    folder = next(_folders())
    folder.mkdir(mode=0o700, exist_ok=True)
    if not _is_own(folder):
        raise PermissionError(f"{folder} does not belong to you; remove it, or set XDG_RUNTIME_DIR")
    if stat.S_IMODE(folder.lstat().st_mode) & 0o077:
        folder.chmod(0o700)
    return folder


def _folders() -> Iterator[Path]:
    """Yield where a socket of this user may lie, the usual folder first.

    A client may lack the variables that a server was started with: what starts MCP servers hands on
    HOME and PATH, and little more.
    """
    uid = os.getuid()
    for runtime in (os.environ.get("XDG_RUNTIME_DIR"), f"/run/user/{uid}"):
        if runtime and os.access(runtime, os.W_OK):
            yield Path(runtime, "dagstack-dev")
    own = os.confstr(_DARWIN_USER_TEMP_DIR) if sys.platform == "darwin" else None
    for temporary in (tempfile.gettempdir(), own, "/tmp"):  # noqa: S108 - who owns it is checked
        if temporary:
            yield Path(temporary, f"dagstack-dev-{uid}")


def _is_own(folder: Path) -> bool:
    try:
        found = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()


class ServerSocket:
    """A listening socket, with a record by which clients find it; a context manager.

    Args:
        roots: the absolute folders that the server watches.
        path: where the socket is to lie; by default in `socket_folder`. What an earlier server
            has left there is replaced.
        selection: see `Server`.

    Attributes:
        roots: the real paths of the folders that the server watches.
        others: the servers that ran before, the newest first. Known on entering.
        path: of the socket. Known on entering.
        page: where a file may lie that leads a browser to the server's page; it is removed with
            the socket. Known on entering.

    Raises (on entering):
        OSError: see `socket_folder`; or another server listens at `path`, or the socket cannot be
            made.
    """

    def __init__(
        self,
        roots: Sequence[str],
        path: str | os.PathLike[str] | None = None,
        selection: Mapping[str, Any] | None = None,
    ) -> None:
        self.roots = tuple(map(os.path.realpath, roots))
        self._given = None if path is None else Path(path).absolute()
        self._selection = selection or {}
        self._made = ExitStack()
        self.others: Sequence[Server] = ()
        self.path = ""
        self.page = Path()

    def __enter__(self) -> socket.socket:
        folder = socket_folder()
        self.others = [*_servers()]  # It removes what has died.
        name = f"{os.getpid()}-{secrets.token_hex(4)}"  # A container has the same numbers.
        record = folder / f"{name}.json"
        path = self._given or _own_socket(record)
        with ExitStack() as made:
            listening = made.enter_context(_listening_at(path))
            self.path, self.page = str(path), _page(record)
            made.callback(_remove, os.getpid(), record, path, self.page)
            folder_now = _current_folder()
            server = Server(str(path), os.getpid(), self.roots, folder_now, self._selection)
            record.write_text(json.dumps(asdict(server)))
            self._made = made.pop_all()
        return listening

    def __exit__(self, *_: object) -> None:
        self._made.close()


def _listening_at(path: Path) -> socket.socket:
    """Return a socket that listens at `path`, for this user alone.

    Raises:
        OSError: something else lies there, or it cannot be made.
    """
    if _answers(path):
        raise FileExistsError(f"another server listens at {path}")
    if path.exists() and not path.is_socket():
        raise FileExistsError(f"{path} is there already, and no socket")
    if len(os.fsencode(path)) > _LONGEST_PATH:
        raise OSError(f"the path of a socket may have {_LONGEST_PATH} bytes, unlike {path}")
    path.unlink(missing_ok=True)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        listening.bind(str(path))
        listening.listen(128)
    except OSError as error:
        listening.close()
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        os.umask(before)
    return listening


def _remove(pid: int, *paths: Path) -> None:
    """Remove what process `pid` has made, unless this is a copy of it."""
    for path in paths if os.getpid() == pid else ():
        path.unlink(missing_ok=True)


def find_server(path: str | os.PathLike[str], *, is_given: bool = True) -> Server | None:
    """Return the newest of what `find_servers` returns; None when there is none."""
    return next(iter(find_servers(path, is_given=is_given)), None)


def find_servers(path: str | os.PathLike[str], *, is_given: bool = True) -> Sequence[Server]:
    """Return the running servers that are meant by `path`: those that watch the same, newest first.

    Args:
        path: a socket, a path within what a server watches (the closest is meant), or a folder
            that holds all that one server watches.
        is_given: whether `path` was named. Else a server that was started in this folder, or
            above it, may be meant, too.

    Raises:
        OSError: more than one may be meant.
    """
    path = Path(path).absolute()
    with suppress(OSError):
        if stat.S_ISSOCK(path.stat().st_mode):
            known = [each for each in _servers() if each.socket == str(path)]
            # Its record may lie where only the server's own environment leads.
            return known or ([Server(str(path), 0, (), "")] if _answers(path) else [])
    found = str(path.resolve())
    servers = [*_servers()]
    if closest := max((each.serves(found) for each in servers), default=0):
        return [each for each in servers if each.serves(found) == closest]
    fits = [each for each in servers if each.is_within(found)]
    if not (fits or is_given):
        fits = [each for each in servers if each.folder and _is_within(found, each.folder)]
    if len({each.roots for each in fits}) > 1:
        named = [f"{', '.join(each.roots) or each.socket} (pid {each.pid})" for each in fits]
        raise OSError(
            f"{len(fits)} servers may be meant by {found}: {'; '.join(named)};"
            " name a folder that one of them watches with --server"
        )
    return fits


def _servers() -> Iterator[Server]:
    """Yield the servers that run, the newest first; what is left of others is removed."""
    folders = filter(_is_own, dict.fromkeys(_folders()))
    for record in sorted((each for folder in folders for each in folder.glob("*.json")), key=_age):
        try:
            known = json.loads(record.read_text())
            server = Server(
                known["socket"],
                known["pid"],
                tuple(known["roots"]),
                known["folder"],
                known.get("selection", {}),
            )
        except (OSError, ValueError, KeyError, TypeError):
            continue  # It is being written, or removed.
        answers = _answers(Path(server.socket), server.pid)
        if answers:
            yield server
        elif answers is not None:
            # A socket at a path that was named is left: another server may just have come there.
            for each in (record, _page(record), _own_socket(record)):
                each.unlink(missing_ok=True)


def _page(record: Path) -> Path:
    return record.with_suffix(".html")


def _own_socket(record: Path) -> Path:
    return record.with_suffix(".sock")


def _age(record: Path) -> float:
    with suppress(OSError):  # It may just have been removed.
        return -record.stat().st_mtime
    return 0.0


def _current_folder() -> str:
    try:
        return str(Path.cwd())
    except FileNotFoundError:
        return ""


def _answers(path: Path, pid: int = 0) -> bool | None:
    """Return whether a server listens at `path`; None where that cannot be told now.

    A copy of one that was killed, which a plugin has forked, holds its socket open and does not
    count. A server in another container does: its process has another number here, or none.

    Args:
        path: of its socket.
        pid: its process, 0 where that is unknown; the kernel knows better.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(_CONNECT_SECONDS)
        try:
            client.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except (BlockingIOError, TimeoutError):  # Too many wait there to be told whose it is.
            return pid == 0 or _is_alive(pid) or None
        except OSError:
            return None
        if sys.platform == "linux":
            said = client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
            pid = _CREDENTIALS.unpack(said)[0]  # Of who began to listen; 0 if not seen from here.
        return pid == 0 or _is_alive(pid)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _is_within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")
