"""Two ends of a training loop on blocking sockets: tensors of one shape go to and fro between buffers that stay, then those of another
shape. Both print how many bytes there were, and their hash.

    net_shapes.py serve HOST PORT
    net_shapes.py talk HOST PORT FILE    each shape until FILE.0, FILE.1 is there
"""
import hashlib
import os
import socket
import struct
import sys
import time

SHAPES = 524288, 800000
COMPUTES = 0.02    # seconds: meanwhile the other end waits
HEAD = struct.Struct('<Q')


class End:
    def __init__(self, conn):
        self.conn, self.count, self.digest = conn, 0, hashlib.sha256()
        self.buffers = {n: (bytearray(n), bytearray(n)) for n in SHAPES}

    def send(self, n, step):
        out = self.buffers[n][0]
        out[:] = bytes([step % 251]) * n
        out[step % n] ^= 255
        self.conn.sendall(out)

    def receive(self, n):
        """False: the stream has ended."""
        room = memoryview(self.buffers[n][1])
        while room:
            got = self.conn.recv_into(room)
            if not got:
                return False
            room = room[got:]
        self.count += n
        self.digest.update(self.buffers[n][1])
        return True

    def show(self):
        print(self.count, self.digest.hexdigest(), flush=True)


def serve(host, port):
    listener = socket.create_server((host, port))
    print('listening', flush=True)
    end, step = End(listener.accept()[0]), 0
    while len(head := end.conn.recv(HEAD.size, socket.MSG_WAITALL)) == HEAD.size:
        n, = HEAD.unpack(head)
        assert end.receive(n)
        time.sleep(COMPUTES)
        end.send(n, step)
        step += 1
    end.show()


def talk(host, port, file):
    end, step = End(socket.create_connection((host, port))), 0
    for i, n in enumerate(SHAPES):
        while not os.path.exists(f'{file}.{i}'):
            end.conn.sendall(HEAD.pack(n))
            time.sleep(COMPUTES)
            end.send(n, step)
            assert end.receive(n)
            step += 1
    end.conn.close()
    end.show()


verb, at, number, *more = sys.argv[1:]
serve(at, int(number)) if verb == 'serve' else talk(at, int(number), *more)
