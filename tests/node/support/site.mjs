// An application's web server: an origin of its own, pages that know nothing, cookies, and modules of npm packages as they are.

import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { ROOT } from './hub.mjs';

const MODULES = join(ROOT, 'tests', 'node', 'node_modules');

export class Site {
  /** A site under a name of this machine. Its pages' modules are those of an npm package's folder. */
  static async start(name, folder) {
    const site = new Site();
    site.server = createServer((request, response) => {
      const { pathname, searchParams } = new URL(request.url, 'http://localhost');
      if (pathname === '/login') response.setHeader('Set-Cookie', searchParams.get('cookie'));
      if (folder && pathname.startsWith('/module/')) return void serveModule(join(MODULES, folder), pathname.slice(8), response);
      response.setHeader('Content-Type', 'text/html; charset=utf-8');
      response.end('<!doctype html><title>an application</title>');
    });
    site.server.listen(0, '127.0.0.1');
    await once(site.server, 'listening');
    site.origin = `http://${name}:${site.server.address().port}`;
    return site;
  }

  async close() {
    this.server.close();
    this.server.closeAllConnections();
    await once(this.server, 'close');
  }
}

/** Modules of the package name each other without their ending. */
async function serveModule(folder, name, response) {
  const file = /^\w+(\.js)?$/.test(name) && join(folder, name.endsWith('.js') ? name : `${name}.js`);
  const text = file && await readFile(file).catch(() => undefined);
  response.writeHead(text ? 200 : 404, { 'Content-Type': 'text/javascript; charset=utf-8' });
  response.end(text || undefined);
}
