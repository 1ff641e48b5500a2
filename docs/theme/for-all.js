// What the theme leaves to each page: every part of a menu has a name of its own, a table that is wider than the screen can
// be moved by keys, and an empty corner of a table is no heading.
function name() {
  document.querySelectorAll("nav.md-code__nav, .md-nav .md-nav").forEach((part, place) => {
    const title = document.getElementById(part.getAttribute("aria-labelledby"))?.innerText.trim();
    const said = title || part.dataset.said || part.getAttribute("aria-label") || "Code";
    part.dataset.said = said;
    part.removeAttribute("aria-labelledby");
    part.setAttribute("aria-label", `${said} (${place + 1})`);
  });
  for (const wide of document.querySelectorAll(".md-typeset__scrollwrap, .md-typeset pre")) wide.setAttribute("tabindex", "0");
  for (const corner of document.querySelectorAll("th:empty")) corner.replaceWith(document.createElement("td"));
}
document$.subscribe(name);
