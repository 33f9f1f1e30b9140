// The npm `@microsoft/fetch-event-source` client, in a page of another origin in Chromium: an EventSource that can send a token.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { launch } from './support/chromium.mjs';
import { Hub, HUB, eventually, mint } from './support/hub.mjs';
import { Proxy } from './support/proxy.mjs';
import { Site } from './support/site.mjs';

const numbers = (count) => Array.from({ length: count }, (_, n) => String(n));
let browser;
let hub;
let app;

before(async () => {
  app = await Site.start('localhost', '@microsoft/fetch-event-source/lib/esm');
  hub = await Hub.start('--cors-origin', app.origin);
  browser = await launch();
});

after(async () => {
  await browser?.close();
  await hub?.close();
  await app?.close();
});

/** A page that follows a topic and keeps what it is given, once its stream is open. */
async function follow(topic, { origin = hub.origin, token } = {}) {
  const page = await browser.newPage();
  await page.goto(`${app.origin}/`);
  await page.evaluate(async ([url, token]) => {
    const { fetchEventSource } = await import('/module/index.js');
    window.received = [];
    window.opened = [];
    window.failed = undefined;
    fetchEventSource(url, {
      headers: token ? { Authorization: `Bearer ${token}` } : {},
      openWhenHidden: true,
      async onopen(response) {
        window.opened.push(response.headers.get('mercure-last-event-id'));
        if (!response.ok) throw Object.assign(new Error('refused'), { status: response.status });
      },
      onmessage: (event) => window.received.push(event),
      onerror(error) { if (error.status) throw error; },
    }).catch((error) => { window.failed = error.status; });
  }, [`${origin}${HUB}?match=${encodeURIComponent(topic)}`, token]);
  const follower = {
    page,
    opened: (times = 1) => eventually('the stream opens', () => page.evaluate((times) => window.opened.length >= times, times)),
    received: async (count) => {
      await eventually(`${count} events arrive`, () => page.evaluate((count) => window.received.length >= count, count));
      return page.evaluate(() => window.received);
    },
  };
  await follower.opened();
  return follower;
}

test('it receives events with their types, ids and lines', async () => {
  const follower = await follow('urn:types');
  const first = await hub.publish({ topic: 'urn:types', type: 'price', data: ' a\r\nb\rc\n' });
  const second = await hub.publish({ topic: 'urn:types', retry: '1500' });
  assert.deepEqual(await follower.received(2), [
    { event: 'price', data: ' a\nb\nc\n', id: first, retry: undefined },
    { event: '', data: '', id: second, retry: 1500 },
  ]);
  await follower.page.close();
});

test('it receives private updates with a token in its header', async () => {
  const follower = await follow('urn:private', { token: mint('subscribe') });
  await hub.publish({ topic: 'urn:private', private: 'on', data: 'secret' });
  const [event] = await follower.received(1);
  assert.equal(event.data, 'secret');
  await follower.page.close();
});

test('after a dropped connection it resumes by id without loss or repeat', async () => {
  const proxy = await Proxy.to(hub.port);
  const follower = await follow('urn:dropped', { origin: proxy.origin });
  const first = await hub.publish({ topic: 'urn:dropped', data: '0', retry: '50' });
  await follower.received(1);
  proxy.cut();
  await hub.count('urn:dropped', 1, 10);
  await follower.opened(2);
  await hub.count('urn:dropped', 10, 20);
  const received = await follower.received(20);
  assert.deepEqual(received.map((event) => event.data), numbers(20));
  assert.deepEqual((await follower.page.evaluate(() => window.opened)).slice(0, 2), [null, first]);
  await follower.page.close();
  await proxy.close();
});

test('it sees the status of a refusal', async () => {
  const follower = await follow('urn:refused', { token: 'a.b.c' });
  await eventually('it gives up', () => follower.page.evaluate(() => window.failed === 401));
  await follower.page.close();
});
