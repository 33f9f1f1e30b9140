// Clients written for the protocol before 1.0, with a hub that speaks it too: npm `eventsource` with `topic=` and the cookie.

import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { EventSource } from 'eventsource';
import { Hub, eventually, mintOld } from './support/hub.mjs';

const hub = await Hub.start('--compat', '8', '--publish-origin', 'https://app.example');
after(() => hub.close());

const TEMPLATE = 'https://example.com/books/{id}';

async function publish(fields, headers = { Authorization: `Bearer ${mintOld('publish', ['*'])}` }) {
  const response = await fetch(hub.url, { method: 'POST', headers, body: new URLSearchParams(fields) });
  assert.equal(response.status, 200, await response.clone().text());
  return response.text();
}

async function follow(url, headers = {}) {
  const source = new EventSource(url, { fetch: (to, init) => fetch(to, { ...init, headers: { ...init.headers, ...headers } }) });
  const received = [];
  let opened = false;
  source.addEventListener('open', () => { opened = true; });
  source.addEventListener('message', (event) => received.push([event.data, event.lastEventId]));
  await eventually('the source opens', () => opened);
  return { source, received };
}

test('topic= with a template and the cookie of old receive private updates', async () => {
  const url = new URL(hub.url);
  url.searchParams.append('topic', TEMPLATE);
  url.searchParams.append('topic', 'https://example.com/news');
  const { source, received } = await follow(url, { Cookie: `mercureAuthorization=${mintOld('subscribe', [TEMPLATE])}` });
  const first = await publish({ topic: 'https://example.com/books/1', data: 'a', private: 'on' });
  await publish({ topic: 'https://example.com/news', data: 'not granted', private: 'on' });
  await publish({ topic: 'https://example.com/books/1/pages', data: 'not selected' });
  const second = await publish({ topic: 'https://example.com/news', data: 'b' });
  await eventually('two events arrive', () => received.length >= 2);
  assert.deepEqual(received, [['a', first], ['b', second]]);
  source.close();
});

test('authorization= opens a stream', async () => {
  const url = new URL(hub.url);
  url.searchParams.append('topic', '*');
  url.searchParams.append('authorization', mintOld('subscribe', ['*']));
  const { source, received } = await follow(url);
  await publish({ topic: 'urn:a', data: 'secret', private: 'on' });
  await eventually('an event arrives', () => received.length >= 1);
  assert.equal(received[0][0], 'secret');
  assert.ok(!hub.log.includes(url.searchParams.get('authorization')));
  source.close();
});

test('a page publishes with the cookie of old', async () => {
  const headers = { Cookie: `mercureAuthorization=${mintOld('publish', [TEMPLATE])}` };
  await publish({ topic: 'https://example.com/books/2' }, { ...headers, Origin: 'https://app.example' });
  const elsewhere = { ...headers, Origin: 'https://elsewhere.example' };
  const refused = await fetch(hub.url, { method: 'POST', headers: elsewhere, body: new URLSearchParams({ topic: 'https://example.com/books/2' }) });
  assert.equal(refused.status, 400);
});
