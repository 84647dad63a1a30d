"""kafka-python, confluent-kafka and aiokafka: client.py LIBRARY COMMAND ARGUMENT...; the commands are in src/client.rs."""
import asyncio
import importlib.metadata
import sys
import time

CODECS = ["gzip", "snappy", "lz4", "zstd"]
TIME = 1500000000123


def step(feature, work):
    try:
        print("cell", feature, "pass", work() or "", flush=True)
    except BaseException as error:
        print("cell", feature, "fail", repr(error).replace("\n", " "), flush=True)


def members(poll, count):
    """Prints what a member owns and gets, for ever."""
    before = None
    while True:
        for value in poll():
            print("got", value.decode(), flush=True)
        if count() != before:
            before = count()
            print("owns", before, flush=True)


class KafkaPython:
    def features(self, address):
        from kafka import KafkaConsumer, KafkaProducer, TopicPartition
        from kafka.admin import KafkaAdminClient, NewTopic

        def produce(topic, count, **settings):
            producer = KafkaProducer(bootstrap_servers=address, acks="all", linger_ms=10, **settings)
            sent = [producer.send(topic, key=b"k", value=b"value %d" % n, partition=0) for n in range(count)]
            for one in sent:
                one.get(60)
            producer.close()

        def consume(topic, count, **settings):
            consumer = KafkaConsumer(bootstrap_servers=address, auto_offset_reset="earliest", consumer_timeout_ms=60_000, **settings)
            consumer.assign([TopicPartition(topic, 0)])
            seen = []
            for record in consumer:
                seen.append(record)
                if len(seen) == count:
                    break
            consumer.close()
            assert len(seen) == count, f"{len(seen)} of {count} records"
            return seen

        step("produce", lambda: produce("basic", 20))
        step("consume", lambda: consume("basic", 20) and None)

        def compression():
            for codec in CODECS:
                produce(codec, 50, compression_type=codec)
                consume(codec, 50)
            return " ".join(CODECS)

        step("compression", compression)

        def one(topic, **said):
            producer = KafkaProducer(bootstrap_servers=address)
            producer.send(topic, value=b"v", partition=0, **said).get(60)
            producer.close()
            return consume(topic, 1)[0]

        def headers():
            sent = [("h", b"1"), ("h", b"")]
            assert list(one("headers", headers=sent).headers) == sent

        def timestamps():
            assert one("times", timestamp_ms=TIME).timestamp == TIME

        step("headers", headers)
        step("timestamps", timestamps)

        def admin():
            admin = KafkaAdminClient(bootstrap_servers=address)
            admin.create_topics([NewTopic("made", num_partitions=3, replication_factor=1)])
            assert "made" in admin.list_topics()
            admin.delete_topics(["made"])
            assert "made" not in admin.list_topics()
            admin.close()

        step("admin", admin)

        def idempotence():
            produce("once", 50, enable_idempotence=True)
            assert [r.value for r in consume("once", 50)] == [b"value %d" % n for n in range(50)]

        step("idempotence", idempotence)

        def transactions():
            producer = KafkaProducer(bootstrap_servers=address, transactional_id="t")
            producer.init_transactions()
            for fate in (b"aborted", b"committed"):
                producer.begin_transaction()
                for _ in range(10):
                    producer.send("txn", value=fate, partition=0)
                producer.flush()
                producer.abort_transaction() if fate == b"aborted" else producer.commit_transaction()
            producer.close()
            seen = consume("txn", 10, isolation_level="read_committed")
            assert {r.value for r in seen} == {b"committed"}

        step("transactions", transactions)

    def member(self, address, topic, group):
        from kafka import KafkaConsumer
        consumer = KafkaConsumer(topic, bootstrap_servers=address, group_id=group, auto_offset_reset="earliest",
                                 session_timeout_ms=6000, heartbeat_interval_ms=500)
        members(lambda: [r.value for many in consumer.poll(200).values() for r in many], lambda: len(consumer.assignment()))


class Confluent:
    def features(self, address):
        from confluent_kafka import Consumer, Producer, TopicPartition
        from confluent_kafka.admin import AdminClient, NewTopic

        def produce(topic, count, value=b"value %d", **settings):
            failed = []
            producer = Producer({"bootstrap.servers": address, **settings})
            for n in range(count):
                producer.produce(topic, value % n if b"%" in value else value, b"k", 0, on_delivery=lambda e, _: e and failed.append(e))
            assert producer.flush(60) == 0 and not failed, failed

        def consume(topic, count, **settings):
            consumer = Consumer({"bootstrap.servers": address, "group.id": "x", "enable.auto.commit": False, **settings})
            consumer.assign([TopicPartition(topic, 0, 0)])
            seen, end = [], time.monotonic() + 60
            while len(seen) < count and time.monotonic() < end:
                message = consumer.poll(1)
                if message is not None:
                    assert not message.error(), message.error()
                    seen.append(message)
            consumer.close()
            assert len(seen) == count, f"{len(seen)} of {count} records"
            return seen

        step("produce", lambda: produce("basic", 20))
        step("consume", lambda: consume("basic", 20) and None)

        def compression():
            for codec in CODECS:
                produce(codec, 50, **{"compression.type": codec})
                consume(codec, 50)
            return " ".join(CODECS)

        step("compression", compression)

        def one(topic, **said):
            producer = Producer({"bootstrap.servers": address})
            producer.produce(topic, b"v", partition=0, **said)
            assert producer.flush(60) == 0
            return consume(topic, 1)[0]

        def headers():
            sent = [("h", b"1"), ("h", b""), ("null", None)]
            assert one("headers", headers=sent).headers() == sent

        def timestamps():
            assert one("times", timestamp=TIME).timestamp() == (1, TIME)

        step("headers", headers)
        step("timestamps", timestamps)

        def admin():
            admin = AdminClient({"bootstrap.servers": address})
            for done in admin.create_topics([NewTopic("made", 3, 1)]).values():
                done.result(60)
            assert "made" in admin.list_topics(timeout=60).topics
            for done in admin.delete_topics(["made"]).values():
                done.result(60)
            assert "made" not in admin.list_topics(timeout=60).topics

        step("admin", admin)

        def idempotence():
            produce("once", 50, **{"enable.idempotence": True})
            assert [r.value() for r in consume("once", 50)] == [b"value %d" % n for n in range(50)]

        step("idempotence", idempotence)

        def transactions():
            producer = Producer({"bootstrap.servers": address, "transactional.id": "t"})
            producer.init_transactions(60)
            for fate in (b"aborted", b"committed"):
                producer.begin_transaction()
                for _ in range(10):
                    producer.produce("txn", fate, partition=0)
                producer.flush(60)
                producer.abort_transaction(60) if fate == b"aborted" else producer.commit_transaction(60)
            seen = consume("txn", 10, **{"isolation.level": "read_committed"})
            assert {r.value() for r in seen} == {b"committed"}

        step("transactions", transactions)

    def member(self, address, topic, group):
        from confluent_kafka import Consumer
        consumer = Consumer({"bootstrap.servers": address, "group.id": group, "auto.offset.reset": "earliest",
                             "session.timeout.ms": 6000, "heartbeat.interval.ms": 500})
        consumer.subscribe([topic])
        members(lambda: [m.value() for m in consumer.consume(10, 0.2) if not m.error()], lambda: len(consumer.assignment()))


class AioKafka:
    def features(self, address):
        asyncio.run(self.all(address))

    async def all(self, address):
        from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
        from aiokafka.admin import AIOKafkaAdminClient, NewTopic

        async def produce(topic, count, **settings):
            async with AIOKafkaProducer(bootstrap_servers=address, **settings) as producer:
                for n in range(count):
                    await producer.send(topic, b"value %d" % n, key=b"k", partition=0)

        async def consume(topic, count, **settings):
            consumer = AIOKafkaConsumer(bootstrap_servers=address, auto_offset_reset="earliest", **settings)
            await consumer.start()
            consumer.assign([TopicPartition(topic, 0)])
            seen, end = [], time.monotonic() + 60
            while len(seen) < count and time.monotonic() < end:
                for many in (await consumer.getmany(timeout_ms=500)).values():
                    seen.extend(many)
            await consumer.stop()
            assert len(seen) == count, f"{len(seen)} of {count} records"
            return seen

        async def step(feature, work):
            try:
                print("cell", feature, "pass", await work or "", flush=True)
            except BaseException as error:
                print("cell", feature, "fail", repr(error).replace("\n", " "), flush=True)

        async def consumed():
            await consume("basic", 20)

        await step("produce", produce("basic", 20))
        await step("consume", consumed())

        async def compression():
            for codec in CODECS:
                await produce(codec, 50, compression_type=codec)
                await consume(codec, 50)
            return " ".join(CODECS)

        await step("compression", compression())

        async def one(topic, **said):
            async with AIOKafkaProducer(bootstrap_servers=address) as producer:
                await producer.send_and_wait(topic, b"v", partition=0, **said)
            return (await consume(topic, 1))[0]

        async def headers():
            sent = [("h", b"1"), ("h", b"")]
            assert list((await one("headers", headers=sent)).headers) == sent

        async def timestamps():
            assert (await one("times", timestamp_ms=TIME)).timestamp == TIME

        await step("headers", headers())
        await step("timestamps", timestamps())

        async def admin():
            admin = AIOKafkaAdminClient(bootstrap_servers=address)
            await admin.start()
            await admin.create_topics([NewTopic("made", 3, 1)])
            assert "made" in await admin.list_topics()
            await admin.delete_topics(["made"])
            assert "made" not in await admin.list_topics()
            await admin.close()

        await step("admin", admin())

        async def idempotence():
            await produce("once", 50, enable_idempotence=True)
            assert [r.value for r in await consume("once", 50)] == [b"value %d" % n for n in range(50)]

        await step("idempotence", idempotence())

        async def transactions():
            async with AIOKafkaProducer(bootstrap_servers=address, transactional_id="t") as producer:
                for fate in (b"aborted", b"committed"):
                    await producer.begin_transaction()
                    for _ in range(10):
                        await producer.send_and_wait("txn", fate, partition=0)
                    await (producer.abort_transaction() if fate == b"aborted" else producer.commit_transaction())
            seen = await consume("txn", 10, isolation_level="read_committed")
            assert {r.value for r in seen} == {b"committed"}

        await step("transactions", transactions())

    def member(self, address, topic, group):
        asyncio.run(self.join(address, topic, group))

    async def join(self, address, topic, group):
        from aiokafka import AIOKafkaConsumer
        consumer = AIOKafkaConsumer(topic, bootstrap_servers=address, group_id=group, auto_offset_reset="earliest",
                                    session_timeout_ms=6000, heartbeat_interval_ms=500)
        await consumer.start()
        before = None
        while True:
            for many in (await consumer.getmany(timeout_ms=200)).values():
                for record in many:
                    print("got", record.value.decode(), flush=True)
            if len(consumer.assignment()) != before:
                before = len(consumer.assignment())
                print("owns", before, flush=True)


library, command, *arguments = sys.argv[1:]
if command == "version":
    print(importlib.metadata.version(library))
else:
    client = {"kafka-python": KafkaPython, "confluent-kafka": Confluent, "aiokafka": AioKafka}[library]()
    getattr(client, command)(*arguments)
