'use strict'
// spdy-transport as a peer. See ../README.md for what it is asked to do.

const DEADLINE = 120_000

function fail (error) {
  console.error('spdy-node:', error && error.stack ? error.stack : error)
  process.exit(1)
}

// Nothing here may outlive the test that started it.
setTimeout(() => fail(`still there after ${DEADLINE} ms`), DEADLINE).unref()
process.on('uncaughtException', fail)
process.on('unhandledRejection', fail)

const modes = { ...require('./frames'), ...require('./session') }
const [mode, ...args] = process.argv.slice(2)
if (!Object.hasOwn(modes, mode ?? '')) fail('usage: server | client PORT [BYTES [headers]] | decode [CHUNK] | encode')
Promise.resolve(modes[mode](args)).catch(fail)
