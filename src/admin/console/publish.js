// The panel that publishes.

import { detail, HUB, pasted, unreachable } from './data.js';
import { say, topicRows } from './element.js';

export function publishPanel(form) {
  const topics = topicRows(form, { first: 'https://example.com/books/1' });
  const outcome = form.querySelector('.outcome');
  const button = form.querySelector('.main');
  form.addEventListener('submit', async (submitted) => {
    submitted.preventDefault();
    const { data, private: hidden, id, type, retry, token } = form.elements;
    const body = new URLSearchParams(topics().map(({ text }) => ['topic', text]));
    body.append('data', data.value);
    if (hidden.checked) body.append('private', 'on');
    for (const field of [id, type, retry]) if (field.value !== '') body.append(field.name, field.value);
    const secret = pasted(token);
    // Not `disabled`: the focus would be lost.
    if (button.getAttribute('aria-disabled') === 'true') return;
    button.setAttribute('aria-disabled', 'true');
    try {
      const response = await fetch(HUB, {
        method: 'POST', body, credentials: 'omit', headers: secret ? { Authorization: `Bearer ${secret}` } : {},
      });
      if (response.ok) say(outcome, `published as ${await response.text()}`, 'good');
      else say(outcome, `${response.status}: ${await detail(response)}`, 'bad');
    } catch {
      say(outcome, unreachable(), 'bad');
    } finally {
      button.removeAttribute('aria-disabled');
    }
  });
}
