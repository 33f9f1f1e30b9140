// The panel that says why a token may do something or may not.

import { ask, pasted, Refused } from './data.js';
import { element, fill, say, topicRows } from './element.js';

const OUTCOMES = { pass: ['✓ passes', 'good'], fail: ['✗ fails', 'bad'], skipped: ['– not reached', ''] };

export function explainPanel(form, refused) {
  const topics = topicRows(form, { first: 'https://example.com/books/1', max: 100 });
  const [outcome, rules, judged] = ['.outcome', '.rules', '.topics'].map((name) => form.querySelector(name));
  form.addEventListener('submit', async (submitted) => {
    submitted.preventDefault();
    const { action, token } = form.elements;
    const query = new URLSearchParams([['action', action.value], ...topics().map(({ text }) => ['topic', text])]);
    for (const table of [rules, judged]) table.hidden = true;
    let answer;
    try {
      answer = await ask(`explain?${query}`, { 'X-Token': pasted(token) });
    } catch (error) {
      say(outcome, error instanceof Refused ? error.message : 'the hub doesn\'t answer', 'bad');
      refused(error);
      return;
    }
    say(outcome, verdict(answer), answer.allowed ? 'good' : 'bad');
    fill(rules, answer.rules.map(({ rule, outcome, detail, why }) => {
      const [text, mood] = OUTCOMES[outcome] ?? [outcome, ''];
      return [rule, element('span', { class: mood }, text), why ?? detail ?? ''];
    }), 'The hub has no rules for this.');
    fill(judged, answer.topics.map(({ topic, granted, why }) => [
      topic, element('span', { class: granted ? 'good' : 'bad' }, granted ? '✓ granted' : `✗ ${why}`),
    ]), 'None was asked about.');
    for (const table of [rules, judged]) table.hidden = false;
  });
}

/** The whole answer in a sentence. */
function verdict({ action, allowed, valid, denied, rules, topics }) {
  const doing = action === 'publish' ? 'publish to' : 'read';
  if (allowed) return action === 'publish' ? 'Allowed: it may publish this.' : 'Allowed: it may read an update with one of the granted topics.';
  const failed = rules.find(({ outcome }) => outcome === 'fail');
  if (!valid) return failed ? `Refused: the rule ${failed.rule} fails: ${failed.why}` : 'Refused: the token isn\'t valid.';
  if (denied) return 'Refused: the token is fine, but an administrator has denied it.';
  const missing = topics.filter(({ granted }) => !granted).map(({ topic }) => topic);
  return `Refused: the token is valid, but doesn't grant it to ${doing} ${missing.join(', ')}`;
}
