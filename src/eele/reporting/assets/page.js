"use strict";

// Tables: a click on a heading sorts by that column; numbers as numbers, empty cells last.
const collator = new Intl.Collator("en", { numeric: true, sensitivity: "base" });
function sortBy(table, index) {
  const heading = table.tHead.rows[0].cells[index];
  const numeric = heading.dataset.kind === "number";
  // Numbers are first asked for from the top: the largest.
  const first = numeric ? "descending" : "ascending";
  const second = numeric ? "ascending" : "descending";
  const direction = heading.getAttribute("aria-sort") === first ? second : first;
  for (const other of table.tHead.rows[0].cells) if (other.hasAttribute("aria-sort")) other.setAttribute("aria-sort", "none");
  heading.setAttribute("aria-sort", direction);
  const sign = direction === "ascending" ? 1 : -1;
  const body = table.tBodies[0];
  const rows = Array.from(body.rows, (row) => ({ row, value: row.cells[index].dataset.sort ?? "" }));
  rows.sort((a, b) => {
    if (a.value === "" || b.value === "") return (a.value === "") - (b.value === "");
    return sign * (numeric ? Number(a.value) - Number(b.value) : collator.compare(a.value, b.value));
  });
  body.append(...rows.map((entry) => entry.row));
}
for (const table of document.querySelectorAll("table.sortable")) {
  for (const button of table.querySelectorAll("thead button")) {
    button.addEventListener("click", () => sortBy(table, button.closest("th").cellIndex));
  }
}

// Filters: selects and tab buttons that name a table and an attribute of its rows.
function applyFilters(table) {
  const wanted = {};
  for (const control of document.querySelectorAll(`[data-filters="${table.id}"]`)) {
    if (control.tagName === "SELECT") wanted[control.dataset.by] = control.value;
    else if (control.getAttribute("aria-pressed") === "true") wanted[control.dataset.by] = control.dataset.value;
  }
  let shown = 0;
  for (const row of table.tBodies[0].rows) {
    row.hidden = Object.entries(wanted).some(([by, value]) => value && row.dataset[by] !== value);
    shown += row.hidden ? 0 : 1;
  }
  const count = document.querySelector(`[data-count="${table.id}"]`);
  if (count) count.textContent = `${shown} of ${table.tBodies[0].rows.length} shown`;
}
for (const control of document.querySelectorAll("[data-filters]")) {
  const table = document.getElementById(control.dataset.filters);
  if (control.tagName === "SELECT") control.addEventListener("change", () => applyFilters(table));
  else control.addEventListener("click", () => {
    for (const other of control.parentElement.children) other.setAttribute("aria-pressed", String(other === control));
    applyFilters(table);
  });
}
for (const id of new Set(Array.from(document.querySelectorAll("[data-filters]"), (c) => c.dataset.filters))) {
  applyFilters(document.getElementById(id));
}

// Players: one audio element for the whole page, so only one clip sounds at once.
const store = document.getElementById("speech-data");
const audio = document.getElementById("player");
if (store && audio) {
  const clips = JSON.parse(store.textContent);
  const bar = document.getElementById("now");
  const label = document.getElementById("now-label");
  let current = null;
  let address = null;
  const mark = (on) => { if (current) current.setAttribute("aria-pressed", String(on)); };
  async function play(button) {
    if (button === current) {
      if (audio.paused) await audio.play(); else audio.pause();
      return;
    }
    audio.pause();
    mark(false);
    current = button;
    const bytes = Uint8Array.from(atob(clips.audio[button.dataset.clip]), (c) => c.charCodeAt(0));
    if (address) URL.revokeObjectURL(address);
    address = URL.createObjectURL(new Blob([bytes], { type: clips.mime }));
    audio.src = address;
    label.textContent = button.getAttribute("aria-label").replace(/^Play /, "");
    bar.hidden = false;
    document.body.classList.add("playing");
    await audio.play();
  }
  for (const button of document.querySelectorAll("button.play")) {
    button.addEventListener("click", () => play(button).catch((error) => {
      // Starting another clip interrupts the one before: that is no failure.
      if (error.name !== "AbortError") label.textContent = `This browser could not play the clip (${error.message}).`;
    }));
  }
  audio.addEventListener("play", () => mark(true));
  audio.addEventListener("pause", () => mark(false));
  audio.addEventListener("ended", () => mark(false));
  document.getElementById("now-close").addEventListener("click", () => {
    audio.pause();
    bar.hidden = true;
    document.body.classList.remove("playing");
    if (current) current.focus();
  });
}

// Example figures: one emotion at a time.
for (const button of document.querySelectorAll("[data-example]")) {
  button.addEventListener("click", () => {
    for (const other of button.parentElement.children) other.setAttribute("aria-pressed", String(other === button));
    for (const panel of document.querySelectorAll("[data-example-panel]")) {
      panel.hidden = panel.dataset.examplePanel !== button.dataset.example;
    }
  });
}
