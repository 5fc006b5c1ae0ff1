"""One end waits to be killed, the other says how its connection ends.

    net_killed.py serve HOST PORT OWED
    net_killed.py talk HOST PORT FROM OWED UNREAD FOLDER

Messages go to and fro until FOLDER/go is there. The server's last answer, of OWED bytes, stays unread at the client, and UNREAD bytes
stay unread at the server, before FOLDER/dead says that it was killed.
"""
import array
import errno
import fcntl
import os
import select
import signal
import socket
import sys
import termios
import time

MESSAGE = 60000
GO_ON, LAST = b'g', b'l'


def take(conn, n):
    data = conn.recv(n, socket.MSG_WAITALL)
    assert len(data) == n, f'{len(data)} of {n} bytes'
    return data


def await_file(path):
    while not os.path.exists(path):
        time.sleep(.05)


def unread(conn):
    n = array.array('i', [0])
    fcntl.ioctl(conn, termios.FIONREAD, n)
    return n[0]


def serve(host, port, owed):
    listener = socket.create_server((host, port))
    print('listening', flush=True)
    conn, _ = listener.accept()
    while take(conn, MESSAGE)[:1] == GO_ON:
        conn.sendall(bytes(MESSAGE))
    conn.sendall(bytes(owed))
    signal.pause()


def outcome(call, *args):
    try:
        return str(call(*args))
    except OSError as e:
        return errno.errorcode[e.errno]


def read_on(conn):
    """How many bytes were still to be had, and what came behind them."""
    count = 0
    while True:
        try:
            data = conn.recv(65536)
        except OSError as e:
            return f'{count} bytes, {errno.errorcode[e.errno]}'
        if not data:
            return f'{count} bytes, end'
        count += len(data)


def hung_up(conn):
    poll = select.poll()
    poll.register(conn, 0)
    poll.poll()


def talk(host, port, source, owed, left, folder):
    conn = socket.create_connection((host, port), source_address=(source, 0))
    while not os.path.exists(f'{folder}/go'):
        conn.sendall(GO_ON * MESSAGE)
        take(conn, MESSAGE)
    conn.sendall(LAST * MESSAGE)
    while unread(conn) < owed:
        time.sleep(.05)
    conn.sendall(bytes(left))
    print('ready', flush=True)
    await_file(f'{folder}/dead')
    print('read:', read_on(conn))
    print('read again:', outcome(conn.recv, 1))
    print('sent:', outcome(conn.send, b'x'))
    hung_up(conn)
    print('sent again:', outcome(conn.send, b'x'), flush=True)


verb, at, number, *more = sys.argv[1:]
if verb == 'serve':
    serve(at, int(number), int(more[0]))
else:
    talk(at, int(number), more[0], int(more[1]), int(more[2]), more[3])
