"use strict";
// The review workspace.  The next video is fetched ahead, so a key shows it at once; answers are stored in order, behind.
document.addEventListener("DOMContentLoaded", () => {
  const view = window.dfdWorkspaceView;
  const evidence = window.dfdEvidence;
  const setup = JSON.parse(document.getElementById("dfd-workspace").textContent);
  const byId = (name) => document.getElementById(`dfd-ws-${name}`);
  const [stage, said, errorLine, unsaved, comment, queueBox] = ["stage", "said", "error", "unsaved", "comment", "queue"].map(byId);
  const help = byId("help");
  const lens = byId("lens");

  let queue = setup.queue;
  let shown = null; // the item that stands there
  let ahead = []; // those after it
  let fetching = null;
  let shownAt = 0; // seconds count while the page is in sight
  let counted = 0;
  let appearedAt = 0;
  let ready = 0;
  let lastFace = null;
  let asking = false; // the video that stands there is being skipped or given up
  const people = window.dfdPeople.create({
    stage,
    line: byId("whom"),
    changed: (one) => byId("buttons").querySelectorAll("[data-text]").forEach((node) => {
      node.textContent = one ? node.dataset.ofPerson : node.dataset.text;
    }),
    done: (answers) => answer("", answers),
  });
  const drafts = new Map(); // video id -> comment, as it was when the video was left
  const outbox = []; // answers that are not stored yet, oldest first
  let sending = false;
  let unreachable = false;

  const filled = (sentence, facts) => interpolate(sentence, facts, true);
  const decidedToday = (n) => filled(ngettext("%(n)s decided by you today", "%(n)s decided by you today", n), { n });
  const named = (label) => view.within(setup.labels.find((one) => one.value === label).text);
  const inWords = (model) => model && { ...model, label_text: named(model.label), without: model.without && { ...model.without, label_text: named(model.without.label) } };

  // --- calls ---
  const post = async (name, body, options = {}) => {
    const data = await window.dfdPost(setup.urls[name], body, options);
    if (data.counts) showCounts(data.counts);
    if (data.decided_today !== undefined) byId("today").textContent = decidedToday(data.decided_today);
    return data;
  };

  const fault = (text) => {
    errorLine.textContent = text;
    errorLine.hidden = !text;
  };

  const held = () => [shown, ...ahead].filter(Boolean).map((item) => item.claim);

  // --- queues ---
  const showCounts = (counts) => {
    for (const option of queueBox.options) {
      const entry = setup.queues.find((one) => one.key === option.value);
      const count = counts[entry.key];
      option.textContent = count === undefined ? entry.title : `${entry.title} (${count})`;
      option.title = entry.why;
    }
  };
  queueBox.append(...setup.queues.map((entry) => view.make("option", { value: entry.key, selected: entry.key === queue, text: entry.title })));
  showCounts(setup.counts);
  byId("today").textContent = decidedToday(setup.decided_today);
  queueBox.addEventListener("change", () => {
    queue = queueBox.value;
    history.replaceState(null, "", `?queue=${encodeURIComponent(queue)}`); // the way back from a video's page
    const given = held();
    keepComment();
    shown = null;
    people.begin(null);
    ahead = [];
    post("release", { claims: given }).catch(() => {}).finally(advance);
    queueBox.blur();
  });

  // --- what stands there ---
  const clock = () => counted + (document.hidden ? 0 : performance.now() - shownAt);
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) counted += performance.now() - shownAt;
    else shownAt = performance.now();
  });

  const keepComment = () => {
    if (shown) drafts.set(shown.video.id, comment.value);
  };
  // A second tap, or the second click of two, is meant for the video before: nobody has seen this one yet.
  const seen = () => Boolean(shown) && !asking && performance.now() - appearedAt >= setup.answer_delay_ms;

  const show = (item) => {
    keepComment();
    shown = item;
    asking = false;
    lastFace = null;
    people.begin(null);
    comment.value = (item && drafts.get(item.video.id)) || "";
    if (!item) {
      stage.replaceChildren(empty());
      done();
      return;
    }
    const section = view.item(item, setup.labels);
    window.dfdKeys.paint(section);
    stage.replaceChildren(section);
    people.begin(item);
    counted = 0;
    shownAt = performance.now();
    lastFace = section.querySelector("[data-face]");
    const film = player(); // none where the clip is gone
    if (film) {
      film.addEventListener("timeupdate", () => {
        section.querySelector("[data-clock]").textContent = `${view.figure(film.currentTime + window.dfdFilm.offset(film), 2)} s`;
      });
      if (item.timeline) {
        window.dfdFilm.setParts(film, item.timeline.segments);
        const place = section.querySelector("[data-timeline]");
        place.append(window.dfdTimeline.build(item.timeline, (seconds) => window.dfdFilm.seek(film, seconds, item.video.fps)));
      }
      film.play().catch(() => {});
    }
    section.querySelector("h2").focus({ preventScroll: true });
    window.scrollTo({ top: 0 });
    if (item.revealed) said.replaceChildren(...view.said(null, inWords(item.revealed)));
    done();
  };

  const done = () => {
    appearedAt = performance.now(); // not before it stands there: on a slow machine that takes a while
    ready += 1;
    document.documentElement.dataset.ready = String(ready);
    prefetch();
  };

  const empty = () =>
    view.make(
      "div",
      { class: "dfd-empty" },
      view.make("h2", { text: gettext("Nothing waits in this queue") }),
      view.make("p", { class: "dfd-subtle", text: gettext("Choose another queue above, or look again: new videos come in all the time.") }),
      Object.assign(view.make("button", { type: "button", class: "dfd-button", text: gettext("Look again") }), { onclick: () => advance() }),
    );

  const prefetch = () => {
    if (!shown || ahead.length || fetching) return;
    const wanted = queue;
    // Answers first: a claim that the page does not name as held is taken for one of a page that was closed.
    fetching = stored()
      .then(() => post("next", { queue: wanted, held: held() }))
      .then(({ item }) => {
        if (!item) return;
        if (wanted !== queue) return post("release", { claims: [item.claim] });
        ahead.push(item);
        view.warm(item);
      })
      .catch(() => {}) // it is asked for again when it is needed
      .finally(() => {
        fetching = null;
      });
  };

  // The next video: the one fetched ahead, or else from the server, once all answers are there.
  const advance = async () => {
    if (ahead.length) {
      show(ahead.shift());
      return;
    }
    keepComment();
    shown = null;
    people.begin(null);
    comment.value = "";
    // The video that was answered is done with: it must not look for long as if it waited for an answer.
    const late = window.setTimeout(() => {
      if (!shown) stage.replaceChildren(view.make("p", { class: "dfd-subtle", "data-waiting": true, text: gettext("Waiting for the server, and the next video …") }));
    }, 300);
    try {
      if (fetching) await fetching;
      if (!ahead.length) {
        await stored();
        const ask = () => post("next", { queue, held: held() });
        const { item } = await (ready ? ask() : window.dfdFirst(ask, (told) => !told.item));
        if (item) ahead.push(item);
      }
      if (unreachable) fault("");
      unreachable = false;
      if (!shown) show(ahead.shift() || null);
    } catch (error) {
      unreachable = !error.code;
      fault(error.code || error.loggedOut ? error.message : gettext("The server cannot be reached. Trying again …"));
      if (unreachable) window.setTimeout(advance, 3000);
      else show(null);
    } finally {
      window.clearTimeout(late);
    }
  };

  // --- answers ---
  const answer = (label, of = []) => {
    if (!seen()) return;
    if (!unreachable) fault("");
    const body = { claim: shown.claim, video: shown.video.id, label, people: of, people_version: shown.people_version, seconds: clock() / 1000, comment: comment.value };
    outbox.push({ video: shown.video, name: shown.video.name, body });
    said.textContent = filled(gettext("Recording: %(answer)s …"), { answer: label ? named(label) : gettext("each person") });
    send();
    advance();
  };

  const answered = []; // ids, of this page
  const waiting = [];
  const stored = () => (outbox.length ? new Promise((resolve) => waiting.push(resolve)) : Promise.resolve());

  const showUnsaved = () => {
    unsaved.hidden = outbox.length < 2;
    unsaved.textContent = filled(gettext("Not saved yet: %(n)s"), { n: outbox.length });
  };

  const send = async () => {
    showUnsaved();
    if (sending) return;
    sending = true;
    let wait = 500;
    while (outbox.length) {
      const { video, name, body } = outbox[0];
      try {
        const told = await post("answer", body);
        const each = told.people.length ? ` (${window.dfdPeople.words(told.people)})` : "";
        said.replaceChildren(...view.said(filled(gettext("%(name)s is %(label)s"), { name, label: named(told.mine) }) + each, inWords(told.model)));
        if (told.model) said.append(evidence.button(video));
        answered.push(told.review);
        window.dfdKeys.paint(said);
        outbox.shift();
        wait = 500;
      } catch (error) {
        if (error.code && error.status < 500) {
          const lost = body.comment.trim();
          const kept = lost ? ` ${filled(gettext("Your comment was: %(comment)s"), { comment: lost })}` : "";
          fault(`${filled(gettext("Your answer to %(name)s was not stored."), { name })} ${error.message}${kept}`);
          outbox.shift();
        } else {
          fault(`${filled(gettext("Not saved yet: %(n)s"), { n: outbox.length })}. ${error.loggedOut ? error.message : gettext("The server cannot be reached; trying again.")}`);
          await new Promise((resolve) => window.setTimeout(resolve, wait));
          wait = Math.min(8000, wait * 2);
          if (outbox.length) fault("");
        }
      }
      showUnsaved();
    }
    sending = false;
    waiting.splice(0).forEach((resolve) => resolve());
  };

  // Given up without an answer.  Said only when it is so; a video that the server did not hear of stays.
  const giveUp = async (call, words) => {
    const item = shown;
    asking = true;
    try {
      await post(call, { claim: item.claim, video: item.video.id });
      said.textContent = words;
      fault("");
    } catch (error) {
      fault(error.message);
      if (!error.code) {
        asking = false;
        return;
      }
    }
    if (shown === item) advance();
  };
  const skip = () => {
    if (seen()) giveUp("skip", gettext("Skipped."));
  };
  const rescanButton = () => {
    if (seen() && shown.can_rescan) giveUp("rescan", gettext("Looking again with lower thresholds; it comes back when it is done."));
  };

  const undo = async () => {
    if (people.back()) return; // an answer for a person that is not sent yet
    await stored();
    if (fetching) await fetching; // asked for before, it does not name what comes back now as held
    try {
      // Named, so that it is not another one that is taken back where the response was lost and z is pressed again.
      const { item, undone } = await post("undo", { review: answered.at(-1) });
      answered.pop();
      if (item) {
        if (shown) ahead.unshift(shown);
        show(item);
      }
      if (!item || !item.revealed) said.textContent = `${filled(gettext("Taken back: %(label)s."), { label: named(undone) })}${item ? "" : ` ${gettext("Somebody else has the video now.")}`}`;
    } catch (error) {
      if (error.code && error.status < 500) answered.pop();
      fault(error.message);
    }
  };

  // --- player, faces, lens ---
  const player = () => stage.querySelector("[data-film]");
  const step = (frames) => {
    if (player()) window.dfdFilm.step(player(), frames, shown && shown.video.fps);
  };
  const play = () => {
    if (player()) window.dfdFilm.toggle(player());
  };
  const loop = () => {
    const film = player();
    if (film) said.textContent = (film.loop = !film.loop) ? gettext("Loop on.") : gettext("Loop off.");
  };
  const speed = (direction) => {
    const box = stage.querySelector("[data-act=speed]");
    if (!box) return;
    box.selectedIndex = Math.max(0, Math.min(box.options.length - 1, box.selectedIndex + direction));
    player().playbackRate = Number(box.value);
  };
  let zoom = 2;
  const magnify = (level) => {
    zoom = Math.max(1, Math.min(6, level));
    const image = byId("lens-image");
    image.style.width = `${zoom * 224}px`;
    image.style.imageRendering = zoom >= 3 ? "pixelated" : "auto";
    byId("lens-level").textContent = `${zoom}×`;
  };
  const openLens = () => {
    if (!lastFace) return;
    byId("lens-image").src = lastFace.dataset.face;
    byId("lens-image").alt = lastFace.querySelector("img").alt;
    magnify(zoom);
    lens.showModal();
  };
  byId("lens-in").addEventListener("click", () => magnify(zoom + 1));
  byId("lens-out").addEventListener("click", () => magnify(zoom - 1));
  lens.addEventListener("wheel", (event) => {
    event.preventDefault();
    magnify(zoom + (event.deltaY < 0 ? 1 : -1));
  }, { passive: false });
  lens.addEventListener("keydown", (event) => {
    if (event.key === "+" || event.key === "=") magnify(zoom + 1);
    if (event.key === "-") magnify(zoom - 1);
  });

  stage.addEventListener("click", (event) => {
    const face = event.target.closest("[data-face]");
    if (face) {
      lastFace = face;
      const film = player();
      if (film && face.dataset.seek) window.dfdFilm.seek(film, Number(face.dataset.seek), shown && shown.video.fps);
    }
    const choice = event.target.closest("button[data-choose]");
    if (choice) people.choose(Number(choice.dataset.choose));
    const act = event.target.closest("button[data-act]");
    if (act) ({ back: () => step(-1), forward: () => step(1), play, loop, look: rescanButton })[act.dataset.act]();
  });
  stage.addEventListener("focusin", (event) => {
    lastFace = event.target.closest("[data-face]") || lastFace;
  });
  stage.addEventListener("change", (event) => {
    if (event.target.dataset.act !== "speed") return;
    player().playbackRate = Number(event.target.value);
    event.target.blur(); // or the keys would go on choosing speeds
  });

  // --- buttons and keys ---
  const acts = { skip, undo, rescan: rescanButton, near: () => window.dfdNear.press(stage), heatmaps: () => evidence.press(said), help: () => help.showModal(), loop, magnify: openLens, comment: () => comment.focus(), slower: () => speed(-1), faster: () => speed(1) };
  // For a person as for a video: no key counts before anybody can have seen it.
  for (const label of setup.labels) acts[label.value] = () => seen() && !people.answer(label) && answer(label.value);
  const button = (text, action, tone, symbol, ofPerson) =>
    Object.assign(
      view.make(
        "button",
        { type: "button", class: `${tone ? `dfd-label dfd-label--${tone}` : "dfd-button"}`, "data-act-of": action },
        ...(symbol ? [view.make("span", { class: "material-symbols-outlined", "aria-hidden": "true", text: symbol })] : []),
        ofPerson ? view.make("span", { "data-text": text, "data-of-person": ofPerson, text }) : text,
        view.make("kbd", { "data-key": action, "aria-hidden": "true" }),
      ),
      { onclick: () => acts[action]() },
    );
  byId("buttons").append(
    ...setup.labels.map((label) => button(label.text, label.value, label.value, label.symbol, label.person.text)),
    button(gettext("Skip"), "skip"),
    button(gettext("Undo"), "undo"),
    button(gettext("Help"), "help"),
  );
  window.dfdKeys.create({
    dialog: help,
    setup,
    save: async (mapping) => (await post("keys", { keys: mapping })).keys,
    changed: () => {
      comment.placeholder = window.dfdKeys.of("comment") ? filled(gettext("Comment (%(key)s)"), { key: window.dfdKeys.of("comment") }) : gettext("Comment");
      for (const node of byId("buttons").children) node.setAttribute("aria-keyshortcuts", window.dfdKeys.of(node.dataset.actOf));
    },
  });

  comment.addEventListener("keydown", (event) => {
    if (window.dfdKey(event, (key) => key === "Escape" || key === "Enter")) comment.blur();
  });
  const stays = { Escape: () => people.whole() };
  for (let number = 1; number <= 9; number += 1) stays[number] = () => people.choose(number);
  const moves = { " ": play, ArrowLeft: (event) => step(event.shiftKey ? -10 : -1), ArrowRight: (event) => step(event.shiftKey ? 10 : 1) };
  document.addEventListener("keydown", (event) => {
    if (event.repeat || help.open || lens.open || evidence.isOpen()) return;
    const inside = (selector) => Boolean(event.target.closest && event.target.closest(selector));
    if (inside("input, textarea, [contenteditable], #dfd-ws-queue")) return;
    // In the box of speeds letters are shortcuts all the same: no speed begins with one.
    const known = (key) => Boolean(window.dfdKeys.actionOf(key)) || Object.hasOwn(stays, key) || (Object.hasOwn(moves, key) && !inside("select") && !(key === " " && inside("button, a, video")));
    const key = window.dfdKey(event, known);
    if (key === null || (inside("select") && /^[1-9]$/.test(key))) return;
    event.preventDefault();
    (acts[window.dfdKeys.actionOf(key)] || stays[key] || moves[key])(event);
  });

  // --- staying alive, and leaving ---
  window.setInterval(async () => {
    const claims = held();
    if (!claims.length) return;
    const { lost } = await post("beat", { claims }).catch(() => ({ lost: [] }));
    ahead = ahead.filter((item) => !lost.includes(item.claim));
    if (shown && lost.includes(shown.claim) && !outbox.some((one) => one.body.claim === shown.claim)) {
      fault(gettext("This video is no longer with this page: it was silent too long, or the video was deleted. Here is the next one."));
      advance();
    }
  }, (setup.lease_s * 1000) / 3);
  window.addEventListener("beforeunload", (event) => {
    if (outbox.length) event.preventDefault();
  });
  window.addEventListener("pagehide", () => {
    if (held().length) post("release", { claims: held() }, { keepalive: true }).catch(() => {});
  });

  advance();
});
