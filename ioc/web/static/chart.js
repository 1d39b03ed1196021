// A plot of figures over time: lines on a canvas, and a legend with the newest values for those who cannot see them.

import { make, short } from "./text.js";

const COLOURS = { light: ["#1d4f91", "#b3541e", "#1b6e3c", "#8a1a8a", "#7a5a00", "#0f7c83", "#b3141d", "#555e6c"],
                  dark: ["#8db8f2", "#ffb27a", "#6fd39a", "#eb9beb", "#f2cf66", "#6cd8e0", "#ff8f8f", "#c3cad6"] };
const LEFT = 52;
const BOTTOM = 20;

export class Chart {
  constructor(title, unit) {
    this.canvas = make("canvas", { role: "img", "aria-label": title });
    this.legend = make("ul", { class: "legend" });
    this.title = title;
    this.unit = unit;
    this.element = make("figure", {}, make("figcaption", {}, make("b", {}, title), ` / ${unit}`), this.canvas, this.legend);
  }

  // Draws lines: name -> figures, at `times` (s); the axis goes from `from` to `to`.
  draw(times, lines, from, to) {
    const names = Object.keys(lines).slice(0, 24);
    const dark = getComputedStyle(document.documentElement).colorScheme === "dark";
    const colours = COLOURS[dark ? "dark" : "light"];
    const box = this.canvas.getBoundingClientRect();
    const scale = devicePixelRatio || 1;
    this.canvas.width = Math.max(1, Math.round(box.width * scale));
    this.canvas.height = Math.max(1, Math.round(box.height * scale));
    const context = this.canvas.getContext("2d");
    context.scale(scale, scale);
    const top = ceiling(names.flatMap((name) => lines[name].filter((_, at) => times[at] >= from)));
    const frame = { width: box.width, height: box.height, top, from, to };
    this.axes(context, frame);
    names.forEach((name, at) => this.line(context, frame, times, lines[name], colours[at % colours.length]));
    this.tell(names, lines, colours);
  }

  axes(context, { width, height, top, from, to }) {
    const style = getComputedStyle(document.documentElement);
    context.strokeStyle = style.getPropertyValue("--line");
    context.fillStyle = style.getPropertyValue("--quiet");
    context.font = "12px system-ui, sans-serif";
    context.lineWidth = 1;
    context.textBaseline = "middle";
    context.textAlign = "right";
    for (let part = 0; part <= 4; part++) {
      const y = 8 + ((height - BOTTOM - 8) * part) / 4;
      context.beginPath();
      context.moveTo(LEFT, y);
      context.lineTo(width, y);
      context.stroke();
      context.fillText(short((top * (4 - part)) / 4), LEFT - 6, y);
    }
    context.textBaseline = "alphabetic";
    for (const [part, align] of [[0, "left"], [0.5, "center"], [1, "right"]]) {
      context.textAlign = align;
      const when = new Date(1000 * (from + (to - from) * part));
      context.fillText(when.toTimeString().slice(0, 8), LEFT + (width - LEFT) * part, height - 4);
    }
  }

  line(context, { width, height, top, from, to }, times, figures, colour) {
    context.strokeStyle = colour;
    context.lineWidth = 1.8;
    context.lineJoin = "round";
    context.beginPath();
    let drawing = false;
    figures.forEach((figure, at) => {
      const time = times[at];
      if (figure === null || time < from) {
        drawing = false;
        return;
      }
      const x = LEFT + ((width - LEFT) * (time - from)) / (to - from);
      const y = height - BOTTOM - ((height - BOTTOM - 8) * figure) / top;
      if (drawing) context.lineTo(x, y);
      else context.moveTo(x, y);
      drawing = true;
    });
    context.stroke();
  }

  tell(names, lines, colours) {
    const newest = names.map((name) => `${name} ${short(lines[name].at(-1))}`);
    this.canvas.setAttribute("aria-label", `${this.title} over time in ${this.unit}; now: ${newest.join(", ") || "nothing"}`);
    while (this.legend.children.length > names.length) this.legend.lastChild.remove();
    names.forEach((name, at) => {
      let item = this.legend.children[at];
      if (!item) {
        item = make("li", {}, make("i"), "");
        this.legend.append(item);
      }
      item.firstChild.style.background = colours[at % colours.length];
      item.lastChild.textContent = newest[at];
    });
  }
}

// Returns a round number that is not less than any of the figures.
function ceiling(figures) {
  const highest = figures.reduce((most, figure) => (figure !== null && figure > most ? figure : most), 0);
  if (highest === 0) return 1;
  const power = 10 ** Math.floor(Math.log10(highest));
  return [1, 2, 4, 5, 8, 10].find((step) => step * power >= highest * 1.02) * power || 20 * power;
}
