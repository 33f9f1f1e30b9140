// nginx in front of a hub, as it comes: HTTP/1.0 to the upstream, buffering on; or with directives of its own.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { eventually, freePort } from './hub.mjs';

const BINARY = ['/usr/sbin/nginx', '/usr/bin/nginx'].find(existsSync) ?? 'nginx';

export class Nginx {
  static async before(hub, directives = '') {
    const nginx = new Nginx();
    nginx.folder = mkdtempSync(join(tmpdir(), 'cinnabar-nginx-'));
    const port = await freePort();
    nginx.origin = `http://127.0.0.1:${port}`;
    const path = (name) => join(nginx.folder, name);
    const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((kind) => `${kind}_temp_path ${path(kind)};`);
    writeFileSync(path('nginx.conf'), `
      daemon off;
      master_process off;
      pid ${path('pid')};
      error_log ${path('error.log')} info;
      events { worker_connections 256; }
      http {
        access_log off;
        ${temporary.join('\n')}
        server {
          listen 127.0.0.1:${port};
          location / { proxy_pass http://127.0.0.1:${hub.port}; ${directives} }
        }
      }
    `);
    nginx.child = spawn(BINARY, ['-c', path('nginx.conf'), '-p', nginx.folder, '-e', path('error.log')], { stdio: 'inherit' });
    await eventually('nginx answers', async () => {
      if (nginx.child.exitCode !== null) throw new Error('nginx ended at start');
      return fetch(nginx.origin).then(() => true, () => false);
    });
    return nginx;
  }

  async close() {
    const ended = once(this.child, 'exit');
    this.child.kill('SIGTERM');
    await ended;
    rmSync(this.folder, { recursive: true, force: true });
  }
}
