// Streams under a content coding, as clients nobody here wrote decode them: event by event, each when it is published.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { EventSource } from 'eventsource';
import { launch } from './support/chromium.mjs';
import { Hub, HUB, eventually } from './support/hub.mjs';
import { Nginx } from './support/nginx.mjs';
import { Program, script } from './support/python.mjs';

const DATAS = ['tiny', 'a row of words '.repeat(100), '{"a":1}', 'x'.repeat(100_000), Array.from({ length: 30_000 }, (_, n) => n).join(' '), 'the end'];
let hub;
let zstd;
let browser;

before(async () => {
  hub = await Hub.start();
  zstd = await Hub.start('--compression', 'zstd', '--compression', 'gzip');
  browser = await launch();
});

after(async () => {
  await browser?.close();
  await zstd?.close();
  await hub?.close();
});

/** Publishes one update after the other, each when the last one has arrived. `received` gives what has, so far. */
async function oneByOne(publishing, topic, received) {
  for (const [n, data] of DATAS.entries()) {
    await publishing.publish({ topic, data });
    await eventually(`event ${n} arrives before the next is published`, async () => (await received()).length > n);
  }
  assert.deepEqual(await received(), DATAS);
}

/** The data of a stream that is read with `fetch`, and its coding. */
async function fetched(url) {
  const abort = new AbortController();
  const response = await fetch(url, { signal: abort.signal });
  const coding = response.headers.get('content-encoding');
  let text = '';
  const reading = (async () => {
    for await (const piece of response.body.pipeThrough(new TextDecoderStream())) text += piece;
  })().catch((error) => { if (error.name !== 'AbortError') throw error; });
  const received = () => [...text.matchAll(/^data: (.*)\n\n/gm)].map((match) => match[1]);
  return { coding, received, ended: reading, close: async () => { abort.abort(); await reading; } };
}

const urn = (topic, origin = hub.origin) => `${origin}${HUB}?match=${encodeURIComponent(topic)}`;

test('fetch in Node decodes gzip', async () => {
  const stream = await fetched(urn('urn:fetch'));
  assert.equal(stream.coding, 'gzip');
  await oneByOne(hub, 'urn:fetch', stream.received);
  await stream.close();
});

test('fetch in Node sees no error at the end of a stream', async () => {
  const brief = await Hub.start('--max-lifetime', '1s');
  try {
    const stream = await fetched(urn('urn:a', brief.origin));
    assert.equal(stream.coding, 'gzip');
    await brief.publish({ topic: 'urn:a', data: DATAS[1] });
    await stream.ended;
    assert.deepEqual(stream.received(), [DATAS[1]]);
  } finally {
    await brief.close();
  }
});

test('the eventsource package decodes gzip', async () => {
  let coding;
  const noting = async (url, init) => {
    const response = await fetch(url, init);
    coding = response.headers.get('content-encoding');
    return response;
  };
  const source = new EventSource(urn('urn:eventsource'), { fetch: noting });
  const received = [];
  let opened = false;
  source.addEventListener('open', () => { opened = true; });
  source.addEventListener('message', (event) => received.push(event.data));
  await eventually('the source opens', () => opened);
  assert.equal(coding, 'gzip');
  await oneByOne(hub, 'urn:eventsource', () => received);
  source.close();
});

test('httpx in Python decodes gzip', async () => {
  const program = Program.start(script('follow.py'), hub.url, 'urn:httpx');
  await eventually('the stream opens', () => program.lines.length === 1);
  assert.equal(program.lines[0].coding, 'gzip');
  await oneByOne(hub, 'urn:httpx', () => program.lines.slice(1).map((event) => event.data));
  await program.close();
});

for (const [coding, chosen] of [['gzip', () => hub], ['zstd', () => zstd]]) {
  test(`EventSource in Chromium decodes ${coding}`, async () => {
    const host = chosen();
    const topic = `urn:chromium:${coding}`;
    const page = await browser.newPage();
    await page.goto(`${host.origin}/`);
    const answered = page.waitForResponse((response) => response.url().includes(HUB));
    await page.evaluate((url) => {
      window.received = [];
      window.errors = 0;
      window.opened = false;
      window.source = new EventSource(url);
      window.source.onopen = () => { window.opened = true; };
      window.source.onmessage = (event) => window.received.push(event.data);
      window.source.onerror = () => { window.errors += 1; };
    }, `${HUB}?match=${encodeURIComponent(topic)}`);
    const response = await answered;
    assert.equal((await response.allHeaders())['content-encoding'], coding);
    await eventually('the source opens before any event', () => page.evaluate(() => window.opened));
    await oneByOne(host, topic, () => page.evaluate(() => window.received));
    assert.equal(await page.evaluate(() => window.errors), 0);
    await page.close();
  });
}

for (const [version, directives] of [['HTTP/1.0', ''], ['HTTP/1.1', 'proxy_http_version 1.1; proxy_set_header Connection "";']]) {
  test(`gzip goes through nginx that speaks ${version} to the hub`, async () => {
    const nginx = await Nginx.before(hub, directives);
    try {
      const topic = `urn:nginx:${version}`;
      const stream = await fetched(urn(topic, nginx.origin));
      assert.equal(stream.coding, 'gzip');
      await oneByOne(hub, topic, stream.received);
      await stream.close();
    } finally {
      await nginx.close();
    }
  });
}

test('zstd goes through nginx to Chromium', async () => {
  const nginx = await Nginx.before(zstd);
  const page = await browser.newPage();
  try {
    await page.goto(`${nginx.origin}/`);
    await page.evaluate((url) => {
      window.received = [];
      window.opened = false;
      window.source = new EventSource(url);
      window.source.onopen = () => { window.opened = true; };
      window.source.onmessage = (event) => window.received.push(event.data);
    }, `${HUB}?match=urn:a`);
    await eventually('the source opens', () => page.evaluate(() => window.opened));
    await oneByOne(zstd, 'urn:a', () => page.evaluate(() => window.received));
  } finally {
    await page.close();
    await nginx.close();
  }
});
