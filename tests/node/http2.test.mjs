// Chromium over TLS: HTTP/2 carries as many EventSources as a page has, HTTP/1.1 six.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { launch } from './support/chromium.mjs';
import { Hub, eventually, freePort, mint } from './support/hub.mjs';
import { Proxy } from './support/proxy.mjs';

const folder = mkdtempSync(join(tmpdir(), 'cinnabar-certificate-'));
const [certificate, key] = [join(folder, 'hub.pem'), join(folder, 'hub.key')];
const COOKIE = '__Secure-mercure_access_token';
let browser;

before(async () => {
  execFileSync('openssl', [
    'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '30', '-subj', '/CN=localhost',
    '-addext', 'subjectAltName=DNS:localhost', '-keyout', key, '-out', certificate,
  ], { stdio: 'ignore' });
  browser = await launch();
});

after(async () => {
  await browser?.close();
  rmSync(folder, { recursive: true, force: true });
});

/** A hub that listens with TLS too, and says what it measures. */
async function start(...args) {
  const [port, health] = [await freePort(), await freePort()];
  const hub = await Hub.start(
    '--listen', `tls:127.0.0.1:${port}`, '--tls-certificate', certificate, '--tls-key', key,
    '--health-listen', `127.0.0.1:${health}`, ...args,
  );
  hub.tlsPort = port;
  hub.secure = `https://localhost:${port}`;
  hub.metric = async (name) => {
    const text = await fetch(`http://127.0.0.1:${health}/metrics`).then((response) => response.text());
    const line = text.split('\n').find((line) => line.startsWith(`${name} `));
    assert.ok(line, `no ${name} in\n${text}`);
    return Number(line.split(' ')[1]);
  };
  return hub;
}

/** A page of the hub's origin with so many sources, each for a topic of its own and one of all. */
async function follow(count, { origin, in: some = browser, cookie }) {
  const context = await some.newContext({ ignoreHTTPSErrors: true });
  if (cookie) await context.addCookies([{ name: 'theme', value: 'dark', url: origin }, { ...cookie, url: origin, secure: true }]);
  const page = await context.newPage();
  await page.goto(`${origin}/`);
  await page.evaluate((count) => {
    window.opened = 0;
    window.received = Array.from({ length: count }, () => []);
    window.sources = window.received.map((received, n) => {
      const source = new EventSource(`/.well-known/mercure?match=urn:${n}&match=urn:all`);
      source.onopen = () => { window.opened += 1; };
      source.onmessage = (event) => received.push(event.data);
      return source;
    });
  }, count);
  return {
    page,
    opened: () => page.evaluate(() => window.opened),
    received: () => page.evaluate(() => window.received),
    protocols: () => page.evaluate(() => performance.getEntriesByType('navigation').map((entry) => entry.nextHopProtocol)),
    all: (wanted) => eventually('all have received', () => page.evaluate((wanted) => window.received.every((received) => received.length >= wanted), wanted)),
    close: () => context.close(),
  };
}

test('a hundred sources of a page receive over one connection', async () => {
  const hub = await start();
  try {
    const follower = await follow(100, { origin: hub.secure });
    await eventually('all are open', async () => (await follower.opened()) === 100);
    assert.deepEqual(await follower.protocols(), ['h2']);
    for (let n = 0; n < 100; n++) await hub.publish({ topic: `urn:${n}`, data: `for ${n}` });
    await hub.publish({ topic: 'urn:all', data: 'for all' });
    await follower.all(2);
    assert.deepEqual(await follower.received(), Array.from({ length: 100 }, (_, n) => [`for ${n}`, 'for all']));
    await eventually('one connection is counted', async () => (await hub.metric('cinnabar_http2_connections')) === 1);
    await eventually('and there is no other, once the publisher has closed its own', async () => (await hub.metric('cinnabar_connections')) === 1);
    await eventually('and a hundred streams', async () => (await hub.metric('cinnabar_http2_streams')) === 100);
    await follower.close();
    await eventually('it goes with the page', async () => (await hub.metric('cinnabar_connections')) === 0);
  } finally {
    await hub.close();
  }
});

test('the same page over HTTP/1.1 has six of them open and the others wait', async () => {
  const hub = await start();
  const old = await launch('--disable-http2');
  try {
    const follower = await follow(100, { origin: hub.secure, in: old });
    await eventually('six are open', async () => (await follower.opened()) === 6);
    assert.deepEqual(await follower.protocols(), ['http/1.1']);
    await hub.publish({ topic: 'urn:all', data: 'for all' });
    await eventually('six receive', async () => (await follower.received()).flat().length === 6);
    assert.equal(await follower.opened(), 6);
    await eventually('six are counted', async () => (await hub.metric('cinnabar_subscriptions_total')) === 6);
    await eventually('on a connection each, once the publisher has closed its own', async () => (await hub.metric('cinnabar_connections')) === 6);
    assert.equal(await hub.metric('cinnabar_http2_requests_total'), 0);
    await follower.page.evaluate(() => {
      const open = window.sources.filter((source) => source.readyState === EventSource.OPEN);
      open.slice(0, 3).forEach((source) => source.close());
    });
    await eventually('three others have their turn', async () => (await follower.opened()) === 9);
    await follower.close();
  } finally {
    await old.close();
    await hub.close();
  }
});

test('when the connection is cut all sources of a page resume without loss or repeat', async () => {
  const hub = await start();
  const proxy = await Proxy.to(hub.tlsPort);
  try {
    const follower = await follow(30, { origin: proxy.origin.replace('http://127.0.0.1', 'https://localhost') });
    await eventually('all are open', async () => (await follower.opened()) === 30);
    await hub.publish({ topic: 'urn:all', data: '0', retry: '50' });
    await follower.all(1);
    for (let round = 1; round <= 3; round++) {
      const from = 1 + (round - 1) * 10;
      proxy.cut();
      await hub.count('urn:all', from, from + 5);
      await eventually('all are open again', async () => (await follower.opened()) >= 30 * (round + 1));
      await hub.count('urn:all', from + 5, from + 10);
      await follower.all(from + 10);
    }
    const numbers = Array.from({ length: 31 }, (_, n) => String(n));
    assert.deepEqual(await follower.received(), Array.from({ length: 30 }, () => numbers));
    await follower.close();
  } finally {
    await proxy.close();
    await hub.close();
  }
});

test('a stop and a start of the hub are survived by all of them', async () => {
  const hub = await start();
  try {
    const follower = await follow(30, { origin: hub.secure });
    await eventually('all are open', async () => (await follower.opened()) === 30);
    await hub.publish({ topic: 'urn:all', data: 'before', retry: '50' });
    await follower.all(1);
    await hub.stop();
    await hub.start();
    await eventually('all are open again', async () => (await follower.opened()) >= 60);
    await hub.publish({ topic: 'urn:all', data: 'after' });
    await follower.all(2);
    assert.deepEqual(await follower.received(), Array.from({ length: 30 }, () => ['before', 'after']));
    await follower.close();
  } finally {
    await hub.close();
  }
});

test('the cookie of the browser lets private updates in', async () => {
  const hub = await start();
  try {
    const follower = await follow(2, { origin: hub.secure, cookie: { name: COOKIE, value: mint('subscribe') } });
    const stranger = await follow(2, { origin: hub.secure });
    for (const one of [follower, stranger]) await eventually('both are open', async () => (await one.opened()) === 2);
    await hub.publish({ topic: 'urn:all', data: 'secret', private: 'on' });
    await hub.publish({ topic: 'urn:all', data: 'public' });
    await follower.all(2);
    await stranger.all(1);
    assert.deepEqual(await follower.received(), [['secret', 'public'], ['secret', 'public']]);
    assert.deepEqual(await stranger.received(), [['public'], ['public']]);
    await follower.close();
    await stranger.close();
  } finally {
    await hub.close();
  }
});
