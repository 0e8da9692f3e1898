// How long many clients take to get what they missed, all at once, and what somebody live hears meanwhile:
//   cargo build --release && node benches/replay.mjs [clients] [events]
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Worker, isMainThread, parentPort, workerData } from 'node:worker_threads';

const [clients = 1000, events = 300] = process.argv.slice(2).map(Number);
const ROUNDS = 5;
const KEY = 'a-key-for-measurements-only-000000';

async function publish(port, channel, event, data) {
  const headers = { authorization: `Bearer ${KEY}`, 'content-type': 'application/json' };
  const body = JSON.stringify({ channels: [channel], event, data });
  const answer = await fetch(`http://127.0.0.1:${port}/api/v1/publish`, { method: 'POST', headers, body });
  if (!answer.ok) throw new Error(`publish: ${answer.status} ${await answer.text()}`);
  return (await answer.json()).cursor;
}

/** Opens a WebSocket, and calls back with each piece of what comes. */
function listen(port, channel, heard, cursor = '') {
  const socket = connect(port, '127.0.0.1');
  socket.write(`GET /ws?channel=${channel}${cursor} HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nAuthorization: Bearer ${KEY}\r\nConnection: Upgrade\r\n`
    + 'Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n');
  socket.on('data', heard).on('error', () => {});
  return socket;
}

const count = (bytes, text) => {
  let found = 0;
  for (let at = bytes.indexOf(text); at >= 0; at = bytes.indexOf(text, at + 1)) found += 1;
  return found;
};

/** The times between a publish and its arrival at somebody live, until told to stop. */
async function liveness(port, stop) {
  const took = [];
  let arrived = () => {};
  const socket = listen(port, 'bench:live', (bytes) => bytes.includes('"event":"live"') && arrived());
  await new Promise((resolve) => socket.once('data', resolve));
  while (Atomics.load(stop, 0) === 0) {
    const began = performance.now();
    const arrival = new Promise((resolve) => (arrived = resolve));
    await publish(port, 'bench:live', 'live', 1);
    await arrival;
    took.push(performance.now() - began);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
  socket.destroy();
  return took;
}

/** The same in a thread of its own: this one is busy with what comes. Resolves with the times once it is told to stop. */
function livenessBeside(port) {
  const stop = new Int32Array(new SharedArrayBuffer(4));
  const worker = new Worker(new URL(import.meta.url), { workerData: { port, stop } });
  const took = new Promise((resolve) => worker.once('message', resolve));
  return { stop: () => Atomics.store(stop, 0, 1), took };
}

/** Starts a server; its port, and how to end it. */
async function serve() {
  const PROGRAM = process.env.PROGRAM ?? new URL('../target/release/roomcast', import.meta.url).pathname;
  const folder = mkdtempSync(join(tmpdir(), 'roomcast-replay-'));
  const env = {
    ...process.env, DATABASE_URL: `sqlite://${folder}/replay.db`, ROOMCAST_LISTEN: '127.0.0.1:0', ROOMCAST_API_KEY: KEY, ROOMCAST_RECENT_EVENTS: '20000', RUST_LOG: 'error',
    ROOMCAST_MAX_CONNECTIONS_PER_IP: '100000', ROOMCAST_CHANNELS: new URL('../bench/channels.toml', import.meta.url).pathname,
  };
  const server = spawn(PROGRAM, ['serve'], { env, stdio: ['ignore', 'pipe', 'inherit'] });
  const port = await new Promise((resolve) => server.stdout.on('data', (line) => resolve(/:(\d+)\n/.exec(line)[1])));
  const end = async () => {
    server.kill();
    await new Promise((resolve) => server.on('exit', resolve));
    rmSync(folder, { recursive: true });
  };
  return { port, end };
}

/** All come back at once, and get what they missed. Resolves with the milliseconds that it took. */
async function comeBack(port, cursor) {
  const began = performance.now();
  const sockets = [];
  const done = Array.from({ length: clients }, () => new Promise((resolve) => {
    let missing = events;
    // An event may be cut where the pieces meet: what was left of one is put before the next.
    let rest = Buffer.alloc(0);
    sockets.push(listen(port, 'bench:replay', (bytes) => {
      const all = Buffer.concat([rest, bytes]);
      missing -= count(all, '"event":"missed"');
      rest = all.subarray(Math.max(0, all.length - '"event":"missed"'.length + 1));
      if (missing <= 0) resolve();
    }, `&cursor=${cursor}`));
  }));
  await Promise.all(done);
  const took = performance.now() - began;
  for (const socket of sockets) socket.destroy();
  return took;
}

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const sort = (times) => times.sort((a, b) => a - b);
const at = (times, part) => sort(times)[Math.min(times.length - 1, Math.floor(times.length * part))].toFixed(1);

async function measure() {
  const [server, other] = [await serve(), await serve()];
  const first = await publish(server.port, 'bench:replay', 'first', 0);
  for (let n = 0; n < events; n += 1) await publish(server.port, 'bench:replay', 'missed', 'x'.repeat(128));
  const took = [];
  const heard = { calm: [], beside: [], meanwhile: [] };
  for (let round = 0; round < ROUNDS; round += 1) {
    const calm = livenessBeside(server.port);
    setTimeout(calm.stop, 1000);
    heard.calm.push(...(await calm.took));
    // What the machine makes late, somebody on another server sees as well.
    for (const [kind, port] of [['beside', other.port], ['meanwhile', server.port]]) {
      const live = livenessBeside(port);
      await pause(300);
      took.push(await comeBack(server.port, first));
      live.stop();
      heard[kind].push(...(await live.took));
      await pause(300);
    }
  }
  console.log(`${clients} clients, ${events} events each: ${at(took, 0.5)} ms at the median of ${took.length}`);
  const row = (kind) => `p50 ${at(heard[kind], 0.5)}, p99 ${at(heard[kind], 0.99)}`;
  console.log(`live, ms: ${row('calm')} before; ${row('meanwhile')} meanwhile; ${row('beside')} on another server of the same machine meanwhile`);
  await server.end();
  await other.end();
}

if (isMainThread) await measure();
else parentPort.postMessage(await liveness(workerData.port, workerData.stop));
