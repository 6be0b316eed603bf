"use strict";
// Which shortcut a key press means on any keyboard; null where it means none.  `known` says which keys are shortcuts.
window.dfdKey = (event, known) => {
  if (event.isComposing || event.keyCode === 229) return null; // an input method is still at work (Chinese, Japanese, Korean)
  const altGr = Boolean(event.getModifierState && event.getModifierState("AltGraph"));
  // Windows says Ctrl and Alt for AltGr, with which many keyboards write [ and ].
  if (event.metaKey || ((event.ctrlKey || event.altKey) && !altGr)) return null;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if (known(key)) return key;
  if (altGr || event.key.length !== 1) return null;
  // Where the key writes no Latin letter its place counts, and so does a digit's that needs Shift (French keyboards).
  const [, letter, digit] = /^(?:Key([A-Z])|Digit([1-9]))$/.exec(event.code || "") || [];
  const latin = event.key.charCodeAt(0) < 128;
  const place = digit && !event.shiftKey ? digit : latin ? null : letter ? letter.toLowerCase() : { BracketLeft: "[", BracketRight: "]" }[event.code];
  return place && known(place) ? place : null;
};
