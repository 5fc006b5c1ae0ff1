"""Every selector of Python on non-blocking sockets: an echo server that arms EVENT_WRITE only when it
must, and a client with hundreds of thousands of bytes under way."""
import os
import selectors
import socket
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "harness"))
import link  # noqa: E402

CONNECTIONS = 6
TOTAL = 4 << 20
KINDS = [selectors.SelectSelector, selectors.PollSelector, selectors.EpollSelector]


def serve(kind, listening):
    with kind() as sel:
        sel.register(listening, selectors.EVENT_READ)
        buffers, closed = {}, 0
        while closed < CONNECTIONS:
            for key, events in sel.select():
                if key.fileobj is listening:
                    conn, _ = listening.accept()
                    conn.setblocking(False)
                    sel.register(conn, selectors.EVENT_READ)
                    buffers[conn] = bytearray()
                    continue
                conn, buffer = key.fileobj, buffers[key.fileobj]
                if events & selectors.EVENT_READ:
                    data = conn.recv(100000)
                    if not data:
                        sel.unregister(conn)
                        conn.setblocking(True)
                        conn.sendall(buffer)
                        conn.close()
                        closed += 1
                        continue
                    buffer += data
                if buffer:
                    try:
                        del buffer[:conn.send(buffer)]
                    except BlockingIOError:
                        pass
                sel.modify(conn, selectors.EVENT_READ | (selectors.EVENT_WRITE if buffer else 0))
        print(kind.__name__, "served")


def run_client(kind):
    want = link.pattern(TOTAL)
    with kind() as sel:
        state = {}
        for i in range(CONNECTIONS):
            conn = socket.create_connection(("127.0.0.1", link.port))
            conn.setblocking(False)
            sel.register(conn, selectors.EVENT_READ | selectors.EVENT_WRITE)
            state[conn] = [0, bytearray(), 1000 * (i * i + 1)]
        while state:
            for key, events in sel.select():
                conn, s = key.fileobj, state[key.fileobj]
                if events & selectors.EVENT_WRITE:
                    try:
                        s[0] += conn.send(want[s[0]:s[0] + s[2]])
                    except BlockingIOError:
                        pass
                    if s[0] == TOTAL:
                        conn.shutdown(socket.SHUT_WR)
                        sel.modify(conn, selectors.EVENT_READ)
                if events & selectors.EVENT_READ:
                    data = conn.recv(65536)
                    s[1] += data
                    if not data:
                        assert s[1] == want, (len(s[1]), TOTAL)
                        sel.unregister(conn)
                        conn.close()
                        del state[conn]
    print(kind.__name__, "echoed")


listening = link.listener()
for kind in KINDS:
    if link.role == "server":
        serve(kind, listening)
    else:
        run_client(kind)
