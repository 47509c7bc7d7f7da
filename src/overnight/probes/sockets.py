"""Open sockets of processes, from /proc (proc_pid_net(5)): with whom, and in which state. Numbers only; no name is
looked up, because a resolver may be what hangs."""

import os
import socket
from collections.abc import Collection, Mapping

MOST_DESCRIPTORS = 4096
MOST_TABLE_BYTES = 16 << 20
MOST_TOLD = 64  # of one process

_STATES = {
    "01": "ESTABLISHED", "02": "SYN_SENT", "03": "SYN_RECV", "04": "FIN_WAIT1", "05": "FIN_WAIT2", "06": "TIME_WAIT",
    "07": "CLOSE", "08": "CLOSE_WAIT", "09": "LAST_ACK", "0A": "LISTEN", "0B": "CLOSING",
}  # fmt: skip
_UNIX_STATES = {"01": "UNCONNECTED", "02": "CONNECTING", "03": "CONNECTED", "04": "DISCONNECTING"}

Told = dict[str, object]


def socket_inodes(pid: int) -> dict[str, str]:
    """Inode of each open socket, and its descriptor."""
    found: dict[str, str] = {}
    try:
        for descriptor in os.listdir(f"/proc/{pid}/fd")[:MOST_DESCRIPTORS]:
            try:
                link = os.readlink(f"/proc/{pid}/fd/{descriptor}")
            except OSError:
                continue
            if link.startswith("socket:["):
                found[link[8:-1]] = descriptor
    except OSError:
        return {}
    return found


def sockets_of(pids: Collection[int], inodes: Mapping[int, Mapping[str, str]]) -> dict[int, list[Told]]:
    """By process: `fd`, `protocol`, `state`, `local` and `peer` of each socket (`path` of a Unix one); those that stand
    in no table, by inode. The tables are those of each process's network namespace, read once."""
    tables: dict[str, dict[str, Told]] = {}
    found: dict[int, list[Told]] = {}
    wanted = {inode for own in inodes.values() for inode in own}
    for pid in pids:
        own = inodes.get(pid)
        if not own:
            continue
        try:
            space = os.readlink(f"/proc/{pid}/ns/net")
        except OSError:
            space = str(pid)
        if space not in tables:
            tables[space] = _tables(pid, wanted)
        told = [{"fd": int(fd), **tables[space].get(inode, {"inode": inode})} for inode, fd in own.items()]
        found[pid] = told[:MOST_TOLD]
    return found


def _tables(pid: int, wanted: Collection[str]) -> dict[str, Told]:
    found: dict[str, Told] = {}
    for protocol in ("tcp", "tcp6", "udp", "udp6"):
        for line in _lines(f"/proc/{pid}/net/{protocol}"):
            fields = line.split()
            if len(fields) > 9 and fields[9] in wanted:
                local, peer, state = fields[1:4]
                found[fields[9]] = {
                    "protocol": protocol, "state": _STATES.get(state, state), "local": _address(local),
                    "peer": None if peer.endswith(":0000") else _address(peer),
                }  # fmt: skip
    for line in _lines(f"/proc/{pid}/net/unix"):
        fields = line.split(maxsplit=7)
        if len(fields) > 6 and fields[6] in wanted:
            path = fields[7] if len(fields) > 7 else None
            found[fields[6]] = {"protocol": "unix", "state": _UNIX_STATES.get(fields[5], fields[5]), "path": path}
    return found


def _lines(path: str) -> list[str]:
    try:
        with open(path, "rb") as file:
            return file.read(MOST_TABLE_BYTES).decode("ascii", "replace").splitlines()[1:]
    except OSError:
        return []


def _address(text: str) -> str:
    """`0100007F:1F90` is 127.0.0.1:8080: words of four bytes in the host's order, then the port."""
    host, _, port = text.partition(":")
    raw = b"".join(bytes.fromhex(host[i : i + 8])[::-1] for i in range(0, len(host), 8))
    if len(raw) == 4:
        return f"{socket.inet_ntop(socket.AF_INET, raw)}:{int(port, 16)}"
    return f"[{socket.inet_ntop(socket.AF_INET6, raw)}]:{int(port, 16)}"
