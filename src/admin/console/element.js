// Elements made of text: whatever comes from the hub is shown as it is, never read as markup.

const SVG = 'http://www.w3.org/2000/svg';

/** An element with these attributes and children; a child that is no element becomes text. */
export function element(name, attributes = {}, ...children) {
  return filled(document.createElement(name), attributes, children);
}

/** The same, of a drawing. */
export function shape(name, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, name), attributes, children);
}

function filled(made, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== false) made.setAttribute(name, value === true ? '' : value);
  }
  made.append(...children.map((child) => (child instanceof Node ? child : String(child))));
  return made;
}

/** Says something in an element, if it doesn't say so yet: what is said again would be read aloud again. */
export function say(target, text, mood = '') {
  if (target.textContent !== text) target.textContent = text;
  for (const known of ['good', 'bad', 'warn']) target.classList.toggle(known, known === mood);
}

/** Fills a table with rows of cells; the first cell of each is its heading, numbers stand to the right. */
export function fill(table, rows, empty) {
  const columns = table.tHead.rows[0].cells.length;
  const body = rows.map((cells) => element('tr', {}, ...cells.map((cell, at) => {
    const number = table.tHead.rows[0].cells[at].classList.contains('number');
    const attributes = at === 0 ? { scope: 'row' } : { class: number ? 'number' : undefined };
    return element(at === 0 ? 'th' : 'td', attributes, cell);
  })));
  if (body.length === 0) body.push(element('tr', {}, element('td', { class: 'empty', colspan: columns }, empty)));
  table.tBodies[0].replaceChildren(...body);
}

/** Rows of inputs for topics, which can be added and removed. `kinds` lets each be a topic or a pattern. */
export function topicRows(form, { kinds = false, first = '', max = 20 } = {}) {
  const rows = form.querySelector('.rows');
  const add = form.querySelector('.add');
  const refresh = () => {
    for (const row of rows.children) row.querySelector('button').hidden = rows.children.length === 1;
    add.disabled = rows.children.length >= max;
  };
  const append = (value) => {
    const input = element('input', { 'aria-label': 'Topic', value, autocomplete: 'off', spellcheck: 'false', required: true });
    const kind = element('select', { 'aria-label': 'Kind' },
      element('option', { value: 'match' }, 'exact'), element('option', { value: 'match_urlpattern' }, 'URL pattern'));
    const remove = element('button', { type: 'button', 'aria-label': 'Remove this topic' }, '×');
    const row = element('div', { class: 'row' }, ...(kinds ? [kind] : []), input, remove);
    remove.addEventListener('click', () => {
      row.remove();
      refresh();
      add.focus();
    });
    rows.append(row);
    refresh();
    return input;
  };
  add.addEventListener('click', () => append('').focus());
  append(first);
  return () => [...rows.children].map((row) => ({
    kind: row.querySelector('select')?.value ?? 'match',
    text: row.querySelector('input').value,
  }));
}
