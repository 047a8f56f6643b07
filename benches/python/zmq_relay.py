"""Passes messages on over pyzmq, from the endpoint that it binds to the one that it connects: zmq_relay.py COUNT FROM TO.

Prints a line when it is there, and another at the end: how many in a second of processor time."""

import sys
import time

import zmq

count, context = int(sys.argv[1]), zmq.Context()
pull, push = context.socket(zmq.PULL), context.socket(zmq.PUSH)
pull.bind(sys.argv[2])
push.connect(sys.argv[3])
print("ready", flush=True)
began = time.process_time()
for _ in range(count):
    push.send(pull.recv())
print(count / (time.process_time() - began), flush=True)
