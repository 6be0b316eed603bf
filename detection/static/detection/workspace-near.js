"use strict";
// Videos that look the same as the one to be answered: a strip below it, and the way to label them together.
window.dfdNear = (() => {
  const { make } = window.dfdWorkspaceView;

  const one = (found) =>
    make(
      "li",
      {},
      make(
        "a",
        { class: "dfd-near__one", href: found.page_url, title: found.name },
        found.thumbnail_url
          ? make("img", { class: "dfd-thumb", src: found.thumbnail_url, alt: "", decoding: "async" })
          : make("span", { class: "dfd-thumb dfd-thumb--none" }),
        make(
          "span",
          { class: "dfd-clip__text" },
          make("span", { class: "dfd-clip__name", text: found.name }),
          make("span", { class: "dfd-subtle", text: [found.how, found.label_text].filter(Boolean).join(" · ") }),
        ),
      ),
    );

  // Null where nothing looks the same.
  const strip = (data) => {
    if (!data.near.length) return null;
    const n = data.near.length;
    return make(
      "section",
      { class: "dfd-ws__near", "data-near": true, "aria-label": gettext("Looks the same") },
      make(
        "p",
        { class: "dfd-ws__head" },
        make("strong", { text: interpolate(ngettext("Looks the same: %(n)s video", "Looks the same: %(n)s videos", n), { n }, true) }),
        data.near_sheet_url
          ? make("a", { class: "dfd-button", href: data.near_sheet_url, "data-near-sheet": true }, gettext("Label them together"), make("kbd", { "data-key": "near", "aria-hidden": "true" }))
          : null,
      ),
      make("ul", { class: "dfd-near" }, ...data.near.map(one)),
    );
  };

  // The link to the contact sheet that stands in `where`, by its key.
  const press = (where) => {
    const link = where.querySelector("[data-near-sheet]");
    if (link) link.click();
  };

  return { press, strip };
})();
