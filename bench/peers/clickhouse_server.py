"""A ClickHouse server on loopback over a folder that `clickhouse_peer.py` has filled: the library's own command line, told to listen.

    python clickhouse_server.py LIBRARY FOLDER PORT

It runs until it is killed. Refuses to hold: what is asked of it.
"""

import ctypes
import sys

library, folder, port = sys.argv[1:]
engine = ctypes.CDLL(library)
for_a_day = (
    "SYSTEM START LISTEN HTTP; SELECT sleepEachRow(1) FROM numbers(86400) "
    "SETTINGS max_block_size = 1, function_sleep_max_microseconds_per_block = 0 FORMAT Null"
)
arguments = [
    "clickhouse",
    f"--path={folder}",
    "--listen_host=127.0.0.1",
    f"--http_port={port}",
    "--query",
    for_a_day,
]
arguments = [argument.encode() for argument in arguments]
engine.chdb_query_cmdline(len(arguments), (ctypes.c_char_p * len(arguments))(*arguments))
