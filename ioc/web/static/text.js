// Values as text, and elements that show them.

export const MISSING = "–";
const OBVIOUS = ["frame", "pixel"];
export const SEVERITIES = ["none", "minor", "major", "invalid", "undefined"];

// Returns the text of a PV's value, with its unit if it is a number and the unit says something.
export function textOf(value) {
  if (!value) return MISSING;
  if (value.text !== undefined && value.labels !== undefined) return value.text;
  if (value.text !== undefined) return value.text === "" ? MISSING : value.text;
  if (typeof value.value !== "number") return MISSING;
  const places = Number.isInteger(value.value) ? 0 : Math.max(0, value.precision ?? 3);
  return number(value.value, places) + (value.units && !OBVIOUS.includes(value.units) ? ` ${value.units}` : "");
}

// Returns a number with thin spaces between thousands.
export function number(value, places = 0) {
  if (value === null || value === undefined || !Number.isFinite(value)) return MISSING;
  const [whole, part] = Math.abs(value).toFixed(places).split(".");
  const spaced = whole.replace(/\B(?=(\d{3})+$)/g, "\u2009");
  return (value < 0 ? "\u2212" : "") + spaced + (part ? `.${part}` : "");
}

// Returns a number with four digits and a prefix, for axes and legends.
export function short(value) {
  if (value === null || value === undefined || !Number.isFinite(value)) return MISSING;
  const size = Math.abs(value);
  const steps = [[1e9, "G"], [1e6, "M"], [1e3, "k"], [1, ""], [1e-3, "m"], [1e-6, "µ"]];
  const [unit, letter] = size === 0 ? [1, ""] : steps.find(([step]) => size >= step) ?? [1e-6, "µ"];
  return `${Number((value / unit).toPrecision(3))}${letter}`;
}

// Colours an element as the severity of a value, and says it to those who do not see colours.
export function paint(element, value) {
  const severity = (value?.severity ?? "NONE").toLowerCase();
  element.classList.remove(...SEVERITIES);
  element.classList.add(severity);
  element.title = severity === "none" ? "" : `alarm: ${severity}`;
}

// Lets an element show a PV; returns what ends that.
export function bind(connection, element, name) {
  return connection.watch(name, (value) => {
    const text = textOf(value);
    if (element.textContent !== text) element.textContent = text;
    paint(element, value);
  });
}

// Returns a new element with attributes and children; texts are never read as HTML.
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "onclick") element.addEventListener("click", value);
    else if (value !== null && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

// Fetches JSON; a failure is an Error with the server's words.
export async function getJson(path, parameters = {}) {
  const given = Object.entries(parameters).filter(([, value]) => value !== null && value !== "");
  const query = given.length ? `?${new URLSearchParams(given)}` : "";
  const answer = await fetch(path + query);
  if (!answer.ok) throw new Error(await answer.text());
  return answer.json();
}

// Calls work again and again, `period` ms after each end, until the returned function is called.
export function repeat(work, period) {
  let timer = null;
  let over = false;
  const turn = async () => {
    try {
      await work();
    } catch {
      // the server is away: the badge of the connection says so, and the next turn may find it again
    }
    if (!over) timer = setTimeout(turn, document.hidden ? 4 * period : period);
  };
  turn();
  return () => {
    over = true;
    clearTimeout(timer);
  };
}
