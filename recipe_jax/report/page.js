// Draws the figures in the reader's colours, opens what a link points to, and sorts tables.
(() => {
  "use strict";
  const { figures, dark } = JSON.parse(document.getElementById("report-data").textContent);
  const night = new Map(Object.entries(dark));
  const darkScreen = matchMedia("(prefers-color-scheme: dark)");
  const finger = matchMedia("(pointer: coarse)").matches;
  let printing = false;

  const inColours = (value) => {
    if (typeof value === "string") return night.get(value) ?? value;
    if (Array.isArray(value)) return value.map(inColours);
    if (value && typeof value === "object") {
      return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, inColours(item)]));
    }
    return value;
  };

  // While a page is printed its boxes still have the width of the screen.
  const paperWidth = (place) => {
    if (place.closest(".score")) return 400;
    return place.closest(".drawings").children.length > 1 ? 310 : 640;
  };

  const draw = (place) => {
    const figure = figures[Number(place.dataset.figure)];
    const { data, layout } = darkScreen.matches && !printing ? inColours(figure) : structuredClone(figure);
    // A finger that scrolls the page must not zoom a figure.
    layout.dragmode = finger ? false : "zoom";
    if (printing) layout.width = paperWidth(place);
    Plotly.react(place, data, layout, { displayModeBar: false, responsive: true, showTips: false });
    place.dataset.drawn = "";
  };

  const folded = (place) => place.closest("details:not([open])") !== null;
  const places = () => [...document.querySelectorAll(".plot")];
  const drawVisible = () => places().filter((place) => !folded(place)).forEach(draw);

  const openTarget = () => {
    const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    for (let box = target?.closest("details") ?? target?.querySelector("details"); box;) {
      box.open = true;
      box = box.parentElement?.closest("details");
    }
    target?.scrollIntoView();
  };

  document.querySelectorAll("details").forEach((box) => {
    box.addEventListener("toggle", () => {
      if (!box.open) return;
      box.querySelectorAll(".plot:not([data-drawn])").forEach((place) => folded(place) || draw(place));
    });
  });

  // Numbers by their value, words by the alphabet, empty cells last; a second click turns it round.
  const key = (row, column) => {
    const cell = row.cells[column];
    const text = cell?.dataset.value ?? cell?.textContent ?? "";
    const number = text.trim() === "" ? NaN : Number(text);
    return Number.isNaN(number) ? text : number;
  };
  const compare = (a, b) => {
    if (typeof a === "number" && typeof b === "number") return a - b;
    if (typeof a !== typeof b) return typeof a === "number" ? -1 : 1;
    return a.localeCompare(b);
  };
  document.querySelectorAll("table.sortable").forEach((table) => {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const down = head.getAttribute("aria-sort") === "ascending";
        heads.forEach((each) => each.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        const rows = [...table.tBodies[0].rows];
        rows.sort((a, b) => (down ? -1 : 1) * compare(key(a, column), key(b, column)));
        table.tBodies[0].append(...rows);
      });
    });
  });
  document.querySelectorAll("input.filter").forEach((input) => {
    const table = document.getElementById(input.dataset.table);
    input.addEventListener("input", () => {
      const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
      for (const row of table.tBodies[0].rows) {
        const text = row.textContent.toLowerCase();
        row.hidden = !words.every((word) => text.includes(word));
      }
    });
  });

  let closed = [];
  addEventListener("beforeprint", () => {
    printing = true;
    closed = [...document.querySelectorAll("details.finding:not([open])")];
    closed.forEach((box) => (box.open = true));
    drawVisible();
  });
  addEventListener("afterprint", () => {
    printing = false;
    closed.forEach((box) => (box.open = false));
    drawVisible();
  });
  darkScreen.addEventListener("change", drawVisible);
  addEventListener("hashchange", openTarget);

  drawVisible();
  if (location.hash) openTarget();
})();
