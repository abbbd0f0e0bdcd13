"use strict";
// Every text from the server becomes a text node: nothing is parsed as HTML.
const byId = (id) => document.getElementById(id);

function make(tag, text, name) {
  const found = document.createElement(tag);
  if (text !== undefined) found.textContent = text;
  if (name) found.className = name;
  return found;
}

function duration(seconds) {
  if (seconds === null || seconds === undefined) return "";
  const all = Math.max(0, Math.round(seconds));
  if (all < 60) return `${all}s`;
  const [hours, minutes, rest] = [Math.floor(all / 3600), Math.floor(all / 60) % 60, all % 60];
  return hours ? `${hours}h${String(minutes).padStart(2, "0")}m` : `${minutes}m${String(rest).padStart(2, "0")}s`;
}

let state = { now: 0, running: [], runs: [] };
let offset = 0;
let log = null;

function nodeLine(run, node, now) {
  const item = make("li");
  item.append(make("strong", node.node), node.machine ? ` on ${node.machine} ` : " ");
  if (node.waits) { item.append("another run is building it"); return item; }
  const step = node.step ? `: ${node.step[0]} of ${node.step[1]}, ${node.step[2]}` : "";
  const usual = node.usual ? ` (usually ${duration(node.usual)})` : "";
  item.append(`${node.phase || "start"}${step}, for ${duration(now - node.started)}${usual} `);
  if (node.step && node.step[1] > 0) {
    const bar = make("progress");
    bar.max = node.step[1];
    bar.value = Math.max(0, node.step[0] - 1);
    bar.setAttribute("aria-label", `progress of ${node.node}`);
    item.append(bar);
  }
  const button = make("button", "Log");
  button.type = "button";
  button.dataset.focus = `log ${run} ${node.node}`;
  button.setAttribute("aria-label", `Log of ${node.node}`);
  button.addEventListener("click", () => openLog(run, node.node));
  item.append(button);
  return item;
}

function runningCard(one, now) {
  const card = make("article");
  card.append(make("h3", one.project));
  const left = one.remaining === null ? "" : `, at least ${duration(one.remaining)} left`;
  card.append(make("p", `${one.done} of ${one.nodes} done in ${duration(now - one.started)}${left}`));
  const bar = make("progress");
  bar.max = Math.max(1, one.nodes);
  bar.value = one.done;
  bar.setAttribute("aria-label", `progress of ${one.project}`);
  card.append(bar);
  const list = make("ul");
  for (const node of one.running) list.append(nodeLine(one.run, node, now));
  card.append(list);
  for (const failure of one.summary.failures) card.append(make("p", `${failure.node}: ${failure.message}`, "failed"));
  if (one.next.length) card.append(make("p", `next: ${one.next.slice(0, 5).join(", ")}${one.next.length > 5 ? ` and ${one.next.length - 5} more` : ""}`, "faint"));
  return card;
}

function row(run) {
  const line = make("tr");
  const cell = make("th");
  cell.scope = "row";
  const link = make("a", run.run);
  link.href = `report/${encodeURIComponent(run.run)}`;
  link.dataset.focus = `run ${run.run}`;
  cell.append(link);
  line.append(cell, make("td", run.project), make("td", run.state, run.state));
  line.append(make("td", new Date(run.started * 1000).toLocaleString()), make("td", duration(run.seconds)));
  line.append(make("td", `${run.nodes} and ${run.cached} from the store`));
  const fails = run.failures.slice(0, 3).map((one) => `${one.node}: ${one.message}`).join("; ");
  line.append(make("td", fails + (run.failures.length > 3 ? ` and ${run.failures.length - 3} more` : ""), "fails"));
  return line;
}

function draw() {
  const focused = document.activeElement?.dataset?.focus;
  const now = Date.now() / 1000 + offset;
  const cards = state.running.map((one) => runningCard(one, now));
  byId("running").replaceChildren(...(cards.length ? cards : [make("p", "No build is running.")]));
  const text = byId("filter").value.trim().toLowerCase();
  const rows = state.runs.filter((run) => `${run.project} ${run.state} ${run.run}`.toLowerCase().includes(text));
  byId("runs").replaceChildren(...rows.map(row));
  if (focused) [...document.querySelectorAll("[data-focus]")].find((one) => one.dataset.focus === focused)?.focus({ preventScroll: true });
}

async function openLog(run, node) {
  log = { run, node };
  byId("log-section").hidden = false;
  byId("log-title").textContent = `Log of ${node}`;
  await readLog();
  byId("log").focus();
}

async function readLog() {
  if (!log) return;
  const { run, node } = log;
  const path = node.split("/").map(encodeURIComponent).join("/");
  const answer = await fetch(`log/${encodeURIComponent(run)}/${path}`);
  const text = await answer.text();
  const place = byId("log");
  if (log && log.node === node && place.textContent !== text) {
    place.textContent = text;
    if (byId("follow").checked) place.scrollTop = place.scrollHeight;
  }
}

byId("filter").addEventListener("input", draw);
byId("close").addEventListener("click", () => { log = null; byId("log-section").hidden = true; });
document.addEventListener("keydown", (event) => { if (event.key === "Escape" && log) byId("close").click(); });

const source = new EventSource("events");
source.onopen = () => { byId("link").textContent = "live"; };
source.onerror = () => { byId("link").textContent = "not connected, trying again"; };
source.onmessage = (event) => {
  state = JSON.parse(event.data);
  offset = state.now - Date.now() / 1000;
  draw();
};
setInterval(() => { if (state.running.length && !byId("running").contains(document.activeElement)) draw(); readLog().catch(() => {}); }, 2000);
