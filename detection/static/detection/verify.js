"use strict";
// The check of an evidence report, as `manage.py verify_report` does it and in the same sentences
// (detection/evidence_report/).  It asks nobody anything.
window.dfdVerify = (() => {
  const { sha256, verify } = window.dfdCrypto;
  const FORMAT = "deepfake-desk evidence report";
  const CONTEXT = new TextEncoder().encode("deepfake-desk evidence report v1\n");
  const [MANIFEST, SIGNATURE, REPORT, AUDIT] = ["manifest.json", "signature.json", "report.json", "audit.json"];
  const [MAX_FILES, MAX_NAME, MAX_SENTENCES] = [4000, 100, 50];
  const LOCAL_BYTES = 30;

  const crcTable = Uint32Array.from({ length: 256 }, (_, index) => {
    let value = index;
    for (let bit = 0; bit < 8; bit += 1) value = value & 1 ? (value >>> 1) ^ 0xedb88320 : value >>> 1;
    return value >>> 0;
  });
  const crc32 = (bytes) => {
    let value = 0xffffffff;
    for (let i = 0; i < bytes.length; i += 1) value = (value >>> 8) ^ crcTable[(value ^ bytes[i]) & 255];
    return (value ^ 0xffffffff) >>> 0;
  };

  const filled = (sentence, facts) => interpolate(sentence, facts, true);
  const shown = (name) => name.slice(0, MAX_NAME).replace(/[^ -~]/gu, "?");
  const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);
  const object = (bytes) => {
    try {
      const value = JSON.parse(new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes || new Uint8Array()));
      return isObject(value) ? value : null;
    } catch {
      return null;
    }
  };
  const base64 = (text) => {
    try {
      return /^[A-Za-z0-9+/]*={0,2}$/.test(text) ? Uint8Array.from(atob(text), (char) => char.charCodeAt(0)) : null;
    } catch {
      return null;
    }
  };

  // --- the archive ---
  // Map of name -> bytes, in order.  Throws an Error with a sentence.
  const unpack = (data) => {
    const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
    const files = new Map();
    let at = 0;
    while (at + 4 <= data.length && view.getUint32(at, true) === 0x04034b50) {
      if (at + LOCAL_BYTES > data.length) throw new Error(gettext("The archive breaks off: a part of the file is missing."));
      const [flags, method] = [view.getUint16(at + 6, true), view.getUint16(at + 8, true)];
      const [stored, size] = [view.getUint32(at + 18, true), view.getUint32(at + 22, true)];
      const [nameSize, extraSize] = [view.getUint16(at + 26, true), view.getUint16(at + 28, true)];
      const begin = at + LOCAL_BYTES + nameSize + extraSize;
      if (flags || method || stored !== size) throw new Error(gettext("The archive was packed anew: a report is stored without compression."));
      if (begin + stored > data.length) throw new Error(gettext("The archive breaks off: a part of the file is missing."));
      const name = [...data.subarray(at + LOCAL_BYTES, at + LOCAL_BYTES + nameSize)].map((byte) => (byte < 128 ? String.fromCharCode(byte) : "\ufffd")).join("");
      if (files.has(name)) throw new Error(filled(gettext("The archive has two files of the name %(name)s."), { name: shown(name) }));
      if (files.size === MAX_FILES) throw new Error(filled(gettext("The archive has more than %(n)s files."), { n: MAX_FILES }));
      at = begin + stored;
      files.set(name, data.subarray(begin, at));
    }
    if (!files.size) throw new Error(gettext("This is no evidence report: it does not begin as a zip archive does."));
    return files;
  };

  // Whether the archive is the only one that can be made of its files, to the last byte.
  const isAsPacked = (data, files) => {
    const names = [...files.keys()];
    const rest = names.filter((name) => name !== MANIFEST && name !== SIGNATURE).sort();
    if ([MANIFEST, SIGNATURE, ...rest].some((name, index) => names[index] !== name)) return false;
    const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
    const starts = [];
    let at = 0;
    const fits = (value, bytes) => {
      if (at + bytes > data.length) return false;
      const there = bytes === 2 ? view.getUint16(at, true) : view.getUint32(at, true);
      at += bytes;
      return there === value;
    };
    const fitsText = (text) => {
      for (let i = 0; i < text.length; i += 1, at += 1) if (data[at] !== text.charCodeAt(i)) return false;
      return true;
    };
    const common = (name, content) =>
      fits(20, 2) && fits(0, 2) && fits(0, 2) && fits(0, 2) && fits(33, 2) && fits(crc32(content), 4) &&
      fits(content.length, 4) && fits(content.length, 4) && fits(name.length, 2) && fits(0, 2);
    for (const [name, content] of files) {
      starts.push(at);
      if (!(fits(0x04034b50, 4) && common(name, content) && fitsText(name))) return false;
      at += content.length;
    }
    const central = at;
    for (const [index, [name, content]] of [...files].entries()) {
      const good =
        fits(0x02014b50, 4) && fits(0x0314, 2) && common(name, content) && fits(0, 2) && fits(0, 2) && fits(0, 2) &&
        fits(0o100644 * 65536, 4) && fits(starts[index], 4) && fitsText(name);
      if (!good) return false;
    }
    const size = at - central;
    return (
      fits(0x06054b50, 4) && fits(0, 2) && fits(0, 2) && fits(files.size, 2) && fits(files.size, 2) && fits(size, 4) &&
      fits(central, 4) && fits(0, 2) && at === data.length
    );
  };

  // --- the audit log ---
  const ascii = (text) => JSON.stringify(text).replace(/[^ -~]/g, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`);
  const canonical = (value) => {
    if (Array.isArray(value)) return `[${value.map(canonical).join(",")}]`;
    if (isObject(value)) return `{${Object.keys(value).sort().map((key) => `${ascii(key)}:${canonical(value[key])}`).join(",")}}`;
    return typeof value === "string" ? ascii(value) : JSON.stringify(value === undefined ? null : value);
  };
  const CONTENT = ["number", "at", "action", "actor", "actor_id", "address", "subject", "facts"];
  const entryHash = (entry) => {
    const content = Object.fromEntries(CONTENT.map((name) => [name, name in entry ? entry[name] : null]));
    return sha256(new TextEncoder().encode(`${entry.previous}${canonical(content)}`));
  };
  const brokenEntries = (audit, stated) => {
    const { entries, hashes, first } = audit;
    const { entries: numbers, last } = stated;
    const sound = Array.isArray(entries) && entries.every((entry) => isObject(entry) && Number.isInteger(entry.number)) &&
      Array.isArray(hashes) && Array.isArray(numbers) && Number.isInteger(first) && Number.isInteger(last);
    if (!sound) return [gettext("audit.json holds no entries of an audit log.")];
    const problems = [];
    const there = new Set(entries.map((entry) => entry.number));
    for (const number of numbers) if (!there.has(number)) problems.push(filled(gettext("Entry %(number)s of the audit log is missing."), { number }));
    if (hashes.length !== Math.max(0, last - first + 1) || (hashes.length && hashes[hashes.length - 1] !== stated.head)) {
      problems.push(gettext("The chain of the audit log is not whole: hashes are missing from it."));
    }
    for (const entry of entries) {
      const { number } = entry;
      const say = (sentence) => problems.push(filled(sentence, { number }));
      if (!numbers.includes(number)) say(gettext("Entry %(number)s of the audit log was added after the signing."));
      if (entry.hash !== entryHash(entry)) say(gettext("Entry %(number)s of the audit log is not as it was written."));
      const place = number - first;
      if (place >= 0 && place < hashes.length && hashes[place] !== entry.hash) say(gettext("Entry %(number)s of the audit log is not the one that the chain has in its place."));
      if (place > 0 && place <= hashes.length && hashes[place - 1] !== entry.previous) say(gettext("Entry %(number)s of the audit log does not follow from the one before it."));
    }
    return problems;
  };

  // --- all of it ---
  // Null where the file differs in a byte from what the two are written as: nothing signs this file itself.
  const signatureOf = (bytes) => {
    const stated = object(bytes) || {};
    const [key, signature] = [base64(String(stated.public_key)), base64(String(stated.signature))];
    if (!key || key.length !== 32 || !signature || signature.length !== 64) return null;
    const written = (raw) => btoa(String.fromCharCode(...raw));
    const form = `{\n "algorithm": "Ed25519",\n "public_key": "${written(key)}",\n "signature": "${written(signature)}"\n}\n`;
    const same = bytes.length === form.length && bytes.every((byte, index) => byte === form.charCodeAt(index));
    return same ? { key, signature } : null;
  };

  // `fingerprints`: of the keys that are known here; `originalSha256`: of a video that the report is said to be of.
  // {problems: sentences, fingerprint, manifest, report}
  const check = async (data, fingerprints, originalSha256 = null) => {
    let files;
    try {
      files = unpack(data);
    } catch (error) {
      return { problems: [error.message], fingerprint: "", manifest: null, report: null };
    }
    const problems = [];
    const manifest = object(files.get(MANIFEST));
    const signed = signatureOf(files.get(SIGNATURE));
    const fingerprint = signed ? sha256(signed.key) : "";
    if (!files.has(SIGNATURE)) problems.push(gettext("signature.json is missing: nobody has signed this report."));
    else if (!signed) problems.push(gettext("signature.json is not in its one form: an Ed25519 signature, its public key, and nothing else."));
    else {
      if (!fingerprints.includes(fingerprint)) {
        problems.push(
          filled(
            gettext("It is signed by a key that is not known here, with the fingerprint %(fingerprint)s. Whoever sent it can tell you theirs by another way."),
            { fingerprint },
          ),
        );
      }
      const bytes = files.get(MANIFEST);
      if (bytes) {
        const message = new Uint8Array(CONTEXT.length + bytes.length);
        message.set(CONTEXT);
        message.set(bytes, CONTEXT.length);
        if (!(await verify(signed.key, signed.signature, message))) {
          problems.push(gettext("The signature does not match: manifest.json is not as it was signed."));
        }
      }
    }
    if (!files.has(MANIFEST)) problems.push(gettext("manifest.json is missing: nothing says what belongs to this report."));
    else if (!manifest || manifest.format !== FORMAT) problems.push(gettext("manifest.json is not that of an evidence report."));
    else if (manifest.version !== 1) problems.push(filled(gettext("The report is of version %(version)s, which is not known here."), { version: shown(String(manifest.version ?? "None")) }));
    if (manifest) {
      const listed = new Map();
      for (const entry of Array.isArray(manifest.files) ? manifest.files : []) {
        if (isObject(entry) && typeof entry.name === "string") listed.set(entry.name, entry);
      }
      if (!listed.size) problems.push(gettext("The manifest names no files."));
      for (const [name, entry] of listed) {
        const content = files.get(name);
        if (!content) problems.push(filled(gettext("%(name)s is missing."), { name: shown(name) }));
        else if (content.length !== entry.bytes || sha256(content) !== entry.sha256) problems.push(filled(gettext("%(name)s is not as it was signed."), { name: shown(name) }));
      }
      for (const name of files.keys()) {
        if (!listed.has(name) && name !== MANIFEST && name !== SIGNATURE) problems.push(filled(gettext("%(name)s was added after the signing."), { name: shown(name) }));
      }
    }
    const [audit, stated] = [object(files.get(AUDIT)), manifest ? manifest.audit : null];
    if (files.has(AUDIT) && manifest) {
      if (!audit || !isObject(stated)) problems.push(gettext("audit.json holds no entries of an audit log."));
      else problems.push(...brokenEntries(audit, stated));
    }
    const report = object(files.get(REPORT));
    if (manifest) {
      const [ours, theirs] = [isObject(manifest.video) ? manifest.video : null, report && isObject(report.video) ? report.video : null];
      if (files.has(REPORT) && !(ours && theirs && ours.id === theirs.id && ours.sha256 === theirs.sha256)) {
        problems.push(gettext("report.json is about another video than the manifest."));
      }
      if (originalSha256 !== null && !(ours && ours.sha256 === originalSha256)) {
        problems.push(gettext("The video is not the one that this report is of: its SHA-256 is another."));
      }
    }
    if (!problems.length && !isAsPacked(data, files)) problems.push(gettext("The archive was changed outside of its files."));
    const more = problems.length - MAX_SENTENCES;
    if (more > 0) problems.splice(MAX_SENTENCES, more, filled(gettext("And %(n)s more."), { n: more }));
    return { problems, fingerprint, manifest, report };
  };

  return { check, entryHash, unpack };
})();
