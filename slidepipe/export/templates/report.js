"use strict";
(() => {
  const table = document.getElementById("slide-table");
  const body = table.tBodies[0];
  const rows = [...body.rows];
  const form = document.querySelector("form.tools");
  const filters = [...form.querySelectorAll("[data-filter]")];
  const isShown = (row) => !row.hidden;

  /* Sorting: rows without a value stay last in both directions, equal rows keep the order of the page. */
  const order = new Map(rows.map((row, index) => [row, index]));
  const inWords = new Intl.Collator("en", { numeric: true }).compare;

  function sortBy(heading) {
    const column = heading.cellIndex;
    const isNumber = heading.dataset.kind === "number";
    const direction = heading.ariaSort === "ascending" ? -1 : 1;
    for (const other of heading.parentNode.cells) if (other.ariaSort) other.ariaSort = "none";
    heading.ariaSort = direction === 1 ? "ascending" : "descending";
    const value = (row) => row.cells[column].dataset.value;
    const compare = (a, b) => (isNumber ? Number(a) - Number(b) : inWords(a, b));
    const sorted = [...rows].sort((first, second) => {
      const a = value(first), b = value(second);
      if ((a === "") !== (b === "")) return a === "" ? 1 : -1;
      return direction * (a === b ? 0 : compare(a, b)) || order.get(first) - order.get(second);
    });
    body.append(...sorted);
  }

  for (const button of table.querySelectorAll("thead button")) {
    button.addEventListener("click", () => sortBy(button.closest("th")));
  }

  /* Filtering. */
  function matches(row) {
    return filters.every((filter) => {
      if (filter.type === "checkbox") return !filter.checked || Number(row.dataset.damaged) > 0;
      const wanted = filter.value.trim().toLowerCase();
      if (filter.dataset.filter === "text") return row.cells[0].dataset.value.toLowerCase().includes(wanted);
      return wanted === "" || row.dataset[filter.dataset.filter].toLowerCase() === wanted;
    });
  }

  function filterRows() {
    for (const row of rows) row.hidden = !matches(row);
    const count = rows.filter(isShown).length;
    document.getElementById("shown").textContent = `${count} of ${rows.length} slides`;
    document.getElementById("none-shown").hidden = count > 0;
  }

  form.addEventListener("input", filterRows);
  form.addEventListener("reset", () => setTimeout(filterRows));
  form.addEventListener("submit", (event) => event.preventDefault());

  /* What is drawn over the pictures; the switches beside the table and in the viewer are one. */
  const switches = [...document.querySelectorAll("[data-toggle]")];
  for (const box of switches) {
    box.addEventListener("change", () => {
      const name = box.dataset.toggle;
      document.body.classList.toggle(`hide-${name}`, !box.checked);
      for (const other of switches) if (other.dataset.toggle === name) other.checked = box.checked;
    });
  }

  /* The viewer: the row's own pictures, enlarged side by side. */
  const viewer = document.getElementById("viewer");
  const title = document.getElementById("viewer-title");
  const lesions = document.getElementById("viewer-lesions");
  const strength = document.getElementById("strength");
  const panes = [...viewer.querySelectorAll(".pane")];
  const furthest = 8;
  let shown = null;
  let zoom = 1;

  function setZoom(wanted) {
    const next = Math.min(furthest, Math.max(1, wanted));
    for (const pane of panes) {
      const x = (pane.scrollLeft + pane.clientWidth / 2) / pane.scrollWidth;
      const y = (pane.scrollTop + pane.clientHeight / 2) / pane.scrollHeight;
      pane.style.setProperty("--zoom", next);
      pane.scrollLeft = x * pane.scrollWidth - pane.clientWidth / 2;
      pane.scrollTop = y * pane.scrollHeight - pane.clientHeight / 2;
    }
    zoom = next;
    document.getElementById("zoom").textContent = `${Math.round(100 * zoom)} %`;
  }

  function fill(pane, button) {
    const picture = button.querySelector(`[data-picture="${pane.dataset.pane}"]`);
    pane.replaceChildren();
    pane.style.setProperty("--aspect", button.style.getPropertyValue("--aspect"));
    const copy = picture.cloneNode(true);
    if (pane.dataset.pane === "heatmap") {
      const ground = button.querySelector("img:not(.cells)")?.cloneNode();
      if (ground) {
        ground.className = "ground";
        ground.alt = "";
        copy.prepend(ground);
      }
      copy.append(button.querySelector(".overlay").cloneNode(true));
    }
    pane.append(copy);
  }

  function show(row) {
    shown = row;
    const button = row.querySelector(".pictures button");
    const facts = ["label", "size", "split"].map((name) => row.dataset[name]).filter((fact) => fact);
    title.textContent = [row.cells[0].dataset.value, ...facts].join(" · ");
    for (const pane of panes) fill(pane, button);
    lesions.replaceChildren(row.querySelector("template").content.cloneNode(true));
    setZoom(1);
    if (!viewer.open) viewer.showModal();
    title.focus();
  }

  function move(step) {
    const visible = [...body.rows].filter(isShown);
    const next = visible[visible.indexOf(shown) + step];
    if (next) show(next);
  }

  const actions = {
    previous: () => move(-1),
    next: () => move(1),
    in: () => setZoom(zoom * 1.5),
    out: () => setZoom(zoom / 1.5),
    fit: () => setZoom(1),
    close: () => viewer.close(),
  };
  const keys = { ArrowLeft: "previous", ArrowRight: "next", "+": "in", "-": "out", "0": "fit" };

  for (const row of rows) {
    row.querySelector(".pictures button").addEventListener("click", () => show(row));
  }
  viewer.addEventListener("click", (event) => {
    const action = actions[event.target.dataset.do];
    if (action) action();
  });
  viewer.addEventListener("keydown", (event) => {
    const isTurning = event.key.startsWith("Arrow");
    const isScrolling = event.target.classList.contains("pane") && zoom > 1;
    if (event.target === strength || event.ctrlKey || event.metaKey || event.altKey) return;
    if (!(event.key in keys) || (isTurning && isScrolling)) return;
    event.preventDefault();
    actions[keys[event.key]]();
  });
  viewer.addEventListener("close", () => {
    if (shown) shown.querySelector(".pictures button").focus();
  });
  strength.addEventListener("input", () => viewer.style.setProperty("--strength", strength.value / 100));

  for (const pane of panes) {
    pane.addEventListener("scroll", () => {
      for (const other of panes) {
        if (other !== pane) {
          other.scrollLeft = pane.scrollLeft;
          other.scrollTop = pane.scrollTop;
        }
      }
    });
    pane.addEventListener("wheel", (event) => {
      if (!event.ctrlKey) return;
      event.preventDefault();
      setZoom(zoom * (event.deltaY < 0 ? 1.2 : 1 / 1.2));
    }, { passive: false });
    pane.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      pane.setPointerCapture(event.pointerId);
      pane.classList.add("dragging");
    });
    pane.addEventListener("pointermove", (event) => {
      if (!pane.classList.contains("dragging")) return;
      pane.scrollLeft -= event.movementX;
      pane.scrollTop -= event.movementY;
    });
    for (const end of ["pointerup", "pointercancel"]) {
      pane.addEventListener(end, () => pane.classList.remove("dragging"));
    }
  }

  /* Paper shows what is folded away on the screen. */
  let opened = [];
  addEventListener("beforeprint", () => {
    opened = [...document.querySelectorAll("details:not([open], .chart details)")];
    for (const part of opened) part.open = true;
  });
  addEventListener("afterprint", () => {
    for (const part of opened) part.open = false;
  });
})();
