"""A client over pyzmq: client.py ENDPOINT < MESSAGES; each line is a message, its frames set apart by tabs."""

import sys

import zmq

context = zmq.Context()
push = context.socket(zmq.PUSH)
push.connect(sys.argv[1])
for line in sys.stdin.buffer:
    push.send_multipart(line.rstrip(b"\n").split(b"\t"))
push.close(linger=30_000)
context.term()
