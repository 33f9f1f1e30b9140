// A TCP proxy whose connections can be cut, as networks do.

import { once } from 'node:events';
import { connect, createServer } from 'node:net';

export class Proxy {
  #pairs = new Set();

  static async to(port) {
    const proxy = new Proxy();
    proxy.accepted = 0;
    proxy.server = createServer((client) => {
      proxy.accepted += 1;
      const upstream = connect(port, '127.0.0.1');
      const pair = [client, upstream];
      proxy.#pairs.add(pair);
      const end = () => {
        proxy.#pairs.delete(pair);
        for (const socket of pair) socket.destroy();
      };
      for (const socket of pair) socket.setNoDelay(true).on('error', end).on('close', end);
      client.pipe(upstream);
      upstream.pipe(client);
    });
    proxy.server.listen(0, '127.0.0.1');
    await once(proxy.server, 'listening');
    proxy.origin = `http://127.0.0.1:${proxy.server.address().port}`;
    return proxy;
  }

  /** Resets every connection there is; new ones are accepted. */
  cut() {
    for (const [client, upstream] of this.#pairs) {
      client.resetAndDestroy();
      upstream.destroy();
    }
  }

  async close() {
    this.cut();
    this.server.close();
    await once(this.server, 'close');
  }
}
