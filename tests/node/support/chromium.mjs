// Chromium, driven through the protocol of its developer tools.

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { chromium } from 'playwright-core';

const OPTIONS = {
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: [
    '--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
    '--disable-component-update', '--disable-sync', '--disable-dev-shm-usage',
  ],
};

/** A browser, with further arguments. */
export const launch = (...args) => chromium.launch({ ...OPTIONS, args: [...OPTIONS.args, ...args] });

/** A browser whose user has this home, and so these authorities. */
export const launchAt = (home) => chromium.launch({ ...OPTIONS, env: { ...process.env, HOME: home } });

/** A browser that sends the cookies of other sites along. Debian's withholds them unless it is told not to. */
export async function launchWithThirdPartyCookies() {
  const folder = mkdtempSync(join(tmpdir(), 'cinnabar-profile-'));
  mkdirSync(join(folder, 'Default'));
  const preferences = { profile: { block_third_party_cookies: false, cookie_controls_mode: 0 } };
  writeFileSync(join(folder, 'Default', 'Preferences'), JSON.stringify(preferences));
  const context = await chromium.launchPersistentContext(folder, OPTIONS);
  return {
    newPage: () => context.newPage(),
    cookies: () => context.cookies(),
    close: async () => {
      await context.close();
      rmSync(folder, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 });
    },
  };
}
