"""Passes records on over the package `waldo`; leaves in its state directory how many in a second of processor time."""

import time

import waldo

stage, count, began = waldo.stage(), 0, time.process_time()
left = stage.state_directory / "per-second"
for record in stage:
    stage.send("passed", record.key, record.payload)
    count += 1
stage.finish()
left.write_text(str(count / (time.process_time() - began)))
