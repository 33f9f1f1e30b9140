// The npm `eventsource` client, the one Node programs use.

import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { EventSource } from 'eventsource';
import { Hub, eventually, mint } from './support/hub.mjs';
import { Proxy } from './support/proxy.mjs';

const hub = await Hub.start();
after(() => hub.close());

/** A source that collects what it receives. */
function follow(topic, { origin = hub.origin, token } = {}) {
  const source = new EventSource(`${origin}/.well-known/mercure?match=${encodeURIComponent(topic)}`, {
    fetch: (url, init) => fetch(url, token ? { ...init, headers: { ...init.headers, Authorization: `Bearer ${token}` } } : init),
  });
  source.received = [];
  source.opened = 0;
  source.addEventListener('open', () => { source.opened += 1; });
  source.addEventListener('message', (event) => source.received.push(event.data));
  return source;
}

const opened = (source, times = 1) => eventually('the source opens', () => source.opened >= times);
const received = (source, count) => eventually(`${count} events arrive`, () => source.received.length >= count);
const numbers = (count) => Array.from({ length: count }, (_, n) => String(n));

test('it receives events, their types and their ids', async () => {
  const source = follow('urn:types');
  const typed = [];
  source.addEventListener('price', (event) => typed.push([event.data, event.lastEventId]));
  await opened(source);
  const id = await hub.publish({ topic: 'urn:types', type: 'price', data: 'a\nb' });
  await hub.publish({ topic: 'urn:types' });
  await received(source, 1);
  assert.deepEqual(typed, [['a\nb', id]]);
  assert.deepEqual(source.received, ['']);
  source.close();
});

test('it receives private updates with a token', async () => {
  const source = follow('urn:private', { token: mint('subscribe') });
  await opened(source);
  await hub.publish({ topic: 'urn:private', private: 'on', data: 'secret' });
  await received(source, 1);
  assert.deepEqual(source.received, ['secret']);
  source.close();
});

test('after a dropped connection it resumes by id without loss or repeat', async () => {
  const proxy = await Proxy.to(hub.port);
  const source = follow('urn:dropped', { origin: proxy.origin });
  await opened(source);
  await hub.publish({ topic: 'urn:dropped', data: '0', retry: '50' });
  await received(source, 1);
  for (let round = 1; round <= 3; round++) {
    proxy.cut();
    await hub.count('urn:dropped', source.received.length, source.received.length + 5);
    await opened(source, round + 1);
    await hub.count('urn:dropped', 1 + round * 10 - 5, 1 + round * 10);
    await received(source, 1 + round * 10);
  }
  assert.deepEqual(source.received, numbers(31));
  source.close();
  await proxy.close();
});

test('after a dropped connection it resumes private updates by id with its token', async () => {
  const proxy = await Proxy.to(hub.port);
  const source = follow('urn:private:dropped', { origin: proxy.origin, token: mint('subscribe') });
  const cursors = [];
  source.addEventListener('message', (event) => cursors.push(event.lastEventId));
  await opened(source);
  const ids = [await hub.publish({ topic: 'urn:private:dropped', private: 'on', data: '0', retry: '50' })];
  await received(source, 1);
  proxy.cut();
  for (let n = 1; n < 5; n++) ids.push(await hub.publish({ topic: 'urn:private:dropped', private: 'on', data: String(n) }));
  await received(source, 5);
  assert.deepEqual(source.received, numbers(5));
  assert.deepEqual(cursors, ids);
  source.close();
  await proxy.close();
});

test('after a restart of the hub it comes back and receives live events', async () => {
  const source = follow('urn:restart');
  await opened(source);
  await hub.publish({ topic: 'urn:restart', data: 'before', retry: '50' });
  await received(source, 1);
  await hub.stop();
  await hub.start();
  await opened(source, 2);
  await hub.publish({ topic: 'urn:restart', data: 'after' });
  await received(source, 2);
  assert.deepEqual(source.received, ['before', 'after']);
  source.close();
});

test('a refusal stops it for good', async () => {
  const source = new EventSource(`${hub.url}?matcher=x`);
  const code = await new Promise((resolve) => source.addEventListener('error', (event) => resolve(event.code)));
  assert.equal(code, 400);
  assert.equal(source.readyState, EventSource.CLOSED);
});
