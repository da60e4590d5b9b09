"""A process that holds many live connections and says when each of them heard something.

`python -m bench.sockets PORT COUNT FIRST SALE DATA`: connects, says `ready`, and then for every
line on its input waits until each connection has heard a `sale.state` with that word in it. It
answers with a line of JSON: when each heard it, in nanoseconds of the system's monotonic clock,
which all processes of a machine share. Plain sockets and one `epoll`: the reader must not be what
is measured.
"""

from __future__ import annotations

import json
import os
import select
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

from bench.buyers import VALID_S, buyer_name, identity_token
from sluice.settings import Settings

AT_ONCE = 250
"""Connections that are made together."""
GROUP = 9700
PER_ADDRESS = 5000
"""Loopback has a million addresses, and each of them some ten thousand free ports."""
WAIT_S = 60.0
READ = 65_536
_HANDSHAKE = (
    b"GET /v1/live HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %s\r\n\r\n"
)


class Crowd:
    def __init__(self, port: int, sale_id: str, secret: bytes) -> None:
        self._port = port
        self._sale_id = sale_id
        self._secret = secret
        self._epoll = select.epoll()
        self.sockets: dict[int, socket.socket] = {}

    def connect(self, first: int, count: int) -> None:
        for start in range(first, first + count, AT_ONCE):
            self._connect_some(start, min(AT_ONCE, first + count - start))

    def _connect_some(self, first: int, count: int) -> None:
        made = [self._one(index) for index in range(first, first + count)]
        descriptors = {each.fileno() for each in made}
        self.sockets |= {each.fileno(): each for each in made}
        for each in made:
            self._epoll.register(each.fileno(), select.EPOLLIN)
        self.heard(lambda data: b" 101 " in data, descriptors)
        for index, each in enumerate(made, first):
            token = identity_token(self._secret, buyer_name(GROUP, index), _expiry())
            said = json.dumps({"token": token, "subscribe": f"sale:{self._sale_id}"})
            each.send(masked(said.encode()))
        self.heard(lambda data: b'"item.state"' in data, descriptors)

    def _one(self, index: int) -> socket.socket:
        made = socket.socket()
        made.bind((f"127.0.1.{1 + index // PER_ADDRESS}", 0))
        made.connect(("127.0.0.1", self._port))
        made.setblocking(False)
        made.send(_HANDSHAKE % b"dGhlIHNhbXBsZSBub25jZQ==")
        return made

    def heard(self, wanted: Callable[[bytes], bool], of: set[int]) -> list[int]:
        """When each of these had heard what was wanted. Raises OSError where one ends."""
        waiting = dict.fromkeys(of, b"")
        at: list[int] = []
        deadline = time.monotonic() + WAIT_S
        while waiting:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{len(waiting)} connections did not hear it")
            for descriptor, _ in self._epoll.poll(1.0, 4096):
                now = time.monotonic_ns()
                data = self.sockets[descriptor].recv(READ)
                if not data:
                    raise ConnectionError("the server has ended a connection")
                if data.endswith(b"\x89\x00"):
                    self.sockets[descriptor].send(b"\x8a\x80\0\0\0\0")
                if descriptor in waiting:
                    waiting[descriptor] += data
                    if wanted(waiting[descriptor]):
                        del waiting[descriptor]
                        at.append(now)
        return at


def masked(data: bytes) -> bytes:
    """One text frame; with a mask of zeros, which is one of those that may be chosen."""
    length = len(data)
    head = bytes([0x81, 0x80 | length]) if length < 126 else b"\x81\xfe" + length.to_bytes(2, "big")
    return head + bytes(4) + data


def _expiry() -> int:
    return int(time.time()) + VALID_S


def main() -> None:
    port, count, first, sale_id, data_dir = sys.argv[1:]
    crowd = Crowd(int(port), sale_id, Settings.read({}, Path(data_dir)).identity_secret)
    crowd.connect(int(first), int(count))
    print("ready", flush=True)
    for line in sys.stdin:
        word = line.strip().encode()
        heard = crowd.heard(
            lambda data, word=word: b'"sale.state"' in data and word in data,  # type: ignore[misc]
            set(crowd.sockets),
        )
        print(json.dumps(heard), flush=True)
    os._exit(0)  # ten thousand sockets need not be closed one by one


if __name__ == "__main__":
    main()
