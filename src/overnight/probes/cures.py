"""Is it cured? One cheap, bounded look at what several runs met: a host, a path, a volume. Changes nothing."""

import os
import socket
import ssl
from pathlib import Path
from urllib.parse import urlsplit

from overnight.model.codec import from_json
from overnight.model.cures import Cured, CureOrder

CONNECT_SECONDS = 5.0
HTTPS_PORT = 443
ROOM_BYTES = 2**30  # free on a volume that was full; of a small one a share. Four times as much after each relapse
ROOM_SHARE = 0.1
ROOM_INODES = 1000
_MOST_ENV = 2**22


class GroundCures:
    """Looks from this machine, by the proxy that the runs would use."""

    def cured(self, order: CureOrder) -> Cured:
        """Raises OSError only where looking itself is impossible."""
        match order.name:
            case "network":
                return _reachable(order)
            case "data.missing":
                return _there(Path(order.cwd, order.about))
            case "disk.full":
                return _room(order)
        return Cured(False, "nothing shows that but another try")


def _there(path: Path) -> Cured:
    try:
        if path.is_dir():
            with os.scandir(path) as entries:
                return Cured(True, "it is there") if next(entries, None) else Cured(False, "it is an empty folder")
        size = path.stat().st_size
    except FileNotFoundError:
        return Cured(False, "it is not there")
    except OSError as problem:
        return Cured(False, f"it cannot be looked at: {problem.strerror}")
    return Cured(True, "it is there") if size else Cured(False, "it is empty")


def _room(order: CureOrder) -> Cured:
    try:
        volume = os.statvfs(order.about)
    except OSError as problem:
        return Cured(False, f"it cannot be looked at: {problem.strerror}")
    free, whole = volume.f_bavail * volume.f_frsize, volume.f_blocks * volume.f_frsize
    wanted = min(ROOM_SHARE * whole, ROOM_BYTES) * 4.0**order.relapses
    if free < min(wanted, 0.9 * whole):
        return Cured(False, f"{_size(free)} free, {_size(wanted)} wanted")
    inodes = volume.f_favail
    if volume.f_files and inodes < min(ROOM_INODES, ROOM_SHARE * volume.f_files):
        return Cured(False, f"{inodes} inodes free")
    return Cured(True, f"{_size(free)} free")


def _size(count: float) -> str:
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"


# --- hosts -------------------------------------------------------------------------------------------------


def _reachable(order: CureOrder) -> Cured:
    host, port = _address(order.about)
    proxy = _proxy(_environment(order.launch_env), host, port)
    try:
        if proxy is None:
            with socket.create_connection((host, port), CONNECT_SECONDS):
                return Cured(True, f"port {port} answers")
        return _by_proxy(*proxy, host, port)
    except (OSError, ValueError, UnicodeError) as problem:
        words = getattr(problem, "strerror", None) or str(problem) or type(problem).__name__
        return Cured(False, f"no way to it{'' if proxy is None else f' by proxy {proxy[0]}'}: {words}")


def _address(about: str) -> tuple[str, int]:
    """`host` or `host:port`; an IPv6 address with a port stands in brackets."""
    try:
        parts = urlsplit(f"//{about}")
        return (parts.hostname or about, parts.port or HTTPS_PORT)
    except ValueError:
        return about, HTTPS_PORT


def _environment(path: str) -> dict[str, str]:
    """What the runs inherit; nothing where it cannot be read."""
    try:
        with open(path, "rb") as file:
            return from_json(file.read(_MOST_ENV), dict[str, str])
    except (OSError, ValueError):
        return {}


def _proxy(env: dict[str, str], host: str, port: int) -> tuple[str, int, bool] | None:
    """(host, port, by TLS) of the proxy that a usual client would take."""
    kind = "http" if port == 80 else "https"
    url = next((env[n] for n in (f"{kind}_proxy", f"{kind}_proxy".upper(), "all_proxy", "ALL_PROXY") if env.get(n)), "")
    spared = env.get("no_proxy") or env.get("NO_PROXY") or ""
    for each in (part.strip().lstrip(".").partition(":")[0] for part in spared.split(",")):
        if each == "*" or (each and (host == each or host.endswith(f".{each}"))):
            return None
    if not url:
        return None
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        number = parts.port
    except ValueError:
        return None
    if not parts.hostname or parts.scheme not in ("http", "https"):
        return None
    return parts.hostname, number or (HTTPS_PORT if parts.scheme == "https" else 80), parts.scheme == "https"


def _by_proxy(proxy: str, proxy_port: int, tls: bool, host: str, port: int) -> Cured:
    """Ask the proxy for a way to the host (RFC 9110, CONNECT). One that wants a password is a way all the same: the
    runs have it."""
    with socket.create_connection((proxy, proxy_port), CONNECT_SECONDS) as plain:
        plain.settimeout(CONNECT_SECONDS)
        link = ssl.create_default_context().wrap_socket(plain, server_hostname=proxy) if tls else plain
        with link:
            link.sendall(f"CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode())
            words = link.recv(256).split(b"\r\n")[0].split()
    status = words[1].decode(errors="replace") if len(words) > 1 else "nothing"
    if status in ("200", "407"):
        return Cured(True, f"proxy {proxy} has a way to it")
    return Cured(False, f"proxy {proxy} answers {status}")
