// The console: asks the hub how it is, once a second, and shows it.

import { adminToken, ask, pasted, Refused } from './data.js';
import { say } from './element.js';
import { explainPanel } from './explain.js';
import { Overview } from './overview.js';
import { publishPanel } from './publish.js';
import { Samples, SAMPLES_MAX } from './samples.js';
import { subscribePanel } from './subscribe.js';
import { theme } from './theme.js';

const LOOK_EVERY_MS = 1_000;
/** Lists cost the hub a look at every stream. */
const LISTS_EVERY = 5;

const find = (id) => document.getElementById(id);
const signIn = find('sign-in');
const overview = new Overview();
const samples = new Samples();
let looks = 0;
let timer;
let lastLook;
let looking = false;

/** What an answer other than 200 means: a token is asked for, or said to be missing. */
function refused(error) {
  if (!(error instanceof Refused)) {
    overview.health('the hub doesn\'t answer', 'bad');
    return;
  }
  overview.health(error.status === 401 ? 'administrators only' : `${error.status}`, 'warn');
  if (error.status !== 401 && error.status !== 403) return;
  const again = adminToken.get() !== '';
  adminToken.forget();
  if (signIn.hidden) {
    signIn.hidden = false;
    find('admin-token').focus();
  }
  if (again || error.status === 403) say(find('sign-in-says'), error.message, 'bad');
}

async function lists() {
  const [topics, slow] = await Promise.all([ask('topics?limit=8'), ask('slow?limit=8')]);
  overview.topics(topics.topics);
  overview.slow(slow.slow);
}

/** One look. A page nobody sees asks for nothing, and waits for a token where one is needed. */
async function look() {
  clearTimeout(timer);
  if (looking || document.hidden || !signIn.hidden) return;
  const started = performance.now();
  const missed = lastLook === undefined ? 0 : Math.round((started - lastLook) / LOOK_EVERY_MS) - 1;
  for (let gap = 0; gap < Math.min(missed, SAMPLES_MAX); gap++) samples.gap();
  lastLook = started;
  looking = true;
  try {
    const stats = await ask('stats');
    samples.add(stats);
    overview.draw(samples, stats);
    if (looks % LISTS_EVERY === 0) await lists();
    looks += 1;
  } catch (error) {
    samples.gap();
    overview.draw(samples);
    refused(error);
  }
  looking = false;
  clearTimeout(timer);
  timer = setTimeout(look, Math.max(100, LOOK_EVERY_MS - (performance.now() - started)));
}

signIn.addEventListener('submit', (submitted) => {
  submitted.preventDefault();
  adminToken.set(pasted(find('admin-token')));
  find('admin-token').value = '';
  say(find('sign-in-says'), '');
  signIn.hidden = true;
  find('watch').focus();
  look();
});
document.addEventListener('visibilitychange', () => {
  if (!document.hidden) look();
});

theme(find('theme'));
subscribePanel(find('subscribe'));
publishPanel(find('publish'));
explainPanel(find('explain'), refused);
look();
