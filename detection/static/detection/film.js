"use strict";
// The clip in its player: to the moment of a face, and on by single frames.
window.dfdFilm = (() => {
  // A frame stands from its own time to the next one's.  Times are rounded, so a seek aims well inside; not at the middle
  // of frames of average length, as those of phones differ in length.
  const INSIDE_S = 0.004;
  const USUAL_FPS = 25;

  // Of a long video each part that was looked at is a clip of its own.
  const parts = new WeakMap();
  const setParts = (film, segments) => parts.set(film, { segments, shown: segments[0] });

  // From now on the film is the copy that this browser can play, which has all parts one after another.
  const setCopy = (film) => {
    if (parts.has(film)) parts.get(film).copy = true;
  };

  // The part in which the copy is at a time, and where in the copy it begins.
  const placeInCopy = ({ segments }, wanted) => {
    let begin = 0;
    for (const part of segments) {
      const end = begin + part.end_s - part.start_s;
      if (wanted(part, end)) return { part, begin };
      begin = end;
    }
    return { part: segments[0], begin: 0 };
  };

  // What is to be added to the player's time for the video's.
  const offset = (film) => {
    const known = parts.get(film);
    if (!known) return 0;
    if (!known.copy) return known.shown.start_s;
    const { part, begin } = placeInCopy(known, (_, end) => film.currentTime < end);
    return part.start_s - begin;
  };

  const seek = (film, seconds, fps) => {
    film.pause();
    const inside = Math.min(INSIDE_S, 0.5 / (fps || USUAL_FPS));
    const known = parts.get(film);
    const part = known && (known.segments.findLast((one) => seconds >= one.start_s - INSIDE_S) || known.segments[0]);
    if (known && known.copy) {
      const { begin } = placeInCopy(known, (one) => one === part);
      film.currentTime = begin + seconds - part.start_s + inside;
      return;
    }
    const there = () => {
      film.currentTime = seconds - offset(film) + inside;
    };
    if (part && part !== known.shown && !part.clip_url && known.shown.clip_url) return; // of this part there is no clip
    if (!part || part === known.shown || !part.clip_url) {
      there();
      return;
    }
    known.shown = part;
    film.addEventListener("loadedmetadata", there, { once: true });
    film.src = part.clip_url;
    film.load();
  };

  // From the middle of a frame to the middle of another.
  const step = (film, frames, fps) => {
    const rate = fps || USUAL_FPS;
    const standing = Math.floor(film.currentTime * rate + 0.02);
    film.pause();
    film.currentTime = Math.max(0, standing + frames + 0.5) / rate;
  };

  const toggle = (film) => (film.paused ? film.play() : Promise.resolve(film.pause())).catch(() => {});

  return { offset, seek, setCopy, setParts, step, toggle };
})();
