// Asks every two seconds what has changed, and changes that part of the page alone: what a reader
// has opened, zoomed, sorted, typed or put the focus on stays as it is.
(() => {
  "use strict";
  const EVERY = 2000, LOST = 15000;
  const line = document.getElementById("live");
  const main = document.querySelector("main");
  const find = (name) => (name === "header" || name === "nav" ? document.querySelector(name) : document.getElementById(name));

  // The parts as they were served, before a figure is drawn in them.
  const served = new Map();
  for (const part of document.querySelectorAll("body > header, nav, main > section")) {
    served.set(part.id || part.localName, { digest: "", node: part.cloneNode(true) });
  }
  let changedAt = null;

  const parsed = (html) => {
    const box = document.createElement("template");
    box.innerHTML = html;
    return box.content.firstElementChild;
  };

  // --- One part ------------------------------------------------------------------------------

  // `live` shows `before` with what scripts and the reader made of it; it shall show `after`.
  // Returns the node to show, which is `live` itself wherever that can be.
  const patched = (live, before, after) => {
    if (before.isEqualNode(after)) return live;
    if (after.nodeType !== Node.ELEMENT_NODE) {
      live.data = after.data;
      return live;
    }
    if (after.matches("table.sortable")) return resorted(live, document.importNode(after, true));
    if (after.matches(".parallel, svg")) return document.importNode(after, true);
    for (const { name } of [...before.attributes, ...after.attributes]) {
      const value = after.getAttribute(name);
      // What is open is the reader's; the classes of a figure are also its script's.
      const theirs = name === "open" || (name === "class" && after.matches(".plot"));
      if (theirs || before.getAttribute(name) === value) continue;
      if (value === null) live.removeAttribute(name);
      else live.setAttribute(name, value);
    }
    if (after.matches(".plot")) delete live.dataset.drawn;
    else patchChildren(live, before, after);
    return live;
  };

  const kind = (node) => (node.nodeType === Node.ELEMENT_NODE ? `${node.localName}#${node.id || `.${node.className}`}` : node.nodeName);

  // Children belong together by their id; without one, as the first, second, ... of their kind.
  const patchChildren = (live, before, after) => {
    const known = new Map();
    [...before.childNodes].forEach((node, place) => {
      const same = known.get(kind(node)) ?? [];
      known.set(kind(node), [...same, { node, live: live.childNodes[place] }]);
    });
    const wanted = [...after.childNodes].map((node) => {
      const pair = known.get(kind(node))?.shift();
      return pair ? patched(pair.live, pair.node, node) : document.importNode(node, true);
    });
    const kept = new Set(wanted);
    let at = live.firstChild;
    for (const node of wanted) {
      while (at && at !== node && !kept.has(at)) at = removed(at);
      // Moving a node would take the focus from it.
      if (at === node) at = at.nextSibling;
      else live.insertBefore(node, at);
    }
    while (at) at = removed(at);
  };
  const removed = (node) => {
    const next = node.nextSibling;
    node.remove();
    return next;
  };

  // A new table takes over how the reader sorted and filtered the old one, once it is in its place.
  const finishing = [];
  const resorted = (old, table) => {
    const heads = [...old.tHead.rows[0].cells];
    const focused = heads.findIndex((head) => head.contains(document.activeElement));
    const sorted = heads.find((head) => head.hasAttribute("aria-sort"));
    const { scrollTop, scrollLeft } = old.parentElement;
    finishing.push(() => {
      const button = (name) => [...table.querySelectorAll("th button")].find(({ textContent }) => textContent === name);
      const way = sorted?.getAttribute("aria-sort");
      for (let click = 0; click < 2 && way; click++) {
        const head = button(sorted.textContent)?.parentElement;
        if (head && head.getAttribute("aria-sort") !== way) head.firstElementChild.click();
      }
      const filter = table.parentElement.previousElementSibling;
      if (filter?.matches("input.filter")) filter.dispatchEvent(new Event("input", { bubbles: true }));
      if (focused >= 0) button(heads[focused].textContent)?.focus({ preventScroll: true });
      Object.assign(table.parentElement, { scrollTop, scrollLeft });
    });
    return table;
  };

  // --- All parts -----------------------------------------------------------------------------

  const apply = ({ parts, figures }) => {
    if (parts.every(({ html }) => html === undefined) && parts.length === served.size) return;
    // What stands at the top of the window stays there.
    const held = scrollY === 0 ? [] : [...main.querySelectorAll("section, .finding, .drawing, .more, .decision, h2")]
      .map((node) => ({ node, top: node.getBoundingClientRect().top }))
      .filter(({ top, node }) => top >= 0 && top < innerHeight && node.isConnected);
    let at = main.firstElementChild;
    for (const { name, digest, html } of parts) {
      let part = find(name);
      if (html !== undefined) {
        const node = parsed(html);
        const before = served.get(name);
        if (before && part) patched(part, before.node, node);
        else part = document.importNode(node, true);
        served.set(name, { digest, node });
      }
      if (name === "header" || name === "nav") continue;
      if (at === part) at = at.nextElementSibling;
      else main.insertBefore(part, at);
    }
    const names = new Set(parts.map(({ name }) => name));
    for (const name of [...served.keys()].filter((each) => !names.has(each))) {
      find(name)?.remove();
      served.delete(name);
    }
    document.dispatchEvent(new CustomEvent("report-changed", { detail: figures }));
    finishing.splice(0).forEach((finish) => finish());
    const still = held.find(({ node }) => node.isConnected);
    if (still) scrollBy({ top: still.node.getBoundingClientRect().top - still.top, behavior: "instant" });
  };

  // --- The line at the top -------------------------------------------------------------------

  const ago = (seconds) => {
    if (seconds < 100) return `${Math.round(seconds)} s`;
    const minutes = Math.round(seconds / 60);
    return minutes < 100 ? `${minutes} min` : `${Math.round(minutes / 60)} h`;
  };
  const tell = (state, words, look) => {
    const status = line.firstElementChild;
    if (status.textContent !== state) status.textContent = state;
    line.className = `live ${look}`;
    line.replaceChildren(status, ...words.flatMap((word) => {
      const box = document.createElement("span");
      [box.className, box.textContent] = ["word", word];
      return [" ", box];
    }));
  };
  const changed = () => (changedAt === null ? [] : [`changed ${ago((performance.now() - changedAt) / 1000)} ago`]);

  // --- Asking --------------------------------------------------------------------------------

  let waiting = 0, asking = false, over = false;
  const ask = async () => {
    clearTimeout(waiting);
    if (asking || over) return;
    asking = true;
    let pause = EVERY;
    try {
      const have = [...served.values()].map(({ digest }) => digest).filter(Boolean).join(".");
      const answer = await fetch(`/state?have=${have}`, { cache: "no-store" });
      if (!answer.ok) throw new Error(await answer.text());
      const told = await answer.json();
      apply(told);
      changedAt = told.quiet_seconds === null ? null : performance.now() - 1000 * told.quiet_seconds;
      tell(told.state, [...told.words, ...(told.ended ? [] : changed())], told.ended ? "ended" : "going");
      // A server in the process of the run ends with it.
      over = told.ended && told.closes;
    } catch (error) {
      // A TypeError says that nobody answers: what served the page has ended, or comes back.
      if (!(error instanceof TypeError)) console.error(error);
      tell("Not served any more", ["the page is as it was last", ...changed()], "lost");
      pause = LOST;
    } finally {
      asking = false;
      if (!document.hidden) waiting = setTimeout(ask, pause);
    }
  };
  document.addEventListener("visibilitychange", () => document.hidden || ask());
  addEventListener("DOMContentLoaded", ask);
})();
