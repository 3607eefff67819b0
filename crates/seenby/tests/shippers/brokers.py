"""Brokers, as their packages come, that a server takes records from: one that speaks Kafka's protocol, fed by librdkafka and by rsyslog,
and NATS with JetStream. In the middle the server is killed and the broker stopped and started: nothing is lost, nothing counts twice.
Nothing about what a record holds.
"""

import asyncio
import contextlib
import pathlib
import sys

from place import DEVICES, Place, answers, client, free_port, is_taken, libraries, multiarch, record, running, served

ADDRESSES = {"kafka": "203.0.113.11", "nats": "203.0.113.12"}
TOPIC = "edr"
PARTITIONS = 3
# What is no record is refused, and the next one taken.
NO_RECORD = b"\xff{"
KAFKA_SOURCE = """
[[sources]]
name = "bus"
kafka = ["127.0.0.1:{port}"]
topics = ["edr"]
group = "seenby"
format = "ndjson"
"""
NATS_SOURCE = """
[[sources]]
name = "nats"
nats = ["nats://127.0.0.1:{port}"]
stream = "edr"
consumer = "seenby"
format = "ndjson"
"""


class Broker:
    """A broker that can be stopped and started again on the same data and the same port."""

    def __init__(self, place, name, port, command, environment=None):
        self.place, self.name, self.port = place, name, port
        self.command, self.environment = command, environment
        self.runs = contextlib.ExitStack()
        self.process = None

    def start(self):
        self.process = self.runs.enter_context(running(self.place, self.name, self.command, self.environment))
        answers(self.port, self.process)

    def restart_killed(self):
        """Ends it as a power cut does, as far as a process can tell, and starts it again."""
        self.process.kill()
        self.stop()
        self.start()

    def stop(self):
        """What still answers then is no broker that was stopped."""
        self.runs.close()
        assert not is_taken(self.port), f"{self.name} goes on"

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *raised):
        return self.runs.__exit__(*raised)


def front_of(place, port, behind, *more):
    """What stands in front of a peer."""
    program = pathlib.Path(__file__).with_name("front.py")
    return Broker(place, "front", port, [sys.executable, str(program), str(port), str(behind), *more])


def taken_from(place, broker, who, send):
    """Sends the records of all devices in five parts; the server is killed and the broker stopped in between. `send` returns once the
    broker has them.
    """
    first, second, third, fourth, fifth = parts()
    address = ADDRESSES[who]
    with served(place):
        send(first)
        place.sees(f"{who}, at first", address, len(first))
        send(second)
        # Some of these are taken, some only fetched: nobody knows which.
        place.kill()
    send(third)
    with served(place):
        place.sees(f"{who}, after a kill", address, len(first) * 3)
        broker.stop()
        broker.start()
        send(fourth)
        place.sees(f"{who}, after the broker was away", address, len(first) * 4)
        place.kill()
        broker.stop()
    with served(place):
        # The broker is not there yet: the server waits for it.
        broker.start()
        send(fifth)
        place.sees(f"{who}, when the broker came later", address)


def taken_around(place, broker, who, send):
    """Sends the records of all devices in two parts, and stops the broker in between."""
    address = ADDRESSES[who]
    with served(place):
        send(range(DEVICES // 2))
        place.sees(f"{who}, at first", address, DEVICES // 2)
        broker.stop()
        broker.start()
        send(range(DEVICES // 2, DEVICES))
        place.sees(f"{who}, after the broker was away", address)


def parts():
    fifth = DEVICES // 5
    return [range(number, number + fifth) for number in range(0, DEVICES, fifth)]


def kafka_broker(place, peers, port):
    client("confluent_kafka")
    program = peers.inside("noida_db", "noida-db")
    data = str(place.folder / "broker")
    command = [program, "start", "--only", "kafka", "--kafka-port", str(port), "--data-dir", data]
    return Broker(place, "noida-db", port, command)


def make_topic(port):
    admin = client("confluent_kafka.admin")
    cluster = admin.AdminClient({"bootstrap.servers": f"127.0.0.1:{port}"})
    for made in cluster.create_topics([admin.NewTopic(TOPIC, num_partitions=PARTITIONS, replication_factor=1)]).values():
        made.result(timeout=30)


def by_librdkafka(port, address):
    """A producer that waits until the broker has all of it, and sends again until then."""
    settings = {"bootstrap.servers": f"127.0.0.1:{port}", "enable.idempotence": False, "linger.ms": 20, "log_level": 0}
    producer = client("confluent_kafka").Producer(settings)

    def send(numbers):
        producer.produce(TOPIC, NO_RECORD)
        for number in numbers:
            producer.produce(TOPIC, record(number, address), key=str(number))
        assert producer.flush(60) == 0, "the broker did not take all records"

    return send


def test_librdkafka(program, folder, peers):
    port = free_port()
    place = Place(program, folder, KAFKA_SOURCE.format(port=port))
    with kafka_broker(place, peers, port) as broker:
        make_topic(port)
        taken_from(place, broker, "kafka", by_librdkafka(port, ADDRESSES["kafka"]))


def test_rsyslog(program, folder, peers):
    """omkafka, which goes on while the server is killed."""
    root = peers.debian("rsyslog")
    port = free_port()
    place = Place(program, folder, KAFKA_SOURCE.format(port=port))
    log = place.lines("rsyslog.log", ADDRESSES["kafka"])
    modules = f"{root}/usr/lib/{multiarch()}/rsyslog"
    settings = place.write(
        "rsyslog.conf",
        f"""
global(workDirectory="{place.folder}")
module(load="{modules}/imfile.so")
module(load="{modules}/omkafka.so")
template(name="document" type="string" string="%msg%")
input(type="imfile" file="{log}" tag="edge")
action(type="omkafka" broker="127.0.0.1:{port}" topic="{TOPIC}" template="document" partitions.auto="on")
""",
    )
    command = [f"{root}/usr/sbin/rsyslogd", "-n", "-f", settings, "-i", str(place.folder / "rsyslog.pid"), "-M", modules]
    with kafka_broker(place, peers, port):
        make_topic(port)
        with running(place, "rsyslog", command, libraries(root)):
            with served(place):
                place.kill()
            with served(place):
                place.sees("rsyslog to kafka", ADDRESSES["kafka"])


@contextlib.contextmanager
def nats_place(program, folder, peers, server="", source="", scheme="nats", **known):
    """A place, a broker with a stream, and how the stream is written to. `server` and `source` are more settings of both, `known` is by
    what we are.
    """
    root = peers.debian("nats")
    client("nats")
    port = free_port()
    place = Place(program, folder, NATS_SOURCE.format(port=port).replace("nats://", f"{scheme}://") + source)
    settings = place.write(
        "nats.conf", f'listen: "127.0.0.1:{port}"\nserver_name: one\njetstream {{ store_dir: "{place.folder}/jetstream" }}\n{server}'
    )
    with Broker(place, "nats-server", port, [f"{root}/usr/sbin/nats-server", "-c", settings], libraries(root)) as broker:
        asyncio.run(with_stream(port, lambda stream: stream.add_stream(name=TOPIC, subjects=[f"{TOPIC}.>"]), scheme, **known))
        yield place, broker, port


def test_nats(program, folder, peers):
    """By the consumer that the server makes."""
    with nats_place(program, folder, peers) as (place, broker, port):
        taken_around(place, broker, "nats", by_jetstream(port, ADDRESSES["nats"]))


def test_nats_killed(program, folder, peers):
    """By a consumer that is there already; it gives again after five seconds what a killed server did not acknowledge."""
    from_the_start = {"durable_name": "seenby", "ack_policy": "explicit", "deliver_policy": "all", "ack_wait": 5}
    with nats_place(program, folder, peers) as (place, broker, port):
        asyncio.run(with_stream(port, lambda stream: stream.add_consumer(TOPIC, **from_the_start)))
        taken_from(place, broker, "nats", by_jetstream(port, ADDRESSES["nats"]))


def by_jetstream(port, address, scheme="nats", **known):
    async def publish(stream, numbers):
        await stream.publish(f"{TOPIC}.none", NO_RECORD)
        for number in numbers:
            await stream.publish(f"{TOPIC}.{number % PARTITIONS}", record(number, address).encode())

    return lambda numbers: asyncio.run(with_stream(port, lambda stream: publish(stream, numbers), scheme, **known))


async def with_stream(port, act, scheme="nats", **known):
    """Does something by a connection of its own; a publication returns once the stream has it."""
    connection = await client("nats").connect(f"{scheme}://127.0.0.1:{port}", **known)
    try:
        await act(connection.jetstream(timeout=30))
    finally:
        await connection.close()


TESTS = (("kafka", test_librdkafka), ("rsyslog to kafka", test_rsyslog), ("nats", test_nats), ("nats, killed", test_nats_killed))
