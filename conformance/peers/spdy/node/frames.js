'use strict'

const fs = require('node:fs')
const transport = require('spdy-transport')

const spdy = transport.protocol.spdy
const { error: RESETS, goaway: GOAWAYS, settingsIndex: SETTINGS } = spdy.constants
const { weightToPriority, priorityToWeight } = transport.protocol.base.utils
const VERSION = 3.1

// This library turns what it reads into the words of HTTP/2; they are printed as they are.
function describe (frame) {
  switch (frame.type) {
    case 'HEADERS':
      return {
        type: frame.type,
        id: frame.id,
        fin: frame.fin,
        priority: weightToPriority(frame.priority.weight),
        unidirectional: !frame.writable,
        headers: frame.headers
      }
    case 'PUSH_PROMISE':
      return { type: frame.type, id: frame.id, promised: frame.promisedId, headers: frame.headers }
    case 'RST':
      return { type: 'RST_STREAM', id: frame.id, status: RESETS[frame.code] ?? null }
    case 'SETTINGS':
      return { type: frame.type, settings: frame.settings }
    case 'PING':
      return { type: frame.type, id: frame.opaque.readUInt32BE(0) }
    case 'GOAWAY':
      return { type: frame.type, last: frame.lastId, status: GOAWAYS[frame.code] }
    case 'WINDOW_UPDATE':
      return { type: frame.type, id: frame.id, delta: frame.delta }
    case 'DATA':
      return { type: frame.type, id: frame.id, fin: frame.fin, data: frame.data.toString('hex') }
  }
  return { error: frame.type }
}

async function decode ([chunk]) {
  const input = fs.readFileSync(0)
  const step = Number(chunk) || Math.max(input.length, 1)
  const parser = spdy.parser.create({ isServer: true })
  parser.setCompression(spdy.compressionPool.create(true).get(VERSION))
  parser.setVersion(VERSION)
  const lines = []
  parser.on('data', (frame) => lines.push(JSON.stringify(describe(frame))))
  let failed = null
  parser.on('error', (error) => { failed ??= error })
  for (let at = 0; at < input.length && !failed; at += step) {
    await new Promise((resolve) => {
      parser.once('error', resolve)
      parser.write(input.subarray(at, at + step), () => {
        parser.removeListener('error', resolve)
        resolve()
      })
    })
  }
  // Frames leave the parser a little after they entered it.
  await new Promise((resolve) => setTimeout(resolve, 20))
  if (failed) lines.push(JSON.stringify({ error: String(failed.message ?? failed) }))
  fs.writeFileSync(1, lines.map((line) => line + '\n').join(''))
  process.exit(0)
}

const name = (codes, code) => Object.keys(codes).find((key) => codes[key] === code)

// Several values are an array to this library.
function values (headers) {
  const out = {}
  for (const [key, value] of Object.entries(headers)) out[key] = value.includes('\0') ? value.split('\0') : value
  return out
}

function write (framer, frame, done) {
  const { ':method': method, ':path': path, ':status': status, ':version': version, ...headers } = values(frame.headers ?? {})
  const priority = { weight: priorityToWeight(frame.priority ?? 0) }
  switch (frame.type) {
    case 'SYN_STREAM':
      return frame.associated === 0
        ? framer.requestFrame({ id: frame.id, fin: frame.fin, method, path, version, priority, headers }, done)
        : framer.pushFrame({ id: frame.associated, promisedId: frame.id, method, path, status, priority, headers }, done)
    case 'SYN_REPLY':
      return framer.responseFrame({ id: frame.id, status: Number(status), headers }, done)
    case 'HEADERS':
      return framer.headersFrame({ id: frame.id, headers }, done)
    case 'RST_STREAM':
      return framer.rstFrame({ id: frame.id, code: name(RESETS, frame.status) }, done)
    case 'SETTINGS':
      return framer.settingsFrame(Object.fromEntries(frame.entries.map(([, id, value]) => [SETTINGS[id], value])), done)
    case 'PING': {
      const opaque = Buffer.alloc(4)
      opaque.writeUInt32BE(frame.id)
      return framer.pingFrame({ opaque }, done)
    }
    case 'GOAWAY':
      return framer.goawayFrame({ lastId: frame.last, code: name(GOAWAYS, frame.status) }, done)
    case 'WINDOW_UPDATE':
      return framer.windowUpdateFrame({ id: frame.id, delta: frame.delta }, done)
    case 'DATA':
      return framer.dataFrame({ id: frame.id, fin: frame.fin, priority: 1, data: Buffer.from(frame.data, 'hex') }, done)
  }
  throw new Error(`cannot say ${frame.type}`)
}

async function encode () {
  const lines = fs.readFileSync(0, 'utf8').split('\n').filter((line) => line)
  const size = { size: 1 << 30, max: 0x7fffffff }
  const window = new transport.Window({ id: 0, isServer: false, recv: size, send: size })
  const framer = spdy.framer.create({ window })
  framer.setCompression(spdy.compressionPool.create(true).get(VERSION))
  framer.setVersion(VERSION)
  framer.enablePush(true)
  const out = []
  framer.on('data', (bytes) => out.push(bytes))
  for (const line of lines) {
    await new Promise((resolve, reject) => {
      framer.once('error', reject)
      write(framer, JSON.parse(line), (error) => {
        framer.removeListener('error', reject)
        error ? reject(error) : resolve()
      })
    })
  }
  await new Promise((resolve) => setTimeout(resolve, 20))
  fs.writeFileSync(1, Buffer.concat(out))
  process.exit(0)
}

module.exports = { decode, encode }
