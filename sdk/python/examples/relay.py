"""Passes each record on. What the topology doesn't allow is told in the record's place."""

import waldo

stage = waldo.stage()
for record in stage:
    payload = record.payload
    if payload == b"refuse me":
        try:
            stage.send("elsewhere", record.key, payload)
        except waldo.Failure as failure:
            payload = str(failure)
    stage.send("passed", record.key, payload)
