// @confluentinc/kafka-javascript, librdkafka for Node. The commands are explained in src/client.rs.
const { Kafka, CompressionTypes, logLevel } = require('@confluentinc/kafka-javascript').KafkaJS
const assert = require('assert')

const [command, address, topic, group] = process.argv.slice(2)
const TIME = '1500000000123'

function client() {
  return new Kafka({ kafkaJS: { clientId: 'x', brokers: [address], logLevel: logLevel.ERROR } })
}

async function step(feature, work) {
  try {
    console.log('cell', feature, 'pass', (await work()) || '')
  } catch (error) {
    console.log('cell', feature, 'fail', String(error).replace(/\n/g, ' '))
  }
}

async function produce(topic, messages, settings = {}) {
  const producer = client().producer({ kafkaJS: settings })
  await producer.connect()
  await producer.send({ topic, messages })
  await producer.disconnect()
}

async function consume(topic, count) {
  const consumer = client().consumer({ kafkaJS: { groupId: 'of-' + topic, fromBeginning: true } })
  await consumer.connect()
  await consumer.subscribe({ topic })
  const seen = []
  await new Promise((resolve, reject) => {
    setTimeout(() => reject(new Error(`${seen.length} of ${count} records`)), 20000).unref()
    consumer.run({ eachMessage: async ({ message }) => { if (seen.push(message) === count) resolve() } })
  })
  await consumer.disconnect()
  return seen
}

const values = (count) => Array.from({ length: count }, (_, n) => ({ key: 'k', value: 'value ' + n }))

async function features() {
  const admin = client().admin()
  await admin.connect()
  await step('admin', async () => {
    await admin.createTopics({ topics: [{ topic: 'made', numPartitions: 3 }] })
    // A list, where kafkajs has an object with one.
    assert((await admin.fetchTopicMetadata({ topics: ['made'] }))[0].partitions.length === 3)
    await admin.deleteTopics({ topics: ['made'] })
    assert(!(await admin.listTopics()).includes('made'))
  })
  await step('produce', () => produce('basic', values(20)))
  await step('consume', async () => { await consume('basic', 20) })
  await step('compression', async () => {
    const kinds = []
    for (const kind of ['gzip', 'snappy', 'lz4', 'zstd']) {
      try {
        await produce(kind, values(50), { compression: CompressionTypes[kind.toUpperCase()] })
      } catch (error) {
        // What the machine that built it had no library for.
        if (String(error).includes('not available at build time')) continue
        throw error
      }
      const seen = await consume(kind, 50)
      assert.deepEqual(seen.map((m) => m.value.toString()), values(50).map((m) => m.value))
      kinds.push(kind)
    }
    return kinds.join(' ')
  })
  await step('headers', async () => {
    await produce('headers', [{ value: 'v', headers: { h: 'x', empty: '' } }])
    const { headers } = (await consume('headers', 1))[0]
    assert(headers.h.toString() === 'x' && headers.empty.length === 0, JSON.stringify(headers))
  })
  await step('timestamps', async () => {
    await produce('times', [{ value: 'v', timestamp: TIME }])
    assert.equal((await consume('times', 1))[0].timestamp, TIME)
  })
  await step('idempotence', async () => {
    await produce('once', values(50), { idempotent: true })
    assert.deepEqual((await consume('once', 50)).map((m) => m.value.toString()), values(50).map((m) => m.value))
  })
  await step('transactions', async () => {
    const producer = client().producer({ kafkaJS: { transactionalId: 't' } })
    // Its group's offsets are committed; the library asks for the consumer itself.
    const consumer = client().consumer({ kafkaJS: { groupId: 'outside' } })
    await Promise.all([producer.connect(), consumer.connect()])
    await consumer.subscribe({ topic: 'basic' })
    for (const fate of ['abort', 'commit']) {
      const transaction = await producer.transaction()
      await transaction.send({ topic: 'txn', messages: Array.from({ length: 10 }, () => ({ value: fate })) })
      await transaction.sendOffsets({ consumer, topics: [{ topic: 'basic', partitions: [{ partition: 0, offset: '7' }] }] })
      await transaction[fate]()
    }
    await producer.disconnect()
    await consumer.disconnect()
    const seen = await consume('txn', 10)
    assert(seen.every((m) => m.value.toString() === 'commit'))
    const [{ partitions: [{ offset }] }] = await admin.fetchOffsets({ groupId: 'outside', topics: ['basic'] })
    assert.equal(offset, '7')
    return 'with offsets'
  })
  await admin.disconnect()
}

async function member() {
  const settings = { groupId: group, sessionTimeout: 6000, heartbeatInterval: 500, fromBeginning: true }
  const consumer = client().consumer({ kafkaJS: settings })
  await consumer.connect()
  await consumer.subscribe({ topic })
  await consumer.run({ eachMessage: async ({ message }) => console.log('got', message.value.toString()) })
  let owned = -1
  setInterval(() => {
    const { length } = consumer.assignment()
    if (length !== owned) console.log('owns', owned = length)
  }, 100)
}

const version = () => console.log(require('@confluentinc/kafka-javascript/package.json').version)
const commands = { features, member, version }
Promise.resolve(commands[command]()).catch((error) => { console.error(error); process.exit(1) })
