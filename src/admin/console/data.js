// What the hub tells its administrators, asked for with their token where one is needed.

const KEY = 'cinnabar-admin-token';
const { hub, data } = document.documentElement.dataset;

/** Where to subscribe and publish. */
export const HUB = new URL(hub, location.href);
/** Whether another origin serves it, whose permission the browser asks for. */
export const ELSEWHERE = HUB.origin !== location.origin;

/** An answer that isn't what was asked for. */
export class Refused extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

export const adminToken = {
  get: () => sessionStorage.getItem(KEY) ?? '',
  set: (token) => sessionStorage.setItem(KEY, token),
  forget: () => sessionStorage.removeItem(KEY),
};

/** A token as it was pasted, without line breaks and whatever else no header field can carry. */
export function pasted(input) {
  return input.value.replace(/[^\x21-\x7e]/g, '');
}

/** Asks for a resource; `fields` are header fields to send along. */
export async function ask(resource, fields = {}) {
  const token = adminToken.get();
  const response = await fetch(new URL(`${data}${resource}`, location.href), {
    headers: token ? { ...fields, Authorization: `Bearer ${token}` } : fields,
    credentials: 'omit',
    cache: 'no-store',
  });
  if (!response.ok) throw new Refused(response.status, await detail(response));
  return response.json();
}

/** The sentence in an answer that refuses something. */
export async function detail(response) {
  const text = await response.text();
  try {
    const problem = JSON.parse(text);
    const rule = problem.rule ? ` (${problem.rule})` : problem.reference ? ` (reference ${problem.reference})` : '';
    return `${problem.detail ?? problem.title}${rule}`;
  } catch {
    return text.slice(0, 500) || response.statusText;
  }
}

/** Why a request to the hub itself came to nothing. */
export function unreachable() {
  return ELSEWHERE
    ? `${HUB.origin} doesn't answer, or doesn't allow this page to ask: start the hub with --cors-origin ${location.origin}`
    : `${HUB.href} doesn't answer`;
}
