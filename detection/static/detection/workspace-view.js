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

  // A number as the page's language writes it.
  const figure = (value, digits) => value.toLocaleString(document.documentElement.lang, { minimumFractionDigits: digits, maximumFractionDigits: digits, useGrouping: false });
  const seconds = (value) => (value === null ? "" : `${figure(value, 1)} s`);
  // A label as it stands within a sentence: no language's labels begin with a word that always has a capital.
  const within = (label) => label.charAt(0).toLowerCase() + label.slice(1);
  const personName = ({ number }) => interpolate(gettext("Person %(number)s"), { number }, true);

  // Where the retention policy has removed the clip, the pictures are left.
  const pictures = (video) =>
    make(
      "div",
      { class: "dfd-ws__film" },
      video.poster_url ? make("div", { class: "dfd-player" }, make("img", { src: video.poster_url, alt: gettext("A frame of the video") })) : null,
      make("p", { class: "dfd-note dfd-note--amber", "data-gone": true, text: `${video.gone} ${gettext("Judge by the pictures, or answer unsure.")}` }),
    );

  const player = ({ video, coverage }) => {
    const film = make("video", { controls: true, playsinline: true, preload: "auto", "aria-label": gettext("The clip"), "data-film": true });
    film.muted = true;
    film.loop = true;
    if (video.poster_url) film.poster = video.poster_url;
    const note = make(
      "p",
      { class: "dfd-note dfd-note--amber", role: "status", hidden: true },
      `${video.codec ? interpolate(gettext("This browser cannot play the clip (%(codec)s)."), { codec: video.codec }, true) : gettext("This browser cannot play the clip.")} `,
      make("a", { class: "dfd-link", href: video.original_url, download: true, text: gettext("Download the original") }),
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
      { class: "dfd-input dfd-ws__speed", "aria-label": gettext("Speed"), "data-act": "speed" },
      ...[0.25, 0.5, 1, 2].map((rate) => make("option", { value: String(rate), selected: rate === 1, text: `${rate}×` })),
    );
    return make(
      "div",
      { class: "dfd-ws__film" },
      make("div", { class: "dfd-player" }, film, note),
      make(
        "div",
        { class: "dfd-row", role: "group", "aria-label": gettext("Player") },
        button(gettext("◀ frame"), "back", gettext("One frame back (left arrow)")),
        button(gettext("Play / pause"), "play", gettext("Play or pause (space)")),
        button(gettext("frame ▶"), "forward", gettext("One frame forward (right arrow)")),
        button(gettext("Loop"), "loop", gettext("Loop on or off (l)")),
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
      { class: "dfd-person", "data-person": String(found.number), "aria-label": personName(found) },
      many
        ? make(
            "header",
            { class: "dfd-person__head" },
            make("h3", {}, make("button", { type: "button", class: "dfd-ws__choose", "data-choose": String(found.number), title: gettext("Answer for this person"), text: personName(found) })),
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
              { type: "button", class: "dfd-face__seek", "data-face": face.image_url, "data-seek": face.timestamp_s === null ? null : String(face.timestamp_s), title: gettext("Show this moment; m magnifies") },
              make("img", { src: face.image_url, width: "224", height: "224", decoding: "async", alt: interpolate(gettext("Face %(face)s of person %(person)s, %(time)s"), { face: index + 1, person: found.number, time: seconds(face.timestamp_s) }, true) }),
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
        make("img", { src: shown.image_url, decoding: "async", alt: interpolate(ngettext("Frame %(number)s, %(n)s rejected box", "Frame %(number)s, %(n)s rejected boxes", shown.boxes.length), { number: shown.frame_number, n: shown.boxes.length }, true) }),
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
    make("button", { type: "button", class: "dfd-button", "data-act": "look", title: gettext("With lower thresholds for what counts as a face") }, gettext("Look again"), make("kbd", { "data-key": "rescan", "aria-hidden": "true" }));

  const ROLES = { second: gettext("Second reading"), adjudication: gettext("To be settled") };

  // A section with everything of one video.
  const item = (data, labels) => {
    const heading = make("h2", { class: "dfd-ws__name", tabindex: "-1", "data-video-name": true, text: data.video.name });
    const named = (value) => (labels.find((label) => label.value === value) || { text: value }).text;
    return make(
      "section",
      { class: "dfd-ws__item", "data-claim": data.claim, "aria-label": gettext("The video to be answered") },
      make(
        "header",
        { class: "dfd-ws__head" },
        heading,
        ROLES[data.role] ? make("span", { class: "dfd-badge dfd-badge--violet", text: ROLES[data.role] }) : null,
        make("p", { class: "dfd-subtle", text: data.why }),
        make("a", { class: "dfd-link", href: data.video.page_url, text: gettext("All about this video") }),
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
          : make("div", { class: "dfd-frames" }, ...data.frames.map(frame), data.frames.length ? null : make("p", { class: "dfd-subtle", text: interpolate(gettext("No picture of this video was kept (%(status)s)."), { status: data.video.status_text }, true) })),
        window.dfdNear.strip(data),
      ),
    );
  };

  // "You: fake. The model: real, 0.31 of 0.50", with a curve for each person.
  // `mine` is null when an answer was taken back: the score is known by then.
  const said = (mine, model) => {
    const filled = (sentence, facts) => interpolate(sentence, facts, true);
    const head = mine === null ? gettext("Taken back.") : filled(gettext("Recorded: %(answer)s."), { answer: mine });
    const back = mine === null ? gettext("Answer anew.") : gettext("z takes it back.");
    if (!model) return [make("strong", { text: head }), ` ${gettext("The model has no answer.")} ${back}`];
    const disagrees = model.agrees === false ? `: ${gettext("it disagrees")}` : "";
    const words = model.assessment ? ` (${within(model.assessment)})` : "";
    const opinion = filled(gettext("The model says %(label)s, %(score)s (threshold %(threshold)s)"), { label: `${model.label_text}${words}`, score: model.score, threshold: model.threshold });
    const without = model.without
      ? filled(gettext("Without person %(people)s it is %(label)s, %(score)s"), { people: model.without.people.join(gettext(" and ")), label: model.without.label_text, score: model.without.score })
      : "";
    return [
      make("strong", { text: head }),
      ` ${opinion}${without ? "" : disagrees}. `,
      without ? make("span", { "data-without": true, text: `${without}${disagrees}. ` }) : "",
      make("span", { class: "dfd-subtle", text: `${model.version}. ${model.untold ? `${model.untold} ` : ""}${back} ` }),
      ...model.people
        .filter((found) => found.sparkline)
        .map((found) =>
          svg(
            "svg",
            { class: "dfd-spark", viewBox: "0 -2 100 28", preserveAspectRatio: "none", role: "img", "aria-label": filled(gettext("Scores of person %(number)s over time, %(score)s"), { number: found.number, score: found.score }) },
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

  return { figure, item, make, personName, said, seconds, warm, within };
})();
