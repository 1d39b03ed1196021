// Puts the page together: connection, views, writing, colours.

import { Connection } from "./connection.js";
import { bind, getJson } from "./text.js";
import { Writing } from "./writing.js";
import { Overview } from "./overview.js";
import { Images } from "./images.js";
import { Plots } from "./plots.js";
import { Processes } from "./processes.js";
import { Ledger } from "./ledger.js";
import { Log } from "./log.js";

const RETRY = 1000;
const THEME = "rayfan-theme";

async function appliance() {
  for (;;) {
    try {
      return await getJson("/api/appliance");
    } catch {
      await new Promise((done) => setTimeout(done, RETRY));
    }
  }
}

function colours() {
  const choice = document.getElementById("theme");
  const apply = () => {
    document.documentElement.dataset.theme = choice.value;
    dispatchEvent(new Event("colours"));
  };
  choice.value = localStorage.getItem(THEME) ?? "";
  choice.addEventListener("change", () => {
    localStorage.setItem(THEME, choice.value);
    apply();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", apply);
  apply();
}

function badge(connection) {
  const element = document.getElementById("connection");
  connection.addEventListener("state", ({ detail }) => {
    element.className = `badge ${detail.state}`;
    const lost = detail.reason ? `connection lost (${detail.reason}), trying again` : "connection lost, trying again";
    element.textContent = detail.state === "there" ? "connected" : lost;
  });
}

function notices(connection) {
  const element = document.getElementById("notice");
  let timer = null;
  connection.addEventListener("fault", ({ detail }) => {
    element.textContent = detail;
    element.hidden = false;
    clearTimeout(timer);
    timer = setTimeout(() => (element.hidden = true), 12000);
  });
}

function routes(views) {
  let shown = null;
  const go = () => {
    const name = location.hash.slice(1) in views ? location.hash.slice(1) : "overview";
    if (name === shown) return;
    if (shown) views[shown].hide();
    for (const section of document.querySelectorAll("main > section")) section.hidden = section.id !== name;
    for (const link of document.querySelectorAll("nav a")) {
      if (link.hash === `#${name}`) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
    shown = name;
    views[name].show();
  };
  addEventListener("hashchange", () => {
    go();
    scrollTo(0, 0);
  });
  go();
}

colours();
const facts = await appliance();
document.title = `Rayfan ${facts.prefix}`;
document.getElementById("prefix").textContent = `${facts.prefix} ${facts.version}`;
const connection = new Connection(facts.prefix);
badge(connection);
notices(connection);
const writing = new Writing(connection, facts.writable);
for (const element of document.querySelectorAll("header [data-pv]")) bind(connection, element, element.dataset.pv);
connection.watch("Heartbeat_RBV", () => {}); // a word every second, by which a silent connection is told
const processes = new Processes(connection, writing);
routes({
  overview: new Overview(connection, (name) => processes.reveal(name)),
  images: new Images(),
  plots: new Plots(),
  processes,
  ledger: new Ledger(connection),
  log: new Log(),
});
document.documentElement.dataset.ready = "yes";
