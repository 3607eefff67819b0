"""DuckDB in this process, as a skilled user would have it: `raw` holds every (address, device, second) sorted by address, `pairs`
the ends of each (address, device, day).

    python duckdb_peer.py raw|pairs FOLDER

Refuses to hold: how it is spoken to (`door`).
"""

import sys

import duckdb

import door

table, folder = sys.argv[1:3]
path = f"{folder}/{table}.duckdb"
engine = duckdb.connect(path)
engine.execute("SET threads = 2")

COLUMNS = (
    "{properties: 'STRUCT(\"Timestamp\" TIMESTAMP, DeviceId VARCHAR, ActionType VARCHAR, RemoteIP VARCHAR)'}"
)
# Names of devices once, as numbers everywhere else; addresses as text, which DuckDB packs well, in one form each.
READ = f"""
    CREATE TEMP TABLE read AS
    SELECT if(starts_with(properties.RemoteIP, '::ffff:'), substr(properties.RemoteIP, 8), properties.RemoteIP) AS ip,
        properties.DeviceId AS name, (epoch_us(properties."Timestamp") // 1000000)::UINTEGER AS second
    FROM read_json($file, format = 'newline_delimited', columns = {COLUMNS})
    WHERE properties.ActionType IN ('ConnectionSuccess', 'ConnectionFound', 'ConnectionRequest', 'ConnectionSuccessAggregatedReport')"""
NAMES = "CREATE TABLE devices AS SELECT name, row_number() OVER ()::UINTEGER AS id FROM (SELECT DISTINCT name FROM read)"
RAW = """
    CREATE TABLE raw AS
    SELECT ip, second, id AS device FROM read JOIN devices USING (name) GROUP BY ALL ORDER BY ip, second"""
PAIRS = """
    CREATE TABLE pairs AS
    SELECT ip, (second // 86400)::USMALLINT AS day, id AS device, min(second) AS first, max(second) AS last
    FROM read JOIN devices USING (name) GROUP BY ALL ORDER BY ip, day"""
ASK = {
    "raw": "SELECT count(DISTINCT device), min(second), max(second) FROM raw WHERE ip = $1 AND second BETWEEN $2 AND $3",
    "pairs": """
        SELECT count(DISTINCT device), min(greatest(first, $2)), max(last) FROM pairs
        WHERE ip = $1 AND day BETWEEN $2 // 86400 AND $3 // 86400 AND last >= $2 AND first <= $3""",
}


def load(file):
    engine.execute(READ, {"file": file})
    engine.execute(NAMES)
    engine.execute(RAW if table == "raw" else PAIRS)
    if "--index" in sys.argv:
        engine.execute(f"CREATE INDEX of_{table} ON {table} (ip)")
    rows = engine.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
    engine.execute("DROP TABLE read")
    engine.execute("CHECKPOINT")
    return rows, path


def ask(address, since, until):
    return engine.execute(ASK[table], [address, since, until]).fetchone()


door.serve(load, ask)
