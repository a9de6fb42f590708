// @kubernetes/client-node's PortForward as a peer: client-node KUBECONFIG POD PORT BYTES

import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { PassThrough, Writable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { KubeConfig, PortForward } from '@kubernetes/client-node';

const REFUSED = 7999;
const STEP = 15_000;

const fail = (why) => {
  console.error(`client-node: ${why?.stack ?? why?.message ?? why}`);
  process.exit(1);
};
setTimeout(() => fail('took too long'), 55_000).unref();
process.on('uncaughtException', fail);
process.on('unhandledRejection', fail);

// All that comes, and a way to wait for more of it.
class Collector extends Writable {
  chunks = [];
  length = 0;
  _write(chunk, _encoding, done) {
    this.chunks.push(chunk);
    this.length += chunk.length;
    this.emit('more');
    done();
  }
  bytes() {
    return Buffer.concat(this.chunks);
  }
}

// Rejects when nothing of `events` happens in time.
async function within(what, ...promises) {
  const timer = new AbortController();
  const late = sleep(STEP, undefined, { signal: timer.signal }).then(() => {
    throw new Error(`${what}: nothing in time`);
  });
  try {
    return await Promise.race([...promises, late]);
  } finally {
    timer.abort();
    late.catch(() => {});
  }
}

async function open(port) {
  const [input, output, errors] = [new PassThrough(), new Collector(), new Collector()];
  const forward = new PortForward(config);
  const socket = await forward.portForward(namespace, pod, [port], output, errors, input);
  const closed = new Promise((resolve) => socket.addEventListener('close', resolve));
  return { input, output, errors, socket, closed };
}

async function echo(port, count) {
  const { input, output, errors, socket, closed } = await open(port);
  if (socket.protocol !== 'v4.channel.k8s.io') throw new Error(`protocol ${socket.protocol}`);
  const sent = Buffer.alloc(count);
  for (let i = 0; i < count; i++) sent[i] = i % 251;
  for (let at = 0; at < count; at += 65_536) {
    if (!input.write(sent.subarray(at, at + 65_536))) await within('to send', once(input, 'drain'));
  }
  while (output.length < count) {
    const ended = closed.then(() => {
      throw new Error(`closed after ${output.length} bytes: ${errors.bytes()}`);
    });
    ended.catch(() => {});
    await within('to receive', once(output, 'more'), ended);
  }
  await sleep(300);
  if (!output.bytes().equals(sent)) throw new Error('other bytes came back');
  if (errors.length) throw new Error(`error stream: ${errors.bytes()}`);
  // The end of the input is what makes the library close.
  input.end();
  const { code } = await within('close', closed);
  if (code !== 1005 && code !== 1000) throw new Error(`closed with ${code}`);
  return createHash('sha256').update(output.bytes()).digest('hex');
}

async function refused() {
  const { input, errors, closed } = await open(REFUSED);
  await within('refusal', once(errors, 'more'), closed);
  input.end();
  return errors.bytes().toString().trim().replace(/\s+/g, ' ') || '(nothing shown)';
}

const [file, pod, port, count] = process.argv.slice(2);
if (!count) fail('usage: client-node KUBECONFIG POD PORT BYTES');
const config = new KubeConfig();
config.loadFromFile(file);
const namespace = config.getContextObject(config.getCurrentContext()).namespace ?? 'default';

console.log(`ok echo ${await echo(Number(port), Number(count))}`);
console.log(`ok refused ${await refused()}`);
// The library forwards one port on a WebSocket.
process.exit(0);
