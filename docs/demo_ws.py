#!/usr/bin/env python3
"""A websocket client in the standard library, to show what is on the wire.

    demo_ws.py SOCKET PATH [SUBPROTOCOL] < input

Sends each line of its input as a message (on channel 0 with a sub-protocol), then closes stdin (255, 0), and prints
every frame that comes: opcode, length, payload.
"""
import base64, os, socket, struct, sys

path, protocol = sys.argv[2], sys.argv[3] if len(sys.argv) > 3 else None
connection = socket.socket(socket.AF_UNIX)
connection.connect(sys.argv[1])
request = [f"GET {path} HTTP/1.1", "Host: pinnace", "Connection: Upgrade", "Upgrade: websocket",
           "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: " + base64.b64encode(os.urandom(16)).decode()]
if protocol:
    request.append(f"Sec-WebSocket-Protocol: {protocol}")
connection.sendall("\r\n".join(request + ["", ""]).encode())
stream = connection.makefile("rb")
while (line := stream.readline()) != b"\r\n":
    print("<", line.decode().rstrip())
    if not line:
        sys.exit("the daemon closed the connection")


def send(payload, opcode=2):
    mask = os.urandom(4)
    size = bytes([128 | len(payload)]) if len(payload) < 126 else bytes([254]) + struct.pack(">H", len(payload))
    masked = bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))
    connection.sendall(bytes([128 | opcode]) + size + mask + masked)
    print(f"> opcode {opcode} {payload!r}")


for line in sys.stdin.buffer:
    send((b"\0" if protocol else b"") + line)
if protocol:
    send(b"\xff\0")
while len(head := stream.read(2)) == 2:
    opcode, size = head[0] & 15, head[1] & 127
    if size == 126:
        size, = struct.unpack(">H", stream.read(2))
    elif size == 127:
        size, = struct.unpack(">Q", stream.read(8))
    payload = stream.read(size)
    print(f"< opcode {opcode} {size:4} bytes {payload!r}")
    if opcode == 8:
        send(payload[:2], 8)
        break
