// The real hub, started on a port of its own, and publishing to it.

import { execFileSync, spawn } from 'node:child_process';
import { createHmac } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

export const ROOT = fileURLToPath(new URL('../../..', import.meta.url));
export const TARGET = process.env.CARGO_TARGET_DIR ?? join(ROOT, 'target');
const BINARY = process.env.CINNABAR_BIN ?? join(TARGET, 'e2e', 'cinnabar');
const ISSUER = 'https://issuer.example';
const RESOURCE = 'https://hub.example/.well-known/mercure';
export const PUBLISHER_KEY = 'a-secret-for-publishers-0123456789abcdef';
const SUBSCRIBER_KEY = 'a-secret-for-subscribers-0123456789abcdef';

/** How long a test waits for something that should happen. */
export const PATIENCE_MS = 60_000;
export const HUB = '/.well-known/mercure';

/** Waits until `condition` gives something, and throws when it doesn't. */
export async function eventually(what, condition) {
  const deadline = Date.now() + PATIENCE_MS;
  for (;;) {
    const value = await condition();
    if (value) return value;
    if (Date.now() > deadline) throw new Error(`waited in vain: ${what}`);
    await sleep(20);
  }
}

/** A port nobody listens on. */
export async function freePort() {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  await once(server, 'close');
  return port;
}

/** Whether this hub can be told to speak the 0.x protocol. */
export const compatible = () => execFileSync(BINARY, ['serve', '--help'], { encoding: 'utf8' }).includes('--compat');

const encode = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');

/** A token for everything in one role, unless `claims` say otherwise. */
export function mint(action = 'publish', claims = {}) {
  const now = Math.floor(Date.now() / 1000);
  const input = [
    encode({ typ: 'at+jwt', alg: 'HS256' }),
    encode({
      iss: ISSUER, aud: RESOURCE, sub: 'tests', client_id: 'tests', jti: 't1', iat: now, exp: now + 3600,
      authorization_details: [{ type: 'https://mercure.rocks/authorization-detail', actions: [action], topics: [{ match: '*' }] }],
      ...claims,
    }),
  ].join('.');
  const key = action === 'publish' ? PUBLISHER_KEY : SUBSCRIBER_KEY;
  return `${input}.${createHmac('sha256', key).update(input).digest('base64url')}`;
}

/** A token of before version 1.0: nothing but the claim `mercure`. */
export function mintOld(action, topics) {
  const input = [encode({ alg: 'HS256' }), encode({ mercure: { [action]: topics } })].join('.');
  const key = action === 'publish' ? PUBLISHER_KEY : SUBSCRIBER_KEY;
  return `${input}.${createHmac('sha256', key).update(input).digest('base64url')}`;
}

/** A hub that can be stopped and started again on the same port. */
export class Hub {
  #child;
  #log = [];
  #folder = mkdtempSync(join(tmpdir(), 'cinnabar-node-'));

  /** Arguments may be functions of the hub, whose port is known by then. */
  static async start(...args) {
    const hub = new Hub();
    hub.port = await freePort();
    hub.args = args.map((arg) => (typeof arg === 'function' ? arg(hub) : arg));
    if (!hub.args.includes('--resource')) hub.args.push('--resource', RESOURCE);
    await hub.start();
    return hub;
  }

  get origin() { return `http://127.0.0.1:${this.port}`; }
  get url() { return this.origin + HUB; }
  get data() { return join(this.#folder, 'data'); }
  get log() { return this.#log.join('\n'); }

  async start() {
    const clean = Object.entries(process.env).filter(([name]) => !/^(CINNABAR|MERCURE)_/.test(name));
    const driver = process.env.CINNABAR_TEST_IO;
    const args = [
      'serve', '--listen', `127.0.0.1:${this.port}`, '--issuer', ISSUER,
      '--publisher-jwt-key', PUBLISHER_KEY, '--subscriber-jwt-key', SUBSCRIBER_KEY,
      '--anonymous', '--shards', '2', '--drain-window', '0', '--data', join(this.#folder, 'data'),
      ...(driver ? ['--io', driver] : []), ...this.args,
    ];
    const child = spawn(BINARY, args, { env: Object.fromEntries(clean), stdio: ['ignore', 'ignore', 'pipe'], cwd: this.#folder });
    this.#child = child;
    await new Promise((resolve, reject) => {
      child.once('error', reject);
      child.once('exit', (code) => reject(new Error(`the hub ended with ${code} at start:\n${this.log}`)));
      createInterface({ input: child.stderr }).on('line', (line) => {
        this.#log.push(line);
        if (line.startsWith('listening on http://')) resolve();
      });
    });
  }

  /** Ends the process: by SIGTERM as an operator does, or by SIGKILL as a crash. */
  async stop(signal = 'SIGTERM') {
    const child = this.#child;
    this.#child = undefined;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, 'close');
    child.kill(signal);
    const timer = globalThis.setTimeout(() => child.kill('SIGKILL'), 10_000);
    await ended;
    clearTimeout(timer);
  }

  async close() {
    await this.stop();
    rmSync(this.#folder, { recursive: true, force: true });
  }

  /** Publishes and gives the id. */
  async publish(fields, url = this.url) {
    const response = await fetch(url, {
      method: 'POST',
      headers: { Authorization: `Bearer ${mint()}` },
      body: new URLSearchParams(fields),
    });
    const body = await response.text();
    if (response.status !== 200) throw new Error(`publish: ${response.status} ${body}`);
    return body;
  }

  /** Publishes one update to `topic` for every number from `from` up to `to`. */
  async count(topic, from, to) {
    for (let n = from; n < to; n++) await this.publish({ topic, data: String(n) });
  }
}
