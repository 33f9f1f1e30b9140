// Light or dark: as the system has it, unless somebody says otherwise here.

const KEY = 'cinnabar-theme';

/** Reads what was chosen before, and remembers what is chosen. */
export function theme(select) {
  const apply = (choice) => {
    if (choice) document.documentElement.dataset.theme = choice;
    else delete document.documentElement.dataset.theme;
  };
  const known = [...select.options].map((option) => option.value);
  const before = localStorage.getItem(KEY) ?? '';
  select.value = known.includes(before) ? before : '';
  apply(select.value);
  select.addEventListener('change', () => {
    apply(select.value);
    localStorage.setItem(KEY, select.value);
  });
}
