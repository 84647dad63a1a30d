"""kafka-python: admin, producer with compression and headers, group, commits. Argument: the address of a broker."""
import itertools
import sys

from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import KafkaAdminClient, NewTopic

address = sys.argv[1]
admin = KafkaAdminClient(bootstrap_servers=address)
admin.create_topics([NewTopic("py", num_partitions=2, replication_factor=1)])
for codec in (None, "gzip"):
    producer = KafkaProducer(bootstrap_servers=address, acks="all", compression_type=codec)
    for n in range(10):
        producer.send("py", key=b"k%d" % n, value=b"v", headers=[("codec", str(codec).encode())]).get(60)
    producer.close()


def consume(count):
    consumer = KafkaConsumer("py", bootstrap_servers=address, group_id="py", auto_offset_reset="earliest",
                             enable_auto_commit=False, consumer_timeout_ms=60_000 if count else 5_000)
    records = list(itertools.islice(consumer, count or None))
    consumer.commit()
    committed = sum(consumer.committed(TopicPartition("py", p)) or 0 for p in (0, 1))
    consumer.close()
    return records, committed


records, committed = consume(20)
assert len(records) == 20 and committed == 20, (len(records), committed)
assert {record.headers[0] for record in records} == {("codec", b"None"), ("codec", b"gzip")}
# Nobody reads them again.
assert consume(0) == ([], 20)
admin.delete_topics(["py"])
assert "py" not in admin.list_topics()
print("ok")
