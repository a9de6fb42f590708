'use strict'

const crypto = require('node:crypto')
const net = require('node:net')
const { Readable } = require('node:stream')
const transport = require('spdy-transport')

// Byte i of what every source sends is i % 251.
const PIECE = 32 << 10
const PATTERN = Buffer.from(Array.from({ length: PIECE + 251 }, (_, i) => i % 251))

function * pattern (length) {
  for (let at = 0; at < length; at += PIECE) {
    yield PATTERN.subarray(at % 251, at % 251 + Math.min(PIECE, length - at))
  }
}

const source = (length) => Readable.from(pattern(length), { objectMode: false })

function patternSum (length) {
  const sum = crypto.createHash('sha256')
  for (const piece of pattern(length)) sum.update(piece)
  return sum.digest('hex')
}

// The sum of all that a stream gets; fails if it is reset.
function sum (stream) {
  return new Promise((resolve, reject) => {
    const hash = crypto.createHash('sha256')
    stream.on('data', (piece) => hash.update(piece))
    stream.on('end', () => resolve(hash.digest('hex')))
    stream.on('error', reject)
    stream.on('close', (error) => { if (error) reject(error) })
  })
}

// What the stream `first` got, for `recall`.
let recalled

function answer (stream) {
  // A reset with another status than CANCEL is an error.
  stream.on('error', () => {})
  const want = stream.headers
  if (want['x-test'] === 'refuse') return stream.abort('REFUSED_STREAM')
  stream.respond(200, {})
  switch (want['x-test']) {
    case 'echo':
      return stream.pipe(stream)
    case 'source':
      stream.resume()
      return source(Number(want['x-length'])).pipe(stream)
    case 'sink':
      return sum(stream).then((found) => stream.end(found), () => {})
    case 'reset':
      return stream.write('0123456789', () => stream.abort())
    case 'first':
      recalled = sum(stream)
      return stream.end('first')
    case 'recall':
      stream.resume()
      return recalled.then((found) => stream.end(found))
    case 'headers':
      stream.resume()
      return stream.sendHeaders({ 'x-more': 'yes' }, () => stream.end('after'))
    case 'headers-echo':
      stream.resume()
      return stream.on('headers', (headers) => stream.sendHeaders(headers, () => stream.end()))
  }
  stream.abort()
}

function create (socket, isServer) {
  socket.setNoDelay(true)
  const connection = transport.connection.create(socket, { protocol: 'spdy', isServer })
  connection.start(3.1)
  return connection
}

function server () {
  const listener = net.createServer((socket) => {
    listener.close()
    const connection = create(socket, true)
    connection.on('stream', answer)
    // It ends a session that is over with an error event, even after GOAWAY with status 0.
    connection.on('error', (error) => console.error('spdy-node:', error.message))
    connection.on('close', () => console.log('end'))
  })
  listener.listen(0, '127.0.0.1', () => console.log('port', listener.address().port))
}

function same (found, wanted) {
  if (found !== wanted) throw new Error(`${found} instead of ${wanted}`)
}

async function client ([port, bytes, headers]) {
  const length = Number(bytes ?? 8 << 20)
  const socket = net.connect(Number(port), '127.0.0.1')
  const connection = create(socket, false)
  connection.on('error', (error) => { throw error })

  const open = (test, length = 0) => {
    const headers = { 'x-test': test, 'x-length': String(length) }
    const stream = connection.request({ method: 'POST', host: 'localhost', path: '/', headers })
    stream.on('error', () => {})
    return stream
  }
  const responds = (stream) => new Promise((resolve, reject) => {
    stream.on('response', (status) => status === 200 ? resolve() : reject(new Error(`status ${status}`)))
    stream.on('error', reject)
  })
  const ping = () => new Promise((resolve) => connection.ping(resolve))
  const echo = async (length) => {
    const stream = open('echo')
    const responded = responds(stream)
    source(length).pipe(stream)
    same(await sum(stream), patternSum(length))
    await responded
  }
  const text = (stream) => new Promise((resolve, reject) => {
    const pieces = []
    stream.on('data', (piece) => pieces.push(piece))
    stream.on('end', () => resolve(Buffer.concat(pieces).toString()))
    stream.on('close', (error) => {
      if (error) reject(Object.assign(new Error(`closed: ${error.message}`), { text: Buffer.concat(pieces).toString() }))
    })
    stream.on('error', reject)
  })
  const failure = (promise) => promise.then(() => { throw new Error('no failure') }, (error) => error)

  const steps = [
    ['ping', ping],
    ['echo', () => echo(5)],
    ['empty', () => echo(0)],
    ['source', async () => {
      const stream = open('source', length)
      stream.end()
      same(await sum(stream), patternSum(length))
    }],
    ['sink', async () => {
      const stream = open('sink')
      const answer = text(stream)
      source(length).pipe(stream)
      same(await answer, patternSum(length))
    }],
    ['reset', async () => {
      const error = await failure(text(open('reset')))
      same(error.message, 'closed: Aborted, code: CANCEL')
      same(error.text, '0123456789')
    }],
    ['refuse', async () => {
      const error = await failure(responds(open('refuse')))
      same(error.message, 'Got RST: REFUSED_STREAM')
    }],
    ['first', async () => {
      const stream = open('first')
      same(await text(stream), 'first')
      // Less than what a reader gives credit for (half of 64 KiB): a WINDOW_UPDATE for a stream that has ended both ways
      // is answered with INVALID_STREAM here, ahead of what still waits to be written of it.
      const length = 20_000
      source(length).pipe(stream)
      await new Promise((resolve) => stream.on('finish', resolve))
      const recall = open('recall')
      recall.end()
      same(await text(recall), patternSum(length))
    }],
    ['fifty', () => Promise.all(Array.from({ length: 50 }, () => echo(64 << 10)))],
    ['ping', ping]
  ]
  const headersSteps = [
    ['headers', async () => {
      const stream = open('headers')
      const headers = new Promise((resolve) => stream.on('headers', resolve))
      stream.end()
      same(await text(stream), 'after')
      same((await headers)['x-more'], 'yes')
    }],
    ['headers-echo', async () => {
      const stream = open('headers-echo')
      await responds(stream)
      const headers = new Promise((resolve) => stream.on('headers', resolve))
      stream.sendHeaders({ 'x-more': 'back' })
      same((await headers)['x-more'], 'back')
      stream.end()
      await text(stream)
    }]
  ]
  for (const [name, step] of headers ? steps.concat(headersSteps) : steps) {
    await step().catch((error) => { throw new Error(`${name}: ${error.message}`, { cause: error }) })
    console.log('ok', name)
  }
  await new Promise((resolve) => {
    connection.on('close', resolve)
    connection.removeAllListeners('error')
    connection.on('error', () => {})
    connection.end()
  })
}

module.exports = { server, client }
