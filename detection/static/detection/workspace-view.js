"use strict";
// What a video in the review workspace looks like: built from data, never from text as HTML (file names are hostile).
window.dfdWorkspaceView = (() => {
  const SVG = "http://www.w3.org/2000/svg";

  const make = (tag, props = {}, ...children) => {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(props)) {
      if (value === null || value === undefined || value === false) continue;
      if (name in node && typeof value !== "string") node[name] = value;
      else if (name === "text") node.textContent = value;
      else node.setAttribute(name, value === true ? "" : value);
    }
    node.append(...children.filter((child) => child !== null));
    return node;
  };

  const svg = (tag, props, ...children) => {
    const node = document.createElementNS(SVG, tag);
    for (const [name, value] of Object.entries(props)) node.setAttribute(name, value);
    node.append(...children);
    return node;
  };

  const seconds = (value) => (value === null ? "" : `${value.toFixed(1)} s`);

  // Where the retention policy has removed the clip, the pictures are left.
  const pictures = (video) =>
    make(
      "div",
      { class: "dfd-ws__film" },
      video.poster_url ? make("div", { class: "dfd-player" }, make("img", { src: video.poster_url, alt: "A frame of the video" })) : null,
      make("p", { class: "dfd-note dfd-note--amber", "data-gone": true, text: `${video.gone} Judge by the pictures, or answer unsure.` }),
    );

  const player = ({ video, coverage }) => {
    const film = make("video", { controls: true, playsinline: true, preload: "auto", "aria-label": "The clip", "data-film": true });
    film.muted = true;
    film.loop = true;
    if (video.poster_url) film.poster = video.poster_url;
    const note = make(
      "p",
      { class: "dfd-note dfd-note--amber", role: "status", hidden: true },
      `This browser cannot play the clip${video.codec ? ` (${video.codec})` : ""}. `,
      make("a", { class: "dfd-link", href: video.original_url, download: true, text: "Download the original" }),
    );
    film.addEventListener("error", () => {
      note.hidden = false;
      film.hidden = true;
      if (window.dfdEvidence) window.dfdEvidence.preview(video.id, film, note, { play: true });
    });
    film.src = video.clip_url || video.original_url;
    const button = (text, act, label) => make("button", { type: "button", class: "dfd-button", "data-act": act, "aria-label": label, text });
    const speed = make(
      "select",
      { class: "dfd-input dfd-ws__speed", "aria-label": "Speed", "data-act": "speed" },
      ...[0.25, 0.5, 1, 2].map((rate) => make("option", { value: String(rate), selected: rate === 1, text: `${rate}×` })),
    );
    return make(
      "div",
      { class: "dfd-ws__film" },
      make("div", { class: "dfd-player" }, film, note),
      make(
        "div",
        { class: "dfd-row", role: "group", "aria-label": "Player" },
        button("◀ frame", "back", "One frame back (left arrow)"),
        button("Play / pause", "play", "Play or pause (space)"),
        button("frame ▶", "forward", "One frame forward (right arrow)"),
        button("Loop", "loop", "Loop on or off (l)"),
        speed,
        make("span", { class: "dfd-subtle", "data-clock": true, text: "" }),
      ),
      make("div", { "data-timeline": true }),
      coverage ? make("p", { class: "dfd-subtle", text: coverage }) : null,
    );
  };

  const person = (found, many) =>
    make(
      "section",
      { class: "dfd-person", "data-person": String(found.number), "aria-label": `Person ${found.number}` },
      many
        ? make(
            "header",
            { class: "dfd-person__head" },
            make("h3", {}, make("button", { type: "button", class: "dfd-ws__choose", "data-choose": String(found.number), title: "Answer for this person", text: `Person ${found.number}` })),
            found.number < 10 ? make("kbd", { text: String(found.number), "aria-hidden": "true" }) : null,
            make("span", { class: "dfd-badge dfd-badge--grey", "data-mark": true, hidden: true }),
          )
        : null,
      make(
        "ol",
        { class: "dfd-strip" },
        ...found.faces.map((face, index) =>
          make(
            "li",
            { class: "dfd-face" },
            make(
              "button",
              { type: "button", class: "dfd-face__seek", "data-face": face.image_url, "data-seek": face.timestamp_s === null ? null : String(face.timestamp_s), title: "Show this moment; m magnifies" },
              make("img", { src: face.image_url, width: "224", height: "224", decoding: "async", alt: `Face ${index + 1} of person ${found.number}, ${seconds(face.timestamp_s)}` }),
            ),
            make("span", { class: "dfd-face__time dfd-subtle", text: seconds(face.timestamp_s) }),
          ),
        ),
      ),
    );

  const frame = (shown) =>
    make(
      "figure",
      { class: "dfd-frame" },
      make(
        "button",
        { type: "button", class: "dfd-frame__picture dfd-face__seek", "data-face": shown.image_url, "data-seek": String(shown.timestamp_s) },
        make("img", { src: shown.image_url, decoding: "async", alt: `Frame ${shown.frame_number}, ${shown.boxes.length} rejected boxes` }),
        shown.boxes.length
          ? svg(
              "svg",
              { class: "dfd-frame__boxes", viewBox: `0 0 ${shown.width} ${shown.height}`, preserveAspectRatio: "none", "aria-hidden": "true" },
              ...shown.boxes.map((box) => svg("rect", { class: "dfd-box", x: box.x, y: box.y, width: box.width, height: box.height })),
            )
          : null,
      ),
      make("figcaption", { class: "dfd-subtle", text: [seconds(shown.timestamp_s), ...new Set(shown.boxes.map((box) => box.sentence))].join(" · ") }),
    );

  const rescanButton = () =>
    make("button", { type: "button", class: "dfd-button", "data-act": "look", title: "With lower thresholds for what counts as a face" }, "Look again", make("kbd", { "data-key": "rescan", "aria-hidden": "true" }));

  const ROLES = { second: "Second reading", adjudication: "To be settled" };

  // A section with everything of one video.
  const item = (data, labels) => {
    const heading = make("h2", { class: "dfd-ws__name", tabindex: "-1", "data-video-name": true, text: data.video.name });
    const named = (value) => (labels.find((label) => label.value === value) || { text: value }).text;
    return make(
      "section",
      { class: "dfd-ws__item", "data-claim": data.claim, "aria-label": "The video to be answered" },
      make(
        "header",
        { class: "dfd-ws__head" },
        heading,
        ROLES[data.role] ? make("span", { class: "dfd-badge dfd-badge--violet", text: ROLES[data.role] }) : null,
        make("p", { class: "dfd-subtle", text: data.why }),
        make("a", { class: "dfd-link", href: data.video.page_url, text: "All about this video" }),
        data.can_rescan ? rescanButton() : null,
      ),
      data.answers.length
        ? make("ul", { class: "dfd-note" }, ...data.answers.map((said) => make("li", {}, make("strong", { text: `${said.who}: ${named(said.label)}` }), said.people.length ? ` (${window.dfdPeople.words(said.people)})` : "", said.comment ? ` ${said.comment}` : "")))
        : null,
      make(
        "div",
        { class: "dfd-ws__columns" },
        data.video.gone ? pictures(data.video) : player(data),
        data.people.length
          ? make("div", { class: "dfd-people" }, ...data.people.map((found) => person(found, data.people.length > 1)))
          : make("div", { class: "dfd-frames" }, ...data.frames.map(frame), data.frames.length ? null : make("p", { class: "dfd-subtle", text: `No picture of this video was kept (${data.video.status_text}).` })),
        window.dfdNear.strip(data),
      ),
    );
  };

  // "You: fake. The model: real, 0.31 of 0.50", with a curve for each person.
  // `mine` is null when an answer was taken back: the score is known by then.
  const said = (mine, model) => {
    const head = mine === null ? "Taken back." : `Recorded: ${mine}.`;
    const back = mine === null ? "Answer anew." : "z takes it back.";
    if (!model) return [make("strong", { text: head }), ` The model has no answer. ${back}`];
    return [
      make("strong", { text: head }),
      ` The model says ${model.label}${model.assessment ? ` (${model.assessment.toLowerCase()})` : ""}, ${model.score} (threshold ${model.threshold})${model.agrees === false && !model.without ? ": it disagrees" : ""}. `,
      model.without ? make("span", { "data-without": true, text: `Without person ${model.without.people.join(" and ")} it is ${model.without.label}, ${model.without.score}${model.agrees === false ? ": it disagrees" : ""}. ` }) : "",
      make("span", { class: "dfd-subtle", text: `${model.version}. ${model.untold ? `${model.untold} ` : ""}${back} ` }),
      ...model.people
        .filter((found) => found.sparkline)
        .map((found) =>
          svg(
            "svg",
            { class: "dfd-spark", viewBox: "0 -2 100 28", preserveAspectRatio: "none", role: "img", "aria-label": `Scores of person ${found.number} over time, ${found.score}` },
            svg("line", { class: "dfd-spark__threshold", x1: 0, x2: 100, y1: found.threshold_y, y2: found.threshold_y }),
            svg("polyline", { class: "dfd-spark__line", points: found.sparkline }),
          ),
        ),
    ];
  };

  // Pictures and the clip's first bytes, before the video is shown.
  const warm = (data) => {
    const urls = [...data.people.flatMap((found) => found.faces), ...data.frames].map((picture) => picture.image_url);
    data.warm = urls.map((url) => Object.assign(new Image(), { src: url }));
  };

  return { item, make, said, warm };
})();
