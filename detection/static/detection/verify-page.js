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
      "Verdict of the model": verdict ? verdict.in_words : "none",
      "Label of people": (told && told.label) || "none",
      Video: (told && told.video && told.video.name) || "",
      "Its SHA-256": manifest.video.sha256,
      Made: manifest.made_at,
      "Signed with": known.includes(fingerprint) ? `${fingerprint} (this installation)` : `${fingerprint} (the fingerprint you gave)`,
    };
    for (const [name, text] of Object.entries(rows)) if (text) list.append(make("dt", name), make("dd", String(text)));
    return list;
  };

  const check = async () => {
    if (!file) return;
    round += 1;
    const mine = round;
    if (file.size > MAX_BYTES) {
      show("bad", "Not to be trusted", make("p", "The file is larger than any report."));
      return;
    }
    show("", "Checking …");
    const trusted = [...known, typed.value.toLowerCase().replace(/[^0-9a-f]/g, "")];
    try {
      const video = original.files[0];
      const hash = video ? await hashOf(video, (share) => show("", `Reading the video, ${Math.floor(100 * share)} % …`)) : null;
      const data = new Uint8Array(await file.arrayBuffer());
      const checked = await window.dfdVerify.check(data, trusted, hash);
      if (mine !== round) return;
      if (checked.problems.length) {
        const list = document.createElement("ul");
        list.append(...checked.problems.map((sentence) => make("li", sentence)));
        show("bad", "Not to be trusted", list);
      } else {
        show("good", "As it was signed", ...(hash ? [make("p", "It is of the video that you chose.")] : []), facts(checked));
      }
    } catch {
      if (mine === round) show("bad", "Not to be trusted", make("p", "The file cannot be read."));
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
});
