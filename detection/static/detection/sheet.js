"use strict";
// The contact sheet: tick, choose a label, type the number of videos, and all of them have it.
document.addEventListener("DOMContentLoaded", () => {
  const view = window.dfdWorkspaceView;
  const { make } = view;
  const setup = JSON.parse(document.getElementById("dfd-sheet").textContent);
  const byId = (name) => document.getElementById(`dfd-sheet-${name}`);
  const [grid, said, errorLine, comment, queueBox, confirm, count, yes] = ["grid", "said", "error", "comment", "queue", "confirm", "count", "yes"].map(byId);
  let queue = setup.queue;
  let items = [];
  let wanted = null; // {label, claims, batch} while the dialog asks
  let sending = false; // a decision of which the server has not said yet whether it is stored
  const marked = new Set(); // claims

  const post = (name, body, options) => window.dfdPost(setup.urls[name], body, options);
  const fault = (text) => {
    errorLine.textContent = text;
    errorLine.hidden = !text;
  };
  const videos = (n) => interpolate(ngettext("%(n)s video", "%(n)s videos", n), { n }, true);

  // --- the grid ---
  const mark = (card, on) => {
    card.setAttribute("aria-pressed", String(on));
    if (on) marked.add(card.dataset.claim);
    else marked.delete(card.dataset.claim);
    tell();
  };
  const cards = () => [...grid.querySelectorAll("[data-claim]")];

  const card = (item) => {
    const pictures = item.pictures.length ? item.pictures : [item.thumbnail_url].filter(Boolean);
    return make(
      "li",
      {},
      make(
        "button",
        { type: "button", class: "dfd-sheet__card", "data-claim": item.claim, "aria-pressed": "false" },
        make("span", { class: "dfd-sheet__pictures" }, ...pictures.map((src) => make("img", { src, alt: "", decoding: "async" }))),
        make("span", { class: "dfd-sheet__name", text: item.name }),
        item.label_text ? make("span", { class: "dfd-subtle", text: interpolate(gettext("labelled %(label)s"), { label: view.within(item.label_text) }, true) }) : null,
      ),
      make("a", { class: "dfd-link dfd-subtle", href: item.page_url, "aria-label": interpolate(gettext("All about %(name)s"), { name: item.name }, true), text: gettext("All about it") }),
    );
  };

  const held = () => items.map((item) => item.claim);
  const open = async () => {
    marked.clear();
    try {
      const ask = () => post("sheet-open", { held: held(), ...(queue === "chosen" ? { ids: setup.ids } : { queue }) });
      const told = await (document.documentElement.dataset.ready ? ask() : window.dfdFirst(ask, ({ items: found }) => !found.length));
      items = told.items;
      grid.replaceChildren(...items.map(card));
      if (!items.length) grid.replaceChildren(make("li", { class: "dfd-subtle", text: gettext("Nothing waits here. Choose another queue above.") }));
      fault(told.left_out ? interpolate(gettext("%(videos)s left out: somebody else is looking at them just now, or they are gone."), { videos: videos(told.left_out) }, true) : "");
    } catch (error) {
      fault(error.message);
    }
    tell();
    document.documentElement.dataset.ready = String(Number(document.documentElement.dataset.ready || 0) + 1);
  };

  grid.addEventListener("click", (event) => {
    const chosen = event.target.closest("[data-claim]");
    if (chosen) mark(chosen, chosen.getAttribute("aria-pressed") !== "true");
  });

  // --- labels ---
  const buttons = setup.labels.map((label) =>
    Object.assign(make("button", { type: "button", class: `dfd-label dfd-label--${label.value}`, "aria-keyshortcuts": label.key }), {
      onclick: () => ask(label),
    }),
  );
  byId("buttons").append(...buttons);
  const tell = () => {
    setup.labels.forEach((label, index) => {
      buttons[index].replaceChildren(`${label.text}: ${videos(marked.size)}`, make("kbd", { text: label.key, "aria-hidden": "true" }));
      buttons[index].disabled = sending || !marked.size;
    });
    queueBox.disabled = sending;
  };

  const ask = (label) => {
    if (sending || !marked.size) return;
    wanted = { label: label.value, claims: [...marked], batch: crypto.randomUUID ? crypto.randomUUID() : uuid() };
    byId("title").textContent = interpolate(gettext("Label %(videos)s as %(label)s?"), { videos: videos(marked.size), label: view.within(label.text) }, true);
    byId("ask").textContent = interpolate(gettext("Type %(n)s to confirm."), { n: marked.size }, true);
    yes.textContent = interpolate(gettext("Label %(videos)s"), { videos: videos(marked.size) }, true);
    yes.disabled = true;
    count.value = "";
    byId("small").replaceChildren(
      ...items
        .filter((item) => marked.has(item.claim))
        .map((item) => make("li", {}, item.pictures[0] || item.thumbnail_url ? make("img", { src: item.pictures[0] || item.thumbnail_url, alt: "" }) : item.name)),
    );
    confirm.showModal();
    count.focus();
  };
  // Only a page that came by https (or from this machine) is given crypto.randomUUID.
  const uuid = () => {
    const bytes = crypto.getRandomValues(new Uint8Array(16));
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
    return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
  };
  count.addEventListener("input", () => {
    yes.disabled = count.value.trim() !== String(wanted.claims.length);
  });
  // Sent until the server says what became of it: a batch that it has stored already it only tells again.
  const send = async (body) => {
    const label = view.within(setup.labels.find((one) => one.value === body.label).text);
    for (let wait = 500; ; wait = Math.min(8000, wait * 2)) {
      try {
        return await post("sheet-label", body);
      } catch (error) {
        if (error.code && error.status < 500) throw error;
        const why = error.loggedOut ? error.message : gettext("The server cannot be reached; trying again.");
        fault(interpolate(gettext("Not known yet whether it was stored (%(videos)s labelled %(label)s). %(why)s"), { videos: videos(body.confirmed), label, why }, true));
        await new Promise((resolve) => window.setTimeout(resolve, wait));
      }
    }
  };
  confirm.addEventListener("close", async () => {
    const doing = wanted;
    wanted = null;
    if (confirm.returnValue !== "yes" || !doing || yes.disabled) return;
    said.textContent = gettext("Recording …");
    sending = true;
    tell();
    try {
      const told = await send({ ...doing, confirmed: Number(count.value), comment: comment.value });
      sending = false;
      fault("");
      const text = setup.labels.find((one) => one.value === told.label).text;
      const revert = Object.assign(make("button", { type: "button", class: "dfd-button", text: gettext("Revert") }), { onclick: () => undo(told.batch, revert) });
      said.replaceChildren(make("strong", { text: interpolate(gettext("Recorded: %(videos)s labelled %(label)s."), { videos: videos(told.size), label: view.within(text) }, true) }), " ", revert);
      comment.value = "";
      setup.ids = setup.ids.filter((id) => !items.some((item) => item.id === id && doing.claims.includes(item.claim)));
      if (queue === "chosen" && !setup.ids.length) {
        items = [];
        marked.clear();
        grid.replaceChildren(make("li", { class: "dfd-subtle", text: gettext("All of them are labelled.") }));
        tell();
        document.documentElement.dataset.ready = String(Number(document.documentElement.dataset.ready || 0) + 1);
      } else await open();
    } catch (error) {
      sending = false;
      tell();
      said.textContent = "";
      fault(interpolate(gettext("Not stored: %(why)s"), { why: error.message }, true));
    }
  });
  const undo = async (batch, button) => {
    button.disabled = true;
    try {
      const { reverted } = await post("sheet-revert", { batch });
      said.textContent = interpolate(gettext("Reverted: the labels of %(videos)s are taken back."), { videos: videos(reverted) }, true);
      if (queue !== "chosen") await open();
    } catch (error) {
      button.disabled = false;
      fault(error.message);
    }
  };

  // --- queues, keys, leaving ---
  if (queue === "chosen") queueBox.append(make("option", { value: "chosen", selected: true, text: gettext("Chosen by you") }));
  queueBox.append(...setup.queues.map((entry) => make("option", { value: entry.key, selected: entry.key === queue, text: entry.title })));
  queueBox.addEventListener("change", () => {
    queue = queueBox.value;
    if (queue !== "chosen") history.replaceState(null, "", `?queue=${encodeURIComponent(queue)}`);
    queueBox.blur();
    open();
  });
  byId("all").addEventListener("click", () => cards().forEach((one) => mark(one, true)));
  byId("none").addEventListener("click", () => cards().forEach((one) => mark(one, false)));
  comment.addEventListener("keydown", (event) => {
    if (window.dfdKey(event, (key) => key === "Escape" || key === "Enter")) comment.blur();
  });
  const move = (by) => {
    const all = cards();
    const at = all.indexOf(document.activeElement);
    const next = all[Math.max(0, Math.min(all.length - 1, at < 0 ? 0 : at + by))];
    if (next) next.focus();
  };
  const acts = { a: () => byId("all").click(), x: () => byId("none").click(), ArrowLeft: () => move(-1), ArrowRight: () => move(1) };
  if (setup.comment_key) acts[setup.comment_key] = () => comment.focus();
  for (const label of setup.labels) if (label.key) acts[label.key] = () => ask(label);
  document.addEventListener("keydown", (event) => {
    if (event.repeat || confirm.open) return;
    if (event.target.closest && event.target.closest("input, textarea, select")) return;
    const key = window.dfdKey(event, (one) => Object.hasOwn(acts, one));
    if (!key) return;
    event.preventDefault();
    acts[key]();
  });
  window.setInterval(async () => {
    if (!items.length) return;
    const { lost } = await post("beat", { claims: held() }).catch(() => ({ lost: [] }));
    // Of what is being sent, those that were stored are gone as well.
    if (lost.length && !sending) fault(interpolate(gettext("%(videos)s no longer with this page: it was silent too long, or they were deleted. Open the sheet again."), { videos: videos(lost.length) }, true));
  }, (setup.lease_s * 1000) / 3);
  window.addEventListener("beforeunload", (event) => {
    if (sending) event.preventDefault();
  });
  window.addEventListener("pagehide", () => {
    if (items.length) post("release", { claims: held() }, { keepalive: true }).catch(() => {});
  });
  open();
});
