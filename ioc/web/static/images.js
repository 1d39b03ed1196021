// Live images: the next one is asked for when the last one is drawn, so a slow browser sees fewer of them.

import { getJson, make, number, short } from "./text.js";
import { NAMES, palette } from "./palettes.js";
import { drawHistogram } from "./histogram.js";

const SHORTEST = 40; // ms between two requests
const NOTHING_NEW = 250; // ms until the next one if there is no newer frame
const AWAY = 1500;
const MOST = 1024; // columns and rows of a picture

export class Images {
  constructor() {
    this.channel = document.getElementById("channel");
    this.palette = document.getElementById("palette");
    this.low = document.getElementById("low");
    this.high = document.getElementById("high");
    this.log = document.getElementById("log-scale");
    this.pauseButton = document.getElementById("pause");
    this.canvas = document.getElementById("picture");
    this.facts = document.getElementById("picture-facts");
    this.output = document.getElementById("cursor");
    this.histogram = document.getElementById("histogram");
    this.colours = palette(NAMES[0]);
    this.shown = null; // facts of the picture that is there
    this.pixels = null;
    this.cursor = null;
    this.asked = ""; // what the picture that is there was asked for with
    this.running = 0;
    this.paused = false;
    this.palette.append(...NAMES.map((name) => make("option", {}, name)));
    this.palette.addEventListener("change", () => this.recolour());
    document.getElementById("automatic").addEventListener("click", () => {
      this.low.value = this.high.value = "";
    });
    this.pauseButton.addEventListener("click", () => this.pause());
    this.canvas.addEventListener("pointermove", (event) => this.point(event));
    this.canvas.addEventListener("keydown", (event) => this.step(event));
    addEventListener("colours", () => this.shown && this.drawHistogram());
  }

  async show() {
    const turn = ++this.running;
    this.rate = { count: 0, since: performance.now(), value: null };
    while (turn === this.running) {
      const wait = await this.once().catch((error) => this.trouble(error));
      await new Promise((done) => setTimeout(done, wait));
    }
  }

  hide() {
    this.running++;
  }

  pause() {
    this.paused = !this.paused;
    this.pauseButton.setAttribute("aria-pressed", String(this.paused));
  }

  // Fetches and draws one picture; returns the ms to wait before the next one.
  async once() {
    if (document.hidden) return AWAY;
    if (!this.channel.options.length || Date.now() > this.listed + 5000) await this.list();
    const wish = { channel: this.channel.value, most: MOST, low: this.low.value, high: this.high.value,
                   log: this.log.checked ? 1 : "", x: this.cursor?.x ?? "", y: this.cursor?.y ?? "" };
    if (!wish.channel) return AWAY;
    const asked = JSON.stringify(wish);
    if (this.paused && asked === this.asked) return NOTHING_NEW;
    const after = asked === this.asked && this.shown ? this.shown.key : "";
    const given = Object.entries({ ...wish, after }).filter(([, value]) => value !== "");
    const began = performance.now();
    const answer = await fetch(`/api/image?${new URLSearchParams(given)}`);
    if (answer.status === 204) {
      if (!after) this.facts.textContent = "no image yet";
      return NOTHING_NEW;
    }
    if (!answer.ok) throw new Error(await answer.text());
    this.asked = asked;
    this.take(await answer.arrayBuffer(), wish.channel);
    return Math.max(0, SHORTEST - (performance.now() - began));
  }

  async list() {
    const { images } = await getJson("/api/overview");
    this.listed = Date.now();
    const names = images.map(({ channel }) => channel).join();
    if (names === this.names) return;
    this.names = names;
    const chosen = this.channel.value;
    this.channel.replaceChildren(...images.map(({ channel, title }) => make("option", { value: channel }, title)));
    if (images.some(({ channel }) => channel === chosen)) this.channel.value = chosen;
  }

  take(content, channel) {
    const length = new DataView(content).getUint32(0);
    this.shown = JSON.parse(new TextDecoder().decode(new Uint8Array(content, 4, length)));
    this.pixels = new Uint8Array(content, 4 + length);
    this.draw();
    this.drawHistogram();
    this.tell(channel);
  }

  draw() {
    const [width, height] = this.shown.shown;
    if (this.canvas.width !== width || this.canvas.height !== height) {
      this.canvas.width = width;
      this.canvas.height = height;
    }
    const context = this.canvas.getContext("2d");
    const image = context.createImageData(width, height);
    const words = new Uint32Array(image.data.buffer);
    const { pixels, colours } = this;
    if (this.shown.colors === 1) {
      for (let at = 0; at < words.length; at++) words[at] = colours[pixels[at]];
    } else {
      for (let at = 0, from = 0; at < words.length; at++, from += 3) {
        words[at] = (255 << 24) | (pixels[from + 2] << 16) | (pixels[from + 1] << 8) | pixels[from];
      }
    }
    context.putImageData(image, 0, 0);
    if (this.cursor && this.shown.cursor) this.drawCursor(context);
  }

  drawCursor(context) {
    const { step } = this.shown;
    const size = Math.max(4, Math.round(this.canvas.width / 60));
    const [x, y] = [Math.floor(this.cursor.x / step) + 0.5, Math.floor(this.cursor.y / step) + 0.5];
    for (const [colour, width] of [["#000", 3], ["#fff", 1]]) {
      context.strokeStyle = colour;
      context.lineWidth = width;
      context.strokeRect(x - size / 2, y - size / 2, size, size);
    }
  }

  drawHistogram() {
    drawHistogram(this.histogram, this.shown.histogram, this.shown.contrast);
    const { low, high } = this.shown.histogram;
    const [black, white] = this.shown.contrast;
    const text = `pixels from ${short(low)} to ${short(high)}; black at ${short(black)}, white at ${short(white)}`;
    document.getElementById("histogram-facts").textContent = text;
  }

  tell(channel) {
    const now = performance.now();
    this.rate.count++;
    if (now - this.rate.since > 1000) {
      this.rate.value = (1000 * this.rate.count) / (now - this.rate.since);
      this.rate.count = 0;
      this.rate.since = now;
    }
    const { id, series, size, type, step, cursor, time } = this.shown;
    const rate = this.rate.value === null ? "" : `, ${this.rate.value.toFixed(1)} pictures a second`;
    const binned = step > 1 ? `, shown ${step} x ${step} binned` : "";
    const when = new Date(1000 * time).toISOString().slice(11, 23);
    this.facts.textContent = `frame ${number(id)} of series ${series}, ${when} UTC, ${size[0]} x ${size[1]} ${type}` +
      `${binned}${rate}`;
    this.canvas.setAttribute("aria-label", `Image of ${channel}, ${size[0]} by ${size[1]} pixels`);
    this.output.textContent = cursor ? `x ${cursor.x}, y ${cursor.y}: ${cursor.text}` : "point at the image";
  }

  trouble(error) {
    this.facts.textContent = error instanceof TypeError ? "no answer from the appliance" : error.message;
    return AWAY;
  }

  recolour() {
    this.colours = palette(this.palette.value);
    if (this.shown) this.draw();
  }

  point(event) {
    if (!this.shown) return;
    const box = this.canvas.getBoundingClientRect();
    const scale = Math.min(box.width / this.canvas.width, box.height / this.canvas.height);
    const left = (box.width - this.canvas.width * scale) / 2; // object-fit: contain leaves room at two sides
    const top = (box.height - this.canvas.height * scale) / 2;
    const [x, y] = [(event.clientX - box.left - left) / scale, (event.clientY - box.top - top) / scale];
    this.move(Math.floor(x * this.shown.step), Math.floor(y * this.shown.step));
  }

  step(event) {
    const ways = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    const way = ways[event.key];
    if (!way || !this.shown) return;
    event.preventDefault();
    const far = event.shiftKey ? 16 : 1;
    const from = this.cursor ?? { x: this.shown.size[0] >> 1, y: this.shown.size[1] >> 1 };
    this.move(from.x + far * way[0], from.y + far * way[1]);
  }

  move(x, y) {
    const [width, height] = this.shown.size;
    this.cursor = { x: Math.min(Math.max(0, x), width - 1), y: Math.min(Math.max(0, y), height - 1) };
  }
}
