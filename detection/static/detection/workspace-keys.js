"use strict";
// Which key does what in the workspace: the mapping in force, its list, and its change.  Each place that shows a key has
// the action's name in `data-key`.
window.dfdKeys = (() => {
  let keys = {}; // action: key, empty where it has none
  const make = (...parts) => window.dfdWorkspaceView.make(...parts);

  const of = (action) => keys[action] || "";
  const actionOf = (key) => Object.keys(keys).find((action) => keys[action] === key);
  const paint = (root) => {
    for (const node of root.querySelectorAll("[data-key]")) {
      node.textContent = of(node.dataset.key);
      node.hidden = !of(node.dataset.key);
    }
  };

  // `dialog` lists the actions, each with its `data-key`; `save` stores a mapping and returns what is in force then;
  // `isFree` says whether a key has no meaning that stays.
  const create = ({ dialog, setup, save, changed }) => {
    const part = (name) => dialog.querySelector(`[data-keys-${name}]`);
    const rows = [...dialog.querySelectorAll("kbd[data-key]")];
    let draft = null; // while it is being changed
    let asked = null; // the action whose key is waited for

    const say = (text) => {
      part("said").textContent = text;
    };
    const title = (action) => rows.find((row) => row.dataset.key === action).closest("dt").nextElementSibling.textContent.split(":")[0];
    const twice = () => Object.keys(draft).find((one) => draft[one] && Object.keys(draft).some((other) => other !== one && draft[other] === draft[one]));

    const use = (mapping) => {
      keys = mapping;
      paint(document);
      changed(keys);
    };
    // What two actions share is said unless there is something else to say.
    const show = (words = "") => {
      say(words);
      dialog.classList.toggle("is-changing", Boolean(draft));
      part("change").hidden = Boolean(draft);
      part("save").hidden = part("leave").hidden = part("defaults").hidden = !draft;
      for (const row of rows) {
        const action = row.dataset.key;
        const old = row.parentElement.querySelector("button[data-choose-key]");
        row.hidden = Boolean(draft) || !of(action);
        if (!draft) {
          if (old) old.remove();
          continue;
        }
        const button = old || row.parentElement.appendChild(make("button", { type: "button", class: "dfd-key", "data-choose-key": action }));
        button.textContent = asked === action ? gettext("press a key") : draft[action] || gettext("none");
        button.setAttribute("aria-label", interpolate(gettext("Key of %(action)s: %(key)s"), { action: title(action), key: button.textContent }, true));
        button.classList.toggle("is-twice", Boolean(draft[action]) && Object.keys(draft).some((other) => other !== action && draft[other] === draft[action]));
      }
      const conflict = draft && twice();
      part("save").disabled = Boolean(conflict);
      if (conflict && !words) {
        const both = Object.keys(draft).filter((one) => draft[one] === draft[conflict]);
        say(interpolate(gettext("The key %(key)s cannot mean two things: %(actions)s."), { key: draft[conflict], actions: both.map(title).join(gettext(" and ")) }, true));
      }
    };
    const stop = (words = "") => {
      draft = asked = null;
      show(words);
    };
    const store = async (mapping, words) => {
      try {
        use(await save(mapping));
        stop(words);
      } catch (error) {
        say(error.message);
      }
    };

    dialog.addEventListener("click", (event) => {
      const chosen = event.target.closest("[data-choose-key]");
      if (!chosen) return;
      asked = chosen.dataset.chooseKey;
      show(gettext("Press the key that it is to have."));
    });
    dialog.addEventListener("keydown", (event) => {
      if (!asked || event.repeat || ["Shift", "AltGraph", "CapsLock", "Tab"].includes(event.key)) return;
      event.preventDefault();
      event.stopPropagation();
      const key = event.key === "Escape" ? null : window.dfdKey(event, (one) => one.length === 1);
      const action = asked;
      if (key === null && event.key !== "Escape") {
        say(gettext("A key is one letter, digit or sign."));
        return;
      }
      asked = null;
      const stays = key !== null && setup.fixed_keys.includes(key);
      if (key !== null && !stays) draft[action] = key;
      show(stays ? interpolate(gettext("The key %(key)s has a meaning that stays."), { key: key === " " ? gettext("space") : key }, true) : "");
      dialog.querySelector(`[data-choose-key="${action}"]`).focus();
    });
    dialog.addEventListener("close", () => stop());
    part("change").addEventListener("click", () => {
      draft = { ...keys };
      show(gettext("Choose what is to have another key."));
    });
    part("leave").addEventListener("click", () => stop());
    part("save").addEventListener("click", () => store(draft, gettext("Your keys are stored.")));
    part("defaults").addEventListener("click", () => store({}, gettext("The keys are those of before.")));
    use(setup.keys);
    show();
  };

  return { create, of, actionOf, paint };
})();
