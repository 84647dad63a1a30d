// kafkajs. The commands are explained in src/client.rs. It compresses with gzip and leaves the other kinds to plug-ins.
const { Kafka, CompressionTypes, logLevel } = require('kafkajs')
const assert = require('assert')

const [command, address, topic, group] = process.argv.slice(2)
const TIME = '1500000000123'

function client() {
  return new Kafka({ clientId: 'x', brokers: [address], logLevel: logLevel.ERROR })
}

async function step(feature, work) {
  try {
    console.log('cell', feature, 'pass', (await work()) || '')
  } catch (error) {
    console.log('cell', feature, 'fail', String(error).replace(/\n/g, ' '))
  }
}

async function produce(topic, messages, { compression, ...settings } = {}) {
  const producer = client().producer(settings)
  await producer.connect()
  await producer.send({ topic, messages, compression })
  await producer.disconnect()
}

async function consume(topic, count, settings = {}) {
  const consumer = client().consumer({ groupId: 'of-' + topic, ...settings })
  await consumer.connect()
  await consumer.subscribe({ topic, fromBeginning: true })
  const seen = []
  await new Promise((resolve, reject) => {
    setTimeout(() => reject(new Error(`${seen.length} of ${count} records`)), 60000).unref()
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
    assert((await admin.fetchTopicMetadata({ topics: ['made'] })).topics[0].partitions.length === 3)
    await admin.deleteTopics({ topics: ['made'] })
    assert(!(await admin.listTopics()).includes('made'))
  })
  await step('produce', () => produce('basic', values(20)))
  await step('consume', async () => { await consume('basic', 20) })
  await step('compression', async () => {
    await produce('gzip', values(50), { compression: CompressionTypes.GZIP })
    await consume('gzip', 50)
    return 'gzip'
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
    const producer = client().producer({ transactionalId: 't', idempotent: true, maxInFlightRequests: 1 })
    await producer.connect()
    for (const fate of ['abort', 'commit']) {
      const transaction = await producer.transaction()
      await transaction.send({ topic: 'txn', messages: Array.from({ length: 10 }, () => ({ value: fate })) })
      await transaction.sendOffsets({ consumerGroupId: 'outside', topics: [{ topic: 'basic', partitions: [{ partition: 0, offset: '7' }] }] })
      await transaction[fate]()
    }
    await producer.disconnect()
    const seen = await consume('txn', 10)
    assert(seen.every((m) => m.value.toString() === 'commit'))
    const [{ partitions: [{ offset }] }] = await admin.fetchOffsets({ groupId: 'outside', topics: ['basic'] })
    assert.equal(offset, '7')
    return 'with offsets'
  })
  await admin.disconnect()
}

async function member() {
  const consumer = client().consumer({ groupId: group, sessionTimeout: 6000, heartbeatInterval: 500 })
  consumer.on(consumer.events.GROUP_JOIN, ({ payload }) => {
    console.log('owns', (payload.memberAssignment[topic] || []).length)
  })
  await consumer.connect()
  await consumer.subscribe({ topic, fromBeginning: true })
  await consumer.run({ eachMessage: async ({ message }) => console.log('got', message.value.toString()) })
}

const commands = { features, member, version: async () => console.log(require('kafkajs/package.json').version) }
commands[command]().catch((error) => { console.error(error); process.exit(1) })
