// Order, filter, columns and links. Without it the page reads the same, in ranked order, with the default columns.
"use strict";
(() => {
  const said = document.getElementById("said");
  const boards = [...document.querySelectorAll("table.board")];
  const levels = [...document.querySelectorAll("input.level")];
  const say = (text) => { if (said) said.textContent = text; };

  // ---------------------------------------------------------------- what is chosen, and where it is kept

  const DEFAULT = { at: "", access: levels.length ? levels.at(-1).dataset.level : "", q: "", sort: "rank.ascending", columns: "" };
  const state = { ...DEFAULT };

  // The fragment: an id, then what is not as it was at first. "#row-x&access=records&q=cvae"
  function fragment() {
    const chosen = new URLSearchParams();
    for (const name of ["access", "q", "sort", "columns"]) {
      if (state[name] !== DEFAULT[name]) chosen.set(name, state[name]);
    }
    const text = chosen.toString();
    return "#" + state.at + (text && "&" + text);
  }

  function read() {
    const [at, ...rest] = location.hash.slice(1).split("&");
    const chosen = new URLSearchParams(rest.join("&"));
    Object.assign(state, DEFAULT, { at: decodeURIComponent(at) });
    for (const name of ["access", "q", "sort", "columns"]) if (chosen.has(name)) state[name] = chosen.get(name);
  }

  function keep(replace = false) {
    history[replace ? "replaceState" : "pushState"]({ own: true }, "", fragment());
  }

  // ---------------------------------------------------------------- order

  const level = () => {
    const chosen = document.querySelector("input.level:checked");
    return chosen ? chosen.value : "0";
  };

  // What a cell is sorted by: under the chosen access where that matters, "" where there is no figure.
  function keyOf(cell) {
    return cell.getAttribute("data-sort-" + level()) ?? cell.getAttribute("data-sort") ?? "";
  }

  function compare(a, b, sign) {
    if (a === "" || b === "") return (a === "") - (b === ""); // no figure: last, either way
    const x = Number(a), y = Number(b);
    if (Number.isNaN(x) || Number.isNaN(y)) return sign * a.localeCompare(b);
    return sign * (x - y);
  }

  function sort() {
    const [key, direction] = state.sort.split(".");
    for (const table of boards) {
      const heads = [...table.tHead.rows[0].cells];
      const column = heads.findIndex((head) => head.dataset.key === key);
      if (column < 0 || !["ascending", "descending"].includes(direction)) continue;
      for (const body of table.tBodies) {
        const rows = [...body.rows].map((row) => [keyOf(row.cells[column]), row]);
        rows.sort((a, b) => compare(a[0], b[0], direction === "ascending" ? 1 : -1));
        body.append(...rows.map((pair) => pair[1]));
      }
      for (const head of heads) head.removeAttribute("aria-sort");
      heads[column].setAttribute("aria-sort", direction);
    }
    for (const option of order.options) option.selected = option.value === state.sort;
  }

  function labelOf(head) {
    const label = head.querySelector(".label");
    return label.querySelector("abbr")?.title ?? label.textContent.trim();
  }

  function addButton(head) {
    const button = document.createElement("button");
    button.type = "button";
    const label = head.querySelector(".label");
    label.replaceWith(button);
    button.append(label);
    const arrow = document.createElement("span");
    arrow.className = "arrow";
    arrow.setAttribute("aria-hidden", "true");
    label.append(arrow);
    button.addEventListener("click", () => {
      const first = head.dataset.first;
      const opposite = first === "ascending" ? "descending" : "ascending";
      const direction = head.getAttribute("aria-sort") === first ? opposite : first;
      state.sort = `${head.dataset.key}.${direction}`;
      sort();
      keep();
      say(`Boards sorted by ${labelOf(head)}, ${direction}.`);
    });
  }

  // ---------------------------------------------------------------- filter and columns

  function filter() {
    const words = state.q.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of document.querySelectorAll("tr[data-name]")) {
      const verdict = row.querySelector(`.said .lv-${level()} .verdict`) ?? row.querySelector(".said .verdict");
      const text = `${row.dataset.name} ${verdict ? verdict.textContent : ""}`.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
      if (!row.hidden && row.closest(".methods")) shown += 1;
    }
    for (const table of boards) {
      const note = table.nextElementSibling;
      if (note?.classList.contains("none")) note.hidden = [...table.tBodies[0].rows].some((row) => !row.hidden);
    }
    return shown;
  }

  // "columns" names those that are not as at first: "-cost,robust" hides the cost and shows the errors.
  function columns() {
    const changed = state.columns.split(",");
    for (const table of boards) {
      [...table.tHead.rows[0].cells].forEach((head, i) => {
        head.dataset.extra ??= head.hidden ? "yes" : "";
        const hidden = head.dataset.extra ? !changed.includes(head.dataset.key) : changed.includes("-" + head.dataset.key);
        for (const row of table.rows) row.cells[i].hidden = hidden;
        table.querySelectorAll("col")[i].hidden = hidden;
      });
    }
    for (const box of choices.querySelectorAll("input")) {
      const name = box.value;
      box.checked = box.dataset.extra ? changed.includes(name) : !changed.includes("-" + name);
    }
  }

  const tools = document.getElementById("tools");
  const order = document.createElement("select");
  const choices = document.createElement("div");

  function addTools() {
    const search = document.createElement("input");
    search.type = "search";
    search.id = "filter";
    search.placeholder = "Filter methods";
    search.setAttribute("aria-label", "Filter methods by name or verdict");
    search.addEventListener("input", () => {
      state.q = search.value;
      const shown = filter();
      keep(true);
      say(`${shown} methods shown.`);
    });
    const fold = document.createElement("details");
    fold.className = "columns";
    fold.append(document.createElement("summary"), choices);
    fold.firstChild.textContent = "Columns";
    const seen = new Set();
    for (const head of boards.flatMap((table) => [...table.tHead.rows[0].cells])) {
      if (seen.has(head.dataset.key)) continue;
      seen.add(head.dataset.key);
      const first = head.dataset.first, opposite = first === "ascending" ? "descending" : "ascending";
      for (const direction of [first, opposite]) order.add(new Option(`${labelOf(head)}, ${direction}`, `${head.dataset.key}.${direction}`));
      if (head.dataset.key === "method") continue;
      const label = document.createElement("label"), box = document.createElement("input");
      box.type = "checkbox";
      box.value = head.dataset.key;
      box.dataset.extra = head.hidden ? "yes" : "";
      box.addEventListener("change", () => {
        const changed = [...choices.querySelectorAll("input")].filter((b) => b.checked === Boolean(b.dataset.extra));
        state.columns = changed.map((b) => (b.dataset.extra ? "" : "-") + b.value).join(",");
        columns();
        keep();
      });
      label.append(box, labelOf(head));
      choices.append(label);
    }
    const sorted = document.createElement("label");
    sorted.className = "by-phone";
    sorted.append("Sort by", order);
    order.addEventListener("change", () => { state.sort = order.value; sort(); keep(); });
    tools.append(search, fold, sorted);
    fold.addEventListener("keydown", (event) => { if (event.key === "Escape") { fold.open = false; fold.firstChild.focus(); } });
    document.addEventListener("click", (event) => { if (!fold.contains(event.target)) fold.open = false; });
    return search;
  }

  // ---------------------------------------------------------------- places and words

  function show(scroll) {
    for (const row of document.querySelectorAll("tr.here")) row.classList.remove("here");
    const place = state.at && document.getElementById(state.at);
    if (!place) return;
    for (let e = place; e; e = e.parentElement) if (e instanceof HTMLDetailsElement) e.open = true;
    if (place.matches("tr")) place.classList.add("here");
    if (scroll) place.scrollIntoView({ block: place.matches("tr") ? "center" : "start", behavior: "instant" });
  }

  let asked = null; // the link that the shown explanation belongs to

  function explain(link, entry) {
    let box = document.getElementById("word");
    if (!box) {
      box = document.createElement("div");
      box.id = "word";
      box.popover = "auto";
      box.tabIndex = -1;
      box.setAttribute("role", "dialog");
      box.addEventListener("toggle", (event) => {
        const lost = document.activeElement === document.body || box.contains(document.activeElement);
        if (event.newState === "closed" && lost) asked.focus({ preventScroll: true });
      });
      document.body.append(box);
    }
    const title = document.createElement("strong"), text = document.createElement("span");
    title.textContent = entry.querySelector("dt").textContent;
    text.textContent = entry.querySelector("dd").textContent;
    box.setAttribute("aria-label", title.textContent);
    box.replaceChildren(title, text);
    box.showPopover();
    const at = link.getBoundingClientRect(), width = document.documentElement.clientWidth;
    box.style.left = `${scrollX + Math.max(8, Math.min(at.left, width - box.offsetWidth - 16))}px`;
    box.style.top = `${scrollY + at.bottom + 6}px`;
    box.focus({ preventScroll: true });
    asked = link;
  }

  document.addEventListener("click", (event) => {
    const link = event.target.closest('a[href^="#"]');
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
    const name = link.getAttribute("href").slice(1), place = document.getElementById(name);
    if (!place) return;
    event.preventDefault();
    if (link.classList.contains("term") && HTMLElement.prototype.showPopover) {
      explain(link, place);
      return;
    }
    state.at = name;
    keep();
    show(true);
    if (!place.matches("a, button, input, [tabindex]")) place.tabIndex = -1;
    place.focus({ preventScroll: true });
  });

  // ---------------------------------------------------------------- at the start, and when the address changes

  function apply(scroll) {
    read();
    for (const input of levels) input.checked = input.dataset.level === state.access;
    if (levels.length && !levels.some((input) => input.checked)) levels.at(-1).checked = true;
    if (tools && boards.length) {
      search.value = state.q;
      columns();
      filter();
      sort();
    }
    show(scroll);
  }

  for (const head of document.querySelectorAll("table.board [data-key]")) addButton(head);
  const search = tools && boards.length ? addTools() : null;
  for (const input of levels) {
    input.addEventListener("change", () => {
      state.access = input.dataset.level;
      sort();
      filter();
      keep();
      say(`Worst cases for an attacker with ${input.parentElement.textContent.trim()}.`);
    });
  }
  const kind = performance.getEntriesByType("navigation")[0]?.type;
  apply(kind === "navigate");
  addEventListener("popstate", (event) => apply(!event.state));

  let folded = [];
  addEventListener("beforeprint", () => {
    folded = [...document.querySelectorAll("details:not([open])")];
    for (const fold of folded) fold.open = true;
  });
  addEventListener("afterprint", () => { for (const fold of folded) fold.open = false; });
})();
