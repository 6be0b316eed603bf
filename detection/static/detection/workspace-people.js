"use strict";
// Answers for people by themselves: a digit chooses the person, the keys of the answers then mean that one.  When
// everybody is answered for, the video is.
window.dfdPeople = (() => {
  // `stage` has the sections of the people, `line` is where it is said whom the keys mean, `changed` is told whether
  // they mean a person, and `done` what everybody is: [{track, label}].
  const create = ({ stage, line, changed, done }) => {
    let people = []; // of the video that stands there: {track, number}
    let chosen = null;
    let marks = []; // in the order in which they were made: {person, answer}

    const of = (person) => marks.find((mark) => mark.person === person);
    const section = (person) => stage.querySelector(`[data-person="${person.number}"]`);

    const paint = () => {
      for (const person of people) {
        const place = section(person);
        const mark = of(person);
        place.classList.toggle("is-current", person === chosen);
        const badge = place.querySelector("[data-mark]");
        if (!badge) continue;
        badge.hidden = !mark;
        badge.textContent = mark ? mark.answer.person.text : "";
        badge.className = `dfd-badge dfd-badge--${mark ? { fake: "red", real: "green" }[mark.answer.person.value] || "grey" : "grey"}`;
      }
      line.hidden = !chosen;
      line.textContent = chosen ? interpolate(gettext("The keys answer for person %(number)s of %(n)s. Esc: for the whole video."), { number: chosen.number, n: people.length }, true) : "";
      changed(Boolean(chosen));
    };

    const look = (person) => {
      chosen = person;
      paint();
      const place = section(person);
      place.scrollIntoView({ block: "nearest" });
      place.querySelector("[data-face]").focus({ preventScroll: true });
    };

    return {
      begin: (item) => {
        people = item ? item.people : [];
        chosen = null;
        marks = [];
        paint();
      },
      choose: (number) => {
        const person = people.find((one) => one.number === number);
        if (person) look(person);
      },
      // Whether a person was meant; then the answer is theirs.
      answer: (answer) => {
        if (!chosen) return false;
        const person = chosen;
        marks = [...marks.filter((mark) => mark.person !== person), { person, answer }];
        const place = people.indexOf(person);
        const next = [...people.slice(place + 1), ...people.slice(0, place)].find((one) => !of(one));
        if (next) look(next);
        else done(marks.map((mark) => ({ track: mark.person.track, label: mark.answer.person.value })).sort((a, b) => a.track - b.track));
        return true;
      },
      // Takes back the last answer for a person; false where there is none that is not sent yet.
      back: () => {
        const last = marks.pop();
        if (last) look(last.person);
        return Boolean(last);
      },
      whole: () => {
        chosen = null;
        marks = [];
        paint();
      },
    };
  };

  // "person 1 fake, person 2 not a person"; empty without.
  const words = (people) => people.map((one) => interpolate(gettext("person %(number)s %(label)s"), { number: one.number, label: one.text }, true)).join(", ");

  return { create, words };
})();
