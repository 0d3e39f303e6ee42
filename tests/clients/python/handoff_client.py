"""The Python client in the terms of the conformance suite (handoff/handofftest):
handoff_client.py SOCKET. It connects, and answers each line of its input by one.
"""
import ctypes
import errno
import hashlib
import sys

from weightfs._connection import Connection
from weightfs.errors import ConnectionLost


def cut(connection, offset, length):
    """The longest ranges that may be wanted."""
    longest = connection.welcome.max_length
    return [(at, min(longest, offset + length - at)) for at in range(offset, offset + length, longest)]


class Client:
    def __init__(self, socket):
        self.connection = Connection(socket)
        self.files = {}
        self.held = []

    def file(self, path):
        if path not in self.files:
            self.files[path] = self.connection.open(path)
        return self.files[path]

    def open(self, path):
        file = self.file(path)
        return f"{file.size} {file.version} {file.inode}"

    def content(self, want):
        return [ctypes.string_at(address, length) for address, length in want.wait()]

    def read(self, path, offset, length):
        """As much is wanted ahead as may be."""
        file, digest = self.file(path), hashlib.sha256()
        ranges, under = cut(self.connection, int(offset), int(length)), []
        try:
            while ranges or under:
                room = self.connection.welcome.max_wants // 2 - len(under)
                if ranges and room > 0:
                    under += file.want(ranges[:room])
                    ranges = ranges[room:]
                for piece in self.content(under[0]):
                    digest.update(piece)
                under.pop(0).give()
        finally:
            for want in under:
                want.drop()
        return digest.hexdigest()

    def hold(self, path, offset, length):
        wants = self.file(path).want(cut(self.connection, int(offset), int(length)))
        for want in wants:
            want.wait()
        self.held += wants
        return ""

    def check(self):
        digest = hashlib.sha256()
        for want in self.held:
            for piece in self.content(want):
                digest.update(piece)
        return digest.hexdigest()

    def give(self):
        held, self.held = self.held, []
        for want in held:
            want.give()
        return ""


def answer(request, *arguments):
    try:
        return f"ok {request(*arguments)}".strip()
    except ConnectionLost:
        return "gone"
    except OSError as error:
        return f"error {errno.errorcode[error.errno]}"


def main(socket):
    client = None

    def connect():
        nonlocal client
        client = Client(socket)
        return "connected"

    print(answer(connect), flush=True)
    for line in sys.stdin:
        name, *arguments = line.split()
        print(answer(getattr(client, name), *arguments), flush=True)


main(sys.argv[1])
