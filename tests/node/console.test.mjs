// The console, driven in Chromium as people drive it: with eyes, with a keyboard, on a small screen.

import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { mkdirSync, readFileSync, statSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { launch } from './support/chromium.mjs';
import { Hub, HUB, eventually, freePort, mint, PATIENCE_MS } from './support/hub.mjs';

const ADMIN_TOKEN = 'a-token-for-administrators-0123456789abcdef';
const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const TOPIC = 'https://example.com/books/1';

/** In development mode, with the console for everybody on this machine. */
let dev;
/** For real, with the console on the public listener for administrators. */
let real;
/** For real, with the console on a listener of its own; pages there may use the hub. */
let apart;
let apartConsole;
let browser;

before(async () => {
  browser = await launch();
  dev = await Hub.start('--dev', '--resource', (hub) => hub.url);
  real = await Hub.start('--console', '--admin-token', ADMIN_TOKEN);
  const port = await freePort();
  apartConsole = `http://127.0.0.1:${port}`;
  apart = await Hub.start(
    '--resource', (hub) => hub.url, '--admin', `127.0.0.1:${port}`, '--admin-token', ADMIN_TOKEN, '--cors-origin', apartConsole,
  );
});

after(async () => {
  await browser?.close();
  for (const hub of [dev, real, apart]) await hub?.close();
});

const tokenFor = (hub, action, claims = {}) => mint(action, { aud: hub.args[hub.args.indexOf('--resource') + 1], ...claims });
const publish = (hub, fields) => fetch(hub.url, {
  method: 'POST', headers: { Authorization: `Bearer ${tokenFor(hub, 'publish')}` }, body: new URLSearchParams(fields),
}).then((response) => assert.equal(response.status, 200));

/** A console at work, and what went wrong in it. */
async function open(url, { width = 1280, height = 800, ...options } = {}) {
  const context = await browser.newContext({ viewport: { width, height }, reducedMotion: 'reduce', ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(PATIENCE_MS);
  const complaints = [];
  page.on('console', (message) => { if (['error', 'warning'].includes(message.type())) complaints.push(message.text()); });
  page.on('pageerror', (error) => complaints.push(String(error)));
  await page.addInitScript(() => {
    window.violations = [];
    document.addEventListener('securitypolicyviolation', (event) => window.violations.push(`${event.violatedDirective} ${event.blockedURI}`));
  });
  await page.goto(url);
  return {
    page,
    complaints,
    says: (selector, pattern) => eventually(`${selector} says ${pattern}`, async () => pattern.test(await page.locator(selector).innerText())),
    close: async () => {
      assert.deepEqual(await page.evaluate(() => window.violations), [], 'the content security policy holds');
      await context.close();
    },
  };
}

const openDev = (options) => open(`${dev.origin}/console/`, options);
const tile = (page, title) => page.locator('#tiles div', { hasText: title }).locator('dd').innerText();

async function subscribe(view, { topic = TOPIC, token = '', kind = 'match' } = {}) {
  const form = view.page.locator('#subscribe');
  await form.getByLabel('Topic', { exact: true }).fill(topic);
  await form.getByLabel('Kind').selectOption(kind);
  await form.getByLabel('Token').fill(token);
  await form.locator('.main').click();
}

async function explain(view, { token, action = 'publish', topic = TOPIC }) {
  const form = view.page.locator('#explain');
  await form.getByLabel('Token').fill(token);
  await form.getByLabel(action, { exact: true }).check();
  await form.getByLabel('Topic', { exact: true }).fill(topic);
  await form.getByRole('button', { name: 'Explain' }).click();
}

test('in development mode the page of the hub leads to the console, which shows live numbers', async () => {
  const view = await open(dev.origin);
  await view.page.getByRole('link', { name: 'console' }).click();
  await view.says('#health', /healthy/);
  await view.says('#driver', /io_uring|epoll/);
  await eventually('rates are known', async () => (await tile(view.page, 'Publishes')) === '0/s');
  const stop = new AbortController();
  const traffic = (async () => {
    while (!stop.signal.aborted) {
      await publish(dev, { topic: TOPIC, data: 'x' });
      await sleep(50);
    }
  })();
  await eventually('publishes are seen', async () => /^[1-9]/.test(await tile(view.page, 'Publishes')));
  await eventually('their latency is not, as nobody subscribes', async () => (await tile(view.page, 'First byte')) === '–');
  await subscribe(view);
  await eventually('deliveries are seen', async () => /^[1-9]/.test(await tile(view.page, 'Deliveries')));
  await eventually('latencies are seen', async () => /[0-9] (µs|ms|s)$/.test(await tile(view.page, 'First byte')));
  await eventually('the chart is drawn', () => view.page.locator('.series').first().evaluate((line) => (line.getAttribute('d') ?? '').includes('L')));
  await view.says('#topics', /example\.com\/books\/1\s+exact\s+1/);
  const told = await view.page.locator('#charts svg').nth(1).getAttribute('aria-label');
  assert.match(told, /Deliveries over the last minutes: events .* now, .* at most/);
  await view.page.getByText('The charts as a table').click();
  await view.says('#values', /Deliveries: events/);
  stop.abort();
  await traffic;
  await view.page.locator('#subscribe .stop').click();
  await view.says('#disconnects', /gone|closed|client/i);
  assert.deepEqual(view.complaints, []);
  await view.close();
});

test('the subscribe and publish panels work with pasted tokens, private updates and event types too', async () => {
  const view = await openDev();
  await subscribe(view, { token: tokenFor(dev, 'subscribe'), topic: 'https://example.com/books/:id', kind: 'match_urlpattern' });
  await view.says('#subscribe .outcome', /^subscribed/);
  const form = view.page.locator('#publish');
  await form.getByLabel('Data').fill('one\ntwo');
  await form.getByLabel('Token').fill(tokenFor(dev, 'publish'));
  await form.getByLabel(/Private/).check();
  await form.getByText('Id, type, retry').click();
  await form.getByLabel('Id', { exact: true }).fill('urn:a-1');
  await form.getByLabel('Type').fill('price');
  await form.getByLabel(/Retry/).fill('50');
  await form.getByRole('button', { name: 'Publish' }).click();
  await view.says('#publish .outcome', /published as urn:a-1/);
  await view.says('#subscribe .events', /price · urn:a-1\s+one\s+two/);
  await view.says('#subscribe .told', /1 new event, 1 in all/);
  await form.getByLabel('Token').fill('');
  await form.getByRole('button', { name: 'Publish' }).click();
  await view.says('#publish .outcome', /401: .*token/);
  await view.close();
});

test('a stream is taken up again after the event it has', async () => {
  const brief = await Hub.start('--max-lifetime', '1s', '--console', '--admin-token', ADMIN_TOKEN);
  const view = await open(`${brief.origin}/console/`);
  await subscribe(view, { topic: 'urn:brief' });
  await view.says('#subscribe .outcome', /^subscribed/);
  await brief.publish({ topic: 'urn:brief', data: 'number 0', retry: '10' });
  await view.says('#subscribe .events', /number 0/);
  for (let n = 1; n < 60; n++) {
    await brief.publish({ topic: 'urn:brief', data: `number ${n}` });
    await sleep(50);
  }
  await view.says('#subscribe .events', /number 59/);
  const shown = await view.page.locator('#subscribe .events pre').allInnerTexts();
  assert.deepEqual(shown.reverse(), Array.from({ length: 60 }, (_, n) => `number ${n}`));
  await view.close();
  await brief.close();
});

test('the explainer names the rule that fails and why', async () => {
  const view = await openDev();
  await explain(view, { token: tokenFor(dev, 'publish') });
  await view.says('#explain .outcome', /^Allowed/);
  const now = Math.floor(Date.now() / 1000);
  await explain(view, { token: tokenFor(dev, 'publish', { iat: now - 7200, exp: now - 3600 }) });
  await view.says('#explain .outcome', /^Refused: the rule exp fails: ./);
  await view.says('#explain .rules', /exp\s+✗ fails\s+\S/);
  await explain(view, { token: tokenFor(dev, 'publish', { aud: 'https://elsewhere.example' }) });
  await view.says('#explain .outcome', /^Refused: the rule aud fails: ./);
  await explain(view, { token: 'not.a.token' });
  await view.says('#explain .outcome', /^Refused: the rule/);
  const narrow = [{ type: 'https://mercure.rocks/authorization-detail', actions: ['subscribe'], topics: [{ match: 'urn:other' }] }];
  await explain(view, { token: tokenFor(dev, 'subscribe', { authorization_details: narrow }), action: 'subscribe' });
  await view.says('#explain .outcome', /valid, but doesn't grant it to read https:\/\/example\.com\/books\/1/);
  await view.says('#explain .topics', /no grant of the token covers it/);
  assert.deepEqual(view.complaints, []);
  await view.close();
});

test('everything can be reached and used with the keyboard alone', async () => {
  const view = await openDev();
  const { keyboard } = view.page;
  const focused = () => view.page.evaluate(() => {
    const { activeElement: at } = document;
    return [at.closest('form')?.getAttribute('id') ?? '', at.getAttribute('name') ?? at.getAttribute('aria-label') ?? at.textContent.trim().slice(0, 30)].join(' ').trim();
  });
  /** Goes on by Tab until something is reached. */
  const reach = async (target) => {
    for (let presses = 0; presses < 60; presses++) {
      if ((await focused()) === target) return;
      await keyboard.press('Tab');
    }
    assert.fail(`Tab doesn't reach ${target}, but ${await focused()}`);
  };
  await keyboard.press('Tab');
  assert.equal(await focused(), 'Skip to the numbers');
  await keyboard.press('Tab');
  await keyboard.press('Enter');
  await reach('subscribe Topic');
  const outline = await view.page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle);
  assert.equal(outline, 'solid', 'the focus is seen');
  await keyboard.press('Enter');
  await view.says('#subscribe .outcome', /^subscribed/);
  await reach('publish data');
  await keyboard.type('by keyboard');
  await reach('publish token');
  await keyboard.insertText(tokenFor(dev, 'publish'));
  await keyboard.press('Enter');
  await view.says('#publish .outcome', /published as/);
  await view.says('#subscribe .events', /by keyboard/);
  await reach('explain token');
  await keyboard.insertText(tokenFor(dev, 'subscribe'));
  await keyboard.press('Enter');
  await view.says('#explain .outcome', /^Allowed/);
  await reach('explain Explain');
  await view.close();
});

for (const [width, height] of [[320, 640], [768, 1024]]) {
  test(`on a screen of ${width} pixels nothing is cut off to the side`, async () => {
    const view = await openDev({ width, height });
    await publish(dev, { topic: TOPIC, data: `${'long'.repeat(200)}` });
    await subscribe(view, { topic: `${TOPIC}?${'x'.repeat(200)}` });
    await explain(view, { token: tokenFor(dev, 'publish') });
    await view.says('#explain .outcome', /\S/);
    await view.says('#topics', /xxxx/);
    const excess = await view.page.evaluate(() => {
      const { scrollWidth, clientWidth } = document.documentElement;
      const wide = [...document.querySelectorAll('main *')].filter((at) => (
        at.getBoundingClientRect().right > clientWidth + 1 || (at.matches('dd, td, th, p') && at.scrollWidth > at.clientWidth + 1)));
      return { scroll: scrollWidth - clientWidth, wide: wide.map((at) => at.outerHTML.slice(0, 100)) };
    });
    assert.deepEqual(excess, { scroll: 0, wide: [] });
    await view.close();
  });
}

for (const colorScheme of ['light', 'dark']) {
  test(`a check of accessibility finds nothing, contrast included, in the ${colorScheme} theme`, async () => {
    const view = await openDev({ colorScheme });
    await subscribe(view, { token: 'not.a.token' });
    await explain(view, { token: tokenFor(dev, 'publish', { exp: 1 }) });
    await view.says('#explain .outcome', /^Refused/);
    await view.says('#subscribe .outcome', /^401/);
    await subscribe(view);
    await view.says('#subscribe .outcome', /^subscribed/);
    await publish(dev, { topic: TOPIC, data: 'seen' });
    await view.says('#subscribe .events', /seen/);
    await view.says('#health', /healthy/);
    await view.page.getByText('The charts as a table').click();
    await view.page.evaluate(AXE);
    const found = await view.page.evaluate(() => window.axe.run(document, { resultTypes: ['violations', 'incomplete'] }));
    const told = ({ id, nodes }) => `${id}: ${nodes.map((node) => `${node.html} ${node.failureSummary}`).join('\n')}`;
    assert.deepEqual(found.violations.map(told), []);
    assert.deepEqual(found.incomplete.filter(({ id }) => id === 'color-contrast').map(told), []);
    await view.close();
  });
}

test('the theme follows the system until somebody chooses, and the choice stays', async () => {
  const view = await openDev({ colorScheme: 'dark' });
  const ground = () => view.page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  const dark = await ground();
  await view.page.getByLabel('Theme').selectOption('light');
  const light = await ground();
  assert.notEqual(light, dark);
  await view.page.reload();
  assert.equal(await ground(), light);
  await view.page.getByLabel('Theme').selectOption('');
  assert.equal(await ground(), dark);
  await view.close();
});

test('markup in topics, ids, types and data is shown as text and never runs', async () => {
  const view = await openDev();
  const hostile = '<img src=x onerror="window.hit = 1"><script>window.hit = 1</script>';
  await subscribe(view, { topic: '*' });
  await view.says('#subscribe .outcome', /^subscribed/);
  await publish(dev, { topic: hostile, data: hostile, id: `${hostile}-id`, type: `${hostile}-type` });
  await view.says('#subscribe .events', /-type.*-id/);
  await subscribe(view, { topic: hostile });
  await view.says('#topics', /onerror/);
  await explain(view, { token: hostile, topic: hostile });
  await view.says('#explain .topics', /onerror/);
  const found = await view.page.evaluate(() => ({ hit: window.hit, images: document.querySelectorAll('img, main script').length }));
  assert.deepEqual(found, { hit: undefined, images: 0 });
  await view.close();
});

test('many and long events are cut to what a page can hold', async () => {
  const view = await openDev();
  await subscribe(view, { topic: 'urn:many' });
  await view.says('#subscribe .outcome', /^subscribed/);
  for (let n = 0; n < 230; n++) await publish(dev, { topic: 'urn:many', data: `number ${n}` });
  await publish(dev, { topic: 'urn:many', data: 'long'.repeat(10_000) });
  await view.says('#subscribe .events', /40000 characters/);
  assert.equal(await view.page.locator('#subscribe .events li').count(), 200);
  assert.ok((await view.page.locator('#subscribe .events').innerText()).length < 40_000);
  await view.close();
});

test('an event stream is read as browsers read it', async () => {
  const view = await openDev();
  const parsed = await view.page.evaluate(async () => {
    const { EventParser } = await import('./stream.js');
    const parser = new EventParser();
    const text = '\uFEFF: hello\nid: 1\ndata: a\r\ndata:b\r\rid\ndata\n\nevent: e\nid: 2\n\nretry: 70\ndata:  c\nunknown: x\n\ndata: cut';
    const events = [...text].flatMap((piece) => parser.push(piece));
    const { lastId, retry } = parser;
    return { events, lastId, retry };
  });
  assert.deepEqual(parsed, {
    events: [
      { id: '1', type: 'message', data: 'a\nb' }, { id: '', type: 'message', data: '' }, { id: '2', type: 'message', data: ' c' },
    ],
    lastId: '2',
    retry: 70,
  });
  await view.close();
});

test('rates are per shard, and a restarted hub is no negative rate', async () => {
  const view = await openDev();
  const rows = await view.page.evaluate(async () => {
    const { Samples, percentile } = await import('./samples.js');
    const samples = new Samples();
    const histogram = (...counts) => ({ bounds: [100, 200], counts });
    const look = (uptime_ms, shards, counts, started_ms = 1) => samples.add({
      started_ms, uptime_ms, totals: { connections: 1, subscribers: { current: 1, behind: 0 }, slow_readers: 0 },
      shards: shards.map(([silent_ms, publishes], shard) => ({ shard, silent_ms, publishes, deliveries: 0, sent_bytes: 0 })),
      histograms: { publish_first_byte_us: histogram(...counts), publish_last_byte_us: histogram(0, 0, 0) },
    });
    look(1000, [[0, 100], [500, 100]], [0, 0, 0]);
    look(2000, [[0, 110], [500, 120]], [4, 0, 0]);
    look(3000, [[1000, 110], [500, 120]], [4, 0, 2]);
    look(500, [[0, 1], [0, 1]], [0, 0, 0], 2);
    samples.gap();
    return samples.rows.map(({ publishes, first50, first99 }) => [publishes ?? null, first50 ?? null, first99 ?? null])
      .concat([[percentile(histogram(0, 2, 0), 0.5)]]);
  });
  assert.deepEqual(rows, [[null, null, null], [30, 50, 99], [10, 75, 200], [null, null, null], [null, null, null], [150]]);
  await view.close();
});

test('outside development the numbers need the administrators\' token, and the panels do not', async () => {
  const view = await open(`${real.origin}/console`);
  await view.says('#health', /administrators only/);
  await subscribe(view);
  await view.says('#subscribe .outcome', /^subscribed/);
  await view.page.getByLabel('Admin token').fill('a-wrong-token-0123456789abcdef-0123456789');
  await view.page.keyboard.press('Enter');
  await view.says('#sign-in-says', /isn't the token/);
  await view.page.getByLabel('Admin token').fill(ADMIN_TOKEN);
  await view.page.keyboard.press('Enter');
  await view.says('#health', /healthy/);
  assert.equal(await view.page.locator('#sign-in').isVisible(), false);
  await view.page.reload();
  await view.says('#health', /healthy/);
  await view.close();
});

test('the admin listener shows the console to everybody and its numbers to administrators', async () => {
  const view = await open(apartConsole);
  await view.says('#health', /administrators only/);
  await view.page.getByLabel('Admin token').fill(ADMIN_TOKEN);
  await view.page.getByRole('button', { name: 'Show the numbers' }).click();
  await view.says('#health', /healthy/);
  await subscribe(view, { token: tokenFor(apart, 'subscribe') });
  await view.says('#subscribe .outcome', /^subscribed/);
  await view.page.locator('#publish').getByLabel('Data').fill('from afar');
  await view.page.locator('#publish').getByLabel('Token').fill(tokenFor(apart, 'publish'));
  await view.page.locator('#publish').getByRole('button', { name: 'Publish' }).click();
  await view.says('#subscribe .events', /from afar/);
  await view.close();
});

test('a console whose origin the hub doesn\'t allow says which setting would', async () => {
  const port = await freePort();
  const hub = await Hub.start('--resource', (hub) => hub.url, '--admin', `127.0.0.1:${port}`, '--admin-token', ADMIN_TOKEN);
  const view = await open(`http://127.0.0.1:${port}/`);
  await view.page.locator('#publish').getByLabel('Token').fill(tokenFor(hub, 'publish'));
  await view.page.locator('#publish').getByRole('button', { name: 'Publish' }).click();
  await view.says('#publish .outcome', new RegExp(`--cors-origin http://127\\.0\\.0\\.1:${port}`));
  await view.close();
  await hub.close();
});

/** A subscriber that reads, or one that doesn't. */
function subscriber(hub, topic, { reads = true } = {}) {
  const socket = connect(hub.port, '127.0.0.1').on('error', () => {});
  socket.write(`GET ${HUB}?match=${encodeURIComponent(topic)} HTTP/1.1\r\nHost: localhost\r\n\r\n`);
  if (reads) socket.resume();
  else socket.pause();
  return socket;
}

test('screenshots with some traffic on, light and dark', async () => {
  const update = process.env.UPDATE_SCREENSHOTS === '1';
  const hub = await Hub.start('--dev', '--resource', (hub) => hub.url);
  const folder = join(ROOT, update ? 'docs' : 'target/console');
  mkdirSync(folder, { recursive: true });
  const view = await open(`${hub.origin}/console/`, { colorScheme: 'light', width: 1360, height: 900 });
  const books = Array.from({ length: 6 }, (_, n) => `https://example.com/books/${n + 1}`);
  const sockets = books.flatMap((topic, at) => Array.from({ length: 60 - at * 9 }, () => subscriber(hub, topic)));
  sockets.push(...Array.from({ length: 5 }, () => subscriber(hub, books[0])));
  for (const socket of sockets.splice(-5)) globalThis.setTimeout(() => socket.destroy(), 1_500);
  await subscribe(view, { topic: books[1] });
  await view.says('#subscribe .outcome', /^subscribed/);
  let going = true;
  const traffic = (async () => {
    for (let n = 0; going; n++) {
      const quiet = 1 + Math.sin(n / 40);
      await publish(hub, { topic: books[n % books.length], data: JSON.stringify({ title: `Book ${(n % 6) + 1}`, stock: 40 - (n % 40) }) });
      await sleep(20 + 60 * quiet);
    }
  })();
  await sleep(update ? 75_000 : 2_000);
  // Not earlier: who reads nothing for a minute is closed.
  const film = 'https://example.com/films/1';
  sockets.push(subscriber(hub, film, { reads: false }));
  await view.says('#topics', /films\/1/);
  for (let n = 0; n < 12; n++) await publish(hub, { topic: film, data: 'frame '.repeat(60_000) });
  await view.page.locator('#publish').getByLabel('Data').fill('{"title":"Book 2","stock":12}');
  await view.page.locator('#publish').getByLabel('Token').fill(tokenFor(hub, 'publish'));
  await view.page.locator('#publish').getByRole('button', { name: 'Publish' }).click();
  await view.says('#publish .outcome', /published as/);
  await view.says('#slow', /slow/);
  await view.says('#topics', /books\/1\s+exact\s+60/);
  await view.page.locator('#explain').getByLabel('Token').fill(tokenFor(hub, 'publish'));
  for (const theme of ['light', 'dark']) {
    await view.page.getByLabel('Theme').selectOption(theme);
    const path = join(folder, `console-${theme}.png`);
    await view.page.evaluate(() => window.scrollTo(0, 0));
    await view.page.screenshot({ path });
    assert.ok(statSync(path).size < 300_000, `${path} is small enough for a repository`);
  }
  going = false;
  await traffic;
  for (const socket of sockets) socket.destroy();
  await view.close();
  await hub.close();
});
