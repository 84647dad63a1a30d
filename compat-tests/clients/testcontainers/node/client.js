// Testcontainers for Node: starts an image (after the kind: kraft or zookeeper), sends records to it and reads them again
// through a group. Prints the time from the start to the first record's acknowledgement.
import { KafkaContainer } from "@testcontainers/kafka";
import { Kafka, logLevel } from "kafkajs";

const RECORDS = 50;
const [kind, image] = process.argv.slice(2);
const began = Date.now();
let module = new KafkaContainer(image);
// Below tag 8.0.0 the module starts in ZooKeeper mode unless it is told otherwise.
if (kind === "kraft") module = module.withKraft();
const container = await module.start();
try {
  // start() of this version of the module returns before the broker listens: clients are to try again.
  const kafka = new Kafka({
    brokers: [`${container.getHost()}:${container.getMappedPort(9093)}`],
    logLevel: logLevel.NOTHING,
    retry: { initialRetryTime: 50, maxRetryTime: 200, retries: 200 },
  });
  const producer = kafka.producer();
  await producer.connect();
  const sent = Array.from({ length: RECORDS }, (_, n) => `record ${n}`);
  for (const [n, value] of sent.entries()) {
    await producer.send({ topic: "from-node", messages: [{ value }] });
    if (n === 0) console.log(`first record after ${Date.now() - began} ms`);
  }
  await producer.disconnect();
  const consumer = kafka.consumer({ groupId: "g" });
  await consumer.connect();
  await consumer.subscribe({ topic: "from-node", fromBeginning: true });
  const seen = [];
  await new Promise((resolve, reject) => {
    setTimeout(() => reject(new Error(`${seen.length} of ${RECORDS} records came back`)), 60_000).unref();
    consumer.run({
      eachMessage: async ({ message }) => {
        seen.push(message.value.toString());
        if (seen.length === RECORDS) resolve();
      },
    });
  });
  await consumer.disconnect();
  if (seen.join() !== sent.join()) throw new Error(`other records came back: ${seen}`);
  console.log("all records");
} finally {
  await container.stop();
}
