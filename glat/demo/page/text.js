// How numbers are written. Names of others become text nodes only: the page never makes HTML of a string.

export const byId = (id) => document.getElementById(id);

export function clock(seconds, digits = 2) {
  const unit = 10 ** digits;
  const whole = Math.round(Math.max(0, seconds) * unit);
  const minutes = Math.floor(whole / unit / 60);
  const rest = ((whole - minutes * 60 * unit) / unit).toFixed(digits).padStart(digits ? 3 + digits : 2, "0");
  return minutes < 60 ? `${minutes}:${rest}` : `${Math.floor(minutes / 60)}:${String(minutes % 60).padStart(2, "0")}:${rest}`;
}

export const score = (value) => (value === null || Number.isNaN(value) ? "–" : value.toFixed(3));

export function element(name, { text, ...attributes } = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  made.append(...children);
  return made;
}

export function playButton(label) {
  return element("button", { type: "button", class: "play", "aria-label": label, title: label }, element("span", { class: "icon", "aria-hidden": "true" }));
}
