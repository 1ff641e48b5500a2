// The theme gives its search a dialog's role and no name, which a screen reader would say.
for (const dialog of document.querySelectorAll(".md-search[role=dialog]")) dialog.setAttribute("aria-label", "Search");
