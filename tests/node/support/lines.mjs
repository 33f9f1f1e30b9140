// A reporter that says of each test what `cargo test` would: the table of conformance is made from such lines.

import { basename } from 'node:path';

export default async function* lines(events) {
  for await (const { type, data } of events) {
    if (type !== 'test:pass' && type !== 'test:fail') continue;
    const outcome = data.skip !== undefined || data.todo !== undefined ? 'ignored' : type === 'test:pass' ? 'ok' : 'FAILED';
    yield `test ${basename(data.file ?? '')}: ${data.name} ... ${outcome}\n`;
  }
}
