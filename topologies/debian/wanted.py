"""The source: every origin visits itself."""

import ack
import index

for origin in index.origins(index.read()):
    ack.write(ack.line(b"visit", origin.encode(), origin.encode()))
