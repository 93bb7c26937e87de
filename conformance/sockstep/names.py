"""Names of a program's own: a private hosts file, and resolver's words.

The program under test sees the files of `private` in place of the system's
(see `launch`, file=OLD:NEW).  So what a name means does not depend on the
machine, and no name server is asked.
"""
from __future__ import annotations

import ctypes
import socket
from pathlib import Path

from .failure import HarnessError

#: Where a name server is asked and none is: its answer is an ICMP error.
_NO_SERVER = "127.0.0.253"
_HOSTS, _SWITCH = "/etc/hosts", "/etc/nsswitch.conf"
_RESOLVER = "/etc/resolv.conf"
#: With its socket gone, nobody asks the daemon that caches names: nscd(8).
_CACHE = "/run/nscd/socket"


def private(**names: str) -> dict[str, str]:
    """Files in which each name has the addresses of its value, and no more.

    The value is a list of addresses with blanks between them: `pair =
    "127.0.0.2 127.0.0.3"`.  Names that are not listed are not known.
    """
    lines = [f"{address} {name}\n" for name, addresses in names.items()
             for address in addresses.split()]
    return _present({_HOSTS: "".join(lines), _SWITCH: "hosts: files\n",
                     "/etc/host.conf": "multi on\n",
                     "/etc/gai.conf": "", _CACHE: ""})


def no_server() -> dict[str, str]:
    """Files by which names are asked of a name server that does not answer."""
    for path in ("/proc/net/udp", "/proc/net/udp6"):
        for line in Path(path).read_text().splitlines()[1:]:
            address, port = line.split()[1].split(":")
            if port == "0035" and (not address.strip("0") or
                                   address == "FD00007F"):
                raise HarnessError("a name server of this machine answers at "
                                   f"{_NO_SERVER} (UDP port 53)")
    return _present({_HOSTS: "", _SWITCH: "hosts: files dns\n",
                     _RESOLVER: f"nameserver {_NO_SERVER}\n"
                     "options timeout:1 attempts:1\n", _CACHE: ""})


def _present(files: dict[str, str]) -> dict[str, str]:
    """Only those that the machine has: there is nothing else to replace."""
    return {path: text for path, text in files.items()
            if path in (_HOSTS, _RESOLVER) or Path(path).exists()}


def tell(*numbers: int) -> list[str]:
    """What gai_strerror(3) says of these errors of the resolver."""
    words = ctypes.CDLL(None).gai_strerror
    words.restype = ctypes.c_char_p
    return [words(number).decode() for number in numbers]


#: The errors of a name without an address; resolvers differ in the number.
UNKNOWN = (socket.EAI_NONAME, socket.EAI_NODATA, socket.EAI_FAIL)


def need_ipv6() -> None:
    """Some cases ask for ::1, which not every machine has."""
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            probe.bind(("::1", 0))
    except OSError as error:
        raise HarnessError("this machine has no IPv6 loopback address (::1): "
                           f"{error.strerror}") from None
