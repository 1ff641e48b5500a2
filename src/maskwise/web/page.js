/* What the page does in the browser itself: the address keeps the settings, old maps are greyed, exact names win. */
"use strict";
const maskwise = (() => {
  const FACTS = "FACTS";  // {names, classifiers, methods, most, usual, options, scales, prefilter}, put in by the server
  const NAMES = FACTS.names;
  const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);
  const within = ([low, high], text, usual) => { const n = Number(text); return text !== "" && n >= low && n <= high ? n : usual; };

  /* Settings of an address, in the order of NAMES; what makes no sense there is as usual. */
  function read(search) {
    const given = new URLSearchParams(search), usual = FACTS.usual;
    const take = (name, make) => given.has(name) ? make(given.get(name)) : usual[name];
    const methods = take("methods", text => [...new Set(text.split(","))].filter(m => FACTS.methods.includes(m)).slice(0, FACTS.most));
    return [
      take("classifier", text => FACTS.classifiers.includes(text) ? text : usual.classifier),
      methods.length ? methods : usual.methods,
      take("class", text => text.slice(0, 200) || usual.class),
      take("sess", text => text === "1"),
      take("scales", text => Math.round(within(FACTS.scales, text, usual.scales))),
      take("prefilter", text => within(FACTS.prefilter, text, usual.prefilter)),
      take("curves", text => text === "1"),
      take("options", text => text.slice(0, 1000)),
    ];
  }
  function written(values) {
    const query = new URLSearchParams();
    NAMES.forEach((name, i) => {
      const value = values[i];
      if (value === null || same(value, FACTS.usual[name])) return;
      query.set(name, Array.isArray(value) ? value.join(",") : typeof value === "boolean" ? (value ? "1" : "0") : value);
    });
    return query.toString();
  }
  function about(methods) {
    const node = document.getElementById("option-help");
    if (node) node.textContent = (methods ?? []).map(m => FACTS.options[m]).filter(Boolean).join("; ");
  }
  /* The drop zone's label does not say what stands in it; without a label its own text is its name. */
  function named() {
    const drop = document.getElementById("drop");
    const strip = () => drop.querySelectorAll("button[aria-label]").forEach(node => { if (node.innerText.trim()) node.removeAttribute("aria-label"); });
    strip();
    new MutationObserver(strip).observe(drop, {childList: true, subtree: true, attributes: true, attributeFilter: ["aria-label"]});
  }
  const past = old => document.getElementById("answers")?.toggleAttribute("data-old", old);
  let settled = false;
  return {
    restored() {
      const values = read(location.search);
      about(values[1]);
      named();
      setTimeout(() => { settled = true; }, 500);
      return values;
    },
    changed(...values) {
      about(values[1]);
      if (!settled) return;
      past(true);
      const query = written(values);
      history.replaceState(history.state, "", query ? "?" + query : location.pathname);
    },
    old() { past(true); },
    asked() {
      past(false);
      if (innerWidth > 700) return;
      /* On a telephone answers come below the form: the page goes there with the first one. */
      const top = document.getElementById("status"), result = document.getElementById("result");
      top.scrollIntoView({block: "start"});
      const watcher = new MutationObserver(() => {
        if (!result.querySelector("section")) return;
        watcher.disconnect();
        top.scrollIntoView({block: "start"});
      });
      watcher.observe(result, {childList: true, subtree: true});
    },
  };
})();
/* Enter takes what was typed: the choice of exactly that name, and in a list that takes other names the text itself. */
addEventListener("keydown", event => {
  const input = event.target, list = input.closest?.("#methods, #class, #classifier");
  if (!list || input.role !== "combobox") return;
  if (event.key.startsWith("Arrow")) { input.dataset.moved = "1"; return; }
  if (event.key !== "Enter") { delete input.dataset.moved; return; }
  const text = input.value.trim().toLowerCase();
  if (input.dataset.moved || !text) return;
  const exact = [...list.querySelectorAll("[role=option]")].find(option => option.getAttribute("aria-label").toLowerCase() === text);
  if (exact) exact.dispatchEvent(new MouseEvent("mousedown", {bubbles: true, cancelable: true}));
  else if (list.id === "class") input.blur();
  else return;
  event.stopImmediatePropagation();
  event.preventDefault();
}, true);
