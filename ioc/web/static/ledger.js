// The ledger: what became of the frames of each series at each stage, and which ids were missed.

import { bind, getJson, make, number, repeat } from "./text.js";

const PERIOD = 2000;

export class Ledger {
  constructor(connection) {
    this.connection = connection;
    this.series = document.getElementById("series");
    this.accounts = document.getElementById("account-rows");
    this.missed = document.getElementById("missed-rows");
    this.verdict = document.getElementById("ledger-verdict");
    this.said = "";
    this.endings = [];
    this.series.addEventListener("change", () => this.refresh());
  }

  show() {
    const bound = document.querySelectorAll("#ledger [data-pv]");
    this.endings = [...bound].map((element) => bind(this.connection, element, element.dataset.pv));
    this.endings.push(repeat(() => this.refresh(), PERIOD));
  }

  hide() {
    this.endings.forEach((end) => end());
    this.endings = [];
  }

  async refresh() {
    const found = await getJson("/api/ledger", { series: this.series.value });
    if (!found.series) return this.say("No frame was published yet.");
    if (!this.series.value) this.offer(found.series);
    const newest = this.series.value ? found.series : found.series.slice(-3);
    this.accounts.replaceChildren(...newest.toReversed().flatMap((one) => one.accounts.map((row) => this.account(one, row))));
    this.missed.replaceChildren(...found.missed.map((row) => this.ids(row)), ...(found.more ? [more()] : []));
    if (!found.missed.length) this.missed.append(make("tr", {}, make("td", { colspan: 5, class: "quiet" }, "none")));
    this.tell(newest);
  }

  offer(series) {
    const ids = series.map(({ id }) => String(id)).toReversed();
    const present = [...this.series.options].slice(1).map((option) => option.value);
    if (ids.join() === present.join()) return;
    const newest = this.series.options[0];
    this.series.replaceChildren(newest, ...ids.map((id) => make("option", { value: id }, id)));
  }

  account(one, row) {
    const dropped = Object.entries(row.dropped).map(([reason, count]) => `${number(count)} ${reason}`).join(", ");
    const cells = [one.id, row.stage, ...[row.given, row.processed, row.failed, row.waiting].map((count) => number(count)), dropped || "0"];
    const bad = [null, null, null, null, row.failed > 0, null, dropped !== ""];
    return make("tr", {}, ...cells.map((text, at) => make("td", {
      class: [at === 0 || (at > 1 && at < 6) ? "number" : "", bad[at] ? "bad" : ""].join(" ").trim() || null,
    }, String(text))));
  }

  ids({ series, stage, reason, first, last, step, count }) {
    const every = count > 1 && step > 1 ? ` every ${step}` : "";
    const ids = count === 1 ? number(first) : `${number(first)} to ${number(last)}${every}`;
    return make("tr", {},
      make("td", { class: "number" }, String(series)), make("td", {}, stage), make("td", {}, reason),
      make("td", {}, ids), make("td", { class: "number" }, number(count)));
  }

  tell(series) {
    const one = series.at(-1);
    if (!one) return this.say("No frame was published yet.");
    const end = one.ended ? `ended ${one.ended}` : "goes on";
    const settled = one.complete ? ", every frame is accounted for" : "";
    this.say(`Series ${one.id} ${end}${settled}.`);
  }

  say(text) {
    if (text !== this.said) this.verdict.textContent = this.said = text; // else it would be read out each time
  }
}

function more() {
  return make("tr", {}, make("td", { colspan: 5, class: "quiet" }, "and more: rayfan ledger --missed lists them all"));
}
