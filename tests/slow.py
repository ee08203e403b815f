"""Clients that send a part of a request, or read nothing, and then hang."""

import socket
from collections.abc import Generator
from contextlib import ExitStack, contextmanager

from tests.patience import PATIENCE_S

POST = b"POST /%s HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n"
SLOW = {
    "idle": b"",
    "half a header": POST % b"ask" + b"x-",
    "no body": POST % b"ask" + b"content-length: 15\r\n\r\n",
    "half a body": POST % b"ask" + b"content-length: 15\r\n\r\n{",
    "no body that anybody reads": POST % b"other" + b"content-length: 15\r\n\r\n",
    "a chunk that does not begin": POST % b"ask" + b"transfer-encoding: chunked\r\n\r\n5;" + b"x" * 20_000,
    "an answer that is not read": b"GET /stream HTTP/1.1\r\nhost: a\r\n\r\n",
}
"""What each kind of client sends, to the routes /ask and /stream; /other reads no body."""


KEPT_BYTES = 32_768
"""What the kernel keeps of an answer that such a client does not read. It would keep megabytes of each, and all of its
memory for connections together, whereupon nobody is answered for seconds."""


def connect(address: tuple[str, int]) -> socket.socket:
    """A connection for which the kernel keeps little, and which waits patiently."""
    client = socket.socket()
    try:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, KEPT_BYTES)
        client.settimeout(PATIENCE_S)
        client.connect(address)
    except BaseException:
        client.close()
        raise
    return client


@contextmanager
def hanging(address: tuple[str, int], sent: bytes, number: int) -> Generator[list[socket.socket]]:
    """Connections that have sent this much, and neither send nor read any more for the block."""
    with ExitStack() as stack:
        clients = [stack.enter_context(connect(address)) for _ in range(number)]
        for client in clients:
            client.sendall(sent)
        yield clients
