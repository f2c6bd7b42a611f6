// Sorting of the boards. Without it the page reads the same, in ranked order.
"use strict";
(() => {
  const said = document.getElementById("said");

  function level() {
    const chosen = document.querySelector("input.level:checked");
    return chosen ? chosen.value : "0";
  }

  // What a cell is sorted by: under the chosen access where that matters, "" where there is no figure.
  function keyOf(row, column) {
    const cell = row.cells[column];
    const key = cell.getAttribute("data-sort-" + level()) ?? cell.getAttribute("data-sort") ?? "";
    return key;
  }

  function compare(a, b, sign) {
    if (a === "" || b === "") return (a === "") - (b === ""); // no figure: last, either way
    const x = Number(a), y = Number(b);
    if (Number.isNaN(x) || Number.isNaN(y)) return sign * a.localeCompare(b);
    return sign * (x - y);
  }

  function sort(table, head, direction) {
    const column = Number(head.dataset.column);
    const sign = direction === "ascending" ? 1 : -1;
    for (const body of table.tBodies) { // each stays in its place: controls on top
      const rows = [...body.rows].map((row) => [keyOf(row, column), row]);
      rows.sort((a, b) => compare(a[0], b[0], sign));
      body.append(...rows.map((pair) => pair[1]));
    }
    for (const other of table.tHead.querySelectorAll("[aria-sort]")) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", direction);
  }

  function buttonFor(table, head) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    const arrow = document.createElement("span");
    arrow.className = "arrow";
    arrow.setAttribute("aria-hidden", "true");
    button.querySelector(".label").append(arrow);
    head.append(button);
    button.addEventListener("click", () => {
      const first = head.dataset.first || "ascending";
      const opposite = first === "ascending" ? "descending" : "ascending";
      const direction = head.getAttribute("aria-sort") === first ? opposite : first;
      sort(table, head, direction);
      const name = head.querySelector(".label").textContent.trim().replace(/\s+/g, " ");
      said.textContent = `${table.dataset.name} sorted by ${name}, ${direction}.`;
    });
  }

  for (const table of document.querySelectorAll("table.board")) {
    for (const head of table.tHead.querySelectorAll("[data-column]")) buttonFor(table, head);
  }

  for (const input of document.querySelectorAll("input.level")) {
    input.addEventListener("change", () => {
      for (const head of document.querySelectorAll("table.board [aria-sort]")) {
        sort(head.closest("table"), head, head.getAttribute("aria-sort"));
      }
      said.textContent = `Worst cases for an attacker with ${input.parentElement.textContent.trim()}.`;
    });
  }
})();
