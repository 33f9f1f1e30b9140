// Development mode over TLS, in a browser that was told once to trust its authority.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { launchAt } from './support/chromium.mjs';
import { Hub, eventually, freePort } from './support/hub.mjs';

test('a browser that trusts the authority of development mode takes its certificate without a word', async () => {
  const port = await freePort();
  const hub = await Hub.start('--dev', '--tls', '--listen', `tls:127.0.0.1:${port}`);
  const home = mkdtempSync(join(tmpdir(), 'cinnabar-home-'));
  let browser;
  try {
    const authorities = `sql:${join(home, '.pki', 'nssdb')}`;
    mkdirSync(join(home, '.pki', 'nssdb'), { recursive: true });
    execFileSync('certutil', ['-d', authorities, '-N', '--empty-password']);
    browser = await launchAt(home);
    const early = await browser.newPage();
    await assert.rejects(early.goto(`https://localhost:${port}/`), /ERR_CERT_AUTHORITY_INVALID/);
    await browser.close();
    const authority = join(hub.data, 'dev-tls', 'authority.pem');
    execFileSync('certutil', ['-d', authorities, '-A', '-t', 'C,,', '-n', 'cinnabar', '-i', authority]);
    browser = await launchAt(home);
    for (const host of ['localhost', '127.0.0.1']) {
      const page = await browser.newPage();
      await page.goto(`https://${host}:${port}/`);
      assert.equal(await page.evaluate(() => window.isSecureContext), true);
      await page.evaluate((topic) => {
        window.received = [];
        window.source = new EventSource(`/.well-known/mercure?match=${topic}`);
        window.source.onopen = () => { window.opened = true; };
        window.source.onmessage = (event) => window.received.push(event.data);
      }, `urn:${host}`);
      await eventually('the source opens', () => page.evaluate(() => window.opened));
      await hub.publish({ topic: `urn:${host}`, data: 'hello' });
      await eventually('the event arrives', () => page.evaluate(() => window.received[0] === 'hello'));
    }
  } finally {
    await browser?.close();
    await hub.close();
    rmSync(home, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 });
  }
});
