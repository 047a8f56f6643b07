#!/usr/bin/env python3
"""What one has without waldo: a unit for each process and a file of endpoints for each server, by a plain script over
Jinja2. It checks nothing, and its inventory is in memory already.

Run:   render.py SERVERS DIRECTORY
Needs: jinja2
"""

import os
import sys

import jinja2

GROUPS, STAGES = 5, 4
here = os.path.dirname(os.path.abspath(__file__))
servers, out = int(sys.argv[1]), sys.argv[2]
env = jinja2.Environment(
    loader=jinja2.FileSystemLoader(here), undefined=jinja2.StrictUndefined, trim_blocks=True, keep_trailing_newline=True
)
unit, endpoints = env.get_template("unit.j2"), env.get_template("endpoints.j2")
hosts = {f"s{i}": f"10.{i // 65536}.{i // 256 % 256}.{i % 256}" for i in range(servers)}
processes = []
for group in range(GROUPS):
    for stage in range(STAGES):
        sends = {}
        if stage + 1 < STAGES:
            sends[f"within-{group}-{stage + 1}"] = [f"stage-{group}-{stage + 1}.0"]
        elif group + 1 < GROUPS:
            sends[f"into-{group + 1}"] = []
        run = ["./bin/stage", "--model", "small"]
        process = {"name": f"stage-{group}-{stage}.0", "run": run, "env": {"MODEL": "small"}, "sends": sends, "nofile": 4096}
        processes.append(process)
for server in hosts:
    directory = os.path.join(out, server)
    os.makedirs(directory, exist_ok=True)
    about = {"server": server, "processes": processes, "hosts": hosts}
    for process in processes:
        with open(os.path.join(directory, f"{process['name']}.service"), "w", encoding="utf-8") as file:
            file.write(unit.render(about, process=process))
    with open(os.path.join(directory, "endpoints"), "w", encoding="utf-8") as file:
        file.write(endpoints.render(about))
