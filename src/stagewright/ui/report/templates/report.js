"use strict";
const table = document.getElementById("table");
const rows = new Map([...table.tBodies[0].rows].filter((row) => row.dataset.node !== undefined).map((row) => [row.dataset.node, row]));

function toggle(row, open) {
  const more = row.nextElementSibling;
  const show = open === undefined ? more.hidden : open;
  more.hidden = !show;
  row.querySelector(".open").setAttribute("aria-expanded", String(show));
}

function go(name, log) {
  const row = rows.get(name);
  if (!row) return;
  row.hidden = false;
  toggle(row, true);
  if (log) row.nextElementSibling.querySelector(".log")?.setAttribute("open", "");
  row.scrollIntoView({ block: "start" });
  row.querySelector(".open").focus({ preventScroll: true });
}

document.addEventListener("click", (event) => {
  const opener = event.target.closest(".open");
  if (opener) return toggle(opener.closest("tr"));
  const link = event.target.closest("a[data-node], .bar, .box, .hit");
  if (link && rows.has(link.dataset.node)) {
    event.preventDefault();
    go(link.dataset.node, link.classList.contains("hit"));
  }
});

for (const button of table.tHead.querySelectorAll("button")) {
  button.addEventListener("click", () => {
    const cell = button.closest("th");
    const down = cell.getAttribute("aria-sort") === "ascending";
    for (const other of table.tHead.querySelectorAll("th")) other.removeAttribute("aria-sort");
    cell.setAttribute("aria-sort", down ? "descending" : "ascending");
    const column = Number(button.dataset.column);
    const value = (row) => row.cells[column].dataset.value ?? row.cells[column].textContent.trim();
    const number = column > 2;
    const order = (one, other) => number ? Number(value(one)) - Number(value(other)) : value(one).localeCompare(value(other));
    const sorted = [...rows.values()].sort((one, other) => (down ? -1 : 1) * order(one, other));
    const body = document.createDocumentFragment();
    for (const row of sorted) { const more = row.nextElementSibling; row._more = more; }
    for (const row of sorted) body.append(row, row._more);
    table.tBodies[0].append(body);
  });
}

function later(action) {
  let timer;
  return (event) => { clearTimeout(timer); timer = setTimeout(() => action(event.target.value.trim().toLowerCase()), 150); };
}

document.getElementById("filter").addEventListener("input", later((text) => {
  let count = 0;
  for (const row of rows.values()) {
    const fits = [0, 1, 2].some((column) => row.cells[column].textContent.toLowerCase().includes(text));
    row.hidden = !fits;
    if (!fits) toggle(row, false);
    count += fits;
  }
  document.getElementById("shown").textContent = text ? `${count} of ${rows.size}` : "";
}));

const MOST = 500;
document.getElementById("search").addEventListener("input", later((text) => {
  const hits = document.getElementById("hits");
  const found = document.getElementById("found");
  hits.replaceChildren();
  found.textContent = "";
  if (text.length < 2) return;
  let count = 0;
  for (const [name, row] of rows) {
    const log = row.nextElementSibling.querySelector(".log pre");
    if (!log) continue;
    const lines = log.textContent.split("\n").filter((line) => line.toLowerCase().includes(text));
    if (lines.length && count < MOST) {
      const button = document.createElement("button");
      button.type = "button";
      button.className = "open-log hit";
      button.dataset.node = name;
      button.textContent = `${name}: ${lines.length}`;
      const list = document.createElement("pre");
      list.tabIndex = 0;
      for (const line of lines.slice(0, MOST - count)) {
        const start = line.toLowerCase().indexOf(text);
        const mark = document.createElement("mark");
        mark.textContent = line.slice(start, start + text.length);
        list.append(line.slice(0, start), mark, line.slice(start + text.length), "\n");
      }
      hits.append(button, list);
    }
    count += lines.length;
  }
  found.textContent = count > MOST ? `${count} lines, the first ${MOST} are shown` : `${count} lines`;
}));
