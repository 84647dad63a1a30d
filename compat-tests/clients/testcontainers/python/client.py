"""Testcontainers for Python: starts an image (after the kind: kraft or zookeeper), sends records to it and reads them again
through a group. Prints the time from the start to the first record's acknowledgement."""
import sys
import time

from kafka import KafkaConsumer, KafkaProducer
from testcontainers.community.kafka import KafkaContainer

kind, image = sys.argv[1:]
container = KafkaContainer(image)
if kind == "kraft":
    container = container.with_kraft()
began = time.monotonic()
with container:
    address = container.get_bootstrap_server()
    producer = KafkaProducer(bootstrap_servers=address)
    sent = [b"record %d" % n for n in range(50)]
    for value in sent:
        producer.send("from-python", value).get(10)
        if value == sent[0]:
            print("first record after %d ms" % ((time.monotonic() - began) * 1000))
    consumer = KafkaConsumer("from-python", bootstrap_servers=address, group_id="g", auto_offset_reset="earliest",
                             consumer_timeout_ms=60_000)
    seen = []
    for record in consumer:
        seen.append(record.value)
        if len(seen) == len(sent):
            break
    assert seen == sent, seen
    print("all records")
