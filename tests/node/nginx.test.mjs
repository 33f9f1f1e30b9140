// Behind nginx as it comes: HTTP/1.0 to the hub, buffering on.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { EventSource } from 'eventsource';
import { Hub, HUB, eventually } from './support/hub.mjs';
import { Nginx } from './support/nginx.mjs';

let hub;
let nginx;

before(async () => {
  hub = await Hub.start();
  nginx = await Nginx.before(hub);
});

after(async () => {
  await nginx?.close();
  await hub?.close();
});

function follow(topic) {
  const source = new EventSource(`${nginx.origin}${HUB}?match=${encodeURIComponent(topic)}`);
  source.received = [];
  source.opened = 0;
  source.addEventListener('open', () => { source.opened += 1; });
  source.addEventListener('message', (event) => source.received.push(event.data));
  return source;
}

const received = (source, count) => eventually(`${count} events arrive`, () => source.received.length >= count);

test('events arrive one by one, none waits for the next', async () => {
  const source = follow('urn:one');
  await eventually('the source opens before any event', () => source.opened === 1);
  for (let n = 0; n < 10; n++) {
    await hub.publish({ topic: 'urn:one', data: String(n) });
    await received(source, n + 1);
  }
  assert.deepEqual(source.received, ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9']);
  source.close();
});

test('publishing through nginx works', async () => {
  const source = follow('urn:published');
  await eventually('the source opens', () => source.opened === 1);
  const id = await hub.publish({ topic: 'urn:published', data: 'x'.repeat(100_000) }, `${nginx.origin}${HUB}`);
  assert.match(id, /^urn:uuid:/);
  await received(source, 1);
  assert.equal(source.received[0].length, 100_000);
  source.close();
});

test('when the hub restarts the client comes back through nginx', async () => {
  const source = follow('urn:restart');
  await eventually('the source opens', () => source.opened === 1);
  await hub.publish({ topic: 'urn:restart', data: 'before', retry: '50' });
  await received(source, 1);
  await hub.stop();
  await hub.start();
  // While the hub is away nginx answers 502, and a client gives up on that: a page would start anew, as here.
  let current = source;
  await eventually('a source is open', async () => {
    if (current.readyState === EventSource.CLOSED) current = follow('urn:restart');
    return current.readyState === EventSource.OPEN && current !== source || source.opened === 2;
  });
  await hub.publish({ topic: 'urn:restart', data: 'after' });
  await eventually('the event arrives', () => current.received.at(-1) === 'after');
  current.close();
  source.close();
});

test('a stream that ends is resumed by id without loss or repeat', async () => {
  const brief = await Hub.start('--max-lifetime', '1s');
  const front = await Nginx.before(brief);
  try {
    const source = new EventSource(`${front.origin}${HUB}?match=urn:brief`);
    const events = [];
    let opened = 0;
    source.addEventListener('open', () => { opened += 1; });
    source.addEventListener('message', (event) => events.push(event.data));
    await eventually('the source opens', () => opened === 1);
    await brief.publish({ topic: 'urn:brief', data: '0', retry: '10' });
    await eventually('the first event arrives', () => events.length === 1);
    let published = 1;
    while (published < 100 || opened < 3) {
      await brief.publish({ topic: 'urn:brief', data: String(published) });
      published += 1;
    }
    await eventually('everything arrives', () => events.length >= published);
    assert.deepEqual(events, Array.from({ length: published }, (_, n) => String(n)));
    source.close();
  } finally {
    await front.close();
    await brief.close();
  }
});
