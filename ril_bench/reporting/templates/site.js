"use strict";
// Filters and sorting. The state lives in the URL's fragment, so that a view has a link of its own.
(() => {
  const bar = document.getElementById("filters");
  const controls = [...bar.querySelectorAll("[name]")];
  const items = [...document.querySelectorAll("[data-sequence]")];
  const rows = [...document.querySelectorAll("#runs tbody tr")];
  const counted = document.getElementById("count");
  const link = document.getElementById("view");
  const sorted = [...document.querySelectorAll("table[data-sorts]")];
  bar.hidden = false;

  const state = () => new URLSearchParams(location.hash.slice(1));
  const remember = (key, value) => {
    const next = state();
    if (value) next.set(key, value); else next.delete(key);
    const fragment = next.toString();
    history.replaceState(null, "", fragment ? "#" + fragment : location.pathname + location.search);
    apply();
  };

  const fits = (item, wanted) => {
    for (const key of ["sequence", "order", "tuner", "method"]) {
      if (wanted.get(key) && item.dataset[key] !== undefined && item.dataset[key] !== wanted.get(key)) return false;
    }
    if (item.tagName !== "TR") return true;
    const said = (item.textContent + " " + Object.values(item.dataset).join(" ")).toLowerCase();
    return (wanted.get("text") || "").toLowerCase().split(/\s+/).every((word) => said.includes(word));
  };

  const order = (table, column, direction) => {
    const head = [...table.tHead.rows].at(-1).cells;
    for (const cell of head) {
      if (!cell.querySelector("button")) continue;
      const active = cell.dataset.column === column;
      if (active) cell.setAttribute("aria-sort", direction); else cell.removeAttribute("aria-sort");
    }
    const at = [...head].findIndex((cell) => cell.dataset.column === column);
    const sign = direction === "descending" ? -1 : 1;
    for (const body of table.tBodies) {
      if (body.dataset.fixed !== undefined) continue;
      const ranked = [...body.rows].map((row, place) => ({ row, place: row.dataset.place ??= String(place), value: row.cells[at]?.dataset.value }));
      ranked.sort((a, b) => {
        if (at >= 0 && a.value !== b.value) {
          if (!a.value) return 1;  // what is missing comes last, whichever way
          if (!b.value) return -1;
          const [x, y] = [Number(a.value), Number(b.value)];
          const ahead = Number.isNaN(x) || Number.isNaN(y) ? a.value.localeCompare(b.value, "en", { numeric: true }) : x - y;
          if (ahead) return sign * ahead;
        }
        return Number(a.place) - Number(b.place);
      });
      body.append(...ranked.map(({ row }) => row));
    }
  };

  const apply = () => {
    const wanted = state();
    for (const control of controls) {
      const value = wanted.get(control.name) || "";
      if (control.value !== value) control.value = value;
    }
    for (const item of items) item.hidden = !fits(item, wanted);
    for (const section of document.querySelectorAll("[data-needs]")) {
      section.hidden = !section.querySelector("[data-sequence]:not([hidden])");
    }
    const left = rows.filter((row) => !row.hidden).length;
    counted.textContent = left === rows.length ? `${left} runs` : `${left} of ${rows.length} runs`;
    link.setAttribute("href", location.href);
    for (const table of sorted) order(table, ...(wanted.get(table.dataset.sorts) || "").split("~"));
  };

  for (const control of controls) control.addEventListener("input", () => remember(control.name, control.value));
  document.getElementById("reset").addEventListener("click", () => {
    history.replaceState(null, "", location.pathname + location.search);
    apply();
  });
  for (const table of sorted) {
    table.tHead.addEventListener("click", (event) => {
      const cell = event.target.closest("button")?.closest("th");
      if (!cell) return;
      const first = cell.dataset.first || "ascending";
      const second = first === "ascending" ? "descending" : "ascending";
      const now = cell.getAttribute("aria-sort");
      remember(table.dataset.sorts, now === second ? "" : `${cell.dataset.column}~${now === first ? second : first}`);
    });
  }
  addEventListener("hashchange", apply);
  apply();
})();
