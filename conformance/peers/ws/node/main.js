'use strict'

// ws as a peer. See ../README.md for what it is asked to do.

const crypto = require('crypto')
const events = require('events')
const WebSocket = require('ws')

// The name of the tunnel has a slash, which the library takes from nobody.
const OFFERED = 'v4.channel.k8s.io'
const LARGEST = 64 << 20
const LONGEST = 100000
const PERIOD = 251
const PATTERN = Buffer.alloc(PERIOD + LONGEST, Buffer.from([...Array(PERIOD).keys()]))

const pattern = (at, length) => PATTERN.subarray(at % PERIOD, (at % PERIOD) + length)

const say = (words) => console.error(`ws-npm: ${words}`)

function fail (words) {
  say(words)
  process.exit(1)
}

// xorshift32.
class Random {
  constructor (seed) {
    this.state = (seed >>> 0) || 1
  }

  below (limit) {
    this.state ^= this.state << 13
    this.state ^= this.state >>> 17
    this.state ^= this.state << 5
    return (this.state >>> 0) % limit
  }
}

function * lengths (count, seed) {
  const random = new Random(seed)
  while (count > 0) {
    const length = Math.min(random.below(LONGEST + 1), count)
    count -= length
    yield length
  }
}

// Done when the library has got rid of it: a fast end does not pile up in memory for a slow one.
const send = (socket, data, options) => new Promise((resolve, reject) => {
  socket.send(data, options, (error) => error ? reject(error) : resolve())
})

function serve () {
  const server = new WebSocket.WebSocketServer({
    host: '127.0.0.1',
    port: 0,
    perMessageDeflate: false,
    maxPayload: LARGEST,
    handleProtocols: (offered) => offered.has(OFFERED) && OFFERED
  })
  server.on('listening', () => console.log(`port ${server.address().port}`))
  server.on('error', (error) => fail(error.message))
  server.on('connection', (socket) => {
    socket.on('error', (error) => say(error.message))
    socket.on('message', (data, binary) => {
      socket.pause()
      send(socket, data, { binary }).then(() => socket.resume(), (error) => say(error.message))
    })
  })
  process.stdin.resume().on('end', () => process.exit(0)).on('error', () => process.exit(0))
}

async function sendBulk (socket, count, seed) {
  const random = new Random(seed ^ 0x5bd1e995)
  let at = 0
  for (let length of lengths(count, seed)) {
    for (let more = random.below(4); more >= 0; more--) {
      const part = more > 0 ? random.below(length + 1) : length
      await send(socket, pattern(at, part), { binary: true, fin: more === 0 })
      at += part
      length -= part
      if (more > 0 && random.below(2) === 0) socket.ping('between')
    }
  }
}

async function client (port, count, seed) {
  const socket = new WebSocket(`ws://127.0.0.1:${port}/`, [OFFERED], {
    perMessageDeflate: false,
    maxPayload: LARGEST
  })
  socket.on('error', (error) => fail(error.message))

  const expected = [['hello', false, Buffer.from('hello')], ['empty', true, Buffer.alloc(0)]]
  const back = lengths(count, seed)
  const hash = crypto.createHash('sha256')
  let at = 0
  let next
  const greeted = new Promise((resolve) => socket.on('pong', (data) => {
    if (data.equals(Buffer.from('between'))) return
    if (!data.equals(Buffer.from('first'))) fail(`a pong of ${data.length} bytes`)
    console.log('ok ping')
    resolve()
  }))
  const echoed = new Promise((resolve) => {
    const advance = () => {
      next = back.next()
      if (next.done) resolve()
    }
    socket.on('message', (data, binary) => {
      if (expected.length > 0) {
        const [name, isBinary, bytes] = expected.shift()
        if (binary !== isBinary || !data.equals(bytes)) fail(`not the echo of ${name}`)
        console.log(`ok ${name}`)
        if (expected.length === 0) advance()
        return
      }
      if (next.done) fail('more messages than were sent')
      const length = next.value
      if (!binary || data.length !== length) {
        fail(`at byte ${at} ${data.length} bytes (text: ${!binary}) instead of ${length}`)
      }
      if (!data.equals(pattern(at, length))) fail(`at byte ${at} ${length} bytes, not the same`)
      hash.update(data)
      at += length
      advance()
    })
  })
  let closing = false
  socket.on('close', (code) => {
    if (!closing || code === 1006) fail(`closed, ${code}`)
    console.log(`ok close ${code}`)
    process.exit(0)
  })

  await events.once(socket, 'open')
  await send(socket, 'hello', {})
  await send(socket, Buffer.alloc(0), { binary: true })
  socket.ping('first')
  await greeted
  await Promise.all([sendBulk(socket, count, seed), echoed])
  console.log(`ok bulk ${hash.digest('hex')}`)
  closing = true
  socket.close(1000)
}

const [role, ...args] = process.argv.slice(2)
const numbers = args.map(Number)
const server = role === 'server' && numbers.length <= 1
if (!(server || (role === 'client' && numbers.length >= 2 && numbers.length <= 3)) || numbers.some(Number.isNaN)) {
  fail('usage: server [SECONDS] | client PORT BYTES [SEED]')
}
// Nothing here may outlive the test that started it.
const limit = server && numbers.length > 0 ? numbers[0] : 120
setTimeout(() => fail(`still there after ${limit} s`), limit * 1000).unref()
if (server) serve()
else client(numbers[0], numbers[1], numbers.length > 2 ? numbers[2] : 1).catch((error) => fail(error.message))
