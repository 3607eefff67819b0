"""Real peers, and servers, killed at random moments by turns: NATS, a broker of Kafka's protocol, a bucket. Whoever sends does so until it
is acknowledged, so nothing may be lost, and nothing may be there that was not sent. How often and of how many records is said by
SEENBY_KILLS and SEENBY_RECORDS, as for the tests of the program (`killed.rs`). Nothing about how a peer is started.
"""

import asyncio
import gzip
import json
import os
import random
import threading
import time

from brokers import KAFKA_SOURCE, PARTITIONS, TOPIC, front_of, kafka_broker, make_topic, nats_place, with_stream
from buckets import BUCKET, bucket_of, moto, s3_source
from place import PATIENCE_S, Place, client, free_port, served, written

ADDRESSES = [f"203.0.113.{number}" for number in range(40)]
DEVICES = 20_011
# Portions that are sent between two kills.
PORTIONS = 10


class Sent:
    """What was sent, and what must be answered of it."""

    def __init__(self):
        self.begun = int(time.time()) - 86_400
        self.number = 0
        self.told = {}

    def records(self, count):
        """So many more, as lines."""
        return [self.record() for _ in range(count)]

    def record(self):
        self.number += 1
        address, device = ADDRESSES[self.number % len(ADDRESSES)], f"pc-{self.number * 7_919 % DEVICES}"
        second = self.begun + self.number * 31 % 80_000
        devices, first, last = self.told.get(address, (set(), second, second))
        devices.add(device)
        self.told[address] = (devices, min(first, second), max(last, second))
        return json.dumps({"time": written(second), "device": device, "ip": address})

    def expected(self):
        return {address: (len(devices), written(first), written(last)) for address, (devices, first, last) in self.told.items()}

    def check(self, place):
        """Waits until every answer is what it must be, for as long as they change."""
        expected, before = self.expected(), None
        while (found := place.ask(list(expected), time.time())) != expected:
            if found != before:
                before, until = found, time.monotonic() + PATIENCE_S
            differing = {address: (found[address], expected[address]) for address in expected if found[address] != expected[address]}
            for address, (now, then) in differing.items():
                assert now[0] <= then[0], f"{address}: {now[0]} devices, of {then[0]} that were sent"
            some = dict(list(differing.items())[:3])
            assert time.monotonic() < until, f"{len(differing)} of {len(expected)} answers are wrong, such as (found, sent) {some}"
            time.sleep(0.2)


class Sender(threading.Thread):
    """Sends everything in portions, in step with the kills, each until `send` returns."""

    def __init__(self, send, kills, in_one):
        super().__init__(daemon=True)
        self.send, self.in_one, self.kills = send, in_one, kills
        self.sent = Sent()
        self.begun = self.done = self.again = 0
        self.turn = threading.Condition()

    def run(self):
        for portion in range(self.kills * PORTIONS):
            self.wait(lambda portion=portion: self.done >= portion // PORTIONS)
            lines = self.sent.records(self.in_one)
            self.step("begun")
            while not self.is_taken(portion, lines):
                self.again += 1
                time.sleep(0.05)

    def is_taken(self, portion, lines):
        # Whatever a client says of a peer that was killed under it.
        try:
            self.send(portion, lines)
        except Exception as why:  # pylint: disable=broad-except
            self.why = why
            return False
        return True

    def wait(self, holds):
        with self.turn:
            assert self.turn.wait_for(holds, PATIENCE_S * 2), (self.begun, self.done, getattr(self, "why", None))

    def step(self, counter):
        with self.turn:
            setattr(self, counter, getattr(self, counter) + 1)
            self.turn.notify_all()


def wanted(name, usual):
    return int(os.environ.get(name, usual))


def kill_by_turns(place, who, kill_peer, send):
    """The server and its peer, by turns."""
    kills, records = wanted("SEENBY_KILLS", 6), wanted("SEENBY_RECORDS", 6_000)
    assert 0 < kills * PORTIONS <= records, "SEENBY_RECORDS is to be ten for each kill"
    seed, began = 5, time.monotonic()
    moments = random.Random(seed)
    sender = Sender(send, kills, -(-records // (kills * PORTIONS)))
    with served(place):
        sender.start()
        for kill in range(kills):
            enough = kill * PORTIONS + moments.randint(1, PORTIONS)
            sender.wait(lambda enough=enough: sender.begun >= enough or not sender.is_alive())
            time.sleep(moments.random() * 0.3)
            if kill % 2 == 0:
                place.kill()
                place.serve()
            else:
                kill_peer()
            sender.step("done")
        sender.join(PATIENCE_S * 5)
        assert not sender.is_alive(), getattr(sender, "why", "it does not end")
        sender.sent.check(place)
    print(
        f"ok  {who}: {sender.sent.number} records, {kills} kills, {sender.again} portions sent again, {time.monotonic() - began:.0f} s",
        flush=True,
    )


def test_nats(program, folder, peers):
    """By a consumer as the server would make it, but that what a killed server did not acknowledge is given again after two seconds."""
    from_the_start = {"durable_name": "seenby", "ack_policy": "explicit", "deliver_policy": "all", "ack_wait": 2, "max_ack_pending": 16_384}
    with nats_place(program, folder, peers) as (place, broker, port):
        asyncio.run(with_stream(port, lambda stream: stream.add_consumer(TOPIC, **from_the_start)))
        kill_by_turns(place, "nats, killed at random", broker.restart_killed, by_jetstream(port))


def by_jetstream(port):
    """A few records in each message; returns once the stream has them all."""

    async def silent(_):
        """What goes wrong is raised too."""

    async def publish(messages):
        url = f"nats://127.0.0.1:{port}"
        connection = await client("nats").connect(url, allow_reconnect=False, connect_timeout=2, error_cb=silent)
        try:
            stream = connection.jetstream(timeout=5)
            await asyncio.gather(*(stream.publish(f"{TOPIC}.{at % PARTITIONS}", message) for at, message in enumerate(messages)))
        finally:
            await connection.close()

    return lambda _, lines: asyncio.run(publish(messages_of(lines)))


def messages_of(lines):
    return ["\n".join(lines[at : at + 7]).encode() for at in range(0, len(lines), 7)]


def test_kafka(program, folder, peers):
    """noida-db loses what it has acknowledged when it ends, so what is killed in its place is what stands in front of it."""
    behind, port = free_port(), free_port()
    place = Place(program, folder, KAFKA_SOURCE.format(port=port))
    with kafka_broker(place, peers, behind), front_of(place, port, behind, "--kafka") as front:
        make_topic(port)
        kill_by_turns(place, "kafka, killed at random", front.restart_killed, by_librdkafka(port))


def by_librdkafka(port):
    """A producer for each portion, which waits until the broker has all of it."""

    def send(_, lines):
        failed = []
        settings = {"bootstrap.servers": f"127.0.0.1:{port}", "linger.ms": 5, "message.timeout.ms": 20_000, "log_level": 0}
        producer = client("confluent_kafka").Producer(settings)
        for at, message in enumerate(messages_of(lines)):
            producer.produce(TOPIC, message, partition=at % PARTITIONS, on_delivery=lambda why, _: why and failed.append(why))
        assert producer.flush(30) == 0 and not failed, failed[:1]

    return send


def test_bucket(program, folder, peers):
    """moto keeps its objects in memory, so what is killed in its place is what stands in front of it: uploads, lists and downloads end in
    the middle.
    """
    behind, port = free_port(), free_port()
    place = Place(program, folder / "place", s3_source(folder, f"http://127.0.0.1:{port}"))
    with moto(place, peers, behind), front_of(place, port, behind) as front:
        kill_by_turns(place, "s3, killed at random", front.restart_killed, by_objects(f"http://127.0.0.1:{port}"))


def by_objects(url):
    """An object for each portion, some compressed; every fourth is one that was there, and has these records too."""
    bucket, kept = bucket_of(url), {}

    def send(portion, lines):
        number = portion - 3 if portion % 4 == 3 else portion
        text = kept.get(number, b"") + "".join(f"{line}\n" for line in lines).encode()
        name = f"edr/{number // 100}/{number}.ndjson"
        bucket.put_object(Bucket=BUCKET, Key=name, Body=gzip.compress(text) if number % 3 == 0 else text)
        kept[number] = text
        kept.pop(number - 8, None)

    return send


TESTS = (
    ("nats, killed at random", test_nats),
    ("kafka, killed at random", test_kafka),
    ("s3, killed at random", test_bucket),
)
