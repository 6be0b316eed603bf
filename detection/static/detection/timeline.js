"use strict";
// Where a long video was looked at, over its whole length: each part is a button that shows it in the player.
window.dfdTimeline = (() => {
  const NARROWEST = 1.5; // percent of the width, so that a part can be hit

  const at = (seconds) => {
    const whole = Math.floor(seconds);
    const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
    const two = (number) => String(number).padStart(2, "0");
    return hours ? `${hours}:${two(minutes)}:${two(rest)}` : `${minutes}:${two(rest)}`;
  };

  const people = (part) => {
    if (part.people.length) return interpolate(ngettext("person %(numbers)s", "people %(numbers)s", part.people.length), { numbers: part.people.join(", ") }, true);
    return part.score === null && part.level === "" ? "" : gettext("nobody");
  };

  // `show` is called with the seconds where a part begins.
  const build = (data, show) => {
    const { make } = window.dfdWorkspaceView;
    const bar = make("div", { class: "dfd-tl__bar" });
    for (const part of data.segments) {
      const said = [part.text ? interpolate(gettext("score %(score)s"), { score: part.text }, true) : "", people(part)].filter(Boolean).join(", ");
      const span = interpolate(gettext("%(begin)s to %(end)s"), { begin: at(part.start_s), end: at(part.end_s) }, true);
      const label = `${span}${said ? `, ${said}` : ""}`;
      const fill = make("span", { class: "dfd-tl__fill", "aria-hidden": "true" });
      fill.style.height = `${part.score === null ? 0 : Math.max(4, 100 * part.score)}%`;
      const button = make("button", { type: "button", class: `dfd-tl__part dfd-tl__part--${part.level || "none"}`, "aria-label": label, title: label }, fill);
      const left = (100 * part.start_s) / data.duration_s;
      const width = Math.max(NARROWEST, (100 * (part.end_s - part.start_s)) / data.duration_s);
      button.style.left = `${Math.min(left, 100 - width)}%`;
      button.style.width = `${width}%`;
      button.addEventListener("click", () => show(part.start_s));
      bar.append(button);
    }
    return make(
      "div",
      { class: "dfd-tl", role: "group", "aria-label": gettext("Where the video was looked at") },
      bar,
      make("div", { class: "dfd-tl__ends dfd-subtle" }, make("span", { text: at(0) }), make("span", { text: at(data.duration_s) })),
    );
  };

  return { build };
})();
