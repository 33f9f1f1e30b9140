// Chromium's own EventSource, in a page of the hub's origin.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { launch } from './support/chromium.mjs';
import { Hub, eventually } from './support/hub.mjs';
import { Proxy } from './support/proxy.mjs';

const numbers = (count) => Array.from({ length: count }, (_, n) => String(n));
let hub;
let browser;

before(async () => {
  hub = await Hub.start();
  browser = await launch();
});

after(async () => {
  await browser?.close();
  await hub?.close();
});

/** A page that follows a topic with an EventSource and keeps what it receives. */
async function follow(topic, { origin = hub.origin, types = [] } = {}) {
  const page = await browser.newPage();
  await page.goto(`${origin}/`);
  await page.evaluate(([topic, types]) => {
    const source = new EventSource(`/.well-known/mercure?match=${encodeURIComponent(topic)}`);
    window.opened = 0;
    window.received = [];
    window.source = source;
    source.onopen = () => { window.opened += 1; };
    const keep = (event) => window.received.push({ type: event.type, data: event.data, id: event.lastEventId });
    for (const type of ['message', ...types]) source.addEventListener(type, keep);
  }, [topic, types]);
  const follower = {
    page,
    opened: (times = 1) => eventually('the source opens', () => page.evaluate((times) => window.opened >= times, times)),
    received: async (count) => {
      await eventually(`${count} events arrive`, () => page.evaluate((count) => window.received.length >= count, count));
      return page.evaluate(() => window.received);
    },
  };
  await follower.opened();
  return follower;
}

test('a page receives events with their types, ids and lines', async () => {
  const follower = await follow('urn:types', { types: ['price'] });
  const first = await hub.publish({ topic: 'urn:types', type: 'price', data: ' a\r\nb\rc\n' });
  const second = await hub.publish({ topic: 'urn:types' });
  await hub.publish({ topic: 'urn:types', id: 'é 🦀', data: '🦀' });
  assert.deepEqual(await follower.received(3), [
    { type: 'price', data: ' a\nb\nc\n', id: first },
    { type: 'message', data: '', id: second },
    { type: 'message', data: '🦀', id: 'é 🦀' },
  ]);
  await follower.page.close();
});

test('after a dropped connection it resumes by id without loss or repeat', async () => {
  const proxy = await Proxy.to(hub.port);
  const follower = await follow('urn:dropped', { origin: proxy.origin });
  await hub.publish({ topic: 'urn:dropped', data: '0', retry: '50', id: 'é 🦀 "first"' });
  await follower.received(1);
  for (let round = 1; round <= 3; round++) {
    const start = 1 + (round - 1) * 10;
    proxy.cut();
    await hub.count('urn:dropped', start, start + 5);
    await follower.opened(round + 1);
    await hub.count('urn:dropped', start + 5, start + 10);
    await follower.received(start + 10);
  }
  const received = await follower.received(31);
  assert.deepEqual(received.map((event) => event.data), numbers(31));
  await follower.page.close();
  await proxy.close();
});

test('a hub that ends streams at their maximum lifetime loses nothing', async () => {
  const brief = await Hub.start('--max-lifetime', '1s');
  try {
    const follower = await follow('urn:brief', { origin: brief.origin });
    await brief.publish({ topic: 'urn:brief', data: '0', retry: '10' });
    await follower.received(1);
    let published = 1;
    while (published < 200 || !(await follower.page.evaluate(() => window.opened >= 3))) {
      await brief.publish({ topic: 'urn:brief', data: String(published) });
      published += 1;
    }
    const received = await follower.received(published);
    assert.deepEqual(received.map((event) => event.data), numbers(published));
    await follower.page.close();
  } finally {
    await brief.close();
  }
});

for (const signal of ['SIGTERM', 'SIGKILL']) {
  test(`after a restart of the hub by ${signal} the page comes back and receives live events`, async () => {
    const topic = `urn:restart:${signal}`;
    const follower = await follow(topic);
    await hub.publish({ topic, data: 'before', retry: '50' });
    await follower.received(1);
    await hub.stop(signal);
    await hub.start();
    await follower.opened(2);
    await hub.publish({ topic, data: 'after' });
    const received = await follower.received(2);
    assert.deepEqual(received.map((event) => event.data), ['before', 'after']);
    await follower.page.close();
  });
}

test('a page of another origin may listen when it is listed, and not otherwise', async () => {
  const host = await Hub.start();
  const open = await Hub.start('--cors-origin', host.origin);
  try {
    const page = await browser.newPage();
    await page.goto(`${host.origin}/`);
    const outcome = (url) => page.evaluate((url) => new Promise((resolve) => {
      const source = new EventSource(url, { withCredentials: true });
      source.onopen = () => { source.close(); resolve('open'); };
      source.onerror = () => { source.close(); resolve('error'); };
    }), `${url}?match=urn:a`);
    assert.equal(await outcome(open.url), 'open');
    assert.equal(await outcome(hub.url), 'error');
    await page.close();
  } finally {
    await open.close();
    await host.close();
  }
});
