// The panel that follows topics and shows what comes.

import { pasted } from './data.js';
import { element, say, topicRows } from './element.js';
import { follow } from './stream.js';

/** Events shown; older ones make room. */
const EVENTS_MAX = 200;
/** Characters of an event's data shown. */
const DATA_CHARS_MAX = 2_000;
/** How often new events are read out at most. */
const TELL_EVERY_MS = 5_000;

export function subscribePanel(form) {
  const topics = topicRows(form, { kinds: true, first: '*' });
  const [list, outcome, told] = ['.events', '.outcome', '.told'].map((name) => form.querySelector(name));
  const stop = form.querySelector('.stop');
  const start = form.querySelector('.main');
  let stream;
  let waiting = [];
  let arrived = 0;
  let untold = 0;
  let telling;

  const ended = () => {
    stream = undefined;
    stop.disabled = true;
    start.textContent = 'Subscribe';
  };

  /** Shows what has come since the last frame, the newest first. */
  const show = () => {
    const made = waiting.splice(0).map(shown).reverse();
    list.prepend(...made);
    while (list.children.length > EVENTS_MAX) list.lastElementChild.remove();
  };

  const tell = () => {
    telling = undefined;
    if (untold === 0) return;
    say(told, `${untold} new ${untold === 1 ? 'event' : 'events'}, ${arrived} in all`);
    untold = 0;
    telling = setTimeout(tell, TELL_EVERY_MS);
  };

  const take = (events) => {
    if (waiting.length === 0) requestAnimationFrame(show);
    // A page in the background draws nothing: what it could not show is let go.
    waiting = [...waiting, ...events].slice(-EVENTS_MAX);
    arrived += events.length;
    untold += events.length;
    telling ??= setTimeout(tell, 500);
  };

  form.addEventListener('submit', (submitted) => {
    submitted.preventDefault();
    stream?.stop();
    say(outcome, 'connecting …');
    const fields = form.elements;
    stream = follow({
      topics: topics(),
      token: pasted(fields.token),
      lastId: fields.last.value,
      onEvents: take,
      onState: (text, mood, over) => {
        say(outcome, text, mood);
        if (over) ended();
      },
    });
    stop.disabled = false;
    start.textContent = 'Subscribe anew';
  });
  stop.addEventListener('click', () => {
    stream?.stop();
    ended();
    start.focus();
    say(outcome, 'stopped');
  });
  form.querySelector('.clear').addEventListener('click', () => list.replaceChildren());
}

function shown({ id, type, data }) {
  const cut = data.length > DATA_CHARS_MAX;
  const text = cut ? `${data.slice(0, DATA_CHARS_MAX)}… (${data.length} characters)` : data;
  const at = new Date().toLocaleTimeString([], { hour12: false });
  const meta = [at, type === 'message' ? '' : type, id].filter(Boolean).join(' · ');
  return element('li', {}, element('div', { class: 'meta' }, meta), element('pre', {}, text));
}
