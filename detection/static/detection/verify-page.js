"use strict";
// The page around the check: a file in, sentences out.  All text goes in as text, as none of it is to be trusted.
document.addEventListener("DOMContentLoaded", () => {
  const byId = (id) => document.getElementById(id);
  const [drop, report, original, typed, result] = ["drop", "report", "original", "fingerprint", "result"].map(byId);
  const known = JSON.parse(byId("known").textContent);
  const MAX_BYTES = 1024 ** 3;
  const PIECE = 4 * 1024 * 1024;
  let file = null;
  let round = 0;

  const IN_WORDS = new Map([["Likely real", gettext("Likely real")], ["Unclear", gettext("Unclear")], ["Suspicious", gettext("Suspicious")], ["Likely fake", gettext("Likely fake")]]);
  const LABELS = new Map([["real", gettext("real")], ["fake", gettext("fake")], ["no_face", gettext("no face")], ["unsure", gettext("unsure")]]);

  const make = (tag, text) => Object.assign(document.createElement(tag), { textContent: text });
  const show = (kind, title, ...rest) => {
    result.className = kind;
    result.replaceChildren(make("h2", title), ...rest);
    result.hidden = false;
  };

  const hashOf = async (blob, tell) => {
    const hash = new window.dfdCrypto.Sha256();
    for (let at = 0; at < blob.size; at += PIECE) {
      tell(at / blob.size);
      hash.update(new Uint8Array(await blob.slice(at, at + PIECE).arrayBuffer()));
    }
    return hash.digest();
  };

  const facts = ({ manifest, report: told, fingerprint }) => {
    const list = document.createElement("dl");
    const verdict = told && told.verdict;
    const rows = {
      [gettext("Verdict of the model")]: verdict ? (IN_WORDS.get(verdict.in_words) ?? verdict.in_words) : gettext("none"),
      [gettext("Label of people")]: (told && (LABELS.get(told.label) ?? told.label)) || gettext("none"),
      [gettext("Video")]: (told && told.video && told.video.name) || "",
      [gettext("Its SHA-256")]: manifest.video.sha256,
      [gettext("Made")]: manifest.made_at,
      [gettext("Signed with")]: known.includes(fingerprint) ? `${fingerprint} (${gettext("this installation")})` : `${fingerprint} (${gettext("the fingerprint you gave")})`,
    };
    for (const [name, text] of Object.entries(rows)) if (text) list.append(make("dt", name), make("dd", String(text)));
    return list;
  };

  const check = async () => {
    if (!file) return;
    round += 1;
    const mine = round;
    if (file.size > MAX_BYTES) {
      show("bad", gettext("Not to be trusted"), make("p", gettext("The file is larger than any report.")));
      return;
    }
    show("", gettext("Checking …"));
    const trusted = [...known, typed.value.toLowerCase().replace(/[^0-9a-f]/g, "")];
    try {
      const video = original.files[0];
      const hash = video ? await hashOf(video, (share) => show("", interpolate(gettext("Reading the video, %(percent)s % …"), { percent: Math.floor(100 * share) }, true))) : null;
      const data = new Uint8Array(await file.arrayBuffer());
      const checked = await window.dfdVerify.check(data, trusted, hash);
      if (mine !== round) return;
      if (checked.problems.length) {
        const list = document.createElement("ul");
        list.append(...checked.problems.map((sentence) => make("li", sentence)));
        show("bad", gettext("Not to be trusted"), list);
      } else {
        show("good", gettext("As it was signed"), ...(hash ? [make("p", gettext("It is of the video that you chose."))] : []), facts(checked));
      }
    } catch {
      if (mine === round) show("bad", gettext("Not to be trusted"), make("p", gettext("The file cannot be read.")));
    }
  };

  report.addEventListener("change", () => {
    [file] = report.files;
    check();
  });
  original.addEventListener("change", check);
  typed.addEventListener("change", check);
  for (const kind of ["dragover", "dragleave", "drop"]) {
    drop.addEventListener(kind, (event) => {
      event.preventDefault();
      drop.classList.toggle("over", kind === "dragover");
    });
  }
  drop.addEventListener("drop", (event) => {
    [file] = event.dataTransfer.files;
    check();
  });
  [file] = report.files; // chosen before this script was there, or kept by the browser over a reload
  check();
});
