"use strict";
// Evidence on demand: a copy of a clip that the browser can play, and heat maps in a dialog.  Both are asked for, and
// then asked about each second for as long as somebody waits for them.
window.dfdEvidence = (() => {
  const { make, personName, seconds } = window.dfdWorkspaceView;
  const byId = (name) => document.getElementById(`dfd-heat-${name}`);
  const box = () => document.getElementById("dfd-heat");
  const EVERY_MS = 1000;
  const PATIENCE = 10; // seconds without an answer of the server

  // A refusal is an answer; what has no code (no network, logged out) may be asked again.
  const ask = (video, kind, again) =>
    window.dfdPost(box().dataset.url, { video, kind, again }).catch((error) => {
      if (error.code) return { state: "refused", sentence: error.message };
      throw error;
    });

  // Until it is made, has failed, was refused, or nobody waits any more (null).
  const follow = async (video, kind, { waits, tell = () => {}, again = false }) => {
    for (let silent = 0; waits(); again = false) {
      try {
        const data = await ask(video, kind, again);
        silent = 0;
        if (!["queued", "running"].includes(data.state)) return waits() ? data : null;
        tell(data.sentence);
      } catch (error) {
        silent += 1;
        if (silent > PATIENCE || error.loggedOut) {
          return { state: "failed", sentence: error.loggedOut ? error.message : gettext("The server cannot be reached.") };
        }
      }
      await new Promise((resolve) => window.setTimeout(resolve, EVERY_MS));
    }
    return null;
  };

  // --- a copy that plays ---
  const tried = new WeakSet();

  // `note` says in its own words that the clip does not play; they stay when no copy can be made.
  const preview = async (video, film, note, { play = false } = {}) => {
    if (tried.has(film)) return;
    tried.add(film);
    const words = [...note.childNodes];
    note.replaceChildren(gettext("Making a copy that this browser can play …"));
    const made = await follow(video, "preview", { waits: () => film.isConnected });
    if (!made) return;
    if (made.state !== "succeeded") {
      note.replaceChildren(`${made.sentence} `, ...words);
      return;
    }
    note.replaceChildren(...words); // in case the copy does not play either
    film.addEventListener("loadeddata", () => {
      note.hidden = true;
      film.hidden = false;
      film.parentElement.after(make("p", { class: "dfd-subtle dfd-caption", "data-copy": true, text: made.note }));
      const exact = film.closest("section").querySelector("[data-exact]"); // what it says holds no longer
      if (exact) exact.hidden = true;
      if (play) film.play().catch(() => {});
    }, { once: true });
    if (window.dfdFilm) window.dfdFilm.setCopy(film);
    film.src = made.preview_url;
    film.load();
  };

  // --- heat maps ---
  let shown = null; // the id of the video in the dialog

  const face = (data, person, index, heatmaps) =>
    make(
      "li",
      { class: "dfd-face" },
      make("img", {
        src: heatmaps[data.id],
        "data-map": heatmaps[data.id],
        "data-plain": data.image_url,
        width: "224",
        height: "224",
        alt: interpolate(gettext("Heat map over face %(face)s of person %(person)s, %(time)s"), { face: index + 1, person: person.number, time: seconds(data.timestamp_s) }, true),
      }),
      make("span", { class: "dfd-face__time dfd-subtle", text: seconds(data.timestamp_s) }),
    );

  const people = (data) =>
    data.people.map((person) =>
      make(
        "section",
        { class: "dfd-person", "aria-label": personName(person) },
        data.people.length > 1 ? make("h3", { text: personName(person) }) : null,
        make("ol", { class: "dfd-strip" }, ...person.faces.map((one, index) => face(one, person, index, data.heatmaps))),
      ),
    );

  const plain = (on) => {
    byId("plain").setAttribute("aria-pressed", String(on));
    byId("people").querySelectorAll("img").forEach((image) => {
      image.src = on ? image.dataset.plain : image.dataset.map;
    });
  };

  const show = async (video, again = false) => {
    shown = video.id;
    byId("name").textContent = video.name || "";
    byId("said").textContent = gettext("Asking for the heat maps …");
    byId("people").replaceChildren();
    byId("plain").hidden = byId("again").hidden = true;
    plain(false);
    if (!box().open) box().showModal();
    byId("again").onclick = () => show(video, true);
    const said = (text) => {
      byId("said").textContent = text;
    };
    const made = await follow(video.id, "heatmaps", { waits: () => box().open && shown === video.id, tell: said, again });
    if (!made) return;
    said(made.sentence);
    byId("again").hidden = made.state !== "failed";
    if (made.state !== "succeeded") return;
    byId("people").replaceChildren(...people(made));
    byId("plain").hidden = false;
  };

  const button = (video) =>
    Object.assign(
      make("button", { type: "button", class: "dfd-button", "data-heat": true }, gettext("Heat maps"), make("kbd", { "data-key": "heatmaps", "aria-hidden": "true" })),
      { onclick: () => show({ id: video.id, name: video.name }) },
    );

  // The button that stands in `where`, by its key.
  const press = (where) => {
    const found = where.querySelector("[data-heat]");
    if (found) found.click();
  };

  document.addEventListener("DOMContentLoaded", () => {
    if (!box()) return;
    byId("plain").addEventListener("click", () => plain(byId("plain").getAttribute("aria-pressed") !== "true"));
    box().addEventListener("keydown", (event) => {
      const closing = (window.dfdKeys && window.dfdKeys.of("heatmaps")) || "h"; // the page of a video has no keys of one's own
      const key = event.repeat ? null : window.dfdKey(event, (one) => one === "a" || one === closing);
      if (key === "a" && !byId("plain").hidden) byId("plain").click();
      if (key === closing) {
        event.preventDefault();
        event.stopPropagation(); // or it would open again
        box().close();
      }
    });
    document.querySelectorAll("[data-heat-video]").forEach((one) => {
      one.addEventListener("click", () => show({ id: one.dataset.heatVideo, name: "" }));
    });
  });

  return { button, isOpen: () => Boolean(box() && box().open), press, preview, follow };
})();
