"""websockets as a peer. See ../README.md for what it is asked to do."""

import asyncio
import hashlib
import os
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))

from websockets.asyncio.client import connect
from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed

# The name of the tunnel has a slash, which the library takes from nobody.
OFFERED = "v4.channel.k8s.io"
LONGEST = 100_000
PERIOD = 251
PATTERN = bytes(i % PERIOD for i in range(PERIOD + LONGEST))
SETTINGS = {"compression": None, "ping_interval": None, "max_size": 64 << 20}


class Failure(Exception):
    pass


class Random:
    """xorshift32."""

    def __init__(self, seed):
        self.state = seed & 0xFFFFFFFF or 1

    def below(self, limit):
        self.state ^= self.state << 13 & 0xFFFFFFFF
        self.state ^= self.state >> 17
        self.state ^= self.state << 5 & 0xFFFFFFFF
        return self.state % limit


def lengths(count, seed):
    random = Random(seed)
    while count:
        length = min(random.below(LONGEST + 1), count)
        count -= length
        yield length


def pattern(at, length):
    start = at % PERIOD
    return PATTERN[start : start + length]


def say(words):
    print("ws-python:", words, file=sys.stderr, flush=True)


async def answer(socket):
    try:
        async for message in socket:
            await socket.send(message)
    except ConnectionClosed as e:
        say(e)


async def listen():
    def select(_, offered):
        return next((name for name in offered if name == OFFERED), None)

    async with serve(answer, "127.0.0.1", 0, subprotocols=[OFFERED], select_subprotocol=select, **SETTINGS) as server:
        print("port", server.sockets[0].getsockname()[1], flush=True)

        def until_stdin_ends():
            while os.read(0, 4096):
                pass
            os._exit(0)

        threading.Thread(target=until_stdin_ends, daemon=True).start()
        await server.serve_forever()


async def send(socket, count, seed):
    random = Random(seed ^ 0x5BD1E995)
    at = 0

    async def fragments(length):
        nonlocal at
        for last in range(random.below(3), -1, -1):
            part = random.below(length + 1) if last else length
            yield pattern(at, part)
            at += part
            length -= part
            if random.below(2) == 0:
                await socket.ping()

    for length in lengths(count, seed):
        await socket.send(fragments(length))


async def receive(socket, count, seed):
    at = 0
    digest = hashlib.sha256()
    for length in lengths(count, seed):
        message = await socket.recv()
        if not isinstance(message, bytes) or len(message) != length:
            raise Failure(f"at byte {at} {len(message)} {type(message).__name__} instead of {length}")
        if message != pattern(at, length):
            raise Failure(f"at byte {at} {length} bytes, not the same")
        digest.update(message)
        at += length
    print("ok bulk", digest.hexdigest(), flush=True)


async def client(port, count, seed):
    async with connect(f"ws://127.0.0.1:{port}/", subprotocols=[OFFERED], proxy=None, **SETTINGS) as socket:
        await socket.send("hello")
        await socket.send(b"")
        pong = await socket.ping(b"first")
        for name, expected in (("hello", "hello"), ("empty", b"")):
            if await socket.recv() != expected:
                raise Failure(f"not the echo of {name}")
            print("ok", name, flush=True)
        await pong
        print("ok ping", flush=True)

        sending = asyncio.create_task(send(socket, count, seed))
        await asyncio.gather(receive(socket, count, seed), sending)
        await socket.close(1000)
        closed = socket.protocol.close_rcvd
        if closed is None:
            raise Failure("the end, without close")
        print("ok close", int(closed.code), flush=True)


def main(args):
    limit = 120
    if args[:1] == ["server"] and len(args) <= 2:
        limit = int(args[1]) if len(args) == 2 else limit
        work = listen()
    elif args[:1] == ["client"] and 3 <= len(args) <= 4:
        work = client(int(args[1]), int(args[2]), int(args[3]) if len(args) == 4 else 1)
    else:
        raise Failure("usage: server [SECONDS] | client PORT BYTES [SEED]")

    # Nothing here may outlive the test that started it.
    def expire():
        say(f"still there after {limit} s")
        os._exit(1)

    timer = threading.Timer(limit, expire)
    timer.daemon = True
    timer.start()
    asyncio.run(work)


try:
    main(sys.argv[1:])
except (Failure, ConnectionClosed, OSError, ValueError) as e:
    say(e)
    sys.exit(1)
except Exception as e:
    say(f"{type(e).__name__}: {e}")
    sys.exit(1)
