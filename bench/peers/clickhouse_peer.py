"""ClickHouse in this process, as a skilled user would have it: `raw` holds every (address, device, second), `pairs` the ends of each
(address, device, day) as states that merge.

    python clickhouse_peer.py LIBRARY raw|pairs FOLDER

Refuses to hold: how it is spoken to (`door`).
"""

import ctypes
import sys

import door

library, table, folder = sys.argv[1:4]
engine = ctypes.CDLL(library)
engine.chdb_connect.restype = ctypes.POINTER(ctypes.c_void_p)
engine.chdb_query.restype = ctypes.c_void_p
engine.chdb_query.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_char_p]
for name, kind in (("buffer", ctypes.c_void_p), ("length", ctypes.c_size_t), ("error", ctypes.c_char_p)):
    function = getattr(engine, f"chdb_result_{name}")
    function.restype, function.argtypes = kind, [ctypes.c_void_p]
engine.chdb_destroy_query_result.argtypes = [ctypes.c_void_p]

arguments = [b"clickhouse", f"--path={folder}/{table}".encode()]
connection = engine.chdb_connect(len(arguments), (ctypes.c_char_p * len(arguments))(*arguments))[0]


def query(sql, form=b"TabSeparated"):
    result = engine.chdb_query(connection, sql.encode(), form)
    error = engine.chdb_result_error(result)
    if error:
        raise RuntimeError(error.decode())
    text = ctypes.string_at(engine.chdb_result_buffer(result), engine.chdb_result_length(result)).decode()
    engine.chdb_destroy_query_result(result)
    return text


GRANULARITY = next((a.split("=")[1] for a in sys.argv if a.startswith("--granularity=")), "1024")
SCHEMA = {
    # Sorted by address; the seconds of an address as differences.
    "raw": f"""
        CREATE TABLE raw (ip IPv6 CODEC(ZSTD), second DateTime CODEC(Delta, ZSTD), device UInt32 CODEC(T64, ZSTD))
        ENGINE = ReplacingMergeTree ORDER BY (ip, second, device) SETTINGS index_granularity = {GRANULARITY}""",
    "pairs": f"""
        CREATE TABLE pairs (ip IPv6 CODEC(ZSTD), day Date CODEC(Delta, ZSTD), device UInt32 CODEC(Delta, ZSTD),
            first SimpleAggregateFunction(min, DateTime) CODEC(T64, ZSTD), last SimpleAggregateFunction(max, DateTime) CODEC(T64, ZSTD))
        ENGINE = AggregatingMergeTree ORDER BY (ip, day, device) SETTINGS index_granularity = {GRANULARITY}""",
}
# Names of devices once, as numbers everywhere else.
STEPS = """
    CREATE TABLE read (ip IPv6, second DateTime, name FixedString(20)) ENGINE = Memory;
    INSERT INTO read SELECT toIPv6(properties.RemoteIP), parseDateTimeBestEffort(properties.Timestamp), unhex(properties.DeviceId)
        FROM file('{file}', JSONEachRow, 'properties Tuple(Timestamp String, DeviceId String, ActionType String, RemoteIP String)')
        WHERE properties.ActionType IN ('ConnectionSuccess', 'ConnectionFound', 'ConnectionRequest', 'ConnectionSuccessAggregatedReport')
        SETTINGS input_format_skip_unknown_fields = 1;
    CREATE TABLE devices (name FixedString(20), id UInt32) ENGINE = MergeTree ORDER BY name;
    INSERT INTO devices SELECT name, rowNumberInAllBlocks() FROM (SELECT DISTINCT name FROM read);
    {schema};
    INSERT INTO {table} SELECT {columns} FROM read INNER JOIN devices USING (name) {group};
    DROP TABLE read;
    OPTIMIZE TABLE {table} FINAL"""
COLUMNS = {
    "raw": ("ip, second, id", ""),
    "pairs": ("ip, toDate(second) AS day, id, min(second), max(second)", "GROUP BY ip, day, id"),
}
ASK = {
    "raw": """SELECT uniqExact(device), toUnixTimestamp(min(second)), toUnixTimestamp(max(second)) FROM raw
        WHERE ip = toIPv6('{0}') AND second BETWEEN {1} AND {2}""",
    "pairs": """SELECT uniqExact(device), greatest(toUnixTimestamp(min(first)), {1}), toUnixTimestamp(max(last)) FROM pairs
        WHERE ip = toIPv6('{0}') AND day BETWEEN toDate(toDateTime({1})) AND toDate(toDateTime({2})) AND last >= {1} AND first <= {2}""",
}


def load(file):
    columns, group = COLUMNS[table]
    steps = STEPS.format(file=file, schema=SCHEMA[table], table=table, columns=columns, group=group)
    for step in steps.split(";"):
        query(step)
    return int(query(f"SELECT count() FROM {table}")), f"{folder}/{table}"


def ask(address, since, until):
    told = query(ASK[table].format(address, since, until)).split("\t")
    devices = int(told[0])
    return devices, int(told[1]) if devices else 0, int(told[2]) if devices else 0


door.serve(load, ask)
