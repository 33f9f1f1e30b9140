// An event stream with an access token, which EventSource can't send: read by fetch, taken up again when it ends.

import { detail, HUB, unreachable } from './data.js';

/** Characters of one event at most; a stream with a longer one is given up. */
const EVENT_CHARS_MAX = 4 << 20;
/** How long to wait before coming back, until the hub says otherwise. */
const RETRY_MS = 2_000;
const RETRY_MS_MAX = 60_000;

/** Turns pieces of text into events (HTML standard, §9.2.6). */
export class EventParser {
  lastId = '';
  retry = undefined;
  #rest = '';
  #data = [];
  #size = 0;
  #type = '';
  #id = '';
  #first = true;

  /** The events that a piece of the stream completes. */
  push(text) {
    if (this.#first && text !== '') {
      this.#first = false;
      if (text.startsWith('\uFEFF')) text = text.slice(1);
    }
    const events = [];
    const lines = (this.#rest + text).split(/\r\n|\n|\r(?!$)/);
    // A CR at the end may be half a line end: it waits for what follows.
    this.#rest = lines.pop();
    for (const line of lines) this.#line(line, events);
    if (this.#rest.length + this.#size > EVENT_CHARS_MAX) throw new Error('an event is too long for this page');
    return events;
  }

  #line(line, events) {
    if (line === '') {
      this.lastId = this.#id;
      if (this.#data.length > 0) events.push({ id: this.#id, type: this.#type || 'message', data: this.#data.join('\n') });
      this.#data = [];
      this.#size = 0;
      this.#type = '';
      return;
    }
    const colon = line.indexOf(':');
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? '' : line.slice(colon + 1).replace(/^ /, '');
    if (field === 'data') {
      this.#data.push(value);
      this.#size += value.length + 1;
    } else if (field === 'event') this.#type = value;
    else if (field === 'id' && !value.includes('\0')) this.#id = value;
    else if (field === 'retry' && /^[0-9]+$/.test(value)) this.retry = Number(value);
  }

  /** A new connection begins; what was unfinished is gone. */
  reset(lastId) {
    this.lastId = lastId;
    this.#id = lastId;
    this.#rest = '';
    this.#data = [];
    this.#size = 0;
    this.#type = '';
    this.#first = true;
  }
}

/**
 * Follows topics until `stop` is called: `topics` are pairs of kind and text. `onEvents` gets what arrives, `onState` a
 * sentence and its mood.
 */
export function follow({ topics, token, lastId, onEvents, onState }) {
  const control = new AbortController();
  const parser = new EventParser();
  parser.reset(lastId);
  run(control.signal).catch((error) => {
    if (!control.signal.aborted) onState(error.message, 'bad', true);
  });
  return { stop: () => control.abort() };

  async function run(signal) {
    for (let failures = 0; !signal.aborted;) {
      const opened = await once(signal, failures);
      if (opened === undefined) return;
      failures = opened ? 0 : failures + 1;
      const rest = Math.min((parser.retry ?? RETRY_MS) * 2 ** Math.min(failures, 6), RETRY_MS_MAX);
      await new Promise((resolve) => {
        const timer = setTimeout(resolve, rest);
        signal.addEventListener('abort', () => { clearTimeout(timer); resolve(); }, { once: true });
      });
    }
  }

  /** One connection: whether it opened; undefined: there is no use in coming back. */
  async function once(signal) {
    const url = new URL(HUB);
    for (const { kind, text } of topics) url.searchParams.append(kind, text);
    if (parser.lastId) url.searchParams.set('last_event_id', parser.lastId);
    let response;
    try {
      response = await fetch(url, {
        headers: token ? { Authorization: `Bearer ${token}` } : {}, credentials: 'omit', cache: 'no-store', signal,
      });
    } catch {
      if (!signal.aborted) onState(`${unreachable()}; trying again`, 'bad', false);
      return false;
    }
    if (response.status !== 200) {
      const why = response.status === 204 ? 'an administrator of the hub doesn\'t let you in' : await detail(response);
      const again = response.status >= 500;
      onState(`${response.status}: ${why}${again ? '; trying again' : ''}`, 'bad', !again);
      return again ? false : undefined;
    }
    const found = response.headers.get('mercure-last-event-id');
    const lost = parser.lastId && found !== null && found !== parser.lastId && parser.lastId !== 'earliest';
    onState(lost ? `subscribed, but the hub doesn't have the event ${parser.lastId} any more` : 'subscribed', lost ? 'warn' : 'good', false);
    parser.reset(parser.lastId);
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    for (;;) {
      const piece = await reader.read().catch(() => ({ done: true }));
      if (piece.done) break;
      let events;
      try {
        events = parser.push(piece.value);
      } catch (error) {
        control.abort();
        onState(error.message, 'bad', true);
        return undefined;
      }
      if (events.length > 0) onEvents(events);
    }
    if (!signal.aborted) onState('the stream ended; coming back', 'warn', false);
    return true;
  }
}
