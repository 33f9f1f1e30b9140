// Programs in Python, with the packages of tests/python/requirements.txt.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { ROOT, TARGET } from './hub.mjs';

export const PYTHON = process.env.CINNABAR_TEST_PYTHON ?? join(TARGET, 'python', 'bin', 'python');
export const script = (name) => join(ROOT, 'tests', 'python', name);

/** A program that prints lines of JSON. */
export class Program {
  lines = [];

  static start(...args) {
    const program = new Program();
    program.child = spawn(PYTHON, args, { stdio: ['ignore', 'pipe', 'inherit'] });
    // Not `exit`: Node 20 may spin for ever at its own end when a pipe of a child is still open then.
    program.ended = once(program.child, 'close');
    createInterface({ input: program.child.stdout }).on('line', (line) => program.lines.push(JSON.parse(line)));
    return program;
  }

  async close() {
    this.child.kill('SIGKILL');
    await this.ended;
  }
}
