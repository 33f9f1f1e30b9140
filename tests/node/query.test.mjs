// QUERY from where people use it: a page of another origin in Chromium, and Node through nginx.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { chromium } from 'playwright-core';
import { Hub, HUB, eventually } from './support/hub.mjs';
import { Nginx } from './support/nginx.mjs';

let host;
let hub;
let browser;

before(async () => {
  host = await Hub.start();
  hub = await Hub.start('--cors-origin', host.origin);
  browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    args: [
      '--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
      '--disable-component-update', '--disable-sync', '--disable-dev-shm-usage',
    ],
  });
});

after(async () => {
  await browser?.close();
  await hub?.close();
  await host?.close();
});

test('a page of a listed origin subscribes by QUERY and reads where the hub is', async () => {
  const page = await browser.newPage();
  await page.goto(`${host.origin}/`);
  const link = await page.evaluate(async (url) => {
    const response = await fetch(url, { method: 'QUERY', body: new URLSearchParams({ match: 'urn:a' }), credentials: 'include' });
    const decoder = new TextDecoder();
    window.text = '';
    (async () => { for await (const bytes of response.body) window.text += decoder.decode(bytes, { stream: true }); })();
    return response.headers.get('Link');
  }, hub.url);
  assert.equal(link, `<${HUB}>; rel="mercure"`);
  const id = await hub.publish({ topic: 'urn:a', data: 'hello' });
  await eventually('the event arrives', () => page.evaluate(() => window.text.endsWith('\n\n')));
  assert.equal(await page.evaluate(() => window.text), `id: ${id}\ndata: hello\n\n`);
  await page.close();
});

test('a page of a listed origin reads the metadata, and another one does not', async () => {
  const page = await browser.newPage();
  const read = (origin) => page.goto(`${origin}/`).then(() => page.evaluate(
    (url) => fetch(url).then((response) => response.json(), () => 'refused'),
    `${hub.origin}/.well-known/oauth-protected-resource${HUB}`,
  ));
  assert.equal((await read(host.origin)).resource, 'https://hub.example/.well-known/mercure');
  const other = await Hub.start();
  assert.equal(await read(other.origin), 'refused');
  await other.close();
  await page.close();
});

test('a QUERY goes through nginx', async () => {
  const nginx = await Nginx.before(hub);
  const stop = new AbortController();
  try {
    const body = new URLSearchParams({ match_urlpattern: 'https://e.example/:id' });
    const response = await fetch(`${nginx.origin}${HUB}?match=urn:b`, { method: 'QUERY', body, signal: stop.signal });
    assert.equal(response.status, 200);
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    for (const topic of ['urn:b', 'https://e.example/1']) {
      const id = await hub.publish({ topic, data: topic });
      let text = '';
      while (!text.endsWith('\n\n')) text += (await reader.read()).value;
      assert.equal(text, `id: ${id}\ndata: ${topic}\n\n`);
    }
  } finally {
    stop.abort();
    await nginx.close();
  }
});
