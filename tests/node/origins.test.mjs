// Chromium's EventSource and fetch, with cookies, in pages of other origins than the hub's: of the same site on another port, and
// of another site altogether.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { launch, launchWithThirdPartyCookies } from './support/chromium.mjs';
import { Hub, HUB, eventually, mint } from './support/hub.mjs';
import { Site } from './support/site.mjs';

const COOKIE = 'hub_token';
/** A cookie of the application's own site, and one that goes along from other sites too. */
const OWN = 'SameSite=Strict';
const ANYWHERE = 'SameSite=None; Secure';

let browser;
let hub;
let app;
let stranger;
let login;

before(async () => {
  [app, stranger, login] = await Promise.all([Site.start('localhost'), Site.start('localhost'), Site.start('127.0.0.1')]);
  hub = await Hub.start('--cookie-name', COOKIE, '--cors-origin', app.origin, '--publish-origin', app.origin);
  browser = await launch();
});

after(async () => {
  await browser?.close();
  await hub?.close();
  for (const site of [app, stranger, login]) await site?.close();
});

/** The hub under the name of the application's site, and under another one. */
const near = () => `http://localhost:${hub.port}${HUB}`;
const far = () => hub.url;

/** A page of a site, in a browser to which an application has given a token as a cookie. */
async function visit(site, action, attributes) {
  const context = attributes === ANYWHERE ? await launchWithThirdPartyCookies() : await browser.newContext();
  const page = await context.newPage();
  if (action) {
    const cookie = `${COOKIE}=${mint(action)}; HttpOnly; Path=/; ${attributes}`;
    const origin = attributes === ANYWHERE ? login.origin : site.origin;
    await page.goto(`${origin}/login?cookie=${encodeURIComponent(cookie)}`);
  }
  await page.goto(`${site.origin}/`);
  page.leave = () => context.close();
  return page;
}

/** Follows a topic from a page, and answers whether the source opened. */
async function follow(page, url, topic, withCredentials = true) {
  const outcome = await page.evaluate(([url, withCredentials]) => new Promise((resolve) => {
    window.received = [];
    window.source = new EventSource(url, { withCredentials });
    window.source.onmessage = (event) => window.received.push(event.data);
    window.source.onopen = () => resolve('open');
    window.source.onerror = () => { window.source.close(); resolve('refused'); };
  }), [`${url}?match=${encodeURIComponent(topic)}`, withCredentials]);
  return outcome;
}

async function received(page, count) {
  await eventually(`${count} events arrive`, () => page.evaluate((count) => window.received.length >= count, count));
  return page.evaluate(() => window.received);
}

/** Publishes from a page as its scripts do, with the cookie, and gives the status, or 0 where the page may not know it. */
const publish = (page, url, topic, options = {}) => page.evaluate(([url, topic, options]) => fetch(url, {
  method: 'POST', credentials: 'include', body: new URLSearchParams({ topic, data: 'from the page' }), ...options,
}).then((response) => response.status, () => 0), [url, topic, options]);

for (const [place, url, attributes] of [['the same site', near, OWN], ['another site', far, ANYWHERE]]) {
  test(`a page of a listed origin listens with its cookie to a hub on ${place}`, async () => {
    const topic = `urn:listed:${attributes}`;
    const page = await visit(app, 'subscribe', attributes);
    assert.equal(await follow(page, url(), topic), 'open');
    await hub.publish({ topic, private: 'on', data: 'secret' });
    assert.deepEqual(await received(page, 1), ['secret']);
    await page.leave();
  });

  test(`a page of an origin that isn't listed can't listen with its cookie to a hub on ${place}`, async () => {
    const page = await visit(stranger, 'subscribe', attributes);
    assert.equal(await follow(page, url(), 'urn:stranger'), 'refused');
    await page.leave();
  });

  test(`a page of a listed origin publishes with its cookie to a hub on ${place}`, async () => {
    const topic = `urn:published:${attributes}`;
    const reader = await visit(app);
    await follow(reader, url(), topic);
    const page = await visit(app, 'publish', attributes);
    assert.equal(await publish(page, url(), topic), 200);
    assert.deepEqual(await received(reader, 1), ['from the page']);
    await Promise.all([page.leave(), reader.leave()]);
  });

  test(`a page of an origin that isn't listed can't publish with its cookie to a hub on ${place}`, async () => {
    const topic = `urn:forged:${attributes}`;
    const reader = await visit(app);
    await follow(reader, url(), topic);
    const page = await visit(stranger, 'publish', attributes);
    assert.equal(await publish(page, url(), topic), 0);
    assert.equal(await publish(page, url(), topic, { mode: 'no-cors' }), 0);
    await hub.publish({ topic, data: 'from the application' });
    assert.deepEqual(await received(reader, 1), ['from the application']);
    await Promise.all([page.leave(), reader.leave()]);
  });
}

test('without withCredentials the cookie stays at home', async () => {
  const page = await visit(app, 'subscribe', OWN);
  assert.equal(await follow(page, near(), 'urn:anonymous', false), 'open');
  await hub.publish({ topic: 'urn:anonymous', private: 'on', data: 'secret' });
  await hub.publish({ topic: 'urn:anonymous', data: 'public' });
  assert.deepEqual(await received(page, 1), ['public']);
  await page.leave();
});

test('a page may send a token of its own from a listed origin only, by a preflight', async () => {
  const [allowed, refused] = [await visit(app), await visit(stranger)];
  const options = { credentials: 'omit', headers: { Authorization: `Bearer ${mint()}` } };
  assert.equal(await publish(allowed, near(), 'urn:preflight', options), 200);
  assert.equal(await publish(refused, near(), 'urn:preflight', options), 0);
  await Promise.all([allowed.leave(), refused.leave()]);
});

test('a page reads why it was refused', async () => {
  const page = await visit(app);
  const told = await page.evaluate(async (url) => {
    const response = await fetch(url, { credentials: 'include' });
    return { status: response.status, type: response.headers.get('content-type'), body: await response.json() };
  }, `${near()}?matcher=x`);
  assert.equal(told.status, 400);
  assert.equal(told.type, 'application/problem+json');
  assert.match(told.body.detail, /match/);
  await page.leave();
});
