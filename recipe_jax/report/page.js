// Draws the figures in the reader's colours, opens what a link points to, sorts tables, and brushes
// parallel coordinates.
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
    const figure = figures[place.dataset.figure];
    const { data, layout } = darkScreen.matches && !printing ? inColours(figure) : structuredClone(figure);
    // A finger that scrolls the page must not zoom a figure.
    layout.dragmode = finger ? false : "zoom";
    // Drawn again, it keeps what the reader zoomed into and switched off.
    layout.uirevision = "kept";
    if (printing) layout.width = paperWidth(place);
    Plotly.react(place, data, layout, { displayModeBar: false, responsive: true, showTips: false });
    if (!("drawn" in place.dataset)) {
      place.on("plotly_click", ({ points: [point] }) => openCell(place, point.pointNumber));
    }
    place.dataset.drawn = "";
  };

  // A cell of a matrix opens its examples.
  const openCell = (place, cell) => {
    const box = place.closest(".drawings")?.querySelector(`details.cell[data-cell="${cell}"]`);
    if (!box) return;
    box.open = true;
    box.scrollIntoView({ block: "nearest" });
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

  const drawNew = (root) => {
    root.querySelectorAll(".plot:not([data-drawn])").forEach((place) => folded(place) || draw(place));
  };

  // What is in sight at once; the others one by one, so that a reader can act between two of them.
  const drawInTurn = () => {
    const waiting = places().filter((place) => !("drawn" in place.dataset) && !folded(place));
    const sight = ({ top, bottom }) => bottom > -innerHeight && top < 2 * innerHeight;
    const near = waiting.filter((place) => sight(place.getBoundingClientRect()));
    near.forEach(draw);
    if (near.length < waiting.length) {
      const next = waiting.find((place) => !("drawn" in place.dataset));
      setTimeout(() => {
        if (next.isConnected && !("drawn" in next.dataset) && !folded(next)) draw(next);
        drawInTurn();
      });
    }
  };

  // It does not bubble.
  document.addEventListener("toggle", ({ target }) => target.open && drawNew(target), true);

  // Who unfolds a finding has its link in the address bar.
  document.addEventListener("click", ({ target }) => {
    const { id } = target.closest("details.finding > summary")?.parentElement ?? {};
    if (id) history.replaceState(null, "", `#${id}`);
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

  // As numbers.py writes them.
  const number = (value) => {
    const size = Math.abs(value);
    if (value === 0) return "0";
    const apart = (whole) => String(whole).replace(/\B(?=(\d{3})+$)/g, "\u202f");
    if (Number.isInteger(value) && size < 1e6) return size < 1e4 ? String(value) : apart(value);
    if (size < 1e-3 || size >= 1e6) {
      if (Number.isInteger(value) && size < 2 ** 53) return apart(value);
      const [front, power] = value.toExponential(2).split("e");
      return `${Number(front)}e${Number(power)}`;
    }
    const text = value.toFixed(Math.max(0, 3 - Math.floor(Math.log10(size))));
    return text.includes(".") ? text.replace(/\.?0+$/, "") : size < 1e4 ? text : apart(text);
  };
  const written = (cell) => (cell === null ? "" : typeof cell === "number" ? number(cell) : String(cell));

  // A table of more rows than a page can hold: all are sorted and filtered, the first are shown.
  const much = (table) => {
    const rows = JSON.parse(table.closest(".body").querySelector("script.rows").textContent)
      .map((cells, place) => ({ cells, place, words: "" }));
    const most = Number(table.dataset.most);
    let kept = rows;
    const show = () => {
      table.tBodies[0].replaceChildren(...kept.slice(0, most).map(({ cells }) => {
        const row = document.createElement("tr");
        row.append(...cells.map((cell) => {
          const box = document.createElement("td");
          box.textContent = written(cell);
          if (typeof cell === "number") box.className = "number";
          return box;
        }));
        return row;
      }));
      const shown = Math.min(most, kept.length);
      table.caption.textContent = `${shown === kept.length ? "" : `The first ${number(shown)} of `}${number(kept.length)} rows` +
        (kept.length < rows.length ? `, of ${number(rows.length)} in all` : "");
    };
    const key = (cell) => cell ?? "";
    let filter = [];
    return {
      sort: (column, down) => {
        rows.sort((a, b) => (down ? -1 : 1) * compare(key(a.cells[column]), key(b.cells[column])) || a.place - b.place);
        table.rowsOf.filter(filter);
      },
      filter: (words) => {
        filter = words;
        kept = !words.length ? rows : rows.filter((row) => {
          row.words ||= row.cells.map(written).join(" ").toLowerCase();
          return words.every((word) => row.words.includes(word));
        });
        show();
      },
    };
  };

  const sortable = (table) => {
    const heads = [...table.tHead.rows[0].cells];
    if (table.dataset.most) table.rowsOf = much(table);
    heads.forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const down = head.getAttribute("aria-sort") === "ascending";
        heads.forEach((each) => each.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        if (table.rowsOf) return table.rowsOf.sort(column, down);
        const rows = [...table.tBodies[0].rows];
        rows.sort((a, b) => (down ? -1 : 1) * compare(key(a, column), key(b, column)));
        table.tBodies[0].append(...rows);
      });
    });
  };
  document.addEventListener("input", ({ target }) => {
    if (!target.matches("input.filter")) return;
    const words = target.value.toLowerCase().split(/\s+/).filter(Boolean);
    const table = target.nextElementSibling.querySelector("table");
    if (table.rowsOf) return table.rowsOf.filter(words);
    for (const row of table.tBodies[0].rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
    }
  });

  // Parallel coordinates: a range dragged along an axis keeps the lines that pass it on every axis.
  const REACH = 14;
  const brushed = (figure) => {
    const svg = figure.querySelector("svg");
    const readout = figure.querySelector(".readout");
    const pointed = svg.querySelector(".pointed");
    const hint = readout.textContent;
    const [top, bottom] = [Number(svg.dataset.top), Number(svg.dataset.bottom)];
    const within = (y) => Math.min(bottom, Math.max(top, y));
    const axes = [...svg.querySelectorAll(".axis")].map((node) => ({
      node, x: Number(node.dataset.x), name: node.dataset.name, brush: node.querySelector(".brush"), range: null,
    }));
    const lines = [...svg.querySelectorAll(".line")].map((node) => {
      const path = node.firstElementChild.getAttribute("d");
      const points = [...path.matchAll(/([\d.]+),([\d.]+)/g)].map(([, x, y]) => [Number(x), Number(y)]);
      return { node, path, points, at: new Map(points), kept: true };
    });

    const words = () => {
      if (axes.every(({ range }) => !range)) return hint;
      return `${lines.filter(({ kept }) => kept).length} of ${lines.length} lines are in range. Click an axis to drop its range.`;
    };
    const show = () => {
      for (const line of lines) {
        line.kept = axes.every(({ x, range }) => !range || (line.at.get(x) >= range[0] && line.at.get(x) <= range[1]));
        line.node.classList.toggle("faded", !line.kept);
      }
      for (const { node, brush, range } of axes) {
        const [high, low] = range ?? [top, top];
        brush.setAttribute("y", high);
        brush.setAttribute("height", low - high);
        const middle = range ? (bottom - (high + low) / 2) / (bottom - top) : 0.5;
        node.setAttribute("aria-valuenow", Math.round(100 * middle));
        node.setAttribute("aria-valuetext", range ? words() : "all");
      }
      readout.replaceChildren(words());
    };

    const place = (event) => new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
    const distance = ({ points }, x, y) => {
      const next = points.findIndex(([other]) => other >= x);
      if (next < 0 || (next === 0 && points[0][0] > x + REACH)) return Infinity;
      const [[x0, y0], [x1, y1]] = [points[Math.max(0, next - 1)], points[next]];
      const share = x1 > x0 ? Math.max(0, (x - x0) / (x1 - x0)) : 1;
      // Measured across the line, so that a steep one is not harder to meet.
      return Math.abs(y0 + share * (y1 - y0) - y) / Math.hypot(1, x1 > x0 ? (y1 - y0) / (x1 - x0) : 0);
    };
    const point = (x, y) => {
      let nearest = null, reach = REACH;
      // Later lines lie above earlier ones.
      for (const line of lines.filter(({ kept }) => kept)) {
        const far = distance(line, x, y);
        if (far <= reach) [nearest, reach] = [line, far];
      }
      pointed.setAttribute("d", nearest?.path ?? "");
      if (!nearest) return readout.replaceChildren(words());
      const values = JSON.parse(nearest.node.dataset.values);
      const said = [["setting", nearest.node.dataset.setting], ...axes.map(({ name }, i) => [name, values[i]])];
      readout.replaceChildren(...said.filter(([, value]) => value !== null).map(([name, value]) => {
        const pair = document.createElement("span");
        const [key, number] = [document.createElement("bdi"), document.createElement("bdi")];
        [key.textContent, number.textContent, number.className] = [name, value, "value"];
        pair.append(key, " ", number);
        return pair;
      }));
    };

    for (const axis of axes) {
      const grip = axis.node.querySelector(".grip");
      let start = null;
      grip.addEventListener("pointerdown", (event) => {
        grip.setPointerCapture(event.pointerId);
        start = within(place(event).y);
      });
      grip.addEventListener("pointermove", (event) => {
        if (start === null) return;
        const y = within(place(event).y);
        if (axis.range || Math.abs(y - start) > 3) axis.range = [Math.min(start, y), Math.max(start, y)];
        show();
      });
      grip.addEventListener("pointerup", (event) => {
        if (start !== null && Math.abs(within(place(event).y) - start) <= 3) axis.range = null;
        start = null;
        show();
      });
      grip.addEventListener("pointercancel", () => (start = null));
      axis.node.addEventListener("keydown", ({ key }) => {
        const step = (bottom - top) / 20;
        const [high, low] = axis.range ?? [top, (top + bottom) / 2];
        const moves = { ArrowUp: [-step, -step], ArrowDown: [step, step], "+": [-step, step], "-": [step, -step] };
        if (key === "Escape") axis.range = null;
        else if (!moves[key]) return;
        else if (!axis.range) axis.range = [high, low];
        else {
          const [up, down] = [high + moves[key][0], low + moves[key][1]];
          const fits = key === "+" || (up >= top && down <= bottom && down - up >= step);
          axis.range = fits ? [within(up), within(down)] : axis.range;
        }
        show();
      });
      // Arrows move the range and not the page.
      axis.node.addEventListener("keydown", (event) => event.key.startsWith("Arrow") && event.preventDefault());
    }
    const follow = (event) => {
      const { x, y } = place(event);
      if (!event.buttons || event.type === "pointerdown") point(x, y);
      else pointed.setAttribute("d", "");
    };
    svg.addEventListener("pointermove", follow);
    svg.addEventListener("pointerdown", follow);
    svg.addEventListener("pointerleave", (event) => event.pointerType === "mouse" && point(-Infinity, 0));
  };

  const ready = (root) => {
    root.querySelectorAll("table.sortable:not([data-ready])").forEach(sortable);
    root.querySelectorAll(".parallel:not([data-ready])").forEach(brushed);
    root.querySelectorAll("table.sortable, .parallel").forEach((each) => (each.dataset.ready = ""));
  };
  ready(document);

  // A page that follows its run has new parts: what they show, and what is no longer shown.
  document.addEventListener("report-changed", ({ detail }) => {
    Object.assign(figures, detail);
    ready(document);
    drawNew(document);
    const shown = new Set(places().map((place) => place.dataset.figure));
    Object.keys(figures).forEach((name) => shown.has(name) || delete figures[name]);
  });

  // The contents follow: marked is the last section that has begun above the middle of the window.
  let following = 0;
  const follow = () => {
    following = 0;
    const begun = [...document.querySelectorAll("main > section")].filter(
      (section) => section.getBoundingClientRect().top < innerHeight / 2,
    );
    const here = `#${begun.at(-1)?.id}`;
    for (const link of document.querySelectorAll("nav a")) {
      if (link.getAttribute("href") === here) link.setAttribute("aria-current", "true");
      else link.removeAttribute("aria-current");
    }
  };
  const soon = () => (following ||= requestAnimationFrame(follow));
  addEventListener("scroll", soon, { passive: true });
  addEventListener("resize", soon);
  document.addEventListener("toggle", soon, true);
  document.addEventListener("report-changed", soon);
  follow();

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

  if (location.hash) openTarget();
  drawInTurn();
})();
