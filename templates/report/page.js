"use strict";
(() => {
  const root = document.documentElement;
  const byId = (id) => document.getElementById(id);

  // Light and dark: as the system says, until somebody chooses.
  const theme = byId("theme");
  if (theme) {
    const dark = window.matchMedia("(prefers-color-scheme: dark)");
    const isDark = () => (root.dataset.theme || (dark.matches ? "dark" : "light")) === "dark";
    const name = () => { theme.textContent = isDark() ? "Light" : "Dark"; };
    theme.addEventListener("click", () => { root.dataset.theme = isDark() ? "light" : "dark"; name(); });
    dark.addEventListener("change", name);
    theme.hidden = false;
    name();
  }

  const form = byId("filter");
  const groups = Array.from(document.querySelectorAll("details.group"), (element) => ({
    element,
    summary: element.querySelector("summary"),
    text: element.querySelector("summary").textContent.toLowerCase(),
    cards: Array.from(element.querySelectorAll("li.finding"), (card) => ({
      element: card,
      kind: card.dataset.kind,
      service: card.dataset.service,
      requirement: card.dataset.requirement,
      text: null,
    })),
  }));

  if (form) {
    const search = byId("search");
    const service = byId("service");
    const requirement = byId("requirement");
    const shown = byId("shown");
    const none = byId("none");
    const boxes = Array.from(form.querySelectorAll("input[name=kind]"));
    const total = groups.reduce((sum, group) => sum + group.cards.length, 0);

    const apply = () => {
      const kinds = new Set(boxes.filter((box) => box.checked).map((box) => box.value));
      const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
      let count = 0;
      for (const group of groups) {
        let here = 0;
        for (const card of group.cards) {
          let match = kinds.has(card.kind)
            && (service.value === "*" || service.value === card.service)
            && (requirement.value === "*" || requirement.value === card.requirement);
          if (match && words.length) {
            if (card.text === null) card.text = card.element.textContent.toLowerCase();
            match = words.every((word) => card.text.includes(word) || group.text.includes(word));
          }
          if (card.element.hidden === match) card.element.hidden = !match;
          if (match) here += 1;
        }
        if (group.element.hidden === here > 0) group.element.hidden = here === 0;
        count += here;
      }
      shown.textContent = count === total
        ? `${total} finding${total === 1 ? "" : "s"}`
        : `${count} of ${total} findings`;
      none.hidden = count > 0 || total === 0;
      return count;
    };

    let waiting = 0;
    search.addEventListener("input", () => {
      window.clearTimeout(waiting);
      waiting = window.setTimeout(() => {
        const count = apply();
        // What was searched for is to be seen: open few groups, not thousands of findings.
        if (search.value.trim() && count <= 200) {
          for (const group of groups) if (!group.element.hidden) group.element.open = true;
        }
      }, 60);
    });
    form.addEventListener("change", apply);
    form.addEventListener("reset", () => window.setTimeout(apply, 0));
    form.addEventListener("submit", (event) => { event.preventDefault(); apply(); });
    search.addEventListener("keydown", (event) => {
      if (event.key === "Escape" && search.value) {
        event.preventDefault();
        search.value = "";
        apply();
      } else if (event.key === "ArrowDown") {
        event.preventDefault();
        move(null, "first");
      }
    });
    byId("again").addEventListener("click", () => { form.reset(); search.focus(); });

    const visible = function* () {
      for (const group of groups) if (!group.element.hidden) yield group;
    };
    byId("unfold").addEventListener("click", () => {
      for (const group of visible()) {
        group.element.open = true;
        for (const card of group.cards) {
          if (!card.element.hidden) card.element.querySelector("details.evidence").open = true;
        }
      }
    });
    byId("fold").addEventListener("click", () => {
      for (const group of visible()) {
        group.element.open = false;
        for (const card of group.cards) card.element.querySelector("details.evidence").open = false;
      }
    });

    // A number in the table of requirements leads to its findings, and to nothing else.
    for (const link of document.querySelectorAll("a.to-findings")) {
      link.addEventListener("click", () => {
        form.reset();
        service.value = link.dataset.service;
        requirement.value = link.dataset.requirement;
        apply();
        for (const group of visible()) group.element.open = true;
        byId("findings").focus({ preventScroll: true });
      });
    }
    form.hidden = false;
    apply();
  }

  // Arrow keys go from one heading of findings to the next while one of them has the focus.
  const move = (from, where) => {
    const stops = groups.filter((group) => !group.element.hidden);
    const at = stops.findIndex((group) => group.summary === from);
    const to = { first: 0, last: stops.length - 1, next: at + 1, previous: at - 1 }[where];
    if (stops[to]) stops[to].summary.focus();
    else if (to < 0 && byId("search")) byId("search").focus();
  };
  const KEYS = { ArrowDown: "next", ArrowUp: "previous", Home: "first", End: "last" };
  document.addEventListener("keydown", (event) => {
    const summary = event.target;
    if (!KEYS[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
    if (!(summary instanceof HTMLElement) || !summary.matches("details.group > summary")) return;
    event.preventDefault();
    move(summary, KEYS[event.key]);
  });

  // A link to one finding opens what it lies in.
  const reveal = () => {
    const target = location.hash.startsWith("#f-") && byId(location.hash.slice(1));
    if (!target) return;
    target.closest("details.group").open = true;
    target.querySelector("details.evidence").open = true;
    target.scrollIntoView();
  };
  window.addEventListener("hashchange", reveal);
  reveal();

  // On paper nothing can be opened.
  let closed = [];
  window.addEventListener("beforeprint", () => {
    closed = Array.from(document.querySelectorAll("details.group, details.evidence"))
      .filter((details) => !details.open && !details.closest("[hidden]"));
    for (const details of closed) details.open = true;
  });
  window.addEventListener("afterprint", () => {
    for (const details of closed) details.open = false;
    closed = [];
  });
})();
