"""The door to a peer that runs in Python's process: a line of JSON in, a line of JSON out.

Holds: the protocol and the timing of questions. Refuses to hold: any peer, and what is made of the times.

    {"load": file}                            -> {"seconds": s, "rows": n, "bytes": b}
    {"ask": [[address, since, until], ...]}   -> {"told": [[nanoseconds, devices, first, last], ...]}

What is timed is the engine's call with the answer fetched; neither JSON nor the pipe is in it. Where nobody reached an
address, devices is 0.
"""

import json
import os
import sys
import time


def serve(load, ask):
    """Answers until standard input ends."""
    for line in sys.stdin:
        request = json.loads(line)
        if "load" in request:
            began = time.perf_counter()
            rows, folder = load(request["load"])
            reply = {"seconds": time.perf_counter() - began, "rows": rows, "bytes": size(folder)}
        else:
            reply = {"told": [timed(ask, question) for question in request["ask"]]}
        print(json.dumps(reply), flush=True)


def timed(ask, question):
    began = time.perf_counter_ns()
    devices, first, last = ask(*question)
    return [time.perf_counter_ns() - began, devices, first or 0, last or 0]


def size(path):
    """Bytes of a file, or of all files of a folder."""
    if os.path.isfile(path):
        return os.path.getsize(path)
    return sum(os.path.getsize(os.path.join(folder, file)) for folder, _, files in os.walk(path) for file in files)
