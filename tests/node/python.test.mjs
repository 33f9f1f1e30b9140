// Python programs as people write them: httpx-sse listens; pymercure and mercure-publisher publish.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { after, before, test } from 'node:test';
import { promisify } from 'node:util';
import { Hub, compatible, eventually, mint, PUBLISHER_KEY } from './support/hub.mjs';
import { Proxy } from './support/proxy.mjs';
import { Program, PYTHON, script } from './support/python.mjs';

const run = promisify(execFile);
const numbers = (count) => Array.from({ length: count }, (_, n) => String(n));
let hub;

before(async () => { hub = await Hub.start(); });
after(() => hub?.close());

/** Follows a topic with httpx-sse, once its stream is open. */
async function follow(topic, { url = hub.url, token } = {}) {
  const program = Program.start(script('follow.py'), url, topic, ...(token ? [token] : []));
  program.opened = (times = 1) => eventually('the stream opens', () => program.lines.filter((line) => line.open).length >= times);
  program.events = () => program.lines.filter((line) => !line.open);
  program.received = (count) => eventually(`${count} events arrive`, () => program.events().length >= count);
  await program.opened();
  return program;
}

test('httpx-sse receives events with their types, ids and lines', async () => {
  const program = await follow('urn:types');
  const first = await hub.publish({ topic: 'urn:types', type: 'price', data: 'a\r\nb\rc' });
  const second = await hub.publish({ topic: 'urn:types', data: '' });
  await program.received(2);
  assert.deepEqual(program.events(), [
    { type: 'price', id: first, data: 'a\nb\nc' },
    { type: 'message', id: second, data: '' },
  ]);
  await program.close();
});

test('httpx-sse receives private updates with a token', async () => {
  const granted = await follow('urn:private', { token: mint('subscribe') });
  const anonymous = await follow('urn:private');
  await hub.publish({ topic: 'urn:private', private: 'on', data: 'secret' });
  await hub.publish({ topic: 'urn:private', data: 'public' });
  await Promise.all([granted.received(2), anonymous.received(1)]);
  assert.deepEqual(granted.events().map((event) => event.data), ['secret', 'public']);
  assert.deepEqual(anonymous.events().map((event) => event.data), ['public']);
  await Promise.all([granted.close(), anonymous.close()]);
});

test('httpx-sse resumes by id without loss or repeat', async () => {
  const proxy = await Proxy.to(hub.port);
  const program = await follow('urn:dropped', { url: `${proxy.origin}/.well-known/mercure` });
  const first = await hub.publish({ topic: 'urn:dropped', data: '0', retry: '50' });
  await program.received(1);
  proxy.cut();
  await hub.count('urn:dropped', 1, 10);
  await program.opened(2);
  await hub.count('urn:dropped', 10, 20);
  await program.received(20);
  assert.deepEqual(program.events().map((event) => event.data), numbers(20));
  assert.equal(program.lines.filter((line) => line.open)[1].after, first);
  await program.close();
  await proxy.close();
});

test('pymercure publishes with a token it is given', async () => {
  const program = await follow('urn:book:1');
  const { stdout } = await run(PYTHON, [script('publish_pymercure.py'), hub.url, mint(), 'a & b\né', 'urn:book', 'urn:book:1']);
  await program.received(1);
  assert.deepEqual(program.events(), [{ type: 'price', id: stdout.trim(), data: 'a & b\né' }]);
  await program.close();
});

test('pymercure is told that its token is not valid', async () => {
  const refused = run(PYTHON, [script('publish_pymercure.py'), hub.url, 'a.b.c', 'x', 'urn:book']);
  await assert.rejects(refused, /UnauthorizedPublisherError/);
});

// It signs tokens of the 0.x protocol and no others.
test('mercure-publisher publishes to a hub that is compatible with version 8', { skip: !compatible() }, async () => {
  const old = await Hub.start('--compat', '8');
  try {
    const program = await follow('urn:book:1', { url: old.url, token: mint('subscribe') });
    const { stdout } = await run(PYTHON, [script('publish_mercure_publisher.py'), old.url, PUBLISHER_KEY, 'x', 'urn:book:1']);
    await program.received(1);
    assert.equal(stdout.trim(), 'event-123');
    assert.deepEqual(program.events(), [{ type: 'book.updated', id: 'event-123', data: 'x' }]);
    await program.close();
  } finally {
    await old.close();
  }
});
