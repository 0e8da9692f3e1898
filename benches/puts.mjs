// Changes per second, by durability and by how many write at once:
//   cargo build --release && node benches/puts.mjs [folder]
// The folder is on the disk to be measured; a temporary one if none is named.
import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { Agent, request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const PROGRAM = process.env.PROGRAM ?? new URL('../target/release/roomcast', import.meta.url).pathname;
const SECONDS = 5;

function send(agent, port, cookie, method, path, body) {
  return new Promise((resolve, reject) => {
    const headers = { 'content-type': 'application/json', ...(cookie && { cookie }) };
    const sent = request({ agent, port, method, path: `/api/v1${path}`, headers }, (answer) => {
      let text = '';
      answer.on('data', (chunk) => (text += chunk)).on('end', () => {
        if (answer.statusCode >= 300) return reject(new Error(`${method} ${path}: ${answer.statusCode} ${text}`));
        resolve({ headers: answer.headers, json: text ? JSON.parse(text) : null });
      });
    });
    sent.on('error', reject).end(JSON.stringify(body));
  });
}

async function measure(durability, writers) {
  const folder = mkdtempSync(join(process.argv[2] ?? tmpdir(), 'roomcast-puts-'));
  const env = { ...process.env, DATABASE_URL: `sqlite://${folder}/puts.db`, ROOMCAST_LISTEN: '127.0.0.1:0', ROOMCAST_DURABILITY: durability, ROOMCAST_CHANGES_PER_SECOND: '1000000', RUST_LOG: 'error' };
  spawnSync(PROGRAM, ['user', 'add', 'ada', '--password-stdin'], { env, input: 'roomcast-demo' });
  const server = spawn(PROGRAM, ['serve'], { env, stdio: ['ignore', 'pipe', 'inherit'] });
  const port = await new Promise((resolve) => server.stdout.on('data', (line) => resolve(/:(\d+)\n/.exec(line)[1])));
  const agent = new Agent({ keepAlive: true, maxSockets: writers });
  const login = await send(agent, port, null, 'POST', '/auth/login', { username: 'ada', password: 'roomcast-demo' });
  const cookie = login.headers['set-cookie'][0].split(';')[0];
  const root = (await send(agent, port, cookie, 'POST', '/document-roots', { name: 'notes' })).json.id;
  let done = 0;
  const end = Date.now() + SECONDS * 1000;
  await Promise.all(Array.from({ length: writers }, async () => {
    const { json } = await send(agent, port, cookie, 'POST', '/documents', { rootId: root, type: 'text', data: 0 });
    while (Date.now() < end) {
      await send(agent, port, cookie, 'PUT', `/documents/${json.id}`, { data: { text: 'x'.repeat(100) } });
      done += 1;
    }
  }));
  agent.destroy();
  server.kill();
  await new Promise((resolve) => server.on('exit', resolve));
  rmSync(folder, { recursive: true });
  return done / SECONDS;
}

const base = {};
for (const durability of ['full', 'normal']) {
  for (const writers of [1, 16]) {
    const rate = await measure(durability, writers);
    const first = (base.rate ??= rate);
    console.log(`${durability} ${String(writers).padStart(2)} writers: ${rate.toFixed(0)} changes/s, ${(rate / first).toFixed(1)} times`);
  }
}
